//! Grants: open until their time is over, or until somebody ends them.

use sqlx::FromRow;

use super::sql::{On, sql};
use super::{Conn, Reader, StoreError, Tx, count, name, one};
use crate::access::grant::{Finish, Finished, Grant};
use crate::access::names::{GrantId, HostName, User};
use crate::access::time::Timestamp;
use crate::audit::commitment::Commitment;

/// Which grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Of this user.
    pub user: Option<User>,
    /// On this host.
    pub host: Option<HostName>,
    /// Waiting or active at this time.
    pub open_at: Option<Timestamp>,
    /// The newest so many; none means [`MOST`].
    pub most: Option<u32>,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    request: String,
    user_name: String,
    host: String,
    login: String,
    channels: String,
    begins_at: i64,
    ends_at: i64,
    rule: String,
    extended: i64,
    state: String,
    settled_at: Option<i64>,
    settled_by: Option<String>,
}

impl Reader {
    /// One grant.
    pub async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, id).await
    }

    /// Grants: those that end last first, among equals the newest.
    pub async fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, StoreError> {
        let mut conn = self.moment().await?;
        select(&mut conn, filter).await
    }

    /// Did `user` ever hold a grant on `host`? Without a host nobody has, and the steps are the same.
    pub async fn held(&self, user: &User, host: Option<&HostName>) -> Result<bool, StoreError> {
        held(&self.pool, user, host).await
    }

    /// Grants whose time is over at `now` and whose end is not yet told.
    pub async fn ending(&self, now: Timestamp) -> Result<Vec<GrantId>, StoreError> {
        let ids: Vec<(String,)> = sql("SELECT id FROM grants WHERE state = 'open' AND ends_at <= $1 ORDER BY ends_at LIMIT 1000")
            .bind(now.micros())
            .fetch_all(&self.pool)
            .await?;
        ids.iter().map(|(id,)| name("grants", id, id)).collect()
    }
}

impl Tx {
    /// How many grants of `user` have not ended.
    pub async fn open_grants_of(&mut self, user: &User) -> Result<u64, StoreError> {
        let now = self.now.micros();
        let (n,): (i64,) = sql("SELECT COUNT(*) FROM grants WHERE user_name = $1 AND state = 'open' AND ends_at > $2")
            .bind(user.as_str())
            .bind(now)
            .fetch_one(self.conn())
            .await?;
        count("grants", user.as_str(), n)
    }

    /// One grant, to be ended.
    pub async fn grant(&mut self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        load(self.conn(), id).await
    }

    /// Did `user` ever hold a grant on `host`? Without a host nobody has, and the steps are the same.
    pub async fn held(&mut self, user: &User, host: Option<&HostName>) -> Result<bool, StoreError> {
        held(self.conn(), user, host).await
    }

    /// The first of `ids` that no grant has.
    pub async fn free_grant_id(&mut self, ids: Vec<GrantId>) -> Result<GrantId, StoreError> {
        for id in ids {
            let taken = sql("SELECT 1 FROM grants WHERE id = $1").bind(id.as_str()).found(self.conn()).await?;
            if !taken {
                return Ok(id);
            }
        }
        Err(StoreError::Ids)
    }

    /// A new grant.
    pub async fn add_grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO grants (id, request, user_name, host, login, channels, begins_at, ends_at, granted_at, rule, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'open')")
        .bind(grant.id.as_str())
        .bind(grant.request.as_str())
        .bind(grant.user.as_str())
        .bind(grant.host.as_str())
        .bind(grant.login.as_str())
        .bind(grant.channels.to_string())
        .bind(grant.begins.micros())
        .bind(grant.ends.micros())
        .bind(now)
        .bind(grant.rule.as_str())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// An open grant is closed or revoked, as its `finished` says; `note` is already kept.
    pub async fn finish_grant(&mut self, after: &Grant, note: Option<Commitment>) -> Result<(), StoreError> {
        let Some(finished) = &after.finished else { return Err(StoreError::Moved(after.id.to_string())) };
        let state = match finished.how {
            Finish::Closed => "closed",
            Finish::Revoked => "revoked",
        };
        let done = sql("UPDATE grants SET state = $2, settled_at = $3, settled_by = $4, note = $5 WHERE id = $1 AND state = 'open'")
            .bind(after.id.as_str())
            .bind(state)
            .bind(finished.at.micros())
            .bind(finished.by.to_string())
            .bind(note.map(|note| note.to_string()))
            .execute(self.conn())
            .await?;
        one(done, &after.id)
    }

