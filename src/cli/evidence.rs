//! `verify`: reads the log and the recordings again, offline, and says what does not fit.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::args::Verify;
use super::failure::{Failure, REFUSED};
use super::said::{Outcome, Said};
use super::{open, place};
use crate::access::names::SessionId;
use crate::audit::checkpoint::NoteKey;
use crate::audit::entry::Entry;
use crate::audit::event::Event;
use crate::audit::verify::{LogCheck, Row};
use crate::config::Config;
use crate::recording::{Finding, verify_folder};
use crate::store::{CheckpointFile, Reader};

/// Entries read at a time.
const PAGE: u32 = 2_000;

/// What one part of the evidence came to.
struct Part {
    /// `log` or `recordings`.
    what: &'static str,
    /// What was looked at, half a sentence.
    summary: String,
    /// What does not fit; empty if all is well.
    findings: Vec<String>,
    /// The numbers.
    json: Value,
}

/// `verify`: 0 if everything fits, 1 if something does not.
pub(super) fn run(verify: &Verify, named: Option<&Path>) -> Outcome {
    let kept = verify.key.as_deref().map(kept_keys).transpose()?;
    if let (Some(folder), Some(keys)) = (&verify.recordings, &kept) {
        return Ok(said(&[folder_alone(folder, keys)?]));
    }
    let config = place::config(named)?;
    let parts = open::block_on(installation(&config, kept, verify.checkpoints.as_deref()))?;
    Ok(said(&parts))
}

fn said(parts: &[Part]) -> Said {
    let clean = parts.iter().all(|part| part.findings.is_empty());
    let mut text = String::new();
    for part in parts {
        let result = if part.findings.is_empty() { "ok" } else { "NOT OK" };
        text.push_str(&format!("{:<11} {result}: {}\n", part.what, part.summary));
        for finding in &part.findings {
            text.push_str(&format!("  {finding}\n"));
        }
    }
    let mut json = json!({ "ok": clean });
    for part in parts {
        json[part.what] = part.json.clone();
        json[part.what]["findings"] = json!(part.findings);
    }
    Said { text, json, status: if clean { 0 } else { REFUSED } }
}

/// The key that an auditor kept: C2SP's verifier form, as `init` printed it; several on lines of their own, the oldest first.
fn kept_keys(file: &Path) -> Result<Vec<NoteKey>, Failure> {
    let shown = file.display();
    let next = "name the file with the checkpoint key as `init` printed it: NAME+HASH+BASE64";
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::refused("unreadable", format!("cannot read {shown}: {error}"), next))?;
    let bad = |error: &dyn std::fmt::Display| Failure::refused("bad-key", format!("{shown}: {error}"), next);
    let keys: Result<Vec<NoteKey>, _> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::parse).collect();
    let keys = keys.map_err(|error| bad(&error))?;
    if keys.is_empty() || keys.iter().any(|key| keys.first().is_some_and(|first| first.name() != key.name())) {
        return Err(bad(&"it holds no key, or keys of several logs"));
    }
    Ok(keys)
}

async fn installation(config: &Config, kept: Option<Vec<NoteKey>>, elsewhere: Option<&Path>) -> Result<Vec<Part>, Failure> {
    let store = open::store(config).await?;
    let reader = store.reader();
    let keys = match kept {
        Some(keys) => keys,
        None => {
            let ring = open::keyring(config, &reader).await?;
            let keys = ring.checkpoint_keys().into_iter().map(|key| NoteKey::new(store.node(), key)).collect::<Result<Vec<_>, _>>();
            keys.context("the checkpoint key cannot be used")?
        }
    };
    let read = log(config, &reader, &keys, elsewhere).await;
    store.close().await;
    let (log, sessions, keys) = read?;
    Ok(vec![log, recordings(&config.recordings, &keys, &sessions)])
}

/// What the log says of sessions: those that were opened, and the manifest of each that is over and left recordings.
#[derive(Default)]
struct Sessions {
    open: BTreeSet<SessionId>,
    sealed: BTreeMap<SessionId, [u8; 32]>,
}

impl Sessions {
    fn read(&mut self, row: &Row) {
        // An entry that cannot be read is a finding of the log's own check.
        let Ok(entry) = Entry::parse(&row.bytes) else { return };
        match entry.event {
            Event::SessionOpened { session, .. } | Event::HostAuditBegun { session, .. } => {
                self.open.insert(session);
            }
            Event::SessionClosed { session, manifest, .. }
            | Event::HostAudited { session, manifest, .. }
            | Event::SessionRecovered { session, manifest, .. } => {
                self.open.remove(&session);
                if let Some(manifest) = manifest {
                    self.sealed.insert(session, *manifest.as_bytes());
                }
            }
            _ => {}
        }
    }
}

