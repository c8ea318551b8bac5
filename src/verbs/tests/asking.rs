//! Rights for later, more time, signed approvals and waiting, as the words answer them.

use std::time::Duration;

use super::*;
use crate::access::names::RequestId;

const SIGNED: &str = r#"
[[allow]]
id = "dba-phi"
who = ["role:engineer"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell"]
max-duration = "4h"
approve = { by = ["role:approver"], signed = true }
extend = { self = "30m", times = 1 }
"#;

impl World {
    pub(super) async fn rules(&self, text: &str) {
        std::fs::write(self.dir.path().join("policy.toml"), text).unwrap();
        self.broker.load_policy(&Actor::Local("root".into())).await.unwrap();
    }
}

fn id_in(said: &Said, prefix: &str) -> String {
    let words = said.out.split([' ', ',', ':', '\n']);
    words.into_iter().find(|word| word.starts_with(prefix)).unwrap_or_else(|| panic!("{prefix}: {said:?}")).to_owned()
}

#[tokio::test]
async fn asked_for_later_in_the_bastions_zone() {
    let world = world().await;
    let line = "request phi-db --from 2026-11-21T18:00 --until 2026-11-21T19:30 --channels shell --reason the nightly import";
    let said = world.say("alice", line).await;
    assert_eq!(
        ids(&said.out),
        "r-...... filed: phi-db as postgres from 2026-11-21T23:00:00.000Z until 2026-11-22T00:30:00.000Z (shell)\n\
         waits for 1 of: bob (lapses 2026-11-22T00:30:00.000Z)\n",
        "{said:?}"
    );
    let id = id_in(&said, "r-");
    assert!(world.say("alice", line).await.out.starts_with(&format!("attached to {id}, filed at ")));
    assert!(world.say("bob", "requests").await.out.contains("1h30m from 2026-11-21T23:00:00.000Z"));
    let said = world.say("bob", &format!("approve {id}")).await;
    assert_eq!(
        ids(&said.out),
        "r-...... approved, g-......: alice as postgres on phi-db from 2026-11-21T23:00:00.000Z until 2026-11-22T00:30:00.000Z (shell)\n",
        "{said:?}"
    );
    let grants = world.say("alice", "grants").await.out;
    assert!(grants.contains("waiting") && grants.trim_end().ends_with("begins in 1h"), "{grants}");
    let shown = world.say("alice", &format!("show {id}")).await.out;
    assert!(shown.contains(" is waiting: it begins at 2026-11-21T23:00:00.000Z and ends at 2026-11-22T00:30:00.000Z\n"), "{shown}");
    world.clock.advance(Span::minutes(150));
    world.clock.set_wall(world.broker.now().minus(Span::seconds(1)));
    let grants = world.say("alice", "grants").await.out;
    assert!(grants.contains("active") && grants.trim_end().ends_with("1s"), "{grants}");
    for (words, status) in [
        ("--from 2026-11-22T18:00", 2),
        ("--from 2026-11-22T18:00 --until 2026-11-22T19:00 --for 1h", 2),
        ("--from 2026-11-22T18:00 --until 2026-11-22T18:00", 1),
        ("--from 2026-11-22T18:00 --until 2026-11-22T23:00", 1),
        ("--from 2026-11-01T01:30 --until 2026-11-01T03:00", 1),
        ("--from yesterday --until today", 2),
    ] {
        assert_eq!(world.say("alice", &format!("request phi-app {words} --reason x")).await.status, status, "{words}");
    }
}

#[tokio::test]
async fn more_time_alone_and_by_a_yes() {
    let world = world().await;
    world.rules(&SIGNED.replace(", signed = true", "")).await;
    let (_, grant) = world.grant().await;
    let said = world.say("alice", &format!("extend {grant} --for 1h --reason the index is still building")).await;
    assert_eq!(
        ids(&said.out),
        "r-...... filed: 1h more of g-......, phi-db as postgres until 2026-11-22T00:00:00.000Z instead of 2026-11-21T23:00:00.000Z\n\
         waits for 1 of: bob (lapses 2026-11-21T23:00:00.000Z)\n\
         hint: up to 30m you may take without asking: ssh jit-bastion extend g-...... --for 30m --reason WHY\n",
        "{said:?}"
    );
    let id = id_in(&said, "r-");
    assert!(ids(&world.say("bob", "requests --pending").await.out).contains("1h more of g-......"));
    let shown = world.say("bob", &format!("show {id}")).await.out;
    assert!(shown.contains(&format!("extends: {grant}\nuntil: 2026-11-22T00:00:00.000Z\n")), "{shown}");
    let alone = world.say("alice", &format!("extend {grant} --for 30m --reason x")).await;
    assert_eq!(alone.out, format!("{grant} extended by 30m, until 2026-11-21T23:30:00.000Z\n"), "{alone:?}");
    let said = world.say("bob", &format!("approve {id}")).await;
    assert_eq!(
        ids(&said.out),
        "r-...... approved, g-......: alice as postgres on phi-db until 2026-11-22T00:00:00.000Z now\n",
        "the end that was approved, not half an hour more: {said:?}"
    );
    let told = world.json("alice", &format!("extend {grant} --for 10m --reason x")).await;
    assert_eq!((&told["grant"]["extended"], &told["request"]["extends"]), (&Value::from(1), &Value::from(grant.as_str())));
    assert_eq!(world.say("local", &format!("extend {grant} --for 10m --reason x")).await.status, 1, "only over SSH");
}

#[tokio::test]
async fn the_text_alone_is_signed_and_the_signature_is_shown() {
    let world = world().await;
    world.rules(SIGNED).await;
    let id = id_in(&world.say("alice", "request phi-db --reason x").await, "r-");
    let whole = world.say("bob", &format!("show {id}")).await.out;
    let text = world.say("bob", &format!("show {id} --text")).await.out;
    assert!(whole.starts_with(&format!("{text}\nsha256 of the text above: ")) && text.ends_with(".000Z\n"), "{text}");
    assert!(whole.contains("hint: ssh jit-bastion show"), "{whole}");
    let less = world.json("bob", &format!("show {id} --text --for 10m")).await;
    assert_eq!(less["text"], format!("{text}approved-for: 10m\n"));
    assert_eq!(world.say("bob", &format!("show {id} --for 10m")).await.status, 2);
    assert!(world.say("bob", &format!("approve {id} --signature AAAA")).await.err.contains("is not a signature"));
    let key = &world.keys.iter().find(|(name, _)| *name == "bob").unwrap().1;
    let made = key.sign(crate::access::signature::NAMESPACE, ssh_key::HashAlg::Sha512, text.as_bytes()).unwrap();
    let input = made.to_pem(ssh_key::LineEnding::LF).unwrap();
    let mut sink = Collected { input: input.clone().into_bytes(), ..Collected::default() };
    let parsed = from_line(&format!("approve {id} --signature -"), None).unwrap();
    assert_eq!(run(&world.broker, &world.caller("bob").await, &parsed, &mut sink).await, 0, "{:?}", String::from_utf8(sink.err));
    let shown = world.json("alice", &format!("show {id}")).await;
    assert_eq!(shown["approvals"][0]["signature"]["text"], input, "as it was given");
    assert!(world.say("alice", &format!("show {id}")).await.out.contains(", signed by SHA256:"));
}

#[tokio::test]
async fn who_waits_hears_for_whom_and_then_what_came_of_it() {
    let world = world().await;
    let id: RequestId = id_in(&world.say("alice", "request phi-db --reason x").await, "r-").parse().unwrap();
    let alice = world.caller("alice").await;
    for (quiet, beats) in [(false, true), (true, false)] {
        let request = world.broker.reader().request(&id).await.unwrap().unwrap();
        let mut sink = Collected::default();
        let waiting = super::super::request::wait(&world.broker, &alice, request, &mut sink, quiet, Duration::from_millis(20));
        let heard = tokio::time::timeout(Duration::from_millis(300), waiting).await;
        assert!(heard.is_err(), "nobody has answered");
        let said = String::from_utf8(sink.err).unwrap();
        assert_eq!(said.starts_with(&format!("{id} waits for 1 of: bob (lapses 2026-11-22T22:00:00.000Z)\n")), beats, "{said}");
    }
    // The next one to be decided is the one that is waited for.
    world.say("alice", &format!("withdraw {id}")).await;
    for (line, status) in [("approve", 0), ("deny --note no", 1)] {
        let wait = world.say("alice", "request phi-db --reason x --wait --json");
        let decide = async {
            let pending = loop {
                let pending = world.json("bob", "requests --pending").await;
                if let Some(id) = pending[0]["request"].as_str() {
                    break id.to_owned();
                }
            };
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            world.say("bob", &format!("{verb} {pending} {rest}")).await
        };
        let (waited, decided) = tokio::join!(wait, decide);
        assert_eq!((waited.status, decided.status, waited.err.as_str()), (status, 0, ""), "{waited:?} {decided:?}");
        let one: Value = serde_json::from_str(&waited.out).unwrap();
        assert_eq!(one["state"], if status == 0 { "approved" } else { "denied" });
    }
}
