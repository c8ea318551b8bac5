//! Two directions, message by message: look, keep, pass on or veto; until one side leaves or the cut falls.
//!
//! Nothing is queued here: a direction that cannot write does not read, and windows pass through end to end. Both directions run
//! on one thread and share the channel table, the journal and the two legs by borrowing them between awaits.
//!
//! Key exchanges cannot lock the two directions into each other as long as the bastion itself runs at most one at a time: a peer
//! that began one sends no more data, so whoever reads from it is free to finish it. `rekeying` is that one token.

mod files;
mod forwards;
mod from_client;
mod from_host;
mod listeners;
mod opens;
mod pulse;
#[cfg(test)]
mod simulation;
mod table;
mod words;

use std::cell::{Cell, RefCell};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Content;
use super::egress::Egress;
use super::leg::{Leg, LegError};
use super::tap::{Keep, Kept};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::recording::RecordError;
use crate::recording::files::Violation;
use crate::wire::codec::WireError;
use listeners::Listeners;
use table::Table;

pub(crate) use pulse::Pulse;
pub(crate) use words::Said;

/// What a grant lets a visitor open. Checked at each open, on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) shell: bool,
    pub(crate) exec: bool,
    /// Files may be read over SFTP.
    pub(crate) reads: bool,
    /// Files may be written over SFTP.
    pub(crate) writes: bool,
    /// What is typed into a terminal is kept too.
    pub(crate) record_input: bool,
    /// What is kept of forwards beside their counts.
    pub(crate) content: Content,
}

impl Rights {
    /// Whether the host runs programs for this visitor. Then its `sftp` may be any program: a login shell's start-up file decides, and
    /// only what is kept whole is known.
    fn programs(self) -> bool {
        self.shell || self.exec
    }

    /// Whether of files only the account and the counts are kept.
    fn counts(self) -> bool {
        !self.programs()
    }
}

/// What the relay asks of the law while it runs. Never waits.
pub(crate) trait Law {
    /// Where the session is, as it was registered when it began.
    fn host(&self) -> &Host;
    /// May this be opened at this moment?
    fn opens(&self, what: &Opening) -> Result<(), Refusal>;
    /// A stream of this channel begins as SSH does.
    fn tunnelled(&self, channel: u32, kind: &'static str);
}

/// Why a relay ended by itself. A cut is not among them: it falls from outside.
#[derive(Debug, Error)]
pub(crate) enum End {
    /// The client said goodbye, or its stream ended.
    #[error("the client left")]
    ClientLeft,
    /// The host said goodbye or hung up, perhaps with words.
    #[error("the host closed the connection{}", .0.as_ref().map(|t| format!(": {t}")).unwrap_or_default())]
    HostLeft(Option<String>),
    /// The client broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Client(LegError),
    /// The host broke the protocol, or its connection failed.
    #[error("the connection to the host failed: {0}")]
    Host(LegError),
    /// A transfer of files that cannot be accounted for.
    #[error("{0}")]
    Files(Violation),
    /// The grant's bytes towards the client are spent.
    #[error("the grant's bytes are spent")]
    OverBudget,
    /// What crossed could not be kept.
    #[error("the recording failed: {0}")]
    Recorder(#[from] RecordError),
}

/// The two sides of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Host,
}

/// What becomes of one message.
#[derive(Debug)]
enum Onward {
    /// It goes on as it is.
    Pass,
    /// Another one goes on in its place.
    Change(Vec<u8>),
    /// It ends here.
    Stop,
}

/// The whole judgement of one message: what goes on, and what goes back to its sender.
#[derive(Debug)]
struct Ruling {
    onward: Onward,
    back: Option<Vec<u8>>,
}

impl Ruling {
    const PASS: Self = Self { onward: Onward::Pass, back: None };
    const STOP: Self = Self { onward: Onward::Stop, back: None };

    fn change(message: Vec<u8>) -> Self {
        Self { onward: Onward::Change(message), back: None }
    }

    fn refuse(answer: Vec<u8>) -> Self {
        Self { onward: Onward::Stop, back: Some(answer) }
    }
}

/// One relayed connection, after both sides have authenticated.
pub(crate) struct Relay<'a, C, H, K> {
    client: &'a Leg<C>,
    host: &'a Leg<H>,
    keep: &'a RefCell<K>,
    rights: Rights,
    law: &'a dyn Law,
    pulse: Pulse<'a>,
    egress: &'a Egress,
    table: RefCell<Table>,
    listeners: RefCell<Listeners>,
    /// The client's agent was lent to the host.
    agent: Cell<bool>,
    rekeying: Cell<Option<Side>>,
}

