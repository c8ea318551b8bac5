//! Free text that a person typed: kept once, beside its salt, found by its commitment; erased without touching the log.

use super::sql::sql;
use super::{Reader, StoreError, Tx};
use crate::audit::commitment::{Commitment, Salt};

impl Reader {
    /// The text behind a commitment in the log, as long as it is kept.
    pub async fn text(&self, commitment: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(Option<String>,)> =
            sql("SELECT body FROM texts WHERE id = $1").bind(commitment).fetch_optional(&self.pool).await?;
        Ok(row.and_then(|(body,)| body))
    }
}

impl Tx {
    /// Keeps `text` and returns what goes into the event and into the row that refers to it.
    pub async fn keep_text(&mut self, text: &str, salt: &Salt) -> Result<Commitment, StoreError> {
        let commitment = Commitment::make(text, salt);
        let hex: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        sql("INSERT INTO texts (id, salt, body) VALUES ($1, $2, $3)")
            .bind(commitment.to_string())
            .bind(hex)
            .bind(text)
            .execute(self.conn())
            .await?;
        Ok(commitment)
    }
}

/// Shown where a text was erased.
pub(super) const ERASED: &str = "(erased)";
