//! Recordings: found, played, and refused where they were changed.

use super::*;

#[tokio::test]
async fn recordings_are_found_and_played() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let found = world.json("carol", "recordings --user alice --host db --since 2026-11-21T00:00:00Z").await;
    assert_eq!(found[0]["channel"], format!("{session}.1"));
    assert_eq!(found[0]["kind"], "shell");
    for none in ["--user bob", "--login admin", "--host phi-app", "--until 2026-11-21T00:00:00Z", "--since 2036-01-01T00:00:00Z"] {
        assert_eq!(world.json("carol", &format!("recordings {none}")).await, Value::Array(vec![]), "{none}");
    }
    assert_eq!(world.json("carol", "recordings --login postgres --until 2036-01-01T00:00:00Z").await[0]["channel"], format!("{session}.1"));
    let table = world.say("carol", "recordings").await.out;
    assert!(ids(&table).starts_with("recording   kind   user   host    login     started                   length  bytes"), "{table}");

    let text = world.say("carol", &format!("replay {session}")).await;
    assert_eq!((text.status, text.out.as_str(), text.err.as_str()), (0, "hello from phi-db\n", ""));
    let events = world.json("carol", &format!("replay {session}.1")).await;
    assert_eq!(events.as_array().unwrap().iter().filter(|e| e["masked"] == true).count(), 1, "what was typed is masked: {events}");
    assert!(!events.to_string().contains("secret"), "{events}");
    assert_eq!(world.say("alice", &format!("replay {session}.1")).await.status, 1);
    assert_eq!(world.say("carol", &format!("replay {session}.9")).await.status, 1);

    let mut caller = world.caller("carol").await;
    (caller.look.columns, caller.rows) = (Some(80), Some(24));
    let mut sink = Collected::default();
    let parsed = from_line(&format!("replay {session} --speed 100"), None).unwrap();
    assert_eq!(run(&world.broker, &caller, &parsed, &mut sink).await, 0);
    let drawn = String::from_utf8_lossy(&sink.out).into_owned();
    assert!(drawn.contains("hello from ") && !drawn.contains("]52;"), "{drawn:?}");
}

#[tokio::test]
async fn a_changed_recording_is_not_played() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let folder = world.dir.path().join("recordings/2026/11/21").join(&session);
    let file = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "cast")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = world.say("carol", &format!("replay {session}")).await;
    assert_eq!((said.status, said.out.as_str()), (70, ""));
    assert!(said.err.contains("(fault f-"), "{said:?}");
}
