//! Requests and approvals. Every move names the state and version that it expects.

use sqlx::FromRow;

use super::texts::{ERASED, text};
use super::{Conn, Reader, StoreError, Tx, name, one};
use crate::access::names::{HostName, Login, Note, RequestId, User};
use crate::access::request::{Approval, Ask, Request, State, When};
use crate::access::time::{Span, Timestamp};
use crate::audit::commitment::Commitment;

/// Which requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Filed by this user.
    pub user: Option<User>,
    /// Still to be decided.
    pub pending: bool,
    /// The newest so many; none means [`MOST`].
    pub most: Option<u32>,
}

/// A request as it stood when it was read; a move must find it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The request.
    pub request: Request,
    version: i64,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    user_name: String,
    host: String,
    login: String,
    channels: String,
    begins_at: Option<i64>,
    length: i64,
    reason: String,
    ticket: Option<String>,
    rule: String,
    filed_at: i64,
    state: String,
    version: i64,
    grant_id: Option<String>,
}

#[derive(FromRow)]
struct RawApproval {
    user_name: String,
    verdict: String,
    note: Option<String>,
    length: Option<i64>,
    channels: Option<String>,
    at: i64,
}

impl Reader {
    /// One request.
    pub async fn request(&self, id: &RequestId) -> Result<Option<Request>, StoreError> {
        let mut conn = self.moment().await?;
        Ok(load(&mut conn, id.as_str()).await?.map(|kept| kept.request))
    }

    /// Requests, the newest first.
    pub async fn requests(&self, filter: &RequestFilter) -> Result<Vec<Request>, StoreError> {
        let mut conn = self.moment().await?;
        let ids: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM requests
             WHERE (CAST($1 AS TEXT) IS NULL OR user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR state = $2)
             ORDER BY filed_at DESC, id LIMIT $3",
        )
        .bind(filter.user.as_ref().map(User::as_str))
        .bind(filter.pending.then_some("pending"))
        .bind(i64::from(filter.most.unwrap_or(MOST).min(MOST)))
        .fetch_all(&mut *conn)
        .await?;
        let mut requests = Vec::with_capacity(ids.len());
        for (id,) in ids {
            requests.extend(load(&mut conn, &id).await?.map(|kept| kept.request));
        }
        Ok(requests)
    }

    /// Pending requests whose time is over at `now`.
    pub async fn lapsing(&self, now: Timestamp) -> Result<Vec<RequestId>, StoreError> {
        let ids: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM requests WHERE state = 'pending' AND lapses_at <= $1 ORDER BY lapses_at LIMIT 1000")
                .bind(now.micros())
                .fetch_all(&self.pool)
                .await?;
        ids.iter().map(|(id,)| name("requests", id, id)).collect()
    }
}

impl Tx {
    /// One request, to be moved.
    pub async fn request(&mut self, id: &RequestId) -> Result<Option<Kept>, StoreError> {
        load(self.conn(), id.as_str()).await
    }

