use super::*;

#[tokio::test]
async fn the_inner_user_name_chooses() {
    let world = World::new().await;
    let ask = refused(world.admit("alice", "phi-db", "postgres").await);
    assert_eq!(ask.next.as_deref(), Some("ssh jit-bastion request phi-db --login postgres --for 1h --reason WHY"));
    assert_eq!(refused(world.admit("alice", "phi-db", "laptop").await).code, "choose-login");
    let first = world.granted("postgres").await;
    assert_eq!(world.admit("alice", "phi-db", "laptop").await.unwrap().grant().id, first.id);
    world.clock.advance(Span::minutes(10));
    let second = world.granted("postgres").await;
    assert_eq!(world.admit("alice", "phi-db", "postgres").await.unwrap().grant().id, second.id, "the one that ends last");
    let named = format!("postgres+{}", first.id.as_str().to_uppercase());
    assert_eq!(world.admit("alice", "phi-db", &named).await.unwrap().grant().id, first.id);
    assert_eq!(refused(world.admit("alice", "phi-db", &format!("admin+{}", first.id)).await).code, "no-grant");
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres+nonsense").await).code, "bad-grant");
    let admin = world.granted("admin").await;
    let refusal = refused(world.admit("alice", "phi-db", "laptop").await);
    assert_eq!(refusal.message, "you hold grants on phi-db for several logins: admin, postgres");
    assert_eq!(world.admit("alice", "phi-db", "admin").await.unwrap().grant().id, admin.id);
    assert_eq!(refused(world.admit("mallory", "phi-db", "postgres").await).code, "no-such-host");
}

#[tokio::test]
async fn whoever_keeps_every_reader_busy_keeps_nobody_at_the_door() {
    let world = World::new().await;
    world.granted("postgres").await;
    let reader = world.broker.reader();
    let mut held = Vec::new();
    while let Ok(moment) = tokio::time::timeout(std::time::Duration::from_millis(200), reader.hold()).await {
        held.push(moment.unwrap());
    }
    let (alice, host) = (world.broker.recognise(world.key("alice")).await.unwrap().unwrap(), host("phi-db", 0, &["postgres"]));
    let proof = Proof::plain(world.key("alice").clone());
    drop(world.broker.admit(&alice, &proof, &host, "postgres").await.unwrap());
}

#[tokio::test]
async fn ties_go_to_the_newest() {
    let world = World::new().await;
    let first = world.granted("postgres").await;
    world.clock.advance(Span::minutes(20));
    let mut asking = asking("phi-db", Some("postgres"));
    asking.length = Some(Span::minutes(40));
    let request = world.broker.request(&world.who("alice").await, asking).await.unwrap().request;
    let second = world.yes("bob", &request).await.unwrap().grant.unwrap();
    assert_eq!(first.ends, second.ends);
    assert_eq!(world.admit("alice", "phi-db", "postgres").await.unwrap().grant().id, second.id);
}

#[tokio::test]
async fn no_time_no_entry() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
    let late = world.admit("alice", "phi-db", "postgres").await.unwrap();
    world.clock.advance(Span::seconds(3600));
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "no-grant");
    let key = world.key("alice").clone();
    assert_eq!(refused(world.broker.certify(&admission, &key, "10.0.0.9".parse().unwrap()).await).code, "ended");
    assert_eq!(refused(world.broker.open_session(late, CLIENT.parse().unwrap()).await).code, "ended");
    world.broker.sweep().await.unwrap();
    assert_eq!(world.events(1).await, ["grant-ended"]);
    let over = refused(world.broker.revoke(&local(), &grant.id, note("late")).await);
    assert_eq!(over.code, "already-over");
}

#[tokio::test]
async fn a_clock_that_was_set_back_admits_nobody() {
    let world = World::new().await;
    world.granted("postgres").await;
    world.clock.set_wall(NOON.minus(Span::seconds(2)));
    drop(world.admit("alice", "phi-db", "postgres").await);
    world.clock.set_wall(NOON.minus(Span::seconds(30)));
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "clock");
}

#[tokio::test]
async fn a_role_that_was_taken_away_opens_nothing() {
    let world = World::new().await;
    world.granted("postgres").await;
    let alice = world.who("alice").await;
    world.broker.set_roles(&local(), &alice.user, ["none".parse().unwrap()].into()).await.unwrap();
    let refusal =
        refused(world.broker.admit(&alice, &Proof::plain(world.key("alice").clone()), &world.host("phi-db").await, "postgres").await);
    assert_eq!(refusal.code, "not-covered");
}

#[tokio::test]
async fn files_alone_are_held_to_files_by_the_host() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-app", None).await.unwrap();
    world.yes("bob", &request).await.unwrap();
    world.yes("bert", &request).await.unwrap();
    let admission = world.admit("alice", "phi-app", "root").await.unwrap();
    let certificate = world.broker.certify(&admission, world.key("alice"), "::ffff:10.0.0.9".parse().unwrap()).await.unwrap();
    let options = certificate.critical_options();
    assert_eq!(options.get("force-command").map(String::as_str), Some("internal-sftp -R"));
    assert_eq!(options.get("source-address").map(String::as_str), Some("10.0.0.9"));
    assert!(certificate.extensions().get("permit-pty").is_none());
}

