//! Rights for later, and more time.

use super::*;
use crate::access::grant::{Grant, GrantState};
use crate::access::request::State;

const LONGER: &str = r#"
[[allow]]
id = "dba-phi"
who = ["role:dba"]
hosts = ["phi-db"]
logins = ["postgres"]
channels = ["shell", "exec"]
max-duration = "2h"
default-duration = "1h"
approve = { by = ["role:owner"], quorum = 1 }
extend = { self = "30m", times = 1 }

[[allow]]
id = "lab"
who = ["role:dba"]
hosts = ["lab"]
logins = ["guest"]
channels = ["shell"]
max-duration = "1h"
"#;

async fn longer() -> World {
    let world = World::new().await;
    world.rules(LONGER).await;
    world
}

impl World {
    /// This policy from now on.
    pub async fn rules(&self, text: &str) {
        std::fs::write(self.dir.path().join("policy.toml"), text).unwrap();
        self.broker.load_policy(&Actor::System).await.unwrap();
    }

    async fn more(&self, who: &str, grant: &Grant, minutes: u64) -> Result<Extended, Error> {
        let reason = Reason::parse("the index is still building").unwrap();
        self.broker.extend_grant(&self.who(who).await, &grant.id, Span::minutes(minutes), reason).await
    }

    async fn grant_now(&self, grant: &Grant) -> Grant {
        self.broker.reader().grant(&grant.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_right_for_later_waits_is_told_and_begins() {
    let world = longer().await;
    let mut later = asking("phi-db", Some("postgres"));
    (later.from, later.length) = (Some(NOON.plus(Span::minutes(60))), Some(Span::minutes(30)));
    let alice = world.who("alice").await;
    let filed = world.broker.request(&alice, later.clone()).await.unwrap();
    assert!(!filed.attached && world.broker.request(&alice, later).await.unwrap().attached);
    assert_eq!(filed.request.lapses_at(), NOON.plus(Span::minutes(90)), "nobody answers after its end");
    let grant = world.yes("bob", &filed.request).await.unwrap().grant.unwrap();
    assert_eq!((grant.begins, grant.ends), (NOON.plus(Span::minutes(60)), NOON.plus(Span::minutes(90))));
    for hint in ["postgres", "laptop", &format!("postgres+{}", grant.id)] {
        let refusal = refused(world.admit("alice", "phi-db", hint).await);
        assert_eq!((refusal.code, refusal.message), ("not-yet", format!("{} begins at {}", grant.id, grant.begins)), "{hint}");
    }
    world.clock.advance(Span::minutes(60));
    let open = world.enter("postgres").await;
    assert_eq!(open.ends, grant.ends);
    world.leave(open, Ending::Left).await;
    for (minutes, code) in [(61, "in-the-past"), (527_200, "too-far")] {
        let mut wrong = asking("phi-db", Some("postgres"));
        wrong.from = Some(if code == "too-far" { NOON.plus(Span::minutes(minutes)) } else { NOON.minus(Span::minutes(minutes)) });
        assert_eq!(refused(world.broker.request(&alice, wrong).await).code, code);
    }
}

#[tokio::test]
async fn once_alone_at_once_and_live_sessions_go_on() {
    let world = longer().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let other = world.beside().await;
    assert_eq!(refused(world.more("anna", &grant, 10).await).code, "no-such-id");
    let (alice, reason) = (world.who("alice").await, Reason::parse("x").unwrap());
    let longer = other.extend_grant(&alice, &grant.id, Span::minutes(30), reason).await.unwrap();
    assert_eq!((longer.filed, longer.grant.ends, longer.grant.extended), (None, grant.ends.plus(Span::minutes(30)), 1));
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.ends(), Some(longer.grant.ends), "where the session lives, at the watcher's next look");
    assert_eq!(world.events(1).await, ["grant-extended"]);
    assert_eq!(world.grant_now(&grant).await, longer.grant);
    assert_eq!(other.reader().grant(&grant.id).await.unwrap(), Some(longer.grant.clone()));
    let asked = world.more("alice", &grant, 30).await.unwrap();
    assert!(
        asked.filed.is_some_and(|filed| !filed.attached && filed.request.asked.extends == Some(grant.id.clone())),
        "the second is asked for"
    );
    world.leave(open, Ending::Left).await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn more_than_that_is_approved_like_a_request() {
    let world = longer().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    assert_eq!(refused(world.more("alice", &grant, 61).await).code, "too-long");
    let asked = world.more("alice", &grant, 45).await.unwrap().filed.unwrap().request;
    assert_eq!((asked.asked.when.from, asked.lapses_at()), (Some(grant.ends), grant.ends));
    assert!(asked.canonical_text().contains(&format!("extends: {}\nuntil: {}\n", grant.id, grant.ends.plus(Span::minutes(45)))));
    assert!(world.more("alice", &grant, 45).await.unwrap().filed.unwrap().attached);
    assert_eq!(refused(world.more("alice", &grant, 40).await).code, "already-pending");
    let fresh = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    assert_ne!(fresh.id, asked.id, "a request for another grant does not wait behind it");
    assert_eq!(refused(world.yes("alice", &asked).await).code, "own-request");
    let decided = world.yes("bert", &asked).await.unwrap();
    let after = decided.grant.unwrap();
    assert_eq!((after.id.clone(), after.ends, after.extended), (grant.id.clone(), grant.ends.plus(Span::minutes(45)), 0));
    assert_eq!(open.cutoff.ends(), Some(after.ends));
    assert_eq!(world.events(1).await, ["grant-extended"]);
    let read = world.broker.reader().request(&asked.id).await.unwrap().unwrap();
    assert!(matches!(read.state, State::Approved { grant: of, .. } if of == grant.id));
    assert!(refused(world.yes("bob", &asked).await).message.contains("was approved by bert"));
    // Whoever gave more time may end what it led to.
    world.broker.kill(&Actor::User(User::parse("bert").unwrap()), &open.id, note("enough")).await.unwrap();
    world.leave(open, Ending::Killed).await;
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn where_the_rule_has_no_word_of_it_more_time_is_approved_like_a_request() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let longer = world.more("alice", &grant, 1).await.unwrap();
    assert_eq!((longer.grant.ends, longer.grant.extended), (grant.ends, 0));
    let asked = longer.filed.unwrap().request;
    assert_eq!((asked.rule.quorum(), asked.is_open(NOON)), (1, true));
    assert_eq!(refused(world.yes("dave", &asked).await).code, "not-approver");
    let after = world.yes("bob", &asked).await.unwrap().grant.unwrap();
    assert_eq!((after.id, after.ends), (grant.id, grant.ends.plus(Span::minutes(1))));
}

#[tokio::test]
async fn an_approver_gives_less_time_and_a_rule_without_approvers_gives_it_at_once() {
    let world = longer().await;
    let grant = world.granted("postgres").await;
    let asked = world.more("alice", &grant, 60).await.unwrap().filed.unwrap().request;
    let bob = world.who("bob").await;
    let narrow = Yes { channels: Some("exec".parse().unwrap()), ..Yes::default() };
    assert_eq!(refused(world.broker.approve(&bob, &asked.id, narrow).await).code, "only-time");
    let less = Yes { length: Some(Span::minutes(5)), ..Yes::default() };
    let after = world.broker.approve(&bob, &asked.id, less).await.unwrap().grant.unwrap();
    assert_eq!(after.ends, grant.ends.plus(Span::minutes(5)));
    let lab = world.ask("alice", "lab", Some("guest")).await.unwrap();
    let State::Approved { grant: lab, .. } = lab.state else { panic!("granted at once") };
    let lab = world.broker.reader().grant(&lab).await.unwrap().unwrap();
    world.clock.advance(Span::minutes(30));
    let longer = world.more("alice", &lab, 30).await.unwrap();
    assert_eq!((longer.grant.ends, longer.filed.is_some()), (NOON.plus(Span::minutes(90)), true));
    assert_eq!(world.events(2).await, ["request-filed", "grant-extended"]);
}

#[tokio::test]
async fn what_is_over_is_not_revived() {
    let world = longer().await;
    for ending in ["ended", "closed", "revoked"] {
        let grant = world.granted("postgres").await;
        let asked = world.more("alice", &grant, 60).await.unwrap().filed.unwrap().request;
        match ending {
            "closed" => drop(world.broker.close_grant(&Actor::User(User::parse("alice").unwrap()), &grant.id).await.unwrap()),
            "revoked" => drop(world.broker.revoke(&local(), &grant.id, note("x")).await.unwrap()),
            _ => world.clock.advance(Span::minutes(60)),
        }
        let code = refused(world.more("alice", &grant, 10).await).code;
        assert_eq!(code, "already-over", "{ending}");
        let code = refused(world.yes("bob", &asked).await).code;
        assert!(["already-over", "already-decided"].contains(&code), "{ending}: {code}");
        world.broker.sweep().await.unwrap();
        let read = world.broker.reader().request(&asked.id).await.unwrap().unwrap();
        assert_eq!(read.state, State::Lapsed, "nobody is asked about a grant that {ending}");
        assert_eq!(world.grant_now(&grant).await.ends, grant.ends);
        assert_ne!(world.grant_now(&grant).await.state(world.broker.now()), GrantState::Active);
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn more_time_is_judged_by_what_holds_now() {
    let world = longer().await;
    let grant = world.granted("postgres").await;
    let asked = world.more("alice", &grant, 60).await.unwrap().filed.unwrap().request;
    let floor = "\n[[require]]\nid = \"short\"\nhosts = [\"phi-db\"]\nmax-duration = \"90m\"\nreason = { min-length = 60 }\n";
    world.rules(&format!("{LONGER}{floor}")).await;
    assert_eq!(refused(world.more("alice", &grant, 10).await).code, "short-reason");
    assert_eq!(refused(world.yes("bob", &asked).await).code, "short-reason");
    world.rules(&format!("{LONGER}{}", floor.replace("reason = { min-length = 60 }\n", ""))).await;
    assert_eq!(refused(world.yes("bob", &asked).await).code, "too-long");
    let bob = world.who("bob").await;
    let less = Yes { length: Some(Span::minutes(30)), ..Yes::default() };
    assert!(world.broker.approve(&bob, &asked.id, less).await.unwrap().grant.is_some());
    world.rules("").await;
    assert_eq!(refused(world.more("alice", &grant, 10).await).code, "not-covered");
}

#[tokio::test]
async fn signed_where_the_rule_says_so_by_a_key_that_is_the_approvers() {
    let world = World::new().await;
    world.rules(&LONGER.replace("quorum = 1 }", "quorum = 1, signed = true }")).await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let bob = world.who("bob").await;
    let signed = |key: &PrivateKey, text: &str| {
        let made = key.sign(crate::access::signature::NAMESPACE, ssh_key::HashAlg::Sha256, text.as_bytes()).unwrap();
        let signature = made.to_pem(ssh_key::LineEnding::LF).unwrap().parse().unwrap();
        Yes { signature: Some(signature), ..Yes::default() }
    };
    let text = request.canonical_text();
    let refusal = refused(world.yes("bob", &request).await);
    assert!(refusal.code == "unsigned" && refusal.next.is_some_and(|next| next.contains("ssh-keygen -Y sign")));
    for who in ["bert", "mallory", "alice"] {
        let code = refused(world.broker.approve(&bob, &request.id, signed(&world.keys[who], &text)).await).code;
        assert_eq!(code, "not-your-key", "{who}");
    }
    let code = refused(world.broker.approve(&bob, &request.id, signed(&world.keys["bob"], "another text")).await).code;
    assert_eq!(code, "wrong-signature");
    let read = Yes { digest: Some("00".repeat(32)), ..signed(&world.keys["bob"], &text) };
    assert_eq!(refused(world.broker.approve(&bob, &request.id, read).await).code, "other-text");
    let yes = Yes { digest: Some(request.digest()), ..signed(&world.keys["bob"], &text) };
    world.broker.approve(&bob, &request.id, yes.clone()).await.unwrap();
    let kept = world.broker.reader().request(&request.id).await.unwrap().unwrap();
    let stored = kept.approvals().first().and_then(|yes| yes.signature.clone());
    assert_eq!(stored, yes.signature, "as it was given");
    let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
    let last = String::from_utf8(rows.last().unwrap().bytes.clone()).unwrap();
    assert!(last.contains(&format!("\"signature\":\"{}\"", stored.unwrap().told())), "{last}");
}
