use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use super::super::watch::Seen;
use super::*;
use crate::store::Spool;

const GRACE: Span = Span::minutes(2);

fn faulted<T: std::fmt::Debug>(result: Result<T, Error>) -> Fault {
    match result {
        Err(Error::Fault(fault)) => fault,
        other => panic!("no fault: {other:?}"),
    }
}

impl World {
    /// The watcher looks once.
    async fn looks(&self) {
        let _ = self.broker.look(&mut Seen::default()).await;
    }

    async fn loses(&self) {
        self.broker.store.break_it(true);
        self.looks().await;
        assert_eq!(self.broker.store_lost(), Some(self.clock.now()));
    }

    async fn finds(&self) -> bool {
        self.broker.store.break_it(false);
        self.broker.ask_again().await
    }

    fn later(&self, span: Span) {
        self.clock.advance(span);
        self.broker.opened().unwrap().knife.wake();
    }

    fn spool(&self) -> Spool {
        Spool::in_folder(self.dir.path())
    }

    /// The newest entries, oldest of them first.
    async fn entries(&self, newest: usize) -> Vec<Value> {
        let rows = self.broker.reader().events(0, u32::MAX).await.unwrap();
        rows[rows.len() - newest..].iter().map(|row| serde_json::from_slice(&row.bytes).unwrap()).collect()
    }
}

async fn falls(open: &OpenSession) -> Ending {
    tokio::time::timeout(Duration::from_secs(5), open.cutoff.fell()).await.unwrap()
}

#[tokio::test]
async fn who_is_inside_goes_on_for_the_grace_and_nobody_comes_in() {
    let world = World::new().await;
    world.granted("postgres").await;
    let (alice, host) = (world.who("alice").await, world.host("phi-db").await);
    let (open, other) = (world.enter("postgres").await, world.enter("postgres").await);
    world.loses().await;

    let refused = faulted(world.broker.admit(&alice, &Proof::plain(world.key("alice").clone()), &host, "postgres").await);
    assert!(refused.message().contains("store does not answer") && refused.message().contains(refused.id()), "{refused}");
    assert!(faulted(world.broker.request(&alice, asking("lab", Some("guest"))).await).is_store_lost());
    assert!(world.broker.recognise(world.key("alice")).await.unwrap_err().is_store_lost());
    assert!(world.broker.store_answers().is_err());

    world.later(Span::seconds(60));
    let left_at = world.clock.now();
    world.leave(other, Ending::Left).await;
    world.later(Span::seconds(59));
    world.looks().await;
    assert!(open.cutoff.reason().is_none(), "the grace goes from the first silence, and not over before its time");
    world.later(Span::seconds(2));
    assert_eq!(falls(&open).await, Ending::StoreLost);
    let (id, ended_at) = (open.id.clone(), world.clock.now());
    world.leave(open, Ending::StoreLost).await;
    let mode = std::fs::metadata(world.spool().path()).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, world.spool().read().unwrap().len()), (0o600, 3));

    world.later(Span::seconds(30));
    assert!(!world.broker.ask_again().await);
    assert!(world.finds().await && world.broker.store_lost().is_none());
    assert_eq!(world.events(3).await, ["session-closed", "session-closed", "store-back"]);
    let entries = world.entries(3).await;
    for (entry, ending, at, late) in [(&entries[0], "left", left_at, 91), (&entries[1], "store-lost", ended_at, 30)] {
        assert_eq!(entry["data"]["ending"], ending);
        assert_eq!(entry["data"]["happened_us"], at.micros());
        assert_eq!(entry["data"]["written_late_us"], late * 1_000_000);
        assert_eq!(entry["time_us"], world.clock.now().micros());
    }
    assert_eq!((&entries[2]["data"]["lost_ms"], &entries[2]["data"]["written"]), (&151_000.into(), &2.into()));
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert_eq!(row.ended, Some((ended_at, Ending::StoreLost)));
    assert!(!world.spool().path().exists());
    assert!(world.verify().await.findings.is_empty());
    let open = world.enter("postgres").await;
    world.later(GRACE);
    assert!(open.cutoff.reason().is_none(), "nothing hangs over those who came later");
}

