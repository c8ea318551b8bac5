//! Hosts: one name space of names and aliases, trust lines, labels, logins in order.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::sql::sql;
use super::{Conn, Reader, StoreError, Tx, count, name};
use crate::access::host::{Address, Host, HostTrust};
use crate::access::names::{Actor, GrantId, HostName, Login, RequestId};

#[derive(FromRow)]
struct Raw {
    name: String,
    address: String,
    port: i64,
}

impl Reader {
    /// The host that `typed` means: its name, an alias, or its registered address with `port`. Whether the asker may see it is policy's.
    pub async fn find_host(&self, typed: &str, port: u16) -> Result<Option<Host>, StoreError> {
        let mut conn = self.moment().await?;
        let typed = typed.to_ascii_lowercase();
        // The same statements whatever is found, so that their number tells nobody which names exist.
        let (name, address) = (named(&mut conn, &typed).await?, addressed(&mut conn, &typed, port).await?);
        load(&mut conn, name.or(address).as_deref().unwrap_or(NO_HOST)).await
    }

    /// The host of this name (not an alias).
    pub async fn host(&self, host: &HostName) -> Result<Option<Host>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, host.as_str()).await
    }

    /// Every host by name.
    pub async fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        let mut conn = self.moment().await?;
        all(&mut conn).await
    }

    /// Where every host is: each of its names with its address, as written (a name or an IP), and its SSH port.
    pub async fn host_places(&self) -> Result<Vec<(String, Address)>, StoreError> {
        let places = "SELECT host_names.name, hosts.address, hosts.port FROM host_names JOIN hosts ON hosts.name = host_names.host";
        let rows: Vec<(String, String, i64)> = sql(places).fetch_all(&self.pool).await?;
        let place = |(name, host, port)| (name, Address { host, port: u16::try_from(port).unwrap_or(0) });
        Ok(rows.into_iter().map(place).collect())
    }
}

impl Tx {
    /// The host of this name (not an alias).
    pub async fn host(&mut self, host: &HostName) -> Result<Option<Host>, StoreError> {
        load(self.conn(), host.as_str()).await
    }

    /// Every host by name.
    pub async fn hosts(&mut self) -> Result<Vec<Host>, StoreError> {
        all(self.conn()).await
    }

    /// The host that a name or alias leads to. The same statements whether there is one or not.
    pub async fn find_host(&mut self, typed: &HostName) -> Result<Option<Host>, StoreError> {
        let found = named(self.conn(), typed.as_str()).await?;
        load(self.conn(), found.as_deref().unwrap_or(NO_HOST)).await
    }

    /// How many sessions are live on a host, on any node, and how many grants there have not ended.
    pub async fn host_in_use(&mut self, host: &HostName) -> Result<(u64, u64), StoreError> {
        let now = self.now.micros();
        let sessions: Option<(i64,)> =
            sql("SELECT COUNT(*) FROM sessions WHERE state = 'live' AND host = $1").bind(host.as_str()).fetch_optional(self.conn()).await?;
        let grants: Option<(i64,)> = sql("SELECT COUNT(*) FROM grants WHERE state = 'open' AND host = $1 AND ends_at > $2")
            .bind(host.as_str())
            .bind(now)
            .fetch_optional(self.conn())
            .await?;
        let read = |table, n: Option<(i64,)>| count(table, host.as_str(), n.map_or(0, |(n,)| n));
        Ok((read("sessions", sessions)?, read("grants", grants)?))
    }

