//! Text for people: tables that fit the terminal, times, and colour only where a terminal shows it.

use crate::access::names::escaped;
use crate::access::time::{Span, Timestamp};

/// How the reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The terminal's width, if there is one; without it nothing is cut.
    pub columns: Option<u16>,
    /// A terminal that shows colour.
    pub color: bool,
}

/// What a word means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A title.
    Strong,
    /// Open, live, approved.
    Good,
    /// Waits for somebody.
    Waits,
    /// Denied, revoked.
    Bad,
    /// Over.
    Faint,
}

impl Look {
    /// `text` in the colour of its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Waits => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The tone of a state's word.
pub fn tone_of(state: &str) -> Tone {
    match state {
        "active" | "approved" | "live" => Tone::Good,
        "pending" | "waiting" => Tone::Waits,
        "denied" | "revoked" | "killed" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// Rows under headings. Every cell is escaped when it is added: most of them were typed by somebody.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// A column is not cut below this.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

impl Table {
    /// A table with these headings.
    pub fn new(heads: impl IntoIterator<Item = &'static str>) -> Self {
        Self { heads: heads.into_iter().collect(), rows: vec![] }
    }

    /// Adds a row, one cell a heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escaped(&cell)).collect());
    }

    /// No rows?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines; the widest columns are cut until it fits. Cells under `state` and `ending` take their word's colour.
    pub fn print(&self, look: Look) -> String {
        let widths = self.widths(look.columns);
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let mut out = line(&heads, &widths, |_, cell| look.paint(Tone::Strong, cell));
        for row in &self.rows {
            out.push_str(&line(row, &widths, |column, cell| match self.heads.get(column) {
                Some(&"state" | &"ending") => look.paint(tone_of(cell.trim_end()), cell),
                _ => cell.to_owned(),
            }));
        }
        out
    }

    fn widths(&self, columns: Option<u16>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(wide(cell));
            }
        }
        let Some(room) = columns else { return widths };
        let room = usize::from(room).saturating_sub(GAP.len() * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize], paint: impl Fn(usize, &str) -> String) -> String {
    let last = cells.len().saturating_sub(1);
    let mut out = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cut = fitted(cell, *width);
        let pad = if column == last { 0 } else { width - wide(&cut).min(*width) };
        out.push_str(&paint(column, &cut));
        out.push_str(&" ".repeat(pad));
        if column != last {
            out.push_str(GAP);
        }
    }
    out.push('\n');
    out
}

/// `text` in at most `width` columns; what was cut shows as `..`.
fn fitted(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 2;
    for c in text.chars() {
        used += columns_of(c);
        if used > width {
            break;
        }
        out.push(c);
    }
    out + ".."
}

fn wide(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Columns that a terminal gives to `c`: two for East Asian wide and emoji, none for marks that combine. Good enough to lay out a table.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Would this character be escaped where people read it?
pub(super) fn risky(c: char) -> bool {
    !c.is_ascii_graphic() && c != ' ' && escaped(c.encode_utf8(&mut [0; 4])).chars().ne([c])
}

/// How long from `now` to `until`, for people: `52m`, or `over`.
pub fn left(until: Timestamp, now: Timestamp) -> String {
    let span = until.since(now);
    match span.as_seconds() {
        0 => "over".into(),
        // Nobody needs the seconds of an hour.
        s if s >= 3600 => Span::minutes(s / 60).to_string(),
        _ => span.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["id", "state", "reason"]);
        table.row(["r-7k2m9q".into(), "pending".into(), "fix the index on the archive table".into()]);
        table.row(["r-000001".into(), "denied".into(), "a\u{1b}[2Jb".into()]);
        table
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_or_coloured() {
        assert_eq!(
            table().print(Look::default()),
            "id        state    reason\nr-7k2m9q  pending  fix the index on the archive table\nr-000001  denied   a\\u{1b}[2Jb\n"
        );
    }

    #[test]
    fn a_terminal_is_never_overrun() {
        for columns in 24..80 {
            let text = table().print(Look { columns: Some(columns), color: false });
            assert!(text.lines().all(|line| wide(line) <= usize::from(columns).max(28)), "{columns}\n{text}");
        }
        let narrow = table().print(Look { columns: Some(40), color: false });
        assert!(narrow.contains("r-7k2m9q  pending  fix the index on th..\n"), "{narrow}");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let text = table().print(Look { columns: None, color: true });
        assert!(text.contains("\u{1b}[33mpending\u{1b}[0m  fix"), "{text:?}");
        assert!(text.contains("\u{1b}[31mdenied\u{1b}[0m   a\\u{1b}"), "{text:?}");
    }

    #[test]
    fn wide_letters_take_two() {
        assert_eq!(fitted("数据库维护", 6), "数据..");
        assert_eq!(left(Timestamp::from_micros(3_700_000_000), Timestamp::from_micros(0)), "1h1m");
    }
}
