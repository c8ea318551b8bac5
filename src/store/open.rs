//! Where a store lies, and opening it.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::sql::Pool;
use super::{StoreError, postgres, sqlite};

/// Where a store lies, read from the `store` URL of the configuration.
#[derive(Clone)]
pub(super) enum Place {
    /// `sqlite:PATH`; a relative path is relative to the working folder.
    Sqlite(PathBuf),
    /// `postgres://USER@HOST/DATABASE`.
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    /// Reads `sqlite:PATH` or `postgres://..`; everything else is refused with what would be read.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(postgres::options(url)?)));
        }
        let path = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(StoreError::Url("it names no database".to_owned())),
        }
    }
}

/// The writers and the readers. Who knocks and who watches have connections of their own, so that nobody who asks much can keep them
/// waiting.
pub(super) struct Pools {
    pub(super) write: Pool,
    pub(super) read: Pool,
    pub(super) door: Pool,
    pub(super) watch: Pool,
}

impl Pools {
    /// Opens the store there, makes what is missing, and brings it to the newest shape.
    pub(super) async fn open(place: Place) -> Result<Self, StoreError> {
        match place {
            Place::Sqlite(path) => sqlite::open(&path).await,
            Place::Postgres(options) => postgres::open(*options).await,
        }
    }
}

/// How long a writer waits for another's transaction.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// How long anybody waits for a connection: longer than that the store counts as lost.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);
/// Readers never block one another; more than this only costs threads or the server's connections.
pub(super) const READERS: u32 = 4;
pub(super) const AT_THE_DOOR: u32 = 2;
/// The watcher, and a session that begins.
pub(super) const WATCHING: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let file = |url: &str| match Place::parse(url) {
            Ok(Place::Sqlite(path)) => Some(path),
            _ => None,
        };
        assert_eq!(file("sqlite:state/a.db"), Some("state/a.db".into()));
        assert_eq!(file("sqlite:///var/lib/a.db"), Some("/var/lib/a.db".into()));
        for bad in ["", "sqlite:", "mysql://x/y", "/var/lib/a.db"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
