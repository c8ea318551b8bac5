use super::watching::{falls, watched};
use super::*;
use crate::access::person::sheet::Described;
use crate::access::person::{Account, Held};

fn new_key(n: u64) -> NewKey {
    let key = PrivateKey::random(&mut StdRng::seed_from_u64(n), Algorithm::Ed25519).unwrap();
    NewKey { key: key.public_key().clone(), name: String::new() }
}

async fn told(world: &World, name: &str) -> Vec<String> {
    let user = User::parse(name).unwrap();
    world.broker.notices(&user).await.unwrap().into_iter().map(|notice| notice.text).collect()
}

#[tokio::test]
async fn who_could_approve_is_told_of_new_approvers() {
    let world = World::new().await;
    let before = told(&world, "bob").await.len();
    let eve = Person::staff(User::parse("eve").unwrap(), ["owner".parse().unwrap()]);
    world.broker.add_user(&local(), eve.clone(), vec![new_key(1)]).await.unwrap();
    world.broker.add_keys(&local(), &eve.user, vec![new_key(2)]).await.unwrap();
    let news = told(&world, "bob").await;
    assert_eq!(news.len(), before + 2);
    assert!(news.contains(&"local:root added the user eve, who could approve".to_owned()), "{news:?}");
    assert!(told(&world, "eve").await.is_empty(), "nobody is told of themselves");
    assert!(told(&world, "carol").await.is_empty(), "an auditor approves nothing");
    let mallory = User::parse("mallory").unwrap();
    world.broker.add_keys(&local(), &mallory, vec![new_key(3)]).await.unwrap();
    assert_eq!(told(&world, "bob").await.len(), before + 2, "mallory could approve nothing");
    world.broker.set_roles(&local(), &mallory, ["owner".parse().unwrap()].into()).await.unwrap();
    assert!(told(&world, "bob").await.iter().any(|text| text.contains("gave mallory the role owner")));
    assert!(world.last_event().await.contains(r#""told":"alice,anna,bert,bob,eve""#));

    let bob = User::parse("bob").unwrap();
    world.broker.shown_notices(&bob, world.broker.now()).await.unwrap();
    assert!(world.broker.notices(&bob).await.unwrap().iter().all(|notice| notice.seen));
    world.clock.advance(Span::minutes(8 * 24 * 60));
    assert!(told(&world, "bob").await.is_empty(), "a week later they are old");
}

fn held(role: &str, from: Option<u64>, until: Option<u64>) -> Held {
    let at = |minutes: u64| NOON.plus(Span::minutes(minutes));
    Held { role: role.parse().unwrap(), from: from.map(at), until: until.map(at) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_begins_and_ends_by_the_clock() {
    let world = World::new().await;
    let mallory = User::parse("mallory").unwrap();
    assert_eq!(refused(world.broker.change_roles(&local(), &mallory, vec![held("dba", Some(5), Some(4))], vec![]).await).code, "backwards");
    assert_eq!(refused(world.broker.change_roles(&local(), &mallory, vec![held("dba", None, Some(0))], vec![]).await).code, "over");
    world.broker.change_roles(&local(), &mallory, vec![held("dba", Some(10), Some(30))], vec![]).await.unwrap();
    assert_eq!(world.events(1).await, ["user-roles-changed"]);
    assert_eq!(refused(world.ask("mallory", "phi-db", Some("postgres")).await).code, "no-such-host", "not yet");
    watched(&world, async {
        world.clock.advance(Span::minutes(10));
        let request = world.ask("mallory", "phi-db", Some("postgres")).await.unwrap();
        world.yes("bob", &request).await.unwrap();
        let admission = world.admit("mallory", "phi-db", "postgres").await.unwrap();
        let open = world.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
        world.clock.advance(Span::seconds(20 * 60 - 1));
        tokio::task::yield_now().await;
        assert!(open.cutoff.reason().is_none());
        world.clock.advance(Span::seconds(1));
        assert_eq!(falls(&open).await, Ending::Revoked);
        world.leave(open, Ending::Revoked).await;
    })
    .await;
    assert_eq!(refused(world.admit("mallory", "phi-db", "postgres").await).code, "not-covered");
    world.broker.change_roles(&local(), &mallory, vec![], vec!["dba".parse().unwrap()]).await.unwrap();
    assert_eq!(refused(world.broker.change_roles(&local(), &mallory, vec![], vec!["dba".parse().unwrap()]).await).code, "no-such-role");
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_yes_counts_only_while_its_role_is_in_force() {
    let world = World::new().await;
    let bob = User::parse("bob").unwrap();
    world.broker.change_roles(&local(), &bob, vec![held("owner", None, Some(10))], vec![]).await.unwrap();
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    world.clock.advance(Span::minutes(10));
    assert!(matches!(refused(world.yes("bob", &request).await).code, "not-approver" | "no-such-id"));
    assert!(world.yes("bert", &request).await.unwrap().grant.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_ends_and_with_it_everything() {
    let world = World::new().await;
    let key = PrivateKey::random(&mut StdRng::seed_from_u64(5), Algorithm::Ed25519).unwrap();
    let until = Some(NOON.plus(Span::minutes(20)));
    let account = Account { user: "vera".parse().unwrap(), vendor: "acme".parse().ok(), until, roles: vec![held("dba", None, None)] };
    let vera = account.user.clone();
    let new = NewKey { key: key.public_key().clone(), name: String::new() };
    world.broker.add_user(&local(), account, vec![new]).await.unwrap();
    let who = world.broker.recognise(key.public_key()).await.unwrap().unwrap();
    let request = world.broker.request(&who, asking("phi-db", Some("postgres"))).await.unwrap();
    world.yes("bob", &request.request).await.unwrap();
    let host = world.host("phi-db").await;
    watched(&world, async {
        let admission = world.broker.admit(&who, &Proof::plain(key.public_key().clone()), &host, "postgres").await.unwrap();
        let open = world.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
        world.clock.advance(Span::minutes(20));
        assert_eq!(falls(&open).await, Ending::Revoked);
        world.leave(open, Ending::Revoked).await;
    })
    .await;
    assert!(world.broker.recognise(key.public_key()).await.unwrap().is_none());
    assert_eq!(refused(world.broker.request(&who, asking("phi-db", Some("postgres"))).await).code, "unknown-user");
    world.broker.set_contract(&local(), &vera, None).await.unwrap();
    assert_eq!(world.events(1).await, ["user-changed"]);
    assert!(world.broker.recognise(key.public_key()).await.unwrap().is_some(), "a longer contract lets them in again");
}

#[tokio::test]
async fn keys_are_called_by_name() {
    let world = World::new().await;
    let alice = User::parse("alice").unwrap();
    let named = |n, name: &str| NewKey { name: name.into(), ..new_key(n) };
    world.broker.add_keys(&local(), &alice, vec![named(1, "token")]).await.unwrap();
    assert_eq!(refused(world.broker.add_keys(&local(), &alice, vec![named(2, "token")]).await).code, "exists");
    assert_eq!(refused(world.broker.add_keys(&local(), &User::parse("bob").unwrap(), vec![named(1, "x")]).await).code, "key-taken");
    assert_eq!(refused(world.broker.remove_key(&local(), &alice, "tokn").await).code, "no-such-key");
    let gone = world.broker.remove_key(&local(), &alice, "token").await.unwrap();
    assert_eq!(gone, named(1, "").fingerprint());
    assert_eq!(world.broker.reader().user(&alice, NOON).await.unwrap().unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_disabled_user_has_a_reason() {
    let world = World::new().await;
    let bob = User::parse("bob").unwrap();
    world.broker.disable_user(&local(), &bob, Some(note("left the house"))).await.unwrap();
    let row = world.broker.reader().user(&bob, NOON).await.unwrap().unwrap();
    assert_eq!(row.disabled_note.as_deref(), Some("left the house"));
    assert!(!world.last_event().await.contains("left the house"), "the log has its commitment alone");
    world.broker.enable_user(&local(), &bob).await.unwrap();
    assert!(told(&world, "bert").await.iter().any(|text| text.contains("let bob in again")));
    assert!(world.broker.reader().user(&bob, NOON).await.unwrap().unwrap().in_force(NOON));
}

fn described(name: &str, roles: Vec<Held>, keys: Option<Vec<u64>>) -> Described {
    let account = Account { user: User::parse(name).unwrap(), vendor: None, until: None, roles };
    let key = |n: u64| (new_key(n).key, format!("key-{n}"));
    Described { account, keys: keys.map(|keys| keys.into_iter().map(key).collect()) }
}

#[tokio::test]
async fn a_file_of_users_lands_whole_or_not_at_all() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let file = || {
        vec![
            described("eve", vec![held("owner", None, Some(60))], Some(vec![1, 2])),
            described("alice", vec![held("auditor", None, None)], None),
            described("bob", vec![held("owner", None, None)], Some(vec![])),
        ]
    };
    let dry = world.broker.apply_users(&local(), file(), false, true).await.unwrap();
    assert_eq!(dry.len(), 3);
    assert!(world.broker.reader().user(&User::parse("eve").unwrap(), NOON).await.unwrap().is_none(), "nothing was changed");
    let landed = world.broker.apply_users(&local(), file(), false, false).await.unwrap();
    assert_eq!(landed, dry);
    assert_eq!(world.events(3).await, ["user-key-removed", "user-roles-changed", "user-added"]);
    assert_eq!(falls(&open).await, Ending::Revoked, "alice is no dba any more: {}", grant.id);
    world.leave(open, Ending::Revoked).await;
    assert!(world.broker.apply_users(&local(), file(), false, false).await.unwrap().is_empty(), "a second time changes nothing");
    assert!(told(&world, "bert").await.iter().any(|text| text.contains("added the user eve")));

    let taken = vec![described("frank", vec![], Some(vec![9])), described("grete", vec![], Some(vec![1]))];
    assert_eq!(refused(world.broker.apply_users(&local(), taken, false, false).await).code, "key-taken");
    assert!(world.broker.reader().user(&User::parse("frank").unwrap(), NOON).await.unwrap().is_none(), "all or nothing");

    let moved = vec![described("grete", vec![], Some(vec![1])), described("eve", vec![], Some(vec![2]))];
    world.broker.apply_users(&local(), moved, true, false).await.unwrap();
    let users = world.broker.reader().users(NOON).await.unwrap();
    let in_force: Vec<&str> = users.iter().filter(|user| user.in_force(NOON)).map(|user| user.person.user.as_str()).collect();
    assert_eq!(in_force, ["eve", "grete"], "a key moved, and who is not named is disabled");
    let again = vec![described("alice", vec![held("dba", None, None)], None)];
    world.broker.apply_users(&local(), again, false, false).await.unwrap();
    let alice = world.broker.reader().user(&User::parse("alice").unwrap(), NOON).await.unwrap().unwrap();
    assert!(alice.disabled_at.is_some(), "a file lets nobody in again who was disabled");
    assert!(world.verify().await.findings.is_empty());
}
