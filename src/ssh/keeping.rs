//! Keeps what the relay hands over: into the session's journal, before anybody sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::quota::Quota;
use super::tap::{Beginning, Keep, Kept, Lands, Purpose, Way};
use crate::access::time::Clock;
use crate::recording::{
    Body, ChannelKind, ChannelMeta, Disk, Frame, Inside, Journal, Level, ManifestSigner, RecordError, Recorder, Scribe, SealedSession,
    SessionMeta, TerminalMeta, Trouble, text,
};
use crate::session::Ending;

/// Who signs manifests at this moment. Asked once for each: a key that is replaced while one is made must not end up beside the other's
/// signature.
pub type Signers = Arc<dyn Fn() -> Arc<dyn ManifestSigner> + Send + Sync>;

/// Where sessions are kept: journals while they run, recordings for good.
pub struct Archive {
    /// `state/journal`.
    pub journals: PathBuf,
    /// The recordings' root.
    pub recordings: PathBuf,
    /// Who signs manifests.
    pub signer: Signers,
    /// When something counts as kept.
    level: Level,
    /// How long a session waits for the disk.
    pub(super) patience: Duration,
    /// Whether anything can be kept at this moment.
    pub(super) disk: Disk,
    scribe: Scribe,
}

impl Archive {
    /// Makes the folders where they are not there, and starts what writes and watches.
    pub fn open(
        journals: PathBuf,
        recordings: PathBuf,
        signer: Signers,
        (level, patience): (Level, Duration),
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, RecordError> {
        let disk = Disk::watch(&journals, &recordings, Arc::clone(clock))?;
        let scribe = Scribe::start(level, &journals)?;
        Ok(Self { journals, recordings, signer, level, patience, disk, scribe })
    }
}

/// A session's journal and the recorder that follows it.
pub(super) struct Keeping {
    journal: Journal,
    recorder: Recorder,
    archive: Arc<Archive>,
    clock: Arc<dyn Clock>,
    began: Duration,
    /// How much may be kept; without bound where nobody visits.
    quota: Option<Quota>,
    _inside: Inside,
}

/// What came of a seal.
pub(super) enum Sealing {
    /// The recordings are whole and signed.
    Done(Box<SealedSession>),
    /// Not yet: the disk does not take it. Its journal is finished when it does.
    Later(PathBuf),
}

impl Keeping {
    /// Opens the journal and starts the recorder. Nothing is shown to anybody before this has worked.
    /// `index`: what stands on the screens may be kept for search.
    pub(super) async fn begin(
        archive: &Arc<Archive>,
        clock: &Arc<dyn Clock>,
        meta: &SessionMeta,
        index: bool,
        quota: Option<Quota>,
    ) -> Result<Self, RecordError> {
        let inside = archive.disk.enter();
        let (of_thread, meta) = (Arc::clone(archive), meta.clone());
        let work = spawn_blocking(move || {
            let reserve = of_thread.disk.reserve()?;
            let journal = Journal::create(&of_thread.journals, &meta, of_thread.level)?;
            if index {
                text::prepare(journal.path())?;
            }
            let recorder = Recorder::start_with(&of_thread.recordings, &journal, reserve)?;
            Ok::<_, RecordError>((journal, recorder))
        });
        let (journal, recorder) = match timeout(archive.patience, work).await {
            Ok(made) => made.unwrap_or(Err(RecordError::Poisoned))?,
            Err(_) => return Err(RecordError::Silent),
        };
        let (archive, clock) = (Arc::clone(archive), Arc::clone(clock));
        Ok(Self { began: clock.since_boot(), journal, recorder, archive, clock, quota, _inside: inside })
    }

