//! Users and their roles. Never removed: a name in the log keeps its meaning. Who may do what is a question of time, so readers say when.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::sql::sql;
use super::texts::ERASED;
use super::user_keys::{KeyRow, RawKey};
use super::{Conn, Reader, StoreError, Tx, name, one};
use crate::access::names::{User, Vendor};
use crate::access::person::{Account, Held, Person};
use crate::access::time::Timestamp;
use crate::audit::commitment::Commitment;

/// A user as the store knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The user with every role, held now or at another time.
    pub account: Account,
    /// As policy sees them, with the roles of the moment that was asked for.
    pub person: Person,
    /// Since when.
    pub added_at: Timestamp,
    /// Since when they may do nothing, if so.
    pub disabled_at: Option<Timestamp>,
    /// What was said with that.
    pub disabled_note: Option<String>,
    /// Their keys, the oldest first.
    pub keys: Vec<KeyRow>,
}

impl UserRow {
    /// May they do anything at `now`: not disabled, and their contract has not ended?
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.disabled_at.is_none() && self.account.stands(now)
    }
}

#[derive(FromRow)]
struct Raw {
    name: String,
    vendor: Option<String>,
    added_at: i64,
    ends_at: Option<i64>,
    disabled_at: Option<i64>,
    note_id: Option<String>,
    note: Option<String>,
}

#[derive(FromRow)]
struct RawRole {
    user_name: String,
    role: String,
    begins_at: Option<i64>,
    ends_at: Option<i64>,
}

type Roles = BTreeMap<String, Vec<Held>>;

impl Reader {
    /// The user whose key this is, with their roles at `now`, if they may do anything then; `fingerprint` is `SHA256:..`.
    pub async fn user_by_key(&self, fingerprint: &str, now: Timestamp) -> Result<Option<Person>, StoreError> {
        let mut conn = self.moment().await?;
        let row: Option<(String,)> =
            sql("SELECT user_name FROM user_keys WHERE fingerprint = $1").bind(fingerprint).fetch_optional(&mut conn).await?;
        let Some((user,)) = row else { return Ok(None) };
        let row = load(&mut conn, &user, now).await?;
        Ok(row.filter(|row| row.in_force(now)).map(|row| row.person))
    }

    /// One user, disabled or not, as they are at `now`.
    pub async fn user(&self, user: &User, now: Timestamp) -> Result<Option<UserRow>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, user.as_str(), now).await
    }

    /// Every user by name, as they are at `now`.
    pub async fn users(&self, now: Timestamp) -> Result<Vec<UserRow>, StoreError> {
        let mut conn = self.moment().await?;
        everybody(&mut conn, now).await
    }

    /// The first time after `after` at which a role begins or ends, or an account ends. Whoever watches looks again then.
    pub async fn next_turn(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let mut conn = self.moment().await?;
        let (turn,): (Option<i64>,) = sql("SELECT MIN(turn) FROM (SELECT begins_at AS turn FROM user_roles WHERE begins_at > $1
                                    UNION ALL SELECT ends_at FROM user_roles WHERE ends_at > $1
                                    UNION ALL SELECT ends_at FROM users WHERE ends_at > $1) turns")
        .bind(after.micros())
        .fetch_one(&mut conn)
        .await?;
        Ok(turn.map(Timestamp::from_micros))
    }
}

impl Tx {
    /// One user, disabled or not.
    pub async fn user(&mut self, user: &User) -> Result<Option<UserRow>, StoreError> {
        let now = self.now;
        load(self.conn(), user.as_str(), now).await
    }

    /// Every user by name.
    pub async fn users(&mut self) -> Result<Vec<UserRow>, StoreError> {
        let now = self.now;
        everybody(self.conn(), now).await
    }

    /// The user as policy sees them now; none if unknown, disabled, or past the end of their contract.
    pub async fn person(&mut self, user: &User) -> Result<Option<Person>, StoreError> {
        let now = self.now;
        Ok(self.user(user).await?.filter(|row| row.in_force(now)).map(|row| row.person))
    }

