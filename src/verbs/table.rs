//! Tables that fit the terminal. Ids, times and states are never cut: free text is, then columns that can be spared are left out (and
//! named), and where that is not enough each row becomes a block of lines.

use super::text::{Look, Tone, tone_of};
use crate::access::names::escaped;

/// Rows under headings. Every cell is escaped when it is added: most of them were typed by somebody.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Columns of free text: cut where there is no room, but not below [`NARROWEST`].
const CUT: [&str; 14] = [
    "reason", "note", "because", "command", "labels", "aliases", "channels", "roles", "logins", "keys", "name", "address", "trust", "what",
];

/// Columns that are left out where there is still no room, in this order.
const SPARED: [&str; 14] =
    ["labels", "aliases", "rule", "node", "grant", "filed", "since", "bytes", "trust", "channels", "last used", "keys", "kind", "login"];

/// Free text is not cut below this.
const NARROWEST: usize = 12;
/// Nothing is wider than this on a terminal: names can have 253 characters.
const WIDEST: usize = 48;
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

    /// The table as lines that fit. Cells under `state` and `ending` take their word's colour.
    pub fn print(&self, look: Look) -> String {
        let Some(room) = look.columns.map(usize::from) else { return self.lines(&self.all(), &self.widths(None), look) };
        let mut shown = self.all();
        let mut spared = Vec::new();
        let mut widths = self.widths(Some(room));
        for head in SPARED {
            if taken(&widths, &shown) <= room {
                break;
            }
            if let Some(at) = shown.iter().position(|column| self.heads.get(*column) == Some(&head)) {
                shown.remove(at);
                spared.push(head);
                widths = self.fitting(&shown, room);
            }
        }
        if taken(&widths, &shown) > room {
            return self.blocks(look);
        }
        let mut out = self.lines(&shown, &widths, look);
        if !spared.is_empty() {
            let words = format!("not shown for want of room: {} (--json has all)", spared.join(", "));
            out.push_str(&format!("{}\n", look.paint(Tone::Faint, &fitted(&words, room))));
        }
        out
    }

    fn all(&self) -> Vec<usize> {
        (0..self.heads.len()).collect()
    }

    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        match room {
            Some(room) => self.fitting(&self.all(), room),
            None => self.natural(usize::MAX),
        }
    }

    fn natural(&self, widest: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(wide(cell)).min(widest);
            }
        }
        widths
    }

    /// Widths at which the `shown` columns fit, if cutting free text is enough for that.
    fn fitting(&self, shown: &[usize], room: usize) -> Vec<usize> {
        let mut widths = self.natural(WIDEST);
        while taken(&widths, shown) > room {
            let free = shown.iter().filter(|column| self.heads.get(**column).is_some_and(|head| CUT.contains(head)));
            let widest = free.max_by_key(|column| widths.get(**column).copied().unwrap_or(0));
            match widest.and_then(|column| widths.get_mut(*column)) {
                Some(width) if *width > NARROWEST => *width -= 1,
                _ => break,
            }
        }
        widths
    }

    fn lines(&self, shown: &[usize], widths: &[usize], look: Look) -> String {
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let mut out = line(&heads, shown, widths, |_, cell| look.paint(Tone::Strong, cell));
        for row in &self.rows {
            out.push_str(&line(row, shown, widths, |column, cell| self.painted(look, column, cell)));
        }
        out
    }

    /// Each row as lines `heading  cell`, rows apart by an empty line.
    fn blocks(&self, look: Look) -> String {
        let width = self.heads.iter().map(|head| head.len()).max().unwrap_or(0);
        let block = |row: &Vec<String>| {
            let lines = self.heads.iter().zip(row).enumerate().filter(|(_, (_, cell))| !cell.is_empty());
            let lines = lines.map(|(column, (head, cell))| {
                format!("{}{GAP}{}\n", look.paint(Tone::Strong, &format!("{head:<width$}")), self.painted(look, column, cell))
            });
            lines.collect::<String>()
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    fn painted(&self, look: Look, column: usize, cell: &str) -> String {
        match self.heads.get(column) {
            Some(&"state" | &"ending") => look.paint(tone_of(cell.trim_end()), cell),
            _ => cell.to_owned(),
        }
    }
}

/// Columns of the terminal that these columns take with the gaps between them.
fn taken(widths: &[usize], shown: &[usize]) -> usize {
    let cells: usize = shown.iter().filter_map(|column| widths.get(*column)).sum();
    cells + GAP.len() * shown.len().saturating_sub(1)
}

fn line(cells: &[String], shown: &[usize], widths: &[usize], paint: impl Fn(usize, &str) -> String) -> String {
    let mut out = String::new();
    for (place, column) in shown.iter().enumerate() {
        let (Some(cell), Some(width)) = (cells.get(*column), widths.get(*column)) else { continue };
        let cut = fitted(cell, *width);
        let last = place + 1 == shown.len();
        let pad = if last { 0 } else { width - wide(&cut).min(*width) };
        out.push_str(&paint(*column, &cut));
        if !last {
            out.push_str(&" ".repeat(pad));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["request", "state", "filed", "reason"]);
        let filed = "2026-11-21T22:07:00.000Z".to_owned();
        table.row(["r-7k2m9q".into(), "pending".into(), filed.clone(), "fix the index on the archive table".into()]);
        table.row(["r-000001".into(), "denied".into(), filed, "a\u{1b}[2Jb".into()]);
        table
    }

    fn at(columns: u16) -> String {
        table().print(Look { columns: Some(columns), color: false })
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_or_coloured() {
        let text = table().print(Look::default());
        assert!(text.contains("r-7k2m9q  pending  2026-11-21T22:07:00.000Z  fix the index on the archive table\n"), "{text}");
        assert!(text.contains("r-000001  denied   2026-11-21T22:07:00.000Z  a\\u{1b}[2Jb\n"), "{text}");
    }

    #[test]
    fn a_terminal_is_never_overrun_and_no_id_or_time_is_cut() {
        for columns in 44..120 {
            let text = at(columns);
            assert!(text.lines().all(|line| wide(line) <= usize::from(columns)), "{columns}\n{text}");
            assert!(text.contains("r-7k2m9q") && text.contains("pending"), "{columns}\n{text}");
            assert!(!text.contains("2026") || text.contains("2026-11-21T22:07:00.000Z"), "{columns}\n{text}");
        }
    }

    #[test]
    fn free_text_goes_first_then_columns_then_the_table() {
        assert!(at(60).contains("r-7k2m9q  pending  2026-11-21T22:07:00.000Z  fix the index..\n"), "{}", at(60));
        assert!(at(50).contains("r-7k2m9q  pending  fix the index on the archive ..\nr-000001"), "{}", at(50));
        assert!(at(50).ends_with("not shown for want of room: filed (--json has all)\n"), "{}", at(50));
        let text = at(20);
        assert!(text.starts_with("request  r-7k2m9q\nstate    pending\n") && text.contains("\n\nrequest  r-000001\n"), "{text}");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let text = table().print(Look { columns: None, color: true });
        assert!(text.contains("\u{1b}[33mpending\u{1b}[0m  2026"), "{text:?}");
        assert!(text.contains("\u{1b}[31mdenied\u{1b}[0m   2026"), "{text:?}");
    }

    #[test]
    fn wide_letters_take_two() {
        assert_eq!(fitted("数据库维护", 6), "数据..");
    }
}