    /// The pending request of this user for this login, if there is one.
    pub async fn pending_request(&mut self, user: &User, host: &HostName, login: &Login) -> Result<Option<Kept>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT id FROM requests WHERE state = 'pending' AND user_name = $1 AND host = $2 AND login = $3")
                .bind(user.as_str())
                .bind(host.as_str())
                .bind(login.as_str())
                .fetch_optional(self.conn())
                .await?;
        match row {
            Some((id,)) => load(self.conn(), &id).await,
            None => Ok(None),
        }
    }

    /// The first of `ids` that no request has.
    pub async fn free_request_id(&mut self, ids: Vec<RequestId>) -> Result<RequestId, StoreError> {
        for id in ids {
            let taken: Option<(i64,)> =
                sqlx::query_as("SELECT 1 FROM requests WHERE id = $1").bind(id.as_str()).fetch_optional(self.conn()).await?;
            if taken.is_none() {
                return Ok(id);
            }
        }
        Err(StoreError::Ids)
    }

    /// A new request, pending; `reason` is already kept.
    pub async fn file_request(&mut self, request: &Request, reason: &Commitment) -> Result<Kept, StoreError> {
        let rule = serde_json::to_string(&request.rule).map_err(|e| StoreError::row("requests", request.id.as_str(), e))?;
        let ask = &request.asked;
        sqlx::query(
            "INSERT INTO requests (id, user_name, host, login, channels, begins_at, length, reason, ticket, rule, filed_at, lapses_at, state, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'pending', 1)",
        )
        .bind(request.id.as_str())
        .bind(ask.user.as_str())
        .bind(ask.host.as_str())
        .bind(ask.login.as_str())
        .bind(ask.channels.to_string())
        .bind(ask.when.from.map(Timestamp::micros))
        .bind(ask.when.length.micros())
        .bind(reason.to_string())
        .bind(ask.ticket.as_ref().map(AsRef::<str>::as_ref))
        .bind(rule)
        .bind(request.filed_at.micros())
        .bind(request.lapses_at().micros())
        .execute(self.conn())
        .await?;
        Ok(Kept { request: request.clone(), version: 1 })
    }

    /// One more decision on a request that is still as it was read; `note` is already kept. Adds the row, and settles the request if
    /// `after` is settled.
    pub async fn decide_request(
        &mut self,
        before: &Kept,
        after: &Request,
        decision: &Approval,
        note: Option<Commitment>,
    ) -> Result<(), StoreError> {
        let id = before.request.id.as_str();
        let verdict = if matches!(after.state, State::Denied { .. }) { "no" } else { "yes" };
        let (earlier,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM approvals WHERE request = $1").bind(id).fetch_one(self.conn()).await?;
        sqlx::query(
            "INSERT INTO approvals (request, user_name, position, verdict, note, length, channels, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(decision.by.as_str())
        .bind(earlier)
        .bind(verdict)
        .bind(note.map(|note| note.to_string()))
        .bind(decision.length.map(Span::micros))
        .bind(decision.channels.as_ref().map(ToString::to_string))
        .bind(decision.at.micros())
        .execute(self.conn())
        .await?;
        self.move_request(before, after).await
    }

    /// The request is `after` from here on, if it is still as it was read.
    pub async fn move_request(&mut self, before: &Kept, after: &Request) -> Result<(), StoreError> {
        let settled = (!matches!(after.state, State::Pending { .. })).then(|| self.now.micros());
        let done = sqlx::query(
            "UPDATE requests SET state = $3, settled_at = $4, version = version + 1 WHERE id = $1 AND state = 'pending' AND version = $2",
        )
        .bind(before.request.id.as_str())
        .bind(before.version)
        .bind(after.state.as_str())
        .bind(settled)
        .execute(self.conn())
        .await?;
        one(done.rows_affected(), &before.request.id)
    }
}

async fn load(conn: &mut Conn, id: &str) -> Result<Option<Kept>, StoreError> {
    let raw: Option<Raw> = sqlx::query_as(
        "SELECT r.id, r.user_name, r.host, r.login, r.channels, r.begins_at, r.length, r.reason, r.ticket, r.rule, r.filed_at, r.state, r.version,
                g.id AS grant_id
         FROM requests r LEFT JOIN grants g ON g.request = r.id WHERE r.id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(raw) = raw else { return Ok(None) };
    let rows: Vec<RawApproval> =
        sqlx::query_as("SELECT user_name, verdict, note, length, channels, at FROM approvals WHERE request = $1 ORDER BY position")
            .bind(id)
            .fetch_all(&mut *conn)
            .await?;
    let (mut yeses, mut no) = (Vec::new(), None);
    for row in rows {
        let said_no = row.verdict == "no";
        let decision = approval(conn, id, row).await?;
        if said_no { no = Some(decision) } else { yeses.push(decision) }
    }
    let reason = text(conn, &raw.reason).await?;
    built(raw, &reason, yeses, no).map(Some)
}

async fn approval(conn: &mut Conn, id: &str, raw: RawApproval) -> Result<Approval, StoreError> {
    let note = match &raw.note {
        Some(note) => Some(text(conn, note).await?),
        None => None,
    };
    Ok(Approval {
        by: name("approvals", id, &raw.user_name)?,
        at: Timestamp::from_micros(raw.at),
        note: note.map(|note| name::<Note>("texts", id, &note)).transpose()?,
        length: raw.length.map(span),
        channels: raw.channels.map(|kinds| name("approvals", id, &kinds)).transpose()?,
    })
}

fn built(raw: Raw, reason: &str, approvals: Vec<Approval>, no: Option<Approval>) -> Result<Kept, StoreError> {
    let id = raw.id.as_str();
    let bad = |why: &str| StoreError::row("requests", id, why);
    let state = match raw.state.as_str() {
        "pending" => State::Pending { approvals },
        "approved" => {
            let grant = raw.grant_id.as_deref().ok_or_else(|| bad("approved without a grant"))?;
            State::Approved { grant: name("grants", id, grant)?, approvals }
        }
        "denied" => State::Denied { by: no.ok_or_else(|| bad("denied by nobody"))? },
        "withdrawn" => State::Withdrawn,
        "lapsed" => State::Lapsed,
        _ => return Err(bad("unknown state")),
    };
    let asked = Ask {
        user: name("requests", id, &raw.user_name)?,
        host: name("requests", id, &raw.host)?,
        login: name("requests", id, &raw.login)?,
        channels: name("requests", id, &raw.channels)?,
        when: When { from: raw.begins_at.map(Timestamp::from_micros), length: span(raw.length) },
        reason: name("texts", id, if reason.is_empty() { ERASED } else { reason })?,
        ticket: raw.ticket.as_deref().map(|ticket| name("requests", id, ticket)).transpose()?,
    };
    let rule = serde_json::from_str(&raw.rule).map_err(|e| StoreError::row("requests", id, e))?;
    let request = Request { id: name("requests", id, id)?, asked, rule, filed_at: Timestamp::from_micros(raw.filed_at), state };
    Ok(Kept { request, version: raw.version })
}

/// A length as it was stored, in microseconds.
fn span(micros: i64) -> Span {
    Span::from_duration(std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// The most requests that one reading gives.
pub const MOST: u32 = 1000;