    /// Ends the recording and seals it. Where the disk has failed it, it is not waited for longer than it would be for a session.
    /// With what comes of it comes the session's quota back, to be held until the store knows what is sealed.
    pub(super) async fn seal(mut self, ending: Ending) -> (Sealing, Option<Quota>) {
        let (at, archive) = (self.now(), Arc::clone(&self.archive));
        let mut failed = self.journal.failed();
        // One that failed takes no last word either.
        if !failed && let Err(error) = self.journal.conclude(&archive.scribe, ending.as_str(), at, archive.patience).await {
            tracing::error!(session = %self.journal.meta().session, %error, "a journal could not be finished");
            failed = true;
        }
        let (quota, patience) = (self.quota.take(), if failed { archive.patience } else { SEALING });
        let work = self.recorder.seal(ending.as_str(), (archive.signer)());
        let error = match timeout(patience, work).await {
            Ok(Ok(sealed)) => return (Sealing::Done(Box::new(sealed)), quota),
            Ok(Err(error)) => error,
            Err(_) => RecordError::Silent,
        };
        tracing::error!(session = %self.journal.meta().session, %error, "a recording is not sealed yet; it is tried again");
        (Sealing::Later(self.journal.path().to_owned()), quota)
    }

    /// Microseconds since the session began.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.since_boot().saturating_sub(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Keep for Keeping {
    fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
        let words;
        let (channel, body) = match what {
            Kept::Began(beginning) => (beginning.channel, Body::Open(meta(&beginning))),
            Kept::Out(channel, bytes) => (channel, Body::Out(bytes)),
            Kept::Err(channel, bytes) => (channel, Body::Err(bytes)),
            Kept::In(channel, bytes) => (channel, Body::In(bytes)),
            Kept::Resized { channel, columns, rows } => (channel, Body::Resize { cols: columns, rows }),
            Kept::Carried { channel, up, down } => (channel, Body::Count { up, down }),
            Kept::Joined { channel, way, target } => (channel, Body::Open(connection(way, target))),
            Kept::Told(channel, line) => (channel, Body::Told(line)),
            Kept::Digested(channel, digested) => (channel, Body::Digested(digested)),
            Kept::File { channel, act } => {
                words = serde_json::to_string(act).map_err(|error| RecordError::Act(error.to_string()))?;
                (channel, Body::File(&words))
            }
            Kept::Exit { channel, status, signal } => {
                words = match (status, signal) {
                    (Some(status), _) => format!("exit status {status}"),
                    (None, signal) => format!("ended by signal {}", signal.unwrap_or("?")),
                };
                (channel, Body::Marker(&words))
            }
            Kept::Said(channel, text) => (channel, Body::Marker(text)),
            Kept::Ended(channel) => (channel, Body::Close),
        };
        if self.archive.disk.is_full() {
            self.journal.poison(Trouble::Full);
        }
        let at = self.now();
        let before = self.journal.size();
        self.journal.stage(&Frame { channel, at, body })?;
        let more = self.journal.size() - before;
        // It is kept then, but not shown.
        self.quota.as_mut().map_or(Ok(()), |quota| quota.take(more)).map_err(RecordError::Quota)
    }
}

impl Lands for Keeping {
    fn taken(&self) -> u64 {
        self.journal.last().0
    }

    fn commit(&mut self) -> impl Future<Output = Result<(), RecordError>> + use<> {
        let handed = self.journal.hand_over(&self.archive.scribe);
        let patience = self.archive.patience;
        async move {
            let landing = handed?;
            match timeout(patience, landing.landed()).await {
                Ok(landed) => landed,
                Err(_) => {
                    landing.give_up();
                    Err(RecordError::Silent)
                }
            }
        }
    }
}

/// For a recording that is sealed on a disk that works, however long it is.
const SEALING: Duration = Duration::from_secs(600);

fn meta(beginning: &Beginning<'_>) -> ChannelMeta {
    ChannelMeta {
        kind: match beginning.purpose {
            Purpose::Shell => ChannelKind::Shell,
            Purpose::Exec => ChannelKind::Exec,
            Purpose::Sftp => ChannelKind::Sftp,
        },
        command: beginning.command.map(<[u8]>::to_vec),
        terminal: beginning.terminal.map(|t| TerminalMeta { term: t.term.clone(), cols: t.columns, rows: t.rows }),
    }
}

fn connection(way: Way, target: Option<&str>) -> ChannelMeta {
    let kind = match way {
        Way::Forward => ChannelKind::Forward,
        Way::Reverse => ChannelKind::Reverse,
        Way::Agent => ChannelKind::Agent,
    };
    ChannelMeta { kind, command: target.map(|target| target.as_bytes().to_vec()), terminal: None }
}
