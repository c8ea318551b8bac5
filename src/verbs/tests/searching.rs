//! `recordings --text`: who finds what, and that it is an event.

use super::*;
use crate::access::names::{Note, SessionId};

async fn last_event(world: &World) -> String {
    let size = world.broker.reader().head().await.unwrap().unwrap().size;
    let row = world.broker.reader().events(size - 1, 1).await.unwrap().remove(0);
    String::from_utf8(row.bytes).unwrap()
}

#[tokio::test]
async fn recordings_are_found_by_what_stood_on_the_screen() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    assert_eq!(world.json("carol", "recordings --text from phi-db").await, Value::Array(vec![]), "not in the index yet");
    let text = world.dir.path().join("journal").join(format!("{session}.text"));
    assert!(text.exists());
    assert_eq!((world.broker.index_waiting().await.unwrap(), text.exists()), (1, false));
    assert_eq!(world.broker.index_waiting().await.unwrap(), 0);

    let found = world.json("carol", "recordings --text HELLO  from --user alice --host db").await;
    assert_eq!((&found[0]["channel"], &found[0]["line"]), (&format!("{session}.1").into(), &"hello from phi-db".into()), "{found}");
    assert_eq!((&found[0]["at"], found.as_array().map(Vec::len)), (&"0:00.1".into(), Some(1)));
    assert_eq!(found[0]["replay"], format!("ssh -t jit-bastion replay {session}.1 --at 0:00.1"));
    let said = world.say("carol", "recordings --text from phi").await;
    assert_eq!(
        ids(&said.out),
        "s-.......1  alice on phi-db as postgres, 2026-11-21T22:00:00.000Z\n     0:00.1  hello from phi-db\n             ssh -t jit-bastion replay s-.......1 --at 0:00.1\n"
    );
    let event = last_event(&world).await;
    assert!(event.contains("\"recordings-searched\"") && event.contains("\"actor\":\"carol\"") && !event.contains("from phi"), "{event}");
    let commitment = serde_json::from_str::<Value>(&event).unwrap()["data"]["text"].as_str().unwrap().to_owned();
    assert_eq!(world.broker.reader().text(&commitment).await.unwrap().as_deref(), Some("from phi"));
    assert!(event.contains("\"lines\":1") && !event.contains("\"purpose\""), "{event}");
    world.say("carol", "recordings --text from phi --host db --because case 12").await;
    let event: Value = serde_json::from_str(&last_event(&world).await).unwrap();
    assert_eq!((&event["data"]["lines"], &event["data"]["host"]), (&1.into(), &"phi-db".into()), "{event}");
    let purpose = event["data"]["purpose"].as_str().unwrap();
    assert_eq!(world.broker.reader().text(purpose).await.unwrap().as_deref(), Some("case 12"));
    world.say("carol", "recordings --text nowhere to be seen").await;
    assert!(last_event(&world).await.contains("\"lines\":0"), "that nothing was found is told too");

    // What was typed is not on the screen; another host is another.
    for none in ["--text secret", "--text from phi-db --host phi-app", "--text from phi-db --user bob", "--text hello phi-db"] {
        assert_eq!(world.json("carol", &format!("recordings {none}")).await, Value::Array(vec![]), "{none}");
    }
    assert_eq!(world.say("carol", "recordings --text ab").await.status, 1);
    assert_eq!(world.json("local", "recordings --text from phi-db").await[0]["session"], session);
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_play() {
    let world = world().await;
    world.grant().await;
    world.visit().await;
    world.broker.index_waiting().await.unwrap();
    for who in ["alice", "bob", "dave", "vera"] {
        let size = world.broker.reader().head().await.unwrap().unwrap().size;
        let said = world.say(who, "recordings --text from phi-db").await;
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{who}");
        assert_eq!(world.broker.reader().head().await.unwrap().unwrap().size, size);
    }
    let local = Actor::Local("root".into());
    for (may, finds) in [
        ("do = [\"recordings\", \"replay\"]\nhosts = [\"web\"]", 0),
        ("do = [\"recordings\"]\nhosts = [\"*\"]\n[[may]]\nwho = [\"role:auditor\"]\ndo = [\"replay\"]\nhosts = [\"web\"]", 0),
        ("do = [\"recordings\", \"replay\"]\nhosts = [\"phi-*\"]", 1),
    ] {
        let policy = POLICY.replace("do = [\"sessions\", \"recordings\", \"replay\"]\nhosts = [\"*\"]", may);
        std::fs::write(world.dir.path().join("policy.toml"), policy).unwrap();
        world.broker.load_policy(&local).await.unwrap();
        let found = world.json("carol", "recordings --text from phi-db").await;
        assert_eq!(found.as_array().map(Vec::len), Some(finds), "{may}: {found}");
    }
}

