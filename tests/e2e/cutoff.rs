//! The cut, in the five cases: from the end time to the host's connection closed under 100 ms, to the client's under 1 s. The bastion's
//! own measure is read from its log, and the outside is looked at too.

use std::time::{Duration, Instant};

use rustix::process::Signal;

pub use crate::world::cuts::{Case, cut};
use crate::world::{Bastion, Running, wait_for_or};

#[test]
fn cut_while_reading() {
    promised(Case::Reading);
}

#[test]
fn cut_while_idle() {
    promised(Case::Idle);
}

#[test]
fn cut_while_flooding() {
    promised(Case::Flooding);
}

#[test]
fn cut_of_a_stopped_client() {
    promised(Case::StoppedClient);
}

#[test]
fn cut_of_a_stopped_host() {
    promised(Case::StoppedHost);
}

/// The promise, at the first cut. A machine that is late itself is forgiven its own lateness, as often as a cut waits for a turn of a thread:
/// the knife, the relay, the goodbye to each side. On a quiet one that is a millisecond or two. `make bench` has the figures.
#[track_caller]
fn promised(case: Case) {
    let bastion = Bastion::start();
    let late = cut(&bastion, case);
    let forgiven = TURNS * late.machine;
    println!("{case:?}: {} ms at the host, {} ms at the client; the machine: {} ms", late.host, late.client, late.machine);
    assert!(late.host < 100 + forgiven, "{case:?}: the host's connection fell {} ms late, the machine {}", late.host, late.machine);
    assert!(late.client < 1000 + forgiven, "{case:?}: the client's connection fell {} ms late, the machine {}", late.client, late.machine);
    bastion.local(&["verify"]).expect(0);
}

/// Turns of threads between the end time and a closed socket, at most.
const TURNS: u64 = 8;

#[test]
fn the_last_words_are_shown_and_the_status_is_255() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "4s");
    let out = bastion.ssh().jump("phi-db").run("trap '' TERM; while :; do echo tick; sleep 0.05; done").expect(255);
    assert!(out.stderr.contains("your time is up"), "{}", out.told());
}

#[test]
fn a_grant_revoked_by_another_process_falls_within_a_second() {
    let bastion = Bastion::start();
    let mut late = Vec::new();
    for _ in 0..3 {
        let grant = bastion.grant("alice", "phi-db", "1h");
        let mut inside = bastion.ssh().jump("phi-db").spawn("echo in; sleep 100");
        inside.until("in");
        bastion.local(&["revoke", &grant, "--note", "the host is being replaced"]).expect(0);
        let revoked = Instant::now();
        let out = inside.finish().expect(255);
        late.push(revoked.elapsed());
        assert!(out.stderr.contains("revoked"), "{}", out.told());
        assert_eq!(ending(&bastion), "revoked");
        if late.iter().any(|late| *late < Duration::from_secs(1)) {
            break;
        }
    }
    assert!(late.iter().any(|late| *late < Duration::from_secs(1)), "{late:?} after each revocation");
    assert!(late.iter().all(|late| *late < Duration::from_secs(3)), "{late:?} after each revocation");
}

#[test]
fn a_grant_that_its_holder_closes_falls_at_once() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    let mut inside = bastion.ssh().jump("phi-db").spawn("echo in; yes");
    inside.until("in");
    bastion.verb("alice", &format!("close {grant}")).expect(0);
    inside.finish().expect(255);
    assert_eq!(ending(&bastion), "closed");
}

#[test]
fn what_a_command_started_dies_with_it() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "4s");
    let ssh = bastion.ssh().jump("phi-db");
    let terminal = ssh.clone().flag("-tt").spawn("sleep 321.25 & sleep 321.25");
    // sshd hands no signals to commands of root
    let plain = (!rustix::process::geteuid().is_root()).then(|| ssh.spawn("sleep 321.25 & sleep 321.25"));
    let sleeping = || crate::world::processes().iter().filter(|p| p.2.starts_with("sleep 321.25")).count();
    wait_for_or(Duration::from_secs(3), || (sleeping() >= 2).then_some(()), || "the commands to run".into());
    terminal.wait().expect(255);
    plain.map(Running::wait);
    wait_for_or(Duration::from_secs(10), || (sleeping() == 0).then_some(()), || "the process group to be killed".into());
}

#[test]
fn a_stopped_client_holds_up_no_other_cut() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    let stopped = bastion.ssh().jump("phi-db").spawn("echo in; yes");
    stopped.until("in");
    let mut other = bastion.ssh().jump("phi-db").spawn("echo in; sleep 100");
    other.until("in");
    stopped.signal_group(Signal::STOP);
    bastion.local(&["revoke", &grant, "--note", "now"]).expect(0);
    other.finish().expect(255);
    bastion.settled();
    stopped.signal_group(Signal::CONT);
    stopped.wait().expect(255);
}

#[track_caller]
fn ending(bastion: &Bastion) -> String {
    let session = bastion.sessions().pop().expect("a session");
    bastion.event("session-closed", &session)["data"]["ending"].as_str().unwrap_or_default().to_string()
}