    /// An open grant ends later, as `after` says; it must still stand as `before`.
    pub async fn extend_grant(&mut self, before: &Grant, after: &Grant) -> Result<(), StoreError> {
        let done = sql("UPDATE grants SET ends_at = $3, extended = $4 WHERE id = $1 AND state = 'open' AND ends_at = $2")
            .bind(after.id.as_str())
            .bind(before.ends.micros())
            .bind(after.ends.micros())
            .bind(i64::from(after.extended))
            .execute(self.conn())
            .await?;
        one(done, &after.id)
    }

    /// An open grant's time is over. False if somebody was first, or if its end has moved.
    pub async fn end_grant(&mut self, id: &GrantId) -> Result<bool, StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE grants SET state = 'ended', settled_at = $2 WHERE id = $1 AND state = 'open' AND ends_at <= $2")
            .bind(id.as_str())
            .bind(now)
            .execute(self.conn())
            .await?;
        Ok(done == 1)
    }
}

async fn held<'c>(on: impl Into<On<'c>>, user: &User, host: Option<&HostName>) -> Result<bool, StoreError> {
    sql("SELECT 1 FROM grants WHERE user_name = $1 AND host = $2 LIMIT 1")
        .bind(user.as_str())
        .bind(host.map_or("", HostName::as_str))
        .found(on)
        .await
}

async fn load(conn: &mut Conn, id: &GrantId) -> Result<Option<Grant>, StoreError> {
    let raw: Option<Raw> = sql(
        "SELECT id, request, user_name, host, login, channels, begins_at, ends_at, rule, extended, state, settled_at, settled_by FROM grants WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(conn)
    .await?;
    raw.map(built).transpose()
}

async fn select(conn: &mut Conn, filter: &GrantFilter) -> Result<Vec<Grant>, StoreError> {
    let raws: Vec<Raw> =
        sql("SELECT id, request, user_name, host, login, channels, begins_at, ends_at, rule, extended, state, settled_at, settled_by FROM grants
         WHERE (CAST($1 AS TEXT) IS NULL OR user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR host = $2)
           AND (CAST($3 AS BIGINT) IS NULL OR (state = 'open' AND ends_at > $3))
         ORDER BY ends_at DESC, granted_at DESC, id LIMIT $4")
        .bind(filter.user.as_ref().map(User::as_str))
        .bind(filter.host.as_ref().map(HostName::as_str))
        .bind(filter.open_at.map(Timestamp::micros))
        .bind(i64::from(filter.most.unwrap_or(MOST).min(MOST)))
        .fetch_all(conn)
        .await?;
    raws.into_iter().map(built).collect()
}

fn built(raw: Raw) -> Result<Grant, StoreError> {
    let id = raw.id.as_str();
    let how = match raw.state.as_str() {
        "closed" => Some(Finish::Closed),
        "revoked" => Some(Finish::Revoked),
        "open" | "ended" => None,
        _ => return Err(StoreError::row("grants", id, "unknown state")),
    };
    let finished = match (how, raw.settled_at, &raw.settled_by) {
        (None, _, _) => None,
        (Some(how), Some(at), Some(by)) => {
            let by = by.clone().try_into().map_err(|e| StoreError::row("grants", id, e))?;
            Some(Finished { how, by, at: Timestamp::from_micros(at) })
        }
        (Some(_), _, _) => return Err(StoreError::row("grants", id, "ended by nobody")),
    };
    Ok(Grant {
        id: name("grants", id, id)?,
        request: name("grants", id, &raw.request)?,
        user: name("grants", id, &raw.user_name)?,
        host: name("grants", id, &raw.host)?,
        login: name("grants", id, &raw.login)?,
        channels: name("grants", id, &raw.channels)?,
        rule: name("grants", id, &raw.rule)?,
        begins: Timestamp::from_micros(raw.begins_at),
        ends: Timestamp::from_micros(raw.ends_at),
        extended: u32::try_from(raw.extended).map_err(|e| StoreError::row("grants", id, e))?,
        finished,
    })
}

/// The most grants that one reading gives.
pub const MOST: u32 = 1000;
