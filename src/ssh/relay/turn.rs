//! One turn of a direction: what has arrived is judged, what must be kept is kept, and only then what goes on is sealed and written.
//!
//! Judged messages wait in the clear until they are kept: what was never sealed can be left out when the disk fails, and the last words to
//! the user still follow what he has seen.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{End, Judged, Onward, Relay, Ruling, Side, lost};
use crate::recording::RecordError;
use crate::recording::files::Violation;
use crate::ssh::leg::{Leg, LegError};
use crate::ssh::tap::Lands;
use crate::wire::transport::Transport;

/// Messages that were judged and wait until they may go on.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How many have gone on, and where the next one begins.
    passed: usize,
    begin: usize,
}

impl Waiting {
    fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    fn is_empty(&self) -> bool {
        self.passed == self.ends.len()
    }

    /// The one that waits for longest.
    fn first(&self) -> Option<&[u8]> {
        let end = *self.ends.get(self.passed)?;
        self.bytes.get(self.begin..end)
    }

    /// It has gone on.
    fn pass(&mut self) {
        self.begin = self.ends.get(self.passed).copied().unwrap_or(self.begin);
        self.passed += 1;
        if self.is_empty() {
            self.clear();
        }
    }

    /// All have gone on. Memory is kept while much comes, and given back when it is quiet.
    fn clear(&mut self) {
        (self.begin, self.passed) = (0, 0);
        let quiet = self.bytes.len() < QUIET;
        self.bytes.clear();
        self.ends.clear();
        if quiet {
            self.bytes.shrink_to(QUIET);
        }
    }
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Judges all messages that have arrived from `side`, waits until what they show is kept, seals what goes on and writes it. What came
    /// before the end of a connection, or before a message that breaks the law, goes on too.
    pub(super) async fn turn<R>(&self, side: Side, reader: &mut R, waiting: &mut Waiting) -> Result<(), End>
    where
        R: AsyncRead + Unpin,
    {
        loop {
            let before = self.keep.borrow().taken();
            let judged = match side {
                Side::Client => self.judge(side, self.client, waiting),
                Side::Host => self.judge(side, self.host, waiting),
            };
            if let Err(end @ End::Recorder(_)) = judged {
                return Err(end);
            }
            if judged.is_ok() {
                self.settle()?;
            }
            if self.keep.borrow().taken() > before {
                let landing = self.keep.borrow_mut().commit();
                self.unsealed.set(self.unsealed.get() || side == Side::Host);
                landing.await?;
            }
            match side {
                Side::Client => pass_on(self.host, waiting).map_err(|e| lost(Side::Host, e))?,
                Side::Host => pass_on(self.client, waiting).map_err(|e| lost(Side::Client, e))?,
            }
            self.unsealed.set((self.unsealed.get() && side == Side::Client) || (side == Side::Host && !waiting.is_empty()));
            let judged = judged?;
            self.rekey()?;
            self.write(side).await?;
            self.write(side.other()).await?;
            match judged {
                _ if !waiting.is_empty() => match side {
                    Side::Client => until_sendable(side, self.client, self.host, reader, waiting).await?,
                    Side::Host => until_sendable(side, self.host, self.client, reader, waiting).await?,
                },
                Run::All => return Ok(()),
                Run::More => {}
                Run::Waits => self.egress.ready().await,
            }
        }
    }

    fn settle(&self) -> Result<(), End> {
        self.client.settle().map_err(|e| lost(Side::Client, e))?;
        self.host.settle().map_err(|e| lost(Side::Host, e))
    }

    async fn write(&self, side: Side) -> Result<(), End> {
        let written = match side {
            Side::Client => self.client.flush().await,
            Side::Host => self.host.flush().await,
        };
        written.map_err(|error| lost(side, error.into()))
    }

