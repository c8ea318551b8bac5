//! A recording as lines of text with their time, as a terminal would have shown them: for search and for reading.
//!
//! Soft-wrapped rows are joined. What happens on the alternate screen (editors, pagers) is not in it yet.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use avt::parser::Function;
use avt::{Line, Observation, Observer, Operation, Terminal};

use super::RecordError;
use super::cast::{CastEvent, CastHeader};
use super::screen::{apply, safe, virtual_terminal};
use crate::access::mask::{Mask, OVERLAP};

/// A line that is longer goes on as another: a host may never end one.
pub const MAX_LINE: usize = 64 * 1024;
/// Output is seen in slices of so many bytes: a few of them can fill a screen and clear it again.
const SLICE: usize = 256;

/// A line, and when it left the screen or the recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextLine {
    /// Since the recording's beginning.
    pub at: Duration,
    /// Printable characters only; at most [`MAX_LINE`] bytes and a character.
    pub text: String,
    /// Something in it is covered.
    pub masked: bool,
}

/// Yields a recording's lines, in bounded memory.
pub struct Transcript<I> {
    events: I,
    /// An output that is not seen to its end, and how far it is.
    seeing: Option<(CastEvent, usize)>,
    terminal: Terminal,
    observer: Option<Rows>,
    ready: VecDeque<TextLine>,
    last: f64,
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Transcript<I> {
    /// Of the events of a file with this header.
    pub fn new(header: &CastHeader, events: I) -> Self {
        let (terminal, observer) = (virtual_terminal(header), Some(Rows::default()));
        Self { events, seeing: None, terminal, observer, ready: VecDeque::new(), last: 0.0 }
    }

    /// Covers what this masks.
    pub fn masked(mut self, mask: Option<Arc<Mask>>) -> Self {
        if let Some(rows) = &mut self.observer {
            rows.mask = mask;
        }
        self
    }

    /// Lets the terminal see a little more. False at the end.
    fn see(&mut self, observer: &mut Rows) -> Result<bool, RecordError> {
        let (event, from) = match self.seeing.take() {
            Some(seeing) => seeing,
            None => match self.events.next().transpose()? {
                Some(event) => (event, 0),
                None => return Ok(false),
            },
        };
        self.last = event.time();
        if let ('o', text) = event.parts() {
            let to = text.floor_char_boundary(from + SLICE);
            self.terminal.feed_with(text.get(from..to).unwrap_or_default(), observer);
            if to < text.len() {
                self.seeing = Some((event, to));
            }
        } else {
            apply(&mut self.terminal, &event, observer);
        }
        Ok(true)
    }
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Iterator for Transcript<I> {
    type Item = Result<TextLine, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            let mut observer = self.observer.take()?;
            match self.see(&mut observer) {
                Ok(true) => {}
                Ok(false) => observer.finish(&self.terminal),
                Err(error) => return Some(Err(error)),
            }
            let at = Duration::try_from_secs_f64(self.last).unwrap_or_default();
            self.ready.extend(observer.ready.drain(..).map(|(text, masked)| TextLine { at, text, masked }));
            self.observer = Some(observer).filter(|o| !o.finished);
        }
    }
}

/// Gathers rows of the primary screen into lines, like `avt`'s own transcript, but a line has a bound.
#[derive(Default)]
struct Rows {
    pending: String,
    ready: Vec<(String, bool)>,
    finished: bool,
    mask: Option<Arc<Mask>>,
}

impl Rows {
    fn finish(&mut self, terminal: &Terminal) {
        self.primary(terminal);
        if !self.pending.is_empty() {
            self.end_line();
        }
        self.finished = true;
    }

    fn primary(&mut self, terminal: &Terminal) {
        let start = self.ready.len();
        for line in terminal.primary_screen().all_lines() {
            self.push(line);
        }
        // The rest of the screen is empty, which is not to say that the host wrote empty lines.
        while self.ready.len() > start && self.ready.last().is_some_and(|(text, _)| text.is_empty()) {
            self.ready.pop();
        }
    }

    fn push(&mut self, line: &Line) {
        for c in line.chars().map(safe) {
            self.pending.push(c);
            if self.pending.len() >= MAX_LINE {
                self.cut();
            }
        }
        if !line.is_wrapped() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.pending);
        self.tell(line.trim_end());
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
        self.tell(&line);
    }

    fn tell(&mut self, line: &str) {
        let shown = self.mask.as_ref().map_or(Cow::Borrowed(line), |mask| mask.text(line));
        let masked = matches!(shown, Cow::Owned(_));
        self.ready.push((shown.into_owned(), masked));
    }
}

impl Observer for Rows {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        if matches!(operation, Operation::Function(Function::Ris)) {
            self.primary(context.terminal());
        }
    }

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        self.push(line);
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
        let lines: Vec<_> = Transcript::new(&header, events).map(Result::unwrap).collect();
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
        let lines: Vec<_> = transcript((0..200).map(|_| "x".repeat(10_000))).map(|l| l.unwrap().text).collect();
        assert!(lines.iter().all(|l| l.len() <= MAX_LINE && l.bytes().all(|b| b == b'x')));
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 2_000_000);
        assert!(lines.len() > 30);
    }

    #[test]
    fn a_few_bytes_that_fill_screens_fill_no_memory() {
        // Fill the screen, clear it into the history; a character, many times over.
        let bomb = "\x1b#8\x1b[2J".repeat(60) + &"a\x1b[65535b".repeat(40);
        let (mut transcript, mut most, mut all) = (transcript(std::iter::once(bomb)), 0, 0);
        while let Some(line) = transcript.next() {
            all += line.unwrap().text.len();
            most = most.max(transcript.ready.iter().map(|l| l.text.len()).sum::<usize>());
        }
        assert!(all > 10 << 20 && most < 12 << 20, "{most} of {all} bytes at once");
    }

    #[test]
    fn a_number_is_covered_wherever_a_line_is_cut() {
        let mask = || Some(Arc::new(Mask::built_in()));
        let long = MAX_LINE - 300;
        for shift in [0, 1, 50, 88, 89, 95, 99, 100, 101, 150, 299, 300] {
            let text = format!("{}mrn: 12345678 {}\r\n", " ".repeat(long - shift - 512 + 300), "x".repeat(2000));
            let lines: Vec<_> = transcript(std::iter::once(text)).masked(mask()).map(Result::unwrap).collect();
            let all: String = lines.iter().map(|l| l.text.as_str()).collect();
            assert!(all.contains("mrn: ******** x") && !all.contains("123"), "{shift}");
            assert_eq!(lines.iter().filter(|l| l.masked).count(), 1);
        }
        let lines: Vec<_> =
            transcript(["123-4", "5-67\x1b[1m89\r\nplain\r\n"].map(str::to_owned).into_iter()).masked(mask()).map(Result::unwrap).collect();
        assert_eq!(lines.iter().map(|l| (l.text.as_str(), l.masked)).collect::<Vec<_>>(), [("***********", true), ("plain", false)]);
    }
}
