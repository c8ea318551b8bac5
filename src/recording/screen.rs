//! What a viewer's terminal is given to draw: the cells of a virtual terminal of ours, and nothing that the host sent.
//!
//! Only cursor positions, colours, clearing and printable characters leave this file. No title, no clipboard, no query, no bell, nothing
//! that could drive the viewer's terminal.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use avt::{Cell, Color, Pen, Terminal};

use super::cast::{CastEvent, CastHeader};
use super::covering::{self, Covered};
use crate::access::mask::{COVER, Mask};

/// A virtual terminal of ours is no larger: some 12 MB for each who watches.
const MAX_COLS: u32 = 1000;
/// The same for rows.
pub(super) const MAX_ROWS: u32 = 300;
/// A viewer's terminal with fewer rows has none to spare for a status line.
const FEW_ROWS: usize = 3;

/// A virtual terminal of the size that a recording begins with, within bounds.
pub(super) fn virtual_terminal(header: &CastHeader) -> Terminal {
    let (cols, rows) = bounded(header.base.width, header.base.height);
    sized(cols, rows)
}

/// A virtual terminal of a size of at least 1 by 1.
pub(super) fn sized(cols: usize, rows: usize) -> Terminal {
    #[expect(clippy::expect_used, reason = "only a size of zero is an error")]
    Terminal::new(cols.max(1), rows.max(1)).expect("a size of at least 1 by 1")
}

/// Lets the virtual terminal see an event.
pub(super) fn apply<O: avt::Observer>(terminal: &mut Terminal, event: &CastEvent, observer: O) -> O::Output {
    match event.parts() {
        ('o', text) => terminal.feed_with(text, observer),
        ('r', size) => {
            let parsed = size.split_once('x').and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
            let (now_cols, now_rows) = terminal.size();
            let (cols, rows) = parsed.map_or((now_cols, now_rows), |(c, r)| bounded(c, r));
            terminal.resize_with(cols, rows, observer)
        }
        _ => terminal.feed_with("", observer),
    }
}

fn bounded(cols: u32, rows: u32) -> (usize, usize) {
    (cols.clamp(1, MAX_COLS) as usize, rows.clamp(1, MAX_ROWS) as usize)
}

/// A character that only shows itself: no control, nothing that reorders or hides what stands beside it.
pub(super) fn safe(c: char) -> char {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
    if c.is_control() || hides { '\u{fffd}' } else { c }
}

/// What the last row of the viewer's terminal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastRow {
    /// The picture.
    Picture,
    /// A status line, which the picture never enters.
    Status,
}

/// Which part of a picture that is larger than the viewer's terminal is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Where the cursor is.
    Cursor,
    /// From this row and column on.
    Fixed(usize, usize),
}

/// The viewer's terminal: what of the virtual one it shows.
pub(super) struct View {
    cols: usize,
    rows: usize,
    last_row: LastRow,
    part: Part,
    top: usize,
    left: usize,
    size: (usize, usize),
    fresh: bool,
    note: Option<String>,
    noted: bool,
    bar: String,
    mask: Option<Arc<Mask>>,
    /// Rows that have covered columns on the viewer's terminal.
    covered: BTreeSet<usize>,
}

impl View {
    /// Of a viewer's terminal of this size; 0 is taken as 80 by 24.
    pub(super) fn new(cols: u32, rows: u32, last_row: LastRow) -> Self {
        let (cols, rows) = if cols == 0 || rows == 0 { (80, 24) } else { bounded(cols, rows) };
        Self {
            cols,
            rows,
            last_row,
            part: Part::Cursor,
            top: 0,
            left: 0,
            size: (0, 0),
            fresh: true,
            note: None,
            noted: false,
            bar: String::new(),
            mask: None,
            covered: BTreeSet::new(),
        }
    }

    /// Covers what is masked from now on.
    pub(super) fn masked(&mut self, mask: Option<Arc<Mask>>) {
        self.mask = mask;
    }

