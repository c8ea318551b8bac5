//! All SQL, and the only room that names sqlx. Everyone may read ([`Reader`]); only the broker writes, through [`Store::change`].
//!
//! Never: a statement outside this folder, a value in a statement's text, a change without its event, state of the log that only one
//! process knows. A second process (a local verb beside `serve`) writes through the same function on the same file, so sequence numbers
//! and tree are read inside each transaction.
//!
//! The statements run on SQLite and PostgreSQL alike: `$1`, TEXT ids, integers of 64 bits for times (microseconds), no vendor's types.

mod audits;
mod certificates;
mod channels;
mod checkpoints;
mod egress;
mod error;
mod grams;
mod grants;
mod hints;
mod hold;
mod hosts;
mod invites;
mod keys;
mod log;
mod loss;
mod migrations;
mod notices;
mod open;
mod policies;
mod postgres;
mod proving;
mod requests;
mod screen_texts;
mod sessions;
mod snapshot;
mod sought;
mod spool;
mod sql;
mod sqlite;
mod summary;
mod texts;
mod user_keys;
mod users;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::sync::broadcast;

use crate::access::names::{Actor, BadName};
use crate::access::time::{Clock, Timestamp};
use crate::audit::entry::Entry;
use crate::audit::event::Event;

pub use audits::{AuditRow, ClosedAudit, NewAudit};
pub use certificates::IssuedCertificate;
pub use channels::ChannelRow;
pub use checkpoints::CheckpointFile;
pub use error::StoreError;
pub use grants::GrantFilter;
pub use hints::Hints;
pub use hold::Hold;
pub use log::Head;
pub use notices::{Notice, SHOWN};
pub use requests::{Kept, RequestFilter};
pub use screen_texts::{Generation, PIECE, TextPiece};
pub use sessions::{ClosedSession, LiveRow, LiveRows, NewSession, SessionRow};
pub use snapshot::{Snapshot, is_whole, snapshot};
pub use sought::SessionFilter;
pub use spool::{Spool, SpoolError, Waiting, line as spool_line, parse as parse_spool};
pub use summary::Summary;
pub use user_keys::KeyRow;
pub use users::UserRow;
pub use writer::Failing;

use sql::{Conn, Pool};

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>, writer::Queues);

struct Inner {
    pools: open::Pools,
    at: open::Place,
    /// Where a file's writers stand in line.
    line: sqlite::Turnstile,
    node: String,
    /// False while another process could be serving as this node.
    alone: AtomicBool,
    entries: broadcast::Sender<Arc<Entry>>,
    /// The file, where the store is one.
    place: Option<loss::Place>,
    /// Writes are turned away: the store is lost, and whoever queues need not find out one by one.
    shut: AtomicBool,
    /// How many acts one commit may land.
    most: AtomicUsize,
    #[cfg(test)]
    commits: AtomicUsize,
    #[cfg(test)]
    broken: AtomicBool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("node", &self.0.node).finish_non_exhaustive()
    }
}

/// Which queue a change stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Everything else.
    Ordinary,
    /// What takes access away: waits for the act that runs now and for at most one more.
    Urgent,
    /// Asks a lost store whether it takes writes again: urgent, and the only one that is let through.
    Trial,
}

/// What an act made of its transaction.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, for the length of one act")]
pub enum Outcome<T> {
    /// Something changed, and this is its one event.
    Changed(T, Event),
    /// Two things happened that must not come apart: a request filed and granted at once.
    Both(T, [Event; 2]),
    /// A whole file was applied: each of its changes is an event, in this order. Without any, nothing is changed.
    Many(T, Vec<Event>),
    /// Nothing is to be changed: everything is rolled back.
    Same(T),
}

/// The future of an act inside its transaction.
pub type Act<'t, T, E> = Pin<Box<dyn Future<Output = Result<Outcome<T>, E>> + Send + 't>>;

/// When an act happens.
#[derive(Debug, Clone)]
pub enum Now {
    /// At this time.
    At(Timestamp),
    /// When its turn has come, by this clock: it may have waited behind others.
    By(Arc<dyn Clock>),
}

impl Now {
    fn read(&self) -> Timestamp {
        match self {
            Self::At(time) => *time,
            Self::By(clock) => clock.now(),
        }
    }
}

impl From<Timestamp> for Now {
    fn from(time: Timestamp) -> Self {
        Self::At(time)
    }
}

impl From<&Arc<dyn Clock>> for Now {
    fn from(clock: &Arc<dyn Clock>) -> Self {
        Self::By(Arc::clone(clock))
    }
}

/// The future of bookkeeping inside its transaction.
type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

/// A transaction that writes. Made by [`Store::change`] alone.
pub struct Tx {
    inner: Conn,
    now: Timestamp,
}

impl Tx {
    fn conn(&mut self) -> &mut Conn {
        &mut self.inner
    }

