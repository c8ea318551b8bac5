//! Which sessions a list is about.

use super::sql::Statement;
use crate::access::names::{HostName, Login, User};
use crate::access::time::Timestamp;

/// The sessions of a filter, the newest first; its values come from [`SessionFilter::bind`].
pub(super) const SESSIONS: &str = "SELECT id, node, grant_id, request, user_name, host, login, rule, client, started_at, ended_at, ending,
            late_host_ms, late_client_ms, folder, manifest
     FROM sessions
     WHERE (CAST($1 AS TEXT) IS NULL OR user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR host = $2)
       AND (CAST($3 AS TEXT) IS NULL OR login = $3) AND (CAST($4 AS BIGINT) IS NULL OR started_at >= $4)
       AND (CAST($5 AS BIGINT) IS NULL OR started_at < $5) AND (CAST($6 AS TEXT) IS NULL OR state = $6)
       AND (CAST($7 AS BIGINT) IS NULL OR manifest IS NOT NULL)
       AND (CAST($8 AS TEXT) IS NULL OR user_name = $8
            OR request IN (SELECT request FROM approvals WHERE user_name = $8 AND verdict = 'yes'))
     ORDER BY started_at DESC, id LIMIT $9";

/// All recordings of the same sessions: a list of a thousand sessions must not be a thousand statements.
pub(super) const RECORDINGS: &str = "SELECT c.session, c.number, c.kind, c.command, c.file, c.sha256, c.bytes, c.duration
     FROM channels c JOIN (
        SELECT id FROM sessions
        WHERE (CAST($1 AS TEXT) IS NULL OR user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR host = $2)
           AND (CAST($3 AS TEXT) IS NULL OR login = $3) AND (CAST($4 AS BIGINT) IS NULL OR started_at >= $4)
           AND (CAST($5 AS BIGINT) IS NULL OR started_at < $5) AND (CAST($6 AS TEXT) IS NULL OR state = $6)
           AND (CAST($7 AS BIGINT) IS NULL OR manifest IS NOT NULL)
           AND (CAST($8 AS TEXT) IS NULL OR user_name = $8
                OR request IN (SELECT request FROM approvals WHERE user_name = $8 AND verdict = 'yes'))
         ORDER BY started_at DESC, id LIMIT $9
     ) s ON s.id = c.session
     ORDER BY c.session, c.number";

/// Which sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this user.
    pub user: Option<User>,
    /// On this host.
    pub host: Option<HostName>,
    /// As this account.
    pub login: Option<Login>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// Begun before this time.
    pub until: Option<Timestamp>,
    /// Live ones only.
    pub live: bool,
    /// Those with sealed recordings only.
    pub recorded: bool,
    /// Those of this user, and those under requests that this user said yes to.
    pub concerns: Option<User>,
    /// The newest so many; none means [`MOST`].
    pub most: Option<u32>,
}

impl SessionFilter {
    /// Gives the statement its values.
    pub(super) fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.user.as_ref().map(User::as_str))
            .bind(self.host.as_ref().map(HostName::as_str))
            .bind(self.login.as_ref().map(Login::as_str))
            .bind(self.since.map(Timestamp::micros))
            .bind(self.until.map(Timestamp::micros))
            .bind(self.live.then_some("live"))
            .bind(self.recorded.then_some(1_i64))
            .bind(self.concerns.as_ref().map(User::as_str))
            .bind(i64::from(self.most.unwrap_or(MOST).min(MOST)))
    }
}

/// The most sessions that one reading gives.
pub const MOST: u32 = 1000;
