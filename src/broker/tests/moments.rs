//! Two approvers at the same moment, on two nodes, a thousand times.

use std::collections::BTreeMap;

use super::*;
use crate::access::request::State;
use crate::audit::entry::Entry;

/// Rounds for each quorum.
const ROUNDS: usize = 500;

/// The requests that a node's log says were granted, each as often as it says so.
async fn granted_in(broker: &Broker, seen: &mut BTreeMap<String, [usize; 2]>) {
    let mut next = 0;
    loop {
        let rows = broker.reader().events(next, 500).await.unwrap();
        let Some(last) = rows.last() else { return };
        next = last.seq + 1;
        for row in rows {
            let entry = Entry::parse(&row.bytes).unwrap();
            let at = match entry.event.name() {
                "grant-begun" => 0,
                "request-approved" => 1,
                _ => continue,
            };
            let value: serde_json::Value = serde_json::to_value(&entry.event).unwrap();
            seen.entry(value["data"]["request"].as_str().unwrap().to_owned()).or_default()[at] += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_doubled() {
    let world = World::new().await;
    let other = world.on_node("node-2").await;
    let (bob, bert, alice) = (world.who("bob").await, world.who("bert").await, world.who("alice").await);
    let mut quorums = BTreeMap::new();
    for round in 0..2 * ROUNDS {
        let quorum = 1 + round % 2;
        let (host, login) = if quorum == 1 { ("phi-db", "postgres") } else { ("phi-app", "root") };
        let asker = if round % 4 < 2 { &world.broker } else { &other };
        let id = asker.request(&alice, asking(host, Some(login))).await.unwrap().request.id;
        let yes = |broker: &Arc<Broker>, who: &Person| {
            let (broker, who, id) = (Arc::clone(broker), who.clone(), id.clone());
            tokio::spawn(async move { broker.approve(&who, &id, Yes::default()).await })
        };
        let (one, two) = (yes(&world.broker, &bob), yes(&other, &bert));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let read = world.broker.reader().request(&id).await.unwrap().unwrap();
        let State::Approved { grant, approvals } = &read.state else { panic!("{id}: {read:?}") };
        let said: Vec<&str> = approvals.iter().map(|yes| yes.by.as_str()).collect();
        let told = match (one, two) {
            // One human was enough: the other reads whose yes it was, and what came of it.
            (Ok(first), Err(Error::Refused(late))) | (Err(Error::Refused(late)), Ok(first)) if quorum == 1 => {
                assert!(late.message.starts_with(&format!("{id} was approved by {} at", said[0])), "{late}");
                assert!(late.message.ends_with(&format!(": {grant}")), "{late}");
                vec![first]
            }
            (Ok(first), Ok(second)) if quorum == 2 => vec![first, second],
            other => panic!("{id}, quorum {quorum}: {other:?}"),
        };
        assert_eq!(said.len(), quorum, "{id}");
        let grants: Vec<_> = told.iter().filter_map(|decided| decided.grant.as_ref()).collect();
        assert_eq!((grants.len(), &grants[0].id), (1, grant), "{id}");
        quorums.insert(id.to_string(), quorum);
    }
    let mut seen = BTreeMap::new();
    granted_in(&world.broker, &mut seen).await;
    granted_in(&other, &mut seen).await;
    assert_eq!(seen.len(), quorums.len());
    for (id, [begun, approved]) in seen {
        assert_eq!((begun, approved), (1, quorums[&id] - 1), "{id}: an event each");
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_reading_that_was_given_up_leaves_nothing_open() {
    let world = World::new().await;
    let (alice, reader) = (world.who("alice").await, world.broker.reader());
    for n in 0..12_u64 {
        let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
        for m in 0..10 {
            let most = std::time::Duration::from_micros(n * 35 + m * 90);
            let _ = tokio::time::timeout(most, reader.request(&request.id)).await;
            let _ = tokio::time::timeout(most, reader.requests(&RequestFilter::default())).await;
            let _ = tokio::time::timeout(most, reader.users(NOON)).await;
        }
        world.broker.withdraw(&alice, &request.id).await.unwrap();
        for _ in 0..READS {
            let read = reader.request(&request.id).await.unwrap().unwrap();
            assert_eq!(read.state, State::Withdrawn, "a connection still shows an older moment");
            let pending = reader.requests(&RequestFilter { pending: true, ..RequestFilter::default() }).await.unwrap();
            assert_eq!(pending, []);
        }
    }
}

/// More readings than there are connections.
const READS: usize = 8;
