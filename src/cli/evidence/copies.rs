//! Copies of the log that left the machine: entries and signed heads in files.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::learned::Learned;
use super::progress::Shown;
use super::{PAGE, Part, log_part};
use crate::audit::checkpoint::NoteKey;
use crate::audit::copy::{self, CopyReader, MOST_HEADS, Piece};
use crate::audit::verify::{Head, LogCheck};
use crate::cli::failure::Failure;
use crate::recording::Logged;

/// Reads `files` as one log: what it came to, what it says of sessions, and the keys that are trusted at its end.
pub(super) fn log(files: &[PathBuf], keys: &[NoteKey]) -> Result<(Part, Logged, Vec<NoteKey>), Failure> {
    let mut kept: Vec<Head> = Vec::new();
    for file in files {
        kept.extend(heads(file)?);
    }
    let (mut check, mut shown) = (LogCheck::trusting(keys, kept), Shown::new());
    let (mut learned, mut next) = (Learned::default(), 0_u64);
    for file in files {
        pieces(file, |piece| {
            if let Piece::Entry(bytes) = piece {
                let row = copy::row(bytes, next);
                next = row.seq.saturating_add(1);
                check.row(&row);
                learned.row(&row);
                if next.is_multiple_of(u64::from(PAGE)) {
                    shown.entries(next);
                }
            }
            Ok(())
        })?;
    }
    if next == 0 {
        let named: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let next = "`jit-bastion export --log --out FILE` on the bastion copies entries and heads";
        return Err(Failure::refused("no-log", format!("{} holds only signed heads, and no entries", named.join(", ")), next));
    }
    let keys = check.keys().to_vec();
    Ok((log_part(&keys, &check.finish(), learned.wrong.into_iter()), learned.sessions, keys))
}

/// The signed heads in a file that was kept for them.
pub(super) fn checkpoints(file: &Path) -> Result<Vec<Head>, Failure> {
    let heads = heads(file)?;
    if heads.is_empty() { Err(unusable(file, "no-log", &"no signed head is in it")) } else { Ok(heads) }
}

/// The signed heads in a copy of a log. One that holds nothing of a log, or something that is neither entry nor head, is refused:
/// it would look as if it had proven something.
fn heads(file: &Path) -> Result<Vec<Head>, Failure> {
    let (mut lines, mut entries) = (Vec::new(), false);
    pieces(file, |piece| {
        match piece {
            Piece::Entry(_) => entries = true,
            Piece::Line(line) => lines.extend(line),
        }
        if lines.len() > MOST_HEADS { Err("more signed heads than any log has".to_owned()) } else { Ok(()) }
    })?;
    let heads = copy::heads(&lines, &file.display().to_string());
    let bad = match copy::rest(&lines).len() {
        0 if entries || !heads.is_empty() => return Ok(heads),
        // A bastion writes on while its file is copied, and a crash tears its last head.
        torn @ 1..TORN if !heads.is_empty() => {
            eprintln!("note: {}: its last {torn} bytes are no whole signed head, and prove nothing", file.display());
            return Ok(heads);
        }
        0 => "it is empty".to_owned(),
        bytes => format!("{bytes} bytes in it are neither entries of a log nor whole signed heads"),
    };
    Err(unusable(file, "no-log", &bad))
}

/// No signed head is longer.
const TORN: usize = 8192;

fn unusable(file: &Path, code: &'static str, why: &dyn std::fmt::Display) -> Failure {
    let next = "name what `jit-bastion export --log --out FILE` wrote, or a copy of the file `checkpoints`, byte by byte as it was";
    Failure::refused(code, format!("cannot use {}: {why}", file.display()), next)
}

fn pieces(file: &Path, mut each: impl FnMut(Piece) -> Result<(), String>) -> Result<(), Failure> {
    let unreadable = |why: &dyn std::fmt::Display| unusable(file, "unreadable", why);
    let mut reader = CopyReader::new(BufReader::with_capacity(256 * 1024, File::open(file).map_err(|e| unreadable(&e))?));
    while let Some(piece) = reader.piece().map_err(|e| unreadable(&e))? {
        each(piece).map_err(|why| unreadable(&why))?;
    }
    Ok(())
}
