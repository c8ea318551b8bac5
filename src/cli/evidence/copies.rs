//! Copies of the log that left the machine: entries and signed heads in files.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::progress::Shown;
use super::{Folders, PAGE, Part, learn, log_part};
use crate::audit::checkpoint::NoteKey;
use crate::audit::copy::{self, CopyReader, MOST_HEADS, Piece};
use crate::audit::verify::{Head, LogCheck};
use crate::cli::failure::Failure;
use crate::recording::Logged;

/// Reads `files` as one log: what it came to, what it says of sessions, and the keys that are trusted at its end.
pub(super) fn log(files: &[PathBuf], keys: &[NoteKey]) -> Result<(Part, Logged, Vec<NoteKey>), Failure> {
    let mut heads: Vec<Head> = Vec::new();
    for file in files {
        let mut lines = Vec::new();
        pieces(file, |piece| {
            if let Piece::Line(line) = piece {
                lines.extend(line);
            }
            if lines.len() > MOST_HEADS { Err("more signed heads than any log has".to_owned()) } else { Ok(()) }
        })?;
        heads.extend(copy::heads(&lines, &file.display().to_string()));
    }
    let (only_heads, mut shown) = (!heads.is_empty(), Shown::new());
    let mut check = LogCheck::trusting(keys, heads);
    let (mut sessions, mut folders, mut next) = (Logged::default(), Folders::new(), 0_u64);
    for file in files {
        pieces(file, |piece| {
            if let Piece::Entry(bytes) = piece {
                let row = copy::row(bytes, next);
                next = row.seq.saturating_add(1);
                check.row(&row);
                learn(&mut sessions, &mut folders, &row);
                if next.is_multiple_of(u64::from(PAGE)) {
                    shown.entries(next);
                }
            }
            Ok(())
        })?;
    }
    if next == 0 {
        let what = if only_heads { "only signed heads, and no entries" } else { "nothing of a log" };
        let named: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let next = "`jit-bastion export --log FILE` on the bastion copies entries and heads";
        return Err(Failure::refused("no-log", format!("{} holds {what}", named.join(", ")), next));
    }
    let keys = check.keys().to_vec();
    Ok((log_part(&keys, &check.finish(), None), sessions, keys))
}

fn pieces(file: &Path, mut each: impl FnMut(Piece) -> Result<(), String>) -> Result<(), Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        let next = "name what `jit-bastion export --log FILE` wrote, or a copy of the file `checkpoints`";
        Failure::refused("unreadable", format!("cannot read {}: {why}", file.display()), next)
    };
    let mut reader = CopyReader::new(BufReader::with_capacity(256 * 1024, File::open(file).map_err(|e| unreadable(&e))?));
    while let Some(piece) = reader.piece().map_err(|e| unreadable(&e))? {
        each(piece).map_err(|why| unreadable(&why))?;
    }
    Ok(())
}
