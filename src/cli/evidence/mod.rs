//! `verify`: reads the log and the recordings again, offline, and says what does not fit.

mod copies;
mod export;
mod learned;
mod progress;

use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::args::Verify;
use super::failure::{Failure, REFUSED};
use super::said::{Outcome, Said};
use super::{open, place};
use crate::audit::checkpoint::NoteKey;
use crate::audit::verify::{Head, LogCheck, Verdict};
use crate::config::Config;
use crate::recording::{Finding, Logged, survey};
use crate::store::{CheckpointFile, Reader};
pub(super) use export::Exported;
use learned::Learned;
pub(super) use progress::Shown;

/// Entries read at a time.
const PAGE: u32 = 2_000;

/// What one part of the evidence came to.
struct Part {
    /// `log` or `recordings`.
    what: &'static str,
    /// What was looked at, half a sentence.
    summary: String,
    /// What does not fit; empty if all is well. For people, and for programs.
    findings: Vec<(String, Value)>,
    /// The numbers.
    json: Value,
}

/// `verify`: 0 if everything fits, 1 if something does not.
pub(super) fn run(verify: &Verify, named: Option<&Path>) -> Outcome {
    let kept = verify.key.as_deref().map(kept_keys).transpose()?;
    if let Some(keys) = kept.as_ref().filter(|_| verify.recordings.is_some() || !verify.log.is_empty()) {
        return Ok(said(&elsewhere(verify, keys)?));
    }
    if let Some(file) = &verify.export {
        return Ok(said(&[export::part(file, kept)?.0]));
    }
    let config = place::config(named)?;
    let elsewhere = verify.checkpoints.as_deref().map(copies::checkpoints).transpose()?.unwrap_or_default();
    let parts = open::block_on(installation(&config, kept, &elsewhere))?;
    Ok(said(&parts))
}

/// A file that `export` made, and half a sentence about it; refused unless every byte of it is as `verify --export` wants it. `key` is the
/// file of the key that somebody kept.
pub(super) fn exported(file: &Path, key: Option<&Path>) -> Result<(Exported, String), Failure> {
    let (part, exported) = export::part(file, key.map(kept_keys).transpose()?)?;
    let Some((first, _)) = part.findings.first() else { return Ok((exported, part.summary)) };
    let more = if part.findings.len() > 1 { format!(" (and {} more)", part.findings.len() - 1) } else { String::new() };
    let shown = file.display();
    let next = format!("`jit-bastion verify --export {shown}` names all that does not fit; ask for the file again");
    Err(Failure::refused("damaged", format!("{shown} is not as it was exported: {first}{more}"), next))
}

