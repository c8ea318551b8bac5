//! Two roads to a host, side by side in one run: plain OpenSSH `ssh -J` through an sshd with AES-GCM, and the bastion with its
//! recordings on. Text in bulk down and up, CPU of what stands in the middle, `ssh .. true`, the echo of a keystroke, and how late
//! the cut falls. Rounds alternate, so that a noisy machine is noisy for both. `make bench`; figures are proportions, not absolutes.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[allow(dead_code, unused_imports, reason = "the tests speak it too")]
#[path = "../e2e/world/mod.rs"]
mod world;

use world::cuts::{Case, cut};
use world::{Bastion, SshServer, cpu_seconds, run, wait_for};

const MIB: u64 = 1 << 20;
/// In each transfer.
const BULK: u64 = 256 * MIB;
const BULK_ROUNDS: usize = 5;
const TRUE_ROUNDS: usize = 21;
const ECHO_ROUNDS: usize = 5;
const KEYS: usize = 400;
const CUT_ROUNDS: usize = 5;

fn main() {
    let roads = Roads::open();
    println!(
        "{} cores, {} MiB of text a transfer, {BULK_ROUNDS} rounds",
        std::thread::available_parallelism().map_or(0, usize::from),
        BULK / MIB
    );
    let (plain, ours) = roads.bulk(Way::Down);
    report("bulk down", plain, ours);
    let (plain, ours) = roads.bulk(Way::Up);
    report("bulk up", plain, ours);
    roads.set_up();
    roads.echo();
    lateness(&roads.bastion);
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy)]
enum Way {
    Down,
    Up,
}

/// What one road did: seconds, and CPU seconds in the middle; medians.
#[derive(Debug, Clone, Copy)]
struct Measured {
    seconds: f64,
    cpu: f64,
}

fn report(what: &str, plain: Measured, ours: Measured) {
    let speed = |m: Measured| (BULK / MIB) as f64 / m.seconds;
    let per_gib = |m: Measured| m.cpu * 1024.0 / (BULK / MIB) as f64;
    println!("{what:<12} plain {:6.0} MiB/s {:5.2} CPU s/GiB", speed(plain), per_gib(plain));
    println!(
        "{:<12} ours  {:6.0} MiB/s {:5.2} CPU s/GiB   ratio {:.2}, CPU {:.2}",
        "",
        speed(ours),
        per_gib(ours),
        speed(ours) / speed(plain),
        per_gib(ours) / per_gib(plain)
    );
}

/// Both roads, open.
struct Roads {
    bastion: Bastion,
    jump: SshServer,
    target: SshServer,
    text: PathBuf,
}

impl Roads {
    fn open() -> Self {
        let bastion = Bastion::start();
        bastion.grant("alice", "phi-db", "4h");
        let text = bastion.aside("text");
        let line: Vec<u8> = (b'!'..b'~').cycle().take(79).chain([b'\n']).collect();
        let block: Vec<u8> = line.iter().copied().cycle().take(1 << 20).collect();
        let mut file = File::create(&text).expect("a file");
        (0..BULK / MIB).for_each(|_| file.write_all(&block).expect("room for the text"));
        Self { bastion, jump: SshServer::start(), target: SshServer::start(), text }
    }

    /// `ssh -J` through two sshds.
    fn plain(&self, words: &[&str]) -> Command {
        let identity =
            |key: &Path| format!("-i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null", key.display());
        let proxy = format!("ssh -q -F /dev/null {} -W %h:%p -p {} 127.0.0.1", identity(&self.jump.key()), self.jump.port);
        let mut command = Command::new("ssh");
        command.args(["-q", "-F", "/dev/null", "-o", &format!("ProxyCommand={proxy}")]);
        command.args(identity(&self.target.key()).split(' '));
        command.args(["-p", &self.target.port.to_string(), "127.0.0.1"]).args(words).env_remove("SSH_AUTH_SOCK");
        command
    }

    fn ours(&self, words: &[&str]) -> Command {
        self.bastion.ssh().jump("phi-db").flag("-q").command(words)
    }

    fn bulk(&self, way: Way) -> (Measured, Measured) {
        let path = self.text.display().to_string();
        let words = match way {
            Way::Down => format!("cat {path}"),
            Way::Up => "cat >/dev/null".to_string(),
        };
        let mut rounds = (Vec::new(), Vec::new());
        for _ in 0..BULK_ROUNDS {
            let before = cpu_seconds(self.jump.pid());
            let seconds = self.transfer(self.plain(&[&words]), way);
            rounds.0.push(Measured { seconds, cpu: settled_cpu(self.jump.pid()) - before });
            let before = cpu_seconds(self.bastion.pid());
            let seconds = self.transfer(self.ours(&[&words]), way);
            // what is written off the road is work too: wait until the recording is sealed
            self.bastion.settled();
            rounds.1.push(Measured { seconds, cpu: settled_cpu(self.bastion.pid()) - before });
            remove_recordings(&self.bastion);
        }
        (median_of(rounds.0), median_of(rounds.1))
    }

