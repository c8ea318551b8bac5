//! What an act is judged by is read when its turn has come, however long it waited.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::store::Outcome;

impl World {
    /// Holds the writer until what comes back is dropped.
    async fn hold(&self) -> oneshot::Sender<()> {
        let ((enter, inside), (release, released)) = (oneshot::channel(), oneshot::channel::<()>());
        let store = self.broker.store.clone();
        tokio::spawn(async move {
            let held = store.change(Urgency::Ordinary, Actor::System, NOON, move |_| {
                Box::pin(async move {
                    enter.send(()).unwrap();
                    let _ = released.await;
                    Ok::<_, StoreError>(Outcome::Same(()))
                })
            });
            held.await.unwrap();
        });
        inside.await.unwrap();
        release
    }

    /// Lets `act` stand in the queue as the `nth`.
    async fn queued<T: Send + 'static>(&self, nth: usize, act: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let asked = tokio::spawn(act);
        while self.broker.store.waiting() < nth {
            assert!(!asked.is_finished(), "it never stood in the queue");
            tokio::task::yield_now().await;
        }
        asked
    }
}

#[tokio::test]
async fn a_policy_that_was_put_in_force_meanwhile_judges_who_stands_behind_it() {
    let world = World::new().await;
    let alice = world.who("alice").await;
    let less = POLICY.replace(r#"hosts = ["phi-db"]"#, r#"hosts = ["phi-other"]"#);
    std::fs::write(world.dir.path().join("policy.toml"), less).unwrap();
    let held = world.hold().await;
    let broker = Arc::clone(&world.broker);
    let loads = world.queued(1, async move { broker.load_policy(&Actor::System).await }).await;
    let broker = Arc::clone(&world.broker);
    let asks = world.queued(2, async move { broker.request(&alice, asking("phi-db", Some("postgres"))).await }).await;
    drop(held);
    loads.await.unwrap().unwrap();
    refused(asks.await.unwrap());
    assert_eq!(world.events(1).await, ["policy-loaded"]);
}

#[tokio::test]
async fn what_is_over_when_its_turn_comes_is_not_decided_any_more() {
    let world = World::new().await;
    let (request, bob) = (world.ask("alice", "phi-db", Some("postgres")).await.unwrap(), world.who("bob").await);
    let held = world.hold().await;
    let (broker, id) = (Arc::clone(&world.broker), request.id.clone());
    let says_yes = world.queued(1, async move { broker.approve(&bob, &id, Yes::default()).await }).await;
    world.clock.advance(Span::minutes(31));
    drop(held);
    refused(says_yes.await.unwrap());
    assert_eq!(world.events(1).await, ["request-filed"]);
}

#[tokio::test]
async fn whoever_was_let_read_recordings_until_their_turn_came_finds_nothing() {
    let world = World::new().await;
    std::fs::write(world.dir.path().join("policy.toml"), POLICY.replace("\"recordings\", ", "")).unwrap();
    let held = world.hold().await;
    let broker = Arc::clone(&world.broker);
    let loads = world.queued(1, async move { broker.load_policy(&Actor::System).await }).await;
    let broker = Arc::clone(&world.broker);
    let carol = Actor::User(User::parse("carol").unwrap());
    let seeks = world.queued(2, async move { broker.search_recordings(&carol, "a name", &SessionFilter::default(), 0, None).await }).await;
    drop(held);
    loads.await.unwrap().unwrap();
    assert_eq!(refused(seeks.await.unwrap()).code, "may-not");
    assert_eq!(world.events(1).await, ["policy-loaded"]);
}

#[tokio::test]
async fn whoever_closes_in_a_loop_waits_for_themselves_and_nobody_waits_for_them() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let held = world.hold().await;
    let (alice, answered) = (Actor::User(User::parse("alice").unwrap()), Arc::new(AtomicU64::new(0)));
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let (broker, alice, answered) = (Arc::clone(&world.broker), alice.clone(), Arc::clone(&answered));
        loops.spawn(async move {
            let said = broker.close_grant(&alice, &"g-000000".parse().unwrap()).await;
            answered.fetch_add(1, Ordering::Relaxed);
            refused(said)
        });
    }
    let broker = Arc::clone(&world.broker);
    let revokes = tokio::spawn(async move { broker.revoke(&local(), &grant.id, note("x")).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 0);
    drop(held);
    revokes.await.unwrap().unwrap();
    let before = answered.load(Ordering::Relaxed);
    assert!(before < 64, "{before} acts of one user came before a revocation");
    // They all come to their turn, and so does one that closes something.
    let two = world.granted("admin").await;
    world.broker.close_grant(&alice, &two.id).await.unwrap();
    while let Some(said) = loops.join_next().await {
        assert_eq!(said.unwrap().code, "no-such-id");
    }
}

