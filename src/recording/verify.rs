//! Are the recordings as they were sealed? Needs the folder and the public key; and, for what is missing, what the audit log says.
//!
//! What lies there may come from anybody: nothing but plain files is opened, links are not followed, folders are entered only where ours
//! lie, no file is read further than its manifest says, and findings have a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::OFlags;

use super::finding::{Finding, Wrong};
use super::logged::{Fate, Logged};
use super::manifest::{self, Manifest, ManifestChannel};
use super::{RecordError, SessionMeta};
use crate::access::names::SessionId;

/// The most findings that are kept one by one.
const MOST_FINDINGS: usize = 10_000;
/// Progress is told at least every so many bytes of a file.
const STEP: u64 = 64 << 20;
/// Read at a time.
const BUFFER: usize = 256 * 1024;

/// How far a survey is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Sessions whose folder was looked at.
    pub sessions: u64,
    /// Bytes of recordings that were hashed.
    pub bytes: u64,
}

/// What lies in a folder of recordings.
#[derive(Debug, Default)]
pub struct Survey {
    /// What is wrong with it by itself, in order of paths.
    pub findings: Vec<Finding>,
    /// Sessions with a manifest in the right place: its SHA-256, and their folder below the root.
    pub sealed: BTreeMap<SessionId, ([u8; 32], PathBuf)>,
    /// Sessions without one.
    pub unsealed: BTreeSet<SessionId>,
    /// What was looked at.
    pub progress: Progress,
    more: u64,
}

/// Looks at everything under `root`: each manifest against `public_key` (base64; or several with blanks between), each file against its
/// manifest, and that nothing else lies there.
pub fn survey(root: &Path, public_key: &str, told: &mut dyn FnMut(Progress)) -> Survey {
    look(root, public_key, None, told)
}

fn look(root: &Path, public_key: &str, only: Option<&BTreeSet<SessionId>>, told: &mut dyn FnMut(Progress)) -> Survey {
    let mut check = Check { root, public_key, only, told, survey: Survey::default() };
    check.level(root, 0);
    check.survey.findings.sort();
    check.survey
}

impl Survey {
    /// Looks once more at the sessions that the log, which was read later, has as sealed and this survey has not: they may have been sealed
    /// in between.
    pub fn again(mut self, root: &Path, public_key: &str, log: &Logged) -> Self {
        let doubtful: BTreeSet<SessionId> = log.sealed().map(|(id, _)| id).filter(|id| !self.sealed.contains_key(*id)).cloned().collect();
        if doubtful.is_empty() {
            return self;
        }
        let newer = look(root, public_key, Some(&doubtful), &mut |_| ());
        self.findings.retain(|finding| finding.session.as_ref().is_none_or(|id| !doubtful.contains(id)));
        self.unsealed.retain(|id| !doubtful.contains(id));
        self.findings.extend(newer.findings);
        self.sealed.extend(newer.sealed);
        self.unsealed.extend(newer.unsealed);
        self.more += newer.more;
        self
    }

    /// Everything that is wrong, also against the log. The log was read after the folder: what was sealed then is known to it, if not as
    /// sealed then as a session that goes on.
    pub fn against(mut self, log: &Logged) -> Vec<Finding> {
        // A session that goes on is not sealed yet, and nothing is wrong with it.
        let goes_on = |id: &SessionId| matches!(log.of(id), Some(Fate::Open { .. }));
        let unsealed = |id: &Option<SessionId>| id.as_ref().is_some_and(|id| goes_on(id) && !self.sealed.contains_key(id));
        self.findings.retain(|finding| finding.what != Wrong::Unsealed || !unsealed(&finding.session));
        for (id, (digest, folder)) in &self.sealed {
            let mut found = |what| self.findings.push(Finding { path: folder.join(manifest::NAME), session: Some(id.clone()), what });
            match log.of(id) {
                Some(Fate::Sealed { manifest, .. }) if manifest == digest => {}
                Some(Fate::Sealed { .. }) => found(Wrong::Changed),
                Some(Fate::Open { .. }) => {}
                Some(Fate::Unsealed { .. }) | None => found(Wrong::Unlogged),
            }
        }
        let seen = |id: &SessionId| self.sealed.contains_key(id) || self.unsealed.contains(id);
        let missing = log.sealed().filter(|(id, _)| !seen(id)).map(|(id, folder)| Finding {
            path: folder.clone(),
            session: Some(id.clone()),
            what: Wrong::Missing,
        });
        self.findings.extend(missing);
        self.alone()
    }

