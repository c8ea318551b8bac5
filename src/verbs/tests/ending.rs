//! Rights and visits that end early, and by whom.

use super::*;

#[tokio::test]
async fn rights_end_early() {
    let world = world().await;
    let (_, grant) = world.grant().await;
    assert_eq!(world.say("bob", &format!("close {grant}")).await.status, 1);
    let own = world.say("alice", &format!("revoke {grant} --note x")).await;
    assert_eq!(
        (own.status, ids(&own.err)),
        (1, "no rule lets you revoke grants on phi-db\nhint: it is yours: `ssh jit-bastion close g-......` ends it\n".into())
    );
    let open = world.enter().await;
    let said = world.say("dave", &format!("revoke {grant} --note wrong host")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "g-...... revoked; its sessions end now\n".into()));
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    let late = world.say("alice", &format!("close {grant}")).await;
    assert!(late.err.contains("was revoked by dave at"), "{late:?}");
    let (_, grant) = world.grant().await;
    assert_eq!(world.say("local", &format!("close {grant}")).await.status, 0, "the bastion's own command line closes");
    let grants = world.json("dave", "grants").await;
    assert_eq!(grants.as_array().unwrap().len(), 2, "who may revoke sees them");
    assert_eq!(world.json("vera", "grants").await, Value::Array(vec![]));
}

#[tokio::test]
async fn an_approver_kills_what_came_of_it() {
    let world = world().await;
    world.grant().await;
    let open = world.enter().await;
    let (id, live) = (open.id.to_string(), world.json("carol", "sessions --live").await);
    assert_eq!((&live[0]["session"], &live[0]["state"]), (&Value::from(id.as_str()), &Value::from("live")));
    assert_eq!(world.json("bob", "sessions --live").await[0]["session"], live[0]["session"], "what they may end they see");
    assert_eq!(world.json("vera", "sessions").await, Value::Array(vec![]));
    assert_eq!(world.say("carol", &format!("kill {id} --note x")).await.status, 1, "to look is not to kill");
    let said = world.say("bob", &format!("kill {id} --note strange")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "s-...... ends now; g-...... stays\n".into()));
    assert_eq!(open.cutoff.reason(), Some(Ending::Killed));
}

#[tokio::test]
async fn to_approve_gives_kill_and_not_replay() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let open = world.enter().await;
    assert_eq!(world.say("bob", &format!("kill {} --note strange", open.id)).await.status, 0);
    assert_eq!(world.say("carol", &format!("replay {session}.1 --because x")).await.status, 0, "it is there");
    for (line, code) in [
        (format!("replay {session}.1 --because x"), "no-such-id"),
        (format!("replay {session} --because x"), "no-such-id"),
        ("recordings".into(), "may-not"),
    ] {
        let said = world.say("bob", &line).await;
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{line}: {said:?}");
        assert_eq!(world.json("bob", &line).await["error"]["code"], code, "{line}");
    }
}
