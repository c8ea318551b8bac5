//! What somebody is told when they look next: nobody has to read the log to learn that a key or a user is new.

use sqlx::FromRow;

use super::sql::sql;
use super::{Reader, Store, StoreError, Tx, users};
use crate::access::names::{Actor, User};
use crate::access::policy::Policy;
use crate::access::time::{Span, Timestamp};
use crate::audit::event::list;

/// One thing that somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Since when.
    pub at: Timestamp,
    /// A sentence: lower case, no full stop.
    pub text: String,
    /// Whether it was shown already.
    pub seen: bool,
}

#[derive(FromRow)]
struct Raw {
    at: i64,
    body: String,
    seen_at: Option<i64>,
}

impl Tx {
    /// Tells everybody who could approve anything under `policy`, but for the actor and for whom it is `about`. Returns who, as events
    /// write it in `told`.
    pub async fn tell_approvers(&mut self, policy: &Policy, by: &Actor, about: Option<&User>, text: &str) -> Result<String, StoreError> {
        let mut told = Vec::new();
        let now = self.now;
        for person in users::in_force(self.conn(), now).await? {
            let acts = matches!(by, Actor::User(user) if *user == person.user);
            if !acts && about != Some(&person.user) && policy.could_approve(&person) {
                self.tell(&person.user, text).await?;
                told.push(person.user);
            }
        }
        Ok(list(told))
    }

    /// Tells one user.
    pub async fn tell(&mut self, user: &User, text: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO notices (user_name, at, body) VALUES ($1, $2, $3) ON CONFLICT (user_name, at, body) DO NOTHING")
            .bind(user.as_str())
            .bind(now)
            .bind(text)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}

impl Reader {
    /// What `user` was told from `since` on, the newest first; at most [`MOST`].
    pub async fn notices(&self, user: &User, since: Timestamp) -> Result<Vec<Notice>, StoreError> {
        let mut conn = self.moment().await?;
        let raws: Vec<Raw> = sql("SELECT at, body, seen_at FROM notices WHERE user_name = $1 AND at >= $2 ORDER BY at DESC, body LIMIT $3")
            .bind(user.as_str())
            .bind(since.micros())
            .bind(MOST)
            .fetch_all(&mut conn)
            .await?;
        let read = |raw: Raw| Notice { at: Timestamp::from_micros(raw.at), text: raw.body, seen: raw.seen_at.is_some() };
        Ok(raws.into_iter().map(read).collect())
    }
}

impl Store {
    /// `user` has seen what they were told up to `until`.
    pub async fn seen(&self, user: &User, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let user = user.clone();
        self.note(now, move |tx| {
            Box::pin(async move {
                sql("UPDATE notices SET seen_at = $3 WHERE user_name = $1 AND at <= $2 AND seen_at IS NULL")
                    .bind(user.as_str())
                    .bind(until.micros())
                    .bind(now.micros())
                    .execute(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Notices older than this are no longer shown.
pub const SHOWN: Span = Span::minutes(7 * 24 * 60);

/// The most that one reading gives.
const MOST: i64 = 100;