    /// Everything that is wrong, as far as the folder alone can tell.
    pub fn alone(mut self) -> Vec<Finding> {
        self.findings.sort();
        let beyond = self.findings.len().saturating_sub(MOST_FINDINGS);
        self.findings.truncate(MOST_FINDINGS);
        let more = self.more + beyond as u64;
        if more > 0 {
            self.findings.push(Finding { path: PathBuf::new(), session: None, what: Wrong::More(more) });
        }
        self.findings
    }
}

struct Check<'a> {
    root: &'a Path,
    public_key: &'a str,
    /// Nothing but these sessions.
    only: Option<&'a BTreeSet<SessionId>>,
    told: &'a mut dyn FnMut(Progress),
    survey: Survey,
}

impl Check<'_> {
    /// Year, month, day, then sessions.
    fn level(&mut self, folder: &Path, depth: usize) {
        self.entries(folder, |check, entry, kind, name| {
            let path = entry.path();
            let digits = |n| name.len() == n && name.bytes().all(|b| b.is_ascii_digit());
            let session = SessionId::parse(name).ok().filter(|id| depth == 3 && id.as_str() == name);
            // A note for whoever opens the folder is welcome at its top.
            let welcome = depth == 0 && name == "README.md" && kind.is_file();
            let ours = session.is_some() || depth < 3 && digits(if depth == 0 { 4 } else { 2 });
            match session {
                Some(id) if kind.is_dir() => check.session(&path, &id),
                None if ours && kind.is_dir() => check.level(&path, depth + 1),
                _ if welcome || check.only.is_some() => {}
                _ if ours => check.found(Wrong::NotPlain(kind_of(kind)), &path, session.as_ref()),
                _ => check.found(Wrong::Foreign, &path, None),
            }
        });
    }

    fn session(&mut self, folder: &Path, id: &SessionId) {
        if self.only.is_some_and(|only| !only.contains(id)) {
            return;
        }
        self.survey.progress.sessions += 1;
        (self.told)(self.survey.progress);
        let path = folder.join(manifest::NAME);
        let (manifest, bytes) = match Manifest::read(folder) {
            Ok(read) => read,
            Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return self.unsealed(folder, id),
            Err(RecordError::Bad { why, .. }) => {
                self.survey.unsealed.insert(id.clone());
                return self.found(Wrong::BadSignature(why), &path, Some(id));
            }
            Err(error) => {
                self.survey.unsealed.insert(id.clone());
                return self.found(unreadable(error), &path, Some(id));
            }
        };
        let signed = manifest.check(&bytes, self.public_key);
        let (trusted, placed) = (signed.is_ok(), self.is_place_of(folder, &manifest.session, id));
        if let Err(why) = signed {
            self.found(Wrong::BadSignature(why), &path, Some(id));
        }
        if placed {
            self.survey.sealed.insert(id.clone(), (manifest::sha256(&bytes), manifest.session.folder()));
        } else {
            self.found(Wrong::Foreign, &path, Some(id));
        }
        self.files(folder, id, &manifest, trusted);
    }

    fn is_place_of(&self, folder: &Path, meta: &SessionMeta, id: &SessionId) -> bool {
        meta.session == *id && self.root.join(meta.folder()) == folder
    }

    /// Only what is being written lies in the folder of a session that is not sealed.
    fn unsealed(&mut self, folder: &Path, id: &SessionId) {
        self.survey.unsealed.insert(id.clone());
        self.found(Wrong::Unsealed, folder, Some(id));
        self.entries(folder, |check, entry, kind, name| {
            if !(kind.is_file() && (is_recording(name.trim_end_matches(".part")) || name == MANIFEST_PART)) {
                let what = if kind.is_file() { Wrong::Foreign } else { Wrong::NotPlain(kind_of(kind)) };
                check.found(what, &entry.path(), Some(id));
            }
        });
    }

    /// `trusted`: somebody whom we trust has signed the manifest; else its files are not read for it, only looked for.
    fn files(&mut self, folder: &Path, id: &SessionId, manifest: &Manifest, trusted: bool) {
        let mut expected = BTreeSet::from([manifest::NAME]);
        for channel in &manifest.channels {
            expected.insert(channel.file.as_str());
            let path = folder.join(&channel.file);
            if let Err(what) = self.file(&path, channel, trusted) {
                self.found(what, &path, Some(id));
            }
        }
        self.entries(folder, |check, entry, kind, name| {
            if expected.contains(name) {
                return;
            }
            let what = match name.strip_suffix(".part") {
                Some(whole) if kind.is_file() && (is_recording(whole) || name == MANIFEST_PART) => Wrong::Unsealed,
                _ if kind.is_file() => Wrong::Foreign,
                _ => Wrong::NotPlain(kind_of(kind)),
            };
            check.found(what, &entry.path(), Some(id));
        });
    }

    fn file(&mut self, path: &Path, channel: &ManifestChannel, trusted: bool) -> Result<(), Wrong> {
        let mut file = open_plain(path)?;
        let found = file.metadata().map_err(|e| Wrong::Unreadable(e.to_string()))?.len();
        if found != channel.bytes {
            return Err(Wrong::Length { sealed: channel.bytes, found });
        }
        if !trusted {
            return Ok(());
        }
        let (mut left, mut hash, mut buffer) = (found, Context::new(&SHA256), vec![0; BUFFER]);
        let mut since = 0;
        while left > 0 {
            let n = file.read(&mut buffer).map_err(|e| Wrong::Unreadable(e.to_string()))?;
            let bytes = buffer.get(..n).filter(|b| !b.is_empty()).ok_or(Wrong::Changed)?;
            hash.update(bytes);
            left = left.checked_sub(n as u64).ok_or(Wrong::Changed)?;
            self.survey.progress.bytes += n as u64;
            since += n as u64;
            if since >= STEP {
                since = 0;
                (self.told)(self.survey.progress);
            }
        }
        let digest = channel.digest().ok_or(Wrong::Changed)?;
        if hash.finish().as_ref() == digest { Ok(()) } else { Err(Wrong::Changed) }
    }

    /// Hands over each entry with its name and what it is; one at a time, however many there are.
    fn entries(&mut self, folder: &Path, mut each: impl FnMut(&mut Self, &DirEntry, FileType, &str)) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.found(Wrong::Unreadable(error.to_string()), folder, None),
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                Ok((kind, entry)) => {
                    let name = entry.file_name();
                    each(self, &entry, kind, &name.to_string_lossy());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return self.found(Wrong::Unreadable(error.to_string()), folder, None),
            }
        }
    }

    fn found(&mut self, what: Wrong, path: &Path, session: Option<&SessionId>) {
        if self.survey.findings.len() >= MOST_FINDINGS {
            self.survey.more += 1;
            return;
        }
        let path = path.strip_prefix(self.root).unwrap_or(path).to_owned();
        self.survey.findings.push(Finding { path, session: session.cloned(), what });
    }
}

