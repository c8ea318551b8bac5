//! Looks at what access stands on a host without the bastion. Their ids are session ids; they need no grant.

use sqlx::FromRow;

use super::sql::{Conn, sql};
use super::{Reader, StoreError, Tx, count, name, one, stored};
use crate::access::names::{Actor, HostName, Login, SessionId};
use crate::access::time::Timestamp;
use crate::audit::commitment::Commitment;
use crate::audit::digest::Digest;
use crate::session::Ending;

/// A look that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// Its id.
    pub id: SessionId,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// Who.
    pub actor: Actor,
    /// Why, if they said so.
    pub note: Option<Commitment>,
    /// Its certificate's serial.
    pub serial: u64,
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedAudit {
    /// Which.
    pub id: SessionId,
    /// Why.
    pub ending: Ending,
    /// Where its recording lies below the root, and its manifest's digest; none if nothing could be sealed.
    pub sealed: Option<(String, Digest)>,
    /// How many recordings are there: one, or none.
    pub recordings: u64,
    /// Standing keys found; none if the answer could not be read.
    pub keys: Option<u64>,
    /// What could not be read.
    pub unread: Option<u64>,
}

/// A look as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id.
    pub id: SessionId,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// Who.
    pub actor: Actor,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when and why; none while it goes on, or when it was killed.
    pub ended: Option<(Timestamp, Ending)>,
    /// Where its recording lies below the root, and its manifest's digest.
    pub sealed: Option<(String, Digest)>,
    /// How many recordings are there.
    pub recordings: u64,
    /// Standing keys found.
    pub keys: Option<u64>,
    /// What could not be read.
    pub unread: Option<u64>,
}

#[derive(FromRow)]
struct Raw {
    session: String,
    host: String,
    login: String,
    actor: String,
    started_at: i64,
    ended_at: Option<i64>,
    ending: Option<String>,
    folder: Option<String>,
    manifest: Option<String>,
    recordings: i64,
    standing: Option<i64>,
    unread: Option<i64>,
}

impl Reader {
    /// The last look at a host that told something.
    pub async fn last_audit(&self, host: &HostName) -> Result<Option<AuditRow>, StoreError> {
        let mut conn = self.moment().await?;
        let raw: Option<Raw> =
            sql("SELECT session, host, login, actor, started_at, ended_at, ending, folder, manifest, recordings, standing, unread
             FROM host_audits WHERE host = $1 AND standing IS NOT NULL ORDER BY started_at DESC, session LIMIT 1")
            .bind(host.as_str())
            .fetch_optional(&mut conn)
            .await?;
        raw.map(Raw::read).transpose()
    }

    /// Looks that left a recording, the newest first: on this host, as this account, begun at `since` or later and before `until`.
    pub async fn audits(
        &self,
        host: Option<&HostName>,
        login: Option<&Login>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut conn = self.moment().await?;
        let raws: Vec<Raw> =
            sql("SELECT session, host, login, actor, started_at, ended_at, ending, folder, manifest, recordings, standing, unread
             FROM host_audits
             WHERE recordings > 0 AND (CAST($1 AS TEXT) IS NULL OR host = $1) AND (CAST($2 AS TEXT) IS NULL OR login = $2)
               AND (CAST($3 AS BIGINT) IS NULL OR started_at >= $3) AND (CAST($4 AS BIGINT) IS NULL OR started_at < $4)
             ORDER BY started_at DESC, session LIMIT $5")
            .bind(host.map(HostName::as_str))
            .bind(login.map(Login::as_str))
            .bind(since.map(Timestamp::micros))
            .bind(until.map(Timestamp::micros))
            .bind(MOST)
            .fetch_all(&mut conn)
            .await?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// One look.
    pub async fn audit(&self, id: &SessionId) -> Result<Option<AuditRow>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, id).await
    }
}

impl Tx {
    /// One look.
    pub async fn audit(&mut self, id: &SessionId) -> Result<Option<AuditRow>, StoreError> {
        load(self.conn(), id).await
    }

    /// A look begins, from `node`.
    pub async fn add_audit(&mut self, new: &NewAudit, node: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO host_audits (session, node, host, login, actor, note, serial, started_at, recordings)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)")
        .bind(new.id.as_str())
        .bind(node)
        .bind(new.host.as_str())
        .bind(new.login.as_str())
        .bind(new.actor.to_string())
        .bind(new.note.map(|note| note.to_string()))
        .bind(new.serial.to_string())
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// A look is over.
    pub async fn close_audit(&mut self, closed: &ClosedAudit) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql(
            "UPDATE host_audits SET ended_at = $2, ending = $3, folder = $4, manifest = $5, recordings = $6, standing = $7, unread = $8
             WHERE session = $1 AND manifest IS NULL",
        )
        .bind(closed.id.as_str())
        .bind(now)
        .bind(closed.ending.as_str())
        .bind(closed.sealed.as_ref().map(|(folder, _)| folder.clone()))
        .bind(closed.sealed.as_ref().map(|(_, manifest)| manifest.to_string()))
        .bind(stored(closed.recordings))
        .bind(closed.keys.map(stored))
        .bind(closed.unread.map(stored))
        .execute(self.conn())
        .await?;
        one(done, &closed.id)
    }
}

async fn load(conn: &mut Conn, id: &SessionId) -> Result<Option<AuditRow>, StoreError> {
    let raw: Option<Raw> =
        sql("SELECT session, host, login, actor, started_at, ended_at, ending, folder, manifest, recordings, standing, unread
         FROM host_audits WHERE session = $1")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await?;
    raw.map(Raw::read).transpose()
}

impl Raw {
    fn read(self) -> Result<AuditRow, StoreError> {
        let id = self.session.as_str();
        let number = |n: Option<i64>| n.map(|n| count("host_audits", id, n)).transpose();
        let ended = match (self.ended_at, &self.ending) {
            (Some(at), Some(ending)) => Some((Timestamp::from_micros(at), name("host_audits", id, ending)?)),
            _ => None,
        };
        let sealed = match (&self.folder, &self.manifest) {
            (Some(folder), Some(manifest)) => Some((folder.clone(), manifest.parse().map_err(|e| StoreError::row("host_audits", id, e))?)),
            _ => None,
        };
        Ok(AuditRow {
            id: name("host_audits", id, id)?,
            host: name("host_audits", id, &self.host)?,
            login: name("host_audits", id, &self.login)?,
            actor: Actor::try_from(self.actor.clone()).map_err(|e| StoreError::row("host_audits", id, e))?,
            started_at: Timestamp::from_micros(self.started_at),
            ended,
            sealed,
            recordings: count("host_audits", id, self.recordings)?,
            keys: number(self.standing)?,
            unread: number(self.unread)?,
        })
    }
}

/// The most that one reading gives.
const MOST: i64 = 1000;