fn said(parts: &[Part]) -> Said {
    let clean = parts.iter().all(|part| part.findings.is_empty());
    let mut text = String::new();
    for part in parts {
        let result = if part.findings.is_empty() { "ok" } else { "NOT OK" };
        text.push_str(&format!("{:<11} {result}: {}\n", part.what, part.summary));
        for (finding, _) in &part.findings {
            text.push_str(&format!("  {finding}\n"));
        }
    }
    let mut json = json!({ "ok": clean });
    for part in parts {
        json[part.what] = part.json.clone();
        json[part.what]["findings"] = part.findings.iter().map(|(_, json)| json.clone()).collect();
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

/// Copies of the folder and of the log, on any machine.
fn elsewhere(verify: &Verify, keys: &[NoteKey]) -> Result<Vec<Part>, Failure> {
    let (mut parts, mut sessions, mut keys) = (Vec::new(), None, keys.to_vec());
    if !verify.log.is_empty() {
        let (part, logged, trusted) = copies::log(&verify.log, &keys)?;
        parts.push(part);
        (sessions, keys) = (Some(logged), trusted);
    }
    if let Some(root) = &verify.recordings {
        if !root.is_dir() {
            let next = "name the folder that holds the years, as `recordings` in the config does";
            return Err(Failure::refused("unreadable", format!("{} is not a folder", root.display()), next));
        }
        parts.push(recordings(root, &keys, sessions.as_ref()));
    }
    Ok(parts)
}

async fn installation(config: &Config, kept: Option<Vec<NoteKey>>, elsewhere: &[Head]) -> Result<Vec<Part>, Failure> {
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
    let read = async {
        let mut keys = keys;
        loop {
            // The folder first: what is sealed by then is in the log, or goes on there.
            let mut shown = Shown::new();
            let before = survey(&config.recordings, &public(&keys), &mut |progress| shown.recordings(progress));
            let (log, logged, trusted) = log(config, &reader, &keys, elsewhere, &mut shown).await?;
            shown.clear();
            // The log has handed itself on to a newer key, by which manifests are signed too: what it vouches for is trusted from here.
            if trusted.len() > keys.len() {
                keys = trusted;
                continue;
            }
            let survey = before.again(&config.recordings, &public(&keys), &logged);
            return Ok::<_, anyhow::Error>(vec![log, compared(&config.recordings, survey, Some(&logged))]);
        }
    };
    let parts = read.await;
    store.close().await;
    Ok(parts?)
}

/// The log, what it says of sessions, and the keys that are trusted at its end.
async fn log(
    config: &Config,
    reader: &Reader,
    keys: &[NoteKey],
    elsewhere: &[Head],
    shown: &mut Shown,
) -> anyhow::Result<(Part, Logged, Vec<NoteKey>)> {
    let outside = CheckpointFile::in_folder(&config.state);
    let mut heads = outside.heads().with_context(|| format!("cannot read {}", outside.path().display()))?;
    heads.extend_from_slice(elsewhere);
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
    let (mut learned, mut from) = (Learned::default(), 0);
    loop {
        let rows = reader.events(from, PAGE).await?;
        let Some(last) = rows.last() else { break };
        from = last.seq.saturating_add(1);
        for row in &rows {
            check.row(row);
            learned.row(row);
        }
        shown.entries(from);
    }
    let (keys, wrong) = (check.keys().to_vec(), nonsense.into_iter().chain(learned.wrong));
    let part = log_part(&keys, &check.finish(), wrong);
    Ok((part, learned.sessions, keys))
}

/// `wrong` is what does not fit beside what the check of the log itself has found.
fn log_part(keys: &[NoteKey], verdict: &Verdict, wrong: impl Iterator<Item = String>) -> Part {
    let name = keys.first().map(NoteKey::name).unwrap_or_default();
    let Verdict { entries, vouched, heads, .. } = verdict;
    let findings = wrong.chain(verdict.findings.iter().map(ToString::to_string));
    Part {
        what: "log",
        summary: format!("{entries} entries, {vouched} of them under {heads} signed heads of {name}"),
        findings: findings.map(|text| (text.clone(), json!({ "text": text }))).collect(),
        json: json!({ "origin": name, "entries": entries, "vouched": vouched, "heads": heads, "root": verdict.root.to_string() }),
    }
}

/// Looks at the folder, and compares it with what the log says of every session, where there is a log.
fn recordings(root: &Path, keys: &[NoteKey], sessions: Option<&Logged>) -> Part {
    let mut shown = Shown::new();
    let survey = survey(root, &public(keys), &mut |progress| shown.recordings(progress));
    shown.clear();
    compared(root, survey, sessions)
}

fn compared(root: &Path, survey: crate::recording::Survey, log: Option<&Logged>) -> Part {
    let (shown, bytes, lie_there) = (root.display(), survey.progress.bytes, survey.sealed.len());
    let Some(log) = log else {
        return Part {
            what: "recordings",
            summary: format!("{lie_there} sealed sessions in {shown}; only with its log can it be seen whether one is missing"),
            findings: survey.alone().iter().map(finding).collect(),
            json: json!({ "folder": root, "sealed": lie_there, "bytes": bytes }),
        };
    };
    let (sealed, open) = (log.sealed().count(), log.open().filter(|id| !survey.sealed.contains_key(*id)).count());
    Part {
        what: "recordings",
        summary: format!("{sealed} sealed sessions in {shown}, {open} that go on"),
        findings: survey.against(log).iter().map(finding).collect(),
        json: json!({ "folder": root, "sealed": sealed, "open": open, "bytes": bytes }),
    }
}

fn finding(finding: &Finding) -> (String, Value) {
    let session = finding.session.as_ref().map(ToString::to_string);
    let text = finding.to_string();
    let json = json!({ "finding": finding.what.word(), "path": finding.shown(), "session": session, "text": text });
    (text, json)
}

fn public(keys: &[NoteKey]) -> String {
    keys.iter().map(|key| BASE64.encode(key.public())).collect::<Vec<_>>().join(" ")
}
