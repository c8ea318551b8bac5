//! What the sessions of a grant have taken of the bytes that may go towards the client.

use super::sql::sql;
use super::{Reader, Store, StoreError, Tx, count, one, stored};
use crate::access::names::GrantId;
use crate::access::time::Timestamp;

impl Reader {
    /// How many bytes sessions have taken under `grant`: passed, or set aside for one that is live or was killed.
    pub async fn egress(&self, grant: &GrantId) -> Result<u64, StoreError> {
        let taken: Option<(i64,)> =
            sql("SELECT taken FROM egress WHERE grant_id = $1").bind(grant.as_str()).fetch_optional(&self.pool).await?;
        taken.map_or(Ok(0), |(taken,)| count("egress", grant.as_str(), taken))
    }
}

impl Store {
    /// As [`Tx::take_egress`], between two acts.
    pub async fn take_egress(&self, grant: &GrantId, limit: u64, now: Timestamp) -> Result<u64, StoreError> {
        let grant = grant.clone();
        self.note(now, move |tx| Box::pin(async move { tx.take_egress(&grant, limit).await })).await
    }
}

impl Tx {
    /// A session takes a [`share`] of what is left under `grant`, of `limit` bytes in all. 0: nothing is left.
    pub async fn take_egress(&mut self, grant: &GrantId, limit: u64) -> Result<u64, StoreError> {
        sql("INSERT INTO egress (grant_id, taken) VALUES ($1, 0) ON CONFLICT (grant_id) DO NOTHING")
            .bind(grant.as_str())
            .execute(self.conn())
            .await?;
        let found: Option<(i64,)> =
            sql("SELECT taken FROM egress WHERE grant_id = $1").bind(grant.as_str()).fetch_optional(self.conn()).await?;
        let (taken,) = found.ok_or_else(|| StoreError::Moved(grant.to_string()))?;
        let more = share(limit.saturating_sub(count("egress", grant.as_str(), taken)?));
        self.set_egress(grant, taken, taken.saturating_add(stored(more))).await?;
        Ok(more)
    }

    /// A session that is over did not spend these bytes. A store that came back from a backup may know of fewer: nobody's end waits for that.
    pub(super) async fn return_egress(&mut self, grant: &str, unspent: u64) -> Result<(), StoreError> {
        if unspent == 0 {
            return Ok(());
        }
        sql("UPDATE egress SET taken = CASE WHEN taken > $2 THEN taken - $2 ELSE 0 END WHERE grant_id = $1")
            .bind(grant)
            .bind(stored(unspent))
            .execute(self.conn())
            .await?;
        Ok(())
    }

    async fn set_egress(&mut self, grant: &GrantId, before: i64, after: i64) -> Result<(), StoreError> {
        let done = sql("UPDATE egress SET taken = $3 WHERE grant_id = $1 AND taken = $2")
            .bind(grant.as_str())
            .bind(before)
            .bind(after)
            .execute(self.conn())
            .await?;
        one(done, grant)
    }
}

/// What one taking gets of what is left: all of a little, a quarter of much. So the last bytes are not set aside for one session while
/// another wants them, and a killed one loses little.
fn share(left: u64) -> u64 {
    left.min((left / 4).clamp(LEAST, MOST))
}

const LEAST: u64 = 64 * 1024;
const MOST: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_add_up_to_the_whole(limit in 1u64..1 << 40) {
            let (mut left, mut takings) = (limit, 0_u64);
            // Of much the most, then a quarter each time, then the least.
            while left > 0 && takings < limit / MOST + 60 {
                let more = share(left);
                prop_assert!(0 < more && more <= left && more <= MOST);
                left -= more;
                takings += 1;
            }
            prop_assert_eq!(left, 0);
        }
    }
}
