//! How a node and its store stand, in a few numbers.

use super::sql::sql;
use super::{Head, Reader, StoreError, count};
use crate::access::time::Timestamp;

/// What `status` tells of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The newest shape that it has seen.
    pub shape: u64,
    /// Live sessions, of all nodes.
    pub live: u64,
    /// Requests that wait for an answer.
    pub pending: u64,
    /// How far this node's log has come.
    pub head: Option<Head>,
    /// The newest signed head of this node: over so many entries, signed then.
    pub checkpoint: Option<(u64, Timestamp)>,
    /// The digest of the policy that this node had in force last, and since when.
    pub policy: Option<(String, Timestamp)>,
}

impl Reader {
    /// The store in numbers, as of `now`.
    pub async fn summary(&self, now: Timestamp) -> Result<Summary, StoreError> {
        let (shape,): (Option<i64>,) = sql("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&self.pool).await?;
        let (live,): (i64,) = sql("SELECT COUNT(*) FROM sessions WHERE state = 'live'").fetch_one(&self.pool).await?;
        let pending = sql("SELECT COUNT(*) FROM requests WHERE state = 'pending' AND lapses_at > $1").bind(now.micros());
        let (pending,): (i64,) = pending.fetch_one(&self.pool).await?;
        let signed = sql("SELECT size, time FROM checkpoints WHERE node = $1 ORDER BY size DESC LIMIT 1").bind(self.node.as_str());
        let signed: Option<(i64, i64)> = signed.fetch_optional(&self.pool).await?;
        let policy = sql("SELECT digest, loaded_at FROM policies WHERE node = $1 ORDER BY loaded_at DESC, digest LIMIT 1");
        let policy: Option<(String, i64)> = policy.bind(self.node.as_str()).fetch_optional(&self.pool).await?;
        Ok(Summary {
            shape: count("_sqlx_migrations", "version", shape.unwrap_or_default())?,
            live: count("sessions", "live", live)?,
            pending: count("requests", "pending", pending)?,
            head: self.head().await?,
            checkpoint: match signed {
                Some((size, time)) => Some((count("checkpoints", &self.node, size)?, Timestamp::from_micros(time))),
                None => None,
            },
            policy: policy.map(|(digest, since)| (digest, Timestamp::from_micros(since))),
        })
    }
}
