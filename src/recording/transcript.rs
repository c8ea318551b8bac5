//! A recording as lines of text with their time, as a terminal would have shown them: for search and for reading.
//!
//! Soft-wrapped rows are joined. What happens on the alternate screen (editors, pagers) is not in it yet.

use std::collections::VecDeque;
use std::time::Duration;

use avt::Terminal;
use avt::observer;

use super::RecordError;
use super::cast::{CastEvent, CastHeader};
use super::player::{apply, safe, virtual_terminal};

/// A line, and when it left the screen or the recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextLine {
    /// Since the recording's beginning.
    pub at: Duration,
    /// Printable characters only.
    pub text: String,
}

/// Yields a recording's lines.
pub struct Transcript<I> {
    events: I,
    terminal: Terminal,
    observer: Option<observer::Transcript>,
    ready: VecDeque<TextLine>,
    last: f64,
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Transcript<I> {
    /// Of the events of a file with this header.
    pub fn new(header: &CastHeader, events: I) -> Self {
        let observer = Some(observer::Transcript::new());
        Self { events, terminal: virtual_terminal(header), observer, ready: VecDeque::new(), last: 0.0 }
    }

    fn push(&mut self, lines: Vec<String>) {
        let at = Duration::try_from_secs_f64(self.last).unwrap_or_default();
        self.ready.extend(lines.into_iter().map(|line| TextLine { at, text: line.chars().map(safe).collect() }));
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
            match self.events.next() {
                Some(Ok(event)) => {
                    self.last = event.time();
                    let lines = apply(&mut self.terminal, &event, &mut observer);
                    self.observer = Some(observer);
                    self.push(lines);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    let lines = observer.finish(&self.terminal);
                    self.push(lines);
                }
            }
        }
    }
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
}
