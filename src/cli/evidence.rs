//! `verify`: reads the log and the recordings again, offline, and says what does not fit.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::Verify;
use super::failure::{Failure, REFUSED};
use super::said::{Outcome, Said};
use super::{open, place};
use crate::audit::checkpoint::NoteKey;
use crate::audit::verify::LogCheck;
use crate::config::Config;
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
    let kept = verify.key.as_deref().map(kept_key).transpose()?;
    let config = place::config(named)?;
    let parts = open::block_on(installation(&config, kept))?;
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

/// The key that an auditor kept: C2SP's verifier form, as `init` printed it.
fn kept_key(file: &Path) -> Result<NoteKey, Failure> {
    let shown = file.display();
    let next = "name the file with the checkpoint key as `init` printed it: NAME+HASH+BASE64";
    let text = std::fs::read_to_string(file).map_err(|error| Failure::refused("unreadable", format!("cannot read {shown}: {error}"), next))?;
    text.trim().parse().map_err(|error| Failure::refused("bad-key", format!("{shown}: {error}"), next))
}

async fn installation(config: &Config, kept: Option<NoteKey>) -> Result<Vec<Part>, Failure> {
    let store = open::store(config).await?;
    let reader = store.reader();
    let key = match kept {
        Some(key) => key,
        None => {
            let signer = open::keyring(config, &reader).await?.note_signer(store.node()).context("the log cannot have this name")?;
            NoteKey::new(signer.name(), *signer.public_key()).context("the checkpoint key cannot be used")?
        }
    };
    let log = log(config, &reader, &key).await;
    store.close().await;
    Ok(vec![log?])
}

async fn log(config: &Config, reader: &Reader, key: &NoteKey) -> anyhow::Result<Part> {
    let outside = CheckpointFile::in_folder(&config.state);
    let mut heads = outside.heads().with_context(|| format!("cannot read {}", outside.path().display()))?;
    heads.extend(reader.checkpoints().await?);
    let mut check = LogCheck::new(key, heads);
    let mut from = 0;
    loop {
        let rows = reader.events(from, PAGE).await?;
        let Some(last) = rows.last() else { break };
        from = last.seq + 1;
        rows.iter().for_each(|row| check.row(row));
    }
    let verdict = check.finish();
    let (entries, vouched, heads) = (verdict.entries, verdict.vouched, verdict.heads);
    Ok(Part {
        what: "log",
        summary: format!("{entries} entries, {vouched} of them under {heads} signed heads of {}", key.name()),
        findings: verdict.findings.iter().map(ToString::to_string).collect(),
        json: json!({ "origin": key.name(), "entries": entries, "vouched": vouched, "heads": heads, "root": verdict.root.to_string() }),
    })
}