#[tokio::test]
async fn an_act_that_breaks_off_beside_it_keeps_no_session_from_ending() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    let held = world.hold().await;
    let store = world.broker.store.clone();
    let breaks = world.queued(1, async move {
        let act = store.change(Urgency::Ordinary, Actor::System, NOON, |tx| {
            Box::pin(async move {
                // Kept, so that those who stand behind it are of its group.
                tx.keep_text("x", &Salt::default()).await?;
                Ok::<_, StoreError>(Outcome::Changed((), crate::audit::event::Event::ClockConfirmed {}))
            })
        });
        act.await
    });
    let kept = breaks.await;
    let store = world.broker.store.clone();
    let leaves = {
        let broker = Arc::clone(&world.broker);
        world.queued(2, async move { broker.close_session(open, Ending::Left, None, Lateness::default()).await }).await
    };
    let panics = world.queued(3, async move {
        let act = store.change(Urgency::Ordinary, Actor::System, NOON, |_| Box::pin(async { panic!("an act of a test") }));
        let done: Result<(), StoreError> = act.await;
        done
    });
    let panics = panics.await;
    drop(held);
    assert!(panics.await.unwrap().is_err() && kept.await.unwrap().is_err());
    leaves.await.unwrap().unwrap();
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert_eq!(row.ended.map(|(_, ending)| ending), Some(Ending::Left));
}

#[tokio::test]
async fn whoever_takes_access_away_waits_behind_nobody_who_queues() {
    let world = World::new().await;
    let (one, two) = (world.granted("postgres").await, world.granted("admin").await);
    let open = world.enter("admin").await;
    let id = open.id.clone();
    let held = world.hold().await;
    let mut all = Vec::new();
    for n in 1..=5 {
        let (broker, new) = (Arc::clone(&world.broker), host(&format!("new-{n}"), 100 + n, &["root"]));
        all.push(world.queued(n, async move { broker.add_host(&local(), new).await }).await);
    }
    let [revokes, kills, closes, disables, removes] = [(); 5].map(|()| Arc::clone(&world.broker));
    all.push(tokio::spawn(async move { revokes.revoke(&local(), &one.id, note("x")).await.map(drop) }));
    all.push(tokio::spawn(async move { kills.kill(&local(), &id, note("x")).await.map(drop) }));
    all.push(tokio::spawn(async move { closes.close_grant(&local(), &two.id).await.map(drop) }));
    all.push(tokio::spawn(async move { disables.disable_user(&local(), &"mallory".parse().unwrap(), None).await }));
    all.push(tokio::spawn(async move { removes.remove_host(&local(), &"lab".parse().unwrap()).await.map(drop) }));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for act in all {
        act.await.unwrap().unwrap();
    }
    let events = world.events(10).await;
    // On a slow machine a commit lands only one of them, and between two commits one of the others has its turn.
    let mut taken = Vec::new();
    for (nth, event) in events.iter().enumerate().filter(|(_, event)| *event != "host-added") {
        assert!(nth <= 2 * taken.len(), "{events:?}");
        taken.push(event);
    }
    assert_eq!(taken, ["grant-revoked", "session-killed", "grant-closed", "user-disabled", "host-removed"], "{events:?}");
    world.leave(open, Ending::Killed).await;
}
