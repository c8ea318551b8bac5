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
