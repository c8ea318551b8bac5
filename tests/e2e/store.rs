//! The store goes away under people's feet, and comes back; and a bastion that was destroyed comes back from its backup.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::world::{Bastion, Stopped, descendants, files, run, wait_for};

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

    let well = bastion.local(&["status", "--json"]).expect(0);
    let well: Value = serde_json::from_slice(&well.stdout).expect("JSON");
    assert_eq!((&well["ok"], &well["serving"], &well["live_sessions"]), (&true.into(), &true.into(), &1.into()), "{well}");

    let (file, away) = (store(&bastion), bastion.aside("away.db"));
    fs::rename(&file, &away).expect("moved");
    let logged = || bastion.log().contains("the store is lost").then_some(());
    wait_for("the loss to be noticed", logged);
    inside.write(b"two\n").until("got two");
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    assert!(refused.told().contains("store does not answer"), "{}", refused.told());
    let ended = inside.finish().expect(255);
    assert!(ended.told().contains("the bastion lost its store"), "{}", ended.told());
    let told = bastion.ssh().jump("phi-db").run("true").expect(255).told();
    let fault = told.split("fault ").nth(1).and_then(|rest| rest.get(..10)).expect("a fault's id");
    assert!(fault.starts_with("f-") && bastion.log().contains(fault), "{fault} is not in the log: {told}");

    let unwell = bastion.local(&["status"]).expect(1);
    assert!(unwell.text().contains("DOES NOT ANSWER") && unwell.text().contains("unwritten"), "{}", unwell.text());

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

/// A PostgreSQL server of this test alone.
struct Server {
    dir: PathBuf,
    url: String,
}

impl Server {
    fn start() -> Self {
        let parent = tempfile::Builder::new().prefix("jit-pg-").tempdir().expect("a folder").keep();
        let dir = parent.with_extension("d");
        fs::remove_dir(&parent).expect("ours");
        let url = Self::script("start", &dir).trim().to_owned();
        Self { dir, url }
    }

    fn script(what: &str, dir: &std::path::Path) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres.sh");
        run(Command::new(script).arg(what).arg(dir), b"").expect(0).text()
    }

    /// The server's processes, its own first.
    fn processes(&self) -> Vec<u32> {
        let file = fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("it runs");
        let own = file.lines().next().and_then(|line| line.parse().ok()).expect("its number");
        [vec![own], descendants(own)].concat()
    }

    fn events(&self) -> Vec<Value> {
        let query = "SELECT convert_from(body, 'UTF8') FROM events ORDER BY seq";
        let output = run(Command::new("psql").arg(&self.url).args(["-Atc", query]), b"").expect(0);
        output.text().lines().map(|line| serde_json::from_str(line).expect("canonical JSON")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Self::script("stop", &self.dir);
    }
}

#[test]
fn a_server_that_is_stopped_is_a_lost_store_and_one_that_crashed_comes_back() {
    let server = Server::start();
    let mut bastion = Bastion::start();
    bastion.stop();
    // Another store has other keys, and its log other heads.
    fs::remove_file(bastion.dir().join("state/checkpoints")).expect("ours");
    let config = bastion.dir().join("jit-bastion.toml");
    let text = fs::read_to_string(&config).expect("the config");
    fs::write(&config, format!("store = \"{}\"\n{text}\n[limits]\nstore-grace = \"12s\"\n", server.url)).expect("written");
    bastion.begin();
    bastion.grant("alice", "phi-db", "1h");
    let mut inside = bastion.ssh().jump("phi-db").spawn("while read line; do echo got $line; done");
    inside.write(b"one\n").until("got one");

    let stopped = Stopped::stop(server.processes());
    wait_for("the loss to be noticed", || bastion.log().contains("the store is lost").then_some(()));
    inside.write(b"two\n").until("got two");
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    assert!(refused.told().contains("store does not answer"), "{}", refused.told());
    assert!(inside.finish().expect(255).told().contains("the bastion lost its store"));
    drop(stopped);
    let named = |name: &str| server.events().into_iter().rev().find(|event| event["event"] == name);
    wait_for("the store to be back", || named("store-back"));
    let closed = named("session-closed").expect("the end was written");
    assert_eq!(closed["data"]["ending"], "store-lost", "{closed}");
    assert!(closed["data"]["happened_us"].as_u64().is_some_and(|at| at < closed["time_us"].as_u64().unwrap_or(0)), "{closed}");
    let visits = || (bastion.ssh().jump("phi-db").run("true").code == Some(0)).then_some(());
    // The server takes a moment to see that the connection with the node's name was lost.
    wait_for("a visit to work again", visits);

    // Killed as a crash kills it: every connection falls, and it recovers by itself.
    let backend = server.processes().pop().expect("a backend");
    rustix::process::kill_process(crate::world::pid(backend), rustix::process::Signal::KILL).expect("ours");
    wait_for("a visit to work again", visits);
    bastion.local(&["verify"]).expect(0);
}
