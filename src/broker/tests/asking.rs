use super::*;
use crate::access::request::State;

#[tokio::test]
async fn the_whole_road() {
    let world = World::new().await;
    let request = world.ask("alice", "PHI-DB-alias", Some("postgres")).await.unwrap();
    assert_eq!(request.asked.when.length, Span::seconds(3600));
    assert_eq!(world.ask("alice", "phi-db", Some("postgres")).await.unwrap(), request, "one pending request is enough");
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "no-grant");
    let decided = world.yes("bob", &request).await.unwrap();
    let grant = decided.grant.unwrap();
    assert_eq!(grant.ends, NOON.plus(Span::seconds(3600)));

    let admission = world.admit("alice", "phi-db", "postgres").await.unwrap();
    let key = PrivateKey::random(&mut StdRng::seed_from_u64(9), Algorithm::Ed25519).unwrap();
    let certificate = world.broker.certify(&admission, key.public_key(), "10.9.9.9".parse().unwrap()).await.unwrap();
    assert_eq!(certificate.valid_principals(), ["postgres"]);
    assert_eq!(certificate.key_id(), format!("alice/{}/{}", admission.session(), grant.id));
    assert!(certificate.valid_before() <= u64::try_from(grant.ends.seconds()).unwrap());
    let open = world.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
    assert_eq!(world.broker.live().len(), 1);
    let id = open.id.clone();
    world.leave(open, Ending::Left).await;
    assert!(world.broker.live().is_empty());
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert_eq!(row.ended, Some((NOON, Ending::Left)));
    assert_eq!(world.events(4).await, ["request-filed", "grant-begun", "session-opened", "session-closed"]);
    let verdict = world.verify().await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!(verdict.vouched, verdict.entries);
}

