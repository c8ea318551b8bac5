//! Who serves on a store: one process for a SQLite file, one for each node's name on a PostgreSQL server. Two would each take the
//! other's sessions for a dead one's. Local verbs work beside it and hold nothing.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::open::Place;
use super::{Inner, Store, StoreError, postgres};

/// The right to serve, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    /// SQLite: locked as long as it is open.
    _file: Option<File>,
    /// PostgreSQL: keeps the connection whose lock it is.
    keeper: Option<AbortHandle>,
    taken: watch::Receiver<bool>,
}

impl Hold {
    /// Comes back when another process has taken this node's name, which can only happen while the connection to the server was lost.
    /// Whoever serves must stop then.
    pub async fn taken(&mut self) {
        if self.taken.wait_for(|taken| *taken).await.is_err() {
            std::future::pending().await
        }
    }

    /// Another process has taken this node's name.
    pub fn is_taken(&self) -> bool {
        *self.taken.borrow()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

impl Store {
    /// Takes the right to serve, or refuses because somebody has it.
    pub async fn hold(&self) -> Result<Hold, StoreError> {
        let (tell, taken) = watch::channel(false);
        match &self.0.at {
            Place::Sqlite(path) => Ok(Hold { _file: Some(locked(path)?), keeper: None, taken }),
            Place::Postgres(options) => {
                let place = Named::of(options, key(self.node())).await?;
                let holding = place.first().await?.ok_or_else(|| StoreError::NodeServes(self.node().to_owned()))?;
                let keeper = tokio::spawn(keep(Arc::clone(&self.0), place, holding, tell)).abort_handle();
                Ok(Hold { _file: None, keeper: Some(keeper), taken })
            }
        }
    }

    /// Nobody else can be serving as this node. False while the connection that says so is broken: then nobody is let in.
    pub fn alone(&self) -> bool {
        self.0.alone.load(Ordering::Acquire)
    }
}

fn locked(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path);
    let cannot = |source| StoreError::File { path: beside.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside).map_err(cannot)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::FileServes(path.to_owned())),
        Err(other) => Err(cannot(other.into())),
    }
}

/// `jit-bastion.db.serve` beside `jit-bastion.db`: SQLite's own locks on the file itself are SQLite's.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".serve");
    PathBuf::from(name)
}

/// The place of a node's lock on a server.
struct Named {
    /// The connections bear a name that those of no other process bear: whoever holds the lock can be told from this process's own past.
    options: PgConnectOptions,
    key: i64,
}

/// What came of asking for the lock.
enum Asked {
    Held(PgConnection),
    /// By a connection that was ours: the server has not noticed that it is gone, or an attempt that was given up got the lock after all.
    /// It is ended now.
    ByOurOwnPast,
    /// By nobody who can be seen: it has ended since.
    ByNobody,
    ByAnother,
}

impl Named {
    /// No two server processes have one number and one beginning: that of a first connection names this process.
    async fn of(options: &PgConnectOptions, key: i64) -> Result<Self, StoreError> {
        let asked = async {
            let mut conn = postgres::of_its_own(options, "serve").connect().await?;
            let me: (String,) = sqlx::query_as(
                "SELECT pid || '.' || CAST(EXTRACT(EPOCH FROM backend_start) * 1000000 AS BIGINT)
                 FROM pg_stat_activity WHERE pid = pg_backend_pid()",
            )
            .fetch_one(&mut conn)
            .await?;
            conn.close().await.map(|()| me.0)
        };
        let me = tokio::time::timeout(ANSWER, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(Self { options: postgres::of_its_own(options, &format!("serve {me}")), key })
    }

    /// Takes the lock, as a process that comes up. None if another has it, or somebody who is not seen keeps it for a while.
    async fn first(&self) -> Result<Option<PgConnection>, StoreError> {
        for _ in 0..UNSEEN {
            match self.take().await? {
                Asked::Held(conn) => return Ok(Some(conn)),
                Asked::ByAnother => return Ok(None),
                Asked::ByOurOwnPast | Asked::ByNobody => tokio::time::sleep(SOON).await,
            }
        }
        Ok(None)
    }

    async fn take(&self) -> Result<Asked, StoreError> {
        let asked = async {
            let mut conn = self.options.connect().await?;
            let (free,): (bool,) = sqlx::query_as("SELECT pg_try_advisory_lock($1)").bind(self.key).fetch_one(&mut conn).await?;
            if free {
                return Ok(Asked::Held(conn));
            }
            // Ends it where it is ours; null where it is not.
            let holders: Vec<(Option<bool>,)> = sqlx::query_as(
                "SELECT CASE WHEN a.application_name = current_setting('application_name') THEN pg_terminate_backend(l.pid) END
                 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
                       AND CAST(l.classid AS BIGINT) = (($1 >> 32) & 4294967295) AND CAST(l.objid AS BIGINT) = ($1 & 4294967295)",
            )
            .bind(self.key)
            .fetch_all(&mut conn)
            .await?;
            Ok(match holders.as_slice() {
                [] => Asked::ByNobody,
                seen if seen.iter().all(|(ours,)| ours.is_some()) => Asked::ByOurOwnPast,
                _ => Asked::ByAnother,
            })
        };
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
    }
}

/// Holds the lock for as long as it can: asks each second whether the connection lives; takes the lock again where it broke; says so
/// and ends where another has it.
async fn keep(store: Arc<Inner>, place: Named, mut holding: PgConnection, taken: watch::Sender<bool>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        if matches!(tokio::time::timeout(ANSWER, holding.ping()).await, Ok(Ok(()))) {
            continue;
        }
        store.alone.store(false, Ordering::Release);
        tracing::warn!(node = store.node, "the connection that holds this node's name is broken; nobody is let in until it is held again");
        holding = loop {
            match place.take().await {
                Ok(Asked::Held(again)) => break again,
                Ok(Asked::ByOurOwnPast) => {
                    tracing::info!(node = store.node, "this node's name was held by a lost connection of its own");
                    tokio::time::sleep(SOON).await;
                    continue;
                }
                // Whoever it was, and nobody is let in meanwhile.
                Ok(Asked::ByNobody) => {
                    tokio::time::sleep(SOON).await;
                    continue;
                }
                Ok(Asked::ByAnother) => {
                    taken.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "this node's name cannot be held yet"),
            }
            tokio::time::sleep(PERIOD).await;
        };
        store.alone.store(true, Ordering::Release);
        tracing::info!(node = store.node, "this node's name is held again");
    }
}

/// The number of the lock of a node's name.
pub(super) fn key(node: &str) -> i64 {
    use sha2::{Digest as _, Sha256};
    let digest: [u8; 32] = Sha256::digest(format!("jit-bastion serves as {node}")).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// For the server to end a connection.
const SOON: Duration = Duration::from_millis(100);
/// So often a holder is looked for whom nobody sees.
const UNSEEN: u32 = 30;
/// How often the connection is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// A server that takes longer than this to answer counts as lost.
const ANSWER: Duration = Duration::from_secs(3);
