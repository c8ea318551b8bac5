//! Are the recordings as they were sealed? Needs the folder, the public key, and what the audit log says of each session.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::RecordError;
use super::manifest::{self, Manifest};
use crate::access::names::{SessionId, escaped};

/// Something that is not as it should be. Paths are relative to the recordings' root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A file of the manifest, or a session's whole folder, is not there.
    Missing(PathBuf),
    /// A file is not as its manifest says, or a manifest not as the audit log says.
    Changed(PathBuf),
    /// A session's folder has no manifest: its session goes on, or its bastion was killed and has not started again.
    Unsealed(PathBuf),
    /// Nothing of ours should lie there.
    Foreign(PathBuf),
    /// A manifest's form or signature is wrong, and how.
    BadSignature(PathBuf, String),
    /// A sealed session that the audit log does not know.
    Unlogged(PathBuf),
    /// It cannot be read, and why.
    Unreadable(PathBuf, String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &Path| escaped(&path.display().to_string());
        match self {
            Self::Missing(path) => write!(f, "{}: missing", show(path)),
            Self::Changed(path) => write!(f, "{}: changed since it was sealed", show(path)),
            Self::Unsealed(path) => write!(f, "{}: not sealed", show(path)),
            Self::Foreign(path) => write!(f, "{}: does not belong here", show(path)),
            Self::BadSignature(path, why) => write!(f, "{}: not a manifest of ours: {why}", show(path)),
            Self::Unlogged(path) => write!(f, "{}: sealed, but the audit log has no such session", show(path)),
            Self::Unreadable(path, why) => write!(f, "{}: cannot be read: {why}", show(path)),
        }
    }
}

/// Checks everything under `root`: each folder's manifest against `public_key` (base64) and against `known` (the SHA-256 that the audit
/// log has for a session), each file against its manifest, and that nothing else lies there. Findings come in order of their paths.
pub fn verify_folder(root: &Path, public_key: &str, known: impl Fn(&SessionId) -> Option<[u8; 32]>) -> Vec<Finding> {
    let mut check = Check { root, public_key, findings: Vec::new() };
    check.level(root, 0, &known);
    check.findings.sort();
    check.findings
}

/// Which of the logged sessions' folders (relative to `root`) have no manifest any more.
pub fn missing_folders(root: &Path, folders: impl IntoIterator<Item = PathBuf>) -> Vec<Finding> {
    folders.into_iter().filter(|f| !root.join(f).join(manifest::NAME).is_file()).map(Finding::Missing).collect()
}

struct Check<'a> {
    root: &'a Path,
    public_key: &'a str,
    findings: Vec<Finding>,
}

impl Check<'_> {
    /// Year, month, day, then sessions.
    fn level(&mut self, folder: &Path, depth: usize, known: &impl Fn(&SessionId) -> Option<[u8; 32]>) {
        for (path, name) in self.entries(folder) {
            let digits = |n| name.len() == n && name.bytes().all(|b| b.is_ascii_digit());
            let session = SessionId::parse(&name).ok().filter(|id| depth == 3 && id.as_str() == name);
            // A note for whoever opens the folder is welcome at its top.
            let welcome = depth == 0 && name == "README.md" && path.is_file();
            match session {
                Some(id) if path.is_dir() => self.session(&path, &id, known),
                None if depth < 3 && path.is_dir() && digits(if depth == 0 { 4 } else { 2 }) => self.level(&path, depth + 1, known),
                _ if welcome => {}
                _ => self.found(Finding::Foreign, &path),
            }
        }
    }

    fn session(&mut self, folder: &Path, id: &SessionId, known: &impl Fn(&SessionId) -> Option<[u8; 32]>) {
        let path = folder.join(manifest::NAME);
        if !path.exists() {
            return self.found(Finding::Unsealed, folder);
        }
        let (manifest, bytes) = match Manifest::read(folder) {
            Ok(read) => read,
            Err(RecordError::Bad { why, .. }) => return self.found(|p| Finding::BadSignature(p, why), &path),
            Err(error) => return self.found(|p| Finding::Unreadable(p, error.to_string()), &path),
        };
        if let Err(why) = manifest.check(&bytes, self.public_key) {
            self.found(|p| Finding::BadSignature(p, why), &path);
        }
        if manifest.session.session != *id || self.root.join(manifest.session.folder()) != folder {
            self.found(Finding::Foreign, &path);
        }
        match known(id) {
            Some(digest) if digest == manifest::sha256(&bytes) => {}
            Some(_) => self.found(Finding::Changed, &path),
            None => self.found(Finding::Unlogged, &path),
        }
        self.files(folder, &manifest);
    }

    fn files(&mut self, folder: &Path, manifest: &Manifest) {
        let mut expected = BTreeSet::from([manifest::NAME.to_owned()]);
        for channel in &manifest.channels {
            expected.insert(channel.file.clone());
            let path = folder.join(&channel.file);
            match file_digest(&path) {
                Ok(found) if Some(found) == channel.digest().map(|d| (d, channel.bytes)) => {}
                Ok(_) => self.found(Finding::Changed, &path),
                Err(RecordError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    self.found(Finding::Missing, &path);
                }
                Err(error) => self.found(|p| Finding::Unreadable(p, error.to_string()), &path),
            }
        }
        for (path, _) in self.entries(folder).into_iter().filter(|(_, name)| !expected.contains(name)) {
            self.found(Finding::Foreign, &path);
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.found(|p| Finding::Unreadable(p, error.to_string()), folder);
                return Vec::new();
            }
        };
        let named = |e: std::fs::DirEntry| (e.path(), e.file_name().to_string_lossy().into_owned());
        entries.flatten().map(named).collect()
    }

    fn found(&mut self, finding: impl FnOnce(PathBuf) -> Finding, path: &Path) {
        let relative = path.strip_prefix(self.root).unwrap_or(path).to_owned();
        self.findings.push(finding(relative));
    }
}