const MANIFEST_PART: &str = "manifest.json.part";

/// `01-shell.cast`: two digits or more, a word, the ending.
fn is_recording(name: &str) -> bool {
    let Some((number, kind)) = name.strip_suffix(".cast").and_then(|stem| stem.split_once('-')) else { return false };
    number.len() >= 2 && number.bytes().all(|b| b.is_ascii_digit()) && !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase())
}

fn kind_of(kind: FileType) -> &'static str {
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_file() => "a file",
        () => "a device",
    }
}

fn unreadable(error: RecordError) -> Wrong {
    match error {
        RecordError::Io { path, .. } if std::fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) => not_plain(&path),
        RecordError::Io { source, .. } => Wrong::Unreadable(source.to_string()),
        other => Wrong::Unreadable(other.to_string()),
    }
}

fn not_plain(path: &Path) -> Wrong {
    std::fs::symlink_metadata(path).map_or(Wrong::Missing, |m| Wrong::NotPlain(kind_of(m.file_type())))
}

/// Opens a plain file; a link is not followed, and nothing waits for a pipe's other end.
pub(super) fn plain_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a plain file")) }
}

fn open_plain(path: &Path) -> Result<File, Wrong> {
    plain_file(path).map_err(|error| match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => Wrong::NotPlain(kind_of(meta.file_type())),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Wrong::Missing,
        _ => Wrong::Unreadable(error.to_string()),
    })
}

/// A file's SHA-256 and length.
fn file_digest(path: &Path) -> Result<([u8; 32], u64), RecordError> {
    let mut file = plain_file(path).map_err(RecordError::io("open", path))?;
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
    let agrees = |c: &ManifestChannel| {
        file_digest(&folder.join(&c.file)).is_ok_and(|(digest, bytes)| c.digest() == Some(digest) && c.bytes == bytes)
    };
    manifest.channels.iter().all(agrees)
}

#[cfg(test)]
mod tests;