    /// A new user with their roles.
    pub async fn add_user(&mut self, account: &Account) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO users (name, vendor, added_at, ends_at) VALUES ($1, $2, $3, $4)")
            .bind(account.user.as_str())
            .bind(account.vendor.as_ref().map(Vendor::as_str))
            .bind(now)
            .bind(account.until.map(Timestamp::micros))
            .execute(self.conn())
            .await?;
        self.set_roles(&account.user, &account.roles).await
    }

    /// The user works for this firm and until then, and holds these roles and no others.
    pub async fn change_user(&mut self, account: &Account) -> Result<(), StoreError> {
        let done = sql("UPDATE users SET vendor = $2, ends_at = $3 WHERE name = $1")
            .bind(account.user.as_str())
            .bind(account.vendor.as_ref().map(Vendor::as_str))
            .bind(account.until.map(Timestamp::micros))
            .execute(self.conn())
            .await?;
        one(done, &account.user)?;
        self.set_roles(&account.user, &account.roles).await
    }

    async fn set_roles(&mut self, user: &User, roles: &[Held]) -> Result<(), StoreError> {
        sql("DELETE FROM user_roles WHERE user_name = $1").bind(user.as_str()).execute(self.conn()).await?;
        for held in roles {
            sql("INSERT INTO user_roles (user_name, role, begins_at, ends_at) VALUES ($1, $2, $3, $4)")
                .bind(user.as_str())
                .bind(held.role.as_str())
                .bind(held.from.map(Timestamp::micros))
                .bind(held.until.map(Timestamp::micros))
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    /// The user may do nothing from here on; `note` says why.
    pub async fn disable_user(&mut self, user: &User, note: Option<Commitment>) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE users SET disabled_at = $2, disabled_note = $3 WHERE name = $1 AND disabled_at IS NULL")
            .bind(user.as_str())
            .bind(now)
            .bind(note.map(|note| note.to_string()))
            .execute(self.conn())
            .await?;
        one(done, user)
    }

    /// A disabled user may again.
    pub async fn enable_user(&mut self, user: &User) -> Result<(), StoreError> {
        let done = sql("UPDATE users SET disabled_at = NULL, disabled_note = NULL WHERE name = $1 AND disabled_at IS NOT NULL")
            .bind(user.as_str())
            .execute(self.conn())
            .await?;
        one(done, user)
    }
}

/// Everybody who may do anything at `now`, by name.
pub(super) async fn in_force(conn: &mut Conn, now: Timestamp) -> Result<Vec<Person>, StoreError> {
    let rows = everybody(conn, now).await?;
    Ok(rows.into_iter().filter(|row| row.in_force(now)).map(|row| row.person).collect())
}

