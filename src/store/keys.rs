//! The sealed key ring and what the store says of itself. The store never sees an open key.

use super::sql::sql;
use super::{Reader, StoreError, Tx, one};

impl Reader {
    /// The sealed key ring, once `init` has made it.
    pub async fn sealed_keys(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sql("SELECT sealed FROM sealed_keys WHERE name = $1").bind(RING).fetch_optional(&self.pool).await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    /// This store's own id: drawn when it was made, the same for ever.
    pub async fn instance(&self) -> Result<String, StoreError> {
        let (value,): (String,) = sql("SELECT value FROM meta WHERE name = $1").bind("instance").fetch_one(&self.pool).await?;
        Ok(value)
    }
}

impl Tx {
    /// Keeps the first sealed key ring; refuses when there is one already.
    pub async fn keep_sealed_keys(&mut self, sealed: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("INSERT INTO sealed_keys (name, sealed, version, changed_at) VALUES ($1, $2, 1, $3) ON CONFLICT DO NOTHING")
            .bind(RING)
            .bind(sealed)
            .bind(now)
            .execute(self.conn())
            .await?;
        one(done, "the key ring")
    }
}

const RING: &str = "ring";
