//! A recording as lines of text with their time, as a terminal would have shown them: for reading.
//!
//! Soft-wrapped rows are joined. A line is told when it leaves the screen: scrolled away, or wiped. What a full-screen program shows is told
//! when somebody could have read it: when the output pauses, and before the program draws over it or leaves; once, however often it is drawn.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use avt::parser::{DecMode, EdScope, Function};
use avt::{Line, Observation, Observer, Operation, ScreenKind, Terminal};

use super::RecordError;
use super::cast::{CastEvent, CastHeader};
use super::covering::goes_on_in;
use super::screen::{apply, safe, virtual_terminal};
use super::standing::{self, Standing, hash};
use crate::access::mask::{Mask, OVERLAP};

/// A line that is longer goes on as another: a host may never end one.
pub const MAX_LINE: usize = 64 * 1024;
/// Output is seen in slices of so many bytes: a few of them can fill a screen and clear it again.
const SLICE: usize = 256;
/// After a pause of so many seconds everybody could have read what a full-screen program shows.
const PAUSE: f64 = 0.05;
/// Output without a pause is looked at this often.
const LOOK: f64 = 0.25;
/// And the row under the cursor when it stood so long.
const STOOD: f64 = 1.5;
/// Lines that were told already are known by a hash; so many of them.
const KNOWN: usize = 16 * 1024;
/// Pictures that go by faster than anybody reads are not told: cells that may be looked at at once..
const BURST: usize = 8 << 20;
/// ..and that come back in a second of the recording's own time.
const REFILL: f64 = 524_288.0;
/// What is said instead.
const GAP: &str = "[some of what was drawn from here on went by faster than anybody reads, and is not told as text]";

/// A line, and when it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextLine {
    /// Since the recording's beginning.
    pub at: Duration,
    /// Printable characters only; at most [`MAX_LINE`] bytes and a character.
    pub text: String,
    /// Something in it is covered.
    pub masked: bool,
}

/// What a recording tells, in order.
#[derive(Debug)]
pub enum Told {
    /// A line of the screen.
    Line(TextLine),
    /// What is no output.
    Event(CastEvent),
}