    /// Judges what has arrived, up to a run. While something waits for a key exchange of the other side, nothing is taken but what this side
    /// still owes to one of its own.
    fn judge<F>(&self, side: Side, from: &Leg<F>, waiting: &mut Waiting) -> Result<Run, End>
    where
        F: AsyncWrite + Unpin,
    {
        let mut bytes = 0;
        if !waiting.is_empty() && !from.with(|t| t.in_kex()) {
            return Ok(Run::More);
        }
        while bytes < RUN_BYTES {
            if side == Side::Host && !self.egress.is_ready() {
                return Ok(Run::Waits);
            }
            let ruled = from.with(|transport| self.rule(side, transport, waiting)).map_err(|end| match end {
                Fault::Leg(error) => lost(side, error),
                Fault::Files(violation) => End::Files(violation),
                Fault::Record(error) => End::Recorder(error),
            })?;
            let Some(Ruled { back, length }) = ruled else { return Ok(Run::All) };
            bytes += length;
            if self.egress.is_over() {
                return Err(End::OverBudget);
            }
            if let Some(answer) = back {
                from.answer(answer).map_err(|e| lost(side, e))?;
            }
        }
        Ok(Run::More)
    }

    /// One message: taken, judged, handed in to be kept, and put where it waits. `None` when there is none.
    fn rule(&self, side: Side, transport: &mut Transport, waiting: &mut Waiting) -> Result<Option<Ruled>, Fault> {
        let Some(payload) = transport.next().map_err(|e| Fault::Leg(e.into()))? else { return Ok(None) };
        let length = payload.len();
        let judged = match side {
            Side::Client => self.judge_client(payload),
            Side::Host => self.judge_host(payload),
        };
        let Ruling { onward, back } = match judged {
            Ok(ruling) => ruling,
            Err(Judged::Unknown) => {
                transport.unimplemented().map_err(|e| Fault::Leg(e.into()))?;
                return Ok(Some(Ruled { back: None, length }));
            }
            Err(Judged::Wire(error)) => return Err(Fault::Leg(error.into())),
            Err(Judged::Files(violation)) => return Err(Fault::Files(violation)),
            Err(Judged::Record(error)) => return Err(Fault::Record(error)),
        };
        match &onward {
            Onward::Stop => {}
            Onward::Pass => waiting.push(payload),
            Onward::Change(other) => waiting.push(other),
        }
        Ok(Some(Ruled { back, length }))
    }
}

/// Seals what waited, as far as no key exchange of that side holds it up.
fn pass_on<T: AsyncWrite + Unpin>(to: &Leg<T>, waiting: &mut Waiting) -> Result<(), LegError> {
    while to.with(|t| t.can_send()) {
        let Some(message) = waiting.first() else { break };
        to.with(|t| t.send(message))?;
        waiting.pass();
    }
    Ok(())
}

/// Waits until a key exchange of `to` is over. Whoever finishes it may itself wait for one of `from`: as long as there is one, what it
/// needs is read on, and nothing else comes from a peer that began it.
async fn until_sendable<F, T, R>(side: Side, from: &Leg<F>, to: &Leg<T>, reader: &mut R, waiting: &Waiting) -> Result<(), End>
where
    F: AsyncWrite + Unpin,
    T: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    if !from.with(|t| t.in_kex()) || waiting.bytes.len() > WAITING_AT_MOST {
        to.sendable().await;
        return Ok(());
    }
    tokio::select! {
        () = to.sendable() => Ok(()),
        read = from.fill(reader) => match (read, side) {
            (Ok(0), Side::Client) => Err(End::ClientLeft),
            (Ok(0), Side::Host) => Err(End::HostLeft(None)),
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(lost(side, error.into())),
        },
    }
}

/// How a run ended.
enum Run {
    /// Nothing more has arrived.
    All,
    /// It is long enough.
    More,
    /// The grant's budget must be asked for more first.
    Waits,
}

struct Ruled {
    back: Option<Vec<u8>>,
    length: usize,
}

/// Why a message was not judged.
enum Fault {
    Leg(LegError),
    Files(Violation),
    Record(RecordError),
}

/// Judged in one run before it is kept and written: bounds what waits, and keeps one direction from starving the other.
const RUN_BYTES: usize = 128 * 1024;

/// Read on in a key exchange while that much waits for another one; a peer that sends more before it answers waits too.
const WAITING_AT_MOST: usize = 4 * 1024 * 1024;

/// Of a direction in which little is said no more memory is held.
const QUIET: usize = 4 * 1024;
