//! Users, their roles and keys. Never removed: a name in the log keeps its meaning.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::sql::sql;
use super::{Conn, Reader, Store, StoreError, Tx, name, one};
use crate::access::names::{Role, User, Vendor};
use crate::access::person::Person;
use crate::access::time::{Span, Timestamp};

/// A user as the store knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The user with roles and vendor, as policy sees them.
    pub person: Person,
    /// Since when.
    pub added_at: Timestamp,
    /// Since when they may do nothing, if so.
    pub disabled_at: Option<Timestamp>,
    /// Their keys, the oldest first.
    pub keys: Vec<KeyRow>,
}

/// One key of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// `SHA256:..`, as OpenSSH prints it.
    pub fingerprint: String,
    /// The key as authorized_keys writes it, without a comment.
    pub authorized_key: String,
    /// What its owner calls it.
    pub name: String,
    /// Since when.
    pub added_at: Timestamp,
    /// When it last proved somebody, to the minute.
    pub last_used: Option<Timestamp>,
}

#[derive(FromRow)]
struct Raw {
    name: String,
    vendor: Option<String>,
    added_at: i64,
    disabled_at: Option<i64>,
}

#[derive(FromRow)]
struct RawKey {
    user_name: String,
    fingerprint: String,
    authorized_key: String,
    name: String,
    added_at: i64,
    last_used: Option<i64>,
}

impl RawKey {
    fn read(self) -> (String, KeyRow) {
        let key = KeyRow {
            fingerprint: self.fingerprint,
            authorized_key: self.authorized_key,
            name: self.name,
            added_at: Timestamp::from_micros(self.added_at),
            last_used: self.last_used.map(Timestamp::from_micros),
        };
        (self.user_name, key)
    }
}

impl Reader {
    /// The user whose key this is, if they are not disabled; `fingerprint` is `SHA256:..`.
    pub async fn user_by_key(&self, fingerprint: &str) -> Result<Option<Person>, StoreError> {
        let mut conn = self.moment().await?;
        by_key(&mut conn, fingerprint).await
    }

    /// One user, disabled or not.
    pub async fn user(&self, user: &User) -> Result<Option<UserRow>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, user).await
    }

    /// Every user by name.
    pub async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        let mut conn = self.moment().await?;
        let raws: Vec<Raw> = sql("SELECT name, vendor, added_at, disabled_at FROM users ORDER BY name").fetch_all(&mut conn).await?;
        let roles: Vec<(String, String)> =
            sql("SELECT user_name, role FROM user_roles ORDER BY user_name, role").fetch_all(&mut conn).await?;
        let keys: Vec<RawKey> = sql(
            "SELECT user_name, fingerprint, authorized_key, name, added_at, last_used FROM user_keys ORDER BY user_name, added_at, fingerprint",
        )
        .fetch_all(&mut conn)
        .await?;
        let mut roles_of: BTreeMap<String, BTreeSet<Role>> = BTreeMap::new();
        for (user, role) in roles {
            let role = name("user_roles", &user, &role)?;
            roles_of.entry(user).or_default().insert(role);
        }
        let mut keys_of: BTreeMap<String, Vec<KeyRow>> = BTreeMap::new();
        for (user, key) in keys.into_iter().map(RawKey::read) {
            keys_of.entry(user).or_default().push(key);
        }
        raws.into_iter()
            .map(|raw| {
                let (roles, keys) = (roles_of.remove(&raw.name).unwrap_or_default(), keys_of.remove(&raw.name).unwrap_or_default());
                built(raw, roles, keys)
            })
            .collect()
    }
}

impl Tx {
    /// One user, disabled or not.
    pub async fn user(&mut self, user: &User) -> Result<Option<UserRow>, StoreError> {
        load(self.conn(), user).await
    }

    /// The user as policy sees them now; none if unknown or disabled.
    pub async fn person(&mut self, user: &User) -> Result<Option<Person>, StoreError> {
        Ok(load(self.conn(), user).await?.filter(|row| row.disabled_at.is_none()).map(|row| row.person))
    }

