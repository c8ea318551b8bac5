//! Users' keys: a key belongs to one user.

use sqlx::FromRow;

use super::sql::sql;
use super::{Store, StoreError, Tx, name, one};
use crate::access::names::User;
use crate::access::time::{Span, Timestamp};

/// One key of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// `SHA256:..`, as OpenSSH prints it.
    pub fingerprint: String,
    /// The key as authorized_keys writes it, without a comment.
    pub authorized_key: String,
    /// What its owner calls it.
    pub name: String,
    /// Since when.
    pub added_at: Timestamp,
    /// When it last proved somebody, to the minute.
    pub last_used: Option<Timestamp>,
}

#[derive(FromRow)]
pub(super) struct RawKey {
    user_name: String,
    fingerprint: String,
    authorized_key: String,
    name: String,
    added_at: i64,
    last_used: Option<i64>,
}

impl RawKey {
    /// Whose, and the key.
    pub(super) fn read(self) -> (String, KeyRow) {
        let key = KeyRow {
            fingerprint: self.fingerprint,
            authorized_key: self.authorized_key,
            name: self.name,
            added_at: Timestamp::from_micros(self.added_at),
            last_used: self.last_used.map(Timestamp::from_micros),
        };
        (self.user_name, key)
    }
}

impl Tx {
    /// Whose key this is, disabled or not.
    pub async fn key_owner(&mut self, fingerprint: &str) -> Result<Option<User>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT user_name FROM user_keys WHERE fingerprint = $1").bind(fingerprint).fetch_optional(self.conn()).await?;
        row.map(|(user,)| name("user_keys", fingerprint, &user)).transpose()
    }

    /// One more key.
    pub async fn add_key(&mut self, user: &User, fingerprint: &str, authorized_key: &str, called: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO user_keys (fingerprint, user_name, authorized_key, name, added_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(fingerprint)
            .bind(user.as_str())
            .bind(authorized_key)
            .bind(called)
            .bind(now)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The key belongs to nobody from here on.
    pub async fn remove_key(&mut self, user: &User, fingerprint: &str) -> Result<(), StoreError> {
        let done = sql("DELETE FROM user_keys WHERE fingerprint = $1 AND user_name = $2")
            .bind(fingerprint)
            .bind(user.as_str())
            .execute(self.conn())
            .await?;
        one(done, fingerprint)
    }

    /// The key is called this from here on.
    pub async fn name_key(&mut self, user: &User, fingerprint: &str, called: &str) -> Result<(), StoreError> {
        let done = sql("UPDATE user_keys SET name = $3 WHERE fingerprint = $1 AND user_name = $2")
            .bind(fingerprint)
            .bind(user.as_str())
            .bind(called)
            .execute(self.conn())
            .await?;
        one(done, fingerprint)
    }
}

impl Store {
    /// Notes that a key has proven somebody; writes at most once a minute for a key.
    pub async fn key_used(&self, fingerprint: &str, now: Timestamp) -> Result<(), StoreError> {
        let fingerprint = fingerprint.to_owned();
        let before = now.minus(Span::minutes(1)).micros();
        let stale = sql("SELECT 1 FROM user_keys WHERE fingerprint = $1 AND (last_used IS NULL OR last_used < $2)")
            .bind(&fingerprint)
            .bind(before)
            .found(&self.0.pools.door)
            .await?;
        if !stale {
            return Ok(());
        }
        self.note(now, move |tx| {
            Box::pin(async move {
                sql("UPDATE user_keys SET last_used = $2 WHERE fingerprint = $1")
                    .bind(fingerprint)
                    .bind(now.micros())
                    .execute(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
    }
}