/// The users who are inside on `node` and may be at `now`, by name.
pub(super) async fn inside(conn: &mut Conn, node: &str, now: Timestamp) -> Result<BTreeMap<String, Person>, StoreError> {
    let raws: Vec<Raw> = sql(
        "SELECT u.name, u.vendor, u.added_at, u.ends_at, u.disabled_at, u.disabled_note AS note_id, CAST(NULL AS TEXT) AS note FROM users u
         WHERE u.name IN (SELECT user_name FROM sessions WHERE state = 'live' AND node = $1)",
    )
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    let rows: Vec<RawRole> = sql("SELECT user_name, role, begins_at, ends_at FROM user_roles
         WHERE user_name IN (SELECT user_name FROM sessions WHERE state = 'live' AND node = $1) ORDER BY user_name, role")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    let rows = built_all(raws, roles_of(rows)?, BTreeMap::new(), now)?;
    Ok(rows.into_iter().filter(|row| row.in_force(now)).map(|row| (row.person.user.to_string(), row.person)).collect())
}

async fn everybody(conn: &mut Conn, now: Timestamp) -> Result<Vec<UserRow>, StoreError> {
    let raws: Vec<Raw> = sql("SELECT u.name, u.vendor, u.added_at, u.ends_at, u.disabled_at, u.disabled_note AS note_id, t.body AS note
         FROM users u LEFT JOIN texts t ON t.id = u.disabled_note ORDER BY u.name")
    .fetch_all(&mut *conn)
    .await?;
    let roles: Vec<RawRole> =
        sql("SELECT user_name, role, begins_at, ends_at FROM user_roles ORDER BY user_name, role").fetch_all(&mut *conn).await?;
    let rows: Vec<RawKey> = sql(
        "SELECT user_name, fingerprint, authorized_key, name, added_at, last_used FROM user_keys ORDER BY user_name, added_at, fingerprint",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut keys: BTreeMap<String, Vec<KeyRow>> = BTreeMap::new();
    for (user, key) in rows.into_iter().map(RawKey::read) {
        keys.entry(user).or_default().push(key);
    }
    built_all(raws, roles_of(roles)?, keys, now)
}

async fn load(conn: &mut Conn, user: &str, now: Timestamp) -> Result<Option<UserRow>, StoreError> {
    let raw: Option<Raw> = sql("SELECT u.name, u.vendor, u.added_at, u.ends_at, u.disabled_at, u.disabled_note AS note_id, t.body AS note
         FROM users u LEFT JOIN texts t ON t.id = u.disabled_note WHERE u.name = $1")
    .bind(user)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(raw) = raw else { return Ok(None) };
    let roles: Vec<RawRole> = sql("SELECT user_name, role, begins_at, ends_at FROM user_roles WHERE user_name = $1 ORDER BY role")
        .bind(user)
        .fetch_all(&mut *conn)
        .await?;
    let keys: Vec<RawKey> =
        sql("SELECT user_name, fingerprint, authorized_key, name, added_at, last_used FROM user_keys WHERE user_name = $1
         ORDER BY added_at, fingerprint")
        .bind(user)
        .fetch_all(&mut *conn)
        .await?;
    let roles = roles_of(roles)?.remove(user).unwrap_or_default();
    built(raw, roles, keys.into_iter().map(|key| key.read().1).collect(), now).map(Some)
}

fn roles_of(rows: Vec<RawRole>) -> Result<Roles, StoreError> {
    let mut roles = Roles::new();
    for row in rows {
        let role = name("user_roles", &row.user_name, &row.role)?;
        let held = Held { role, from: row.begins_at.map(Timestamp::from_micros), until: row.ends_at.map(Timestamp::from_micros) };
        roles.entry(row.user_name).or_default().push(held);
    }
    Ok(roles)
}

fn built_all(
    raws: Vec<Raw>,
    mut roles: Roles,
    mut keys: BTreeMap<String, Vec<KeyRow>>,
    now: Timestamp,
) -> Result<Vec<UserRow>, StoreError> {
    let row = |raw: Raw| {
        let (roles, keys) = (roles.remove(&raw.name).unwrap_or_default(), keys.remove(&raw.name).unwrap_or_default());
        built(raw, roles, keys, now)
    };
    raws.into_iter().map(row).collect()
}

fn built(raw: Raw, roles: Vec<Held>, keys: Vec<KeyRow>, now: Timestamp) -> Result<UserRow, StoreError> {
    let vendor = raw.vendor.as_deref().map(|vendor| name("users", &raw.name, vendor)).transpose()?;
    let until = raw.ends_at.map(Timestamp::from_micros);
    let account = Account { user: name("users", &raw.name, &raw.name)?, vendor, until, roles };
    Ok(UserRow {
        person: account.person(now),
        account,
        added_at: Timestamp::from_micros(raw.added_at),
        disabled_at: raw.disabled_at.map(Timestamp::from_micros),
        disabled_note: raw.note_id.map(|_| raw.note.unwrap_or_else(|| ERASED.to_owned())),
        keys,
    })
}