    /// A text that goes into the status line or over the picture.
    pub(super) fn covered_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.mask.as_ref().map_or(Cow::Borrowed(text), |mask| mask.text(text))
    }

    /// The viewer's terminal has a new size.
    pub(super) fn resize(&mut self, cols: u32, rows: u32) {
        if cols > 0 && rows > 0 {
            (self.cols, self.rows) = bounded(cols, rows);
            self.refresh();
        }
    }

    /// Everything is drawn anew next time.
    pub(super) fn refresh(&mut self) {
        self.fresh = true;
    }

    /// Words of the bastion's own, over the last row of the picture until it is drawn again.
    pub(super) fn note(&mut self, text: &str) {
        self.note = Some(self.covered_text(text).chars().take(self.cols).map(safe).collect());
    }

    /// Rows of the viewer's terminal that the picture has.
    fn picture(&self) -> usize {
        match self.last_row {
            LastRow::Status if self.rows >= FEW_ROWS => self.rows - 1,
            _ => self.rows,
        }
    }

    /// Moves the part that is shown by so many rows and columns, and lets it stay there.
    pub(super) fn pan(&mut self, down: isize, right: isize) {
        let moved = |from: usize, by: isize, most: usize| from.saturating_add_signed(by).min(most);
        let (width, height) = self.size;
        let top = moved(self.top, down, height.saturating_sub(self.picture()));
        self.part = Part::Fixed(top, moved(self.left, right, width.saturating_sub(self.cols)));
    }

    /// The part that is shown is where the cursor is.
    pub(super) fn follow(&mut self) {
        self.part = Part::Cursor;
    }

    /// `1-80/132 x 4-26/50`, where the picture is larger than what is seen of it.
    pub(super) fn cropped(&self) -> Option<String> {
        let ((width, height), rows) = (self.size, self.picture());
        let (wide, high) = (width > self.cols, height > rows);
        let columns = || format!("columns {}-{} of {width}", self.left + 1, (self.left + self.cols).min(width));
        let lines = || format!("rows {}-{} of {height}", self.top + 1, (self.top + rows).min(height));
        match (wide, high) {
            (true, true) => Some(format!("{}, {}", columns(), lines())),
            (true, false) => Some(columns()),
            (false, true) => Some(lines()),
            (false, false) => None,
        }
    }

    /// Draws the rows that changed, or all where the view itself did. `above` is the text that goes on in the first row.
    pub(super) fn draw(&mut self, terminal: &Terminal, changed: &BTreeSet<usize>, above: &str) -> Vec<u8> {
        let (top, left) = self.corner(terminal);
        let moved = (top, left) != (self.top, self.left) || terminal.size() != self.size;
        let anew = self.fresh || moved || self.noted;
        let mut out = String::new();
        if anew {
            out.push_str("\x1b[0m\x1b[2J");
        }
        (self.top, self.left, self.size, self.fresh, self.noted) = (top, left, terminal.size(), false, false);
        let cover = self.cover(terminal, changed, anew, above);
        let none = BTreeSet::new();
        for (n, line) in terminal.screen().visible_lines().enumerate().skip(top).take(self.picture()) {
            if anew || changed.contains(&n) || cover.rows.contains(&n) {
                let columns = left..left + self.cols;
                draw_row(&mut out, n - top + 1, line.cells(), columns, cover.columns.get(&n).unwrap_or(&none));
            }
        }
        if anew {
            self.draw_bar(&mut out);
        }
        if let Some(note) = self.note.take() {
            let text: String = format!(" bastion: {note} ").chars().take(self.cols).collect();
            let _ = write!(out, "\x1b[{};1H\x1b[0;7m{text}\x1b[0m", self.rows);
            self.noted = true;
        }
        self.put_cursor(&mut out, terminal);
        out.into_bytes()
    }

    /// What is covered now of the rows that change, of those that were covered, and where something is being typed.
    fn cover(&mut self, terminal: &Terminal, changed: &BTreeSet<usize>, anew: bool, above: &str) -> Covered {
        let Some(mask) = &self.mask else { return Covered::default() };
        let mut wanted = if anew { (0..terminal.size().1).collect() } else { changed | &self.covered };
        wanted.insert(terminal.cursor().row);
        let cover = covering::cover(mask, terminal, above, &wanted);
        self.covered = cover.columns.keys().copied().collect();
        cover
    }

    /// Shows `text` as the status line, if it is another than before. The picture is not touched.
    pub(super) fn status(&mut self, terminal: &Terminal, text: &str) -> Vec<u8> {
        let bar: String = text.chars().map(narrow).collect();
        if bar == self.bar {
            return Vec::new();
        }
        self.bar = bar;
        let mut out = String::new();
        self.draw_bar(&mut out);
        self.put_cursor(&mut out, terminal);
        out.into_bytes()
    }

    /// What puts the cursor below the picture.
    pub(super) fn leave(&self) -> Vec<u8> {
        format!("\x1b[0m\x1b[{};1H\r\n", self.rows).into_bytes()
    }

    fn draw_bar(&self, out: &mut String) {
        if self.picture() < self.rows {
            // One column stays free: a full row would move the cursor on.
            let bar: String = self.bar.chars().take(self.cols.saturating_sub(1)).collect();
            let _ = write!(out, "\x1b[{};1H\x1b[0;7m{bar}\x1b[K\x1b[0m", self.rows);
        }
    }

    fn put_cursor(&self, out: &mut String, terminal: &Terminal) {
        let cursor = terminal.cursor();
        let row = cursor.row.saturating_sub(self.top).min(self.picture().saturating_sub(1));
        let col = cursor.col.saturating_sub(self.left).min(self.cols - 1);
        let _ = write!(out, "\x1b[{};{}H", row + 1, col + 1);
    }

    /// A picture that is larger than the viewer's terminal is followed where the cursor is.
    fn corner(&self, terminal: &Terminal) -> (usize, usize) {
        let ((width, height), cursor, rows) = (terminal.size(), terminal.cursor(), self.picture());
        let (most_top, most_left) = (height.saturating_sub(rows), width.saturating_sub(self.cols));
        if let Part::Fixed(top, left) = self.part {
            return (top.min(most_top), left.min(most_left));
        }
        let top = self.top.min(cursor.row).max((cursor.row + 1).saturating_sub(rows)).min(most_top);
        let left = match cursor.col {
            near if near < self.cols => 0,
            col if (self.left..self.left + self.cols).contains(&col) => self.left,
            col => col.saturating_sub(self.cols / 2),
        };
        (top, left.min(most_left))
    }
}