    /// Open grants on a host and requests that wait for it end with its registration: another machine may get its name. Which they were.
    pub async fn end_rights_on(&mut self, host: &HostName, by: &Actor) -> Result<(Vec<GrantId>, Vec<RequestId>), StoreError> {
        let now = self.now.micros();
        let grants: Vec<(String,)> = sql("UPDATE grants SET state = 'revoked', settled_at = $2, settled_by = $3
             WHERE host = $1 AND state = 'open' RETURNING id")
        .bind(host.as_str())
        .bind(now)
        .bind(by.to_string())
        .fetch_all(self.conn())
        .await?;
        let requests: Vec<(String,)> = sql("UPDATE requests SET state = 'lapsed', settled_at = $2, version = version + 1
             WHERE host = $1 AND state = 'pending' RETURNING id")
        .bind(host.as_str())
        .bind(now)
        .fetch_all(self.conn())
        .await?;
        let grants: Result<Vec<GrantId>, _> = grants.iter().map(|(id,)| name("grants", id, id)).collect();
        let requests: Result<Vec<RequestId>, _> = requests.iter().map(|(id,)| name("requests", id, id)).collect();
        Ok((grants?, requests?))
    }

    /// Lets go of what a host is called, before another takes one of its names in the same transaction. [`Tx::change_host`] follows.
    pub async fn free_names(&mut self, host: &HostName) -> Result<(), StoreError> {
        self.remove_parts(host).await
    }

    /// A new host.
    pub async fn add_host(&mut self, host: &Host) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO hosts (name, address, port, added_at, changed_at) VALUES ($1, $2, $3, $4, $4)")
            .bind(host.name.as_str())
            .bind(&host.address.host)
            .bind(i64::from(host.address.port))
            .bind(now)
            .execute(self.conn())
            .await?;
        self.add_parts(host).await
    }

    /// A registered host is this from here on.
    pub async fn change_host(&mut self, host: &Host) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE hosts SET address = $2, port = $3, changed_at = $4 WHERE name = $1")
            .bind(host.name.as_str())
            .bind(&host.address.host)
            .bind(i64::from(host.address.port))
            .bind(now)
            .execute(self.conn())
            .await?;
        super::one(done, &host.name)?;
        self.remove_parts(&host.name).await?;
        self.add_parts(host).await
    }

    /// A host is no longer registered. What happened on it stays told.
    pub async fn remove_host(&mut self, host: &HostName) -> Result<(), StoreError> {
        self.remove_parts(host).await?;
        let done = sql("DELETE FROM hosts WHERE name = $1").bind(host.as_str()).execute(self.conn()).await?;
        super::one(done, host)
    }

    async fn add_parts(&mut self, host: &Host) -> Result<(), StoreError> {
        for (position, called) in (0_i64..).zip(host.names()) {
            sql("INSERT INTO host_names (name, host, position) VALUES ($1, $2, $3)")
                .bind(called.as_str())
                .bind(host.name.as_str())
                .bind(position)
                .execute(self.conn())
                .await?;
        }
        for (position, trust) in (0_i64..).zip(&host.trust) {
            sql("INSERT INTO host_trust (host, position, line) VALUES ($1, $2, $3)")
                .bind(host.name.as_str())
                .bind(position)
                .bind(trust.to_string())
                .execute(self.conn())
                .await?;
        }
        for (label, value) in &host.labels {
            sql("INSERT INTO host_labels (host, label, value) VALUES ($1, $2, $3)")
                .bind(host.name.as_str())
                .bind(label)
                .bind(value)
                .execute(self.conn())
                .await?;
        }
        for (position, login) in (0_i64..).zip(&host.logins) {
            sql("INSERT INTO host_logins (host, position, login) VALUES ($1, $2, $3)")
                .bind(host.name.as_str())
                .bind(position)
                .bind(login.as_str())
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    async fn remove_parts(&mut self, host: &HostName) -> Result<(), StoreError> {
        let statements = [
            "DELETE FROM host_names WHERE host = $1",
            "DELETE FROM host_trust WHERE host = $1",
            "DELETE FROM host_labels WHERE host = $1",
            "DELETE FROM host_logins WHERE host = $1",
        ];
        for statement in statements {
            sql(statement).bind(host.as_str()).execute(self.conn()).await?;
        }
        Ok(())
    }
}

async fn named(conn: &mut Conn, typed: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = sql("SELECT host FROM host_names WHERE name = $1").bind(typed).fetch_optional(conn).await?;
    Ok(row.map(|(host,)| host))
}

/// The first by name, where several are registered at one address.
async fn addressed(conn: &mut Conn, address: &str, port: u16) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = sql("SELECT name FROM hosts WHERE address = $1 AND port = $2 ORDER BY name LIMIT 1")
        .bind(address)
        .bind(i64::from(port))
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(host,)| host))
}

/// The hosts where somebody is inside now through `node`, as policy sees them: without trusted keys.
pub(super) async fn visited(conn: &mut Conn, node: &str) -> Result<BTreeMap<String, Host>, StoreError> {
    many(conn, Some(node)).await
}

