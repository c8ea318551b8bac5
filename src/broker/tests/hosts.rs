//! Hosts: one name space, keys that change under somebody's eyes, files that land whole.

use super::*;
use crate::access::grant::GrantState;
use crate::access::host::HostTrust;
use crate::access::names::HostName;

const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbCNrdbJ7O9Q3YPjGb7mkPMSyXQSzvyCpZ9yYTLvhkd";

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn line(text: &str) -> HostTrust {
    text.parse().unwrap()
}

async fn hosts(world: &World) -> Vec<Host> {
    world.broker.reader().hosts().await.unwrap()
}

#[tokio::test]
async fn names_aliases_and_addresses_are_one_name_space() {
    let world = World::new().await;
    // phi-db is 10.0.0.1, phi-app is 10.0.0.2; each has an alias NAME-alias.
    let table: [(&str, &[&str], &str, bool); 8] = [
        ("new", &[], "10.0.0.50:22", true),
        ("phi-db-alias", &[], "10.0.0.51:22", false),
        ("new2", &["phi-db"], "10.0.0.52:22", false),
        ("new3", &["PHI-APP-alias"], "10.0.0.53:22", false),
        ("new4", &[], "10.0.0.1:22", false),
        ("new5", &[], "10.0.0.1:2222", true),
        ("10.0.0.2", &[], "10.0.0.55:22", false),
        ("new6", &[], "phi-db:22", false),
    ];
    for (called, aliases, address, fits) in table {
        let mut new = host(called, 90, &["root"]);
        new.aliases = aliases.iter().map(|alias| name(alias)).collect();
        new.address = address.parse().unwrap();
        match world.broker.add_host(&local(), new).await {
            Ok(()) => assert!(fits, "{called}"),
            added => assert_eq!((refused(added).code, fits), ("exists", false), "{called}"),
        }
    }
    let reader = world.broker.reader();
    for (typed, port, is) in
        [("PHI-DB-Alias", 1, Some("phi-db")), ("10.0.0.1", 22, Some("phi-db")), ("10.0.0.1", 2222, Some("new5")), ("10.0.0.1", 23, None)]
    {
        let found = reader.find_host(typed, port).await.unwrap().map(|host| host.name.to_string());
        assert_eq!(found.as_deref(), is, "{typed}:{port}");
    }
}

