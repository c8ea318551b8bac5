//! The scribe: one thread that writes every session's journal, so that a disk that stands still stops no session's thread, no timer, no
//! word to a user and no cut.
//!
//! What several sessions hand over at the same time is one batch, and at level `power` the batch has one sync. The queue is bounded by its
//! users: a session hands over a run and waits for it before it reads on.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use super::RecordError;
use super::bell::Bell;
use super::journal::Level;
use super::ledger::{self, Ledger};
use super::settling::Settling;
use crate::access::names::SessionId;

/// Runs that wait, of all sessions together: a few of each. One that finds no place ends its session.
const WAITING: usize = 16 * 1024;
/// Runs in one batch.
const BATCH: usize = 256;

/// A handle on the thread. It ends with the last handle, when everything is written.
#[derive(Debug, Clone)]
pub struct Scribe(mpsc::Sender<Job>);

/// A run of whole frames of one journal.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) session: SessionId,
    pub(super) file: Arc<File>,
    pub(super) path: Arc<Path>,
    pub(super) bell: Bell,
    pub(super) bytes: Vec<u8>,
    /// Where in the journal the run begins.
    pub(super) at: u64,
    /// The number of its last frame.
    pub(super) seq: u64,
    /// Where the memory goes back to.
    pub(super) spare: Option<SyncSender<Vec<u8>>>,
    /// The first of its journal.
    pub(super) first: bool,
    /// It is kept.
    pub(super) landed: bool,
}

impl Scribe {
    /// Starts the thread for the journals in `dir`. Fails when the machine gives none, or where the disk does not give what `level` needs.
    pub fn start(level: Level, dir: &Path) -> Result<Self, RecordError> {
        let (sender, jobs) = mpsc::channel(WAITING);
        let syncs = match level {
            Level::Process => Syncs::Soon(Settling::start().map_err(RecordError::io("start what syncs", dir))?),
            Level::Power => Ledger::create(dir)?.map_or(Syncs::Each, |ledger| Syncs::Together(Box::new(ledger))),
        };
        Self::spawn(sender, jobs, syncs).map_err(RecordError::io("start the scribe of", dir))
    }

    fn spawn(sender: mpsc::Sender<Job>, jobs: mpsc::Receiver<Job>, syncs: Syncs) -> io::Result<Self> {
        std::thread::Builder::new().name("scribe".into()).spawn(move || run(jobs, syncs))?;
        Ok(Self(sender))
    }

    pub(super) fn write(&self, job: Job) -> Result<(), RecordError> {
        self.0.try_send(job).map_err(|unsent| {
            let job = match unsent {
                mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job,
            };
            job.bell.fail(&job.path, "too much waits for the disk");
            job.bell.failure()
        })
    }
}

/// What is done before a batch counts as kept.
enum Syncs {
    Soon(Settling),
    Each,
    Together(Box<Ledger>),
    /// Panics, once.
    #[cfg(test)]
    Stumbles(bool),
}

impl Syncs {
    fn sync(&mut self, batch: &[Job]) -> io::Result<()> {
        match self {
            _ if batch.is_empty() => Ok(()),
            Self::Soon(settling) => {
                settling.note(batch);
                Ok(())
            }
            Self::Each => ledger::sync_each(batch),
            Self::Together(ledger) => ledger.sync(batch),
            #[cfg(test)]
            Self::Stumbles(stumbled) => {
                assert!(std::mem::replace(stumbled, true), "as told");
                Ok(())
            }
        }
    }
}

/// Where it panics, the sessions of that batch end, because nobody can say what of it is kept; the others go on.
fn run(mut jobs: mpsc::Receiver<Job>, mut syncs: Syncs) {
    while catch_unwind(AssertUnwindSafe(|| write_all(&mut jobs, &mut syncs))).is_err() {
        tracing::error!("the scribe stumbled over a batch; its sessions end");
    }
}

fn write_all(jobs: &mut mpsc::Receiver<Job>, syncs: &mut Syncs) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.blocking_recv_many(&mut batch, BATCH) > 0 {
        batch.retain(Job::write);
        let synced = syncs.sync(&batch);
        for job in batch.drain(..) {
            match &synced {
                Ok(()) => job.done(),
                Err(error) => job.failed(format!("cannot be synced: {error}")),
            }
        }
    }
}

impl Job {
    /// One write call. A journal in which an earlier run failed takes no more: what came after a hole could never be read.
    fn write(&self) -> bool {
        if self.bell.poisoned() {
            return false;
        }
        let want = self.bytes.len();
        let wrote = loop {
            match (&*self.file).write(&self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                wrote => break wrote,
            }
        };
        match wrote {
            Ok(n) if n == want => return true,
            Ok(n) => self.failed(format!("only {n} of {want} bytes were written")),
            Err(error) => self.failed(format!("cannot be written: {error}")),
        }
        false
    }

    fn failed(&self, why: String) {
        self.bell.fail(&self.path, why);
        tracing::error!(session = %self.session, error = %self.bell.failure(), "a journal failed, its session ends");
    }

    fn done(mut self) {
        self.bell.kept(self.seq, self.at + self.bytes.len() as u64);
        self.landed = true;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // One too many is given back to the system.
        let _ = self.spare.take().map(|spare| spare.try_send(bytes));
    }
}

