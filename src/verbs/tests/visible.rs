//! Which hosts somebody sees, and what they read about the others.

use super::*;
use crate::access::names::Vendor;

#[tokio::test]
async fn who_ever_held_a_grant_there_reads_why_not() {
    let world = world().await;
    let (_, grant) = world.grant().await;
    assert_eq!(world.say("alice", &format!("close {grant}")).await.status, 0);
    // Nothing is given to anybody any more.
    world.rules("").await;
    assert!(world.say("alice", "hosts").await.out.contains("phi-db") && !world.say("alice", "hosts").await.out.contains("phi-app"));
    let why = "no rule lets you ask for postgres on phi-db\nhint: an administrator would add an [[allow]] rule to the policy\n";
    assert_eq!(world.say("alice", "request db --reason x").await.err, why);
    let told = world.say("alice", "explain phi-db").await;
    assert!(
        told.status == 0 && told.out.starts_with("phi-db as postgres: refused: no rule lets you ask for postgres on phi-db\n"),
        "{told:?}"
    );
    for line in ["request phi-app --reason x", "explain phi-app"] {
        assert_eq!(world.json("alice", line).await["error"]["code"], "no-such-host", "{line}");
    }
}

#[tokio::test]
async fn an_invisible_host_is_answered_by_the_same_steps_as_an_unknown_one() {
    let world = world().await;
    for line in ["request HOST --reason x", "request HOST --login www --for 1h --reason x", "explain HOST"] {
        let steps = async |host: &str| {
            let before = statements();
            let said = world.say("alice", &line.replace("HOST", host)).await;
            (said.status, said.err.replace(host, "HOST"), said.out, statements() - before)
        };
        let (hidden, unknown) = (steps("web").await, steps("nowhere").await);
        assert_eq!(hidden, unknown, "{line}");
        assert!(hidden.0 == 1 && hidden.3 > 0, "{hidden:?}");
    }
    let alice = world.caller("alice").await.person.unwrap();
    let tunnel = async |host: &str, port: u16| {
        let before = statements();
        assert_eq!(world.broker.resolve(&alice, host, port).await.unwrap(), None);
        statements() - before
    };
    assert_eq!(tunnel("web", 22).await, tunnel("nowhere", 22).await);
    assert_eq!(tunnel("web.internal", 22).await, tunnel("nowhere.internal", 22).await);
}

#[tokio::test]
async fn a_may_counts_on_its_hosts_alone() {
    let world = world().await;
    let (_, grant) = world.grant().await;
    let session = world.visit().await;
    let open = world.enter().await;
    let acts = "do = [\"sessions\", \"recordings\", \"replay\"";
    let overseer = async |hosts: &str| {
        let old = format!("{acts}]\nhosts = [\"*\"]");
        assert!(POLICY.contains(&old));
        world.rules(&POLICY.replace(&old, &format!("{acts}, \"revoke\", \"kill\"]\nhosts = [\"{hosts}\"]"))).await;
    };
    for (hosts, sees) in [("phi-app", false), ("label:web", false), ("phi-d*", true), ("db", true), ("label:phi", true)] {
        overseer(hosts).await;
        for list in ["sessions", "recordings", "grants"] {
            assert_eq!(world.json("carol", list).await.as_array().unwrap().is_empty(), !sees, "{list} on {hosts}");
        }
        assert_eq!(world.say("carol", &format!("replay {session}.1 --because x")).await.status, u8::from(!sees), "{hosts}");
    }
    for hosts in ["phi-app", "phi-db"] {
        overseer(hosts).await;
        for line in [format!("kill {} --note x", open.id), format!("revoke {grant} --note x")] {
            let told = world.json("carol", &line).await;
            assert_eq!(told["error"]["code"] == "no-such-id", hosts == "phi-app", "{line}: {told}");
        }
    }
    assert_eq!(open.cutoff.reason(), Some(Ending::Killed), "the first reason wins");
    assert!(world.say("alice", "grants").await.out.contains("revoked"));
}

#[tokio::test]
async fn a_vendors_people_read_roles_where_staff_read_names() {
    let mut world = world().await;
    let key = PrivateKey::random(&mut rand::rngs::StdRng::seed_from_u64(11), Algorithm::Ed25519).unwrap();
    let vic = Person { vendor: Some(Vendor::parse("acme").unwrap()), ..Person::staff(User::parse("vic").unwrap(), []) };
    let new = NewKey { key: key.public_key().clone(), name: "laptop".into() };
    world.broker.add_user(&Actor::Local("root".into()), vic, vec![new]).await.unwrap();
    world.keys.push(("vic", key));
    let named = POLICY
        .replace("\"role:engineer\"", "\"role:engineer\", \"vendor:acme\"")
        .replace("\"role:approver\"", "\"role:approver\", \"user:dave\"");
    world.rules(&named).await;
    let staff = world.say("alice", "request phi-db --reason x").await.out;
    assert!(staff.contains("waits for 1 of: bob, dave "), "{staff}");
    let filed = world.say("vic", "request phi-db --reason x").await.out;
    assert!(filed.contains("waits for 1 of: role:approver, somebody whom the rule names "), "{filed}");
    let id = filed.split(' ').next().unwrap();
    for line in [format!("show {id}"), "requests".to_owned(), "explain phi-db".to_owned(), "request phi-db --reason x".to_owned()] {
        for line in [format!("{line} --json"), line] {
            let said = world.say("vic", &line).await;
            assert_eq!((said.status, said.err.as_str()), (0, ""), "{line}");
            assert!(!said.out.contains("bob") && !said.out.contains("dave"), "{line}: {}", said.out);
        }
    }
}

#[tokio::test]
async fn a_host_is_seen_by_whom_some_rule_covers_there_denies_aside() {
    let world = world().await;
    world.rules(&POLICY.replace("hosts = [\"phi-app\"]\nchannels = [\"sftp-write\"]", "hosts = [\"phi-app\"]")).await;
    assert!(world.say("alice", "hosts").await.out.contains("phi-app"));
    let why = "rule no-writes denies every channel kind as postgres on phi-app: files go through the desk\n";
    let said = world.say("alice", "request phi-app --reason x").await;
    assert!(said.err.starts_with(why) && said.err.contains("\nhint: "), "{said:?}");
    // A host without the login that a rule gives is none of hers.
    let host = world.broker.reader().host(&HostName::parse("phi-app").unwrap()).await.unwrap().unwrap();
    let changed = Host { logins: vec![Login::parse("oracle").unwrap()], ..host };
    world.broker.change_host(&Actor::Local("root".into()), changed).await.unwrap();
    assert_eq!(world.json("alice", "request phi-app --reason x").await["error"]["code"], "no-such-host");
}
