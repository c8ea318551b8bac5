//! One PostgreSQL that several bastions write to.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::*;

async fn node(dir: &TempDir, name: &str) -> Store {
    Store::open(&testing::postgres(dir.path()).await, name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_its_own_log_and_all_the_same_users() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (node(&dir, "node-1").await, node(&dir, "node-2").await);
    let write = async |store: &Store, prefix: &str| {
        for n in 0..40 {
            add_user(store, &format!("{prefix}{n}"), NOON.plus(Span::seconds(n))).await.unwrap();
        }
    };
    tokio::join!(write(&one, "a"), write(&two, "b"));
    let sizes = one.reader().sizes().await.unwrap();
    assert_eq!(sizes, [("node-1".to_owned(), 40), ("node-2".to_owned(), 40)].into());
    assert_eq!(two.reader().users(NOON).await.unwrap().len(), 80);
    checkpoint(&one, &dir).await;
    let verdict = verify(&one, &dir).await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!(verdict.entries, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_read_in_its_change_no_other_changes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = [node(&dir, "node-1").await, node(&dir, "node-2").await];
    // Read, wait, write: without a lock around it, additions are lost.
    let add = async |store: &Store| {
        for _ in 0..30 {
            let done: Result<(), StoreError> = store
                .note(NOON, |tx| {
                    Box::pin(async move {
                        let count = "SELECT value FROM meta WHERE name = 'count'";
                        let (before,): (String,) = sql(count).fetch_one(tx.conn()).await?;
                        tokio::task::yield_now().await;
                        let after = before.parse::<u32>().unwrap() + 1;
                        sql("UPDATE meta SET value = $1 WHERE name = 'count'").bind(after.to_string()).execute(tx.conn()).await?;
                        Ok(())
                    })
                })
                .await;
            done.unwrap();
        }
    };
    let start = nodes[0]
        .note(NOON, |tx| Box::pin(async move { sql("INSERT INTO meta (name, value) VALUES ('count', '0')").execute(tx.conn()).await }));
    start.await.unwrap();
    tokio::join!(add(&nodes[0]), add(&nodes[1]));
    let (count,): (String,) = sql("SELECT value FROM meta WHERE name = 'count'").fetch_one(&nodes[0].0.pools.read).await.unwrap();
    assert_eq!(count, "60");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_gave_up_leaves_no_transaction_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(&dir, "node-1").await;
    let reader = store.reader();
    for n in 0..100_u64 {
        let patience = Duration::from_micros(n * 37 % 900);
        let _ = tokio::time::timeout(patience, reader.users(NOON)).await;
        let _ = tokio::time::timeout(patience, add_user(&store, &format!("u{n}"), NOON)).await;
    }
    let open = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let settled = async {
        while sql(open).found(&store.0.pools.watch).await.unwrap() {
            tokio::task::yield_now().await;
        }
        while reader.users(NOON).await.unwrap().len() < 100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap();
}

#[tokio::test]
async fn nothing_waits_for_ever_and_readers_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(&dir, "node-1").await;
    for (setting, value) in [
        ("SHOW lock_timeout", "5s"),
        ("SHOW statement_timeout", "10s"),
        ("SHOW idle_in_transaction_session_timeout", "5s"),
        ("SHOW application_name", "jit-bastion"),
    ] {
        for pool in [&store.0.pools.write, &store.0.pools.watch] {
            let (said,): (String,) = sql(setting).fetch_one(pool).await.unwrap();
            assert_eq!(said, value, "{setting}");
        }
    }
    for pool in [&store.0.pools.read, &store.0.pools.door, &store.0.pools.watch] {
        let written = sql("INSERT INTO meta (name, value) VALUES ('x', 'y')").execute(pool).await;
        assert!(written.unwrap_err().to_string().contains("read-only"));
    }
}

#[tokio::test]
async fn a_text_with_a_nul_is_kept_alike_on_both() {
    let dir = tempfile::tempdir().unwrap();
    for url in [testing::sqlite(dir.path()), testing::postgres(dir.path()).await] {
        let store = Store::open(&url, "n").await.unwrap();
        let pool = &store.0.pools.write;
        sql("INSERT INTO meta (name, value) VALUES ('x', $1)").bind("a\0b").execute(pool).await.unwrap();
        let (kept,): (String,) = sql("SELECT value FROM meta WHERE name = $1").bind("x").fetch_one(pool).await.unwrap();
        assert_eq!(kept, "a\u{2400}b");
    }
}

#[tokio::test]
async fn a_file_is_served_once_and_written_by_many() {
    let dir = tempfile::tempdir().unwrap();
    let url = testing::sqlite(dir.path());
    let (one, two) = (Store::open(&url, "node-1").await.unwrap(), Store::open(&url, "node-2").await.unwrap());
    let hold = one.hold().await.unwrap();
    let said = two.hold().await.unwrap_err().to_string();
    assert!(said.contains("jit-bastion.db already\nhint: stop it first"), "{said}");
    add_user(&two, "alice", NOON).await.unwrap();
    assert_eq!(one.reader().users(NOON).await.unwrap().len(), 1);
    drop(hold);
    two.hold().await.unwrap();
}

#[tokio::test]
async fn a_name_is_served_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, same, other) = (node(&dir, "node-1").await, node(&dir, "node-1").await, node(&dir, "node-2").await);
    let hold = one.hold().await.unwrap();
    let _beside = other.hold().await.unwrap();
    let said = same.hold().await.unwrap_err().to_string();
    assert!(said.contains("named node-1 serves on this store already\nhint: "), "{said}");
    add_user(&same, "alice", NOON).await.unwrap();
    drop(hold);
    let _now = soon(async || same.hold().await.ok()).await;
}

