//! Whose turn it is when many want to write, and how many acts a second that makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::group::{Told, Way, write};
use super::*;

#[tokio::test]
async fn who_keeps_taking_away_does_not_keep_the_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut taking = JoinSet::new();
    for _ in 0..8 {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        taking.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let again = write(&store, Urgency::Urgent, Way::Refused, "x".into()).await;
                assert!(matches!(again, Err(Told::Refused)), "{again:?}");
            }
        });
    }
    for n in 0..20 {
        let landed = write(&store, Urgency::Ordinary, Way::Lands, format!("h{n}"));
        tokio::time::timeout(Duration::from_secs(30), landed).await.unwrap().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(taken) = taking.join_next().await {
        taken.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_beside_a_busy_bastion_has_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (busy, beside) = (open(&dir).await, open(&dir).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = JoinSet::new();
    for caller in 0..100 {
        let (store, stop) = (busy.clone(), Arc::clone(&stop));
        writing.spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                write(&store, Urgency::Ordinary, Way::Lands, format!("b{caller}-{n}")).await.unwrap();
                n += 1;
            }
        });
    }
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let began = Instant::now();
        write(&beside, Urgency::Urgent, Way::Lands, format!("beside-{n}")).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    println!("at most {slowest:?} beside {} acts", busy.reader().head().await.unwrap().unwrap().size);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// Acts a second with so many callers at once.
async fn speed(store: &Store, callers: usize, prefix: &str) -> f64 {
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    let each = (FIGURE_ACTS / callers).max(1);
    for caller in 0..callers {
        let (store, prefix) = (store.clone(), format!("{prefix}-{callers}-{caller}"));
        tasks.spawn(async move {
            for n in 0..each {
                write(&store, Urgency::Ordinary, Way::Lands, format!("{prefix}-{n}")).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    (callers * each) as f64 / began.elapsed().as_secs_f64()
}

/// `cargo test --release --lib store::tests::turns::figure -- --ignored --nocapture`, with JIT_BASTION_TEST_POSTGRES for the second line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn figure() {
    let dir = tempfile::tempdir().unwrap();
    let mut urls = vec![("SQLite", testing::sqlite(dir.path()))];
    if std::env::var_os("JIT_BASTION_TEST_POSTGRES").is_some() {
        urls.push(("PostgreSQL", testing::postgres(dir.path()).await));
    }
    for (called, url) in urls {
        let store = Store::open(&url, "node-1").await.unwrap();
        for callers in [1, 16, 64] {
            store.0.most.store(1, Ordering::Relaxed);
            let singly = speed(&store, callers, "one").await;
            store.0.most.store(writer::MOST, Ordering::Relaxed);
            let before = store.0.commits.load(Ordering::Relaxed);
            let grouped = speed(&store, callers, "many").await;
            let commits = store.0.commits.load(Ordering::Relaxed) - before;
            println!(
                "{called}, {callers:2} callers: {grouped:.0} acts/s in {commits} commits, {singly:.0} singly: {:.1} times as many",
                grouped / singly
            );
        }
    }
}

const FIGURE_ACTS: usize = 2000;
