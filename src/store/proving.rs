//! What an export takes out of the logs: entries that concern a session, the rows of the tree that prove them, signed heads.

use std::collections::{BTreeMap, BTreeSet};

use super::sql::sql;
use super::{Reader, StoreError, count, stored};
use crate::access::time::Timestamp;
use crate::audit::digest::Digest;
use crate::audit::tree::NodeId;

impl Reader {
    /// The nodes whose logs have entries of `since` or later, and the number of the first of them.
    pub async fn logs_since(&self, since: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sql("SELECT node, MIN(seq) FROM events WHERE time >= $1 GROUP BY node ORDER BY node")
            .bind(since.micros())
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|(node, seq)| Ok((node.clone(), count("events", &node, seq)?))).collect()
    }

    /// Up to `most` entries of the log of `node` from number `from` on, verbatim.
    pub async fn entries_of(&self, node: &str, from: u64, most: u32) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = sql("SELECT seq, body FROM events WHERE node = $1 AND seq >= $2 ORDER BY seq LIMIT $3")
            .bind(node)
            .bind(stored(from))
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|(seq, body)| Ok((count("events", node, seq)?, body))).collect()
    }

    /// These rows of the tree of `node`'s log; those that are not there are left out.
    pub async fn tree_rows(&self, node: &str, ids: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, Digest>, StoreError> {
        let (mut conn, mut found) = (self.moment().await?, BTreeMap::new());
        for id in ids {
            let row: Option<(String,)> = sql("SELECT hash FROM tree WHERE node = $1 AND level = $2 AND idx = $3")
                .bind(node)
                .bind(i64::from(id.level))
                .bind(stored(id.index))
                .fetch_optional(&mut conn)
                .await?;
            if let Some((hash,)) = row {
                found.insert(*id, hash.parse().map_err(|e| StoreError::row("tree", node, e))?);
            }
        }
        Ok(found)
    }

    /// The newest signed head of `node`'s log.
    pub async fn last_checkpoint_of(&self, node: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT note FROM checkpoints WHERE node = $1 ORDER BY size DESC LIMIT 1").bind(node).fetch_optional(&self.pool).await?;
        Ok(row.map(|(note,)| note))
    }

    /// The salt of a text in hexadecimal digits, and the text as long as it is kept; none for what is no commitment to a text.
    pub async fn committed(&self, commitment: &str) -> Result<Option<(String, Option<String>)>, StoreError> {
        sql("SELECT salt, body FROM texts WHERE id = $1").bind(commitment).fetch_optional(&self.pool).await
    }
}