impl<'a, C, H, K> Relay<'a, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Keep,
{
    pub(crate) fn new(
        legs: (&'a Leg<C>, &'a Leg<H>),
        keep: &'a RefCell<K>,
        law: (Rights, &'a dyn Law),
        pulse: Pulse<'a>,
        egress: &'a Egress,
    ) -> Self {
        let ((client, host), (rights, law)) = (legs, law);
        let (table, listeners) = (RefCell::default(), RefCell::default());
        Self { client, host, keep, rights, law, pulse, egress, table, listeners, agent: Cell::new(false), rekeying: Cell::new(None) }
    }

    /// Relays until one side leaves. May be dropped at any await: nothing that was sealed is lost by it.
    pub(crate) async fn run<R, S>(&self, client: &mut R, host: &mut S) -> End
    where
        R: AsyncRead + Unpin,
        S: AsyncRead + Unpin,
    {
        tokio::select! {
            end = self.upwards(client) => end,
            end = self.downwards(host) => end,
        }
    }

    /// From the client to the host.
    async fn upwards<R: AsyncRead + Unpin>(&self, reader: &mut R) -> End {
        loop {
            let held = match self.drain(Side::Client) {
                Ok(held) => held,
                Err(end) => return end,
            };
            if let Err(error) = self.client.flush().await {
                return lost(Side::Client, error.into());
            }
            if let Err(error) = self.host.flush().await {
                return lost(Side::Host, error.into());
            }
            if let Some(message) = held {
                if let Err(error) = self.host.send(&message).await {
                    return lost(Side::Host, error);
                }
                continue;
            }
            match self.client.fill(reader).await {
                Ok(0) => return End::ClientLeft,
                Ok(_) => {}
                Err(error) => return lost(Side::Client, error.into()),
            }
        }
    }

    /// From the host to the client.
    async fn downwards<S: AsyncRead + Unpin>(&self, reader: &mut S) -> End {
        loop {
            let held = match self.drain(Side::Host) {
                Ok(held) => held,
                Err(end) => return end,
            };
            // Before the awaits: what was left in the transport then must not wait for the host's next word.
            let waits = !self.egress.is_ready();
            if let Err(error) = self.host.flush().await {
                return lost(Side::Host, error.into());
            }
            if let Err(error) = self.client.flush().await {
                return lost(Side::Client, error.into());
            }
            if let Some(message) = held {
                if let Err(error) = self.client.send(&message).await {
                    return lost(Side::Client, error);
                }
                continue;
            }
            if waits {
                self.egress.ready().await;
                continue;
            }
            match self.host.fill(reader).await {
                Ok(0) => return End::HostLeft(None),
                Ok(_) => {}
                Err(error) => return lost(Side::Host, error.into()),
            }
        }
    }

    /// Judges all messages that have arrived from `side`, keeps what must be kept and seals what goes on. Returns a message that a
    /// key exchange of the other side holds up.
    fn drain(&self, side: Side) -> Result<Option<Vec<u8>>, End> {
        let held = match side {
            Side::Client => self.pass(side, self.client, self.host),
            Side::Host => self.pass(side, self.host, self.client),
        }?;
        self.client.settle().map_err(|e| lost(Side::Client, e))?;
        self.host.settle().map_err(|e| lost(Side::Host, e))?;
        self.rekey()?;
        Ok(held)
    }

    fn pass<F, T>(&self, side: Side, from: &Leg<F>, to: &Leg<T>) -> Result<Option<Vec<u8>>, End>
    where
        F: AsyncWrite + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut sealed = 0;
        while sealed < RUN_BYTES && (side == Side::Client || self.egress.is_ready()) {
            let ruled = from.with(|transport| self.rule(side, transport, to)).map_err(|end| match end {
                Fault::Leg(error) => lost(side, error),
                Fault::Onward(error) => lost(side.other(), error),
                Fault::Files(violation) => End::Files(violation),
                Fault::Record(error) => End::Recorder(error),
            })?;
            let Some(Ruled { back, held, bytes }) = ruled else { break };
            sealed += bytes;
            if self.egress.is_over() {
                return Err(End::OverBudget);
            }
            if let Some(answer) = back {
                from.answer(answer).map_err(|e| lost(side, e))?;
            }
            if held.is_some() {
                return Ok(held);
            }
        }
        Ok(None)
    }