    fn transfer(&self, mut command: Command, way: Way) -> f64 {
        let began = Instant::now();
        match way {
            Way::Down => command.stdin(Stdio::null()).stdout(Stdio::piped()),
            Way::Up => command.stdin(File::open(&self.text).expect("the text")).stdout(Stdio::piped()),
        };
        let mut child = command.spawn().expect("ssh");
        let mut pipe = child.stdout.take().expect("piped");
        let (mut buffer, mut count) = (vec![0; 1 << 18], 0);
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            count += n as u64;
        }
        assert!(child.wait().expect("its end").success());
        assert_eq!(count, if matches!(way, Way::Down) { BULK } else { 0 });
        began.elapsed().as_secs_f64()
    }

    fn set_up(&self) {
        let time = |mut command: Command| {
            let began = Instant::now();
            run(&mut command, b"").expect(0);
            began.elapsed().as_secs_f64() * 1000.0
        };
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..TRUE_ROUNDS {
            plain.push(time(self.plain(&["true"])));
            ours.push(time(self.ours(&["true"])));
        }
        let (plain, ours) = (median(plain), median(ours));
        println!("ssh .. true  plain {plain:6.0} ms   ours {ours:6.0} ms   ratio {:.2}", ours / plain);
    }

    /// At both levels of the journal.
    fn echo(&self) {
        let words = ["-tt", "stty raw -echo; echo go; exec cat"];
        let power = Bastion::start_with("journal = \"power\"\n", |_| Vec::new());
        power.grant("alice", "phi-db", "4h");
        let (mut plain, mut process, mut synced) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ECHO_ROUNDS {
            plain.extend(keystrokes(self.plain(&[]), &words));
            process.extend(keystrokes(self.ours(&[]), &words));
            synced.extend(keystrokes(power.ssh().jump("phi-db").flag("-q").command(&[]), &words));
        }
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let plain = at_part(&plain, part);
            for (level, ours) in [("process", at_part(&process, part)), ("power", at_part(&synced, part))] {
                println!("echo {name}     plain {plain:6.0} us   ours at {level:<7} {ours:6.0} us   {:+.0} us", ours - plain);
            }
        }
    }
}

/// Microseconds from a key to its echo, one key at a time.
fn keystrokes(mut command: Command, words: &[&str]) -> Vec<f64> {
    // options stand before the host, which is the last word so far
    let mut arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let host = arguments.pop().expect("a host");
    let mut fresh = Command::new("ssh");
    fresh.args(&arguments).arg(words[0]).arg(host).arg(words[1]).env_remove("SSH_AUTH_SOCK");
    command = fresh;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ssh");
    let (mut keys, mut echo) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut byte = [0];
    while byte != *b"\n" {
        echo.read_exact(&mut byte).expect("it begins");
    }
    let mut taken = Vec::with_capacity(KEYS);
    for key in 0..KEYS {
        let began = Instant::now();
        keys.write_all(b"k").and_then(|()| echo.read_exact(&mut byte)).expect("an echo");
        if key >= KEYS / 8 {
            taken.push(began.elapsed().as_secs_f64() * 1e6);
        }
        // nobody types faster, and Nagle and delayed ACKs behave as they do for people
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    taken
}

fn lateness(bastion: &Bastion) {
    println!("cut, ms late  host median / worst   client median / worst   ({CUT_ROUNDS} rounds)");
    // the long grant would win over the short ones
    for grant in bastion.json("alice", "grants").as_array().into_iter().flatten().filter_map(|g| world::find_id(g, "g-")) {
        bastion.verb("alice", &format!("close {grant}"));
    }
    for case in Case::ALL {
        let all: Vec<_> = (0..CUT_ROUNDS).map(|_| cut(bastion, case)).collect();
        let hosts: Vec<f64> = all.iter().map(|l| l.host as f64).collect();
        let clients: Vec<f64> = all.iter().map(|l| l.client as f64).collect();
        let worst = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
        let (host_worst, client_worst) = (worst(&hosts), worst(&clients));
        println!(
            "{:<14} {:6.0} / {host_worst:<6.0}       {:6.0} / {client_worst:<6.0}",
            format!("{case:?}"),
            median(hosts),
            median(clients)
        );
    }
}

/// CPU seconds of a process once it stands still.
fn settled_cpu(id: u32) -> f64 {
    let mut last = -1.0;
    wait_for("the CPU to come to rest", || {
        std::thread::sleep(Duration::from_millis(150));
        let now = cpu_seconds(id);
        let still = now - last < 0.02;
        last = now;
        still.then_some(now)
    })
}

/// 256 MiB a round: nobody verifies this world afterwards.
fn remove_recordings(bastion: &Bastion) {
    for file in bastion.cast_files() {
        let _ = fs::remove_file(file);
    }
}

fn median(of: Vec<f64>) -> f64 {
    at_part(&of, 0.5)
}

/// The value that this part of all lies below.
fn at_part(of: &[f64], part: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() as f64 * part) as usize).min(sorted.len() - 1)]
}

fn median_of(rounds: Vec<Measured>) -> Measured {
    Measured { seconds: median(rounds.iter().map(|r| r.seconds).collect()), cpu: median(rounds.iter().map(|r| r.cpu).collect()) }
}
