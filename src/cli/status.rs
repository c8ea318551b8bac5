//! `status`: how this node stands, for people and for a monitor: 0 when all is well, 1 when something is not.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, statvfs};
use serde_json::{Value, json};

use super::failure::{Failure, REFUSED};
use super::said::{Outcome, Said, columns};
use super::{open, place};
use crate::access::time::{Clock, Span, SystemClock, Timestamp};
use crate::broker::BARRED;
use crate::config::{Config, StoreUrl};
use crate::store::{Spool, Summary};

/// With less than this nobody should go to bed.
const LITTLE_ROOM: u64 = 512 * 1024 * 1024;
/// A head that is new is signed within a minute; this is past every delay.
const UNSIGNED: Span = Span::minutes(3);

/// What was found, for both kinds of readers.
#[derive(Default)]
struct Found {
    rows: Vec<Vec<String>>,
    json: serde_json::Map<String, Value>,
    problems: Vec<String>,
}

impl Found {
    fn tell(&mut self, what: &str, said: impl Into<String>, json: Value) {
        self.rows.push(vec![what.to_owned(), said.into()]);
        self.json.insert(what.replace(' ', "_"), json);
    }

    fn said(mut self) -> Said {
        let well = self.problems.is_empty();
        let mut text = columns(&self.rows);
        for problem in &self.problems {
            text.push_str(&format!("NOT OK  {}\n", problem.replace('\n', "\n        ")));
        }
        self.json.insert("ok".into(), json!(well));
        self.json.insert("problems".into(), json!(self.problems));
        Said { text, json: Value::Object(self.json), status: if well { 0 } else { REFUSED } }
    }
}

/// `status`.
pub(super) fn run(named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    let mut found = Found::default();
    found.tell("version", env!("CARGO_PKG_VERSION"), json!(env!("CARGO_PKG_VERSION")));
    let node = config.node()?;
    found.tell("node", node.clone(), json!(node));
    serving(&config, &mut found);
    let asked = open::block_on(async {
        let store = open::store(&config).await?;
        let summary = store.reader().summary(SystemClock.now()).await;
        let keys = store.reader().sealed_keys().await;
        store.close().await;
        let unread = |error| Failure::Fault(anyhow::Error::new(error).context("the store does not answer"));
        Ok((summary.map_err(unread)?, keys.map_err(unread)?.is_some()))
    });
    let kind = match &config.store {
        StoreUrl::Sqlite(_) => "sqlite",
        StoreUrl::Postgres(_) => "postgres",
    };
    let shape = asked.as_ref().ok().map(|(summary, _)| summary.shape);
    let answers = if asked.is_ok() { "answers" } else { "DOES NOT ANSWER" };
    found.tell("store", format!("{}, {answers}", config.store), json!({ "kind": kind, "answers": asked.is_ok(), "shape": shape }));
    match asked {
        Ok((summary, keys)) => log(&config, &summary, keys, SystemClock.now(), &mut found),
        Err(failure) => found.problems.push(failure.text().trim_start_matches("error: ").to_owned()),
    }
    waiting(&config, &mut found);
    room(&config, &mut found);
    Ok(found.said())
}

/// Whether a bastion holds the lock of the state folder.
fn serving(config: &Config, found: &mut Found) {
    let lock = File::open(config.state.join("serving"));
    let serves = lock.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err());
    found.tell("serving", if serves { "yes" } else { "NO" }, json!(serves));
    if !serves {
        found.problems.push(format!("no bastion serves {}\nhint: systemctl start jit-bastion", config.state.display()));
    }
}

fn log(config: &Config, summary: &Summary, keys: bool, now: Timestamp, found: &mut Found) {
    let Summary { live, pending, head, checkpoint, policy, .. } = summary;
    match policy {
        Some((digest, since)) => found.tell("policy", format!("{digest} since {since}"), json!({ "digest": digest, "since": since })),
        None => found.tell("policy", "none was in force yet", Value::Null),
    }
    found.tell("live sessions", live.to_string(), json!(live));
    found.tell("pending requests", pending.to_string(), json!(pending));
    if let Some(head) = head {
        let json = json!({ "events": head.size, "newest": head.time });
        found.tell("log", format!("{} events, the newest of {}", head.size, head.time), json);
        let signed = checkpoint.as_ref().map_or(0, |(size, _)| *size);
        if signed < head.size && head.time.plus(UNSIGNED) < now {
            found.problems.push(format!("{} events of the log are under no signed head since {}", head.size - signed, head.time));
        }
        if head.time > now.plus(Span::seconds(2)) {
            found.problems.push(format!("the clock stands before the newest event, at {now}: nobody is admitted"));
        }
    }
    if let Some((size, at)) = checkpoint {
        found.tell("checkpoint", format!("over {size} events, signed {at}"), json!({ "events": size, "signed_at": at }));
    }
    found.tell("keys", if keys { "sealed in the store" } else { "NONE" }, json!({ "sealed": keys }));
    if let Ok(why) = std::fs::read_to_string(config.state.join(BARRED)) {
        let why = why.trim_end();
        found.problems.push(format!(
            "the keys were stolen and replaced, and this node cannot open the new ones ({why}): nobody comes in here\nhint: put the passphrase \
             of now where the config looks; it is tried again every few seconds"
        ));
    }
    if !keys {
        found.problems.push("the store holds no keys\nhint: `jit-bastion init` makes them".to_owned());
    }
}

/// What could not be written while the store was lost.
fn waiting(config: &Config, found: &mut Found) {
    let spool = Spool::in_folder(&config.state);
    let waits = spool.path().exists();
    found.tell("unwritten", if waits { "SOME" } else { "nothing" }, json!(waits));
    if waits {
        found.problems.push(format!("the store is or was lost: what happened meanwhile waits in {}", spool.path().display()));
    }
}

fn room(config: &Config, found: &mut Found) {
    let mut json = serde_json::Map::new();
    let mut said = Vec::new();
    for (what, folder) in [("state", &config.state), ("recordings", &config.recordings)] {
        match statvfs(folder) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                said.push(format!("{} MiB for {what}", free / (1024 * 1024)));
                json.insert(what.to_owned(), json!(free));
                if free < LITTLE_ROOM {
                    found.problems.push(format!(
                        "{} has {} MiB left: sessions end when it is full",
                        folder.display(),
                        free / (1024 * 1024)
                    ));
                }
            }
            Err(error) => found.problems.push(format!("{} cannot be looked at: {error}", folder.display())),
        }
    }
    found.tell("free bytes", said.join(", "), Value::Object(json));
}