#[tokio::test]
async fn host_certificates_renew_at_half_of_their_life() {
    let world = World::new().await;
    let host = world.host("phi-db").await;
    let shown = || world.broker.inner_identities(&host).unwrap().remove(0).certificate.unwrap();
    let first = shown();
    assert_eq!(first.valid_principals(), ["10.0.0.1", "phi-db", "phi-db-alias"]);
    world.clock.advance(Span::seconds(11 * 3600));
    assert_eq!(shown(), first);
    world.clock.advance(Span::seconds(2 * 3600));
    assert_ne!(shown().serial(), first.serial());
    let outer = world.broker.outer_identity().unwrap().certificate.unwrap();
    assert_eq!(outer.valid_principals(), ["jit-bastion"]);
    let lines = world.broker.known_hosts(KnownHosts::Authority).unwrap();
    assert!(lines[0].starts_with("@cert-authority phi-* ssh-ed25519 AAAA"), "{lines:?}");
    assert_eq!(world.broker.known_hosts(KnownHosts::Plain).unwrap().len(), 2);
}

#[tokio::test]
async fn recordings_open_for_those_who_may_and_that_is_told() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    world.leave(open, Ending::Left).await;
    let channel: crate::access::names::ChannelId = format!("{id}.1").parse().unwrap();
    for (who, code) in [("carol", "no-such-id"), ("mallory", "no-such-id"), ("alice", "no-such-id")] {
        let by = Actor::User(User::parse(who).unwrap());
        assert_eq!(
            refused(world.broker.open_recording(&by, &channel.session, Some(channel.number), note("x"), Showing::Masked).await).code,
            code
        );
    }
}

#[tokio::test]
async fn a_file_for_somebody_is_made_if_they_may_see_all_that_is_in_it() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    world.leave(open, Ending::Left).await;
    for (acts, code, says) in
        [("", "may-not", "exported"), (", \"export\"", "may-not", "masked"), (", \"export\", \"unmask\"", "not-sealed", "sealed")]
    {
        let policy = POLICY.replace("\"replay\"]", &format!("\"replay\"{acts}]"));
        std::fs::write(world.dir.path().join("policy.toml"), policy).unwrap();
        world.broker.load_policy(&local()).await.unwrap();
        let carol = Some(User::parse("carol").unwrap());
        let refusal = refused(world.broker.export_recordings(&local(), &id, carol, None).await);
        assert!(refusal.code == code && refusal.message.contains(says), "{acts}: {refusal}");
    }
}

#[tokio::test]
async fn the_log_tells_an_unknown_host_from_an_invisible_one() {
    let world = World::new().await;
    let (alice, refusal) = (world.who("alice").await, Refusal::no_such_host("x"));
    let client = CLIENT.parse().unwrap();
    for typed in ["secret", "nowhere"] {
        world.broker.turned_away(&alice, client, Meant::Typed(typed, 22), &refusal).await;
    }
    let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
    let hosts: Vec<_> = rows[rows.len() - 2..]
        .iter()
        .map(|row| match crate::audit::entry::Entry::parse(&row.bytes).unwrap().event {
            crate::audit::event::Event::SessionRefused { host, typed, .. } => (host.map(|host| host.to_string()), typed.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(hosts, [(Some("secret".into()), true), (None, true)]);
    let before = rows.len();
    for _ in 0..100 {
        world.broker.turned_away(&alice, client, Meant::Host(&"phi-db".parse().unwrap()), &refusal).await;
    }
    assert_eq!(world.broker.reader().events(0, u32::MAX).await.unwrap().len(), before + 18, "nobody fills the log");
}

#[tokio::test]
async fn what_the_config_says_stands_in_the_certificates() {
    let world = World::new().await;
    world.granted("postgres").await;
    let told = Settings {
        names: vec!["bastion.hospital.example".into(), "jump".into()],
        known_hosts_pattern: "jump,db-*".into(),
        source_addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
        ..settings(world.dir.path())
    };
    let keys = Keyring::generate(&mut StdRng::seed_from_u64(77)).unwrap();
    let serving = Some(Serving { keys, knife: Knife::start(world.clock.clone()).unwrap() });
    let store = Store::open(&crate::store::testing::url(world.dir.path()).await, "node-1").await.unwrap();
    let chance = Arc::new(Seeded(AtomicU64::new(700)));
    let broker = Broker::new(Parts { store, clock: world.clock.clone(), chance, settings: told, serving }).unwrap();
    broker.adopt_policy().await.unwrap();

    let (alice, host) = (world.who("alice").await, world.host("phi-db").await);
    let admission = broker.admit(&alice, &Proof::plain(world.key("alice").clone()), &host, "postgres").await.unwrap();
    // Hosts see the bastion come from there, whatever address the connection has here.
    let certificate = broker.certify(&admission, world.key("alice"), "10.0.0.9".parse().unwrap()).await.unwrap();
    assert_eq!(certificate.critical_options().get("source-address").map(String::as_str), Some("192.0.2.7,2001:db8::/64"));
    let audit = broker.admit_audit(&local(), &host.name, None, None).await.unwrap();
    let certificate = broker.certify_audit(&audit, world.key("alice"), "10.0.0.9".parse().unwrap()).await.unwrap();
    assert_eq!(certificate.critical_options().get("source-address").map(String::as_str), Some("192.0.2.7,2001:db8::/64"));
    let outer = broker.outer_identity().unwrap().certificate.unwrap();
    assert_eq!(outer.valid_principals(), ["bastion.hospital.example", "jump"]);
    assert!(broker.known_hosts(KnownHosts::Authority).unwrap()[0].starts_with("@cert-authority jump,db-* ssh-ed25519 AAAA"));
}
