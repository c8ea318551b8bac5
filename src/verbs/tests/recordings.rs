//! Recordings: found, played, masked, and refused where they were changed.

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

    let text = world.say("carol", &format!("replay {session} --because x")).await;
    assert_eq!((text.status, text.out.as_str(), text.err.as_str()), (0, "hello from phi-db\n", ""));
    let events = world.json("carol", &format!("replay {session}.1 --because x")).await;
    assert_eq!(events.as_array().unwrap().iter().filter(|e| e["masked"] == true).count(), 1, "what was typed is masked: {events}");
    assert!(!events.to_string().contains("secret"), "{events}");
    assert_eq!(world.say("alice", &format!("replay {session}.1 --because x")).await.status, 1);
    assert_eq!(world.say("carol", &format!("replay {session}.9 --because x")).await.status, 1);

    let mut caller = world.caller("carol").await;
    (caller.look.columns, caller.rows) = (Some(80), Some(24));
    let mut sink = Collected::default();
    let parsed = from_line(&format!("replay {session} --speed 100 --because x"), None).unwrap();
    assert_eq!(run(&world.broker, &caller, &parsed, &mut sink).await, 0);
    let drawn = String::from_utf8_lossy(&sink.out).into_owned();
    assert!(!drawn.contains("what for?"), "they said so: {drawn:?}");
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
    let said = world.say("carol", &format!("replay {session} --because x")).await;
    assert_eq!((said.status, said.out.as_str()), (70, ""));
    assert!(said.err.contains("(fault f-"), "{said:?}");
}

#[tokio::test]
async fn no_session_is_played_for_another() {
    let world = world().await;
    world.grant().await;
    let (one, other) = (world.visit().await, world.visit().await);
    let day = world.dir.path().join("recordings/2026/11/21");
    let moved = |from: &str, to: &str| std::fs::rename(day.join(from), day.join(to)).unwrap();
    let play = async |id: &str| world.say("carol", &format!("replay {id} --because x")).await;
    assert_eq!((play(&one).await.status, play(&other).await.status), (0, 0));
    moved(&one, "aside");
    moved(&other, &one);
    moved("aside", &other);
    for id in [&one, &other] {
        let said = play(id).await;
        assert_eq!((said.status, said.out.as_str()), (70, ""), "{said:?}");
    }
    // Signed by the bastion's own key, of the right session, and not what the log knows.
    moved(&one, "aside");
    moved(&other, &one);
    moved("aside", &other);
    let manifest = crate::recording::Manifest::parse(&std::fs::read(day.join(&one).join("manifest.json")).unwrap()).unwrap();
    let (journals, forged) = (world.dir.path().join("forged"), world.dir.path().join("forgeries"));
    let mut journal = Journal::create(&journals, &manifest.session, Level::Process).unwrap();
    let open = Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal: None });
    journal.keep(&[Frame { channel: 1, at: 0, body: open }]).unwrap();
    drop(journal);
    assert!(crate::recording::recover(&journals, &forged, &*world.signer).unwrap().remove(0).sealed.is_ok());
    std::fs::rename(day.join(&one), day.join("aside")).unwrap();
    std::fs::rename(forged.join(manifest.session.folder()), day.join(&one)).unwrap();
    assert_eq!((play(&one).await.status, play(&other).await.status), (70, 0));
    // A pipe in a recording's place keeps nobody waiting.
    let cast = std::fs::read_dir(day.join(&other)).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "cast"));
    let cast = cast.unwrap();
    std::fs::remove_file(&cast).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &cast, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(play(&other).await.status, 70);
}