/// The log, what it says of sessions, and the keys that are trusted at its end.
async fn log(
    config: &Config,
    reader: &Reader,
    keys: &[NoteKey],
    elsewhere: Option<&Path>,
) -> anyhow::Result<(Part, Sessions, Vec<NoteKey>)> {
    let outside = CheckpointFile::in_folder(&config.state);
    let mut heads = outside.heads().with_context(|| format!("cannot read {}", outside.path().display()))?;
    if let Some(file) = elsewhere {
        // A name that was mistyped must not look like a log that is as it was.
        std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
        heads.extend(CheckpointFile::at(file).heads().with_context(|| format!("cannot read {}", file.display()))?);
    }
    heads.extend(reader.checkpoints().await?);
    let mut check = LogCheck::trusting(keys, heads);
    // Read before the entries: a running bastion adds to both.
    let nonsense = match reader.head().await {
        Ok(Some(head)) => {
            check.believes(head.size, head.root);
            None
        }
        Ok(None) => None,
        Err(error) => Some(format!("what the store keeps of the log's head makes no sense: {error}")),
    };
    let mut sessions = Sessions::default();
    let mut from = 0;
    loop {
        let rows = reader.events(from, PAGE).await?;
        let Some(last) = rows.last() else { break };
        from = last.seq.saturating_add(1);
        for row in &rows {
            check.row(row);
            sessions.read(row);
        }
    }
    let keys = check.keys().to_vec();
    let verdict = check.finish();
    let name = keys.first().map(NoteKey::name).unwrap_or_default();
    let (entries, vouched, heads) = (verdict.entries, verdict.vouched, verdict.heads);
    let findings: Vec<String> = nonsense.into_iter().chain(verdict.findings.iter().map(ToString::to_string)).collect();
    let part = Part {
        what: "log",
        summary: format!("{entries} entries, {vouched} of them under {heads} signed heads of {name}"),
        findings,
        json: json!({ "origin": name, "entries": entries, "vouched": vouched, "heads": heads, "root": verdict.root.to_string() }),
    };
    Ok((part, sessions, keys))
}

/// Compares the folder with what the log says of every session.
fn recordings(root: &Path, keys: &[NoteKey], sessions: &Sessions) -> Part {
    let seen = RefCell::new(BTreeSet::new());
    let known = |id: &SessionId| {
        seen.borrow_mut().insert(id.clone());
        sessions.sealed.get(id).copied()
    };
    let found = verify_folder(root, &public(keys), known);
    // A session that goes on is not sealed yet, and nothing is wrong with it.
    let goes_on = |path: &Path| {
        let id = path.file_name().and_then(|name| SessionId::parse(&name.to_string_lossy()).ok());
        id.is_some_and(|id| sessions.open.contains(&id))
    };
    let wrong = found.iter().filter(|finding| !matches!(finding, Finding::Unsealed(path) if goes_on(path)));
    let mut findings: Vec<String> = wrong.map(ToString::to_string).collect();
    let seen = seen.into_inner();
    findings.extend(sessions.sealed.keys().filter(|id| !seen.contains(*id)).map(|id| format!("session {id}: its recordings are missing")));
    let (sealed, open) = (sessions.sealed.len(), sessions.open.len());
    Part {
        what: "recordings",
        summary: format!("{sealed} sealed sessions in {}, {open} that go on", root.display()),
        findings,
        json: json!({ "folder": root, "sealed": sealed, "open": open }),
    }
}

/// A folder without its log: whether what lies there is as it was signed. That nothing is missing, only the log could tell.
fn folder_alone(root: &Path, keys: &[NoteKey]) -> Result<Part, Failure> {
    if !root.is_dir() {
        let next = "name the folder that holds the years, as `recordings` in the config does";
        return Err(Failure::refused("unreadable", format!("{} is not a folder", root.display()), next));
    }
    let sealed = RefCell::new(0_u64);
    let known = |_: &SessionId| {
        *sealed.borrow_mut() += 1;
        None
    };
    let found = verify_folder(root, &public(keys), known);
    let findings = found.iter().filter(|finding| !matches!(finding, Finding::Unlogged(_))).map(ToString::to_string).collect();
    let sealed = sealed.into_inner();
    Ok(Part {
        what: "recordings",
        summary: format!("{sealed} sealed sessions in {}; only with its log can it be seen whether one is missing", root.display()),
        findings,
        json: json!({ "folder": root, "sealed": sealed }),
    })
}

fn public(keys: &[NoteKey]) -> String {
    keys.iter().map(|key| BASE64.encode(key.public())).collect::<Vec<_>>().join(" ")
}
