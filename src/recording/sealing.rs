//! The last steps of a recording, and the first after a crash.
//!
//! The order is: files synced and renamed, manifest written and renamed, folder synced; later, when the audit log has the manifest's
//! digest, the journal goes. A crash anywhere leaves a journal, and [`recover`] does it all again from there, as often as it is killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::journal::JournalReader;
use super::manifest::{self, Manifest, ManifestSigner, SealedSession};
use super::recorder::Casts;
use super::reserve::Reserve;
use super::verify::files_agree;
use super::{RecordError, SessionMeta};

/// What the ending of a session is called whose bastion was killed.
pub const INTERRUPTED: &str = "interrupted";

/// A journal that was found at start.
#[derive(Debug)]
pub struct RecoveredSession {
    /// The journal.
    pub journal: PathBuf,
    /// Whose it is; `None` where not even its head can be read.
    pub meta: Option<SessionMeta>,
    /// The sealed session: log its end, then [`SealedSession::let_go`]. Or why it could not be sealed: the journal stays for the next
    /// start, an administrator should look.
    pub sealed: Result<SealedSession, RecordError>,
}

/// Finishes every journal in `journals` that no living process holds, into sealed recordings under `root`. Their ending is the one that
/// the journal itself names, or [`INTERRUPTED`]. A torn tail is dropped: it was never shown. Killed in the middle, it can be run again;
/// run again over a session that is sealed, it returns the same digest. A missing folder of journals is an empty one.
pub fn recover(journals: &Path, root: &Path, signer: &dyn ManifestSigner) -> Result<Vec<RecoveredSession>, RecordError> {
    let entries = match std::fs::read_dir(journals) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(RecordError::io("read", journals))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(RecordError::io("read", journals))?.path();
        if path.extension().is_some_and(|e| e == "journal") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.into_iter().filter_map(|path| recover_one(path, root, signer)).collect())
}

/// Finishes one journal. `None` where a living process holds it, or where it is none yet and is removed.
pub fn recover_one(journal: PathBuf, root: &Path, signer: &dyn ManifestSigner) -> Option<RecoveredSession> {
    let file = match File::open(&journal) {
        Ok(file) => file,
        Err(e) => return Some(RecoveredSession { sealed: Err(RecordError::io("open", &journal)(e)), journal, meta: None }),
    };
    // A live session's journal is locked by its process.
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let meta = match JournalReader::open(&journal) {
        Ok(reader) => reader.meta().clone(),
        Err(error) => {
            // Killed between making the file and writing its head: there was no session yet.
            let headless = super::reader::is_headless(&journal).unwrap_or(false);
            if headless && std::fs::remove_file(&journal).is_ok() {
                return None;
            }
            return Some(RecoveredSession { journal, meta: None, sealed: Err(error) });
        }
    };
    let sealed = match already_sealed(root, &journal, &meta, signer) {
        Some(sealed) => Ok(sealed),
        None => rebuild(root, &journal, &Arc::default()).and_then(|casts| seal(root, &journal, casts, None, signer)),
    };
    Some(RecoveredSession { journal, meta: Some(meta), sealed })
}

/// Makes a session's files anew from its journal; what was there of them goes.
pub(super) fn rebuild(root: &Path, journal: &Path, reserve: &Arc<Reserve>) -> Result<Casts, RecordError> {
    let mut reader = JournalReader::open(journal)?;
    let mut casts = Casts::create(root, reader.meta(), reserve)?;
    casts.gather_text(journal);
    let folder = root.join(reader.meta().folder());
    for entry in std::fs::read_dir(&folder).map_err(RecordError::io("read", &folder))? {
        let path = entry.map_err(RecordError::io("read", &folder))?.path();
        std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
    }
    if let Some(why) = casts.drain(&mut reader, |_| ())? {
        tracing::warn!(journal = %journal.display(), why, position = reader.position(), "the journal's tail is torn and dropped");
    }
    Ok(casts)
}

