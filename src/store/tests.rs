mod group;
mod shapes;
mod shared;
mod turns;

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::sql::sql;
use super::*;
use crate::access::host::Host;
use crate::access::names::{HostName, RequestId, Role, User};
use crate::access::person::Person;
use crate::access::time::Span;
use crate::audit::checkpoint::{Checkpoint, NoteKey};
use crate::audit::verify::{LogCheck, Verdict};

const NOON: Timestamp = Timestamp::from_micros(1_795_262_400_000_000);

async fn open(dir: &TempDir) -> Store {
    Store::open(&testing::url(dir.path()).await, "node-1").await.unwrap()
}

fn user(text: &str) -> User {
    User::parse(text).unwrap()
}

async fn add_user(store: &Store, called: &str, now: Timestamp) -> Result<(), StoreError> {
    let person = Person::staff(user(called), [Role::parse("dba").unwrap()]);
    store
        .change(Urgency::Ordinary, Actor::System, now, move |tx| {
            Box::pin(async move {
                tx.add_user(&person.clone().into()).await?;
                let event = Event::UserAdded {
                    user: person.user,
                    roles: "dba".into(),
                    keys: String::new(),
                    vendor: None,
                    until_us: None,
                    told: String::new(),
                };
                Ok(Outcome::Changed((), event))
            })
        })
        .await
}

fn signer() -> (aws_lc_rs::signature::Ed25519KeyPair, NoteKey) {
    use aws_lc_rs::signature::KeyPair as _;
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key = NoteKey::new("node-1", pair.public_key().as_ref().try_into().unwrap()).unwrap();
    (pair, key)
}

async fn checkpoint(store: &Store, dir: &TempDir) -> Option<u64> {
    let (pair, key) = signer();
    let file = CheckpointFile::in_folder(dir.path());
    let sign = |head: &Checkpoint| head.sign(&key, |bytes| <[u8; 64]>::try_from(pair.sign(bytes).as_ref()));
    store.checkpoint(NOON, &file, sign).await.unwrap()
}

async fn verify(store: &Store, dir: &TempDir) -> Verdict {
    let (_, key) = signer();
    let reader = store.reader();
    let mut heads = reader.checkpoints().await.unwrap();
    heads.extend(CheckpointFile::in_folder(dir.path()).heads().unwrap());
    let mut check = LogCheck::new(&key, heads);
    let mut next = 0;
    loop {
        let rows = reader.events(next, 100).await.unwrap();
        rows.iter().for_each(|row| check.row(row));
        match rows.last() {
            Some(last) => next = last.seq + 1,
            None => return check.finish(),
        }
    }
}

/// Each text in a source file that begins like a statement, with Rust's escapes undone.
fn statements(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices('"') {
        let rest = &source[at + 1..];
        if !["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| rest.starts_with(verb)) {
            continue;
        }
        let end = rest.find('"').unwrap();
        found.push(rest[..end].to_owned());
    }
    found
}

/// Every statement of this room that is written for both databases, with its file; some files have words that only PostgreSQL knows.
fn all_statements() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store")).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() || ["tests.rs", "testing.rs", "sql.rs", "postgres.rs", "hold.rs", "grams.rs"].iter().any(|own| path.ends_with(own))
        {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        all.extend(statements(code).into_iter().map(|statement| (path.display().to_string(), statement)));
    }
    assert!(all.len() > 40, "only {} statements were found", all.len());
    all
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    use sqlx::Executor as _;
    let text = |statement: &str| sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement.to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for (file, statement) in all_statements() {
        let error = match &store.0.pools.write {
            Pool::Sqlite(pool) => pool.acquire().await.unwrap().prepare(text(&statement)).await.err(),
            Pool::Postgres(pool) => pool.acquire().await.unwrap().prepare(text(&statement)).await.err(),
        };
        assert!(error.is_none(), "{file}: {statement}: {error:?}");
    }
}

