//! Requests and approvals. Every move names the state and version that it expects.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::sql::sql;
use super::texts::ERASED;
use super::{Conn, Reader, StoreError, Tx, count, name, one};
use crate::access::names::{GrantId, HostName, Login, Note, RequestId, User};
use crate::access::request::{Approval, Ask, Request, State, When};
use crate::access::signature::Signature;
use crate::access::time::{Span, Timestamp};
use crate::audit::commitment::Commitment;

/// Which requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Filed by this user.
    pub user: Option<User>,
    /// To be decided, now or once, by this user as their roles are now; with `user` either is enough.
    pub decider: Option<User>,
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
    ticket: Option<String>,
    rule: String,
    filed_at: i64,
    state: String,
    version: i64,
    extends: Option<String>,
    grant_id: Option<String>,
    reason_text: Option<String>,
}

/// A request with one of its decisions, or with none.
#[derive(FromRow)]
struct RawDecided {
    #[sqlx(flatten)]
    request: Raw,
    decided_by: Option<String>,
    verdict: Option<String>,
    note_text: Option<String>,
    /// There was a note, even if its text was erased.
    note_id: Option<String>,
    most_length: Option<i64>,
    only_channels: Option<String>,
    decided_at: Option<i64>,
    signature: Option<String>,
}

impl Reader {
    /// One request.
    pub async fn request(&self, id: &RequestId) -> Result<Option<Request>, StoreError> {
        let mut conn = self.moment().await?;
        Ok(load(&mut conn, id.as_str()).await?.map(|kept| kept.request))
    }

