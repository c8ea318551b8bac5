//! A copy of a store in a file, taken while a bastion works with it; and whether such a file is whole.
//!
//! Neither opens the store as [`Store::open`](super::Store::open) does: a copy of an older shape stays of that shape.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::open::BUSY;
use super::{StoreError, count};

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Entries in all its logs.
    pub entries: u64,
    /// Where the recordings of each sealed session lie, below the recordings' root.
    pub sealed: Vec<String>,
}

/// Copies the store in the file `from` into the new file `to`, as it is at one moment. Nobody waits for it, and it waits for nobody.
pub async fn snapshot(from: &Path, to: &Path) -> Result<Snapshot, StoreError> {
    let mut source = connect(from, false).await?;
    let target = to.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut source).await.map_err(graded)?;
    let mut copy = connect(to, true).await?;
    check(&mut copy).await?;
    let entries: (i64,) =
        sqlx::query_as("SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM heads").fetch_one(&mut copy).await.map_err(graded)?;
    let sealed: Vec<(String,)> =
        sqlx::query_as("SELECT folder FROM sessions WHERE manifest IS NOT NULL AND folder IS NOT NULL ORDER BY id")
            .fetch_all(&mut copy)
            .await
            .map_err(graded)?;
    Ok(Snapshot { entries: count("heads", "size", entries.0)?, sealed: sealed.into_iter().map(|(folder,)| folder).collect() })
}

/// Reads the whole file at `path` and says whether it is damaged. It takes about a second a gigabyte.
pub async fn is_whole(path: &Path) -> Result<(), StoreError> {
    check(&mut connect(path, false).await?).await
}

async fn check(file: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(file).await.map_err(graded)?;
    if found.0 == "ok" { Ok(()) } else { Err(StoreError::Damaged(found.0.lines().collect::<Vec<_>>().join("; "))) }
}

/// `still`: nobody else has the file open, and reading it must leave no trace beside it.
async fn connect(path: &Path, still: bool) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(still).busy_timeout(BUSY);
    options.connect().await.map_err(graded)
}

fn graded(error: sqlx::Error) -> StoreError {
    StoreError::from(error).grade()
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Store, Urgency};
    use super::*;
    use crate::access::names::Actor;
    use crate::access::time::Timestamp;
    use crate::audit::event::Event;

    #[tokio::test]
    async fn a_copy_is_of_one_moment_and_a_damaged_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("a.db"), dir.path().join("copy.db"));
        let open = async |path: &Path| Store::open(&format!("sqlite:{}", path.display()), "node-1").await.unwrap();
        let store = open(&path).await;
        let tell = async |n: i64| {
            let told = store.change(Urgency::Ordinary, Actor::System, Timestamp::from_micros(n), move |_| {
                Box::pin(async move { Ok::<_, StoreError>(Outcome::Changed((), Event::ClockAlarm { jump_ms: n })) })
            });
            told.await.unwrap();
        };
        for n in 0..200 {
            tell(n).await;
        }
        let taken = snapshot(&path, &copy).await.unwrap();
        assert_eq!(taken, Snapshot { entries: 200, sealed: vec![] });
        tell(200).await;
        assert!(snapshot(&path, &copy).await.is_err(), "nothing is overwritten");
        let beside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!beside.iter().any(|name| name.to_string_lossy().starts_with("copy.db-")), "{beside:?}");
        let restored = open(&copy).await;
        assert_eq!(restored.reader().head().await.unwrap().unwrap().size, 200);
        restored.close().await;

        is_whole(&copy).await.unwrap();
        let mut bytes = std::fs::read(&copy).unwrap();
        let page = bytes.len() / 4096 / 2 * 4096;
        bytes[page..page + 4096].fill(0);
        std::fs::write(&copy, &bytes).unwrap();
        assert!(matches!(is_whole(&copy).await, Err(StoreError::Damaged(_))));
        bytes[..4096].fill(0x55);
        std::fs::write(&copy, &bytes).unwrap();
        assert!(matches!(is_whole(&copy).await, Err(StoreError::Damaged(_))));
    }
}
