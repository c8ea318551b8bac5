//! One channel's text as it stood on the screen, full-screen programs included, while it happens.
//!
//! Rows are told when somebody could have read them: when the output pauses, before they are wiped, drawn over or scrolled away. A row that
//! is being typed on is told when the cursor has left it, or stood still on it for a while. What is told once is not told again, however
//! often a program draws it.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use avt::parser::{DecMode, EdScope, Function};
use avt::{Line, Observation, Observer, Operation, Parser, ScreenKind, Terminal};

use crate::recording::cast::Newline;
use crate::recording::covering::{goes_on_in, is_of_a_word};
use crate::recording::screen::safe;
use crate::recording::work::{Allowance, Turn, Work, fitting};

/// A line that is longer goes on as another.
pub const MAX_LINE: usize = 4096;
/// A screen is taken as no larger: every open channel of every session has one.
const MAX_COLS: u32 = 500;
/// The same for rows.
const MAX_ROWS: u32 = 200;
/// After a pause of so many microseconds everybody could have read what stands there.
const PAUSE: u64 = 50_000;
/// Output without a pause is looked at this often.
const LOOK: u64 = 250_000;
/// And the row under the cursor when it stood so long.
const STOOD: u64 = 1_500_000;
/// Texts that were told already are known by a hash; so many of them.
const KNOWN: usize = 16 * 1024;
/// What scrolls by faster than anybody reads is not looked at: units of work (see [`crate::recording::work`]) that may come at once..
const BURST: u64 = 8 << 20;
/// ..and that come back in a second of the recording's own time.
const REFILL: u64 = 512 << 10;
/// The line that stands where output was not looked at.
pub const GAP: &str = "(some output went by too fast here and was not gathered)";

/// A line, and when it stood on the screen: microseconds since the recording's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLine {
    /// When.
    pub at: u64,
    /// Printable characters only.
    pub text: String,
}

/// Gathers one channel's lines.
pub struct ScreenText {
    parser: Parser,
    terminal: Terminal,
    seen: Seen,
    newline: Newline,
    /// The newest size, until something is shown in it.
    size: Option<(usize, usize)>,
    /// The beginning of a character whose rest comes in the next piece.
    torn: Vec<u8>,
    last: u64,
    looked: u64,
    allowance: Allowance,
    /// Bytes that went by too fast.
    pub skipped: u64,
}

impl ScreenText {
    /// Of a screen of `cols` by `rows`; 0 is unknown.
    pub fn new(cols: u32, rows: u32, newline: Newline) -> Self {
        let (cols, rows) = bounded(cols, rows);
        #[expect(clippy::expect_used, reason = "only a size of zero is an error, and bounded() makes none")]
        let terminal = Terminal::new(cols, rows).expect("a size of at least 1 by 1");
        let seen = Seen { dirty: vec![false; rows], ..Seen::default() };
        let (parser, allowance) = (Parser::new(), Allowance::new(BURST));
        Self { parser, terminal, seen, newline, size: None, torn: Vec::new(), last: 0, looked: 0, allowance, skipped: 0 }
    }

    /// Output at this time; times never go back.
    pub fn output(&mut self, at: u64, bytes: &[u8], told: &mut Vec<SeenLine>) {
        self.settle(at, told);
        let turn = self.allowance.turn();
        if turn == Turn::Skip {
            self.skipped += bytes.len() as u64;
            return;
        }
        self.fit();
        if turn == Turn::Resume {
            // What was left out may have ended in the middle of a sequence.
            self.torn.clear();
            self.feed("\u{18}\r\n");
        }
        let text = decode(&mut self.torn, bytes);
        match self.newline {
            Newline::CrLf => self.feed(&text.replace('\n', "\r\n")),
            Newline::Raw => self.feed(&text),
        }
        self.tell(at, told);
    }

    /// The screen has another size. Who pulls at the corner of a window makes thousands: the one counts in which something is shown.
    pub fn resize(&mut self, at: u64, cols: u32, rows: u32, told: &mut Vec<SeenLine>) {
        self.settle(at, told);
        self.size = Some(bounded(cols, rows));
    }

    fn fit(&mut self) {
        let Some((cols, rows)) = self.size.take().filter(|size| *size != self.terminal.size()) else { return };
        self.seen.all(&self.terminal, None);
        self.terminal.resize_with(cols, rows, &mut self.seen);
        self.seen.dirty.resize(rows, true);
        self.allowance.spend(self.seen.work.take());
    }

