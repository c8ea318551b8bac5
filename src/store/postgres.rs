//! A store on a PostgreSQL server, which several bastions share.
//!
//! Whoever writes, on whichever node, first takes one lock of the whole database: writes happen one after the other, as SQLite's do, and
//! everything that this program says about "inside the transaction" is true on both.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};
use zeroize::Zeroizing;

use super::migrations;
use super::open::{ACQUIRE, AT_THE_DOOR, BUSY, Place, Pools, READERS, WATCHING};
use super::sql::{Conn, Pool, sql};
use super::{Store, StoreError};

/// Reads a URL. What may stand in it the configuration has said already; here the essential is looked at once more, as the library
/// understood it: a server that is not on this machine must prove who it is.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let (passfile, url) = without_passfile(url);
    let options: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| StoreError::Url(e.to_string()))?;
    let here = options.get_socket().is_some() || options.get_host() == "localhost" || options.get_host().starts_with('/') || {
        let bare = options.get_host().trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    if !here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        return Err(StoreError::Url("a server elsewhere must prove who it is: sslmode=verify-full".to_owned()));
    }
    let Some(file) = passfile else { return Ok(options) };
    let password = password(Path::new(&file), &options).map_err(|e| StoreError::File { path: file.into(), source: e })?;
    Ok(options.password(&password))
}

/// Takes `passfile=FILE` out of a URL: the library does not know it.
fn without_passfile(url: &str) -> (Option<String>, Zeroizing<String>) {
    let Some((place, query)) = url.split_once('?') else { return (None, Zeroizing::new(url.to_owned())) };
    let mut file = None;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.strip_prefix("passfile=") {
            Some(path) => file = Some(path.to_owned()),
            None => rest.push(pair),
        }
    }
    (file, Zeroizing::new(format!("{place}?{}", rest.join("&"))))
}

/// The password for this server, database and user from a file as libpq's: lines of `host:port:database:user:password`, `*` is any, the
/// first that fits counts; a socket's host is `localhost`. Refused when others can read it.
fn password(file: &Path, options: &PgConnectOptions) -> io::Result<Zeroizing<String>> {
    let mut opened = File::open(file)?;
    if opened.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("others can read it (chmod 600)"));
    }
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text)?;
    let host = if options.get_socket().is_some() { "localhost" } else { options.get_host() };
    let port = options.get_port().to_string();
    let wanted = [host, &port, options.get_database().unwrap_or_default(), options.get_username()];
    let fits = |line: &&str| {
        let fields = fields(line);
        fields.len() == 5 && fields.iter().zip(wanted).all(|(field, wanted)| *field == "*" || *field == wanted)
    };
    let line = text.lines().filter(|line| !line.starts_with('#')).find(fits);
    let password = line.and_then(|line| fields(line).pop()).map(Zeroizing::new);
    password.ok_or_else(|| io::Error::other(format!("no line in it fits {}", wanted.join(":"))))
}

/// The fields of such a line; `\:` and `\\` are a colon and a backslash.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = fields.last_mut() {
            field.push(c);
        }
    }
    fields
}

/// Opens the database and brings it to the newest shape.
pub(super) async fn open(options: PgConnectOptions) -> Result<Pools, StoreError> {
    let options = options.application_name("jit-bastion").options(limits());
    // One by itself first: a pool tries until its time is up, and then knows only that.
    let asked = async {
        let mut conn = options.connect().await?;
        let encoding: (String,) = sqlx::query_as("SHOW server_encoding").fetch_one(&mut conn).await?;
        conn.close().await.map(|()| encoding.0)
    };
    let encoding = tokio::time::timeout(ACQUIRE, asked).await.map_err(|_| StoreError::Silent)??;
    if encoding != "UTF8" {
        return Err(StoreError::Encoding(encoding));
    }
    let write = PgPoolOptions::new().max_connections(WRITERS).acquire_timeout(ACQUIRE).connect_with(options.clone()).await?;
    let write = Pool::Postgres(write);
    migrations::forward(&write).await?;
    let options = options.options([("default_transaction_read_only", "on")]);
    let readers = |most| {
        let pool = PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE).connect_lazy_with(options.clone());
        Pool::Postgres(pool)
    };
    Ok(Pools { write, read: readers(READERS), door: readers(AT_THE_DOOR), watch: readers(WATCHING) })
}