/// Ends the files, renames them, writes the manifest. `ending` is why the session ended, where the caller knows better than the journal.
pub(super) fn seal(
    root: &Path,
    journal: &Path,
    casts: Casts,
    ending: Option<&str>,
    signer: &dyn ManifestSigner,
) -> Result<SealedSession, RecordError> {
    let (meta, duration) = (casts.meta.clone(), Duration::from_micros(casts.last));
    let ending = ending.map(str::to_owned).or_else(|| casts.ending.clone()).unwrap_or_else(|| INTERRUPTED.into());
    let (folder, files, reserve) = casts.end()?;
    let mut channels = Vec::with_capacity(files.len());
    for file in files {
        channels.push(file.seal(&folder, &reserve)?);
    }
    let bytes = Manifest::sign(&meta, &ending, duration, &channels, signer)?;
    reserve.or_release(|| write_manifest(&folder, &bytes)).map_err(RecordError::io("write the manifest in", &folder))?;
    // The folders above it are new with the first session of a day.
    for folder in folder.ancestors().take_while(|f| f.starts_with(root)) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(RecordError::io("sync", folder))?;
    }
    let (digest, folder) = (manifest::sha256(&bytes), meta.folder());
    Ok(SealedSession { meta, ending, folder, digest, duration, channels, journal: journal.to_owned() })
}

