//! Yes and no: once, by whom, and who waits for it.

use super::*;

#[tokio::test]
async fn an_approver_decides_once_and_nobody_for_themselves() {
    let world = world().await;
    let id = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    let own = world.say("alice", &format!("approve {id}")).await;
    assert_eq!(
        (own.status, own.err.as_str()),
        (1, "nobody decides about their own request\nhint: these can: role:approver; `withdraw` takes it back\n")
    );
    assert_eq!(world.say("vera", &format!("approve {id}")).await.status, 1);
    let said = world.say("bob", &format!("deny {id} --note not tonight")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "r-...... denied\n".into()));
    let late = world.say("bob", &format!("approve {id}")).await;
    assert!(late.err.contains("was denied by bob at 2026-11-21T22:00:00.000Z"), "{late:?}");
    let shown = world.json("alice", &format!("show {id}")).await;
    assert_eq!((&shown["state"], &shown["denied"]["note"]), (&Value::from("denied"), &Value::from("not tonight")));
    let again = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    assert_eq!(world.say("alice", &format!("withdraw {again}")).await.status, 0);
    let mine = world.json("alice", "requests --mine").await;
    let states: Vec<&str> = mine.as_array().unwrap().iter().map(|r| r["state"].as_str().unwrap()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"withdrawn") && states.contains(&"denied"));
}

#[tokio::test]
async fn only_a_proven_key_decides() {
    let world = world().await;
    let id = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    for id in ["r-000000", &id] {
        for (line, verb) in
            [(format!("deny {id} --note no"), "deny"), (format!("approve {id}"), "approve"), (format!("withdraw {id}"), "withdraw")]
        {
            let said = world.say("local", &line).await;
            assert_eq!((said.status, said.out.as_str()), (1, ""), "{line}");
            let only = format!("{verb} exists only over SSH, where a key proves who\nhint: ssh jit-bastion {verb} ID");
            assert!(said.err.starts_with(&only), "{line}: {said:?}");
            assert_eq!(world.json("local", &line).await["error"]["code"], "ssh-only", "{line}");
        }
    }
    assert_eq!(world.json("bob", &format!("show {id}")).await["state"], "pending");
}

#[tokio::test]
async fn waiting_ends_with_the_decision() {
    let world = world().await;
    for (decide, status, last) in [
        ("approve ID", 0, "approved, g-......\nhint: ssh -J jit-bastion postgres@phi-db\n"),
        ("deny ID --note no", 1, "denied by bob at 2026-11-21T22:00:00.000Z: no\n"),
    ] {
        let wait = world.say("alice", "request phi-db --reason x --wait");
        let decide = async {
            let id = loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let pending = world.json("bob", "requests --pending").await;
                if let Some(id) = pending[0]["request"].as_str() {
                    break id.to_owned();
                }
            };
            world.say("bob", &decide.replace("ID", &id)).await
        };
        let (waited, decided) = tokio::join!(wait, decide);
        assert_eq!((waited.status, decided.status), (status, 0), "{waited:?}");
        assert!(ids(&waited.out).ends_with(last), "{waited:?}");
        assert!(waited.err.contains("filed: phi-db as postgres for 1h"), "{waited:?}");
        for grant in world.json("alice", "grants").await.as_array().unwrap() {
            world.say("alice", &format!("close {}", grant["grant"].as_str().unwrap())).await;
        }
    }
}
