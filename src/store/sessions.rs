//! Sessions, and what was recorded of their channels.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::channels::{ChannelRow, channels, channels_of};
use super::sought::{RECORDINGS, SESSIONS, SessionFilter};
use super::sql::sql;
use super::{Conn, Reader, StoreError, Tx, count, hosts, name, one, stored, users};
use crate::access::channels::Channels;
use crate::access::host::Host;
use crate::access::names::{GrantId, HostName, Login, RequestId, RuleId, SessionId, User};
use crate::access::person::Person;
use crate::access::time::Timestamp;
use crate::audit::digest::Digest;
use crate::session::Ending;

/// A session that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The grant that admits it.
    pub grant: GrantId,
    /// The request behind the grant.
    pub request: RequestId,
    /// Who.
    pub user: User,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// The grant's rule.
    pub rule: RuleId,
    /// Where the client comes from.
    pub client: SocketAddr,
    /// Fingerprint of the key that proved the user.
    pub key: String,
    /// Its certificate's serial.
    pub serial: u64,
}

/// How a session ended and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedSession {
    /// Which.
    pub id: SessionId,
    /// Why.
    pub ending: Ending,
    /// When, by its recordings; none if nothing could be sealed: then it is when this is written.
    pub ended: Option<Timestamp>,
    /// Lateness of the cut on the host's side, in milliseconds.
    pub late_host_ms: Option<u64>,
    /// And on the client's.
    pub late_client_ms: Option<u64>,
    /// Where its recordings lie below their root, and their manifest's digest; none if nothing could be sealed.
    pub sealed: Option<(String, Digest)>,
    /// Its recordings.
    pub channels: Vec<ChannelRow>,
    /// Bytes of its grant's budget that were set aside for it and not spent.
    #[serde(default)]
    pub unspent: u64,
}

/// A session as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// The node that it lives or lived on.
    pub node: String,
    /// Its grant.
    pub grant: GrantId,
    /// The request behind it.
    pub request: RequestId,
    /// Who.
    pub user: User,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// The grant's rule.
    pub rule: RuleId,
    /// Where the client came from: `ADDRESS:PORT`.
    pub client: String,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when and why; none while it is live.
    pub ended: Option<(Timestamp, Ending)>,
    /// Lateness of the cut on the host's side, in milliseconds.
    pub late_host_ms: Option<u64>,
    /// And on the client's.
    pub late_client_ms: Option<u64>,
    /// Where its recordings lie below their root, and their manifest's digest.
    pub sealed: Option<(String, Digest)>,
    /// Its recordings.
    pub channels: Vec<ChannelRow>,
}

/// What the watcher must know of a live session: whether its right still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRow {
    /// Which.
    pub id: SessionId,
    /// Its grant.
    pub grant: GrantId,
    /// `open`, `ended`, `closed` or `revoked`.
    pub grant_state: String,
    /// When the grant ends now.
    pub ends: Timestamp,
    /// As which account.
    pub login: Login,
    /// What the grant opens.
    pub channels: Channels,
    /// Its user as they are now; none if disabled or past the end of their contract.
    pub person: Option<Person>,
    /// The key that proved them is theirs no more.
    pub key_gone: bool,
    /// Its host as registered now, as policy sees it (without trusted keys); none if it is no longer registered.
    pub host: Option<Host>,
    /// Somebody killed it.
    pub killed: bool,
}

/// This node's live sessions.
#[derive(Debug, Default)]
pub struct LiveRows {
    /// Those that can be read.
    pub rows: Vec<LiveRow>,
    /// Those that make no sense: the id as it is kept, and why.
    pub unread: Vec<(String, StoreError)>,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    node: String,
    grant_id: String,
    request: String,
    user_name: String,
    host: String,
    login: String,
    rule: String,
    client: String,
    started_at: i64,
    ended_at: Option<i64>,
    ending: Option<String>,
    late_host_ms: Option<i64>,
    late_client_ms: Option<i64>,
    folder: Option<String>,
    manifest: Option<String>,
}

