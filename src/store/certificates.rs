//! Access certificates that were signed. What is not here was not signed by us.

use sqlx::FromRow;

use super::sql::sql;
use super::{Reader, StoreError, Tx, name};
use crate::access::names::{GrantId, User};
use crate::access::time::Timestamp;

/// An access certificate as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Its number.
    pub serial: u64,
    /// The grant that it opens the bastion for.
    pub grant: GrantId,
    /// Whose it is.
    pub user: User,
    /// Fingerprint of the certified key.
    pub key: String,
    /// Fingerprint of the authority that signed it.
    pub authority: String,
    /// From when, in whole seconds.
    pub begins: Timestamp,
    /// Until when, which is outside.
    pub ends: Timestamp,
}

#[derive(FromRow)]
struct Raw {
    grant_id: String,
    user_name: String,
    user_key: String,
    authority: String,
    begins_at: i64,
    ends_at: i64,
}

impl Reader {
    /// The certificate with this number, if we signed it.
    pub async fn certificate(&self, serial: u64) -> Result<Option<IssuedCertificate>, StoreError> {
        let text = serial.to_string();
        let raw: Option<Raw> =
            sql("SELECT grant_id, user_name, user_key, authority, begins_at, ends_at FROM access_certificates WHERE serial = $1")
                .bind(&text)
                .fetch_optional(&self.pool)
                .await?;
        let Some(raw) = raw else { return Ok(None) };
        Ok(Some(IssuedCertificate {
            serial,
            grant: name("access_certificates", &text, &raw.grant_id)?,
            user: name("access_certificates", &text, &raw.user_name)?,
            key: raw.user_key,
            authority: raw.authority,
            begins: Timestamp::from_micros(raw.begins_at),
            ends: Timestamp::from_micros(raw.ends_at),
        }))
    }
}

impl Tx {
    /// A certificate was signed.
    pub async fn add_certificate(&mut self, issued: &IssuedCertificate) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO access_certificates (serial, grant_id, user_name, user_key, authority, begins_at, ends_at, issued_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(issued.serial.to_string())
        .bind(issued.grant.as_str())
        .bind(issued.user.as_str())
        .bind(&issued.key)
        .bind(&issued.authority)
        .bind(issued.begins.micros())
        .bind(issued.ends.micros())
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
