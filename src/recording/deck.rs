//! Plays a recording for somebody who steers: pause, step, faster, slower, back and forth, from marker to marker.
//!
//! It owns no thread and no clock: whoever has it says how much time has passed and which key was pressed, and writes what comes back to
//! the viewer's terminal. Each call does a bounded piece of work, so that a key is never answered late. Going back begins at the nearest
//! moment before whose screen was remembered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Seek};
use std::sync::Arc;
use std::time::Duration;

use avt::Terminal;

use super::cast::{CastEvent, CastReader, Place};
use super::covering::Eyes;
use super::markers::{Index, Marker, index};
use super::moments::Moments;
use super::player::Pace;
use super::screen::{LastRow, View, virtual_terminal};
use super::steering::{HELP, SPEEDS, clock};
use super::{RecordError, Stretch};
use crate::access::mask::Mask;

pub use super::steering::{ENTER, Key, LEAVE};

/// What happens within this time is drawn once.
const FRAME: Duration = Duration::from_millis(33);
/// So much work is done in one call, at most (see [`super::work`]), some 15 ms..
const BURST: u64 = 1 << 20;
/// ..and on the way to another time, where nothing is drawn.
const SEEK: u64 = 4 << 20;
/// Time that passes at once, at most: who could not be written to for a minute misses nothing.
const LEAP: Duration = Duration::from_millis(500);
/// Of what was typed, so much is shown, in bytes.
const TYPED: usize = 24;
/// And of a marker or of the bastion's words, in characters.
const SAID: usize = 130;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Playing,
    Paused,
    /// On the way to this time.
    Seeking(f64, After),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Play,
    Pause,
}

/// A recording that is being played.
pub struct Deck<R = BufReader<Stretch>> {
    reader: CastReader<R>,
    ahead: Option<CastEvent>,
    /// So many bytes of it were seen already.
    into: usize,
    /// Where the reader stood before it read ahead.
    before: Place,
    index: Index,
    moments: Moments,
    terminal: Terminal,
    eyes: Eyes,
    view: View,
    /// Seconds since the recording's beginning.
    at: f64,
    /// The time of the last event that was seen.
    last: f64,
    speed: f64,
    idle_limit: Option<f64>,
    state: State,
    touched: bool,
    /// The time until now was not played.
    stood: bool,
    help: bool,
    saying: String,
    /// What was typed lately, where it was kept.
    typed: String,
    shows_input: bool,
}

impl<R: BufRead + Seek> Deck<R> {
    /// Plays the events of `reader` on a viewer's terminal of this size, from `from` seconds on. Reads the file once to find its markers.
    pub fn new(mut reader: CastReader<R>, cols: u32, rows: u32, pace: Pace, from: f64) -> Result<Self, RecordError> {
        let index = index(&mut reader)?;
        let before = reader.place();
        let (terminal, moments) = (virtual_terminal(reader.header()), Moments::new(before));
        let mut deck = Self {
            reader,
            ahead: None,
            into: 0,
            before,
            index,
            moments,
            terminal,
            eyes: Eyes::default(),
            view: View::new(cols, rows, LastRow::Status),
            at: 0.0,
            last: 0.0,
            speed: if pace.speed.is_finite() { pace.speed.clamp(0.01, 1000.0) } else { 1.0 },
            idle_limit: pace.idle_limit.map(|limit| limit.as_secs_f64()),
            state: State::Playing,
            touched: false,
            stood: false,
            help: false,
            saying: String::new(),
            typed: String::new(),
            shows_input: false,
        };
        deck.pull()?;
        if from > 0.0 {
            deck.state = State::Seeking(from.min(deck.index.total), After::Play);
        }
        Ok(deck)
    }

    /// Covers what this masks; none shows it, and what was typed too.
    pub fn masked(mut self, mask: Option<Arc<Mask>>) -> Self {
        self.shows_input = mask.is_none();
        self.view.masked(mask);
        self
    }

    /// Can be jumped to as well: what happened beside this recording.
    pub fn beside(mut self, markers: Vec<Marker>) -> Self {
        self.index.join(markers);
        self
    }

