//! Lines as they stand on the screen of a virtual terminal at this moment, with what is masked in them covered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use avt::{Line, Terminal};

use super::covering::cover;
use super::screen::safe;
use crate::access::mask::{COVER, Mask, OVERLAP};

/// A line.
pub(super) struct Standing {
    /// Of what stands there, covered or not.
    pub(super) hash: u64,
    /// As it is shown.
    pub(super) text: String,
    /// Something in it is covered.
    pub(super) masked: bool,
}

/// By which a text is known again.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The rows of each line that is partly in `rows`: soft-wrapped ones are one line.
pub(super) fn lines(terminal: &Terminal, rows: Range<usize>) -> Vec<Range<usize>> {
    let (screen, height) = (terminal.screen(), terminal.size().1);
    let wraps = |row: usize| screen.line(row).is_some_and(Line::is_wrapped);
    let (mut lines, mut from) = (Vec::new(), 0);
    while from < height {
        let to = (from..height).find(|row| !wraps(*row)).unwrap_or(height - 1) + 1;
        if from < rows.end && rows.start < to {
            lines.push(from..to);
        }
        from = to;
    }
    lines
}

/// What stands in these lines, but in blank ones. `above` is the text that goes on in the first row.
pub(super) fn read(terminal: &Terminal, lines: Vec<Range<usize>>, mask: Option<&Mask>, above: &str) -> Vec<Standing> {
    let above = above.get(above.ceil_char_boundary(above.len().saturating_sub(OVERLAP))..).unwrap_or_default();
    let covered = mask.filter(|_| !lines.is_empty()).map(|mask| cover(mask, terminal, above, &lines.iter().cloned().flatten().collect()));
    let is_covered = |row, column| covered.as_ref().and_then(|c| c.columns.get(&row)).is_some_and(|columns| columns.contains(&column));
    let screen = terminal.screen();
    let line = |rows: Range<usize>| {
        let (mut plain, mut text) = (String::new(), String::new());
        for (row, line) in rows.filter_map(|row| Some((row, screen.line(row)?))) {
            for (column, cell) in line.cells().iter().enumerate().filter(|(_, cell)| cell.width() > 0) {
                plain.push(safe(cell.char()));
                text.push(if is_covered(row, column) { COVER } else { safe(cell.char()) });
            }
        }
        let (plain, shown) = (plain.trim_end(), text.trim_end());
        (!plain.is_empty()).then(|| Standing { hash: hash(plain), masked: plain != shown, text: shown.to_owned() })
    };
    lines.into_iter().filter_map(line).collect()
}