    /// A line that is no output: a command, what was done to a file.
    pub fn remark(&mut self, at: u64, text: &str, told: &mut Vec<SeenLine>) {
        self.seen.emit(text.chars().map(safe));
        self.tell(at, told);
    }

    /// The channel is over: what stands there since its last output.
    pub fn finish(&mut self, told: &mut Vec<SeenLine>) {
        self.seen.all(&self.terminal, None);
        if self.terminal.active_screen_kind() == ScreenKind::Alternate {
            self.seen.end_pending();
        }
        self.tell(self.last, told);
    }

    /// Before something new: what stood there until now.
    fn settle(&mut self, at: u64, told: &mut Vec<SeenLine>) {
        let pause = at.saturating_sub(self.last);
        if pause >= PAUSE || at.saturating_sub(self.looked) >= LOOK {
            let typed_on = (pause < STOOD || self.in_a_number()).then(|| self.terminal.cursor().row);
            self.seen.all(&self.terminal, typed_on);
            self.looked = at;
            self.tell(self.last, told);
        }
        self.allowance.comes_back(pause.min(60_000_000) * REFILL / 1_000_000);
        self.last = self.last.max(at);
    }

    /// The cursor stands behind a digit or a dash: half a number is no text to be found, and no mask knows it.
    fn in_a_number(&self) -> bool {
        let cursor = self.terminal.cursor();
        let cell = self.terminal.screen().line(cursor.row).and_then(|line| line.cells().get(cursor.col.checked_sub(1)?));
        cell.is_some_and(|cell| is_of_a_word(cell.char()) && !cell.char().is_alphabetic())
    }

    fn feed(&mut self, text: &str) {
        for (at, c) in text.char_indices() {
            let function = self.parser.feed(c).map(|function| fitting(function, self.terminal.size()));
            if let Some(function) = function {
                self.terminal.execute_with(function, &mut self.seen);
            }
            if !self.allowance.spend(self.seen.work.take() + c.len_utf8() as u64) {
                self.skipped += (text.len() - at - c.len_utf8()) as u64;
                return self.seen.emit(GAP.chars());
            }
        }
    }

    fn tell(&mut self, at: u64, told: &mut Vec<SeenLine>) {
        told.extend(self.seen.ready.drain(..).map(|text| SeenLine { at, text }));
    }
}

fn bounded(cols: u32, rows: u32) -> (usize, usize) {
    let known = |n: u32, most: u32, else_: u32| (if n == 0 { else_ } else { n.min(most) }) as usize;
    (known(cols, MAX_COLS, 80), known(rows, MAX_ROWS, 24))
}

/// Bytes as text; a character that is torn at the end waits for its rest.
fn decode(torn: &mut Vec<u8>, bytes: &[u8]) -> String {
    let joined;
    let bytes = if torn.is_empty() {
        bytes
    } else {
        joined = [torn.as_slice(), bytes].concat();
        torn.clear();
        &joined
    };
    // No character has more than four bytes.
    let tail = bytes.len().saturating_sub(3);
    let from = (tail..bytes.len())
        .find(|at| matches!(bytes.get(*at..).map(std::str::from_utf8), Some(Err(e)) if e.valid_up_to() == 0 && e.error_len().is_none()));
    let (whole, rest) = bytes.split_at_checked(from.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
    torn.extend_from_slice(rest);
    String::from_utf8_lossy(whole).into_owned()
}

/// What the virtual terminal shows, row by row, as far as it is not told.
#[derive(Default)]
struct Seen {
    dirty: Vec<bool>,
    known: HashSet<u64>,
    /// Rows that scrolled away and go on in the next.
    pending: String,
    ready: Vec<String>,
    work: Work,
}

impl Seen {
    /// Tells every row that changed, but the one that is typed on.
    fn all(&mut self, terminal: &Terminal, typed_on: Option<usize>) {
        self.rows(terminal, 0..self.dirty.len(), typed_on);
    }

    fn rows(&mut self, terminal: &Terminal, range: Range<usize>, typed_on: Option<usize>) {
        let (screen, height) = (terminal.screen(), terminal.size().1);
        let primary = terminal.active_screen_kind() == ScreenKind::Primary;
        let wraps = |row: usize| screen.line(row).is_some_and(|line| goes_on_in(line, screen.line(row + 1)));
        for row in range {
            if !self.dirty.get(row).is_some_and(|dirty| *dirty) {
                continue;
            }
            let mut from = row;
            while from > 0 && wraps(from - 1) {
                from -= 1;
            }
            let mut to = row;
            while to + 1 < height && wraps(to) {
                to += 1;
            }
            if typed_on.is_some_and(|typed| (from..=to).contains(&typed)) {
                continue;
            }
            self.dirty.iter_mut().take(to + 1).skip(from).for_each(|dirty| *dirty = false);
            // Its beginning may have scrolled away.
            let mut text = if from == 0 && primary { self.pending.clone() } else { String::new() };
            text.extend((from..=to).filter_map(|row| screen.line(row)).flat_map(Line::chars).map(safe));
            self.work.add(text.len() as u64 / 2);
            self.emit(text.chars());
        }
    }

    fn emit(&mut self, chars: impl Iterator<Item = char>) {
        let mut text = String::new();
        for c in chars {
            if text.len() >= MAX_LINE {
                self.keep(&text);
                text.clear();
            }
            text.push(c);
        }
        self.keep(&text);
    }

    fn keep(&mut self, text: &str) {
        let text = text.trim_end();
        if text.trim_start().chars().nth(1).is_none() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        if self.known.insert(hasher.finish()) {
            self.ready.push(text.to_owned());
        }
    }

    fn end_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.keep(&pending);
    }
}

