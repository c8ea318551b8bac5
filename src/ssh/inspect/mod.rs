//! One look at a host: a session of its own in which one fixed script runs, recorded before it is read. The host may be hostile: what it
//! answers is bounded in size and time, and taken apart in [`report`] by a reader that believes nothing.

pub mod report;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncRead;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

use super::keeping::{Archive, Keeping, Sealing};
use super::leg::{Leg, LegError};
use super::tap::{Beginning, Keep as _, Kept, Lands as _, Purpose};
use super::upstream::{self, DialError, Upstream};
use crate::access::time::Clock;
use crate::broker::{self, AuditAdmission, Broker, Standing};
use crate::recording::{RecordError, SealedSession};
use crate::session::Ending;
use crate::wire::channel::{self, Message, RequestKind};
use crate::wire::codec::WireError;
use report::{BadReport, Report};

/// Why a look told nothing; each is a sentence for an administrator. What was seen until then is recorded all the same.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The law says no, or we broke.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The host did not let us in.
    #[error("{0}")]
    Dial(String),
    /// The connection failed on the way.
    #[error("the host broke off: {0}")]
    Broken(String),
    /// The host refused the channel or the command.
    #[error("the host would not run the script: {0}")]
    NotRun(String),
    /// It took too long.
    #[error("the host did not finish within {0} s")]
    Slow(u64),
    /// It sent more than it may.
    #[error("the host sent more than {0} bytes")]
    TooMuch(u32),
    /// What is seen cannot be kept, so nothing is looked at.
    #[error("it cannot be recorded: {0}")]
    Record(#[from] RecordError),
    /// The script's answer is not one.
    #[error("what the host answered makes no sense: {0}")]
    Report(#[from] BadReport),
}

impl From<LegError> for InspectError {
    fn from(error: LegError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<WireError> for InspectError {
    fn from(error: WireError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<DialError> for InspectError {
    fn from(error: DialError) -> Self {
        Self::Dial(error.to_string())
    }
}

/// Has the script run on the admitted host, keeps and seals what it says, tells the log, and reads it.
pub async fn inspect(
    broker: &Broker,
    archive: &Arc<Archive>,
    clock: &Arc<dyn Clock>,
    admission: AuditAdmission,
) -> Result<Report, InspectError> {
    let (looked, sealed) = match enter(broker, clock, &admission).await {
        Ok(upstream) => look(archive, clock, &admission, upstream).await,
        Err(error) => (Err(error), None),
    };
    let read = looked.and_then(|answer| Ok(report::parse(&answer)?));
    let found = read.as_ref().ok().map(|report| Standing { keys: report.standing(), unread: report.unread.len() as u64 });
    let ending = match &read {
        Ok(_) | Err(InspectError::Report(_)) => Ending::Left,
        Err(InspectError::Record(_)) => Ending::RecorderFailed,
        Err(InspectError::TooMuch(_)) => Ending::OverBudget,
        Err(_) => Ending::PeerGone,
    };
    broker.close_audit(admission, ending, sealed.as_ref(), found).await.map_err(broker::Error::from)?;
    read
}

async fn enter(broker: &Broker, clock: &Arc<dyn Clock>, admission: &AuditAdmission) -> Result<Upstream, InspectError> {
    let host = admission.host();
    let reached = upstream::reach(host).await?;
    let own = upstream::fresh_key();
    let certificate = broker.certify_audit(admission, own.public_key(), reached.local).await?;
    Ok(upstream::enter(reached, host, admission.login(), &own, &certificate, clock.now()).await?)
}

type Looked = (Result<Vec<u8>, InspectError>, Option<SealedSession>);

/// Runs the script and keeps every byte before it is read; then seals.
async fn look(archive: &Arc<Archive>, clock: &Arc<dyn Clock>, admission: &AuditAdmission, upstream: Upstream) -> Looked {
    let mut keeping = match Keeping::begin(archive, clock, admission.meta(), false, None).await {
        Ok(keeping) => keeping,
        Err(error) => return (Err(error.into()), None),
    };
    let Upstream { leg, mut reader, .. } = upstream;
    let run = timeout(PATIENCE, run(&leg, &mut reader, admission.command(), &mut keeping)).await;
    leg.with(|transport| transport.disconnect(BY_APPLICATION, "the look is over"));
    // Whether the goodbye arrives is no matter.
    let _ = timeout(FAREWELL, leg.flush()).await;
    let run = run.unwrap_or(Err(InspectError::Slow(PATIENCE.as_secs())));
    let ending = if run.is_ok() { Ending::Left } else { Ending::PeerGone };
    let sealed = match keeping.seal(ending).await.0 {
        Sealing::Done(sealed) => Some(*sealed),
        // This process does not stay: the next start of the bastion finishes it.
        Sealing::Later(_) => None,
    };
    (run, sealed)
}

/// From the open channel to its close; what the script wrote to standard output.
async fn run<R: AsyncRead + Unpin>(
    leg: &Leg<OwnedWriteHalf>,
    reader: &mut R,
    command: &str,
    keeping: &mut Keeping,
) -> Result<Vec<u8>, InspectError> {
    leg.send(&channel::open_session(OURS, MOST, LARGEST)).await?;
    let mut answer = Answer::default();
    loop {
        let message = leg.receive(reader).await?;
        let reply = match channel::parse(&message)? {
            Message::Confirmation { sender, .. } if answer.channel.is_none() => {
                answer.channel = Some(sender);
                let beginning = Beginning { channel: FIRST, purpose: Purpose::Exec, command: Some(command.as_bytes()), terminal: None };
                keeping.keep(Kept::Began(beginning))?;
                Some(channel::exec(sender, command.as_bytes()))
            }
            Message::OpenFailure { reason, .. } => return Err(InspectError::NotRun(words(reason))),
            Message::Failure { .. } if !answer.runs => return Err(InspectError::NotRun("it refused the command".into())),
            Message::Success { .. } => {
                answer.runs = true;
                None
            }
            Message::Close { .. } => {
                keeping.keep(Kept::Ended(FIRST))?;
                keeping.commit().await?;
                return answer.whole();
            }
            other => answer.take(&other, keeping)?,
        };
        keeping.commit().await?;
        if let Some(reply) = reply {
            leg.send(&reply).await?;
        }
    }
}

/// What has come of the one channel so far.
#[derive(Default)]
struct Answer {
    /// The host's number of it.
    channel: Option<u32>,
    runs: bool,
    out: Vec<u8>,
    err: Vec<u8>,
    seen: usize,
}

impl Answer {
    /// Takes one message of a running channel, and gives what must be said to it. Nothing but output is of interest.
    fn take(&mut self, message: &Message<'_>, keeping: &mut Keeping) -> Result<Option<Vec<u8>>, InspectError> {
        match message {
            Message::Data { data, .. } => {
                self.count(data)?;
                keeping.keep(Kept::Out(FIRST, data))?;
                self.out.extend_from_slice(data);
            }
            Message::ExtendedData { data, .. } => {
                self.count(data)?;
                keeping.keep(Kept::Err(FIRST, data))?;
                self.err.extend_from_slice(data);
            }
            Message::Request(request) => {
                match request.kind {
                    RequestKind::ExitStatus(status) => keeping.keep(Kept::Exit { channel: FIRST, status: Some(status), signal: None })?,
                    RequestKind::ExitSignal { .. } => keeping.keep(Kept::Exit { channel: FIRST, status: None, signal: None })?,
                    _ => {}
                }
                let refuse = request.want_reply && self.channel.is_some();
                return Ok(refuse.then(|| channel::failure(self.channel.unwrap_or(OURS))));
            }
            Message::GlobalRequest { want_reply: true, .. } => return Ok(Some(channel::request_failure())),
            Message::Open(open) => {
                return Ok(Some(channel::open_failure(open.sender, channel::ADMINISTRATIVELY_PROHIBITED, "nothing is opened here")));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The window is never refilled: a host that keeps to it cannot send more, and one that does not is not listened to.
    fn count(&mut self, data: &[u8]) -> Result<(), InspectError> {
        self.seen = self.seen.saturating_add(data.len());
        if self.seen > MOST as usize { Err(InspectError::TooMuch(MOST)) } else { Ok(()) }
    }

    fn whole(self) -> Result<Vec<u8>, InspectError> {
        if self.out.is_empty() && !self.err.is_empty() {
            return Err(InspectError::NotRun(words(&self.err)));
        }
        Ok(self.out)
    }
}

/// A host's words, safe to show: one line of at most 300 characters.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..1200).unwrap_or(bytes)).trim().to_owned();
    crate::access::names::escaped(&text).chars().take(300).collect()
}

/// Our number of the one channel, and its number in the recording.
const OURS: u32 = 0;
const FIRST: u32 = 1;
/// Bytes of output that are read; the script itself stops below.
const MOST: u32 = 1024 * 1024;
const LARGEST: u32 = 32 * 1024;
/// For the script to finish: accounts may come from a slow directory.
const PATIENCE: Duration = Duration::from_secs(90);
const FAREWELL: Duration = Duration::from_secs(2);
/// SSH_DISCONNECT_BY_APPLICATION, RFC 4253 section 11.1.
const BY_APPLICATION: u32 = 11;
