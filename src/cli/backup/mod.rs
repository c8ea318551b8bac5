//! `backup`: one command copies a running bastion into a new folder, from which it can be put back.
//!
//! The folder has another name until it is whole, and its list of digests is written last. What grows while it is copied (checkpoints,
//! journals) is copied before the store, so that the copy of the store knows everything that the others speak of.

mod copying;
mod dump;
mod words;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::args::Backup;
use super::failure::Failure;
use super::said::{Outcome, Said};
use super::{local, open, place};
use crate::access::time::{Clock, SystemClock, Timestamp};
use crate::audit::digest::Digest;
use crate::config::Config;
use crate::store::{CheckpointFile, Spool, snapshot};

use copying::Copying;

/// The list of digests, as `sha256sum -c` reads it.
const SUMS: &str = "SHA256SUMS";
/// The copy of a store that is a file, and of one that is a server.
const FILE: &str = "jit-bastion.db";
const DUMP: &str = "jit-bastion.pgdump";

/// What was copied of the store.
struct Taken {
    name: &'static str,
    /// Entries in its logs, where the copy was asked.
    entries: Option<u64>,
    /// Folders of the sealed sessions that it knows.
    sealed: Vec<String>,
}

/// `backup`: 0 when the whole backup is on the disk.
pub(super) fn run(backup: &Backup, named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    let dir = std::path::absolute(&backup.dir).context("the working folder is gone")?;
    let part = part(&config, &dir)?;
    open::block_on(async {
        let made = make(&config, &dir, &part, backup.recordings).await;
        if made.is_err() {
            // Ours, and worth nothing.
            let _ = std::fs::remove_dir_all(&part);
        }
        made
    })
}

/// The name that the folder has until it is whole.
fn part(config: &Config, dir: &Path) -> Result<PathBuf, Failure> {
    let shown = dir.display();
    if dir.exists() {
        return Err(Failure::refused("exists", format!("{shown} is there already, and backup overwrites nothing"), "name a new folder"));
    }
    for (what, own) in [("state", &config.state), ("recordings", &config.recordings)] {
        if dir.starts_with(std::path::absolute(own).unwrap_or_default()) {
            let next = "name a folder outside of the installation, best on another disk";
            return Err(Failure::refused("inside", format!("{shown} lies in the {what} folder that it would be a copy of"), next));
        }
    }
    if !config.policy.exists() {
        let message = format!("the policy file {} is not there, and a backup without it is not whole", config.policy.display());
        return Err(Failure::refused("no-policy", message, "put it back, or name the right one as `policy` in the config"));
    }
    let name = dir.file_name().ok_or_else(|| Failure::Usage(format!("{shown} is no name of a new folder")))?;
    let part = dir.with_file_name(format!("{}.part", name.to_string_lossy()));
    if part.exists() {
        let message = format!("{} is there: another backup runs, or one was interrupted", part.display());
        return Err(Failure::refused("half", message, format!("if none runs: rm -r {}", part.display())));
    }
    Ok(part)
}

async fn make(config: &Config, dir: &Path, part: &Path, recordings: bool) -> Outcome {
    let (now, node) = (SystemClock.now(), config.node()?);
    let mut copying = Copying::into(part)?;
    for file in [CheckpointFile::in_folder(&config.state).path(), Spool::in_folder(&config.state).path()] {
        copying.file_if_there(file, Path::new("state"))?;
    }
    if recordings {
        copying.folder_if_there(&config.state.join("journal"), "state/journal", "journal")?;
    }
    let taken = store(config, &mut copying, recordings).await?;
    for file in [config.node_file(), config.state.join("checkpoint.pub")] {
        copying.file_if_there(&file, Path::new("state"))?;
    }
    copying.file(&config.file, Path::new("jit-bastion.toml"))?;
    copying.file(&config.policy, Path::new("policy.toml"))?;
    if recordings {
        for folder in &taken.sealed {
            copying.sealed(&config.recordings, folder)?;
        }
    }
    let restore = words::restore(config, &taken, recordings, now, &node);
    copying.text("RESTORE.txt", &restore)?;
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"), "node": node, "made_at": now, "store": taken.name, "entries": taken.entries,
        "recordings": recordings.then_some(taken.sealed.len()),
    });
    copying.text("backup.json", &format!("{about:#}\n"))?;
    let (sums, files, bytes) = copying.finish(SUMS)?;
    std::fs::rename(part, dir).with_context(|| format!("cannot name it {}", dir.display()))?;
    copying::sync_folder(dir.parent().unwrap_or(dir))?;
    let warning = tell(config, sums).await.err().map(|why| why.text());
    Ok(said(config, dir, &taken, &Done { now, sums, files, bytes, recordings, warning }))
}

/// Copies the store itself.
async fn store(config: &Config, copying: &mut Copying, recordings: bool) -> Result<Taken, Failure> {
    let Some(file) = config.store.file() else {
        dump::run(&config.store, &copying.at(DUMP))?;
        copying.made(DUMP)?;
        let sealed = if recordings { sealed_now(config).await? } else { Vec::new() };
        return Ok(Taken { name: DUMP, entries: None, sealed });
    };
    open::is_there(config)?;
    copying.reserve(FILE)?;
    let taken = snapshot(file, &copying.at(FILE)).await.map_err(|error| open::cannot_open(config, &error))?;
    copying.made(FILE)?;
    Ok(Taken { name: FILE, entries: Some(taken.entries), sealed: taken.sealed })
}

/// A server's copy cannot be asked; what is sealed a moment later than the dump is in the folder and not in its log.
async fn sealed_now(config: &Config) -> Result<Vec<String>, Failure> {
    let store = open::store(config).await?;
    let sealed = store.reader().sealed_folders().await.context("cannot read the list of sessions");
    store.close().await;
    Ok(sealed?)
}

/// Everything has been read out: that is an event. It is in the log of the running bastion, not in the copy.
async fn tell(config: &Config, sums: Digest) -> Result<(), Failure> {
    let store = open::store(config).await?;
    let broker = open::broker(config, store.clone())?;
    let told = broker.backed_up(&local::actor(), sums).await;
    store.close().await;
    Ok(told?)
}

struct Done {
    now: Timestamp,
    sums: Digest,
    files: usize,
    bytes: u64,
    recordings: bool,
    warning: Option<String>,
}

fn said(config: &Config, dir: &Path, taken: &Taken, done: &Done) -> Said {
    let shown = dir.display();
    let entries = taken.entries.map(|n| format!(", events: {n}")).unwrap_or_default();
    let mut text = format!("{shown}: {} files, {} bytes{entries}; digests in {SUMS}\n", done.files, done.bytes);
    if done.recordings {
        text.push_str(&format!("recordings: {} sealed sessions\n", taken.sealed.len()));
    } else {
        let from = config.recordings.display();
        text.push_str(&format!("recordings: left out; sealed files never change:  rsync -a {from}/ ELSEWHERE/\n"));
    }
    text.push_str(&format!("the passphrase is not in it: keep it apart\nto put it back: {shown}/RESTORE.txt\n"));
    if let Some(warning) = &done.warning {
        text.push_str(&format!("warning: the log does not tell of this backup: {warning}\n"));
    }
    let json = json!({
        "backup": dir, "made_at": done.now, "store": taken.name, "files": done.files, "bytes": done.bytes, "events": taken.entries,
        "recordings": done.recordings.then_some(taken.sealed.len()), "digest": done.sums.to_string(),
    });
    Said::done(text, json)
}