    /// When this change happens.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

impl Store {
    /// Opens the store at `url` (`sqlite:PATH` or `postgres://USER@HOST/DATABASE`), makes it if it is missing, and brings it to the newest
    /// shape. `node` is the name of the log that this process writes: the node's name, which other processes on the same machine share.
    pub async fn open(url: &str, node: &str) -> Result<Self, StoreError> {
        let place = open::Place::parse(url)?;
        let file = match &place {
            open::Place::Sqlite(path) => Some(path.clone()),
            open::Place::Postgres(_) => None,
        };
        let pools = open::Pools::open(place.clone()).await.map_err(StoreError::grade)?;
        let line = file.as_deref().map_or_else(sqlite::Turnstile::open, sqlite::Turnstile::beside);
        let file = file.map(|path| loss::Place::of(&path)).transpose()?;
        let (entries, _) = broadcast::channel(ENTRIES);
        let inner = Arc::new(Inner {
            pools,
            at: place,
            line,
            node: node.to_owned(),
            alone: AtomicBool::new(true),
            entries,
            place: file,
            shut: AtomicBool::new(false),
            most: AtomicUsize::new(writer::MOST),
            #[cfg(test)]
            commits: AtomicUsize::new(0),
            #[cfg(test)]
            broken: AtomicBool::new(false),
        });
        let queues = writer::Queues::begin(&inner);
        Ok(Self(inner, queues))
    }

    /// For reading.
    pub fn reader(&self) -> Reader {
        Reader { pool: self.0.pools.read.clone(), node: self.0.node.clone() }
    }

    /// For reading at the door: who is this, where may they go. Its connections are its own.
    pub fn door(&self) -> Reader {
        Reader { pool: self.0.pools.door.clone(), node: self.0.node.clone() }
    }

    /// For reading what has changed and who must go. Its connections are its own, and nobody outside can keep them busy.
    pub fn watcher(&self) -> Reader {
        Reader { pool: self.0.pools.watch.clone(), node: self.0.node.clone() }
    }

    /// The node whose log this process writes.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Entries that this process commits from now on. A hint: who lags behind loses some and reads them from the tables.
    pub fn entries(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.0.entries.subscribe()
    }

    /// The one way to write: runs `act` in its turn, appends its event in the same transaction, commits it together with whoever else
    /// waits, and publishes the entry. All or nothing, also when the caller's future is dropped half way.
    pub async fn change<T, E, F>(&self, urgency: Urgency, actor: Actor, now: impl Into<Now>, act: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failing,
        F: for<'t> FnOnce(&'t mut Tx) -> Act<'t, T, E> + Send + 'static,
    {
        self.1.ask(urgency, actor, now.into(), move |tx| Box::pin(writer::act(act, tx)), None).await
    }

    /// The same, and once it is committed, `then` is called before any other act of this process has its turn.
    pub async fn change_then<T, E, F>(
        &self,
        urgency: Urgency,
        actor: Actor,
        now: impl Into<Now>,
        act: F,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failing,
        F: for<'t> FnOnce(&'t mut Tx) -> Act<'t, T, E> + Send + 'static,
    {
        self.1.ask(urgency, actor, now.into(), move |tx| Box::pin(writer::act(act, tx)), Some(Box::new(then))).await
    }

    /// A write of bookkeeping that is no change of the world (a key's last use, a checkpoint): no event.
    async fn note<T, F>(&self, now: Timestamp, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
    {
        self.1.ask(Urgency::Ordinary, Actor::System, now.into(), move |tx| Box::pin(writer::note(work, tx)), None).await
    }

    /// Whether a write could begin now; nothing is written.
    pub async fn takes_writes(&self) -> Result<(), StoreError> {
        let now = Timestamp::from_micros(0).into();
        self.1.ask(Urgency::Ordinary, Actor::System, now, |_| Box::pin(async { (Ok(()), writer::Did::Nothing) }), None).await
    }

    /// Closes all pools; SQLite folds its write-ahead log into the file. Waits no longer for a store that does not answer than others do.
    pub async fn close(&self) {
        let close = async {
            for pool in [&self.0.pools.read, &self.0.pools.door, &self.0.pools.watch] {
                pool.close().await;
            }
            self.0.pools.write.close().await;
        };
        if tokio::time::timeout(sql::ANSWER, close).await.is_err() {
            tracing::warn!("the store does not let go of its connections");
        }
    }
}

/// Reads. Clones are cheap.
#[derive(Clone)]
pub struct Reader {
    pool: Pool,
    node: String,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Reader {
    /// A transaction that reads: everything in it is of one moment. Dropping it ends it.
    async fn moment(&self) -> Result<Conn, StoreError> {
        self.pool.begin("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// Takes a connection of this reader's until it is dropped.
    #[cfg(test)]
    pub(crate) async fn hold(&self) -> Result<impl Send + use<>, StoreError> {
        self.moment().await
    }
}

/// Demands that exactly one row was written; `what` names it.
fn one(written: u64, what: impl std::fmt::Display) -> Result<(), StoreError> {
    if written == 1 { Ok(()) } else { Err(StoreError::Moved(what.to_string())) }
}

/// Reads a name of `row` in `table` back into its type.
fn name<T: std::str::FromStr<Err = BadName>>(table: &'static str, row: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|e| StoreError::row(table, row, e))
}

/// Reads a count back.
fn count(table: &'static str, row: &str, n: i64) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|e| StoreError::row(table, row, e))
}

/// A count for the database; beyond its range the largest.
fn stored(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Entries that a slow listener may lag behind before it must read the tables instead.
const ENTRIES: usize = 1024;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