    /// One message: taken, judged, kept, sealed onwards. `None` when there is none.
    fn rule<T>(&self, side: Side, transport: &mut crate::wire::transport::Transport, to: &Leg<T>) -> Result<Option<Ruled>, Fault>
    where
        T: AsyncWrite + Unpin,
    {
        let Some(payload) = transport.next().map_err(|e| Fault::Leg(e.into()))? else { return Ok(None) };
        let bytes = payload.len();
        let judged = match side {
            Side::Client => self.judge_client(payload),
            Side::Host => self.judge_host(payload),
        };
        let Ruling { onward, back } = match judged {
            Ok(ruling) => ruling,
            Err(Judged::Unknown) => {
                transport.unimplemented().map_err(|e| Fault::Leg(e.into()))?;
                return Ok(Some(Ruled { back: None, held: None, bytes }));
            }
            Err(Judged::Wire(error)) => return Err(Fault::Leg(error.into())),
            Err(Judged::Files(violation)) => return Err(Fault::Files(violation)),
            Err(Judged::Record(error)) => return Err(Fault::Record(error)),
        };
        let message = match &onward {
            Onward::Stop => return Ok(Some(Ruled { back, held: None, bytes })),
            Onward::Pass => payload,
            Onward::Change(other) => other,
        };
        let held = to
            .with(|t| if t.can_send() { t.send(message).map(|()| None) } else { Ok(Some(message.to_vec())) })
            .map_err(|e| Fault::Onward(e.into()))?;
        Ok(Some(Ruled { back, held, bytes }))
    }

    /// Begins a key exchange where one is due, if the bastion runs none in this session.
    fn rekey(&self) -> Result<(), End> {
        match self.rekeying.get() {
            Some(Side::Client) if self.client.with(|t| t.in_kex()) => return Ok(()),
            Some(Side::Host) if self.host.with(|t| t.in_kex()) => return Ok(()),
            _ => self.rekeying.set(None),
        }
        if self.client.with(|t| t.wants_rekey()) {
            self.rekeying.set(Some(Side::Client));
            self.client.with(|t| t.start_rekey()).map_err(|e| lost(Side::Client, e.into()))?;
        } else if self.host.with(|t| t.wants_rekey()) {
            self.rekeying.set(Some(Side::Host));
            self.host.with(|t| t.start_rekey()).map_err(|e| lost(Side::Host, e.into()))?;
        }
        Ok(())
    }

    fn keep(&self, what: Kept<'_>) -> Result<(), Judged> {
        self.keep.borrow_mut().keep(what).map_err(Judged::Record)
    }
}

struct Ruled {
    back: Option<Vec<u8>>,
    held: Option<Vec<u8>>,
    bytes: usize,
}

/// Whose fault it is that a message could not be relayed.
enum Fault {
    Leg(LegError),
    Onward(LegError),
    Files(Violation),
    Record(RecordError),
}

/// Why a message was not ruled upon.
#[derive(Debug)]
enum Judged {
    /// Its number means nothing to us: UNIMPLEMENTED.
    Unknown,
    /// It breaks the protocol.
    Wire(WireError),
    /// It breaks the protocol of files.
    Files(Violation),
    /// It could not be kept.
    Record(RecordError),
}

impl From<WireError> for Judged {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Host,
            Self::Host => Self::Client,
        }
    }
}

/// What it means that the connection of `side` is lost.
fn lost(side: Side, error: LegError) -> End {
    match (side, error) {
        (Side::Client, LegError::Closed | LegError::Io(_) | LegError::Wire(WireError::Disconnected { .. })) => End::ClientLeft,
        (Side::Client, error) => End::Client(error),
        (Side::Host, LegError::Closed) => End::HostLeft(None),
        (Side::Host, LegError::Wire(WireError::Disconnected { text, .. })) => End::HostLeft(Some(text)),
        (Side::Host, error) => End::Host(error),
    }
}

/// Sealed in one run before it is written: bounds what a leg holds, and keeps one direction from starving the other.
const RUN_BYTES: usize = 128 * 1024;