/// A file's SHA-256 and length.
pub(super) fn file_digest(path: &Path) -> Result<([u8; 32], u64), RecordError> {
    let mut file = File::open(path).map_err(RecordError::io("open", path))?;
    digest_of(&mut file).map_err(RecordError::io("read", path))
}

/// The rest of an open file: its SHA-256 and length.
pub(super) fn digest_of(input: &mut impl Read) -> std::io::Result<([u8; 32], u64)> {
    let (mut context, mut length, mut buffer) = (Context::new(&SHA256), 0, vec![0; 64 * 1024]);
    loop {
        let n = input.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
        context.update(bytes);
        length += n as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok((digest, length))
}

/// Whether every file of the manifest is there and as it says.
pub(super) fn files_agree(folder: &Path, manifest: &Manifest) -> bool {
    let agrees = |c: &manifest::ManifestChannel| {
        file_digest(&folder.join(&c.file)).is_ok_and(|(digest, bytes)| c.digest() == Some(digest) && c.bytes == bytes)
    };
    manifest.channels.iter().all(agrees)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::frames::{Body, Frame};
    use crate::recording::sample::{self, TestSigner};
    use crate::recording::{ChannelKind, ChannelMeta, Journal, Level, ManifestSigner, recover};

    /// One sealed session with one channel, and its digest.
    fn sealed() -> (tempfile::TempDir, TestSigner, [u8; 32]) {
        let (dir, signer) = (tempfile::tempdir().unwrap(), TestSigner::new(1));
        let journals = dir.path().join("journal");
        let mut journal = Journal::create(&journals, &sample::meta(), Level::Process).unwrap();
        let meta = ChannelMeta { kind: ChannelKind::Exec, command: None, terminal: None };
        journal.keep(&[Body::Open(meta), Body::Out(b"hello")].map(|body| Frame { channel: 1, at: 0, body })).unwrap();
        drop(journal);
        let root = dir.path().join("root");
        let digest = recover(&journals, &root, &signer).unwrap().remove(0).sealed.unwrap().digest;
        (dir, signer, digest)
    }

    fn check(dir: &tempfile::TempDir, signer: &TestSigner, digest: Option<[u8; 32]>) -> Vec<String> {
        let found = verify_folder(&dir.path().join("root"), &signer.public_key(), |_| digest);
        found.iter().map(|f| f.to_string().replace("2026/11/21/s-000001", "S")).collect()
    }

    #[test]
    fn a_good_folder_has_no_findings() {
        let (dir, signer, digest) = sealed();
        assert_eq!(check(&dir, &signer, Some(digest)), Vec::<String>::new());
        std::fs::write(dir.path().join("root/README.md"), "what this is").unwrap();
        assert_eq!(check(&dir, &signer, Some(digest)), Vec::<String>::new());
        assert_eq!(check(&dir, &signer, None), ["S/manifest.json: sealed, but the audit log has no such session"]);
        assert_eq!(check(&dir, &signer, Some([0; 32])), ["S/manifest.json: changed since it was sealed"]);
        let other = check(&dir, &TestSigner::new(2), Some(digest));
        assert_eq!(other, ["S/manifest.json: not a manifest of ours: it is signed with another key"]);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (dir, signer, digest) = sealed();
        let folder = dir.path().join("root").join(sample::meta().folder());
        for name in ["01-exec.cast", "manifest.json"] {
            let path = folder.join(name);
            let whole = std::fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut wrong = whole.clone();
                wrong[at] ^= 1;
                std::fs::write(&path, &wrong).unwrap();
                assert!(!check(&dir, &signer, Some(digest)).is_empty(), "{name} byte {at}");
            }
            std::fs::write(&path, &whole).unwrap();
        }
        assert!(check(&dir, &signer, Some(digest)).is_empty());
    }

    #[test]
    fn what_is_missing_unsealed_or_foreign_is_named() {
        let (dir, signer, digest) = sealed();
        let root = dir.path().join("root");
        let folder = root.join(sample::meta().folder());
        std::fs::rename(folder.join("01-exec.cast"), folder.join("extra\u{1b}")).unwrap();
        std::fs::write(root.join("2026/11/x"), "").unwrap();
        std::fs::create_dir_all(root.join("2026/11/22/s-000002")).unwrap();
        std::fs::create_dir_all(root.join("2026/11/22/S-000003")).unwrap();
        let found = check(&dir, &signer, Some(digest));
        let want = [
            "S/01-exec.cast: missing",
            "2026/11/22/s-000002: not sealed",
            "2026/11/22/S-000003: does not belong here",
            "2026/11/x: does not belong here",
            "S/extra\\u{1b}: does not belong here",
        ];
        assert_eq!(found.iter().collect::<BTreeSet<_>>(), want.map(String::from).iter().collect::<BTreeSet<_>>());
        let gone = PathBuf::from("2026/11/20/s-zzzzzz");
        assert_eq!(missing_folders(&root, [sample::meta().folder(), gone.clone()]), [Finding::Missing(gone)]);
    }

    #[test]
    fn a_whole_session_moved_to_another_place_is_foreign() {
        let (dir, signer, digest) = sealed();
        let root = dir.path().join("root");
        std::fs::rename(root.join("2026/11/21"), root.join("2026/11/20")).unwrap();
        assert_eq!(check(&dir, &signer, Some(digest)), ["2026/11/20/s-000001/manifest.json: does not belong here"]);
    }
}