#[tokio::test]
async fn whoever_opens_a_recording_says_what_for() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let opened = async || {
        let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
        rows.iter()
            .map(|row| String::from_utf8_lossy(&row.bytes).into_owned())
            .filter(|e| e.contains("recording-opened"))
            .collect::<Vec<_>>()
    };
    let said = world.say("carol", &format!("replay {session}")).await;
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.ends_with(&format!("hint: ssh jit-bastion replay {session}.1 --because WHY\n")), "{said:?}");
    assert_eq!(world.json("carol", &format!("replay {session}")).await["error"]["code"], "no-purpose");
    let mut caller = world.caller("carol").await;
    (caller.look.columns, caller.rows) = (Some(80), Some(24));
    let parsed = from_line(&format!("replay {session} --speed 100"), None).unwrap();
    for (typed, status) in [(b"".as_slice(), 1), (b"\x03", 1), (b"\r", 1), (b"case 12\r", 0)] {
        assert_eq!(opened().await.len(), 0, "nothing is opened before it is told what for");
        let mut sink = Collected { input: typed.to_vec(), ..Collected::default() };
        assert_eq!(run(&world.broker, &caller, &parsed, &mut sink).await, status, "{typed:?}");
        assert!(String::from_utf8_lossy(&sink.out).starts_with("what for? "), "{sink:?}");
    }
    let event = opened().await.remove(0);
    assert!(event.contains("carol") && event.contains(&session) && event.contains(r#""shown":"masked""#), "{event}");
    assert!(event.contains(r#""purpose":"#) && !event.contains("case 12"), "{event}");
}

#[tokio::test]
async fn what_is_masked_is_for_who_may_unmask() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let line = format!("replay {session} --unmask --because x");
    let said = world.say("carol", &line).await;
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.starts_with("no rule lets you see what is masked in recordings on phi-db\nhint: "), "{said:?}");
    let policy = POLICY.replace("\"replay\"]", "\"replay\", \"unmask\"]") + "\n[mask]\npatterns = ['from (phi)']\n";
    std::fs::write(world.dir.path().join("policy.toml"), policy).unwrap();
    world.broker.load_policy(&world.caller("local").await.actor).await.unwrap();
    assert_eq!(world.say("carol", &format!("replay {session} --because x")).await.out, "hello from ***-db\n");
    assert_eq!(world.say("carol", &line).await.out, "hello from phi-db\n");
    let masked = world.json("carol", &format!("replay {session} --because x")).await;
    assert!(masked.to_string().contains("hello from ***-db") && !masked.to_string().contains("secret"), "{masked}");
    let whole = world.json("carol", &line).await;
    assert!(whole.to_string().contains("secret") && whole.as_array().unwrap().iter().all(|e| e["masked"] == false), "{whole}");
    let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
    let shown: Vec<_> =
        rows.iter().map(|row| String::from_utf8_lossy(&row.bytes).into_owned()).filter(|e| e.contains("recording-opened")).collect();
    assert_eq!(shown.iter().map(|e| e.contains(r#""shown":"unmasked""#)).collect::<Vec<_>>(), [false, true, false, true]);
}

#[tokio::test]
async fn what_an_editor_showed_is_read_as_text_and_as_json() {
    let world = world().await;
    world.grant().await;
    let shown = Body::Out(b"$ less\r\n\x1b[?1049h\x1b[Hpatient 123-45-6789\x1b[?1049l$ cat x\r\nMeier\r\n\x1b[H\x1b[J$ exit\r\n");
    let session = world.seen(&[(1000, shown)]).await;
    let text = world.say("carol", &format!("replay {session} --because x")).await.out;
    assert_eq!(text, "patient ***********\n$ less\n$ cat x\nMeier\n$ exit\n");
    let told = world.json("carol", &format!("replay {session} --because x")).await;
    let lines: Vec<_> = told.as_array().unwrap().iter().filter(|e| e["kind"] == "o").map(|e| e["data"].as_str().unwrap()).collect();
    assert_eq!(lines.concat(), text.replace('\n', "\r\n"));
    assert_eq!(told.as_array().unwrap().iter().filter(|e| e["masked"] == true).count(), 1, "{told}");
}

#[tokio::test]
async fn the_files_of_a_session_are_one_opening_and_need_the_memory_of_one() {
    let world = world().await;
    world.grant().await;
    let long = "x".repeat(60_000);
    let acts: Vec<String> =
        (0..150).map(|n| serde_json::json!({ "act": "remove", "path": format!("/{n}/{long}"), "outcome": "ok" }).to_string()).collect();
    let moved: Vec<(u64, Body<'_>)> = acts.iter().map(|act| (1, Body::File(act))).collect();
    let cat: &[(u64, Body<'_>)] = &[(1, Body::Out(b"x\n"))];
    let exec = |command| (ChannelKind::Exec, Some(command), cat);
    let session = world
        .recorded(&[
            exec("cat a"),
            exec("cat b"),
            (ChannelKind::Exec, Some("scp -t /tmp/x"), moved.get(..1).unwrap()),
            (ChannelKind::Sftp, None, &moved),
        ])
        .await;
    world.rules(&POLICY.replace("\"replay\"]", "\"replay\", \"unmask\"]")).await;
    let cat = world.dir.path().join("recordings/2026/11/21").join(&session).join("01-exec.cast");
    std::fs::write(cat, "no recording any more").unwrap();
    let line = format!("replay {session} --files --unmask --because x");
    let told = world.json("carol", &line).await;
    assert_eq!(told.as_array().map(Vec::len), Some(151), "commands that move no files are not even opened");
    assert_eq!((world.told("recording-opened").await, told[0]["channel"].clone()), (1, format!("{session}.3").into()));
    let table = world.say("carol", &line).await;
    assert!(table.err.starts_with("there are more; `--json` tells all"), "{}", table.err);
    assert!(table.out.lines().count() > 100 && table.out.lines().count() < 150);
    assert_eq!(world.say("carol", &format!("replay {session}.4 --files --because x")).await.status, 0);
}

#[tokio::test]
async fn a_session_is_shown_to_whom_the_list_shows_it() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    for (who, sees) in [("alice", true), ("bob", true), ("carol", true), ("local", true), ("dave", false), ("vera", false)] {
        let said = world.say(who, &format!("show {session}")).await;
        assert_eq!(said.status == 0, sees, "{who}: {said:?}");
        let listed = world.json(who, "sessions").await.to_string().contains(&session);
        assert_eq!(listed, sees, "{who}");
    }
    let told = world.say("alice", &format!("show {}", session.to_uppercase())).await.out;
    for words in
        ["alice on phi-db as postgres, under g-", "kind", "shell", "\n0 connections: 0 bytes up", "\nhint: ssh -t jit-bastion replay s-"]
    {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    let told = world.json("alice", &format!("show {session}")).await;
    assert_eq!(
        (&told["session"], &told["connections"]["count"], &told["files"]["moved"]),
        (&session.as_str().into(), &0.into(), &0.into())
    );
    // A manifest that is not the one that was sealed tells nothing.
    let manifest = world.dir.path().join("recordings/2026/11/21").join(&session).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("alice", "alica", 1)).unwrap();
    let said = world.say("alice", &format!("show {session}")).await;
    assert!(said.status == 0 && said.out.contains("what it carried cannot be told: ") && said.out.contains("fault f-"), "{said:?}");
    assert!(world.json("alice", &format!("show {session}")).await["files"].is_null());
}