#[tokio::test]
async fn a_change_and_its_event_land_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut entries = store.entries();
    add_user(&store, "alice", NOON).await.unwrap();
    assert_eq!(entries.recv().await.unwrap().seq, 0);
    assert!(add_user(&store, "alice", NOON).await.is_err(), "the name is taken");
    let nothing: Result<(), StoreError> = store
        .change(Urgency::Urgent, Actor::System, NOON, |tx| {
            Box::pin(async move {
                tx.disable_user(&user("alice"), None).await?;
                Ok(Outcome::Same(()))
            })
        })
        .await;
    nothing.unwrap();
    let reader = store.reader();
    assert_eq!(reader.user(&user("alice"), NOON).await.unwrap().unwrap().disabled_at, None);
    assert_eq!(reader.head().await.unwrap().unwrap().size, 1);
    assert!(entries.try_recv().is_err());
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for n in 0..50 {
        let name = format!("u{n}");
        let change = add_user(&store, &name, NOON);
        // One poll starts it, then the caller goes away.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, change).await;
    }
    let reader = store.reader();
    while reader.users(NOON).await.unwrap().len() < 50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reader.head().await.unwrap().unwrap().size, 50);
    checkpoint(&store, &dir).await;
    assert!(verify(&store, &dir).await.findings.is_empty());
}

/// Stands in its queue for a change that takes as long as `work` does and tells of `host`.
fn queue(
    store: &Store,
    urgency: Urgency,
    host: &str,
    work: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let (store, host) = (store.clone(), HostName::parse(host).unwrap());
    tokio::spawn(async move {
        let act = store.change(urgency, Actor::System, NOON, move |_| {
            Box::pin(async move {
                work.await;
                Ok(Outcome::Changed((), Event::HostRemoved { host }))
            })
        });
        act.await
    })
}

/// Lets every other task of this thread go as far as it can without the disk.
async fn everybody_queues() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_urgent_waits_for_the_act_that_runs_alone() {
    use tokio::sync::oneshot;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut entries = store.entries();
    let ((enter, inside), (release, released)) = (oneshot::channel(), oneshot::channel::<()>());
    let mut all = vec![queue(&store, Urgency::Ordinary, "held", async move {
        enter.send(()).unwrap();
        released.await.unwrap();
    })];
    inside.await.unwrap();
    all.extend((0..20).map(|n| queue(&store, Urgency::Ordinary, &format!("h{n}"), async {})));
    everybody_queues().await;
    assert_eq!(store.1.waiting(), 20, "one has its turn, the others wait");
    all.push(queue(&store, Urgency::Urgent, "urgent", async {}));
    everybody_queues().await;
    release.send(()).unwrap();
    for one in all {
        one.await.unwrap().unwrap();
    }
    let mut order = Vec::new();
    while let Ok(entry) = entries.try_recv() {
        let Event::HostRemoved { host } = &entry.event else { panic!("{entry:?}") };
        order.push((host.to_string(), entry.seq));
    }
    let seq = |called: &str| order.iter().find(|(host, _)| host == called).unwrap().1;
    assert_eq!(order.len(), 22);
    assert!(seq("urgent") <= seq("held") + 1, "{order:?}");
}

#[tokio::test]
async fn a_request_gets_the_first_id_that_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let [taken, free] = ["r-7k2m9q", "r-000001"].map(|id| RequestId::parse(id).unwrap());
    let pool = &store.0.pools.write;
    sql("INSERT INTO texts (id, salt, body) VALUES ('why', 'salt', 'x')").execute(pool).await.unwrap();
    sql("INSERT INTO requests (id, user_name, host, login, channels, length, reason, rule, filed_at, lapses_at, state, version)
         VALUES ($1, 'alice', 'phi-db', 'postgres', 'shell', 1, 'why', '{}', 1, 2, 'lapsed', 1)")
    .bind(taken.as_str())
    .execute(pool)
    .await
    .unwrap();
    let choose = async |ids: Vec<RequestId>| -> Result<RequestId, StoreError> {
        let choose = store.change(Urgency::Ordinary, Actor::System, NOON, move |tx| {
            Box::pin(async move { Ok(Outcome::Same(tx.free_request_id(ids).await?)) })
        });
        choose.await
    };
    assert_eq!(choose(vec![taken.clone(), free.clone()]).await.unwrap(), free);
    assert_eq!(choose(vec![free.clone(), taken.clone()]).await.unwrap(), free);
    let none = choose(vec![taken]).await.unwrap_err();
    assert!(matches!(none, StoreError::Ids), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(&dir).await, open(&dir).await);
    let write = async |store: &Store, prefix: &str| {
        for n in 0..40 {
            add_user(store, &format!("{prefix}{n}"), NOON.plus(Span::seconds(n))).await.unwrap();
        }
    };
    tokio::join!(write(&one, "a"), write(&two, "b"));
    let head = one.reader().head().await.unwrap().unwrap();
    assert_eq!(head, two.reader().head().await.unwrap().unwrap());
    assert_eq!(head.size, 80);
    assert_eq!(checkpoint(&one, &dir).await, Some(80));
    assert_eq!(checkpoint(&two, &dir).await, None, "nothing new");
    let verdict = verify(&two, &dir).await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!((verdict.entries, verdict.vouched, verdict.heads), (80, 80, 1));
}