/// Yields what a recording tells, in bounded memory.
pub struct Transcript<I> {
    events: I,
    /// An output that is not seen to its end, and how far it is.
    seeing: Option<(CastEvent, usize)>,
    terminal: Terminal,
    rows: Rows,
    ready: VecDeque<Told>,
    over: bool,
    last: f64,
    looked: f64,
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Transcript<I> {
    /// Of the events of a file with this header.
    pub fn new(header: &CastHeader, events: I) -> Self {
        let terminal = virtual_terminal(header);
        let rows = Rows { dirty: vec![false; terminal.size().1], left: BURST, ..Rows::default() };
        Self { events, seeing: None, terminal, rows, ready: VecDeque::new(), over: false, last: 0.0, looked: 0.0 }
    }

    /// Covers what this masks.
    pub fn masked(mut self, mask: Option<Arc<Mask>>) -> Self {
        self.rows.mask = mask;
        self
    }

    /// The lines alone.
    pub fn lines(self) -> impl Iterator<Item = Result<TextLine, RecordError>> {
        self.filter_map(|told| match told {
            Ok(Told::Line(line)) => Some(Ok(line)),
            Ok(Told::Event(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Lets the terminal see a little more. False at the end.
    fn see(&mut self) -> Result<bool, RecordError> {
        let (event, from) = match self.seeing.take() {
            Some(seeing) => seeing,
            None => match self.events.next().transpose()? {
                Some(event) => {
                    self.passed(event.time());
                    (event, 0)
                }
                None => return Ok(false),
            },
        };
        if let ('o', text) = event.parts() {
            let to = text.floor_char_boundary(from + SLICE);
            self.terminal.feed_with(text.get(from..to).unwrap_or_default(), &mut self.rows);
            if to < text.len() {
                self.seeing = Some((event, to));
            }
        } else {
            apply(&mut self.terminal, &event, &mut self.rows);
            self.tell();
            self.ready.push_back(Told::Event(event));
        }
        Ok(true)
    }

    /// Time has passed: what stood there until now could be read.
    fn passed(&mut self, now: f64) {
        let pause = now - self.last;
        if self.terminal.active_screen_kind() == ScreenKind::Alternate && (pause >= PAUSE || now - self.looked >= LOOK) {
            self.rows.picture(&self.terminal, (pause < STOOD).then(|| self.terminal.cursor().row));
            self.looked = now;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a bound, and between 0 and a minute")]
        let back = (pause.clamp(0.0, 60.0) * REFILL) as usize;
        self.rows.rested(back);
        self.last = now;
        self.rows.at = Duration::try_from_secs_f64(now).unwrap_or_default();
    }

    fn tell(&mut self) {
        self.ready.extend(self.rows.ready.drain(..).map(Told::Line));
    }
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Iterator for Transcript<I> {
    type Item = Result<Told, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(Ok(told));
            }
            if self.over {
                return None;
            }
            match self.see() {
                Ok(true) => {}
                Ok(false) => {
                    self.over = true;
                    self.rows.finish(&self.terminal);
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
            self.tell();
        }
    }
}

/// Gathers what leaves the screen into lines.
#[derive(Default)]
struct Rows {
    at: Duration,
    /// Rows that scrolled away and go on in the next.
    pending: String,
    /// Where in it a row ended that goes on in the next without having wrapped: a line of its own, and part of what may be masked.
    breaks: Vec<usize>,
    /// Somebody may have been typing on it when the recording ended.
    typed_on: bool,
    ready: Vec<TextLine>,
    mask: Option<Arc<Mask>>,
    /// Rows of the alternate screen that changed since they were told.
    dirty: Vec<bool>,
    /// What the alternate screen has shown since it was entered.
    pictured: HashSet<u64>,
    /// What was told before a program began to draw over it, and may stand there still.
    standing: HashSet<u64>,
    /// Cells that may still be looked at.
    left: usize,
    gap: bool,
}

impl Rows {
    fn finish(&mut self, terminal: &Terminal) {
        if terminal.active_screen_kind() == ScreenKind::Alternate {
            self.picture(terminal, None);
        }
        self.primary(terminal);
        if !self.pending.is_empty() {
            self.end_line();
        }
    }

    fn primary(&mut self, terminal: &Terminal) {
        let start = self.ready.len();
        let all: Vec<&Line> = terminal.primary_screen().all_lines().collect();
        let shown = terminal.active_screen_kind() == ScreenKind::Primary;
        let cursor = shown.then(|| (all.len() + terminal.cursor().row).saturating_sub(terminal.size().1));
        for (n, line) in all.iter().enumerate() {
            self.typed_on |= cursor == Some(n);
            self.push(line, all.get(n + 1).copied());
        }
        // The rest of the screen is empty, which is not to say that the host wrote empty lines.
        while self.ready.len() > start && self.ready.last().is_some_and(|line| line.text.is_empty()) {
            self.ready.pop();
        }
    }

    fn push(&mut self, line: &Line, next: Option<&Line>) {
        for c in line.chars().map(safe) {
            self.pending.push(c);
            if self.pending.len() >= MAX_LINE {
                self.cut();
            }
        }
        if line.is_wrapped() {
            return;
        }
        match self.mask.is_some() && self.pending.len() < MAX_LINE / 2 && goes_on_in(line, next) {
            true => self.breaks.push(self.pending.len()),
            false => self.end_line(),
        }
    }

    fn end_line(&mut self) {
        let (all, typed_on) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.typed_on));
        let (shown, mut from) = (self.shown(all.trim_end(), typed_on), 0);
        let mut shown = shown.chars();
        for to in std::mem::take(&mut self.breaks).into_iter().chain([all.len()]) {
            let line = all.get(from..to).unwrap_or_default();
            let covered: String = shown.by_ref().take(line.chars().count()).collect();
            let (line, covered) = (line.trim_end(), covered.trim_end());
            if !self.standing.remove(&hash(line)) {
                self.ready.push(TextLine { at: self.at, masked: covered != line, text: covered.to_owned() });
            }
            from = to;
        }
    }

    /// What is pending is too long: tells it, up to where no match is cut in two.
    fn cut(&mut self) {
        let mut line = std::mem::take(&mut self.pending);
        if let Some(mask) = &self.mask {
            let mut at = line.floor_char_boundary(line.len() - OVERLAP);
            if let Some(across) = mask.matches(&line).into_iter().find(|found| found.start < at && at < found.end) {
                at = if across.start > 0 { across.start } else { across.end };
            }
            self.pending = line.split_off(at);
        }
        self.breaks.clear();
        let shown = self.shown(&line, false);
        self.ready.push(TextLine { at: self.at, masked: shown != line, text: shown });
    }

    fn shown(&self, line: &str, typed_on: bool) -> String {
        let cover = |mask: &Arc<Mask>| if typed_on { mask.unfinished(line).into_owned() } else { mask.text(line).into_owned() };
        self.mask.as_ref().map_or_else(|| line.to_owned(), cover)
    }

    /// Time has passed in which so many cells could be read.
    fn rested(&mut self, cells: usize) {
        self.left = BURST.min(self.left + cells);
        self.gap &= self.left < BURST / 8;
    }

    /// Tells each changed row of a full-screen program's picture, but the one that is typed on.
    fn picture(&mut self, terminal: &Terminal, typed_on: Option<usize>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let lines = self.standing_in(terminal, 0..dirty.len(), |rows| {
            let wanted = !typed_on.is_some_and(|row| rows.contains(&row)) && rows.clone().any(|row| dirty.get(row) == Some(&true));
            if wanted {
                dirty.iter_mut().take(rows.end).skip(rows.start).for_each(|dirty| *dirty = false);
            }
            wanted
        });
        self.dirty = dirty;
        if self.pictured.len() >= KNOWN {
            self.pictured.clear();
        }
        for line in lines {
            if self.pictured.insert(line.hash) {
                self.stood(line);
            }
        }
    }

    /// A program begins to draw over the primary screen: tells what stands there.
    fn before_home(&mut self, terminal: &Terminal) {
        let lines = self.standing_in(terminal, 0..terminal.size().1, |_| true);
        let before = std::mem::take(&mut self.standing);
        for line in lines {
            if self.standing.insert(line.hash) && !before.contains(&line.hash) {
                self.stood(line);
            }
        }
    }

    /// These rows of the primary screen are wiped: tells what stood there.
    fn wiped(&mut self, terminal: &Terminal, rows: Range<usize>) {
        for line in self.standing_in(terminal, rows, |_| true) {
            if !self.standing.remove(&line.hash) {
                self.stood(line);
            }
        }
    }

    fn stood(&mut self, line: Standing) {
        self.ready.push(TextLine { at: self.at, text: line.text, masked: line.masked });
    }

    /// The lines that are wanted of those that are partly in these rows, if so much may be looked at.
    fn standing_in(&mut self, terminal: &Terminal, rows: Range<usize>, wanted: impl FnMut(&Range<usize>) -> bool) -> Vec<Standing> {
        let (cols, height) = terminal.size();
        let lines: Vec<_> = standing::lines(terminal, rows).into_iter().filter(wanted).collect();
        let cells = if lines.is_empty() { 0 } else { height + lines.iter().map(|rows| rows.len() * cols).sum::<usize>() };
        let Some(left) = self.left.checked_sub(cells) else {
            if !std::mem::replace(&mut self.gap, true) {
                self.ready.push(TextLine { at: self.at, text: GAP.to_owned(), masked: false });
            }
            return Vec::new();
        };
        self.left = left;
        let above = if terminal.active_screen_kind() == ScreenKind::Primary { self.pending.as_str() } else { "" };
        standing::read(terminal, lines, self.mask.as_deref(), above)
    }
}

impl Observer for Rows {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        let terminal = context.terminal();
        let (cursor, rows, picture) = (terminal.cursor(), terminal.size().1, terminal.active_screen_kind() == ScreenKind::Alternate);
        let function = match operation {
            Operation::Function(function) => function,
            Operation::Resize { .. } if picture => return self.picture(terminal, None),
            // Rows below the cursor go first where a window gets lower.
            Operation::Resize { rows: lower, .. } if *lower < rows => return self.wiped(terminal, cursor.row + 1..rows),
            Operation::Resize { .. } => return,
        };
        match function {
            Function::Print(_) => {}
            Function::Decset(modes) | Function::Decrst(modes) => {
                let switches = |mode: &DecMode| matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer);
                if modes.as_slice().iter().any(switches) {
                    if picture {
                        self.picture(terminal, None);
                    }
                    self.pictured.clear();
                }
            }
            Function::Lf | Function::Nel if picture && cursor.row + 1 >= rows => self.picture(terminal, None),
            Function::Cup(0 | 1, 0 | 1) | Function::Ed(_) | Function::Decaln | Function::Ris if picture => self.picture(terminal, None),
            Function::Dl(_) | Function::Il(_) | Function::Su(_) | Function::Sd(_) if picture => self.picture(terminal, Some(cursor.row)),
            Function::Ri if picture && cursor.row == 0 => self.picture(terminal, None),
            Function::Cup(0 | 1, 0 | 1) => self.before_home(terminal),
            Function::Dl(_) | Function::Il(_) | Function::Sd(_) => self.before_home(terminal),
            Function::Ed(EdScope::Below) => self.wiped(terminal, cursor.row + usize::from(cursor.col > 0)..rows),
            Function::Ed(EdScope::Above) => self.wiped(terminal, 0..cursor.row),
            Function::Decaln => self.wiped(terminal, 0..rows),
            _ => {}
        }
        if matches!(function, Function::Ris) {
            self.primary(terminal);
            self.standing.clear();
        }
    }

    fn resized(&mut self, _: usize, rows: usize) {
        self.dirty = vec![true; rows];
    }

    fn dirty(&mut self, rows: Range<usize>) {
        self.dirty.iter_mut().take(rows.end).skip(rows.start).for_each(|dirty| *dirty = true);
    }

    fn evicted(&mut self, context: &mut Observation<'_>, line: &Line) {
        self.push(line, context.terminal().primary_screen().all_lines().next());
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{ChannelKind, ChannelMeta, sample};

    #[test]
    fn lines_have_the_time_they_were_left() {
        let meta = ChannelMeta { kind: ChannelKind::Exec, command: None, terminal: None };
        let header = CastHeader::new(&sample::meta(), 1, &meta, None, 0);
        let long = "x".repeat(200);
        let output = |n: u64| format!("line {n} \x1b[31mred\x1b[0m {long}\r\n");
        let events = (0..30u64).map(|n| {
            let line = serde_json::to_vec(&(n as f64, 'o', output(n))).unwrap();
            Ok(CastEvent::parse(&line).unwrap())
        });
        let lines: Vec<_> = Transcript::new(&header, events).lines().map(Result::unwrap).collect();
        let want: Vec<_> = (0..30).map(|n| format!("line {n} red {long}")).collect();
        assert_eq!(lines.iter().map(|l| l.text.clone()).collect::<Vec<_>>(), want);
        assert!(lines[0].at < lines[20].at && lines[29].at == Duration::from_secs(29));
    }

    type Event = Result<CastEvent, RecordError>;

    fn transcript(outputs: impl Iterator<Item = String>) -> Transcript<impl Iterator<Item = Event>> {
        let terminal = Some(crate::recording::TerminalMeta { term: "xterm".into(), cols: 1000, rows: 300 });
        let meta = ChannelMeta { kind: ChannelKind::Shell, command: None, terminal };
        let header = CastHeader::new(&sample::meta(), 1, &meta, None, 0);
        let event = |text: String| CastEvent::parse(&serde_json::to_vec(&(0.0, 'o', text)).unwrap()).map_err(|_| RecordError::Poisoned);
        Transcript::new(&header, outputs.map(event))
    }

    #[test]
    fn a_line_without_an_end_is_told_in_pieces() {
        let lines: Vec<_> = transcript((0..200).map(|_| "x".repeat(10_000))).lines().map(|l| l.unwrap().text).collect();
        assert!(lines.iter().all(|l| l.len() <= MAX_LINE && l.bytes().all(|b| b == b'x')));
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 2_000_000);
        assert!(lines.len() > 30);
    }

    #[test]
    fn a_few_bytes_that_fill_screens_fill_no_memory() {
        // Fill the screen, clear it into the history; a character, many times over.
        let bomb = "\x1b#8\x1b[2J".repeat(60) + &"a\x1b[65535b".repeat(40);
        let (mut transcript, mut most, mut all) = (transcript(std::iter::once(bomb)), 0, 0);
        let length = |told: &Told| if let Told::Line(line) = told { line.text.len() } else { 0 };
        while let Some(told) = transcript.next() {
            all += length(&told.unwrap());
            most = most.max(transcript.ready.iter().map(length).sum::<usize>());
        }
        assert!(all > 10 << 20 && most < 12 << 20, "{most} of {all} bytes at once");
    }

    #[test]
    fn a_number_is_covered_wherever_a_line_is_cut() {
        let mask = || Some(Arc::new(Mask::built_in()));
        let long = MAX_LINE - 300;
        for shift in [0, 1, 50, 88, 89, 95, 99, 100, 101, 150, 299, 300] {
            let text = format!("{}mrn: 12345678 {}\r\n", " ".repeat(long - shift - 512 + 300), "x".repeat(2000));
            let lines: Vec<_> = transcript(std::iter::once(text)).masked(mask()).lines().map(Result::unwrap).collect();
            let all: String = lines.iter().map(|l| l.text.as_str()).collect();
            assert!(all.contains("mrn: ******** x") && !all.contains("123"), "{shift}");
            assert_eq!(lines.iter().filter(|l| l.masked).count(), 1);
        }
        let lines: Vec<_> = transcript(["123-4", "5-67\x1b[1m89\r\nplain\r\n"].map(str::to_owned).into_iter())
            .masked(mask())
            .lines()
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines.iter().map(|l| (l.text.as_str(), l.masked)).collect::<Vec<_>>(), [("***********", true), ("plain", false)]);
    }

    fn shown(pieces: &[(f64, &str)], mask: Option<Arc<Mask>>) -> Vec<(f64, String, bool)> {
        let terminal = Some(crate::recording::TerminalMeta { term: "xterm".into(), cols: 30, rows: 6 });
        let meta = ChannelMeta { kind: ChannelKind::Shell, command: None, terminal };
        let header = CastHeader::new(&sample::meta(), 1, &meta, None, 0);
        let events = pieces.iter().map(|(at, text)| Ok(CastEvent::parse(&serde_json::to_vec(&(at, 'o', text)).unwrap()).unwrap()));
        let lines = Transcript::new(&header, events.collect::<Vec<_>>().into_iter()).masked(mask).lines();
        lines.map(Result::unwrap).map(|line| (line.at.as_secs_f64(), line.text, line.masked)).collect()
    }

    fn texts(pieces: &[(f64, &str)]) -> Vec<String> {
        shown(pieces, None).into_iter().map(|(_, text, _)| text).collect()
    }

    #[test]
    fn what_an_editor_showed_is_told_in_its_place() {
        let vi = "$ vi\r\n\x1b[?1049h\x1b[Hpatient 4711\x1b[2;1Hdiagnosis\x1b[?1049l$ ls\r\none\r\n";
        assert_eq!(texts(&[(0.0, vi)]), ["patient 4711", "diagnosis", "$ vi", "$ ls", "one"]);
        // A second look is told again, a picture that is drawn anew is not; what is typed is told when it is done.
        let pieces = [
            (0.0, "$ less\r\n\x1b[?1049h\x1b[Hone\r\ntwo"),
            (1.0, "\x1b[Hone\r\ntwo\r\nthr"),
            (1.1, "ee"),
            (5.0, "\x1b[?1049l"),
            (6.0, "\x1b[?1049h\x1b[Hone\x1b[?1049l"),
        ];
        let told: Vec<_> = shown(&pieces, None).into_iter().map(|(at, text, _)| (at, text)).collect();
        let want = [(0.0, "one"), (1.0, "two"), (1.1, "three"), (6.0, "one"), (6.0, "$ less")];
        assert_eq!(told, want.map(|(at, text)| (at, text.to_owned())));
    }

    #[test]
    fn each_page_of_a_pager_is_told() {
        let page = |n: usize| (0..6).map(|line| format!("\r\npage {n} line {line}")).collect::<String>();
        let all = format!("\x1b[?1049h{}\x1b[?1049l", (0..9).map(page).collect::<String>());
        let told = texts(&[(0.0, &all)]);
        assert_eq!(told.len(), 54, "{told:?}");
    }

    #[test]
    fn what_is_wiped_or_drawn_over_is_told_once() {
        assert_eq!(texts(&[(0.0, "$ cat x\r\npatient\r\n\x1b[H\x1b[J$ ls\r\n")]), ["$ cat x", "patient", "$ ls"]);
        assert_eq!(texts(&[(0.0, "one\r\ntwo\r\n\x1b[H\x1b[2J\x1b[3Jone\r\n")]), ["one", "two", "one"]);
        assert_eq!(texts(&[(0.0, "$ x\r\nmenu a\r\nmenu b\x1b[2;1H\x1b[J$ y\r\n")]), ["menu a", "menu b", "$ x", "$ y"]);
        // A program that draws over the screen and never wipes it; the same lines again, later, are lines again.
        let frame = |n: u32| format!("\x1b[Hload {n}\r\nPID USER\r\n");
        let frames = (0..3).map(frame).collect::<String>() + "\x1b[2J\x1b[HPID USER\r\n";
        assert_eq!(texts(&[(0.0, &frames)]), ["load 0", "PID USER", "load 1", "load 2", "PID USER"]);
        assert_eq!(texts(&[(0.0, "same\r\nsame\r\n\r\nsame\r\n")]), ["same", "same", "", "same"]);
    }

    #[test]
    fn what_stood_on_any_screen_is_covered() {
        let mask = || Some(Arc::new(Mask::built_in()));
        for text in [
            "\x1b[?1049h\x1b[Hssn 123-4\x1b[1m5-6789 x\x1b[?1049l",
            "ssn 123-45-6789 x\x1b[H\x1b[J",
            "\x1b[?1049h\x1b[1;26H123-4\x1b[2;1H5-6789 x\x1b[?1049l",
        ] {
            let told = shown(&[(0.0, text)], mask());
            let all: String = told.iter().map(|(_, text, _)| text.as_str()).collect();
            assert!(told.iter().any(|(_, _, masked)| *masked) && !all.contains(|c: char| c.is_ascii_digit()), "{text:?}: {told:?}");
        }
        for typed in ["ssn 123-45-678", "\x1b[?1049hssn 123-45-678"] {
            let told = shown(&[(0.0, typed), (9.0, "")], mask());
            assert_eq!(told.iter().map(|(_, text, masked)| (text.as_str(), *masked)).collect::<Vec<_>>(), [("ssn **********", true)]);
        }
    }

    #[test]
    fn pictures_that_cost_more_than_they_are_long_are_not_told_and_that_is_said() {
        let storm = format!("\x1b[?1049h{}\x1b[?1049l", (0..100).map(|n| format!("\x1b[Hn{n}\x1b#8")).collect::<String>());
        let began = std::time::Instant::now();
        let lines: Vec<_> = transcript(std::iter::once(storm)).lines().map(|l| l.unwrap().text).collect();
        assert!(lines.iter().filter(|line| *line == GAP).count() == 1, "{}", lines.len());
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_number_over_two_rows_that_a_program_filled_itself_is_covered_and_they_stay_two_lines() {
        let header = |cols| {
            let terminal = Some(crate::recording::TerminalMeta { term: "xterm".into(), cols, rows: 4 });
            CastHeader::new(&sample::meta(), 1, &ChannelMeta { kind: ChannelKind::Shell, command: None, terminal }, None, 0)
        };
        for scrolls in ["", "\x1b[4;1H\r\n1\r\n2\r\n3\r\n4"] {
            let text = format!("\x1b[1;15H123-45\x1b[2;1H-6789 \u{e4} x\x1b[3;1H{scrolls}");
            let event =
                || std::iter::once(CastEvent::parse(&serde_json::to_vec(&(0.0, 'o', &text)).unwrap()).map_err(|_| RecordError::Poisoned));
            let read = |mask| Transcript::new(&header(20), event()).masked(mask).lines().map(|l| l.unwrap().text).collect::<Vec<_>>();
            assert_eq!(read(Some(Arc::new(Mask::built_in())))[..2], ["              ******", "***** \u{e4} x"]);
            assert_eq!(read(None)[..2], ["              123-45", "-6789 \u{e4} x"]);
        }
    }
}