/// A character of the status line: one that is surely one column wide, so that the line never runs into the picture.
fn narrow(c: char) -> char {
    if matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}') { c } else { '?' }
}

/// One row, from its first shown column; the rest of the viewer's row is cleared.
fn draw_row(out: &mut String, row: usize, cells: &[Cell], columns: Range<usize>, covered: &BTreeSet<usize>) {
    let (left, cols) = (columns.start, columns.len());
    let _ = write!(out, "\x1b[{row};1H\x1b[0m");
    let blank = |c: &Cell| c.char() == ' ' && c.pen().is_default();
    let end = cells.iter().rposition(|c| !blank(c)).map_or(0, |last| last + 1);
    let (mut pen, mut used) = (None, 0);
    // The second half of a wide character whose first half is cut off.
    if cells.get(left).is_some_and(|cell| cell.width() == 0) && left < end {
        out.push(' ');
        used = 1;
    }
    for (column, cell) in cells.iter().enumerate().take(end).skip(left) {
        let width = usize::from(cell.width());
        if width == 0 {
            continue;
        }
        if used + width > cols {
            break;
        }
        used += width;
        if pen != Some(cell.pen()) {
            sgr(out, cell.pen());
            pen = Some(cell.pen());
        }
        match covered.contains(&column) {
            true => out.extend(std::iter::repeat_n(COVER, width)),
            false => out.push(safe(cell.char())),
        }
    }
    out.push_str("\x1b[0m");
    // In the last column the cursor has not moved on, and clearing would take the last character.
    if used < cols {
        out.push_str("\x1b[K");
    }
}

fn sgr(out: &mut String, pen: &Pen) {
    out.push_str("\x1b[0");
    let attributes = [
        (pen.is_bold(), ";1"),
        (pen.is_faint(), ";2"),
        (pen.is_italic(), ";3"),
        (pen.is_underline(), ";4"),
        (pen.is_inverse(), ";7"),
        (pen.is_strikethrough(), ";9"),
    ];
    out.extend(attributes.iter().filter(|(on, _)| *on).map(|(_, code)| *code));
    for (base, color) in [(38, pen.foreground()), (48, pen.background())] {
        let _ = match color {
            Some(Color::Indexed(n)) => write!(out, ";{base};5;{n}"),
            Some(Color::RGB(rgb)) => write!(out, ";{base};2;{};{};{}", rgb.r, rgb.g, rgb.b),
            None => Ok(()),
        };
    }
    out.push('m');
}
