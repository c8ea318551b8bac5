use std::net::SocketAddr;

use super::*;
use crate::access::invite::{Invite, InviteCode};
use crate::access::person::Account;

pub(super) fn client() -> SocketAddr {
    CLIENT.parse().unwrap()
}

fn user(name: &str) -> User {
    User::parse(name).unwrap()
}

pub(super) fn key(n: u64) -> ssh_key::PublicKey {
    PrivateKey::random(&mut StdRng::seed_from_u64(n), Algorithm::Ed25519).unwrap().public_key().clone()
}

fn account(name: &str, role: Option<&str>) -> Account {
    Account::from(Person::staff(user(name), role.map(|role| role.parse().unwrap())))
}

pub(super) async fn invited(world: &World, name: &str, role: Option<&str>, sponsor: Option<&str>) -> (Invite, InviteCode) {
    let inviting = Inviting { account: account(name, role), sponsor: sponsor.map(user), length: Span::minutes(60) };
    world.broker.invite(&local(), inviting).await.unwrap()
}

fn wrong(code: &InviteCode) -> InviteCode {
    let mut text = code.reveal().to_string();
    let last = if text.pop() == Some('0') { '1' } else { '0' };
    text.push(last);
    InviteCode::parse(&text).unwrap()
}

async fn print(world: &World, key: &ssh_key::PublicKey) -> Option<String> {
    world.broker.recognise(key).await.unwrap().map(|person| person.user.to_string())
}