/// Nothing waits for ever: a transaction whose node hangs lets go of the one lock, and who waits for it longer than [`BUSY`] is told.
fn limits() -> [(&'static str, String); 7] {
    let wait = BUSY.as_millis().to_string();
    [
        // A node that vanished is known to be gone after 14 seconds, and lets go of what it held.
        ("tcp_keepalives_idle", "5".to_owned()),
        ("tcp_keepalives_interval", "3".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        // What was committed is evidence, whatever the server's own default gives away for speed.
        ("synchronous_commit", "on".to_owned()),
        ("lock_timeout", wait.clone()),
        ("statement_timeout", (2 * BUSY).as_millis().to_string()),
        ("idle_in_transaction_session_timeout", wait),
    ]
}

/// Waits for this write's turn among those of all nodes; it lasts until the transaction ends. Without effect on SQLite, whose
/// `BEGIN IMMEDIATE` has waited already.
pub(super) async fn turn(conn: &mut Conn) -> Result<(), StoreError> {
    if matches!(conn, Conn::Postgres(_)) {
        sql("SELECT pg_advisory_xact_lock($1)").bind(ONE_WRITER).found(conn).await?;
    }
    Ok(())
}

/// Says to all nodes, at the commit, that `node` has written. Without effect on SQLite.
pub(super) async fn tell(conn: &mut Conn, node: &str) -> Result<(), StoreError> {
    if matches!(conn, Conn::Postgres(_)) {
        sql("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(node).found(conn).await?;
    }
    Ok(())
}

impl Store {
    /// The database's name, if every role of its PostgreSQL server may connect to it: any of them could hold our locks. Never so on SQLite.
    pub async fn open_to_everybody(&self) -> Result<Option<String>, StoreError> {
        let Place::Postgres(_) = &self.0.at else { return Ok(None) };
        let (name, open): (String, bool) =
            sql("SELECT CAST(current_database() AS TEXT), has_database_privilege('public', current_database(), 'CONNECT')")
                .fetch_one(&self.0.pools.read)
                .await?;
        Ok(open.then_some(name))
    }
}

/// For a connection of its own, outside the pools, named for what it does.
pub(super) fn of_its_own(options: &PgConnectOptions, what: &str) -> PgConnectOptions {
    options.clone().application_name(&format!("jit-bastion {what}")).options(limits())
}

/// Where nodes tell each other that they have written.
pub(super) const CHANNEL: &str = "jit_bastion";
/// The number of the writers' lock: "jit-writ" in ASCII, so that nobody else's is likely to be the same.
const ONE_WRITER: i64 = i64::from_be_bytes(*b"jit-writ");
/// One writes; the other is on its way back from a transaction that was given up.
const WRITERS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_proves_itself() {
        for (url, good) in [
            ("postgres://jit@db.example/jit", false),
            ("postgres://jit@db.example/jit?sslmode=require", false),
            ("postgres://jit@db.example/jit?sslmode=verify-ca", false),
            ("postgres://jit@db.example/jit?sslmode=verify-full", true),
            ("postgres://jit@localhost/jit?sslmode=disable", true),
            ("postgres://jit@[::1]:5433/jit", true),
            ("postgres://jit@%2Frun%2Fpostgresql/jit", true),
            ("postgres://jit@localhost/jit?host=/run/postgresql", true),
        ] {
            assert_eq!(options(url).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn the_password_comes_from_the_first_line_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pgpass");
        let text = "# none\nlocalhost:5432:other:jit:wrong\n*:5433:jit:jit:a\\:b\\\\c\nlocalhost:*:*:*:socket\n";
        std::fs::write(&file, text).unwrap();
        let read = |url: &str| password(&file, &options(url).unwrap()).map(|p| p.to_string());
        assert!(read("postgres://jit@localhost:5433/jit").unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read("postgres://jit@localhost:5433/jit").unwrap(), "a:b\\c");
        assert_eq!(read("postgres://bob@%2Frun%2Fpostgresql/jit").unwrap(), "socket");
        let none = read("postgres://jit@127.0.0.1:5432/jit").unwrap_err().to_string();
        assert!(none.contains("127.0.0.1:5432:jit:jit"), "{none}");
        let whole = format!("postgres://jit@localhost:5433/jit?sslmode=disable&passfile={}", file.display());
        assert!(options(&whole).is_ok());
        assert!(options("postgres://jit@localhost/jit?passfile=/none").is_err());
    }
}
