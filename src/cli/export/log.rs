//! `export --log`: every entry on a line, and after them every signed head.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::finish;
use crate::cli::evidence::Shown;
use crate::cli::said::{Outcome, Said};
use crate::cli::{local, open};
use crate::config::Config;
use crate::store::{CheckpointFile, Store};

/// Entries read at a time.
const PAGE: u32 = 2_000;

/// Writes the copy, tells the log, and names the file.
pub(super) async fn run(config: &Config, store: Store, part: &Path, out: &Path) -> Outcome {
    let broker = open::broker(config, store)?;
    let (entries, heads) = write(config, &broker.reader(), part).await?;
    broker.export_log(&local::actor(), entries).await?;
    finish(part, out)?;
    let shown = out.display();
    let text = format!(
        "{shown}: {entries} entries, {heads} signed heads\nto check it, on any machine:  jit-bastion verify --log {shown} --key checkpoint.pub --recordings DIR\n"
    );
    Ok(Said::done(text, json!({ "log": out, "entries": entries, "heads": heads })))
}

async fn write(config: &Config, reader: &crate::store::Reader, part: &Path) -> anyhow::Result<(u64, usize)> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
    let mut file = BufWriter::new(opened.with_context(|| format!("cannot make {}", part.display()))?);
    let fault = || format!("cannot write {}", part.display());
    // The heads first: each of them is then over entries that are read.
    let outside = CheckpointFile::in_folder(&config.state);
    let mut heads = outside.heads().with_context(|| format!("cannot read {}", outside.path().display()))?;
    heads.extend(reader.checkpoints().await?);
    heads.sort_by(|one, other| one.note.cmp(&other.note));
    heads.dedup_by(|one, other| one.note == other.note);
    let (mut next, mut shown) = (0, Shown::new());
    loop {
        let rows = reader.events(next, PAGE).await?;
        let Some(last) = rows.last() else { break };
        next = last.seq.saturating_add(1);
        for row in &rows {
            file.write_all(&row.bytes).and_then(|()| file.write_all(b"\n")).with_context(fault)?;
        }
        shown.entries(next);
    }
    for head in &heads {
        // As the file of checkpoints has it: each note, then an empty line.
        writeln!(file, "{}", head.note).with_context(fault)?;
    }
    file.flush().with_context(fault)?;
    Ok((next, heads.len()))
}