/// What is lost on the way ends its session: nobody waits for it in vain.
impl Drop for Job {
    fn drop(&mut self) {
        if !self.landed && !self.bell.poisoned() {
            self.bell.fail(&self.path, "was not written to its end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::recording::bell::BEHIND_AT_MOST;
    use crate::recording::journal::{Journal, JournalReader, Next};
    use crate::recording::{Body, Frame, Landing, Recorder, sample};

    const SOON: Duration = Duration::from_secs(20);
    const NOT_YET: Duration = Duration::from_millis(50);

    fn started() -> (tempfile::TempDir, Scribe) {
        let dir = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(Level::Process, dir.path()).unwrap();
        (dir, scribe)
    }

    fn journal(dir: &tempfile::TempDir, level: Level) -> Journal {
        Journal::create(dir.path(), &sample::meta(), level).unwrap()
    }

    fn say(journal: &mut Journal, scribe: &Scribe, bytes: &[u8]) -> Result<Landing, RecordError> {
        journal.stage(&Frame { channel: 1, at: 0, body: Body::Out(bytes) })?;
        journal.hand_over(scribe)
    }

    async fn lands(landing: &Landing) -> Result<(), RecordError> {
        timeout(SOON, landing.landed()).await.expect("it lands or fails")
    }

    #[tokio::test]
    async fn what_has_landed_is_in_the_journal() {
        let (dir, scribe) = started();
        let mut journal = journal(&dir, Level::Process);
        let _recorder = Recorder::start(&dir.path().join("recordings"), &journal).unwrap();
        for n in 0..100_usize {
            let landing = say(&mut journal, &scribe, &vec![b'x'; n * 700]).unwrap();
            lands(&landing).await.unwrap();
            assert_eq!(std::fs::metadata(journal.path()).unwrap().len(), journal.len());
        }
        let mut reader = JournalReader::open(journal.path()).unwrap();
        for n in 0..100 {
            let Next::Frame(_, frame) = reader.next_frame().unwrap() else { panic!("frame {n}") };
            assert!(matches!(frame.body, Body::Out(bytes) if bytes.len() == n * 700));
        }
        journal.conclude(&scribe, "left", 1, SOON).await.unwrap();
        assert!(say(&mut journal, &scribe, b"after the end").is_err());
    }

    /// A disk that takes 200 KB or so and then stands still, until it is read from.
    fn standing_still(journal: &mut Journal) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        journal.replace(File::from(OwnedFd::from(ours)));
        theirs
    }

    #[tokio::test]
    async fn a_disk_that_stands_still_stops_nobody_but_who_waits_for_it() {
        let (dir, scribe) = started();
        let mut journal = journal(&dir, Level::Process);
        let mut disk = standing_still(&mut journal);
        let landing = say(&mut journal, &scribe, &[b'x'; 900_000]).unwrap();
        assert!(timeout(NOT_YET, landing.landed()).await.is_err(), "nothing has landed");
        let more = say(&mut journal, &scribe, b"more").unwrap();
        assert!(timeout(NOT_YET, more.landed()).await.is_err());
        landing.give_up();
        assert!(matches!(lands(&more).await, Err(RecordError::Poisoned)));
        assert!(say(&mut journal, &scribe, b"nothing more").is_err());
        // It moves again: what was given up for lost may still arrive, what came after it never does.
        let mut arrived = vec![0; 900_000 + crate::recording::frames::HEAD];
        disk.read_exact(&mut arrived).unwrap();
        drop((journal, landing, more, scribe));
        assert_eq!(disk.read(&mut arrived).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_short_write_or_an_error_is_the_end_and_says_why() {
        let (dir, scribe) = started();
        let mut short = journal(&dir, Level::Process);
        let disk = standing_still(&mut short);
        short.nonblocking();
        let landing = say(&mut short, &scribe, &[b'x'; 900_000]).unwrap();
        let said = lands(&landing).await.unwrap_err().to_string();
        assert!(said.contains(" of 900029 bytes were written") && said.contains("s-000001.journal"), "{said}");
        assert_eq!(say(&mut short, &scribe, b"x").unwrap_err().to_string(), said);
        drop((short, disk));
        let other = tempfile::tempdir().unwrap();
        let mut full = journal(&other, Level::Process);
        full.replace(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let landing = say(&mut full, &scribe, b"x").unwrap();
        let said = lands(&landing).await.unwrap_err().to_string();
        assert!(said.contains("No space left on device"), "{said}");
    }

    #[tokio::test]
    async fn a_scribe_that_panics_ends_who_was_on_its_way_and_writes_on() {
        let (sender, jobs) = mpsc::channel(WAITING);
        let scribe = Scribe::spawn(sender, jobs, Syncs::Stumbles(false)).unwrap();
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut lost, mut other) = (journal(&one, Level::Process), journal(&two, Level::Process));
        let landing = say(&mut lost, &scribe, b"x").unwrap();
        let said = lands(&landing).await.unwrap_err().to_string();
        assert!(said.contains("was not written to its end"), "{said}");
        assert!(say(&mut lost, &scribe, b"x").is_err(), "nothing more of it");
        lands(&say(&mut other, &scribe, b"y").unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn who_shows_more_waits_for_the_recorder() {
        let (dir, scribe) = started();
        let mut journal = journal(&dir, Level::Process);
        let bell = journal.bell();
        let landing = say(&mut journal, &scribe, &[b'x'; 1000]).unwrap();
        lands(&landing).await.unwrap();
        let mut landing = landing;
        while journal.len() <= BEHIND_AT_MOST {
            landing = say(&mut journal, &scribe, &[b'x'; 100_000]).unwrap();
        }
        assert!(timeout(NOT_YET, landing.landed()).await.is_err(), "the recorder is far behind");
        let waits = landing.landed();
        let end = journal.len();
        let (landed, ()) = tokio::join!(timeout(SOON, waits), async { bell.read(end) });
        landed.expect("it lands").unwrap();
    }
}
