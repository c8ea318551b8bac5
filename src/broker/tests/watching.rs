use std::time::Duration;

use super::*;
use crate::audit::checkpoint::Checkpoint;

/// Runs the watcher beside `course`.
pub(super) async fn watched<T>(world: &World, course: impl Future<Output = T>) -> T {
    let (broker, (stop, stopped)) = (world.broker.clone(), tokio::sync::oneshot::channel::<()>());
    let watcher = tokio::spawn(async move { broker.watch(async { drop(stopped.await) }).await });
    let value = course.await;
    drop(stop);
    watcher.await.unwrap();
    value
}

pub(super) async fn falls(open: &OpenSession) -> Ending {
    tokio::time::timeout(Duration::from_secs(1), open.cutoff.fell()).await.unwrap()
}

#[tokio::test]
async fn revoking_cuts() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let by = |name: &str| Actor::User(User::parse(name).unwrap());
    assert_eq!(refused(world.broker.revoke(&by("mallory"), &grant.id, note("x")).await).code, "no-such-id");
    assert_eq!(refused(world.broker.revoke(&by("carol"), &grant.id, note("x")).await).code, "may-not");
    assert_eq!(refused(world.broker.revoke(&by("alice"), &grant.id, note("x")).await).code, "may-not");
    assert!(open.cutoff.reason().is_none());
    world.broker.revoke(&by("dave"), &grant.id, note("enough")).await.unwrap();
    assert_eq!(falls(&open).await, Ending::Revoked);
    world.leave(open, Ending::Revoked).await;
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "no-grant");
    assert_eq!(world.events(2).await, ["grant-revoked", "session-closed"]);
}