#[tokio::test]
async fn a_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for name in ["alice", "bob", "carol"] {
        add_user(&store, name, NOON).await.unwrap();
    }
    checkpoint(&store, &dir).await;
    assert!(verify(&store, &dir).await.findings.is_empty());
    let (body,): (Vec<u8>,) = sql("SELECT body FROM events WHERE seq = 1").fetch_one(&store.0.pools.read).await.unwrap();
    let changed = String::from_utf8(body).unwrap().replace("bob", "bab").into_bytes();
    sql("UPDATE events SET body = $1 WHERE seq = 1").bind(changed).execute(&store.0.pools.write).await.unwrap();
    assert!(!verify(&store, &dir).await.findings.is_empty());
}

#[tokio::test]
async fn the_logs_times_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    add_user(&store, "alice", NOON).await.unwrap();
    add_user(&store, "bob", NOON.minus(Span::minutes(5))).await.unwrap();
    assert_eq!(store.reader().newest().await.unwrap(), Some(NOON));
    checkpoint(&store, &dir).await;
    assert!(verify(&store, &dir).await.findings.is_empty());
}

#[tokio::test]
async fn hosts_and_users_read_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let host = Host {
        name: HostName::parse("phi-db").unwrap(),
        aliases: vec![HostName::parse("db").unwrap(), HostName::parse("a-db").unwrap()],
        address: "10.0.0.5:2222".parse().unwrap(),
        trust: vec![
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu".parse().unwrap(),
            "@cert-authority ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu".parse().unwrap(),
        ],
        labels: [("phi".to_owned(), String::new()), ("env".to_owned(), "prod".to_owned())].into(),
        logins: vec!["postgres".parse().unwrap(), "admin".parse().unwrap()],
    };
    let mut changed = host.clone();
    changed.aliases.truncate(1);
    changed.logins.reverse();
    let (first, second) = (host.clone(), changed.clone());
    let kept: Result<(), StoreError> = store
        .change(Urgency::Ordinary, Actor::System, NOON, move |tx| {
            Box::pin(async move {
                tx.add_host(&first).await?;
                assert_eq!(tx.host(&first.name).await?, Some(first.clone()));
                tx.change_host(&second).await?;
                tx.add_user(&Person::staff(user("alice"), ["dba", "phi-owner"].map(|r| Role::parse(r).unwrap())).into()).await?;
                tx.add_key(&user("alice"), "SHA256:x", "ssh-ed25519 AAAA", "laptop").await?;
                Ok(Outcome::Changed((), Event::HostRemoved { host: first.name }))
            })
        })
        .await;
    kept.unwrap();
    let reader = store.reader();
    for (typed, port, found) in
        [("PHI-DB", 22, true), ("db", 1, true), ("10.0.0.5", 2222, true), ("10.0.0.5", 22, false), ("a-db", 22, false)]
    {
        assert_eq!(reader.find_host(typed, port).await.unwrap(), found.then(|| changed.clone()), "{typed}:{port}");
    }
    assert_eq!(reader.hosts().await.unwrap(), [changed]);
    let person = reader.user_by_key("SHA256:x", NOON).await.unwrap().unwrap();
    assert_eq!(person.roles, BTreeSet::from(["dba", "phi-owner"].map(|r| Role::parse(r).unwrap())));
    store.key_used("SHA256:x", NOON).await.unwrap();
    store.key_used("SHA256:x", NOON.plus(Span::seconds(5))).await.unwrap();
    let users = reader.users(NOON).await.unwrap();
    assert_eq!(users.first().and_then(|u| u.keys.first()).and_then(|k| k.last_used), Some(NOON));
    assert_eq!(reader.user(&user("alice"), NOON).await.unwrap().as_ref(), users.first());
}
