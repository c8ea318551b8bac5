//! One visit that runs into the end of its grant, in each of the five cases. Tests and bench measure with it.

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
    let closed = bastion.event("session-closed", &session);
    drop(stopped);
    inside.signal_group(Signal::CONT);
    inside.wait().expect(255);
    let closed = &closed["data"];
    assert_eq!(closed["ending"], "time-up", "{closed}");
    let late = |key: &str| closed.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("{key} in {closed}"));
    Lateness { host: late("late_host_ms"), client: late("late_client_ms") }
}
