//! Where the store is: a file of this machine, or a PostgreSQL server. A password in its URL is never shown.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error};
use zeroize::Zeroizing;

/// The `store` of a configuration.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
    /// `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?..]`.
    Postgres(Zeroizing<String>),
}

impl StoreUrl {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// The whole URL, with the password that may be in it: for opening the store, never for showing.
    pub fn secret(&self) -> Zeroizing<String> {
        match self {
            Self::Sqlite(path) => Zeroizing::new(format!("sqlite:{}", path.display())),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// Reads it, or says what it should look like.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", rest)) => sqlite(rest.strip_prefix("//").unwrap_or(rest)),
            Some(("postgres" | "postgresql", rest)) => postgres(rest).map(|()| Self::Postgres(Zeroizing::new(text.to_owned()))),
            _ => Err("it names no store"),
        }
        .map_err(|why| format!("{:?}: {why}\nhint: {}", masked(text), hint(why)))
    }
}

fn hint(why: &str) -> &'static str {
    match why {
        UNSAFE => "add ?sslmode=verify-full&sslrootcert=/PATH/OF/THE/CA.pem",
        UNKNOWN => {
            "host (of a socket), sslmode, sslrootcert, sslcert, sslkey and passfile may follow the ?, each once, paths whole and plain"
        }
        _ => "write it as sqlite:/var/lib/jit-bastion/jit-bastion.db (without ? # % or :) or as postgres://USER@HOST/DATABASE",
    }
}

fn sqlite(path: &str) -> Result<StoreUrl, &'static str> {
    if path.is_empty() || path.contains(['?', '#', '%', ':']) {
        return Err("it names no file");
    }
    Ok(StoreUrl::Sqlite(PathBuf::from(path)))
}

/// Checks what follows `postgres:`. Strict, so that what it means to us is what it means to the library that connects.
fn postgres(rest: &str) -> Result<(), &'static str> {
    let rest = rest.strip_prefix("//").ok_or("it names no server")?;
    if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "#\\\"'".contains(c)) {
        return Err("it has characters that a URL has not (a password writes them as %20)");
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').ok_or("it names no database")?;
    let (user, server) = authority.rsplit_once('@').ok_or("it names no user")?;
    if database.is_empty() || database.contains('/') {
        return Err("it names no database");
    }
    if user.is_empty() || user.starts_with(':') {
        return Err("it names no user");
    }
    let host = server.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(server, |(host, _)| host);
    if host.is_empty() {
        return Err("it names no server");
    }
    let told = told(query)?;
    let socket = host.starts_with("%2F") || host.starts_with("%2f") || told.iter().any(|(key, _)| *key == "host");
    if socket || is_loopback(host) || told.contains(&("sslmode", "verify-full")) { Ok(()) } else { Err(UNSAFE) }
}

/// What is said after the `?`.
fn told(query: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(UNKNOWN)?;
        let known = match key {
            "sslmode" => ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"].contains(&value),
            "host" | "sslrootcert" | "sslcert" | "sslkey" | "passfile" => value.starts_with('/') && !value.contains(['%', '+']),
            _ => false,
        };
        if !known || told.iter().any(|(before, _)| *before == key) {
            return Err(UNKNOWN);
        }
        told.push((key, value));
    }
    Ok(told)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `text`, of the same length, with a star for each character of the password in a URL that is in it.
pub(super) fn masked(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let plain = |c: char| "/?\"' ".contains(c);
    let end = rest.rfind('@').or_else(|| rest.find(plain)).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let Some((user, password)) = authority.split_once(':') else { return text.to_owned() };
    if !after.starts_with('@') && password.chars().all(|c| c.is_ascii_digit()) {
        return text.to_owned();
    }
    format!("{before}://{user}:{}{after}", "*".repeat(password.chars().count()))
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(Error::custom)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.secret()))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whoever stands between could read and change everything, and answer as the server.
const UNSAFE: &str = "a server elsewhere must prove who it is";
const UNKNOWN: &str = "what follows the ? is not known";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_whole_and_proves_itself() {
        for good in [
            "postgres://jit@localhost/jit",
            "postgres://jit:p%40ss@127.0.0.1:5433/jit",
            "postgresql://jit@[::1]:5432/jit?sslmode=disable",
            "postgres://jit@%2Fvar%2Frun%2Fpostgresql/jit",
            "postgres://jit@localhost:5433/jit?host=/run/postgresql",
            "postgres://jit@db.hospital.example/jit?sslmode=verify-full&sslrootcert=/etc/ca.pem&passfile=/etc/jit/pgpass",
        ] {
            assert_eq!(StoreUrl::parse(good).map(|url| url.secret().to_string()), Ok(good.to_owned()));
        }
        for (bad, word) in [
            ("mysql://a@b/c", "names no store"),
            ("/var/lib/a.db", "names no store"),
            ("sqlite:a?mode=ro", "names no file"),
            ("postgres:jit", "names no server"),
            ("postgres://jit@/db", "names no server"),
            ("postgres://localhost/db", "names no user"),
            ("postgres://:x@localhost/db", "names no user"),
            ("postgres://jit@localhost", "names no database"),
            ("postgres://jit@localhost/?sslmode=disable", "names no database"),
            ("postgres://jit@10.0.0.5/db", "sslmode=verify-full"),
            ("postgres://jit@127.0.0.1.evil.example/db", "sslmode=verify-full"),
            ("postgres://jit@localhost.example/db?sslmode=require", "sslmode=verify-full"),
            ("postgres://jit@10.0.0.5/db?sslmode=verify-ca", "sslmode=verify-full"),
            ("postgres://jit@10.0.0.5/db?sslmode=verify-full&sslmode=disable", "each once"),
            ("postgres://jit@localhost/db?host=10.0.0.5", "of a socket"),
            ("postgres://jit@localhost/db?hostaddr=10.0.0.5", "may follow the ?"),
            ("postgres://jit@localhost/db?password=hunter2", "may follow the ?"),
            ("postgres://jit@localhost/db?passfile=pgpass", "paths whole"),
            ("postgres://jit@localhost/a b", "%20"),
        ] {
            let said = StoreUrl::parse(bad).unwrap_err();
            assert!(said.contains(word) && said.contains("\nhint: "), "{bad}: {said}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://jit:hunter2@localhost/jit", "postgres://jit:*******@localhost/jit"),
            ("postgres://jit:hun@ter/2@localhost/jit", "postgres://jit:*********@localhost/jit"),
            ("postgres://jit:hunter2/jit", "postgres://jit:*******/jit"),
            ("postgres://jit@localhost:5433/jit", "postgres://jit@localhost:5433/jit"),
            ("postgres://localhost:5433/jit", "postgres://localhost:5433/jit"),
            ("file:///srv/recordings", "file:///srv/recordings"),
        ] {
            assert_eq!(masked(url), shown);
        }
        let url = StoreUrl::parse("postgres://jit:hunter2@localhost/jit").unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
        assert!(!StoreUrl::parse("postgres://jit:hunter2@db.example/jit").unwrap_err().contains("hunter2"));
    }
}
