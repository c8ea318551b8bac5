//! Tampering shows: one byte of a recording or of an event is enough.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::{Bastion, files, run};

/// A bastion with two finished sessions, stopped.
fn past() -> Bastion {
    let mut bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("echo the first visit").expect(0);
    bastion.ssh().jump("phi-db").run("echo the second visit").expect(0);
    bastion.settled();
    bastion.local(&["verify"]).expect(0);
    bastion.stop();
    bastion.local(&["verify"]).expect(0);
    bastion
}

/// Changes the file, expects `verify` to fail and to name `words`, and puts it back.
fn shows(bastion: &Bastion, file: &Path, change: impl FnOnce(&mut Vec<u8>), words: &str) {
    let before = fs::read(file).expect("a file");
    let mut after = before.clone();
    change(&mut after);
    fs::write(file, &after).expect("root writes where it likes");
    let found = bastion.local(&["verify"]).expect(1);
    let told = format!("{}{}", found.text(), found.stderr);
    assert!(told.contains(words), "{words:?} is named: {told}");
    fs::write(file, before).expect("put back");
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_changed_byte_in_a_recording_is_found() {
    let bastion = past();
    let cast = bastion.cast_files().remove(0);
    let session = cast.parent().and_then(Path::file_name).expect("its session").to_string_lossy().into_owned();
    shows(&bastion, &cast, |bytes| *bytes.last_mut().expect("bytes") ^= 1, &session);
    shows(&bastion, &cast, |bytes| bytes.truncate(bytes.len() - 3), &session);
    let manifest = cast.with_file_name("manifest.json");
    shows(&bastion, &manifest, |bytes| *bytes = String::from_utf8_lossy(bytes).replacen("alice", "alica", 1).into_bytes(), &session);

    let aside = bastion.aside("aside");
    fs::rename(&cast, &aside).expect("moved");
    bastion.local(&["verify"]).expect(1);
    fs::rename(&aside, &cast).expect("moved back");
    fs::write(cast.with_file_name("09-exec.cast"), "{}").expect("a foreign file");
    bastion.local(&["verify"]).expect(1);
    fs::remove_file(cast.with_file_name("09-exec.cast")).expect("gone");

    let folder = cast.parent().expect("its folder");
    fs::rename(folder, bastion.aside("whole")).expect("moved");
    let found = bastion.local(&["verify"]).expect(1);
    assert!(found.told().contains(&session), "{}", found.told());
}

#[test]
fn a_changed_event_is_found() {
    let bastion = past();
    let store = files(&bastion.dir(), "db").remove(0);
    let sql = |script: &str| {
        let code = "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1]);d.execute(sys.argv[2]);d.commit();d.execute('PRAGMA wal_checkpoint(TRUNCATE)')";
        run(Command::new("/usr/bin/python3").args(["-c", code]).arg(&store).arg(script), b"").expect(0)
    };
    let keep = fs::read(&store).expect("the store");
    for (what, script) in [
        (
            "a user's name",
            "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'alice', 'alica') AS BLOB) WHERE name = 'session-opened'",
        ),
        ("a removed event", "DELETE FROM events WHERE seq = (SELECT max(seq) - 2 FROM events)"),
        ("a cut tail", "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)"),
        ("two that changed places", "UPDATE events SET body = (SELECT body FROM events WHERE seq = 3) WHERE seq = 4"),
    ] {
        sql(script);
        let found = bastion.local(&["verify"]);
        assert_eq!(found.code, Some(1), "{what}: {}", found.told());
        fs::write(&store, &keep).expect("put back");
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{beside}", store.display()));
        }
        bastion.local(&["verify"]).expect(0);
    }
}

/// A copy of `from` that stands for itself.
fn copied(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"").expect(0);
}

