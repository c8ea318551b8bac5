//! The ledger: at level `power` one file that all sessions of a node share, so that a hundred of them wait for one sync.
//!
//! The scribe writes each batch of runs into the journals, where the page cache has them, and once more here, one record a run; one
//! `fdatasync` of this file, whose blocks are there already, and all of them may be shown. Before the ledger is used from its beginning
//! again, the journals that it spoke of are synced. After a power cut [`restore`] puts back what a journal lost.
//!
//! ```text
//! record = length u32, crc32 u32, generation u64, at u64, session [8], bytes[length]            integers little-endian
//! ```
//!
//! A reader goes on as long as records are whole, right and of the first one's generation.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::fs::{FlockOperation, flock};

use super::RecordError;
use super::bell::Bell;
use super::scribe::Job;
use crate::access::names::SessionId;

/// Its name in the folder of journals.
const NAME: &str = "ledger";
/// Its size. A batch that does not fit into half of it is synced where it lies.
const SIZE: usize = 16 * 1024 * 1024;
/// Bytes of a record before its run.
const HEAD: usize = 32;
/// The longest session id.
const ID: usize = 8;

/// The ledger of a node. Locked as long as this lives.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    path: PathBuf,
    generation: u64,
    at: usize,
    /// Journals of which it holds something that is perhaps nowhere else on the disk.
    journals: BTreeMap<SessionId, Mentioned>,
    record: Vec<u8>,
    /// A write or a sync failed: nothing is trusted before it is begun anew.
    failed: bool,
}

/// A journal that the ledger speaks of. It is not held open: one that is sealed gives its blocks back, and one that could not be sealed is
/// unlocked, so that it can be sealed later.
#[derive(Debug)]
struct Mentioned {
    file: Weak<File>,
    path: Arc<Path>,
    bell: Bell,
    /// That it cannot be synced is in the log.
    told: bool,
}

impl Mentioned {
    fn new(job: &Job) -> Self {
        Self { file: Arc::downgrade(&job.file), path: Arc::clone(&job.path), bell: job.bell.clone(), told: false }
    }

    /// Has the disk take the journal. Tells whether the ledger's copy is needed no more.
    fn settle(&mut self, ledger: &Path) -> bool {
        let Some(file) = self.file.upgrade() else { return self.settle_closed() };
        if let Err(error) = file.sync_data() {
            self.bell.fail(ledger, format!("a journal cannot be synced: {error}"));
        }
        true
    }

    /// The same when its session is over, and nobody hears of a failure.
    fn settle_closed(&mut self) -> bool {
        match File::open(&self.path).and_then(|file| file.sync_data()) {
            Ok(()) => true,
            // Sealed, and gone; unless its whole folder is gone, and may come back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.parent().is_some_and(Path::exists),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::error!(journal = %self.path.display(), %error, "a journal cannot be synced; the ledger is kept for it");
                }
                false
            }
        }
    }
}