#[tokio::test]
async fn closing_and_killing_cut() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let (one, two) = (world.enter("postgres").await, world.enter("postgres").await);
    let by = |name: &str| Actor::User(User::parse(name).unwrap());
    assert_eq!(refused(world.broker.kill(&by("anna"), &one.id, note("x")).await).code, "no-such-id");
    assert_eq!(refused(world.broker.kill(&by("bert"), &one.id, note("x")).await).code, "no-such-id");
    assert_eq!(refused(world.broker.kill(&by("carol"), &one.id, note("x")).await).code, "may-not", "to see is not to end");
    let three = world.enter("postgres").await;
    world.broker.kill(&by("dave"), &three.id, note("a rule gives it")).await.unwrap();
    assert_eq!(falls(&three).await, Ending::Killed);
    world.leave(three, Ending::Killed).await;
    world.broker.kill(&by("bob"), &one.id, note("wrong table")).await.unwrap();
    assert_eq!(falls(&one).await, Ending::Killed);
    assert!(two.cutoff.reason().is_none());
    assert_eq!(refused(world.broker.close_grant(&by("anna"), &grant.id).await).code, "no-such-id");
    world.broker.close_grant(&by("alice"), &grant.id).await.unwrap();
    assert_eq!(falls(&two).await, Ending::Closed);
    world.leave(one, Ending::Killed).await;
    world.leave(two, Ending::Closed).await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_yes_that_came_to_nothing_gives_no_look_over_the_shoulder() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-app", None).await.unwrap();
    world.yes("bob", &request).await.unwrap();
    let grant = world.yes("anna", &request).await.unwrap().grant.unwrap();
    let admission = world.admit("alice", "phi-app", "root").await.unwrap();
    let open = world.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
    let reason = Reason::parse("not done yet").unwrap();
    let more = world.broker.extend_grant(&world.who("alice").await, &grant.id, Span::minutes(30), reason).await.unwrap();
    let more = more.filed.unwrap().request;
    assert_eq!(world.yes("bert", &more).await.unwrap().grant, None, "one of two");
    let by = |name: &str| Actor::User(User::parse(name).unwrap());
    let looks = async |name: &str| world.broker.watch_session(&by(name), &open.id, Ok(1), note("x"), Showing::Masked).await;
    assert_eq!(refused(looks("bert").await).code, "no-such-id", "it waits");
    world.broker.deny(&world.who("bob").await, &more.id, note("enough")).await.unwrap();
    assert_eq!(refused(looks("bert").await).code, "no-such-id", "it was denied");
    assert_eq!(refused(world.broker.kill(&by("bert"), &open.id, note("x")).await).code, "no-such-id");
    assert_eq!(world.broker.reader().said_yes(&User::parse("bert").unwrap()).await.unwrap(), [].into());
    looks("anna").await.unwrap();
    world.leave(open, Ending::Left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_takes_away_falls_within_a_second() {
    let world = World::new().await;
    let other = world.beside().await;
    watched(&world, async {
        let alice = world.who("alice").await;
        let grant = world.granted("postgres").await;
        let open = world.enter("postgres").await;
        other.revoke(&local(), &grant.id, note("from a shell")).await.unwrap();
        assert_eq!(falls(&open).await, Ending::Revoked);
        world.leave(open, Ending::Revoked).await;

        let grant = world.granted("postgres").await;
        let open = world.enter("postgres").await;
        other.kill(&local(), &open.id, note("x")).await.unwrap();
        assert_eq!(falls(&open).await, Ending::Killed);
        world.leave(open, Ending::Killed).await;

        let open = world.enter("postgres").await;
        other.close_grant(&local(), &grant.id).await.unwrap();
        assert_eq!(falls(&open).await, Ending::Closed);
        world.leave(open, Ending::Closed).await;

        world.granted("postgres").await;
        let open = world.enter("postgres").await;
        other.disable_user(&local(), &alice.user, None).await.unwrap();
        assert_eq!(falls(&open).await, Ending::Revoked);
        world.leave(open, Ending::Revoked).await;
    })
    .await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn what_fell_between_the_door_and_the_list_is_cut() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
    let other = world.beside().await;
    other.revoke(&local(), &grant.id, note("x")).await.unwrap();
    assert_eq!(refused(world.broker.open_session(admission, CLIENT.parse().unwrap()).await).code, "already-over");
}

#[tokio::test]
async fn time_is_up_on_time() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    world.clock.advance(Span::seconds(3600));
    world.broker.opened().unwrap().knife.wake();
    assert_eq!(falls(&open).await, Ending::TimeUp);
    world.leave(open, Ending::TimeUp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_that_are_dropped_half_way_leave_a_log_that_verifies() {
    let world = World::new().await;
    for n in 0..60_u64 {
        let broker = world.broker.clone();
        let alice = world.who("alice").await;
        let act = tokio::spawn(async move { drop(broker.request(&alice, asking("lab", Some("guest"))).await) });
        tokio::time::sleep(Duration::from_micros(n * 50)).await;
        act.abort();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.verify().await.findings.is_empty());
    let requests = world.broker.reader().requests(&RequestFilter::default()).await.unwrap();
    let grants = world.broker.reader().grants(&GrantFilter::default()).await.unwrap();
    assert_eq!(requests.len(), grants.len(), "each was filed and granted, or neither");
}

#[tokio::test]
async fn a_wrong_policy_never_replaces_a_right_one() {
    let world = World::new().await;
    let file = world.dir.path().join("policy.toml");
    let before = world.broker.policy().digest();
    std::fs::write(&file, "[[allow]]\nid = 7\n").unwrap();
    let refusal = refused(world.broker.load_policy(&Actor::System).await);
    assert!(refusal.message.contains("policy.toml"), "{refusal}");
    assert_eq!(world.broker.policy().digest(), before);
    assert_eq!(world.events(1).await, ["policy-refused"]);
    std::fs::write(&file, "").unwrap();
    world.broker.load_policy(&Actor::System).await.unwrap();
    assert_ne!(world.broker.policy().digest(), before);
    assert_eq!(refused(world.ask("alice", "phi-db", Some("postgres")).await).code, "no-such-host");
}

#[tokio::test]
async fn names_keys_and_addresses_lead_to_one() {
    let world = World::new().await;
    let stolen = NewKey { key: world.key("bob").clone(), name: String::new() };
    let alice = User::parse("alice").unwrap();
    assert_eq!(refused(world.broker.add_keys(&local(), &alice, vec![stolen]).await).code, "key-taken");
    let mut twin = host("twin", 99, &["root"]);
    twin.aliases = vec!["phi-db".parse().unwrap()];
    assert_eq!(refused(world.broker.add_host(&local(), twin).await).code, "exists");
    assert_eq!(refused(world.broker.add_host(&local(), host("twin", 0, &["root"])).await).code, "exists");
    assert_eq!(refused(world.broker.add_host(&local(), host("twin", 99, &[])).await).code, "no-login");
    let mut moved = world.host("phi-db").await;
    moved.address = "10.0.0.77:22".parse().unwrap();
    world.broker.change_host(&local(), moved.clone()).await.unwrap();
    assert_eq!(world.host("phi-db").await, moved);
    world.broker.remove_host(&local(), &moved.name).await.unwrap();
    assert_eq!(refused(world.broker.remove_host(&local(), &moved.name).await).code, "no-such-host");
    assert_eq!(world.events(2).await, ["host-changed", "host-removed"]);
}

/// What takes the right of alice's session away, each in its own way.
async fn taken_away(world: &World, by: &Broker, how: &str) {
    let alice = User::parse("alice").unwrap();
    match how {
        "roles" => by.set_roles(&local(), &alice, ["none".parse().unwrap()].into()).await.unwrap(),
        "key" => by.remove_key(&local(), &alice, &crate::broker::people::fingerprint(world.key("alice"))).await.map(drop).unwrap(),
        "user" => by.disable_user(&local(), &alice, None).await.unwrap(),
        "host" => drop(by.remove_host(&local(), &"phi-db".parse().unwrap()).await.unwrap()),
        "login" => {
            let mut host = world.host("phi-db").await;
            host.logins.retain(|login| login.as_str() != "postgres");
            by.change_host(&local(), host).await.unwrap();
        }
        _ => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_takes_a_right_away_cuts_here_and_from_another_process() {
    for how in ["roles", "key", "user", "host", "login"] {
        let world = World::new().await;
        world.granted("postgres").await;
        let open = world.enter("postgres").await;
        taken_away(&world, &world.broker, how).await;
        assert_eq!(open.cutoff.reason(), Some(Ending::Revoked), "{how} here");

        let world = World::new().await;
        world.granted("postgres").await;
        let open = world.enter("postgres").await;
        let other = world.beside().await;
        watched(&world, async {
            taken_away(&world, &other, how).await;
            assert_eq!(falls(&open).await, Ending::Revoked, "{how} elsewhere");
        })
        .await;
    }
}

#[tokio::test]
async fn what_does_not_touch_a_right_does_not_cut() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let alice = User::parse("alice").unwrap();
    let second = PrivateKey::random(&mut StdRng::seed_from_u64(5), Algorithm::Ed25519).unwrap();
    let new = NewKey { key: second.public_key().clone(), name: "desk".into() };
    let fingerprint = world.broker.add_keys(&local(), &alice, vec![new]).await.unwrap().remove(0);
    world.broker.remove_key(&local(), &alice, &fingerprint).await.unwrap();
    world.broker.set_roles(&local(), &alice, ["dba".parse().unwrap(), "none".parse().unwrap()].into()).await.unwrap();
    world.broker.disable_user(&local(), &User::parse("bob").unwrap(), None).await.unwrap();
    world.broker.remove_host(&local(), &"lab".parse().unwrap()).await.unwrap();
    world.broker.load_policy(&Actor::System).await.unwrap();
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), None);
}

#[tokio::test]
async fn a_reload_cuts_what_it_does_not_give_any_more() {
    let narrower = POLICY.replace(r#"["shell", "exec", "sftp-read"]"#, r#"["shell", "exec"]"#);
    let deny = format!("{POLICY}\n[[deny]]\nid = \"no\"\nhosts = [\"phi-db\"]\nchannels = [\"exec\"]\nbecause = \"not now\"\n");
    for (text, falls) in [(POLICY.to_owned(), false), (String::new(), true), (narrower, true), (deny, true)] {
        let world = World::new().await;
        world.granted("postgres").await;
        let open = world.enter("postgres").await;
        std::fs::write(world.dir.path().join("policy.toml"), &text).unwrap();
        world.broker.load_policy(&Actor::System).await.unwrap();
        assert_eq!(open.cutoff.reason(), falls.then_some(Ending::Revoked), "{text}");
    }
}

#[tokio::test]
async fn what_was_taken_away_while_the_host_was_dialled_does_not_begin() {
    for (how, code) in
        [("roles", "not-covered"), ("key", "unknown-user"), ("user", "unknown-user"), ("host", "already-over"), ("login", "no-such-login")]
    {
        let world = World::new().await;
        world.granted("postgres").await;
        let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
        taken_away(&world, &*world.beside().await, how).await;
        assert_eq!(refused(world.broker.open_session(admission, CLIENT.parse().unwrap()).await).code, code, "{how}");
        assert!(world.broker.live().is_empty());
    }
    let world = World::new().await;
    world.granted("postgres").await;
    let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
    std::fs::write(world.dir.path().join("policy.toml"), "").unwrap();
    world.broker.load_policy(&Actor::System).await.unwrap();
    assert_eq!(refused(world.broker.open_session(admission, CLIENT.parse().unwrap()).await).code, "not-covered");
}

#[tokio::test]
async fn hosts_own_addresses_are_known() {
    let world = World::new().await;
    let mut seen = Default::default();
    world.broker.look(&mut seen).await.unwrap();
    let is = |ip: &str| world.broker.is_host_address(ip.parse().unwrap());
    assert_eq!(["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.77", "127.0.0.1"].map(is), [true, true, false, false]);
    let mut moved = world.host("phi-db").await;
    for (to, known) in [("10.0.0.77:22", true), ("127.0.0.1:2222", false), ("db.internal:22", false)] {
        moved.address = to.parse().unwrap();
        world.beside().await.change_host(&local(), moved.clone()).await.unwrap();
        world.broker.look(&mut seen).await.unwrap();
        assert_eq!((is("10.0.0.1"), is("10.0.0.77"), is("127.0.0.1")), (false, known, false), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_without_end_keeps_neither_the_door_nor_the_watcher_waiting() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    // Every common connection is taken and never comes back.
    let reader = world.broker.reader();
    let mut held = Vec::new();
    while let Ok(moment) = tokio::time::timeout(Duration::from_millis(200), reader.hold()).await {
        held.push(moment);
    }
    assert!(!held.is_empty());
    world.who("alice").await;
    let other = world.beside().await;
    watched(&world, async {
        other.set_roles(&local(), &User::parse("alice").unwrap(), ["none".parse().unwrap()].into()).await.unwrap();
        assert_eq!(falls(&open).await, Ending::Revoked);
    })
    .await;
}

impl World {
    /// How many entries the newest signed head covers, and how many there are.
    async fn signed(&self) -> (u64, u64) {
        let reader = self.broker.reader();
        let last = reader.last_checkpoint().await.unwrap();
        let covers = last.map_or(0, |note| Checkpoint::open(&note, &self.note).unwrap().size);
        (covers, reader.head().await.unwrap().unwrap().size)
    }
}

#[tokio::test]
async fn a_sessions_end_is_signed_at_once() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let (covered, size) = world.signed().await;
    assert!(covered < size, "its beginning waits for the minute");
    world.leave(open, Ending::Left).await;
    assert_eq!(world.events(1).await, ["session-closed"]);
    assert_eq!(world.signed().await, (size + 1, size + 1));
}

#[tokio::test]
async fn what_happened_is_signed_when_the_minute_is_over() {
    let world = World::new().await;
    let mut looked = world.broker.changes();
    watched(&world, async {
        // The first look rings: the watcher counts its minute from here on.
        looked.changed().await.unwrap();
        world.broker.checkpoint().await.unwrap();
        let (before, _) = world.signed().await;
        world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
        assert_eq!(world.signed().await, (before, before + 1));
        world.clock.advance(Span::seconds(60));
        let soon = async {
            while world.signed().await != (before + 1, before + 1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), soon).await.expect("the next sweep signs");
    })
    .await;
}
