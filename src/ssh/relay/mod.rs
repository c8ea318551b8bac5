//! Two directions, message by message: look, keep, pass on or veto; until one side leaves or the cut falls.
//!
//! Nothing is queued here beyond one run: a direction that cannot keep or write does not read, and windows pass through end to end. Both directions run
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
mod throttle;
mod turn;
mod words;

use std::cell::{Cell, RefCell};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::connection::Content;
use super::egress::Egress;
use super::leg::{Leg, LegError};
use super::tap::{Kept, Lands};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::recording::RecordError;
use crate::recording::files::Violation;
use crate::wire::codec::WireError;
use listeners::Listeners;
use table::Table;
use turn::Waiting;

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
    /// Messages to the client wait until what they show is kept: nothing of ours may overtake them.
    unsealed: Cell<bool>,
    /// Bytes a second that a terminal may show.
    terminal_rate: u64,
    /// Rung when window is held back.
    owes: Notify,
}

impl<'a, C, H, K> Relay<'a, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
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
        let (agent, unsealed, rekeying, owes) = (Cell::new(false), Cell::new(false), Cell::new(None), Notify::new());
        let terminal_rate = u64::MAX;
        Self { client, host, keep, rights, law, pulse, egress, table, listeners, agent, rekeying, unsealed, terminal_rate, owes }
    }

    /// Terminals show so many bytes a second, sustained.
    pub(crate) fn throttled(self, terminal_rate: u64) -> Self {
        Self { terminal_rate, ..self }
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
            never = self.pay_windows() => match never {},
        }
    }

    /// From the client to the host.
    async fn upwards<R: AsyncRead + Unpin>(&self, reader: &mut R) -> End {
        let mut waiting = Waiting::default();
        loop {
            if let Err(end) = self.turn(Side::Client, reader, &mut waiting).await {
                return end;
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
        let mut waiting = Waiting::default();
        loop {
            if let Err(end) = self.turn(Side::Host, reader, &mut waiting).await {
                return end;
            }
            match self.host.fill(reader).await {
                Ok(0) => return End::HostLeft(None),
                Ok(_) => {}
                Err(error) => return lost(Side::Host, error.into()),
            }
        }
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