#[tokio::test]
async fn what_is_covered_is_found_by_nobody_who_may_not_see_it() {
    let world = world().await;
    world.grant().await;
    let typed = [(1000, Body::Out(b"MRN: 00123456 Meier\r\n")), (2000, Body::Out(b"ssn 123-45-678")), (9_000_000, Body::Out(b"9\r\n"))];
    world.seen(&typed).await;
    world.broker.index_waiting().await.unwrap();
    let finds = async |text: &str| world.json("carol", &format!("recordings --text {text}")).await;
    for hidden in ["MRN: 0", "MRN: 00123456", "00123456", "0123456 mei", "123-45-678", "123-45-6789", "ssn 123"] {
        assert_eq!(finds(hidden).await, Value::Array(vec![]), "{hidden}");
    }
    assert_eq!(finds("meier").await[0]["line"], "MRN: ******** Meier");
    let half = finds("ssn").await;
    assert!(half.as_array().unwrap().iter().all(|hit| !hit["line"].as_str().unwrap().contains('5')), "{half}");
    world.rules(&POLICY.replace("\"replay\"]", "\"replay\", \"unmask\"]")).await;
    let found = finds("MRN: 00123456").await;
    assert_eq!(found[0]["line"], "MRN: ******** Meier", "whoever may see it finds by it: {found}");
}

#[tokio::test]
async fn a_text_that_is_erased_is_not_found_and_its_recording_plays() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    world.broker.index_waiting().await.unwrap();
    let (local, id) = (Actor::Local("root".into()), SessionId::parse(&session).unwrap());
    let why = || Note::parse("a patient's name").unwrap();
    assert_eq!(world.broker.erase_text(&local, &id, why()).await.unwrap().pieces, 1);
    let event = last_event(&world).await;
    assert!(event.contains("\"text-erased\"") && !event.contains("patient"), "{event}");
    assert_eq!(world.json("carol", "recordings --text from phi-db").await, Value::Array(vec![]));
    assert!(world.broker.erase_text(&local, &id, why()).await.is_err());
    assert_eq!(world.say("carol", &format!("replay {session} --because look at it again")).await.out, "hello from phi-db\n");
}

#[tokio::test]
async fn a_text_that_is_erased_before_it_came_in_does_not_come_in() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let text = world.dir.path().join("journal").join(format!("{session}.text"));
    let (local, id) = (Actor::Local("root".into()), SessionId::parse(&session).unwrap());
    assert_eq!(world.broker.erase_text(&local, &id, Note::parse("a patient's name").unwrap()).await.unwrap().pieces, 0);
    world.broker.index_waiting().await.unwrap();
    assert!(!text.exists());
    assert_eq!(world.json("carol", "recordings --text from phi-db").await, Value::Array(vec![]));
}

#[tokio::test]
async fn a_text_that_cannot_be_read_keeps_no_other_out() {
    let world = world().await;
    world.grant().await;
    let mut ids = [world.visit().await, world.visit().await];
    ids.sort();
    let text = |id: &str| world.dir.path().join("journal").join(format!("{id}.text"));
    let [bad, good] = &ids;
    std::fs::remove_file(text(bad)).unwrap();
    std::fs::create_dir(text(bad)).unwrap();
    assert!(world.broker.index_waiting().await.is_err(), "it is a fault");
    let found = world.json("carol", "recordings --text from phi-db").await;
    assert_eq!((&found[0]["session"], found.as_array().map(Vec::len)), (&good.as_str().into(), Some(1)), "{found}");
    assert!(text(bad).exists() && !text(good).exists());
}

#[tokio::test]
async fn policy_keeps_text_out_of_the_index() {
    let world = world().await;
    let local = Actor::Local("root".into());
    assert!(world.grant().await.1.starts_with("g-"));
    assert!(world.enter().await.index);
    std::fs::write(world.dir.path().join("policy.toml"), format!("{POLICY}\n[[require]]\nhosts = [\"label:phi\"]\nindex = false\n"))
        .unwrap();
    world.broker.load_policy(&local).await.unwrap();
    assert!(!world.enter().await.index, "a floor that came since counts");
    std::fs::write(world.dir.path().join("policy.toml"), POLICY.replacen("max-duration", "index = false\nmax-duration", 1)).unwrap();
    assert!(world.broker.load_policy(&local).await.is_ok());
}