    /// Whose key this is, disabled or not.
    pub async fn key_owner(&mut self, fingerprint: &str) -> Result<Option<User>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT user_name FROM user_keys WHERE fingerprint = $1").bind(fingerprint).fetch_optional(self.conn()).await?;
        row.map(|(user,)| name("user_keys", fingerprint, &user)).transpose()
    }

    /// A new user with their roles.
    pub async fn add_user(&mut self, person: &Person) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO users (name, vendor, added_at) VALUES ($1, $2, $3)")
            .bind(person.user.as_str())
            .bind(person.vendor.as_ref().map(Vendor::as_str))
            .bind(now)
            .execute(self.conn())
            .await?;
        self.set_roles(&person.user, &person.roles).await
    }

    /// These roles and no others.
    pub async fn set_roles(&mut self, user: &User, roles: &BTreeSet<Role>) -> Result<(), StoreError> {
        sql("DELETE FROM user_roles WHERE user_name = $1").bind(user.as_str()).execute(self.conn()).await?;
        for role in roles {
            sql("INSERT INTO user_roles (user_name, role) VALUES ($1, $2)")
                .bind(user.as_str())
                .bind(role.as_str())
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    /// One more key.
    pub async fn add_key(&mut self, user: &User, fingerprint: &str, authorized_key: &str, called: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO user_keys (fingerprint, user_name, authorized_key, name, added_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(fingerprint)
            .bind(user.as_str())
            .bind(authorized_key)
            .bind(called)
            .bind(now)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The key belongs to nobody from here on.
    pub async fn remove_key(&mut self, user: &User, fingerprint: &str) -> Result<(), StoreError> {
        let done = sql("DELETE FROM user_keys WHERE fingerprint = $1 AND user_name = $2")
            .bind(fingerprint)
            .bind(user.as_str())
            .execute(self.conn())
            .await?;
        one(done, fingerprint)
    }

    /// The user may do nothing from here on.
    pub async fn disable_user(&mut self, user: &User) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE users SET disabled_at = $2 WHERE name = $1 AND disabled_at IS NULL")
            .bind(user.as_str())
            .bind(now)
            .execute(self.conn())
            .await?;
        one(done, user)
    }

    /// A disabled user may again.
    pub async fn enable_user(&mut self, user: &User) -> Result<(), StoreError> {
        let done = sql("UPDATE users SET disabled_at = NULL WHERE name = $1 AND disabled_at IS NOT NULL")
            .bind(user.as_str())
            .execute(self.conn())
            .await?;
        one(done, user)
    }
}

impl Store {
    /// Notes that a key has proven somebody; writes at most once a minute for a key.
    pub async fn key_used(&self, fingerprint: &str, now: Timestamp) -> Result<(), StoreError> {
        let fingerprint = fingerprint.to_owned();
        let before = now.minus(Span::minutes(1)).micros();
        let stale = sql("SELECT 1 FROM user_keys WHERE fingerprint = $1 AND (last_used IS NULL OR last_used < $2)")
            .bind(&fingerprint)
            .bind(before)
            .found(&self.0.pools.door)
            .await?;
        if !stale {
            return Ok(());
        }
        self.note(now, move |tx| {
            Box::pin(async move {
                sql("UPDATE user_keys SET last_used = $2 WHERE fingerprint = $1")
                    .bind(fingerprint)
                    .bind(now.micros())
                    .execute(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

async fn by_key(conn: &mut Conn, fingerprint: &str) -> Result<Option<Person>, StoreError> {
    let raw: Option<Raw> = sql("SELECT u.name, u.vendor, u.added_at, u.disabled_at FROM users u JOIN user_keys k ON k.user_name = u.name
         WHERE k.fingerprint = $1 AND u.disabled_at IS NULL")
    .bind(fingerprint)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(raw) = raw else { return Ok(None) };
    let roles = roles(conn, &raw.name).await?;
    Ok(Some(built(raw, roles, Vec::new())?.person))
}

/// The users who are inside on `node` now and are not disabled, by name.
pub(super) async fn inside(conn: &mut Conn, node: &str) -> Result<BTreeMap<String, Person>, StoreError> {
    let raws: Vec<Raw> = sql("SELECT name, vendor, added_at, disabled_at FROM users
         WHERE disabled_at IS NULL AND name IN (SELECT user_name FROM sessions WHERE state = 'live' AND node = $1)")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    let rows: Vec<(String, String)> = sql(
        "SELECT user_name, role FROM user_roles WHERE user_name IN (SELECT user_name FROM sessions WHERE state = 'live' AND node = $1)",
    )
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    let mut roles: BTreeMap<String, BTreeSet<Role>> = BTreeMap::new();
    for (user, role) in rows {
        let role = name("user_roles", &user, &role)?;
        roles.entry(user).or_default().insert(role);
    }
    let person = |raw: Raw| {
        let roles = roles.remove(&raw.name).unwrap_or_default();
        Ok((raw.name.clone(), built(raw, roles, Vec::new())?.person))
    };
    raws.into_iter().map(person).collect()
}

/// Everybody who is not disabled, by name.
pub(super) async fn in_force(conn: &mut Conn) -> Result<Vec<Person>, StoreError> {
    let raws: Vec<Raw> =
        sql("SELECT name, vendor, added_at, disabled_at FROM users WHERE disabled_at IS NULL ORDER BY name").fetch_all(&mut *conn).await?;
    let mut people = Vec::with_capacity(raws.len());
    for raw in raws {
        let roles = roles(conn, &raw.name).await?;
        people.push(built(raw, roles, Vec::new())?.person);
    }
    Ok(people)
}

async fn load(conn: &mut Conn, user: &User) -> Result<Option<UserRow>, StoreError> {
    let raw: Option<Raw> =
        sql("SELECT name, vendor, added_at, disabled_at FROM users WHERE name = $1").bind(user.as_str()).fetch_optional(&mut *conn).await?;
    let Some(raw) = raw else { return Ok(None) };
    let roles = roles(conn, &raw.name).await?;
    let keys: Vec<RawKey> =
        sql("SELECT user_name, fingerprint, authorized_key, name, added_at, last_used FROM user_keys WHERE user_name = $1
         ORDER BY added_at, fingerprint")
        .bind(user.as_str())
        .fetch_all(&mut *conn)
        .await?;
    built(raw, roles, keys.into_iter().map(|key| key.read().1).collect()).map(Some)
}

async fn roles(conn: &mut Conn, user: &str) -> Result<BTreeSet<Role>, StoreError> {
    let rows: Vec<(String,)> = sql("SELECT role FROM user_roles WHERE user_name = $1").bind(user).fetch_all(conn).await?;
    rows.iter().map(|(role,)| name("user_roles", user, role)).collect()
}

fn built(raw: Raw, roles: BTreeSet<Role>, keys: Vec<KeyRow>) -> Result<UserRow, StoreError> {
    let vendor = raw.vendor.as_deref().map(|vendor| name("users", &raw.name, vendor)).transpose()?;
    Ok(UserRow {
        person: Person { user: name("users", &raw.name, &raw.name)?, roles, vendor },
        added_at: Timestamp::from_micros(raw.added_at),
        disabled_at: raw.disabled_at.map(Timestamp::from_micros),
        keys,
    })
}
