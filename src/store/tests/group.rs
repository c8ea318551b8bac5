//! Many acts in one commit: what each is told is what the log and the tables say, whatever happens to the others.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::task::JoinSet;

use super::*;

/// How an act goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Lands,
    /// Two events.
    LandsTwice,
    /// Written to the tables, then refused.
    Refused,
    /// A statement fails, which ends PostgreSQL's transaction or savepoint.
    Fails,
    /// Written to the tables, then nothing is to be changed.
    Same,
    Noted,
}

#[derive(Debug)]
pub(super) enum Told {
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Told {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failing for Told {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Refused => None,
        }
    }
}

async fn row(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    sql("INSERT INTO meta (name, value) VALUES ($1, 'x')").bind(name).execute(tx.conn()).await.map(drop)
}

pub(super) async fn write(store: &Store, urgency: Urgency, way: Way, name: String) -> Result<(), Told> {
    if way == Way::Noted {
        let noted = store.note(NOON, move |tx| Box::pin(async move { row(tx, &name).await })).await;
        return noted.map_err(Told::Store);
    }
    let act = store.change(urgency, Actor::System, NOON, move |tx| {
        Box::pin(async move {
            row(tx, &name).await?;
            let event = || Event::HostRemoved { host: HostName::parse(&name).unwrap() };
            match way {
                Way::Lands => Ok(Outcome::Changed((), event())),
                Way::LandsTwice => Ok(Outcome::Both((), [event(), event()])),
                Way::Same => Ok(Outcome::Same(())),
                Way::Refused => Err(Told::Refused),
                Way::Fails | Way::Noted => Ok(Outcome::Changed(row(tx, &name).await?, event())),
            }
        })
    });
    act.await
}

/// The names of the rows and of the events, as often as they are there.
async fn kept(store: &Store) -> (BTreeSet<String>, Vec<String>) {
    let pool = &store.0.pools.read;
    let rows: Vec<(String,)> = sql("SELECT name FROM meta WHERE value = 'x'").fetch_all(pool).await.unwrap();
    let told = store.reader().events(0, u32::MAX).await.unwrap();
    let host = |row: &crate::audit::verify::Row| match crate::audit::entry::Entry::parse(&row.bytes).unwrap().event {
        Event::HostRemoved { host } => Some(host.to_string()),
        _ => None,
    };
    (rows.into_iter().map(|(name,)| name).collect(), told.iter().filter_map(host).collect())
}

fn ways() -> impl Strategy<Value = Vec<(Way, bool, bool)>> {
    use Way::*;
    let way = prop::sample::select(vec![Lands, Lands, Lands, LandsTwice, Refused, Fails, Same, Noted]);
    prop::collection::vec((way, prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 1..100)
}

/// All at once, some of whose callers go away; then what is kept is what was told.
async fn at_once(store: &Store, prefix: &str, acts: &[(Way, bool, bool)]) {
    let mut asked = JoinSet::new();
    for (n, (way, urgent, gone)) in acts.iter().copied().enumerate() {
        let (store, name) = (store.clone(), format!("{prefix}-{n}"));
        let urgency = if urgent { Urgency::Urgent } else { Urgency::Ordinary };
        asked.spawn(async move {
            let patience = if gone { Duration::ZERO } else { Duration::from_secs(60) };
            (n, tokio::time::timeout(patience, write(&store, urgency, way, name)).await)
        });
    }
    let mut shall = BTreeSet::new();
    while let Some(answered) = asked.join_next().await {
        let (n, told) = answered.unwrap();
        let (way, name) = (acts[n].0, format!("{prefix}-{n}"));
        match (way, told) {
            (Way::Lands | Way::LandsTwice | Way::Noted, Ok(Ok(())) | Err(_)) => drop(shall.insert(name)),
            (Way::Same, Ok(Ok(())) | Err(_)) | (Way::Refused, Ok(Err(Told::Refused)) | Err(_)) => {}
            (Way::Fails, Err(_)) => {}
            (Way::Fails, Ok(Err(Told::Store(error)))) => assert!(!error.is_loss(), "{error}"),
            (way, told) => panic!("{name} {way:?}: {told:?}"),
        }
    }
    // Behind all whose callers have gone.
    for urgency in [Urgency::Urgent, Urgency::Ordinary] {
        write(store, urgency, Way::Same, format!("{prefix}-end")).await.unwrap();
    }
    let (rows, events) = kept(store).await;
    let mine: BTreeSet<String> = rows.into_iter().filter(|name| name.starts_with(&format!("{prefix}-"))).collect();
    assert_eq!(mine, shall);
    for (n, (way, ..)) in acts.iter().enumerate() {
        let name = format!("{prefix}-{n}");
        let times = match way {
            Way::Lands => 1,
            Way::LandsTwice => 2,
            _ => 0,
        };
        assert_eq!(events.iter().filter(|told| **told == name).count(), times, "{name} {way:?}");
    }
}

#[test]
fn whatever_acts_come_together_each_lands_whole_or_not_at_all() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = runtime.block_on(open(&dir));
    let cases = std::env::var("SOAK").map_or(12, |_| 200);
    let round = AtomicUsize::new(0);
    let held = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }).run(&ways(), |acts| {
        let prefix = format!("r{}", round.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(at_once(&store, &prefix, &acts));
        Ok(())
    });
    held.unwrap();
    runtime.block_on(async {
        checkpoint(&store, &dir).await;
        let verdict = verify(&store, &dir).await;
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        let commits = store.0.commits.load(Ordering::Relaxed) as u64;
        assert!(commits < verdict.entries, "{commits} commits for {} entries", verdict.entries);
    });
}

