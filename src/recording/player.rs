//! Plays a recording into somebody's terminal without letting the host at it.
//!
//! What the host sent goes into a virtual terminal of ours; what reaches the viewer is drawn from its cells. For people who steer, see
//! [`super::deck`]; this yields frames one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use avt::Terminal;

use super::RecordError;
use super::cast::{CastEvent, CastHeader};
use super::covering::{Eyes, Sight};
use super::screen::{LastRow, View, virtual_terminal};
use crate::access::mask::Mask;

/// What happens within this time is drawn once.
const FRAME: Duration = Duration::from_millis(33);
/// What is drawn at once costs so much, at most, and an event.
const BURST: u64 = 1 << 20;

/// How fast to play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// 2 is twice as fast; kept between a hundredth and a thousand.
    pub speed: f64,
    /// No pause is longer, in the recording's own time.
    pub idle_limit: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { speed: 1.0, idle_limit: None }
    }
}

/// What to do next: wait, then write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayFrame {
    /// The wait, counted from when the last frame was due.
    pub delay: Duration,
    /// Safe bytes for the viewer's terminal; may be empty.
    pub bytes: Vec<u8>,
}

/// A recording as frames for a terminal of a given size. The last frame leaves the cursor below the picture.
pub struct Player<I> {
    events: I,
    ahead: Option<CastEvent>,
    terminal: Terminal,
    eyes: Eyes,
    view: View,
    pace: Pace,
    last: f64,
    over: bool,
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Player<I> {
    /// Plays `events` of a file with this header on a screen of `cols` by `rows` (0 is taken as 80 by 24).
    pub fn new(header: &CastHeader, events: I, cols: u32, rows: u32, pace: Pace) -> Self {
        let pace = Pace { speed: if pace.speed.is_finite() { pace.speed.clamp(0.01, 1000.0) } else { 1.0 }, ..pace };
        let (terminal, eyes) = (virtual_terminal(header), Eyes::default());
        Self { events, ahead: None, terminal, eyes, view: View::new(cols, rows, LastRow::Picture), pace, last: 0.0, over: false }
    }

    /// Covers what this masks.
    pub fn masked(mut self, mask: Option<Arc<Mask>>) -> Self {
        self.view.masked(mask);
        self
    }

    fn frame(&mut self) -> Result<Option<PlayFrame>, RecordError> {
        let Some(first) = self.ahead.take().map_or_else(|| self.events.next().transpose(), |e| Ok(Some(e)))? else {
            self.over = true;
            return Ok(Some(PlayFrame { delay: Duration::ZERO, bytes: self.view.leave() }));
        };
        let began = first.time();
        let until = began + FRAME.as_secs_f64() * self.pace.speed;
        let (mut rows, mut fed, mut next) = (BTreeSet::new(), 0, Some(first));
        while let Some(event) = next {
            if event.time() > until || fed > BURST {
                self.ahead = Some(event);
                break;
            }
            let sight = self.feed(&event);
            fed += sight.work;
            rows.extend(sight.rows);
            next = self.events.next().transpose()?;
        }
        let pause = began - std::mem::replace(&mut self.last, began);
        let pause = self.pace.idle_limit.map_or(pause, |limit| pause.min(limit.as_secs_f64()));
        let delay = Duration::try_from_secs_f64(pause / self.pace.speed).unwrap_or_default();
        Ok(Some(PlayFrame { delay, bytes: self.view.draw(&self.terminal, &rows, self.eyes.above(&self.terminal)) }))
    }

    fn feed(&mut self, event: &CastEvent) -> Sight {
        if let ('m', text) = event.parts() {
            self.view.note(text);
        }
        self.eyes.see(&mut self.terminal, event, 0, u64::MAX)
    }
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Iterator for Player<I> {
    type Item = Result<PlayFrame, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let frame = self.frame();
        self.over |= frame.is_err();
        frame.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::{ChannelKind, ChannelMeta, TerminalMeta, sample};

    fn header(cols: u32, rows: u32) -> CastHeader {
        let terminal = Some(TerminalMeta { term: "xterm".into(), cols, rows });
        CastHeader::new(&sample::meta(), 1, &ChannelMeta { kind: ChannelKind::Shell, command: None, terminal }, None, 0)
    }

    fn event(time: f64, code: char, data: &str) -> Result<CastEvent, RecordError> {
        let line = serde_json::to_vec(&(time, code, data)).unwrap();
        Ok(CastEvent::parse(&line).unwrap())
    }

    fn play(events: Vec<Result<CastEvent, RecordError>>, pace: Pace) -> Vec<PlayFrame> {
        Player::new(&header(20, 4), events.into_iter(), 20, 4, pace).map(Result::unwrap).collect()
    }

    fn text(frames: &[PlayFrame]) -> String {
        frames.iter().map(|f| String::from_utf8(f.bytes.clone()).unwrap()).collect()
    }

    #[test]
    fn nothing_that_drives_a_terminal_passes() {
        let evil =
            "\x1b]0;title\x07\x1b]52;c;YQ==\x07\x1b[6n\x1b[c\x1bP$q q\x1b\\\x1b[?1049h\x1b[8;9999;9999ta\u{202e}b\u{9b}31mc\x1b[31;1md";
        let all = text(&play(vec![event(0.0, 'o', evil)], Pace::default()));
        let mut rest = all.as_str();
        while let Some(at) = rest.find('\x1b') {
            let sequence = rest[at + 1..].strip_prefix('[').expect("only CSI");
            let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap();
            assert!("HJKm".contains(&sequence[end..=end]), "{all:?}");
            rest = &sequence[end + 1..];
        }
        assert!(all.contains("ab\u{fffd}") || all.contains("a\u{fffd}b"), "{all:?}");
        assert!(all.contains("\x1b[0;1;38;5;1md"), "{all:?}");
        assert!(!all.contains("title"));
    }

    #[test]
    fn times_follow_speed_and_idle_limit() {
        let events = || vec![event(1.0, 'o', "a"), event(1.01, 'o', "b"), event(11.0, 'o', "c")];
        let delays = |pace| play(events(), pace).iter().map(|f| f.delay.as_millis()).collect::<Vec<_>>();
        assert_eq!(delays(Pace::default()), [1000, 10_000, 0]);
        assert_eq!(delays(Pace { speed: 2.0, idle_limit: Some(Duration::from_secs(4)) }), [500, 2000, 0]);
        assert_eq!(delays(Pace { speed: f64::NAN, idle_limit: None }), [1000, 10_000, 0]);
    }

    #[test]
    fn only_what_changed_is_drawn_and_the_cursor_is_followed() {
        let frames = play(vec![event(0.0, 'o', "one\r\ntwo"), event(1.0, 'o', "!")], Pace::default());
        let second = text(&frames[1..2]);
        assert!(second.contains("two!") && !second.contains("one"), "{second:?}");
        let events = vec![event(0.0, 'o', "1\r\n2\r\n3\r\n4")];
        let small: Vec<_> = Player::new(&header(20, 4), events.into_iter(), 10, 2, Pace::default()).map(Result::unwrap).collect();
        let shown = text(&small);
        assert!(shown.contains('3') && shown.contains('4') && !shown.contains("\x1b[0m1"), "{shown:?}");
    }

    #[test]
    fn the_bastions_words_are_shown_apart() {
        let frames = play(vec![event(0.0, 'o', "x"), event(1.0, 'm', "your time is up\x1b[2J")], Pace::default());
        assert!(text(&frames).contains("\x1b[0;7m bastion: your tim"), "{:?}", text(&frames));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// What a viewer's terminal shows is what the host's would have shown.
        #[test]
        fn the_picture_is_the_same(chunks in prop::collection::vec("[a-zü世 ]{0,30}|\r\n|\x1b\\[[0-9]{1,2};[0-9]{1,2}H|\x1b\\[[0-9]{0,2}[JKABCDm]|\x1b\\[3[0-7]m", 0..30)) {
            let mut host = Terminal::new(20, 4).unwrap();
            let events = chunks.iter().enumerate().map(|(n, c)| event(n as f64, 'o', c)).collect();
            chunks.iter().for_each(|c| host.feed(c.as_str()));
            let mut viewer = Terminal::new(20, 4).unwrap();
            for frame in play(events, Pace::default()).iter().rev().skip(1).rev() {
                viewer.feed(String::from_utf8(frame.bytes.clone()).unwrap().as_str());
            }
            if !chunks.is_empty() {
                let rows = |t: &Terminal| t.screen().visible_lines().map(|l| l.text()).collect::<Vec<_>>();
                prop_assert_eq!(rows(&viewer), rows(&host));
                prop_assert_eq!(viewer.cursor().row, host.cursor().row);
            }
        }
    }
}