#[derive(FromRow)]
struct RawLive {
    id: String,
    grant_id: String,
    grant_state: String,
    ends_at: i64,
    channels: String,
    user_name: String,
    host: String,
    login: String,
    key_owner: Option<String>,
    killed_at: Option<i64>,
}

impl Reader {
    /// One session with its recordings.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, id).await
    }

    /// Sessions with their recordings, the newest first.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let mut conn = self.moment().await?;
        let raws: Vec<Raw> = filter.bind(sql(SESSIONS)).fetch_all(&mut conn).await?;
        let mut recordings = channels_of(&mut conn, filter.bind(sql(RECORDINGS))).await?;
        raws.into_iter()
            .map(|raw| {
                let channels = recordings.remove(&raw.id).unwrap_or_default();
                built(raw, channels)
            })
            .collect()
    }

    /// Where the recordings of every sealed session lie, below the recordings' root.
    pub async fn sealed_folders(&self) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> =
            sql("SELECT folder FROM sessions WHERE manifest IS NOT NULL AND folder IS NOT NULL ORDER BY id").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(folder,)| folder).collect())
    }

    /// How the rights of this node's live sessions stand at `now`. A row that makes no sense hides none of the others.
    pub async fn live(&self, now: Timestamp) -> Result<LiveRows, StoreError> {
        let mut conn = self.moment().await?;
        let raws: Vec<RawLive> =
            sql("SELECT s.id, s.grant_id, g.state AS grant_state, g.ends_at, g.channels, s.user_name, s.host, s.login, s.killed_at,
                    k.user_name AS key_owner
             FROM sessions s JOIN grants g ON g.id = s.grant_id
                  LEFT JOIN user_keys k ON k.fingerprint = s.user_key AND k.user_name = s.user_name
             WHERE s.state = 'live' AND s.node = $1")
            .bind(&self.node)
            .fetch_all(&mut conn)
            .await?;
        if raws.is_empty() {
            return Ok(LiveRows::default());
        }
        let people = users::inside(&mut conn, &self.node, now).await?;
        let hosts = hosts::visited(&mut conn, &self.node).await?;
        let mut live = LiveRows::default();
        for raw in raws {
            let id = raw.id.clone();
            match raw.read(&people, &hosts) {
                Ok(row) => live.rows.push(row),
                Err(error) => live.unread.push((id, error)),
            }
        }
        Ok(live)
    }
}

impl RawLive {
    fn read(self, people: &BTreeMap<String, Person>, hosts: &BTreeMap<String, Host>) -> Result<LiveRow, StoreError> {
        Ok(LiveRow {
            id: name("sessions", &self.id, &self.id)?,
            grant: name("sessions", &self.id, &self.grant_id)?,
            grant_state: self.grant_state,
            ends: Timestamp::from_micros(self.ends_at),
            login: name("sessions", &self.id, &self.login)?,
            channels: name("grants", &self.grant_id, &self.channels)?,
            person: people.get(&self.user_name).cloned(),
            key_gone: self.key_owner.is_none(),
            host: hosts.get(&self.host).cloned(),
            killed: self.killed_at.is_some(),
        })
    }
}

impl Tx {
    /// One session with its recordings.
    pub async fn session(&mut self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        load(self.conn(), id).await
    }

