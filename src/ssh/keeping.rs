//! Keeps what the relay hands over: into the session's journal, before anybody sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tap::{Beginning, Keep, Kept, Purpose, Way};
use crate::access::time::Clock;
use crate::recording::{
    Body, ChannelKind, ChannelMeta, Frame, Journal, Level, ManifestSigner, RecordError, Recorder, SealedSession, SessionMeta, TerminalMeta,
    text,
};
use crate::session::Ending;

/// Where sessions are kept: journals while they run, recordings for good.
pub struct Archive {
    /// `state/journal`.
    pub journals: PathBuf,
    /// The recordings' root.
    pub recordings: PathBuf,
    /// Who signs manifests at this moment. Asked once for each: a key that is replaced while one is made must not end up beside the
    /// other's signature.
    pub signer: Arc<dyn Fn() -> Arc<dyn ManifestSigner> + Send + Sync>,
}

/// A session's journal and the recorder that follows it.
pub(super) struct Keeping {
    journal: Journal,
    recorder: Recorder,
    archive: Arc<Archive>,
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl Keeping {
    /// Opens the journal and starts the recorder. Nothing is shown to anybody before this has worked.
    /// `index`: what stands on the screens may be kept for search.
    pub(super) fn begin(archive: &Arc<Archive>, clock: &Arc<dyn Clock>, meta: &SessionMeta, index: bool) -> Result<Self, RecordError> {
        let journal = Journal::create(&archive.journals, meta, Level::Process)?;
        if index {
            text::prepare(journal.path())?;
        }
        let recorder = Recorder::start(&archive.recordings, &journal)?;
        Ok(Self { began: clock.since_boot(), journal, recorder, archive: Arc::clone(archive), clock: Arc::clone(clock) })
    }

    /// Ends the recording and seals it. `None` when that failed: the journal stays, and the next start finishes it.
    pub(super) async fn seal(mut self, ending: Ending) -> Option<SealedSession> {
        let at = self.now();
        if let Err(error) = self.journal.finish(ending.as_str(), at) {
            tracing::error!(session = %self.journal.meta().session, %error, "a journal could not be finished");
        }
        match self.recorder.seal(ending.as_str(), (self.archive.signer)()).await {
            Ok(sealed) => Some(sealed),
            Err(error) => {
                tracing::error!(session = %self.journal.meta().session, %error, "a recording is not sealed; the next start seals it");
                None
            }
        }
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
        let at = self.now();
        self.journal.add(&Frame { channel, at, body })?;
        self.journal.commit().map(|_| ())
    }
}

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
