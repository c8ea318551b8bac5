//! Two bastions on one PostgreSQL.

use std::time::Duration;

use super::watching::falls;
use super::*;
use crate::store::{Hints, testing};

/// The second node on the world's store.
async fn second(world: &World, url: &str) -> Arc<Broker> {
    let dir = world.dir.path().join("second");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(world.dir.path().join("policy.toml"), dir.join("policy.toml")).unwrap();
    let (broker, _) = process_at(url, "node-2", &dir, &world.clock, 2_000_000, true).await;
    broker.load_policy(&Actor::System).await.unwrap();
    broker
}

async fn two() -> (World, Arc<Broker>) {
    let dir = tempfile::tempdir().unwrap();
    let url = testing::postgres(dir.path()).await;
    let world = World::on(dir, &url).await;
    let other = second(&world, &url).await;
    (world, other)
}

/// Asked for on the first, approved on the second, entered on the first, revoked on the second: each is seen at once, or within a second.
async fn there_and_back(world: &World, other: &Arc<Broker>) {
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let mut changes = world.broker.changes();
    changes.mark_unchanged();
    let bob = other.recognise(world.key("bob")).await.unwrap().unwrap();
    let grant = other.approve(&bob, &request.id, Yes::default()).await.unwrap().grant.unwrap();
    let told = async {
        while world.broker.reader().grants(&GrantFilter::default()).await.unwrap().iter().all(|known| known.id != grant.id) {
            changes.changed().await.unwrap();
        }
        changes.changed().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(1), told).await.unwrap();
    let open = world.enter("postgres").await;
    other.revoke(&local(), &grant.id, note("from the other node")).await.unwrap();
    assert_eq!(falls(&open).await, Ending::Revoked);
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_grants_and_revokes_counts_on_the_other_within_a_second() {
    let (world, other) = two().await;
    super::watching::watched(&world, there_and_back(&world, &other)).await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_all_that_nodes_say_to_each_other_is_lost() {
    let (world, other) = two().await;
    tokio::select! {
        () = world.broker.look_out(Hints::none()) => {}
        () = there_and_back(&world, &other) => {}
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_ends_its_own_sessions_and_no_others() {
    let (world, other) = two().await;
    world.granted("postgres").await;
    let here = world.enter("postgres").await;
    let admission = {
        let (who, host) = (world.who("alice").await, world.host("phi-db").await);
        other.admit(&who, &Proof::plain(world.key("alice").clone()), &host, "postgres").await.unwrap()
    };
    let there = other.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
    let id = there.id.clone();
    drop(there);
    // Its screen is known there alone: it is said where to go.
    let Err(Error::Refused(refused)) = world.broker.watch_session(&local(), &id, Ok(2), note("x"), Showing::Masked).await else {
        panic!("it is watched from elsewhere")
    };
    assert_eq!(refused.message, format!("{id} goes on at the bastion node-2, and this is node-1"));
    assert_eq!(refused.next, Some(format!("ssh -t node-2 watch {id} --because WHY (that bastion itself, past the load balancer)")));
    assert!(other.watch_session(&local(), &id, Ok(1), note("x"), Showing::Masked).await.is_ok());
    other.recover(Vec::new()).await.unwrap();
    let row = async |id| world.broker.reader().session(id).await.unwrap().unwrap();
    assert_eq!(row(&id).await.ended.map(|(_, ending)| ending), Some(Ending::Shutdown));
    assert_eq!((row(&here.id).await.ended, row(&here.id).await.node), (None, "node-1".to_owned()));
    world.leave(here, Ending::Left).await;
    assert!(world.verify().await.findings.is_empty());
}
