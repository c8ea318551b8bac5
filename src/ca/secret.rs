//! Where the passphrase that seals the keys comes from: a file that only its owner can read, or a credential that systemd hands over.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::CryptoRng;
use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroizing;

/// The longest passphrase in bytes; a file that is longer is not a passphrase.
const LONGEST: usize = 4096;
/// The shortest. It is read by a machine, so nobody has to remember it.
const SHORTEST: usize = 12;

/// A passphrase that cannot be had, and what to do about it.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Not there, or not ours to read.
    #[error("cannot read the passphrase in {}: {why}\nhint: make one with `(umask 077; openssl rand -base64 33 > {})`", .file.display(), .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("{} is not a regular file, so no passphrase is read from it\nhint: put the passphrase in a file of its own", .0.display())]
    NotAFile(PathBuf),
    /// Others could read or write it.
    #[error("others can open the passphrase in {} (mode {mode:03o})\nhint: chmod 600 {}", .file.display(), .file.display())]
    Open {
        /// Which file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could change it.
    #[error("the passphrase in {} belongs to the account number {owner}\nhint: it must belong to root or to the account that runs the bastion", .file.display())]
    Foreign {
        /// Which file.
        file: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// Empty or so short that it could be guessed.
    #[error("the passphrase has {0} bytes, and at least {SHORTEST} are needed\nhint: `openssl rand -base64 33` makes a good one")]
    Short(usize),
    /// So long that it is something else.
    #[error("the passphrase is longer than {LONGEST} bytes\nhint: is this the right file?")]
    Long,
    /// systemd gave no credentials.
    #[error(
        "there is no credential \"{0}\": CREDENTIALS_DIRECTORY is not set\nhint: start the bastion from its systemd unit with LoadCredentialEncrypted={0}:FILE, or use passphrase-file"
    )]
    NoCredentials(String),
    /// A name that would lead out of the folder.
    #[error("\"{0}\" is not a credential's name: letters, digits, . _ and - only")]
    CredentialName(String),
}

/// Opens what is sealed at rest. Never shown, wiped when it is dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From bytes that were typed or drawn; one newline at the end does not count. At least 12 bytes.
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        let end = bytes.strip_suffix(b"\n").map_or(bytes.len(), <[u8]>::len);
        let end = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r")).map_or(end, <[u8]>::len);
        bytes.truncate(end);
        match bytes.len() {
            short if short < SHORTEST => Err(SecretError::Short(short)),
            long if long > LONGEST => Err(SecretError::Long),
            _ => Ok(Self(bytes)),
        }
    }

    /// A fresh one, 264 random bits as one line of base64 with its newline: what `init` writes into a new passphrase file (mode 0600).
    pub fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Zeroizing<String> {
        let mut bits = Zeroizing::new([0; 33]);
        rng.fill_bytes(&mut *bits);
        let mut line = Zeroizing::new(String::with_capacity(64));
        BASE64.encode_string(*bits, &mut line);
        line.push('\n');
        line
    }

    /// From a regular file that belongs to root or to us, and that nobody else can open.
    pub fn from_file(file: &Path) -> Result<Self, SecretError> {
        let opened = open(file)?;
        let about = opened.metadata().map_err(|why| SecretError::Unreadable { file: file.to_owned(), why })?;
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { file: file.to_owned(), mode });
        }
        let owner = about.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(SecretError::Foreign { file: file.to_owned(), owner });
        }
        read(opened, file)
    }

    /// From systemd's credential `name` in `directory`, the value of `CREDENTIALS_DIRECTORY`. systemd guards the folder (with an access
    /// list, which shows as group bits), so the file's own bits are not judged.
    pub fn from_credential(name: &str, directory: Option<&Path>) -> Result<Self, SecretError> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain || name.is_empty() || name.starts_with('.') {
            return Err(SecretError::CredentialName(crate::access::names::escaped(name)));
        }
        let directory = directory.ok_or_else(|| SecretError::NoCredentials(name.to_owned()))?;
        let file = directory.join(name);
        read(open(&file)?, &file)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Opens without waiting for a pipe's other end, and looks at what was opened, not at what the name meant before.
fn open(file: &Path) -> Result<File, SecretError> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let opened = opened.map_err(|why| SecretError::Unreadable { file: file.to_owned(), why })?;
    let regular = opened.metadata().is_ok_and(|about| about.is_file());
    if regular { Ok(opened) } else { Err(SecretError::NotAFile(file.to_owned())) }
}

fn read(opened: File, file: &Path) -> Result<Passphrase, SecretError> {
    // Full size at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 3));
    let limit = u64::try_from(LONGEST + 3).unwrap_or(u64::MAX);
    opened.take(limit).read_to_end(&mut bytes).map_err(|why| SecretError::Unreadable { file: file.to_owned(), why })?;
    Passphrase::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    fn refused(bytes: &[u8], mode: u32) -> SecretError {
        let (_folder, file) = written(bytes, mode);
        Passphrase::from_file(&file).err().unwrap()
    }

    #[test]
    fn one_line_in_a_private_file() {
        for bytes in [&b"correct horse battery"[..], b"correct horse battery\n", b"correct horse battery\r\n"] {
            let (_folder, file) = written(bytes, 0o600);
            assert_eq!(Passphrase::from_file(&file).ok().unwrap().bytes(), b"correct horse battery");
        }
    }

    #[test]
    fn a_drawn_passphrase_is_one_line_that_reads_back() {
        use rand::SeedableRng;
        let drawn = Passphrase::draw(&mut rand::rngs::StdRng::seed_from_u64(1));
        assert_eq!(drawn.len(), 45);
        let (_folder, file) = written(drawn.as_bytes(), 0o600);
        assert_eq!(Passphrase::from_file(&file).ok().unwrap().bytes(), drawn.trim_end().as_bytes());
        assert_ne!(drawn, Passphrase::draw(&mut rand::rngs::StdRng::seed_from_u64(2)));
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert!(refused(b"correct horse battery", 0o640).to_string().contains("(mode 640)\nhint: chmod 600 "));
        assert!(matches!(refused(b"correct horse battery", 0o604), SecretError::Open { mode: 0o604, .. }));
        assert!(matches!(refused(b"\n", 0o600), SecretError::Short(0)));
        assert!(matches!(refused(b"elevenbytes\n", 0o600), SecretError::Short(11)));
        assert!(matches!(refused(&[b'x'; LONGEST + 1], 0o600), SecretError::Long));
        assert!(matches!(refused(&[b'x'; 10 * LONGEST], 0o600), SecretError::Long));
        let (folder, file) = written(b"", 0o600);
        assert!(matches!(Passphrase::from_file(folder.path()), Err(SecretError::NotAFile(_))));
        assert!(matches!(Passphrase::from_file(&file.join("x")), Err(SecretError::Unreadable { .. })));
        assert!(matches!(Passphrase::from_file(Path::new("/dev/null")), Err(SecretError::NotAFile(_))));
    }

    #[test]
    fn credentials_stay_in_their_folder() {
        let (folder, _file) = written(b"correct horse battery", 0o440);
        assert!(Passphrase::from_credential("passphrase", Some(folder.path())).is_ok());
        assert!(matches!(Passphrase::from_credential("passphrase", None), Err(SecretError::NoCredentials(_))));
        for bad in ["", "..", "../x", "a/b", ".hidden", "a\0b"] {
            assert!(matches!(Passphrase::from_credential(bad, Some(folder.path())), Err(SecretError::CredentialName(_))), "{bad:?}");
        }
    }
}