/// Every host by name, with everything.
async fn all(conn: &mut Conn) -> Result<Vec<Host>, StoreError> {
    let mut hosts = many(&mut *conn, None).await?;
    let lines: Vec<(String, String)> = sql("SELECT host, line FROM host_trust ORDER BY host, position").fetch_all(conn).await?;
    for (host, line) in lines {
        let trust = name("host_trust", &host, &line)?;
        hosts.entry(host).and_modify(|host| host.trust.push(trust));
    }
    Ok(hosts.into_values().collect())
}

/// Hosts by name, without trusted keys: all, or those where somebody is inside now through a node.
async fn many(conn: &mut Conn, node: Option<&str>) -> Result<BTreeMap<String, Host>, StoreError> {
    let raws: Vec<Raw> = sql("SELECT name, address, port FROM hosts
         WHERE CAST($1 AS TEXT) IS NULL OR name IN (SELECT host FROM sessions WHERE state = 'live' AND node = $1)")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    let mut hosts = BTreeMap::new();
    for raw in raws {
        let key = raw.name.clone();
        hosts.insert(key, bare(raw)?);
    }
    let aliases: Vec<(String, String)> = sql("SELECT host, name FROM host_names
         WHERE position > 0 AND (CAST($1 AS TEXT) IS NULL OR host IN (SELECT host FROM sessions WHERE state = 'live' AND node = $1))
         ORDER BY host, position")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    for (host, alias) in aliases {
        let Some(known) = hosts.get_mut(&host) else { continue };
        known.aliases.push(name("host_names", &host, &alias)?);
    }
    let labels: Vec<(String, String, String)> = sql("SELECT host, label, value FROM host_labels
         WHERE CAST($1 AS TEXT) IS NULL OR host IN (SELECT host FROM sessions WHERE state = 'live' AND node = $1)")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    for (host, label, value) in labels {
        let Some(known) = hosts.get_mut(&host) else { continue };
        known.labels.insert(label, value);
    }
    let logins: Vec<(String, String)> = sql("SELECT host, login FROM host_logins
         WHERE CAST($1 AS TEXT) IS NULL OR host IN (SELECT host FROM sessions WHERE state = 'live' AND node = $1)
         ORDER BY host, position")
    .bind(node)
    .fetch_all(&mut *conn)
    .await?;
    for (host, login) in logins {
        let Some(known) = hosts.get_mut(&host) else { continue };
        known.logins.push(name("host_logins", &host, &login)?);
    }
    Ok(hosts)
}

/// A host's own row; what lies in other tables is still to come.
fn bare(raw: Raw) -> Result<Host, StoreError> {
    let host = raw.name.as_str();
    Ok(Host {
        name: name("hosts", host, host)?,
        aliases: Vec::new(),
        address: Address { host: raw.address.clone(), port: u16::try_from(raw.port).map_err(|e| StoreError::row("hosts", host, e))? },
        trust: Vec::new(),
        labels: BTreeMap::new(),
        logins: Vec::new(),
    })
}

/// The host of this name. The same statements whether there is one or not.
async fn load(conn: &mut Conn, host: &str) -> Result<Option<Host>, StoreError> {
    let raw: Option<Raw> = sql("SELECT name, address, port FROM hosts WHERE name = $1").bind(host).fetch_optional(&mut *conn).await?;
    let aliases: Vec<(String,)> =
        sql("SELECT name FROM host_names WHERE host = $1 AND position > 0 ORDER BY position").bind(host).fetch_all(&mut *conn).await?;
    let trust: Vec<(String,)> =
        sql("SELECT line FROM host_trust WHERE host = $1 ORDER BY position").bind(host).fetch_all(&mut *conn).await?;
    let labels: Vec<(String, String)> =
        sql("SELECT label, value FROM host_labels WHERE host = $1").bind(host).fetch_all(&mut *conn).await?;
    let logins: Vec<(String,)> =
        sql("SELECT login FROM host_logins WHERE host = $1 ORDER BY position").bind(host).fetch_all(&mut *conn).await?;
    let Some(raw) = raw else { return Ok(None) };
    Ok(Some(Host {
        aliases: aliases.iter().map(|(a,)| name("host_names", host, a)).collect::<Result<Vec<HostName>, _>>()?,
        trust: trust.iter().map(|(line,)| name("host_trust", host, line)).collect::<Result<Vec<HostTrust>, _>>()?,
        labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
        logins: logins.iter().map(|(l,)| name("host_logins", host, l)).collect::<Result<Vec<Login>, _>>()?,
        ..bare(raw)?
    }))
}

/// Looked for where nothing was found: no host has an empty name.
const NO_HOST: &str = "";