#[tokio::test]
async fn keys_change_as_they_were_seen() {
    let world = World::new().await;
    let (db, old) = (name("phi-db"), world.host("phi-db").await.trust);
    let trust = async |how| world.broker.trust_host(&local(), &db, how).await;
    let changed = trust(Trusting::Also(vec![line(&format!("@cert-authority {OTHER}")), old[0].clone()])).await.unwrap();
    assert_eq!((changed.before.unwrap().len(), changed.after.unwrap().len()), (1, 2));
    assert_eq!(world.events(1).await, ["host-key-changed"]);
    let told = world.broker.reader().notices(&User::parse("bob").unwrap(), NOON).await.unwrap();
    assert!(told.iter().any(|one| one.text.starts_with("local:root changed the trusted keys of phi-db from SHA256:")), "{told:?}");
    // Somebody compared with what is trusted no more.
    let late = Trusting::Instead { of: old.clone(), these: vec![line(OTHER)] };
    assert_eq!(refused(trust(late).await).code, "overtaken");
    let fingerprint = |trust: &HostTrust| crate::broker::people::fingerprint(trust.key());
    trust(Trusting::Without(fingerprint(&old[0]))).await.unwrap();
    assert_eq!(world.host("phi-db").await.trust, [line(&format!("@cert-authority {OTHER}"))]);
    assert_eq!(refused(trust(Trusting::Without(fingerprint(&old[0]))).await).code, "no-such-key");
    assert_eq!(refused(trust(Trusting::Without(fingerprint(&line(OTHER)))).await).code, "no-host-key");
    let weak = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQD+b3zcIwVXYLItWaL3XCY0PZ5JHGKR/k2jj5QMj6crs4BpOTxPZz7IdCdRbtrQlyhiP/qeH+uLkx6hKa7+0GO0jcgqlTbzph/jvUBpGCIjTgqtYJeo3ZbAPzxbKjCmFCT4MAlKDw5oQxllJIj4SOAnR82uzH/Z2gfqtXTLF3Z3uQ==";
    assert_eq!(refused(trust(Trusting::Also(vec![line(weak)])).await).code, "weak-key");
    assert_eq!(refused(world.broker.trust_host(&local(), &name("nowhere"), Trusting::Also(vec![])).await).code, "no-such-host");
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_host_that_moves_or_changes_its_key_while_it_is_dialled_is_not_visited() {
    for how in ["address", "key"] {
        let world = World::new().await;
        world.granted("postgres").await;
        let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
        let beside = world.beside().await;
        let mut moved = world.host("phi-db").await;
        moved.address = "10.0.0.77:22".parse().unwrap();
        match how {
            "address" => beside.change_host(&local(), moved).await.unwrap(),
            _ => drop(beside.trust_host(&local(), &moved.name, Trusting::These(vec![line(OTHER)])).await.unwrap()),
        }
        let refusal = refused(world.broker.open_session(admission, CLIENT.parse().unwrap()).await);
        assert_eq!(refusal.code, "host-changed", "{how}");
        assert!(refusal.next.is_some_and(|next| next.contains("try again")));
        assert!(world.broker.live().is_empty());
        // The next visit goes to where it is now.
        let open = world.enter("postgres").await;
        world.leave(open, Ending::Left).await;
    }
}

#[tokio::test]
async fn what_goes_with_a_host_is_told() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    world.granted("admin").await;
    let open = world.enter("postgres").await;
    let removed = world.beside().await.remove_host(&local(), &name("phi-db")).await.unwrap();
    assert_eq!(removed, Removed { sessions: 1, grants: 2 });
    // The grants end with it, each with its event: another machine may get the name.
    let kept = world.broker.reader().grant(&grant.id).await.unwrap().unwrap();
    assert_eq!((kept.ends, kept.state(world.broker.now())), (grant.ends, GrantState::Revoked));
    assert_eq!(world.events(3).await, ["host-removed", "grant-revoked", "grant-revoked"]);
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test]
async fn a_file_of_hosts_lands_whole_or_not_at_all() {
    let world = World::new().await;
    let before = hosts(&world).await;
    // Nothing differs: nothing happens, not even an event.
    let entries = world.events(1).await;
    assert!(world.broker.apply_hosts(&local(), before.clone(), true, false).await.unwrap().is_empty());
    assert_eq!(world.events(1).await, entries);

    // An alias moves from one host to another, an address is taken over from one that goes, a key changes, a host is new.
    let mut file = before.clone();
    file.retain(|host| host.name.as_str() != "lab");
    let at = |file: &[Host], called: &str| file.iter().position(|host| host.name.as_str() == called).unwrap();
    let (app, db, secret) = (at(&file, "phi-app"), at(&file, "phi-db"), at(&file, "secret"));
    file[db].aliases = vec![name("phi-app-alias")];
    file[app].aliases = vec![name("phi-db-alias")];
    file[secret].address = "10.0.0.3:22".parse().unwrap();
    file[secret].trust = vec![line(OTHER)];
    let mut new = host("new", 60, &["root"]);
    new.address = "10.0.0.4:22".parse().unwrap();
    file.push(new);

    let dry = world.broker.apply_hosts(&local(), file.clone(), true, true).await.unwrap();
    assert_eq!((dry.len(), hosts(&world).await == before), (5, true));
    // Without prune the name that goes keeps its address: that cannot land, and nothing of it does.
    assert_eq!(refused(world.broker.apply_hosts(&local(), file.clone(), false, false).await).code, "exists");
    assert_eq!(hosts(&world).await, before);

    let applied = world.broker.apply_hosts(&local(), file.clone(), true, false).await.unwrap();
    assert_eq!(applied, dry);
    file.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(hosts(&world).await, file);
    let events = ["host-removed", "host-added", "host-changed", "host-changed", "host-changed", "host-key-changed"];
    assert_eq!(world.events(6).await, events);
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_host_that_a_file_drops_ends_its_visits() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let file: Vec<Host> = hosts(&world).await.into_iter().filter(|host| host.name.as_str() != "phi-db").collect();
    world.broker.apply_hosts(&local(), file.clone(), false, false).await.unwrap();
    assert_eq!(open.cutoff.reason(), None);
    world.broker.apply_hosts(&local(), file, true, false).await.unwrap();
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test]
async fn a_look_is_for_the_bastions_own_command_line_and_runs_one_script() {
    let world = World::new().await;
    let broker = &world.broker;
    let by_user = Actor::User(User::parse("dave").unwrap());
    assert_eq!(refused(broker.admit_audit(&by_user, &name("phi-db"), None, None).await).code, "local-only");
    assert_eq!(refused(broker.admit_audit(&local(), &name("nowhere"), None, None).await).code, "no-such-host");
    let wrong = broker.admit_audit(&local(), &name("phi-db"), Some("root".parse().unwrap()), None).await;
    assert!(refused(wrong).next.is_some_and(|next| next.contains("postgres, admin")));

    let admission = broker.admit_audit(&local(), &name("phi-db"), None, Some(note("the yearly look"))).await.unwrap();
    assert_eq!((admission.login().as_str(), world.events(1).await), ("postgres", vec!["host-audit-begun".to_owned()]));
    let id = admission.meta().session.clone();
    let key = PrivateKey::random(&mut StdRng::seed_from_u64(3), Algorithm::Ed25519).unwrap();
    let certificate = broker.certify_audit(&admission, key.public_key(), "192.0.2.9".parse().unwrap()).await.unwrap();
    let option = |name: &str| certificate.critical_options().get(name).cloned();
    assert_eq!(option("force-command").as_deref(), Some(admission.command()));
    assert_eq!(option("source-address").as_deref(), Some("192.0.2.9"));
    assert_eq!((certificate.extensions().len(), certificate.valid_principals()), (0, &["postgres".to_owned()][..]));
    assert_eq!(certificate.key_id(), format!("audit/local:root/{id}"));
    assert!(certificate.valid_before() <= u64::try_from(NOON.seconds()).unwrap() + 180);

    // It has no place on the list of who is inside, and no grant; it is looked at nowhere but here.
    assert!(broker.live().is_empty() && broker.reader().session(&id).await.unwrap().is_none());
    broker.close_audit(admission, Ending::Left, None, Some(Standing { keys: 3, unread: 1 })).await.unwrap();
    assert_eq!(world.events(1).await, ["host-audited"]);
    let last = broker.reader().last_audit(&name("phi-db")).await.unwrap().unwrap();
    assert_eq!((last.id, last.keys, last.unread, last.actor), (id, Some(3), Some(1), local()));
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn nobody_looks_while_the_clock_was_set_back() {
    let world = World::new().await;
    world.clock.set_wall(NOON.minus(Span::minutes(10)));
    assert_eq!(refused(world.broker.admit_audit(&local(), &name("phi-db"), None, None).await).code, "clock");
}