impl Observer for Seen {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        (&self.work).before(context, operation);
        let terminal = context.terminal();
        let Operation::Function(function) = operation else { return self.all(terminal, None) };
        let (cursor, rows) = (terminal.cursor(), terminal.size().1);
        match function {
            // The bottom row pushes the top one away; on the primary screen that is told as it goes.
            Function::Lf | Function::Nel if terminal.active_screen_kind() == ScreenKind::Alternate && cursor.row + 1 >= rows => {
                self.all(terminal, None);
            }
            // Where a program begins to draw a picture anew.
            Function::Cup(0 | 1, 0 | 1) => self.all(terminal, None),
            Function::Ed(EdScope::Below) => self.rows(terminal, cursor.row + 1..rows, None),
            Function::Ed(EdScope::Above) => self.rows(terminal, 0..cursor.row, None),
            Function::Decset(modes) | Function::Decrst(modes) => {
                if modes.as_slice().iter().any(|mode| matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer)) {
                    self.all(terminal, None);
                }
            }
            Function::Ed(_) | Function::Ris | Function::Decaln => self.all(terminal, None),
            Function::Dl(_) | Function::Il(_) | Function::Su(_) | Function::Sd(_) => self.all(terminal, Some(cursor.row)),
            Function::Ri if cursor.row == 0 => self.all(terminal, None),
            _ => return,
        }
        // Every row was asked whether it has changed.
        self.work.add(rows as u64 / 4);
    }

    fn dirty(&mut self, rows: Range<usize>) {
        let height = self.dirty.len();
        self.dirty.iter_mut().take(rows.end.min(height)).skip(rows.start).for_each(|dirty| *dirty = true);
    }

    fn evicted(&mut self, context: &mut Observation<'_>, line: &Line) {
        (&self.work).evicted(context, line);
        self.pending.extend(line.chars().map(safe));
        let next = context.terminal().primary_screen().all_lines().next();
        if !goes_on_in(line, next) || self.pending.len() >= MAX_LINE {
            self.end_pending();
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(newline: Newline, pieces: &[(u64, &str)]) -> Vec<(u64, String)> {
        let (mut screen, mut told) = (ScreenText::new(40, 10, newline), Vec::new());
        for (at, piece) in pieces {
            screen.output(at * 1000, piece.as_bytes(), &mut told);
        }
        screen.finish(&mut told);
        told.into_iter().map(|line| (line.at / 1000, line.text)).collect()
    }

    fn texts(pieces: &[(u64, &str)]) -> Vec<String> {
        lines(Newline::Raw, pieces).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_shell_tells_whole_lines_when_they_stood_there() {
        let typed = [(0, "$ "), (100, "l"), (200, "s"), (300, "\r\n"), (310, "one.txt\r\ntwo.txt\r\n$ "), (900, "exit\r\n")];
        let told = lines(Newline::Raw, &typed);
        assert_eq!(told, [(310, "$ ls".into()), (310, "one.txt".into()), (310, "two.txt".into()), (900, "$ exit".into())]);
        // Somebody thinks for a while over what is half typed.
        assert_eq!(texts(&[(0, "$ rm -r"), (5000, "f /\r\n")]), ["$ rm -r", "$ rm -rf /"]);
    }

    #[test]
    fn colours_and_moves_inside_of_a_word_do_not_tear_it() {
        assert_eq!(texts(&[(0, "pass\x1b[31mword\x1b[0m\x1b[1;30Hfar\r\n")]), [format!("{:<29}far", "password")]);
        assert_eq!(texts(&[(0, "wrong\rright\r\n")]), ["right"]);
    }

    #[test]
    fn a_line_that_wraps_is_one_line() {
        let long = "0123456789".repeat(13);
        assert_eq!(texts(&[(0, &format!("{long}\r\n"))]), [long.as_str()]);
        let many = (0..30).map(|n| format!("{n:02} {long}\r\n")).collect::<String>();
        let told = texts(&[(0, &many)]);
        assert!((0..30).all(|n| told.contains(&format!("{n:02} {long}"))), "{told:?}");
    }

    #[test]
    fn what_an_editor_showed_is_told_though_it_left_within_a_moment() {
        let shown = "$ vi\r\n\x1b[?1049h\x1b[2J\x1b[1;1Hpatient 4711\x1b[2;1Hdiagnosis\x1b[?1049l$ ";
        assert_eq!(texts(&[(0, shown)]), ["$ vi", "patient 4711", "diagnosis"]);
    }

    #[test]
    fn each_page_of_a_pager_is_told() {
        let mut out = String::from("\x1b[?1049h");
        for line in 0..50 {
            out.push_str(&format!("line number {line}\r\n"));
        }
        out.push_str("\x1b[?1049l");
        let told = texts(&[(0, &out)]);
        assert!((0..50).all(|n| told.contains(&format!("line number {n}"))), "{told:?}");
    }

    #[test]
    fn a_picture_that_is_drawn_again_and_again_is_told_once() {
        let frame = |n: u64| (n * 3000, format!("\x1b[Htop - {}\x1b[K\r\n  PID USER\x1b[K\r\n 4711 root\x1b[K\x1b[J", n / 10));
        let frames: Vec<(u64, String)> = (0..40).map(frame).collect();
        let frames: Vec<(u64, &str)> = frames.iter().map(|(at, text)| (*at, text.as_str())).collect();
        assert_eq!(texts(&frames), ["top - 0", "  PID USER", " 4711 root", "top - 1", "top - 2", "top - 3"]);
    }

    #[test]
    fn characters_torn_between_pieces_are_put_together() {
        let text = "größe 日本 \u{1f600}\n";
        let (mut screen, mut told) = (ScreenText::new(0, 0, Newline::CrLf), Vec::new());
        for (at, byte) in text.bytes().enumerate() {
            screen.output(at as u64, &[byte], &mut told);
        }
        screen.finish(&mut told);
        assert_eq!(told.into_iter().map(|line| line.text).collect::<Vec<_>>(), [text.trim_end()]);
        let mut torn = Vec::new();
        assert_eq!((decode(&mut torn, b"a\xff\xc3"), decode(&mut torn, b"x")), ("a\u{fffd}".into(), "\u{fffd}x".into()));
    }

    #[test]
    fn a_flood_costs_no_more_than_its_bound_and_what_comes_after_is_seen() {
        let (mut screen, mut told) = (ScreenText::new(80, 24, Newline::Raw), Vec::new());
        let flood: String = (0..2000).map(|n| format!("flood {n} {}\r\n", "x".repeat(60))).collect();
        for n in 0..400u64 {
            screen.output(n * 1000, flood.as_bytes(), &mut told);
            told.clear();
        }
        assert!(screen.skipped > 40 << 20, "{}", screen.skipped);
        screen.output(60_000_000, b"after \x1b[1mthe\x1b[0m flood\r\n", &mut told);
        screen.finish(&mut told);
        assert!(told.iter().any(|line| line.text == "after the flood"), "{told:?}");
        // Few bytes that mean much work are counted as work.
        let (mut screen, mut told) = (ScreenText::new(500, 200, Newline::Raw), Vec::new());
        screen.output(0, "\x1b[2J\x1b#8".repeat(20_000).as_bytes(), &mut told);
        screen.output(1, "a\x1b[65535b".repeat(20_000).as_bytes(), &mut told);
        assert!(screen.skipped > 100_000);
    }

    #[test]
    fn what_is_not_gathered_leaves_a_line_and_what_means_nothing_costs_nothing() {
        // Nothing stands before the first column: a repetition of it is no work, and hides nothing.
        let (mut screen, mut told) = (ScreenText::new(80, 24, Newline::Raw), Vec::new());
        screen.output(0, "\x1b[65535b".repeat(2000).as_bytes(), &mut told);
        screen.output(1, ("a\x1b[65535b".repeat(50) + ".\r\npatient 4711\r\n").as_bytes(), &mut told);
        screen.finish(&mut told);
        assert_eq!((screen.skipped, told.iter().filter(|line| line.text == "patient 4711").count()), (0, 1));
        let (mut screen, mut told) = (ScreenText::new(80, 24, Newline::Raw), Vec::new());
        for _ in 0..50 {
            screen.output(2, "a\x1b[65535b".repeat(2000).as_bytes(), &mut told);
        }
        screen.output(60_000_000, b"seen again\r\n", &mut told);
        screen.finish(&mut told);
        let last: Vec<&str> = told.iter().rev().take(2).map(|line| line.text.as_str()).collect();
        assert!(screen.skipped > 500_000 && last.contains(&"seen again"), "{} {last:?}", screen.skipped);
        assert_eq!(told.iter().filter(|line| line.text == GAP).count(), 1);
    }

    #[test]
    fn a_storm_of_window_sizes_is_one_size() {
        let begun = std::time::Instant::now();
        let (mut screen, mut told) = (ScreenText::new(500, 200, Newline::Raw), Vec::new());
        screen.output(0, b"$ \x1b#8", &mut told);
        for n in 0..50_000u64 {
            screen.resize(n, 499 + (n % 2) as u32, 200, &mut told);
            // Also with a little output between each.
            if n > 25_000 {
                screen.output(n, b".", &mut told);
            }
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
        screen.resize(90_000_000, 30, 5, &mut told);
        screen.output(90_000_000, format!("\x1b[2J\x1b[H{}\r\n", "w".repeat(40)).as_bytes(), &mut told);
        screen.finish(&mut told);
        assert_eq!((screen.terminal.size(), told.iter().any(|line| line.text == "w".repeat(40))), ((30, 5), true));
    }

    #[test]
    fn half_a_number_is_not_told_before_the_cursor_leaves_it() {
        for typed in ["ssn 123-45-678", "ssn 123-45-"] {
            let frame = format!("\x1b[3;20H|\r{typed}");
            let pieces = [(0, frame.as_str()), (5000, "9"), (9000, "\x1b[1;1H")];
            let told = texts(&pieces);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(&format!("{typed}9")));
        }
        assert_eq!(texts(&[(0, "$ rm -r"), (5000, "f /\r\n")]), ["$ rm -r", "$ rm -rf /"]);
    }

    #[test]
    fn a_word_over_two_rows_that_a_program_wrapped_itself_is_whole_and_a_frame_is_not_one_line() {
        let (mut screen, mut told) = (ScreenText::new(20, 5, Newline::Raw), Vec::new());
        screen.output(0, b"\x1b[1;15H123-45\x1b[2;1H-6789 x\x1b[3;1H", &mut told);
        screen.output(9_000_000, b"\x1b[3;1H|one              |\x1b[4;1H|two              |", &mut told);
        screen.finish(&mut told);
        let lines: Vec<&str> = told.iter().map(|line| line.text.trim()).collect();
        assert_eq!(lines, ["123-45-6789 x", "|one              |", "|two              |"]);
        // And where its first row has scrolled away.
        let (mut screen, mut told) = (ScreenText::new(20, 3, Newline::Raw), Vec::new());
        screen.output(0, b"\x1b[1;15H123-45\x1b[2;1H-6789 x\x1b[3;1H\r\nend", &mut told);
        screen.finish(&mut told);
        assert_eq!(told.iter().map(|line| line.text.trim()).collect::<Vec<_>>(), ["123-45-6789 x", "end"]);
    }
}
