//! A disk that fails when it is told to, on any machine and without any right: a library that is preloaded into the bastion, and a file
//! that says what happens below which folder. Where root may mount, there are real file systems too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::bastion::Bastion;
use super::process::run;

/// What becomes of every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No space is left.
    Full,
    /// The device has an error.
    Error,
    /// It can only be read.
    ReadOnly,
    /// Half of what is given is taken.
    Short,
    /// Nothing is answered.
    Hangs,
    /// Writes are taken, but none reaches the disk.
    Unsynced,
}

/// The hand on the disk of one bastion.
pub struct Disk {
    control: PathBuf,
}

impl Disk {
    /// A bastion on a disk that obeys, with these lines in its config.
    pub fn obeys(lines: &str) -> (Bastion, Self) {
        let bastion = Bastion::start_with(lines, |bastion| vec![("LD_PRELOAD", library()), ("JIT_DISK", bastion.aside("disk"))]);
        let control = bastion.aside("disk");
        (bastion, Self { control })
    }

    /// From now on, below `folder`.
    pub fn is(&self, fate: Fate, folder: &Path) {
        let word = match fate {
            Fate::Full => "full",
            Fate::Error => "error",
            Fate::ReadOnly => "readonly",
            Fate::Short => "short",
            Fate::Hangs => "hangs",
            Fate::Unsynced => "unsynced",
        };
        let new = self.control.with_extension("new");
        fs::write(&new, format!("{word} {}\n", folder.canonicalize().expect("a folder").display())).expect("told");
        fs::rename(&new, &self.control).expect("told");
    }

    /// All is well again.
    pub fn is_well(&self) {
        let _ = fs::remove_file(&self.control);
    }
}

/// The library, built once for all tests of this process.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/disk.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).args([source, "-ldl"]);
        run(&mut cc, b"").expect(0);
        library
    };
    BUILT.get_or_init(build).clone()
}

/// A file system of its own in memory, where root may mount one; unmounted when dropped.
pub struct Small(PathBuf);

impl Small {
    /// `None` where this account may not mount.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "none"]).arg(at);
        let root = rustix::process::geteuid().is_root();
        (root && run(&mut mount, b"").code == Some(0)).then(|| Self(at.to_owned()))
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.0).expect("it is mounted");
        space.f_bavail * space.f_frsize
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let open = fs::File::options().create(true).append(true).open(self.0.join("ballast"));
        let mut ballast = open.expect("a file");
        while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    }

    /// Empties it again.
    pub fn relieve(&self) {
        fs::remove_file(self.0.join("ballast")).expect("ours");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0), b"");
    }
}
