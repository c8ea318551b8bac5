//! The store goes away under people's feet, and comes back; and a bastion that was destroyed comes back from its backup.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::world::{Bastion, files, run, wait_for};

/// The store's file.
fn store(bastion: &Bastion) -> PathBuf {
    files(&bastion.dir(), "db").remove(0)
}

#[test]
fn a_lost_store_lets_nobody_in_and_ends_who_is_inside_after_the_grace() {
    let mut bastion = Bastion::start();
    bastion.stop();
    let config = bastion.dir().join("jit-bastion.toml");
    let text = fs::read_to_string(&config).expect("the config");
    fs::write(&config, format!("{text}\n[limits]\nstore-grace = \"4s\"\n")).expect("written");
    bastion.begin();
    bastion.grant("alice", "phi-db", "1h");
    let mut inside = bastion.ssh().jump("phi-db").spawn("while read line; do echo got $line; done");
    inside.write(b"one\n").until("got one");

    let (file, away) = (store(&bastion), bastion.aside("away.db"));
    fs::rename(&file, &away).expect("moved");
    let logged = || bastion.log().contains("the store is lost").then_some(());
    wait_for("the loss to be noticed", logged);
    inside.write(b"two\n").until("got two");
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    assert!(refused.told().contains("store does not answer"), "{}", refused.told());
    let ended = inside.finish().expect(255);
    assert!(ended.told().contains("the bastion lost its store"), "{}", ended.told());
    assert!(bastion.ssh().jump("phi-db").run("true").expect(255).told().contains("fault f-"));

    fs::rename(&away, &file).expect("moved back");
    let back = bastion.event("store-back", "");
    assert_eq!(back["data"]["written"], 1, "{back}");
    let session = bastion.sessions().remove(0);
    let closed = bastion.event("session-closed", &session);
    assert_eq!(closed["data"]["ending"], "store-lost", "{closed}");
    assert!(closed["data"]["written_late_us"].as_u64().is_some_and(|late| late > 0), "{closed}");
    assert_eq!(bastion.casts(&session)[0].out(), b"got one\ngot two\n");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    bastion.settled();
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_destroyed_bastion_comes_back_from_the_backup_of_a_running_one() {
    let mut bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("echo before").expect(0);
    bastion.settled();
    let mut inside = bastion.ssh().jump("phi-db").spawn("while read line; do echo got $line; done");
    inside.write(b"one\n").until("got one");

    let backup = bastion.aside("backup");
    let dir = backup.display().to_string();
    let made = bastion.local(&["backup", &dir, "--recordings"]).expect(0);
    assert!(made.text().contains("recordings: 1 sealed sessions"), "{}", made.text());
    bastion.event("backup-made", "");
    assert!(bastion.local(&["backup", &dir]).expect(1).told().contains("overwrites nothing"));
    let passphrase = fs::read_to_string(bastion.dir().join("passphrase")).expect("the passphrase");
    let found = run(Command::new("grep").args(["-rlF", passphrase.trim(), &dir]), b"");
    assert_eq!(found.text(), "", "the passphrase is in no file of it");
    inside.write(b"two\n").until("got two");
    inside.close_stdin().finish().expect(0);
    bastion.settled();
    bastion.stop();

    let ruins = bastion.aside("ruins");
    fs::create_dir(&ruins).expect("a folder");
    for name in ["state", "recordings", "policy.toml", "jit-bastion.toml"] {
        fs::rename(bastion.dir().join(name), ruins.join(name)).expect("moved");
    }
    let checked = run(Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&backup), b"");
    assert_eq!(checked.expect(0).text(), "");
    let page = fs::read_to_string(backup.join("RESTORE.txt")).expect("the page");
    for line in page.lines().filter_map(|line| line.strip_prefix("     ")) {
        run(Command::new("sh").args(["-c", line]).current_dir(&backup), b"").expect(0);
    }

    bastion.local(&["check"]).expect(0);
    bastion.begin();
    bastion.local(&["verify"]).expect(0);
    assert!(bastion.verb("alice", "grants").expect(0).text().contains(&grant));
    let sessions = bastion.sessions();
    assert_eq!(sessions.len(), 2, "the one that was live was interrupted for this bastion");
    bastion.event("session-recovered", &sessions[1]);
    assert_eq!(bastion.casts(&sessions[0])[0].out(), b"before\n");
    assert_eq!(bastion.casts(&sessions[1])[0].out(), b"got one\n");
    bastion.ssh().jump("phi-db").run("echo after").expect(0);
    bastion.settled();
    bastion.local(&["verify"]).expect(0);
    let old = ruins.join("state/checkpoints").display().to_string();
    let forked = bastion.local(&["verify", "--checkpoints", &old]).expect(1);
    assert!(forked.told().contains("NOT OK"), "{}", forked.told());
}
