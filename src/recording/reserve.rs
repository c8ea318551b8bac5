//! Space that is set aside when a session begins, so that its recordings can be finished when the disk is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::RecordError;

/// What is set aside for each live session: what its recorder may be behind by, in the longest form that it can take in a recording (six
/// characters for a byte), and the manifest.
pub const RESERVED: u64 = 8 * 1024 * 1024;

/// The space of one session. It has no name, so that nothing is left of it whatever happens to the process.
#[derive(Debug, Default)]
pub struct Reserve {
    file: Option<File>,
    used: AtomicBool,
    /// Told to all sessions of this process: the disk is full.
    full: Arc<AtomicBool>,
}

impl Reserve {
    /// Sets the space aside where `root` lies. An error means: no room for another session, or a disk that cannot be written.
    pub fn take(root: &Path, full: &Arc<AtomicBool>) -> Result<Self, RecordError> {
        let file = nameless(root).map_err(RecordError::io("make a file in", root))?;
        allocate(&file).map_err(RecordError::io("reserve space in", root))?;
        Ok(Self { file: Some(file), used: AtomicBool::new(false), full: Arc::clone(full) })
    }

    /// Does `work`, which must be able to go on where it stopped. Where the disk is full for it, it is given the space and done again, and
    /// every session of this process hears that the disk is full.
    pub(super) fn or_release<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            done => done,
        }
    }

    fn release(&self) -> bool {
        self.full.store(true, Ordering::SeqCst);
        let Some(file) = &self.file else { return false };
        !self.used.swap(true, Ordering::SeqCst) && file.set_len(0).is_ok()
    }
}

/// A file that is finished in the reserved space where the disk is full.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    reserve: Arc<Reserve>,
}

impl Output {
    pub(super) fn new(file: File, reserve: &Arc<Reserve>) -> Self {
        Self { file, reserve: Arc::clone(reserve) }
    }

    /// Writes all of `bytes`, or says why not; then it is not known how many are there.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        self.reserve.or_release(|| {
            while !left.is_empty() {
                match (&self.file).write(left) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => left = left.get(n..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    /// Has the disk take it.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        // A file system that gives blocks late may find only now that it has none.
        self.reserve.or_release(|| self.file.sync_all())
    }
}

/// Whether the disk, or what this account may use of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file in `folder` that has no name, or none any more.
pub(super) fn nameless(folder: &Path) -> io::Result<File> {
    let open = |path: &Path, flags: OFlags| {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        if flags.is_empty() { options.create_new(true) } else { &mut options }.open(path)
    };
    match open(folder, OFlags::TMPFILE) {
        // File systems that know no nameless files say so in one of these ways.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL)) => {
            let path: PathBuf = folder.join(format!(".space-{}-{:?}", std::process::id(), std::thread::current().id()));
            nameless_soon(&path, || open(&path, OFlags::empty()))
        }
        opened => opened,
    }
}

/// What `make` makes at `path`, without that name.
fn nameless_soon(path: &Path, make: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let file = match make() {
        // Left by a process that had our number and was killed between the two.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _ = std::fs::remove_file(path);
            make()?
        }
        made => made?,
    };
    match std::fs::remove_file(path) {
        // One on another machine, with our number, took it for such a file.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}

/// Gives `file` its blocks.
fn allocate(file: &File) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, RESERVED)) {
        Err(Errno::OPNOTSUPP) => {
            let zeros = vec![0; 256 * 1024];
            (0..RESERVED / zeros.len() as u64).try_for_each(|_| (&*file).write_all(&zeros))
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_kill_left_behind_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".space");
        let make = || OpenOptions::new().write(true).create_new(true).open(&path);
        for left in [false, true] {
            if left {
                std::fs::write(&path, b"left").unwrap();
            }
            let file = nameless_soon(&path, make).unwrap();
            assert!(!path.exists() && file.metadata().unwrap().len() == 0, "{left}");
        }
    }
}
