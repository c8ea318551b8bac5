//! One visit that runs into the end of its grant, in each of the five cases. Tests and bench measure with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{Bastion, Out, Stopped};

/// What the two sides do when the time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// The client reads a line now and then.
    Reading,
    /// Nobody says anything.
    Idle,
    /// The host sends as fast as it can, and the client reads it.
    Flooding,
    /// The same, and the client has stopped answering.
    StoppedClient,
    /// The host has stopped answering.
    StoppedHost,
}

impl Case {
    pub const ALL: [Self; 5] = [Self::Reading, Self::Idle, Self::Flooding, Self::StoppedClient, Self::StoppedHost];
}

/// As a large listing is, and not a pathology: a recorder that is built for tests must come to an end too.
const FLOOD: &str = "echo >&2 in; yes drwxr-xr-x 2 postgres postgres 4096 Nov 22 02:46 /var/lib/postgresql/15/main/base/16384";

/// From the end time until each connection was closed, in milliseconds, as the bastion measured at its sockets.
#[derive(Debug, Clone, Copy)]
pub struct Lateness {
    pub host: u64,
    pub client: u64,
    /// By how much the machine was late itself meanwhile: a thread that wanted to sleep for a millisecond.
    pub machine: u64,
}

/// Watches how late the machine is.
struct Watch {
    done: Arc<AtomicBool>,
    worst: Option<JoinHandle<u64>>,
}

impl Watch {
    fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&done);
        let worst = thread::spawn(move || {
            let mut worst = 0;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(Duration::from_millis(1));
                worst = worst.max(begun.elapsed().as_millis());
            }
            u64::try_from(worst).unwrap_or(u64::MAX)
        });
        Self { done, worst: Some(worst) }
    }

    fn worst(mut self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.worst.take().map_or(0, |worst| worst.join().expect("it only looks"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Asks for a few seconds, goes in, and waits for the end.
#[track_caller]
pub fn cut(bastion: &Bastion, case: Case) -> Lateness {
    let before = bastion.sessions().len();
    bastion.grant("alice", "phi-db", "4s");
    let (words, out) = match case {
        Case::Reading => ("echo >&2 in; while :; do echo tick; sleep 0.05; done", Out::Collect),
        Case::Idle | Case::StoppedHost => ("echo >&2 in; sleep 100", Out::Collect),
        Case::Flooding | Case::StoppedClient => (FLOOD, Out::Count),
    };
    let inside = bastion.ssh().jump("phi-db").spawn_to(words, out);
    inside.until_error("in\n");
    let session = bastion.sessions().get(before).cloned().expect("a session");
    let stopped = match case {
        Case::StoppedHost => Some(Stopped::stop(bastion.visitors("phi-db"))),
        Case::StoppedClient => {
            inside.signal_group(Signal::STOP);
            None
        }
        _ => None,
    };
    let watch = Watch::start();
    let closed = bastion.event("session-closed", &session);
    let machine = watch.worst();
    drop(stopped);
    inside.signal_group(Signal::CONT);
    inside.wait().expect(255);
    let closed = &closed["data"];
    assert_eq!(closed["ending"], "time-up", "{closed}");
    let late = |key: &str| closed.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("{key} in {closed}"));
    Lateness { host: late("late_host_ms"), client: late("late_client_ms"), machine }
}
