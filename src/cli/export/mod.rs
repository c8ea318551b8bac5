//! `export`: one file with a session's recordings and everything that proves them, or a copy of the log.
//!
//! The file is a plain tar. `SHA256SUMS` in it names every other file and is signed with the checkpoint key, so that one signature covers
//! all of it; each event carries its own proof besides.

mod contents;
mod log;
mod words;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::args::Export;
use super::evidence::Shown;
use super::failure::Failure;
use super::said::{Outcome, Said};
use super::{local, open, place};
use crate::access::names::SessionId;
use crate::audit::digest::Digest;
use crate::audit::tar::TarWriter;
use crate::broker::Broker;
use crate::config::Config;
use crate::store::Store;
use contents::Item;

/// Read at a time.
const CHUNK: usize = 256 * 1024;
/// The list of digests, and the signature of it.
pub(super) const SUMS: &str = "SHA256SUMS";
/// Raw 64 bytes of Ed25519 over the list.
pub(super) const SIGNATURE: &str = "SHA256SUMS.sig";
/// The keys, in C2SP's verifier form, the oldest first.
pub(super) const KEYS: &str = "checkpoint.pub";
/// The folder with the recordings, laid out as the recordings' root is.
pub(super) const RECORDINGS: &str = "recordings";
/// Texts that people typed, with the salts of their commitments.
pub(super) const TEXTS: &str = "texts.json";

/// The first line of the list of digests: what it is a signature of.
pub(super) fn first_line(session: &SessionId) -> String {
    format!("# jit-bastion export v1 {session}\n")
}

/// `export`.
pub(super) fn run(words: &Export, named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    let fallback = words.session.as_ref().map_or_else(|| "log.jsonl".into(), |id| PathBuf::from(format!("{id}.tar")));
    let out = words.out.clone().unwrap_or(fallback);
    let part = part(&out)?;
    let done = open::block_on(async {
        let store = open::store(&config).await?;
        let made = match &words.session {
            Some(session) => export(&config, store.clone(), session, words, &part, &out).await,
            None => log::run(&config, store.clone(), &part, &out).await,
        };
        store.close().await;
        made
    });
    if done.is_err() {
        // Ours, and worth nothing.
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// The name that the file has until it is whole.
fn part(out: &Path) -> Result<PathBuf, Failure> {
    let name = out.file_name().ok_or_else(|| Failure::Usage(format!("{} is no name of a new file", out.display())))?;
    if out.exists() {
        return Err(Failure::refused(
            "exists",
            format!("{} is there already, and export overwrites nothing", out.display()),
            "name a new file",
        ));
    }
    let part = out.with_file_name(format!("{}.part", name.to_string_lossy()));
    if part.exists() {
        let message = format!("{} is there: another export runs, or one was interrupted", part.display());
        return Err(Failure::refused("half", message, format!("if none runs: rm {}", part.display())));
    }
    Ok(part)
}

async fn export(config: &Config, store: Store, session: &SessionId, words: &Export, part: &Path, out: &Path) -> Outcome {
    let broker = open::broker_with_keys(config, store).await?;
    if let Err(wrong) = broker.adopt_policy_in_force().await {
        eprintln!("warning: no policy is in force: {wrong}");
    }
    let sealed = contents::sealed(config, &broker, session).await?;
    broker.export_recordings(&local::actor(), session, words.to.clone(), words.purpose.clone()).await?;
    // Signed over, the event of this export is in it as well.
    broker.checkpoint().await.map_err(|fault| Failure::Fault(fault.into()))?;
    let (items, events) = contents::gather(&broker, &sealed).await?;
    let written = write(&broker, session, &items, sealed.started_s(), part)?;
    finish(part, out)?;
    let (bytes, sums) = written;
    let shown = out.display();
    let text = format!(
        "{shown}: {} recordings of {session}, {events} events with their proofs, {bytes} bytes\nto check it, on any machine:  jit-bastion verify --export {shown} --key checkpoint.pub\nto play it there:             jit-bastion replay --export {shown} --key checkpoint.pub\nwithout jit-bastion:          as the README.txt in it says\n",
        sealed.manifest.channels.len()
    );
    let json = json!({
        "export": out, "session": session.as_str(), "recordings": sealed.manifest.channels.len(), "events": events, "bytes": bytes,
        "digest": sums.to_string(),
    });
    Ok(Said::done(text, json))
}

/// Writes the container: its length, and the digest of its list.
fn write(broker: &Broker, session: &SessionId, items: &[Item], mtime: u64, part: &Path) -> Result<(u64, Digest), Failure> {
    let signer = broker.note_signer().context("the keys are not open")?;
    let mut shown = Shown::new();
    let mut sums = first_line(session);
    for item in items {
        let digest = item.digest(&mut |bytes| shown.bytes(bytes))?;
        sums.push_str(&format!("{digest}  {}\n", item.name));
    }
    // Its first line is neither a log's name with a number after it nor a manifest's: no other signature of this key can be taken for it.
    let signature = signer.sign(sums.as_bytes()).context("cannot sign the list of digests")?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
    let file = opened.with_context(|| format!("cannot make {}", part.display()))?;
    let mut tar = TarWriter::new(BufWriter::with_capacity(CHUNK, file), mtime);
    let fault = || format!("cannot write {}", part.display());
    for (name, bytes) in [(SUMS, sums.as_bytes()), (SIGNATURE, &signature[..])] {
        tar.file(&format!("{session}/{name}"), bytes.len() as u64, bytes).with_context(fault)?;
    }
    for item in items {
        let (size, content) = item.open()?;
        tar.file(&format!("{session}/{}", item.name), size, content).with_context(fault)?;
    }
    let mut file = tar.finish().with_context(fault)?;
    file.flush().with_context(fault)?;
    let bytes = file.get_ref().metadata().with_context(fault)?.len();
    Ok((bytes, Digest::of(sums.as_bytes())))
}

/// Puts the file on the disk and gives it its name.
fn finish(part: &Path, out: &Path) -> anyhow::Result<()> {
    File::open(part).and_then(|file| file.sync_all()).with_context(|| format!("cannot sync {}", part.display()))?;
    std::fs::rename(part, out).with_context(|| format!("cannot name it {}", out.display()))?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|opened| opened.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}

/// SHA-256 of everything that `input` gives; `told` hears how much was read.
pub(super) fn digest_of(mut input: impl Read, told: &mut dyn FnMut(u64)) -> std::io::Result<(Digest, u64)> {
    let (mut hash, mut chunk, mut bytes) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        let n = input.read(&mut chunk)?;
        let Some(read) = chunk.get(..n).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        bytes += n as u64;
        told(n as u64);
    }
    Ok((Digest::from_bytes(hash.finalize().into()), bytes))
}