    /// A session begins on `node`.
    pub async fn add_session(&mut self, session: &NewSession, node: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO sessions (id, node, grant_id, request, user_name, host, login, rule, client, user_key, serial, started_at, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'live')")
        .bind(session.id.as_str())
        .bind(node)
        .bind(session.grant.as_str())
        .bind(session.request.as_str())
        .bind(session.user.as_str())
        .bind(session.host.as_str())
        .bind(session.login.as_str())
        .bind(session.rule.as_str())
        .bind(session.client.to_string())
        .bind(&session.key)
        .bind(session.serial.to_string())
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Marks a live session as killed; its node cuts it.
    pub async fn kill_session(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE sessions SET killed_at = $2 WHERE id = $1 AND state = 'live' AND killed_at IS NULL")
            .bind(id.as_str())
            .bind(now)
            .execute(self.conn())
            .await?;
        one(done, id)
    }

    /// What was recorded of a session that ended without, because it could not be sealed then.
    pub async fn seal_session(&mut self, closed: &ClosedSession) -> Result<(), StoreError> {
        let done = sql("UPDATE sessions SET folder = $2, manifest = $3 WHERE id = $1 AND state = 'ended' AND manifest IS NULL")
            .bind(closed.id.as_str())
            .bind(closed.sealed.as_ref().map(|(folder, _)| folder.as_str()))
            .bind(closed.sealed.as_ref().map(|(_, manifest)| manifest.to_string()))
            .execute(self.conn())
            .await?;
        one(done, &closed.id)?;
        for channel in &closed.channels {
            self.add_channel(&closed.id, channel).await?;
        }
        Ok(())
    }

    /// A live session is over.
    pub async fn close_session(&mut self, closed: &ClosedSession) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql(
            "UPDATE sessions SET state = 'ended', ended_at = $2, ending = $3, late_host_ms = $4, late_client_ms = $5, folder = $6, manifest = $7
             WHERE id = $1 AND state = 'live'",
        )
        .bind(closed.id.as_str())
        .bind(closed.ended.map_or(now, Timestamp::micros))
        .bind(closed.ending.as_str())
        .bind(closed.late_host_ms.map(stored))
        .bind(closed.late_client_ms.map(stored))
        .bind(closed.sealed.as_ref().map(|(folder, _)| folder.as_str()))
        .bind(closed.sealed.as_ref().map(|(_, manifest)| manifest.to_string()))
        .execute(self.conn())
        .await?;
        one(done, &closed.id)?;
        for channel in &closed.channels {
            self.add_channel(&closed.id, channel).await?;
        }
        let (grant,): (String,) =
            sql("SELECT grant_id FROM sessions WHERE id = $1").bind(closed.id.as_str()).fetch_one(self.conn()).await?;
        self.return_egress(&grant, closed.unspent).await
    }
}

async fn load(conn: &mut Conn, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
    let raw: Option<Raw> = sql("SELECT id, node, grant_id, request, user_name, host, login, rule, client, started_at, ended_at, ending,
                late_host_ms, late_client_ms, folder, manifest
         FROM sessions WHERE id = $1")
    .bind(id.as_str())
    .fetch_optional(&mut *conn)
    .await?;
    let Some(raw) = raw else { return Ok(None) };
    let channels = channels(conn, &raw.id).await?;
    built(raw, channels).map(Some)
}

fn built(raw: Raw, channels: Vec<ChannelRow>) -> Result<SessionRow, StoreError> {
    let id = raw.id.as_str();
    let late = |ms: Option<i64>| ms.map(|ms| count("sessions", id, ms)).transpose();
    let ended = match (raw.ended_at, &raw.ending) {
        (Some(at), Some(ending)) => Some((Timestamp::from_micros(at), name("sessions", id, ending)?)),
        _ => None,
    };
    let sealed = match (raw.folder, raw.manifest) {
        (Some(folder), Some(manifest)) => Some((folder, manifest.parse().map_err(|e| StoreError::row("sessions", id, e))?)),
        _ => None,
    };
    Ok(SessionRow {
        id: name("sessions", id, id)?,
        node: raw.node,
        grant: name("sessions", id, &raw.grant_id)?,
        request: name("sessions", id, &raw.request)?,
        user: name("sessions", id, &raw.user_name)?,
        host: name("sessions", id, &raw.host)?,
        login: name("sessions", id, &raw.login)?,
        rule: name("sessions", id, &raw.rule)?,
        client: raw.client,
        started_at: Timestamp::from_micros(raw.started_at),
        ended,
        late_host_ms: late(raw.late_host_ms)?,
        late_client_ms: late(raw.late_client_ms)?,
        sealed,
        channels,
    })
}