    /// Requests, the newest first; in one statement.
    pub async fn requests(&self, filter: &RequestFilter) -> Result<Vec<Request>, StoreError> {
        let rows: Vec<RawDecided> =
            sql("SELECT r.id, r.user_name, r.host, r.login, r.channels, r.begins_at, r.length, r.ticket, r.rule, r.filed_at, r.state,
                    r.version, r.extends, COALESCE(g.id, r.extends) AS grant_id, t.body AS reason_text, a.user_name AS decided_by,
                    a.verdict, n.body AS note_text,
                    a.note AS note_id, a.length AS most_length, a.channels AS only_channels, a.at AS decided_at, a.signature
             FROM (SELECT * FROM requests q
                   WHERE (CAST($2 AS TEXT) IS NULL OR q.state = $2)
                     AND ((CAST($1 AS TEXT) IS NULL AND CAST($3 AS TEXT) IS NULL) OR q.user_name = $1 OR (q.user_name <> $3 AND EXISTS (
                          SELECT 1 FROM request_deciders d WHERE d.request = q.id AND (
                              d.who = '*' OR d.who = 'user:' || $3
                              OR d.who IN (SELECT 'role:' || role FROM user_roles WHERE user_name = $3)
                              OR d.who IN (SELECT 'vendor:' || vendor FROM users WHERE name = $3 AND vendor IS NOT NULL)
                              OR (d.who = 'vendor:*' AND EXISTS (SELECT 1 FROM users WHERE name = $3 AND vendor IS NOT NULL))))))
                   ORDER BY q.filed_at DESC, q.id LIMIT $4) r
                  LEFT JOIN grants g ON g.request = r.id LEFT JOIN texts t ON t.id = r.reason
                  LEFT JOIN approvals a ON a.request = r.id LEFT JOIN texts n ON n.id = a.note
             ORDER BY r.filed_at DESC, r.id, a.position")
            .bind(filter.user.as_ref().map(User::as_str))
            .bind(filter.pending.then_some("pending"))
            .bind(filter.decider.as_ref().map(User::as_str))
            .bind(i64::from(filter.most.unwrap_or(MOST).min(MOST)))
            .fetch_all(&self.pool)
            .await?;
        Ok(gathered(rows)?.into_iter().map(|kept| kept.request).collect())
    }

    /// The newest requests that `user` said yes to; where they said yes to more time of a grant that it got, the request that the grant came
    /// of.
    pub async fn said_yes(&self, user: &User) -> Result<BTreeSet<RequestId>, StoreError> {
        let ids: Vec<(String,)> = sql("SELECT COALESCE(g.request, a.request) FROM approvals a JOIN requests r ON r.id = a.request
                  LEFT JOIN grants g ON g.id = r.extends
             WHERE a.user_name = $1 AND a.verdict = 'yes' AND (r.extends IS NULL OR r.state = 'approved') ORDER BY a.at DESC LIMIT 1000")
        .bind(user.as_str())
        .fetch_all(&self.pool)
        .await?;
        ids.iter().map(|(id,)| name("approvals", id, id)).collect()
    }

    /// Pending requests whose time is over at `now`, and those for more time of a grant that is over.
    pub async fn lapsing(&self, now: Timestamp) -> Result<Vec<RequestId>, StoreError> {
        let ids: Vec<(String,)> = sql("SELECT r.id FROM requests r LEFT JOIN grants g ON g.id = r.extends
             WHERE r.state = 'pending' AND (r.lapses_at <= $1 OR g.state <> 'open') ORDER BY r.lapses_at LIMIT 1000")
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

    /// The pending request for more time of this grant, if there is one.
    pub async fn pending_extension(&mut self, grant: &GrantId) -> Result<Option<Kept>, StoreError> {
        let row: Option<(String,)> = sql("SELECT id FROM requests WHERE state = 'pending' AND extends = $1")
            .bind(grant.as_str())
            .fetch_optional(self.conn())
            .await?;
        match row {
            Some((id,)) => load(self.conn(), &id).await,
            None => Ok(None),
        }
    }

    /// The pending request of this user for a new grant of this login, if there is one.
    pub async fn pending_request(&mut self, user: &User, host: &HostName, login: &Login) -> Result<Option<Kept>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT id FROM requests WHERE state = 'pending' AND extends IS NULL AND user_name = $1 AND host = $2 AND login = $3")
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

    /// How many requests of `user` are pending.
    pub async fn pending_of(&mut self, user: &User) -> Result<u64, StoreError> {
        let (n,): (i64,) = sql("SELECT COUNT(*) FROM requests WHERE user_name = $1 AND state = 'pending'")
            .bind(user.as_str())
            .fetch_one(self.conn())
            .await?;
        count("requests", user.as_str(), n)
    }

    /// Has `user` said yes to this grant, or to more time of it that it got?
    pub async fn approved_grant(&mut self, grant: &GrantId, user: &User) -> Result<bool, StoreError> {
        sql("SELECT 1 FROM grants g JOIN requests r ON r.id = g.request OR (r.extends = g.id AND r.state = 'approved')
                  JOIN approvals a ON a.request = r.id
             WHERE g.id = $1 AND a.user_name = $2 AND a.verdict = 'yes' LIMIT 1")
        .bind(grant.as_str())
        .bind(user.as_str())
        .found(self.conn())
        .await
    }

    /// The first of `ids` that no request has.
    pub async fn free_request_id(&mut self, ids: Vec<RequestId>) -> Result<RequestId, StoreError> {
        for id in ids {
            let taken = sql("SELECT 1 FROM requests WHERE id = $1").bind(id.as_str()).found(self.conn()).await?;
            if !taken {
                return Ok(id);
            }
        }
        Err(StoreError::Ids)
    }

    /// A new request, pending; `reason` is already kept.
    pub async fn file_request(&mut self, request: &Request, reason: &Commitment) -> Result<Kept, StoreError> {
        let rule = serde_json::to_string(&request.rule).map_err(|e| StoreError::row("requests", request.id.as_str(), e))?;
        let ask = &request.asked;
        sql(
            "INSERT INTO requests (id, user_name, host, login, channels, begins_at, length, reason, ticket, rule, filed_at, lapses_at, extends, state, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'pending', 1)",
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
        .bind(ask.extends.as_ref().map(GrantId::as_str))
        .execute(self.conn())
        .await?;
        let deciders = request.rule.named().into_iter().map(ToString::to_string);
        for who in deciders.collect::<BTreeSet<_>>() {
            sql("INSERT INTO request_deciders (request, who) VALUES ($1, $2)")
                .bind(request.id.as_str())
                .bind(who)
                .execute(self.conn())
                .await?;
        }
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
        let (earlier,): (i64,) = sql("SELECT COUNT(*) FROM approvals WHERE request = $1").bind(id).fetch_one(self.conn()).await?;
        sql("INSERT INTO approvals (request, user_name, position, verdict, note, length, channels, at, signature)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(id)
        .bind(decision.by.as_str())
        .bind(earlier)
        .bind(verdict)
        .bind(note.map(|note| note.to_string()))
        .bind(decision.length.map(Span::micros))
        .bind(decision.channels.as_ref().map(ToString::to_string))
        .bind(decision.at.micros())
        .bind(decision.signature.as_ref().map(Signature::word))
        .execute(self.conn())
        .await?;
        self.move_request(before, after).await
    }

    /// A yes that was said without a signature is said again, signed; the request is `after` from here on.
    pub async fn sign_yes(&mut self, before: &Kept, after: &Request, yes: &Approval, note: Option<Commitment>) -> Result<(), StoreError> {
        let done = sql("UPDATE approvals SET note = COALESCE($3, note), length = $4, channels = $5, at = $6, signature = $7
             WHERE request = $1 AND user_name = $2 AND verdict = 'yes' AND signature IS NULL")
        .bind(before.request.id.as_str())
        .bind(yes.by.as_str())
        .bind(note.map(|note| note.to_string()))
        .bind(yes.length.map(Span::micros))
        .bind(yes.channels.as_ref().map(ToString::to_string))
        .bind(yes.at.micros())
        .bind(yes.signature.as_ref().map(Signature::word))
        .execute(self.conn())
        .await?;
        one(done, &before.request.id)?;
        self.move_request(before, after).await
    }

    /// The request is `after` from here on, if it is still as it was read.
    pub async fn move_request(&mut self, before: &Kept, after: &Request) -> Result<(), StoreError> {
        let settled = (!matches!(after.state, State::Pending { .. })).then(|| self.now.micros());
        let done = sql(
            "UPDATE requests SET state = $3, settled_at = $4, version = version + 1 WHERE id = $1 AND state = 'pending' AND version = $2",
        )
        .bind(before.request.id.as_str())
        .bind(before.version)
        .bind(after.state.as_str())
        .bind(settled)
        .execute(self.conn())
        .await?;
        one(done, &before.request.id)
    }
}

async fn load(conn: &mut Conn, id: &str) -> Result<Option<Kept>, StoreError> {
    let rows: Vec<RawDecided> =
        sql("SELECT r.id, r.user_name, r.host, r.login, r.channels, r.begins_at, r.length, r.ticket, r.rule, r.filed_at, r.state,
                r.version, r.extends, COALESCE(g.id, r.extends) AS grant_id, t.body AS reason_text, a.user_name AS decided_by,
                    a.verdict, n.body AS note_text,
                a.note AS note_id, a.length AS most_length, a.channels AS only_channels, a.at AS decided_at, a.signature
         FROM requests r LEFT JOIN grants g ON g.request = r.id LEFT JOIN texts t ON t.id = r.reason
              LEFT JOIN approvals a ON a.request = r.id LEFT JOIN texts n ON n.id = a.note
         WHERE r.id = $1 ORDER BY a.position")
        .bind(id)
        .fetch_all(conn)
        .await?;
    Ok(gathered(rows)?.pop())
}

/// Requests of rows that stand together, each with its decisions in their order.
fn gathered(rows: Vec<RawDecided>) -> Result<Vec<Kept>, StoreError> {
    let mut requests: Vec<(Raw, Vec<Approval>, Option<Approval>)> = Vec::new();
    for row in rows {
        let said_no = row.verdict.as_deref() == Some("no");
        let decision = row.decision()?;
        if requests.last().is_none_or(|(raw, ..)| raw.id != row.request.id) {
            requests.push((row.request, Vec::new(), None));
        }
        let Some((_, yeses, no)) = requests.last_mut() else { continue };
        match decision {
            Some(decision) if said_no => *no = Some(decision),
            decision => yeses.extend(decision),
        }
    }
    requests.into_iter().map(|(raw, yeses, no)| built(raw, yeses, no)).collect()
}

impl RawDecided {
    fn decision(&self) -> Result<Option<Approval>, StoreError> {
        let id = self.request.id.as_str();
        let (Some(by), Some(at)) = (&self.decided_by, self.decided_at) else { return Ok(None) };
        let note = self.note_id.as_ref().map(|_| self.note_text.as_deref().unwrap_or(ERASED));
        Ok(Some(Approval {
            by: name("approvals", id, by)?,
            at: Timestamp::from_micros(at),
            note: note.map(|note| name::<Note>("texts", id, note)).transpose()?,
            length: self.most_length.map(span),
            channels: self.only_channels.as_deref().map(|kinds| name("approvals", id, kinds)).transpose()?,
            signature: self.signature.as_deref().map(|word| name("approvals", id, word)).transpose()?,
        }))
    }
}

fn built(raw: Raw, approvals: Vec<Approval>, no: Option<Approval>) -> Result<Kept, StoreError> {
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
        reason: name("texts", id, raw.reason_text.as_deref().filter(|text| !text.is_empty()).unwrap_or(ERASED))?,
        ticket: raw.ticket.as_deref().map(|ticket| name("requests", id, ticket)).transpose()?,
        extends: raw.extends.as_deref().map(|grant| name("requests", id, grant)).transpose()?,
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
pub const MOST: u32 = 200;