impl Ledger {
    /// Makes `DIR/ledger`, with all its blocks on the disk. `None` where another process has one: then each journal is synced by itself.
    pub(super) fn create(dir: &Path) -> Result<Option<Self>, RecordError> {
        let path = dir.join(NAME);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(RecordError::io("make", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // Written, not only reserved: a sync has no block to mark as used.
        let written = file.write_all_at(&vec![0; SIZE], 0).and_then(|()| file.sync_all());
        written.and_then(|()| File::open(dir)?.sync_all()).map_err(RecordError::io("write", &path))?;
        Ok(Some(Self { file, path, generation: 1, at: 0, journals: BTreeMap::new(), record: Vec::new(), failed: false }))
    }

    /// Has the disk take what these runs hold, all of them at once. They are in their journals already.
    pub(super) fn sync(&mut self, batch: &[Job]) -> io::Result<()> {
        let size: usize = batch.iter().map(|job| HEAD + job.bytes.len()).sum();
        if size > SIZE / 2 {
            return sync_each(batch);
        }
        if !self.is_in_place() && !self.replace() {
            return sync_each(batch);
        }
        if (self.failed || self.at + size > SIZE) && !self.begin_anew() {
            return sync_each(batch);
        }
        self.record.clear();
        for job in batch {
            put(&mut self.record, self.generation, job);
            self.journals.entry(job.session.clone()).or_insert_with(|| Mentioned::new(job));
        }
        let synced = self.file.write_all_at(&self.record, self.at as u64).and_then(|()| self.file.sync_data());
        self.failed = synced.is_err();
        self.at += size;
        if self.record.capacity() > SIZE / 16 {
            self.record = Vec::new();
        }
        synced
    }

    /// Whether its file is where a start would look for it.
    fn is_in_place(&self) -> bool {
        let id = |found: io::Result<Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
        let ours = id(self.file.metadata());
        ours.is_some() && ours == id(self.path.metadata())
    }

    /// Its folder was made anew: makes another one there. Tells whether there is one now.
    fn replace(&mut self) -> bool {
        if !self.begin_anew() {
            return false;
        }
        let made = self.path.parent().and_then(|dir| Self::create(dir).ok().flatten());
        let is_made = made.is_some();
        if let Some(made) = made {
            *self = Self { generation: self.generation, ..made };
        }
        is_made
    }

    /// What it holds is on the disk elsewhere, so that it can be written from its beginning. False where that is not so: nothing of it may be
    /// written over.
    fn begin_anew(&mut self) -> bool {
        self.journals.retain(|_, journal| !journal.settle(&self.path));
        if !self.journals.is_empty() {
            return false;
        }
        self.generation += 1;
        self.at = 0;
        self.failed = false;
        true
    }
}

/// Without a ledger, and for much at once: each journal is synced by itself.
pub(super) fn sync_each(batch: &[Job]) -> io::Result<()> {
    let files: BTreeMap<&SessionId, &Arc<File>> = batch.iter().map(|job| (&job.session, &job.file)).collect();
    files.into_values().try_for_each(|file| file.sync_data())
}

fn put(record: &mut Vec<u8>, generation: u64, job: &Job) {
    let begin = record.len();
    let length = u32::try_from(job.bytes.len()).unwrap_or(u32::MAX);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&generation.to_le_bytes());
    record.extend_from_slice(&job.at.to_le_bytes());
    let mut id = [0; ID];
    id.iter_mut().zip(job.session.as_str().bytes()).for_each(|(to, byte)| *to = byte);
    record.extend_from_slice(&id);
    record.extend_from_slice(&job.bytes);
    let sum = checksum(record.get(begin..).unwrap_or_default());
    if let Some(place) = record.get_mut(begin + 4..begin + 8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Over a record without the checksum's own place.
fn checksum(record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(record.get(..4).unwrap_or_default());
    sum.update(record.get(8..).unwrap_or_default());
    sum.finalize()
}

/// One run, as the ledger has it.
struct Run<'a> {
    generation: u64,
    at: u64,
    session: SessionId,
    bytes: &'a [u8],
    used: usize,
}

/// The record at the beginning of `bytes`, if it is whole and right.
fn run_of(bytes: &[u8]) -> Option<Run<'_>> {
    let number = |from: usize| bytes.get(from..from + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let small = |from: usize| bytes.get(from..from + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let used = HEAD.checked_add(usize::try_from(small(0)?).ok()?)?;
    let record = bytes.get(..used)?;
    if checksum(record) != small(4)? {
        return None;
    }
    let id = std::str::from_utf8(record.get(HEAD - ID..HEAD)?).ok()?.trim_end_matches('\0');
    Some(Run { generation: number(8)?, at: number(16)?, session: SessionId::parse(id).ok()?, bytes: record.get(HEAD..)?, used })
}

/// Puts back what journals in `dir` lost in a power cut, and takes the ledger away. Killed in the middle, it can be run again. Returns how many
/// runs a journal did not have. Without a ledger, or beside a process that uses it, there is nothing to do.
pub fn restore(dir: &Path) -> Result<usize, RecordError> {
    let path = dir.join(NAME);
    let failed = |what| RecordError::io(what, &path);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened.map_err(failed("open"))?,
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    let mut bytes = Vec::new();
    (&file).take(SIZE as u64).read_to_end(&mut bytes).map_err(failed("read"))?;
    let (mut rest, mut generation, mut missing) = (bytes.as_slice(), None, 0);
    let mut journals: BTreeMap<SessionId, Option<File>> = BTreeMap::new();
    while let Some(run) = run_of(rest).filter(|run| *generation.get_or_insert(run.generation) == run.generation) {
        let journal = journals.entry(run.session.clone()).or_insert_with(|| {
            let path = dir.join(format!("{}.journal", run.session));
            OpenOptions::new().read(true).write(true).open(path).ok()
        });
        // Sealed since then, and gone.
        if let Some(journal) = journal {
            missing += usize::from(put_back(journal, &run).map_err(failed("restore a journal from"))?);
        }
        rest = rest.get(run.used..).unwrap_or_default();
    }
    for journal in journals.values().flatten() {
        journal.sync_all().map_err(failed("sync a journal from"))?;
    }
    std::fs::remove_file(&path).map_err(failed("remove"))?;
    Ok(missing)
}

/// Writes a run where it belongs, unless it is there. A journal that is shorter than that lost more than was ever shown.
fn put_back(journal: &File, run: &Run<'_>) -> io::Result<bool> {
    let length = journal.metadata()?.len();
    let mut there = vec![0; run.bytes.len()];
    if length < run.at || (journal.read_exact_at(&mut there, run.at).is_ok() && there == run.bytes) {
        return Ok(false);
    }
    journal.write_all_at(run.bytes, run.at)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::journal::{Journal, Level};
    use crate::recording::scribe::Scribe;
    use crate::recording::{Body, Frame, Recorder, sample};

    fn say(journal: &mut Journal, scribe: &Scribe, bytes: &[u8]) -> crate::recording::Landing {
        journal.stage(&Frame { channel: 1, at: 0, body: Body::Out(bytes) }).unwrap();
        journal.hand_over(scribe).unwrap()
    }

    /// Waits until the scribe's thread has let go of it.
    fn is_left(dir: &Path) {
        flock(File::open(dir.join(NAME)).unwrap(), FlockOperation::LockExclusive).unwrap();
    }

    /// What was shown is in the ledger, whatever a power cut took of the journal.
    #[tokio::test]
    async fn what_a_journal_lost_in_a_power_cut_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Power, dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Power).unwrap();
        let _recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        let head = journal.len();
        for n in 0..50_usize {
            say(&mut journal, &scribe, &vec![b'x'; n * 31]).landed().await.unwrap();
        }
        let whole = std::fs::read(journal.path()).unwrap();
        let ledger = std::fs::read(dir.path().join(NAME)).unwrap();
        let path = journal.path().to_owned();
        drop((journal, scribe));
        is_left(dir.path());
        for kept in [head as usize, head as usize + 5, whole.len() / 2, whole.len() - 1, whole.len()] {
            std::fs::write(&path, &whole[..kept]).unwrap();
            // Blocks that were never written come back as zeros.
            std::fs::File::options().write(true).open(&path).unwrap().set_len(kept as u64 + (kept as u64 % 2) * 4096).unwrap();
            std::fs::write(dir.path().join(NAME), &ledger).unwrap();
            let missing = restore(dir.path()).unwrap();
            assert_eq!(missing > 0, kept < whole.len(), "{kept}");
            assert_eq!(&std::fs::read(&path).unwrap()[..whole.len()], whole, "{kept}");
            assert_eq!(restore(dir.path()).unwrap(), 0, "it is gone");
        }
    }

    #[tokio::test]
    async fn used_from_its_beginning_again_it_speaks_of_the_new_alone() {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Power, dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Power).unwrap();
        let _recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        let large = vec![b'y'; 900 * 1024];
        while journal.len() < 2 * SIZE as u64 {
            say(&mut journal, &scribe, &large).landed().await.unwrap();
        }
        say(&mut journal, &scribe, b"the last").landed().await.unwrap();
        let whole = std::fs::read(journal.path()).unwrap();
        let path = journal.path().to_owned();
        drop((journal, scribe));
        is_left(dir.path());
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        let bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        let first = run_of(&bytes).unwrap();
        assert!(first.generation > 1 && first.at > 0);
        assert_eq!(restore(dir.path()).unwrap(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    /// Whoever seals later needs the lock, and the disk the blocks.
    #[tokio::test]
    async fn a_journal_whose_session_is_over_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Power, dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Power).unwrap();
        let recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        say(&mut journal, &scribe, b"shown").landed().await.unwrap();
        let path = journal.path().to_owned();
        drop((journal, recorder));
        let begun = std::time::Instant::now();
        while flock(File::open(&path).unwrap(), FlockOperation::NonBlockingLockExclusive).is_err() {
            assert!(begun.elapsed().as_secs() < 30, "the ledger holds it");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop(scribe);
    }

    #[test]
    fn it_begins_anew_when_the_journals_of_sessions_that_are_over_are_safe() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(dir.path()).unwrap().unwrap();
        let over = |path: &str| Mentioned { file: Weak::new(), path: dir.path().join(path).into(), bell: Bell::default(), told: false };
        std::fs::write(dir.path().join("unsealed"), b"x").unwrap();
        // One that cannot be reached now, and may be later.
        for (number, path) in [(1, "unsealed"), (2, "sealed"), (3, "unsealed/no folder"), (4, "away/journal")] {
            ledger.journals.insert(SessionId::parse(&format!("s-00000{number}")).unwrap(), over(path));
        }
        ledger.at = 7;
        assert!(!ledger.begin_anew());
        assert_eq!((ledger.at, ledger.generation, ledger.journals.len()), (7, 1, 2), "nothing of it is written over");
        std::fs::remove_file(dir.path().join("unsealed")).unwrap();
        for folder in ["unsealed", "away"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        assert!(ledger.begin_anew());
        assert_eq!((ledger.at, ledger.generation, ledger.journals.len()), (0, 2, 0));
    }

    #[tokio::test]
    async fn one_that_is_gone_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Power, dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Power).unwrap();
        let _recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        let head = journal.len() as usize;
        say(&mut journal, &scribe, b"before").landed().await.unwrap();
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        say(&mut journal, &scribe, b"after").landed().await.unwrap();
        let whole = std::fs::read(journal.path()).unwrap();
        let bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        let first = run_of(&bytes).unwrap();
        assert!(first.bytes.ends_with(b"after") && first.generation > 1 && first.at > head as u64);
        let (path, length) = (journal.path().to_owned(), first.at);
        drop((journal, scribe));
        is_left(dir.path());
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        assert_eq!(restore(dir.path()).unwrap(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[tokio::test]
    async fn a_byte_that_is_wrong_hides_what_follows_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Power, dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Power).unwrap();
        let _recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        let head = journal.len() as usize;
        for n in 0..4_usize {
            say(&mut journal, &scribe, &vec![b'x'; n]).landed().await.unwrap();
        }
        let whole = std::fs::read(journal.path()).unwrap();
        let mut ledger = std::fs::read(dir.path().join(NAME)).unwrap();
        ledger.truncate(400);
        let path = journal.path().to_owned();
        drop((journal, scribe));
        is_left(dir.path());
        for at in 0..ledger.len() {
            let mut wrong = ledger.clone();
            wrong[at] ^= 0x20;
            std::fs::write(dir.path().join(NAME), &wrong).unwrap();
            std::fs::write(&path, &whole[..head]).unwrap();
            restore(dir.path()).unwrap();
            let back = std::fs::read(&path).unwrap();
            assert!(whole.starts_with(&back) && back.len() >= head, "{at}");
        }
    }

    #[test]
    fn nothing_wrong_in_it_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"x", &[0; 64], &[0xff; 4096]] {
            std::fs::write(dir.path().join(NAME), bytes).unwrap();
            assert_eq!(restore(dir.path()).unwrap(), 0);
            assert!(!dir.path().join(NAME).exists());
        }
    }
}
