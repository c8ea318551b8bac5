//! What a command answers, for a human or for a program.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;
use crate::verbs::table::Table;
use crate::verbs::{Look, print_json};

/// A good end: what to print, and the exit status that says what was found.
#[derive(Debug)]
pub(super) struct Said {
    /// For a human; ends with a newline unless it is empty.
    pub text: String,
    /// For a program.
    pub json: Value,
    /// Usually 0.
    pub status: u8,
}

impl Said {
    /// Done.
    pub fn done(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, status: 0 }
    }

    /// Nothing to say: it was said on the way.
    pub fn nothing(status: u8) -> Self {
        Self { text: String::new(), json: Value::Null, status }
    }
}

/// What every command returns.
pub(super) type Outcome = Result<Said, Failure>;

/// Prints `outcome` as asked for, and gives the exit status. A closed pipe is nobody's fault.
pub(super) fn print(outcome: &Outcome, json: bool) -> u8 {
    match outcome {
        Ok(said) if json && !said.json.is_null() => out(&print_json(&said.json)),
        Ok(said) => out(&said.text),
        Err(failure) if json => out(&print_json(&failure.json())),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}", failure.text().trim_end());
        }
    }
    match outcome {
        Ok(said) => said.status,
        Err(failure) => failure.status(),
    }
}

/// Writes to standard output, whole.
pub(super) fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// How standard output is to be written to: the width of a terminal, and whether colours show there.
pub(super) fn look() -> Look {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Look { columns: size.map(|size| size.ws_col).filter(|columns| *columns > 0), color }
}

/// Rows under headings that fit the terminal, or `nobody` when there are none.
pub(super) fn table(heads: impl IntoIterator<Item = &'static str>, rows: impl IntoIterator<Item = Vec<String>>, nobody: &str) -> String {
    let mut table = Table::new(heads);
    rows.into_iter().for_each(|row| table.row(row));
    if table.is_empty() { format!("{nobody}\n") } else { table.print(look()) }
}

/// Rows as columns that line up, two spaces apart; the last column is not padded.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}