fn write_manifest(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let (name, part) = (folder.join(manifest::NAME), folder.join("manifest.json.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, &name)
}

/// Sealed before the crash, but perhaps not logged: the manifest is ours and every file is as it says.
fn already_sealed(root: &Path, journal: &Path, meta: &SessionMeta, signer: &dyn ManifestSigner) -> Option<SealedSession> {
    let folder = root.join(meta.folder());
    let (manifest, bytes) = Manifest::read(&folder).ok()?;
    manifest.check(&bytes, &signer.public_key()).ok()?;
    if manifest.session != *meta || !files_agree(&folder, &manifest) {
        return None;
    }
    let channels: Option<Vec<_>> = manifest.channels.iter().map(super::manifest::ManifestChannel::sealed).collect();
    Some(SealedSession {
        meta: meta.clone(),
        ending: manifest.ending,
        folder: meta.folder(),
        digest: manifest::sha256(&bytes),
        duration: Duration::from_micros(manifest.duration_us),
        channels: channels?,
        journal: journal.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::frames::{Body, Frame};
    use crate::recording::replay::raw;
    use crate::recording::sample::{self, TestSigner};
    use crate::recording::{ChannelKind, ChannelMeta, Journal, Level, Recorder};

    struct World {
        dir: tempfile::TempDir,
        signer: TestSigner,
    }

    impl World {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), signer: TestSigner::new(1) }
        }

        fn journals(&self) -> PathBuf {
            self.dir.path().join("journal")
        }

        fn root(&self) -> PathBuf {
            self.dir.path().join("recordings")
        }

        fn folder(&self) -> PathBuf {
            self.root().join(sample::meta().folder())
        }

        fn recover(&self) -> Vec<RecoveredSession> {
            recover(&self.journals(), &self.root(), &self.signer).unwrap()
        }

        /// A bastion that was killed after it kept `shown`.
        fn killed(&self, shown: &[u8]) -> PathBuf {
            let mut journal = Journal::create(&self.journals(), &sample::meta(), Level::Process).unwrap();
            let meta = ChannelMeta { kind: ChannelKind::Exec, command: Some("x".into()), terminal: None };
            let frames = [Body::Open(meta), Body::Out(shown)].map(|body| Frame { channel: 1, at: 1, body });
            journal.keep(&frames).unwrap();
            journal.path().to_owned()
        }
    }

    #[test]
    fn what_a_killed_bastion_kept_is_sealed_once_and_the_same_again() {
        let world = World::new();
        assert!(world.recover().is_empty());
        let journal = world.killed(b"shown");
        // The tail is torn, and the recorder had begun.
        let mut whole = std::fs::read(&journal).unwrap();
        whole.extend_from_slice(b"\x05\0\0\0torn");
        std::fs::write(&journal, &whole).unwrap();
        std::fs::create_dir_all(world.folder()).unwrap();
        std::fs::write(world.folder().join("01-exec.cast.part"), "{\"version\":2,").unwrap();
        std::fs::write(world.folder().join("02-exec.cast"), "stale").unwrap();
        let first = world.recover().remove(0).sealed.unwrap();
        assert_eq!((first.ending.as_str(), first.channels.len()), (INTERRUPTED, 1));
        assert_eq!(raw(&world.folder(), 1, &world.signer.public_key()).unwrap().out, b"shown");
        // Killed again before the digest was logged: the same seal comes back.
        let again = world.recover().remove(0).sealed.unwrap();
        assert_eq!(again, first);
        again.let_go().unwrap();
        assert!(world.recover().is_empty());
    }

    #[test]
    fn killed_while_recovering_at_any_step_it_comes_to_the_same_end() {
        let world = World::new();
        world.killed(b"shown");
        let want = world.recover().remove(0).sealed.unwrap();
        let folder = world.folder();
        let steps: [&dyn Fn(); 5] = [
            &|| std::fs::rename(folder.join("01-exec.cast"), folder.join("01-exec.cast.part")).unwrap(),
            &|| std::fs::remove_file(folder.join("manifest.json")).unwrap(),
            &|| std::fs::write(folder.join("manifest.json.part"), "{").unwrap(),
            &|| std::fs::write(folder.join("01-exec.cast"), "changed").unwrap(),
            &|| std::fs::remove_dir_all(&folder).unwrap(),
        ];
        for step in steps {
            step();
            let sealed = world.recover().remove(0).sealed.unwrap();
            assert_eq!(sealed, want);
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn the_journals_own_ending_is_believed() {
        let world = World::new();
        let mut journal = Journal::create(&world.journals(), &sample::meta(), Level::Process).unwrap();
        journal.finish("time-up", 5).unwrap();
        drop(journal);
        let sealed = world.recover().remove(0).sealed.unwrap();
        assert_eq!((sealed.ending.as_str(), sealed.channels.len()), ("time-up", 0));
    }

    #[tokio::test]
    async fn a_live_session_is_left_alone() {
        let world = World::new();
        let journal = Journal::create(&world.journals(), &sample::meta(), Level::Process).unwrap();
        let recorder = Recorder::start(&world.root(), &journal).unwrap();
        assert!(world.recover().is_empty());
        // Its task panicked: nobody sealed it, the next start does.
        drop(recorder);
        drop(journal);
        assert_eq!(world.recover().len(), 1);
    }

    #[test]
    fn cut_at_every_byte_a_journal_is_recovered_or_was_no_session_yet() {
        let world = World::new();
        let journal = world.killed(b"shown");
        let whole = std::fs::read(&journal).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for cut in 0..=whole.len() {
            let _ = std::fs::remove_dir_all(world.root());
            std::fs::write(&journal, &whole[..cut]).unwrap();
            match world.recover().pop() {
                None => assert!(!journal.exists()),
                Some(recovered) => {
                    let sealed = recovered.sealed.unwrap();
                    let key = world.signer.public_key();
                    let out = sealed.channels.first().map(|c| raw(&world.folder(), c.number, &key).unwrap().out);
                    assert!(out.is_none() || out == Some(vec![]) || cut == whole.len() && out == Some(b"shown".to_vec()));
                    seen.insert(out);
                }
            }
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_journal_whose_head_is_wrong_is_reported_and_kept() {
        let world = World::new();
        let journal = world.killed(b"shown");
        let mut whole = std::fs::read(&journal).unwrap();
        whole[20] ^= 1;
        std::fs::write(&journal, &whole).unwrap();
        let found = world.recover().remove(0);
        assert!(found.sealed.is_err() && found.meta.is_none() && journal.exists());
    }
}