/// Acts that all wait while one has its turn: the answers of all, that one's last.
async fn behind_one(store: &Store, acts: Vec<Turning>) -> Vec<Result<(), StoreError>> {
    let ((enter, inside), (release, released)) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel::<()>());
    let held = queue(store, Urgency::Ordinary, "held", async move {
        enter.send(()).unwrap();
        released.await.unwrap();
    });
    inside.await.unwrap();
    let waiting: Vec<_> = acts
        .into_iter()
        .map(|act| {
            let store = store.clone();
            tokio::spawn(async move { store.change(Urgency::Ordinary, Actor::System, NOON, act).await })
        })
        .collect();
    while store.1.waiting() < waiting.len() {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    let mut told = Vec::new();
    for one in waiting.into_iter().chain([held]) {
        told.push(one.await.unwrap());
    }
    told
}

type Turning = Box<dyn for<'t> FnOnce(&'t mut Tx) -> super::Act<'t, (), StoreError> + Send>;

fn lands(name: &'static str) -> Turning {
    Box::new(move |tx| {
        Box::pin(async move {
            row(tx, name).await?;
            Ok(Outcome::Changed((), Event::HostRemoved { host: HostName::parse(name).unwrap() }))
        })
    })
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_that_it_would_have_landed() {
    let dir = tempfile::tempdir().unwrap();
    // What a commit may still refuse is a matter of SQLite's here.
    let store = Store::open(&testing::sqlite(dir.path()), "node-1").await.unwrap();
    let wrong: Turning = Box::new(|tx| {
        Box::pin(async move {
            sql("PRAGMA defer_foreign_keys = ON").found(tx.conn()).await?;
            tx.add_key(&user("nobody"), "SHA256:x", "ssh-ed25519 AAAA", "laptop").await?;
            Ok(Outcome::Changed((), Event::ClockConfirmed {}))
        })
    });
    let mut entries = store.entries();
    let told = behind_one(&store, vec![lands("one"), wrong, lands("two")]).await;
    assert!(matches!(&told[1], Err(StoreError::Group { loss: false, .. })), "{told:?}");
    let (rows, events) = kept(&store).await;
    for (name, told) in [("one", &told[0]), ("two", &told[2]), ("held", &told[3])] {
        assert_eq!(events.iter().any(|event| event == name), told.is_ok(), "{name}: {told:?}");
        assert_eq!(rows.contains(name), told.is_ok() && name != "held", "{name}: {told:?}");
    }
    write(&store, Urgency::Ordinary, Way::Lands, "after".into()).await.unwrap();
    checkpoint(&store, &dir).await;
    let verdict = verify(&store, &dir).await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    for seq in 0..verdict.entries {
        assert_eq!(entries.try_recv().unwrap().seq, seq, "only what was committed is told of, in order");
    }
    assert!(entries.try_recv().is_err());
}

#[tokio::test]
async fn an_act_that_panics_takes_its_group_with_it_and_not_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let panics: Turning = Box::new(|_| Box::pin(async { panic!("an act of a test") }));
    let told = behind_one(&store, vec![lands("one"), panics, lands("two")]).await;
    assert!(matches!(told[1], Err(StoreError::Task(_))), "{told:?}");
    let (rows, _) = kept(&store).await;
    for (name, told) in [("one", &told[0]), ("two", &told[2])] {
        assert_eq!(rows.contains(name), told.is_ok(), "{name}: {told:?}");
    }
    write(&store, Urgency::Ordinary, Way::Lands, "after".into()).await.unwrap();
    checkpoint(&store, &dir).await;
    assert!(verify(&store, &dir).await.findings.is_empty());
}

/// Says on its standard output what it was told, until it is killed.
#[test]
#[ignore = "run by another test, to be killed"]
fn a_writer_that_is_to_be_killed() {
    let Ok(url) = std::env::var(WRITER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&url, "node-1").await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let store = store.clone();
            tasks.spawn(async move {
                for n in 0.. {
                    let (name, way) = (format!("k{task}-{n}"), if n % 3 == 2 { Way::Refused } else { Way::Lands });
                    match write(&store, Urgency::Ordinary, way, name.clone()).await {
                        Ok(()) => println!("did {name}"),
                        Err(_) => println!("not {name}"),
                    }
                }
            });
        }
        tasks.join_next().await
    });
}

#[tokio::test]
async fn what_a_killed_writer_was_told_is_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let url = testing::url(dir.path()).await;
    open(&dir).await.close().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::group::a_writer_that_is_to_be_killed", "--ignored", "--nocapture"])
        .env(WRITER, &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = lines.by_ref().filter(|line| line.starts_with("did ")).take(150).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines);
    assert!(said.len() >= 150);

    let store = open(&dir).await;
    // Behind the killed one's connection, where a server has not noticed yet.
    write(&store, Urgency::Ordinary, Way::Lands, "after".into()).await.unwrap();
    let (rows, events) = kept(&store).await;
    assert_eq!(events.iter().cloned().collect::<BTreeSet<_>>(), rows, "each row has its event, each event its row");
    assert_eq!(events.len(), rows.len());
    for line in said {
        let Some((told, name)) = line.split_once(' ') else { continue };
        match told {
            "did" => assert!(rows.contains(name), "{name} was told that it is there"),
            "not" => assert!(!rows.contains(name), "{name} was refused"),
            _ => {}
        }
    }
    checkpoint(&store, &dir).await;
    let verdict = verify(&store, &dir).await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
}

const WRITER: &str = "JIT_BASTION_TEST_WRITER";