    /// When there is something to do again, if no key is pressed; never while it stands still.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Seeking(..) => Some(Duration::ZERO),
            State::Paused => None,
            State::Playing => {
                let next = self.ahead.as_ref().map_or(self.at, |event| self.shortened(event.time()));
                let second = self.at.floor() + 1.0;
                let wait = (next.min(second) - self.at) / self.speed;
                Some(Duration::try_from_secs_f64(wait.max(0.0)).unwrap_or_default().max(FRAME))
            }
        }
    }

    /// It came to its end and nobody had steered it: whoever only watched is done.
    pub fn over(&self) -> bool {
        self.at_end() && !self.touched
    }

    /// It stands at its end.
    pub fn at_end(&self) -> bool {
        self.ahead.is_none() && self.state == State::Paused
    }

    /// Where it is: `0:12 of 1:03`.
    pub fn clock(&self) -> String {
        format!("{} of {}", clock(self.at), clock(self.index.total))
    }

    /// The viewer's terminal has a new size.
    pub fn resize(&mut self, cols: u32, rows: u32) {
        self.view.resize(cols, rows);
    }

    /// What a viewer does. It shows with the next [`Deck::advance`].
    pub fn press(&mut self, key: Key) -> Result<(), RecordError> {
        self.touched = true;
        self.help &= key == Key::Help;
        match key {
            Key::Pause => self.toggle()?,
            Key::Step => self.step()?,
            Key::Faster => self.speed = SPEEDS.into_iter().find(|s| *s > self.speed).unwrap_or(self.speed),
            Key::Slower => self.speed = SPEEDS.into_iter().rev().find(|s| *s < self.speed).unwrap_or(self.speed),
            Key::Normal => self.speed = 1.0,
            Key::Skip(seconds) => self.seek(self.goal() + seconds)?,
            Key::Tenth(tenths) => self.seek(self.index.total * f64::from(tenths) / 10.0)?,
            Key::End => self.seek(self.index.total)?,
            Key::Next | Key::Previous => self.jump(key == Key::Next)?,
            Key::Pan(down, right) => self.view.pan(down, right),
            Key::Follow => self.view.follow(),
            Key::Help => self.help = !self.help,
        }
        Ok(())
    }

    /// So much time has passed. What comes back is to be written to the viewer's terminal.
    pub fn advance(&mut self, passed: Duration) -> Result<Vec<u8>, RecordError> {
        let mut rows = BTreeSet::new();
        let passed = if self.stood { Duration::ZERO } else { passed.min(LEAP) };
        match self.state {
            State::Seeking(goal, after) => self.approach(goal, after)?,
            State::Playing => {
                self.pass(passed.as_secs_f64() * self.speed);
                self.feed(self.at, BURST, &mut rows)?;
                if self.ahead.is_none() {
                    (self.at, self.state) = (self.index.total, State::Paused);
                }
            }
            State::Paused => {}
        }
        self.stood = self.state != State::Playing;
        let mut out = Vec::new();
        if !matches!(self.state, State::Seeking(..)) {
            out = self.view.draw(&self.terminal, &rows, self.eyes.above(&self.terminal));
        }
        let status = self.status();
        out.extend(self.view.status(&self.terminal, &status));
        Ok(out)
    }

    fn pull(&mut self) -> Result<(), RecordError> {
        (self.before, self.into) = (self.reader.place(), 0);
        self.ahead = self.reader.next().transpose()?;
        Ok(())
    }

    /// When an event comes, with the pause before it cut short.
    fn shortened(&self, time: f64) -> f64 {
        self.idle_limit.map_or(time, |limit| time.min(self.last + limit))
    }

    /// Moves the time on; a pause that lasts longer than the limit is over at once.
    fn pass(&mut self, seconds: f64) {
        self.at = (self.at + seconds).min(self.index.total.max(self.at));
        if let Some(next) = self.ahead.as_ref().map(CastEvent::time)
            && self.at < next
            && self.at >= self.shortened(next)
        {
            self.at = next;
        }
    }

    /// Shows the virtual terminal what happened up to a time, but no more than `most`. Whether it came there.
    fn feed(&mut self, until: f64, most: u64, rows: &mut BTreeSet<usize>) -> Result<bool, RecordError> {
        let mut left = most;
        while left > 0
            && let Some(event) = self.ahead.take_if(|event| event.time() <= until)
        {
            if self.see(event, &mut left, rows)? && self.moments.due() {
                self.moments.keep(self.before, self.last, || self.eyes.fold(&self.terminal));
            }
        }
        Ok(self.ahead.as_ref().is_none_or(|event| event.time() > until))
    }

    /// Sees an event to its end, and then the next is ahead; or a piece of it, and it stays ahead. Whether to its end.
    fn see(&mut self, event: CastEvent, left: &mut u64, rows: &mut BTreeSet<usize>) -> Result<bool, RecordError> {
        match event.parts() {
            ('m', text) => self.saying = format!("bastion: {text}"),
            ('i', text) => self.types(text),
            _ => {}
        }
        self.last = event.time();
        let sight = self.eyes.see(&mut self.terminal, &event, self.into, *left);
        rows.extend(sight.rows);
        self.moments.fed(sight.work);
        *left = left.saturating_sub(sight.work);
        match sight.rest {
            Some(rest) => (self.ahead, self.into) = (Some(event), rest),
            None => self.pull()?,
        }
        Ok(sight.rest.is_none())
    }

    /// Remembers the end of what was typed, or that something was.
    fn types(&mut self, text: &str) {
        if !self.shows_input {
            return self.typed.replace_range(.., "(masked)");
        }
        self.typed.extend(text.chars().flat_map(char::escape_default));
        let from = self.typed.ceil_char_boundary(self.typed.len().saturating_sub(TYPED));
        self.typed.drain(..from);
    }

    fn toggle(&mut self) -> Result<(), RecordError> {
        self.state = match self.state {
            // At the end: once more from the beginning.
            State::Paused if self.ahead.is_none() => {
                self.seek(0.0)?;
                State::Seeking(0.0, After::Play)
            }
            State::Paused => State::Playing,
            State::Playing => State::Paused,
            State::Seeking(goal, After::Play) => State::Seeking(goal, After::Pause),
            State::Seeking(goal, After::Pause) => State::Seeking(goal, After::Play),
        };
        Ok(())
    }

    fn step(&mut self) -> Result<(), RecordError> {
        if matches!(self.state, State::Seeking(..)) {
            return Ok(());
        }
        self.state = State::Paused;
        let (mut rows, mut left) = (BTreeSet::new(), SEEK);
        while let Some(event) = self.ahead.take() {
            self.at = event.time();
            let marks = matches!(event.parts().0, 'r' | 'm');
            self.see(event, &mut left, &mut rows)?;
            if marks || !rows.is_empty() || left == 0 {
                break;
            }
        }
        self.view.refresh();
        Ok(())
    }

    /// Where it is, or will be.
    fn goal(&self) -> f64 {
        if let State::Seeking(goal, _) = self.state { goal } else { self.at }
    }

    fn jump(&mut self, forward: bool) -> Result<(), RecordError> {
        let here = self.goal();
        // While it plays, a marker that has just gone by is not the one before.
        let back = if self.state == State::Playing { here - 1.0 } else { here };
        let markers = &self.index.markers;
        let found = if forward { markers.iter().find(|m| m.at > here) } else { markers.iter().rev().find(|m| m.at < back) };
        let (at, saying) = match found {
            Some(marker) => (marker.at, format!("{}: {}", marker.kind.as_str(), marker.label)),
            None if forward => (self.index.total, "end: the end".to_owned()),
            None => (0.0, "the beginning".to_owned()),
        };
        self.seek(at)?;
        self.saying = saying;
        Ok(())
    }

    /// Sets out for another time.
    fn seek(&mut self, to: f64) -> Result<(), RecordError> {
        let to = to.clamp(0.0, self.index.total);
        let after = match self.state {
            State::Playing | State::Seeking(_, After::Play) => After::Play,
            State::Paused | State::Seeking(_, After::Pause) => After::Pause,
        };
        self.saying.clear();
        self.typed.clear();
        let nearest = self.moments.nearest(to);
        if to < self.last || nearest.at > self.last {
            self.reader.go(nearest.place)?;
            self.last = nearest.at;
            (self.terminal, self.eyes) = match &nearest.screen {
                Some(screen) => Eyes::on(screen),
                None => (virtual_terminal(self.reader.header()), Eyes::default()),
            };
            self.pull()?;
        }
        self.state = State::Seeking(to, after);
        Ok(())
    }

    /// A piece of the way to another time.
    fn approach(&mut self, goal: f64, after: After) -> Result<(), RecordError> {
        let saying = std::mem::take(&mut self.saying);
        let arrived = self.feed(goal, SEEK, &mut BTreeSet::new())?;
        // What the bastion said on the way is long ago.
        self.saying = saying;
        if arrived {
            self.at = goal;
            self.state = if after == After::Play && self.ahead.is_some() { State::Playing } else { State::Paused };
            self.view.refresh();
        }
        Ok(())
    }

    fn status(&self) -> String {
        if self.help {
            return format!(" {HELP}");
        }
        let state = match self.state {
            State::Playing => "playing",
            State::Paused if self.ahead.is_none() => "end",
            State::Paused => "paused",
            State::Seeking(..) => "seeking",
        };
        let mut out = format!(" {state} {} x{}", self.clock(), self.speed);
        if !self.saying.is_empty() {
            // Covered, then cut: half a number would be none.
            let _ = write!(out, " | {:.*}", SAID, self.view.covered_text(&self.saying));
        }
        if !self.typed.is_empty() {
            let _ = write!(out, " | typed: {}", self.typed);
        }
        if let Some(part) = self.view.cropped() {
            let _ = write!(out, " | {part}");
        }
        out.push_str(" | ? keys, q quit");
        out
    }
}

#[cfg(test)]
mod tests;
