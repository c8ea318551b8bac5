//! Free text that a person typed: kept once, beside its salt, found by its commitment; erased without touching the log.

use super::{Conn, StoreError, Tx};
use crate::audit::commitment::{Commitment, Salt};

impl Tx {
    /// Keeps `text` and returns what goes into the event and into the row that refers to it.
    pub async fn keep_text(&mut self, text: &str, salt: &Salt) -> Result<Commitment, StoreError> {
        let commitment = Commitment::make(text, salt);
        let hex: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        sqlx::query("INSERT INTO texts (id, salt, body) VALUES ($1, $2, $3)")
            .bind(commitment.to_string())
            .bind(hex)
            .bind(text)
            .execute(self.conn())
            .await?;
        Ok(commitment)
    }
}

/// The text behind a commitment; [`ERASED`] in the place of one that was erased.
pub(super) async fn text(conn: &mut Conn, id: &str) -> Result<String, StoreError> {
    let row: Option<(Option<String>,)> = sqlx::query_as("SELECT body FROM texts WHERE id = $1").bind(id).fetch_optional(conn).await?;
    Ok(row.and_then(|(body,)| body).unwrap_or_else(|| ERASED.to_owned()))
}

/// Shown where a text was erased.
pub(super) const ERASED: &str = "(erased)";
