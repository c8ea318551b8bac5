//! One user may have so much of anything at once, and no more.

use super::*;

impl World {
    /// Another process on the world's store, which holds everybody to `caps`.
    async fn capped(&self, caps: Caps) -> Arc<Broker> {
        let url = crate::store::testing::url(self.dir.path()).await;
        let settings = Settings { caps, ..settings(self.dir.path()) };
        let (broker, _) = process_with(&url, "node-1", settings, &self.clock, 3_000_000, false).await;
        broker.adopt_policy().await.unwrap();
        broker
    }
}

const MANY: usize = usize::MAX;

#[tokio::test]
async fn requests_and_grants_of_one_user_are_counted() {
    let world = World::new().await;
    let broker = world.capped(Caps { requests: 1, grants: 1, waits: MANY, acts: MANY }).await;
    let (alice, anna, bob) = (world.who("alice").await, world.who("anna").await, world.who("bob").await);
    let first = broker.request(&alice, asking("phi-db", Some("postgres"))).await.unwrap().request;
    let said = refused(broker.request(&alice, asking("phi-db", Some("admin"))).await);
    assert_eq!((said.code, said.message.contains("1 requests of alice wait")), ("too-many-requests", true), "{said}");
    assert!(broker.request(&alice, asking("phi-db", Some("postgres"))).await.unwrap().attached, "the same again is no other");
    broker.request(&anna, asking("phi-db", Some("admin"))).await.unwrap();

    broker.approve(&bob, &first.id, Yes::default()).await.unwrap();
    let at_once = refused(broker.request(&alice, asking("lab", Some("guest"))).await);
    assert_eq!(at_once.code, "too-many-grants", "{at_once}");
    // What was filed before is not approved beyond the cap either.
    let late = world.ask("alice", "phi-db", Some("admin")).await.unwrap();
    assert_eq!(refused(broker.approve(&bob, &late.id, Yes::default()).await).code, "too-many-grants");
    let grant = broker.reader().grants(&GrantFilter { user: Some(alice.user.clone()), ..GrantFilter::default() }).await.unwrap().remove(0);
    broker.close_grant(&Actor::User(alice.user.clone()), &grant.id).await.unwrap();
    broker.approve(&bob, &late.id, Yes::default()).await.unwrap();
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn who_does_too_much_in_a_minute_waits_and_may_still_take_away() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let broker = world.capped(Caps { requests: MANY, grants: MANY, waits: MANY, acts: 10 }).await;
    let alice = world.who("alice").await;
    let ask = async || broker.request(&alice, asking("phi-db", Some("admin"))).await;
    for _ in 0..10 {
        ask().await.unwrap();
    }
    assert_eq!(refused(ask().await).code, "too-fast");
    broker.close_grant(&Actor::User(alice.user.clone()), &grant.id).await.unwrap();
    world.clock.advance(Span::seconds(60));
    ask().await.unwrap();
}

#[tokio::test]
async fn whoever_has_used_up_their_acts_leaves_a_trace_at_the_door_all_the_same() {
    let world = World::new().await;
    let broker = world.capped(Caps { requests: MANY, grants: MANY, waits: MANY, acts: 1 }).await;
    let alice = world.who("alice").await;
    broker.request(&alice, asking("phi-db", Some("admin"))).await.unwrap();
    let said = refused(broker.request(&alice, asking("phi-db", Some("postgres"))).await);
    assert_eq!(said.code, "too-fast");
    broker.turned_away(&alice, CLIENT.parse().unwrap(), Meant::Typed("secret", 22), &said).await;
    assert_eq!(world.events(1).await, ["session-refused"]);
}

#[tokio::test]
async fn who_waits_for_many_waits_for_no_more() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let broker = world.capped(Caps { requests: MANY, grants: MANY, waits: 1, acts: MANY }).await;
    let (alice, anna) = (&request.asked.user, User::parse("anna").unwrap());
    let waits = broker.begin_wait(alice, &request.id).unwrap();
    let said = broker.begin_wait(alice, &request.id).err().unwrap();
    assert!(said.code == "too-many-waits" && said.next.is_some(), "{said}");
    let _hers = broker.begin_wait(&anna, &request.id).unwrap();
    drop(waits);
    assert!(broker.begin_wait(alice, &request.id).is_ok());
}
