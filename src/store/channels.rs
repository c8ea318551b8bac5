//! What was recorded of a session's channels.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::sql::{Statement, sql};
use super::{Conn, Reader, StoreError, Tx, count, stored};
use crate::access::names::{SessionId, User};
use crate::access::time::Timestamp;
use crate::audit::digest::Digest;

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelRow {
    /// The channel's number in its session.
    pub number: u32,
    /// `shell`, `exec`, `sftp`..
    pub kind: String,
    /// The command line of an exec.
    pub command: Option<String>,
    /// The file in the session's folder.
    pub file: String,
    /// Its digest.
    pub sha256: Digest,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// How long it plays.
    pub duration: Duration,
}

#[derive(FromRow)]
struct RawChannel {
    session: String,
    number: i64,
    kind: String,
    command: Option<String>,
    file: String,
    sha256: String,
    bytes: i64,
    duration: i64,
}

impl Reader {
    /// Bytes of the recordings of one user's sessions that began at `since` or later.
    pub async fn recorded(&self, user: &User, since: Timestamp) -> Result<u64, StoreError> {
        let (bytes,): (i64,) = sql("SELECT CAST(COALESCE(SUM(channels.bytes), 0) AS BIGINT) FROM channels
             JOIN sessions ON sessions.id = channels.session WHERE sessions.user_name = $1 AND sessions.started_at >= $2")
        .bind(user.as_str())
        .bind(since.micros())
        .fetch_one(&self.pool)
        .await?;
        count("recordings", user.as_str(), bytes)
    }
}

impl Tx {
    /// One recording of a session.
    pub(super) async fn add_channel(&mut self, session: &SessionId, channel: &ChannelRow) -> Result<(), StoreError> {
        let micros = u64::try_from(channel.duration.as_micros()).unwrap_or(u64::MAX);
        sql("INSERT INTO channels (session, number, kind, command, file, sha256, bytes, duration) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(session.as_str())
            .bind(i64::from(channel.number))
            .bind(&channel.kind)
            .bind(channel.command.as_deref())
            .bind(&channel.file)
            .bind(channel.sha256.to_string())
            .bind(stored(channel.bytes))
            .bind(stored(micros))
            .execute(self.conn())
            .await?;
        Ok(())
    }
}

/// The recordings of a session, by number.
pub(super) async fn channels(conn: &mut Conn, id: &str) -> Result<Vec<ChannelRow>, StoreError> {
    let statement =
        sql("SELECT session, number, kind, command, file, sha256, bytes, duration FROM channels WHERE session = $1 ORDER BY number");
    Ok(channels_of(conn, statement.bind(id)).await?.remove(id).unwrap_or_default())
}

/// The recordings of many sessions: `statement` gives them by number.
pub(super) async fn channels_of(conn: &mut Conn, statement: Statement) -> Result<BTreeMap<String, Vec<ChannelRow>>, StoreError> {
    let raws: Vec<RawChannel> = statement.fetch_all(conn).await?;
    let mut found: BTreeMap<String, Vec<ChannelRow>> = BTreeMap::new();
    for raw in raws {
        let id = raw.session.as_str();
        let row = ChannelRow {
            number: u32::try_from(raw.number).map_err(|e| StoreError::row("channels", id, e))?,
            kind: raw.kind,
            command: raw.command,
            file: raw.file,
            sha256: raw.sha256.parse().map_err(|e| StoreError::row("channels", id, e))?,
            bytes: count("channels", id, raw.bytes)?,
            duration: Duration::from_micros(count("channels", id, raw.duration)?),
        };
        found.entry(raw.session).or_default().push(row);
    }
    Ok(found)
}
