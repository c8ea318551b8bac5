//! `kill -9` under load: nothing that the user saw is lost, and everything plays and verifies after the next start.

use std::fs::{self, File};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::world::{Bastion, Out, pid, wait_for, wait_for_or};

/// Rounds, more with SOAK=N.
fn rounds() -> u32 {
    std::env::var("SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

#[test]
fn kill_nine_under_load_loses_nothing() {
    let mut bastion = Bastion::start();
    for round in 0..rounds() {
        bastion.grant("alice", "phi-db", "1h");
        let file = bastion.aside(&format!("seen-{round}"));
        let seen = || fs::metadata(&file).map_or(0, |m| m.len());
        let client = bastion.ssh().jump("phi-db").spawn_to("seq 1 1000000000", Out::File(File::create(&file).expect("a file")));
        wait_for("the first bytes", || (seen() > 0).then_some(()));
        let mut typist = bastion.ssh().jump("phi-db").spawn("while read line; do echo got $line; done");
        typist.write(b"one\n").until("got one");
        let enough = u64::from(round + 1) * 3_000_000 + u64::from(round) * 77_777;
        wait_for("a good load", || (seen() > enough).then_some(()));
        typist.write(b"two\n").until("got two");
        bastion.kill();
        client.wait().expect(255);
        typist.wait().expect(255);

        bastion.begin();
        bastion.settled();
        let sessions = bastion.sessions();
        let (load, typed) = (&sessions[sessions.len() - 2], &sessions[sessions.len() - 1]);
        let kept = bastion.casts(load)[0].out();
        let saw = fs::read(&file).expect("the file");
        assert!(kept.len() >= saw.len(), "round {round}: {} bytes were seen and {} kept", saw.len(), kept.len());
        assert!(kept.starts_with(&saw), "round {round}: what was seen is what was kept");
        assert_eq!(bastion.casts(typed)[0].out(), b"got one\ngot two\n");
        bastion.local(&["verify"]).expect(0);
        fs::remove_file(&file).expect("ours");
    }
}

#[test]
fn a_demo_that_was_killed_goes_on_where_it_was() {
    let mut bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    let old = [bastion.sshd("phi-db"), bastion.sshd("phi-app")];
    bastion.kill();
    bastion.begin();
    for id in old {
        let gone = || (!fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("sshd"))).then_some(());
        wait_for_or(Duration::from_secs(10), gone, || format!("the orphan {id} to be cleaned up"));
    }
    assert!(bastion.verb("alice", "grants").expect(0).text().contains(&grant));
    bastion.ssh().jump("phi-db").run("true").expect(0);
    bastion.ssh().jump("phi-app").run("true").expect(255);
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_second_demo_on_the_same_folder_is_refused() {
    let bastion = Bastion::start();
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
    second.arg("demo").arg("--dir").arg(bastion.dir()).args(["--port", "0"]);
    let refused = crate::world::run(&mut second, b"").expect(1);
    assert!(!refused.stderr.is_empty());
    bastion.verb("alice", "whoami").expect(0);
}

#[test]
fn a_host_that_dies_ends_the_session_with_a_reason() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let mut inside = bastion.ssh().jump("phi-db").spawn("echo in; sleep 100");
    inside.until("in");
    for id in bastion.visitors("phi-db") {
        let _ = kill_process(pid(id), Signal::KILL);
    }
    inside.finish().expect(255);
    let closed = bastion.event("session-closed", &bastion.sessions()[0]);
    assert_eq!(closed["data"]["ending"], "peer-gone", "{closed}");
}
