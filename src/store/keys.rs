//! The sealed key ring and what the store says of itself. The store never sees an open key.

use super::sql::sql;
use super::{Reader, StoreError, Tx, one};

impl Reader {
    /// The sealed key ring, once `init` has made it.
    pub async fn sealed_keys(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sql("SELECT sealed FROM sealed_keys WHERE name = $1").bind(RING).fetch_optional(&self.pool).await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    /// The sealed key ring and its version, which counts up with each change.
    pub async fn sealed_ring(&self) -> Result<Option<(String, i64)>, StoreError> {
        sql("SELECT sealed, version FROM sealed_keys WHERE name = $1").bind(RING).fetch_optional(&self.pool).await
    }

    /// The version of the sealed key ring.
    pub async fn keys_version(&self) -> Result<Option<i64>, StoreError> {
        let row: Option<(i64,)> = sql("SELECT version FROM sealed_keys WHERE name = $1").bind(RING).fetch_optional(&self.pool).await?;
        Ok(row.map(|(version,)| version))
    }

    /// The first version of the key ring after the last theft: whoever has an older one in hand must not go on with it.
    pub async fn keys_since(&self) -> Result<Option<i64>, StoreError> {
        let row: Option<(String,)> = sql("SELECT value FROM meta WHERE name = $1").bind(SINCE).fetch_optional(&self.pool).await?;
        row.map(|(value,)| value.parse().map_err(|e| StoreError::row("meta", SINCE, e))).transpose()
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

    /// Puts another sealed key ring in the place of the one with `version`.
    pub async fn replace_sealed_keys(&mut self, sealed: &str, version: i64) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE sealed_keys SET sealed = $2, version = version + 1, changed_at = $4 WHERE name = $1 AND version = $3")
            .bind(RING)
            .bind(sealed)
            .bind(version)
            .bind(now)
            .execute(self.conn())
            .await?;
        one(done, "the key ring")
    }

    /// No key ring before `version` is worth anything any more.
    pub async fn forget_keys_before(&mut self, version: i64) -> Result<(), StoreError> {
        sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
            .bind(SINCE)
            .bind(version.to_string())
            .execute(self.conn())
            .await
            .map(drop)
    }
}

const SINCE: &str = "keys-since";
const RING: &str = "ring";