#[tokio::test]
async fn a_code_brings_a_key_and_a_sponsor_confirms_it() {
    let world = World::new().await;
    let (invite, code) = invited(&world, "vera", Some("dba"), Some("carol")).await;
    assert!(!world.last_event().await.contains(&code.reveal()[11..]), "the log has no secret");
    let offered = world.broker.redeem(code.clone(), &key(1), client()).await.unwrap().unwrap();
    assert_eq!((offered.user, offered.sponsor), (user("vera"), Some(user("carol"))));
    assert_eq!(world.events(2).await, ["user-invited", "invite-used"]);
    assert_eq!(print(&world, &key(1)).await, None, "nothing opens before it is confirmed");
    assert_eq!(world.broker.redeem(code, &key(2), client()).await.unwrap(), None, "a code is used once");
    let carol = Actor::User(user("carol"));
    let vera = user("vera");
    for stranger in ["bob", "mallory", "dave"] {
        let by = Actor::User(user(stranger));
        assert_eq!(refused(world.broker.confirm_invite(&by, &vera, Some(&offered.fingerprint)).await).code, "no-key-waits", "{stranger}");
    }
    assert_eq!(refused(world.broker.confirm_invite(&carol, &vera, None).await).code, "compare");
    let other = refused(world.broker.confirm_invite(&carol, &vera, Some("SHA256:other")).await);
    assert!(other.code == "other-key" && other.message.contains(&offered.fingerprint), "{other}");
    assert!(world.broker.notices(&user("carol")).await.unwrap()[0].text.contains("confirm vera SHA256:"));
    assert_eq!(world.broker.to_confirm(Some(&world.who("carol").await)).await.unwrap().len(), 1);
    assert!(world.broker.to_confirm(Some(&world.who("bob").await)).await.unwrap().is_empty());
    world.broker.confirm_invite(&carol, &vera, Some(&offered.fingerprint)).await.unwrap();
    assert_eq!(print(&world, &key(1)).await.as_deref(), Some("vera"));
    assert_eq!(refused(world.broker.confirm_invite(&carol, &vera, Some(&offered.fingerprint)).await).code, "no-key-waits");
    assert!(world.broker.reader().invite(&invite.id).await.unwrap().unwrap().1.starts_with("$argon2id$"));
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn wrong_codes_are_counted_and_the_sixth_is_too_late() {
    let world = World::new().await;
    let (_, code) = invited(&world, "vera", None, None).await;
    for _ in 0..5 {
        assert_eq!(world.broker.redeem(wrong(&code), &key(1), client()).await.unwrap(), None);
    }
    assert_eq!(world.events(1).await, ["invite-barred"]);
    assert_eq!(world.broker.redeem(code, &key(1), client()).await.unwrap(), None, "the right one comes too late");
    let (_, again) = invited(&world, "vera", None, None).await;
    assert!(world.broker.redeem(again, &key(1), client()).await.unwrap().is_some(), "another invitation is another chance");
}

#[tokio::test]
async fn no_more_than_ten_codes_are_looked_at_in_a_minute() {
    let world = World::new().await;
    let mut codes = Vec::new();
    for name in ["va", "vb", "vc"] {
        codes.push(invited(&world, name, None, None).await.1);
    }
    for code in codes.iter().take(2) {
        for _ in 0..5 {
            world.broker.redeem(wrong(code), &key(1), client()).await.unwrap();
        }
    }
    assert_eq!(world.broker.redeem(codes[2].clone(), &key(1), client()).await.unwrap(), None);
    world.clock.advance(Span::seconds(60));
    assert!(world.broker.redeem(codes[2].clone(), &key(1), client()).await.unwrap().is_some(), "it was not counted against the invitation");
}

#[tokio::test]
async fn what_counts_no_more() {
    let world = World::new().await;
    let (_, expired) = invited(&world, "va", None, None).await;
    world.clock.advance(Span::minutes(60));
    assert_eq!(world.broker.redeem(expired, &key(1), client()).await.unwrap(), None, "its hour is over");

    let (_, withdrawn) = invited(&world, "va", None, None).await;
    world.broker.withdraw_invite(&local(), &user("va")).await.unwrap();
    assert_eq!(world.broker.redeem(withdrawn, &key(1), client()).await.unwrap(), None);
    assert_eq!(refused(world.broker.withdraw_invite(&local(), &user("va")).await).code, "no-such-invite");

    let (_, known) = invited(&world, "va", None, None).await;
    assert_eq!(world.broker.redeem(known.clone(), world.key("bob"), client()).await.unwrap(), None, "bob's key is bob's");
    world.broker.disable_user(&local(), &user("va"), None).await.unwrap();
    assert_eq!(world.broker.redeem(known.clone(), &key(1), client()).await.unwrap(), None, "disabled meanwhile");
    world.broker.enable_user(&local(), &user("va")).await.unwrap();
    let offered = world.broker.redeem(known, &key(1), client()).await.unwrap().unwrap();
    world.clock.advance(Span::minutes(7 * 24 * 60));
    let late = world.broker.confirm_invite(&local(), &user("va"), Some(&offered.fingerprint)).await;
    assert_eq!(refused(late).code, "no-key-waits", "a week later nobody knows whose it was");

    let (_, code) = invited(&world, "va", None, None).await;
    let offered = world.broker.redeem(code, &key(2), client()).await.unwrap().unwrap();
    world.broker.refuse_invite(&local(), &user("va"), Some(note("they have another"))).await.unwrap();
    let refusal = refused(world.broker.confirm_invite(&local(), &user("va"), Some(&offered.fingerprint)).await);
    assert_eq!(refusal.code, "no-key-waits");
    assert_eq!(print(&world, &key(2)).await, None);
    assert_eq!(world.events(1).await, ["invite-refused"]);
}

#[tokio::test]
async fn inviting_is_refused_with_a_next_step() {
    let world = World::new().await;
    let invite = |account: Account, sponsor: Option<&str>, length: Span| {
        let inviting = Inviting { account, sponsor: sponsor.map(user), length };
        let broker = world.broker.clone();
        async move { refused(broker.invite(&local(), inviting).await.map(drop)).code }
    };
    let hour = Span::minutes(60);
    assert_eq!(invite(account("bob", Some("owner")), None, hour).await, "exists");
    assert_eq!(invite(account("eve", None), Some("eve"), hour).await, "own-key");
    assert_eq!(invite(account("eve", None), Some("nobody"), hour).await, "no-such-user");
    assert_eq!(invite(account("eve", None), None, Span::minutes(60 * 24 * 40)).await, "too-long");
    invited(&world, "bob", None, None).await;
    assert_eq!(invite(account("bob", None), None, hour).await, "exists");
    assert!(world.broker.reader().user(&user("eve"), NOON).await.unwrap().is_none(), "what was refused left nobody behind");
}

#[tokio::test]
async fn a_rule_lets_somebody_confirm_and_nobody_their_own() {
    let world = World::new().await;
    let policy = format!("{POLICY}\n[[may]]\nwho = [\"role:admin\"]\ndo = [\"users\"]\nhosts = [\"*\"]\n");
    std::fs::write(world.dir.path().join("policy.toml"), policy).unwrap();
    world.broker.load_policy(&Actor::System).await.unwrap();
    for (name, by) in [("vera", "dave"), ("dave", "alice")] {
        let (_, code) = invited(&world, name, None, None).await;
        let key = key(name.len() as u64 + 40 + u64::from(by == "alice"));
        let offered = world.broker.redeem(code, &key, client()).await.unwrap().unwrap();
        let confirmed = world.broker.confirm_invite(&Actor::User(user(by)), &user(name), Some(&offered.fingerprint)).await;
        assert_eq!(confirmed.is_ok(), by == "dave", "{name}");
    }
    let dave = Actor::User(user("dave"));
    assert_eq!(refused(world.broker.confirm_invite(&dave, &user("dave"), None).await).code, "own-key");
}
