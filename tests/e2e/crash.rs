//! `kill -9` under load: nothing that the user saw is lost, and everything plays and verifies after the next start.

use std::fs::{self, File};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::world::{Bastion, Cast, Out, pid, wait_for, wait_for_or};

/// Kills, more with SOAK=N.
fn kills() -> u32 {
    std::env::var("SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// A new bastion after so many kills, so that each comparison stays short.
const OF_ONE: u32 = 10;

/// SplitMix64: chance that a failing run can be told by its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What clients received at the moment of a kill, by session.
struct Seen {
    flood: (String, std::path::PathBuf),
    typist: (String, Vec<u8>),
}

/// A flood, somebody who types, and visits that come and go; killed at a moment of chance, and one time in three once more while it starts
/// again. Nothing that a client received is missing, everything plays, everything verifies.
#[test]
fn killed_at_any_moment_under_load_it_loses_nothing() {
    let seed = std::env::var("SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    let (mut chance, mut left, mut bytes) = (Chance(seed), kills(), 0);
    println!("{left} kills, SEED={seed}");
    while left > 0 {
        let mut bastion = Bastion::start();
        bastion.grant("alice", "phi-db", "4h");
        let mut rounds = Vec::new();
        for _ in 0..OF_ONE.min(left) {
            rounds.push(round(&mut bastion, &mut chance));
            left -= 1;
        }
        for seen in rounds {
            bytes += compare(&bastion, &seen);
        }
        // Each one of them plays, also those of visits that were half sealed.
        bastion.cast_files().iter().for_each(|file| drop(Cast::read(file)));
        bastion.local(&["verify"]).expect(0);
    }
    println!("{} kills, {bytes} bytes were seen and every one is kept; all plays, all verifies", kills());
}

fn round(bastion: &mut Bastion, chance: &mut Chance) -> Seen {
    let before = bastion.sessions().len();
    let file = bastion.aside(&format!("seen-{before}"));
    let seen = || fs::metadata(&file).map_or(0, |m| m.len());
    let mut ssh = bastion.ssh().jump("phi-db");
    // On a terminal, as fast as one may be filled, or without.
    if chance.below(2) == 0 {
        ssh = ssh.flag("-tt");
    }
    let flood = ssh.spawn_to("seq 1 1000000000", Out::File(File::create(&file).expect("a file")));
    wait_for("the first bytes", || (seen() > 0).then_some(()));
    let mut typist = bastion.ssh().jump("phi-db").spawn("while read line; do echo got $line; done");
    typist.write(b"one\n").until("got one");
    let sessions = bastion.sessions();
    let visit = bastion.ssh().jump("phi-db").spawn("echo short");
    std::thread::sleep(Duration::from_millis(chance.below(800)));
    typist.write(b"two\n");
    std::thread::sleep(Duration::from_millis(chance.below(20)));
    bastion.kill();
    flood.wait().expect(255);
    visit.wait();
    let typed = typist.wait().expect(255).stdout;
    if chance.below(3) == 0 {
        bastion.begin_and_kill(Duration::from_millis(chance.below(600)));
    }
    bastion.begin();
    Seen { flood: (sessions[before].clone(), file), typist: (sessions[before + 1].clone(), typed) }
}

/// How many bytes were seen, all of which are kept.
fn compare(bastion: &Bastion, seen: &Seen) -> u64 {
    let saw = fs::read(&seen.flood.1).expect("the file");
    fs::remove_file(&seen.flood.1).expect("ours");
    for (session, saw) in [(&seen.flood.0, &saw), (&seen.typist.0, &seen.typist.1)] {
        let kept = bastion.casts(session).first().map(|cast| cast.out()).unwrap_or_default();
        assert!(kept.starts_with(saw), "{session}: {} bytes were seen and {} kept", saw.len(), kept.len());
    }
    (saw.len() + seen.typist.1.len()) as u64
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