#[tokio::test]
async fn a_store_that_is_back_in_time_ends_nobody_but_those_whose_right_fell_meanwhile() {
    let world = World::new().await;
    let other = world.beside().await;
    let (one, two) = (world.granted("postgres").await, world.granted("admin").await);
    let (stays, goes) = (world.enter("postgres").await, world.enter("admin").await);
    world.loses().await;
    world.later(Span::seconds(100));
    other.revoke(&local(), &two.id, note("elsewhere")).await.unwrap();
    assert!(world.finds().await);
    assert_eq!(goes.cutoff.reason(), Some(Ending::Revoked));
    world.later(Span::seconds(100));
    world.looks().await;
    assert!(stays.cutoff.reason().is_none());
    world.broker.revoke(&local(), &one.id, note("x")).await.unwrap();
    assert_eq!(falls(&stays).await, Ending::Revoked);
    world.leave(stays, Ending::Revoked).await;
    world.leave(goes, Ending::Revoked).await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn what_a_bastion_could_not_write_any_more_is_written_once_by_the_next() {
    let world = World::new().await;
    world.granted("postgres").await;
    let (open, again) = (world.enter("postgres").await, world.enter("postgres").await);
    let (id, twice) = (open.id.clone(), again.id.clone());
    world.loses().await;
    world.leave(open, Ending::Killed).await;
    world.leave(again, Ending::Shutdown).await;
    world.broker.stopped_serving(2).await.unwrap();
    let lines = std::fs::read(world.spool().path()).unwrap();
    world.clock.advance(Span::minutes(10));

    let (next, _) = process(world.dir.path(), &world.clock, 500, true).await;
    next.write_what_waited().await.unwrap();
    next.started().await.unwrap();
    next.recover(Vec::new()).await.unwrap();
    let told = ["session-closed", "session-closed", "bastion-stopped", "store-back", "bastion-started"];
    assert_eq!(world.events(5).await, told);
    assert_eq!(world.entries(3).await[0]["data"]["written_late_us"], 600_000_000);
    assert!(!world.spool().path().exists());

    // Killed after the commit and before the file went; one line is damaged besides.
    std::fs::write(world.spool().path(), [&lines[..], b"00000000 {}\n"].concat()).unwrap();
    let before = world.broker.reader().head().await.unwrap().unwrap().size;
    let (third, _) = process(world.dir.path(), &world.clock, 900, true).await;
    third.write_what_waited().await.unwrap();
    for id in [&id, &twice] {
        let closed = world.entries((world.broker.reader().head().await.unwrap().unwrap().size - before) as usize).await;
        assert!(!closed.iter().any(|entry| entry.to_string().contains(id.as_str())), "{id} is told of twice");
    }
    assert!(!world.spool().path().exists());
    assert_eq!(world.broker.reader().head().await.unwrap().unwrap().size, before, "neither the stop nor the return is told of twice");
    let aside = std::fs::read_dir(world.dir.path()).unwrap().flatten().any(|e| e.file_name().to_string_lossy().contains("damaged"));
    assert!(aside, "what could not be read is kept for somebody to look at");
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn an_end_that_was_written_although_nobody_was_told_is_not_written_again() {
    let world = World::new().await;
    let other = world.beside().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    world.loses().await;
    world.leave(open, Ending::Left).await;
    let closed = super::super::visit::closed(id, Ending::Left, None, None, None);
    other.keep_closed(closed.clone(), super::super::visit::closed_event(&closed, None)).await.unwrap();
    assert!(world.finds().await);
    assert_eq!(world.events(2).await, ["session-closed", "store-back"]);
    assert_eq!(world.entries(1).await[0]["data"]["written"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watcher_notices_by_itself_and_so_does_it_when_it_is_over() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let (broker, stop) = (world.broker.clone(), tokio_util::sync::CancellationToken::new());
    let watcher = tokio::spawn(broker.clone().watched(stop.clone()));
    for lost in [true, false, true, false] {
        world.later(Span::seconds(1));
        world.broker.store.break_it(lost);
        let noticed = async {
            while world.broker.store_lost().is_some() != lost {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), noticed).await.unwrap();
    }
    assert!(open.cutoff.reason().is_none());
    world.leave(open, Ending::Left).await;
    stop.cancel();
    watcher.await.unwrap();
    assert_eq!(world.events(3).await, ["store-back", "store-back", "session-closed"]);
    assert!(world.verify().await.findings.is_empty());
}

impl Broker {
    async fn watched(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        self.watch(stop.cancelled()).await;
    }
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_a_fault_with_an_id() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    world.granted("admin").await;
    let (open, stays) = (world.enter("postgres").await, world.enter("admin").await);
    world.broker.store.corrupt_grant(grant.id.as_str()).await;
    let (alice, host) = (world.who("alice").await, world.host("phi-db").await);
    let fault = faulted(world.broker.admit(&alice, &Proof::plain(world.key("alice").clone()), &host, "postgres").await);
    assert!(fault.id().starts_with("f-") && !fault.is_store_lost(), "{fault}");
    world.broker.cut_what_fell().await.unwrap();
    assert_eq!(falls(&open).await, Ending::Revoked, "nobody knows what they may");
    assert!(stays.cutoff.reason().is_none());
    assert!(world.broker.store_lost().is_none());
    world.leave(stays, Ending::Left).await;
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test]
async fn a_session_whose_beginning_was_written_although_nobody_was_told_is_ended() {
    let world = World::new().await;
    world.granted("postgres").await;
    let (open, stays) = (world.enter("postgres").await, world.enter("postgres").await);
    let id = open.id.clone();
    world.loses().await;
    drop(open);
    assert!(world.finds().await);
    assert_eq!(world.events(2).await, ["store-back", "session-recovered"]);
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert_eq!(row.ended, Some((world.clock.now(), Ending::StoreLost)));
    assert!(stays.cutoff.reason().is_none());
    world.leave(stays, Ending::Left).await;
}