#[test]
fn copies_of_the_folder_and_the_log_prove_themselves_elsewhere() {
    let bastion = past();
    let place = |name: &str| bastion.aside(name).display().to_string();
    let (key, copy, log) = (place("checkpoint.pub"), place("copy"), place("log.jsonl"));
    fs::copy(bastion.dir().join("state/checkpoint.pub"), &key).expect("the key");
    bastion.local(&["export", "--log", "--out", &log]).expect(0);
    copied(&bastion.dir().join("recordings"), Path::new(&copy));
    // No config is named from here on.
    let verify = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        run(command.arg("verify").args(["--recordings", &copy, "--public-key", &key]).args(more), b"")
    };
    let found = verify(&["--log", &log]).expect(0);
    assert!(found.text().contains("2 sealed sessions"), "{}", found.told());
    verify(&[]).expect(0);

    let cast = files(Path::new(&copy), "cast").remove(0);
    let day = cast.ancestors().nth(2).expect("its day").to_owned();
    let aside = bastion.aside("day");
    fs::rename(&day, &aside).expect("moved");
    verify(&[]).expect(0);
    let found = verify(&["--log", &log, "--json"]).expect(1);
    let told: serde_json::Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let missing = told["recordings"]["findings"].as_array().expect("a list");
    assert_eq!(missing.len(), bastion.sessions().len().min(2), "{told}");
    assert!(missing.iter().all(|f| f["finding"] == "missing" && f["session"].is_string() && f["path"].is_string()), "{told}");
    fs::rename(&aside, &day).expect("moved back");

    // The log was cut, an entry was changed, two changed places.
    let whole = fs::read_to_string(&log).expect("the copy");
    let lines: Vec<&str> = whole.lines().collect();
    let entries = lines.iter().filter(|line| line.starts_with('{')).count();
    let without =
        |gone: usize| lines.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, line)| format!("{line}\n")).collect::<String>();
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    for (what, text) in [
        ("a cut tail", without(entries - 2)),
        ("a missing entry", without(3)),
        ("a changed name", whole.replacen("alice", "alica", 1)),
        ("two that changed places", swapped.join("\n") + "\n"),
    ] {
        fs::write(&log, text).expect("written");
        let found = verify(&["--log", &log]);
        assert_eq!(found.code, Some(1), "{what}: {}", found.told());
    }
    let heads = place("heads");
    fs::copy(bastion.dir().join("state/checkpoints"), &heads).expect("the heads");
    assert!(verify(&["--log", &heads]).expect(1).told().contains("export --log"));
}

#[test]
fn an_export_proves_itself_with_nothing_else() {
    let bastion = past();
    let session = bastion.sessions().remove(0);
    let file = bastion.aside("evidence.tar");
    let out = file.display().to_string();
    bastion.local(&["export", "--session", &session, "--out", &out, "--to", "vera"]).expect(1);
    bastion.local(&["export", "--session", &session, "--out", &out, "--purpose", "case 4711"]).expect(0);
    let event = bastion.events().into_iter().find(|e| e["event"] == "recordings-exported").expect("the event");
    assert!(event["actor"].as_str().is_some_and(|actor| actor.starts_with("local:")), "{event}");
    assert!(!event.to_string().contains("4711"), "{event}");
    bastion.local(&["export", "--session", &session, "--out", &out]).expect(1);

    let key = bastion.aside("checkpoint.pub");
    fs::copy(bastion.dir().join("state/checkpoint.pub"), &key).expect("the key");
    let verify = |file: &Path, key: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        command.arg("verify").arg("--export").arg(file);
        if let Some(key) = key {
            command.arg("--key").arg(key);
        }
        run(&mut command, b"")
    };
    let said = verify(&file, Some(&key)).expect(0);
    assert!(said.text().contains(&format!("{session}: 1 recordings")), "{}", said.told());
    assert!(verify(&file, None).expect(0).text().contains("compare it with the one you keep"));

    // Any byte: those of the list and the ends, and some in between.
    let good = fs::read(&file).expect("the export");
    let bad = bastion.aside("bad.tar");
    let step = good.len() / 40;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1, 600, 1100]) {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        fs::write(&bad, wrong).expect("written");
        let found = verify(&bad, Some(&key));
        assert_eq!(found.code, Some(1), "byte {at}: {}", found.told());
    }
    fs::write(&bad, &good[..good.len() - 512]).expect("written");
    verify(&bad, Some(&key)).expect(1);

    // Without us, as its README says.
    let home = bastion.aside("unpacked");
    fs::create_dir(&home).expect("a folder");
    run(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&home), b"").expect(0);
    let home = home.join(&session);
    let readme = fs::read_to_string(home.join("README.txt")).expect("its page");
    let lines: Vec<&str> = readme.lines().skip_while(|line| !line.starts_with("1. ")).collect();
    let commands = lines.iter().filter(|line| line.starts_with("     ")).map(|line| format!("{}\n", &line[5..])).collect::<String>();
    let script = format!("set -e\n{}", commands.replace("sha256sum *.cast;", "sha256sum *.cast >/dev/null;"));
    let ran = run(Command::new("bash").arg("-c").arg(&script).current_dir(&home), b"").expect(0);
    assert!(ran.text().matches("is in the log").count() >= 4 && ran.text().contains("Signature Verified Successfully"), "{}", ran.told());
    assert!(fs::read_to_string(home.join("texts.json")).expect("texts").contains("look after ticket 4711"));
}