/// Asks until there is an answer, for twenty seconds.
async fn soon<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap()
}

/// Breaks the connection that holds a name, as a failing network would.
async fn break_hold(store: &Store) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE pid = (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'jit-bastion serve%'
                            ORDER BY backend_start LIMIT 1)";
    assert!(sql(end).found(&store.0.pools.write).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_lost_is_held_again_or_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (node(&dir, "node-1").await, node(&dir, "node-1").await);
    let mut hold = one.hold().await.unwrap();
    break_hold(&one).await;
    soon(async || (!one.alone()).then_some(())).await;
    soon(async || one.alone().then_some(())).await;
    assert!(!hold.is_taken());
    assert!(other.hold().await.is_err());
    break_hold(&one).await;
    let _theirs = soon(async || other.hold().await.ok()).await;
    tokio::time::timeout(Duration::from_secs(20), hold.taken()).await.unwrap();
    assert!(!one.alone(), "nobody is let in any more");
    assert!(other.alone());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_of_its_own_that_nobody_waits_for_keeps_no_node_from_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let one = node(&dir, "node-1").await;
    let hold = one.hold().await.unwrap();
    let named = "SELECT application_name FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'jit-bastion serve%'";
    let (name,): (String,) = sql(named).fetch_one(&one.0.pools.read).await.unwrap();
    let options: PgConnectOptions = testing::postgres(dir.path()).await.parse().unwrap();
    let mut given_up = options.application_name(&name).connect().await.unwrap();
    let asks = tokio::spawn(async move {
        let asked = sqlx::query("SELECT pg_advisory_lock($1)").bind(hold::key("node-1")).execute(&mut given_up).await;
        (asked.is_ok(), given_up)
    });
    let waits = "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    soon(async || sql(waits).found(&one.0.pools.read).await.unwrap().then_some(())).await;
    break_hold(&one).await;
    let (has_it, _given_up) = asks.await.unwrap();
    assert!(has_it);
    soon(async || (!one.alone() || hold.is_taken()).then_some(())).await;
    soon(async || (one.alone() || hold.is_taken()).then_some(())).await;
    assert!(!hold.is_taken(), "nobody else is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_each_other_and_know_when_they_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (node(&dir, "node-1").await, node(&dir, "node-2").await);
    let mut hints = one.hints();
    let mut heard = async || tokio::time::timeout(Duration::from_secs(20), hints.heard()).await.unwrap();
    // Connected: what was said before, nobody knows.
    heard().await;
    add_user(&two, "alice", NOON).await.unwrap();
    heard().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'jit-bastion listen'";
    assert!(sql(end).found(&two.0.pools.write).await.unwrap());
    // Broken, and connected again: either is a reason to look.
    heard().await;
    heard().await;
    add_user(&two, "bob", NOON).await.unwrap();
    heard().await;
}