#[tokio::test]
async fn unknown_and_invisible_hosts_look_alike() {
    let world = World::new().await;
    for (who, typed) in [("alice", "secret"), ("alice", "nowhere"), ("mallory", "phi-db"), ("mallory", "10.0.0.1")] {
        let refusal = refused(world.ask(who, typed, Some("root")).await);
        assert_eq!(refusal.code, "no-such-host");
        assert_eq!(refusal.message, Refusal::no_such_host(typed).message);
        assert_eq!(world.broker.resolve(&world.who(who).await, typed, 22).await.unwrap(), None, "{typed}");
    }
    let alice = world.who("alice").await;
    for (typed, port) in [("phi-db", 22), ("phi-db-alias", 22), ("10.0.0.1", 22)] {
        assert!(world.broker.resolve(&alice, typed, port).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn nobody_decides_about_their_own_request_and_strangers_see_none() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-app", None).await.unwrap();
    assert_eq!(refused(world.yes("alice", &request).await).code, "own-request");
    assert_eq!(refused(world.yes("mallory", &request).await).code, "no-such-id");
    assert_eq!(refused(world.yes("carol", &request).await).code, "not-approver");
    let dave = world.who("mallory").await;
    assert_eq!(refused(world.broker.deny(&dave, &request.id, note("no")).await).code, "no-such-id");
    assert_eq!(refused(world.broker.withdraw(&world.who("bob").await, &request.id).await).code, "not-yours");
}

#[tokio::test]
async fn a_quorum_needs_that_many_humans() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-app", None).await.unwrap();
    assert_eq!(world.yes("bob", &request).await.unwrap().grant, None);
    assert_eq!(refused(world.yes("bob", &request).await).code, "already-approved");
    let decided = world.yes("anna", &request).await.unwrap();
    assert!(decided.grant.is_some());
    assert_eq!(world.broker.reader().request(&request.id).await.unwrap(), Some(decided.request));
    assert_eq!(world.events(2).await, ["request-approved", "grant-begun"]);
}

#[tokio::test]
async fn a_yes_may_shorten_and_narrow() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let longer = Yes { length: Some(Span::minutes(90)), ..Yes::default() };
    let bob = world.who("bob").await;
    assert_eq!(refused(world.broker.approve(&bob, &request.id, longer).await).code, "lengthens");
    let less =
        Yes { length: Some(Span::minutes(10)), channels: Some("exec".parse().unwrap()), note: Some(note("be quick")), ..Yes::default() };
    let grant = world.broker.approve(&bob, &request.id, less).await.unwrap().grant.unwrap();
    assert_eq!((grant.channels.to_string(), grant.ends), ("exec".into(), NOON.plus(Span::minutes(10))));
    let read = world.broker.reader().request(&request.id).await.unwrap().unwrap();
    assert_eq!(read.approvals().first().and_then(|yes| yes.note.clone()), Some(note("be quick")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_approvers_at_the_same_moment() {
    let world = World::new().await;
    let other = world.beside().await;
    let (bob, bert) = (world.who("bob").await, world.who("bert").await);
    for round in 0..60 {
        let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
        let (id, one, two) = (request.id.clone(), world.broker.clone(), if round % 2 == 0 { other.clone() } else { world.broker.clone() });
        let both = {
            let (bob, bert, first, second) = (bob.clone(), bert.clone(), id.clone(), id.clone());
            let yes = tokio::spawn(async move { one.approve(&bob, &first, Yes::default()).await });
            let no = tokio::spawn(async move { two.deny(&bert, &second, note("no")).await });
            (yes.await.unwrap(), no.await.unwrap())
        };
        let read = world.broker.reader().request(&id).await.unwrap().unwrap();
        match both {
            (Ok(decided), Err(Error::Refused(later))) => {
                assert!(later.message.contains("was approved by bob"), "{later}");
                assert!(matches!(read.state, State::Approved { .. }));
                world.broker.close_grant(&Actor::User(User::parse("alice").unwrap()), &decided.grant.unwrap().id).await.unwrap();
            }
            (Err(Error::Refused(later)), Ok(_)) => {
                assert!(later.message.contains("was denied by bert"), "{later}");
                assert!(matches!(read.state, State::Denied { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_yeses_at_the_same_moment_both_count() {
    let world = World::new().await;
    let other = world.beside().await;
    let (bob, bert, alice) = (world.who("bob").await, world.who("bert").await, world.who("alice").await);
    for _ in 0..50 {
        let request = world.ask("alice", "phi-app", None).await.unwrap();
        let (first, second) =
            tokio::join!(world.broker.approve(&bob, &request.id, Yes::default()), other.approve(&bert, &request.id, Yes::default()));
        let grants: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().filter_map(|decided| decided.grant).collect();
        assert_eq!(grants.len(), 1, "the second of them fills the quorum");
        let read = world.broker.reader().request(&request.id).await.unwrap().unwrap();
        assert_eq!(read.approvals().len(), 2);
        world.broker.close_grant(&Actor::User(alice.user.clone()), &grants[0].id).await.unwrap();
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn granted_at_once_where_nobody_is_asked() {
    let world = World::new().await;
    assert_eq!(refused(world.ask("alice", "lab", None).await).code, "choose-login");
    let request = world.ask("alice", "lab", Some("guest")).await.unwrap();
    assert!(matches!(request.state, State::Approved { .. }));
    assert_eq!(world.events(2).await, ["request-filed", "grant-begun"]);
    let begun: serde_json::Value = serde_json::from_str(&world.last_event().await).unwrap();
    assert_eq!((&begun["data"]["how"], &begun["data"]["approvals"]), (&"at-once".into(), &0.into()));
    drop(world.admit("alice", "lab", "guest").await.unwrap());
}

#[tokio::test]
async fn requests_lapse_and_are_withdrawn() {
    let world = World::new().await;
    let first = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    world.clock.advance(Span::minutes(30));
    assert_eq!(refused(world.yes("bob", &first).await).code, "already-decided");
    let second = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    assert_ne!(first.id, second.id, "a lapsed request does not stand in the way");
    assert_eq!(world.broker.reader().request(&first.id).await.unwrap().unwrap().state, State::Lapsed);
    let withdrawn = world.broker.withdraw(&world.who("alice").await, &second.id).await.unwrap();
    assert_eq!(withdrawn.state, State::Withdrawn);
    assert!(refused(world.yes("bob", &second).await).message.contains("withdrawn"));
    let mut longer = asking("phi-db", Some("postgres"));
    let third = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    longer.length = Some(Span::minutes(5));
    assert_eq!(refused(world.broker.request(&world.who("alice").await, longer).await).code, "already-pending");
    world.clock.advance(Span::minutes(31));
    world.broker.sweep().await.unwrap();
    world.broker.sweep().await.unwrap();
    assert_eq!(world.broker.reader().request(&third.id).await.unwrap().unwrap().state, State::Lapsed);
    assert_eq!(world.events(2).await, ["request-filed", "request-lapsed"]);
}

#[tokio::test]
async fn who_waits_is_told() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let (broker, id) = (world.broker.clone(), request.id.clone());
    let waiting = tokio::spawn(async move { broker.decided(&id).await });
    tokio::task::yield_now().await;
    world.yes("bob", &request).await.unwrap();
    assert!(matches!(waiting.await.unwrap().unwrap().state, State::Approved { .. }));
}

#[tokio::test]
async fn an_asker_who_was_disabled_gets_nothing() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let (alice, bob) = (world.who("alice").await, world.who("bob").await);
    world.broker.disable_user(&local(), &alice.user, None).await.unwrap();
    assert_eq!(refused(world.yes("bob", &request).await).code, "unknown-user");
    assert_eq!(world.broker.recognise(world.key("alice")).await.unwrap(), None);
    world.broker.set_roles(&local(), &bob.user, ["none".parse().unwrap()].into()).await.unwrap();
    world.broker.enable_user(&local(), &alice.user).await.unwrap();
    let refusal = refused(world.broker.approve(&bob, &request.id, Yes::default()).await);
    assert_eq!(refusal.code, "no-such-id", "a role that was taken away a moment ago no longer counts");
}

#[tokio::test]
async fn who_may_not_decide_any_more_does_not_fill_the_quorum() {
    let world = World::new().await;
    for how in ["role", "disabled"] {
        let request = world.ask("alice", "phi-app", None).await.unwrap();
        world.yes("bob", &request).await.unwrap();
        let bob = User::parse("bob").unwrap();
        match how {
            "role" => world.broker.set_roles(&local(), &bob, ["none".parse().unwrap()].into()).await.unwrap(),
            _ => world.broker.disable_user(&local(), &bob, None).await.unwrap(),
        }
        let decided = world.yes("bert", &request).await.unwrap();
        assert_eq!((decided.grant, decided.lost), (None, [bob.clone()].into()), "{how}");
        assert_eq!(decided.request.approvals().len(), 2, "what was said stays told");
        assert!(decided.request.is_open(NOON));
        assert_eq!(refused(world.yes("bert", &request).await).code, "already-approved");
        match how {
            "role" => {
                let decided = world.yes("anna", &request).await.unwrap();
                assert_eq!(decided.grant.clone().map(|grant| grant.request), Some(request.id.clone()));
                world.broker.revoke(&local(), &decided.grant.unwrap().id, note("next")).await.unwrap();
                world.broker.set_roles(&local(), &bob, ["owner".parse().unwrap()].into()).await.unwrap();
            }
            _ => {
                world.broker.enable_user(&local(), &bob).await.unwrap();
                let decided = world.yes("bert", &request).await.unwrap();
                assert!(decided.grant.is_some(), "bob counts again");
                assert_eq!(world.broker.reader().request(&request.id).await.unwrap(), Some(decided.request));
            }
        }
    }
    assert!(world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn requests_are_chosen_by_whose_they_are_and_who_decides() {
    let world = World::new().await;
    let one = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    world.clock.advance(Span::seconds(1));
    let two = world.ask("anna", "phi-app", None).await.unwrap();
    world.clock.advance(Span::seconds(1));
    let granted = world.ask("alice", "lab", Some("guest")).await.unwrap();
    world.yes("bob", &two).await.unwrap();
    world.yes("bert", &two).await.unwrap();
    let (one, two, granted) = (one.id, two.id, granted.id);
    for (mine, by, pending, most, expected) in [
        (None, None, false, None, vec![&granted, &two, &one]),
        (None, None, false, Some(2), vec![&granted, &two]),
        (None, None, true, None, vec![&one]),
        (Some("alice"), None, false, None, vec![&granted, &one]),
        (None, Some("bob"), false, None, vec![&two, &one]),
        (None, Some("bob"), true, None, vec![&one]),
        (None, Some("alice"), false, None, vec![&two]),
        (None, Some("anna"), false, None, vec![]),
        (Some("anna"), Some("anna"), false, None, vec![&two]),
        (Some("alice"), Some("alice"), false, None, vec![&granted, &two, &one]),
        (Some("mallory"), Some("mallory"), false, None, vec![]),
    ] {
        let user = |name: Option<&str>| name.map(|name| User::parse(name).unwrap());
        let filter = RequestFilter { user: user(mine), decider: user(by), pending, most };
        let found = world.broker.reader().requests(&filter).await.unwrap();
        assert_eq!(found.iter().map(|request| &request.id).collect::<Vec<_>>(), expected, "{filter:?}");
        for request in found {
            assert_eq!(world.broker.reader().request(&request.id).await.unwrap(), Some(request), "one reading for one and for many");
        }
    }
    let bob = User::parse("bob").unwrap();
    assert_eq!(world.broker.reader().said_yes(&bob).await.unwrap(), [two].into());
    assert_eq!(world.broker.reader().said_yes(&User::parse("anna").unwrap()).await.unwrap(), [].into());
}

#[tokio::test]
async fn every_name_of_a_host_leads_to_it_by_the_same_steps() {
    let world = World::new().await;
    let reader = world.broker.reader();
    let alice = User::parse("alice").unwrap();
    for (typed, port, leads) in [
        ("phi-db", 1, true),
        ("PHI-DB-alias", 22, true),
        ("10.0.0.1", 22, true),
        ("10.0.0.1", 23, false),
        ("nowhere", 22, false),
        ("", 22, false),
    ] {
        let found = reader.find_host(typed, port).await.unwrap();
        assert_eq!(found.map(|host| host.name.to_string()), leads.then(|| "phi-db".to_owned()), "{typed}");
    }
    assert!(!reader.held(&alice, None).await.unwrap());
    world.granted("postgres").await;
    assert!(!reader.held(&alice, None).await.unwrap());
    assert!(reader.held(&alice, Some(&"phi-db".parse().unwrap())).await.unwrap());
}

#[tokio::test]
async fn a_reason_and_a_note_are_erased_and_the_log_still_verifies() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let denied = world.broker.deny(&world.who("bob").await, &request.id, note("not tonight")).await.unwrap();
    let said = |request: &Request| match &request.state {
        State::Denied { by } => (request.asked.reason.to_string(), by.note.as_ref().map(ToString::to_string)),
        other => panic!("{other:?}"),
    };
    assert_eq!(said(&denied), ("a slow query".into(), Some("not tonight".into())));
    let logged = world.last_event().await;
    assert!(world.verify().await.findings.is_empty());

    world.broker.store.erase_texts().await;
    let verdict = world.verify().await;
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!(verdict.vouched, verdict.entries);
    assert_eq!(world.last_event().await, logged, "the log never held the words");
    let read = world.broker.reader().request(&request.id).await.unwrap().unwrap();
    assert_eq!(said(&read), ("(erased)".into(), Some("(erased)".into())));
    assert_eq!(world.broker.reader().requests(&RequestFilter::default()).await.unwrap(), [read]);
}
