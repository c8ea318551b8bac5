//! Plays a recording into somebody's terminal without letting the host at it.
//!
//! What the host sent goes into a virtual terminal of ours; what reaches the viewer is drawn from its cells: cursor positions, colours,
//! clearing, and printable characters. No title, no clipboard, no query, nothing that could drive the viewer's terminal.

use std::fmt::Write as _;
use std::time::Duration;

use avt::observer::DirtyRows;
use avt::{Cell, Color, Pen, Terminal};

use super::RecordError;
use super::cast::{CastEvent, CastHeader};

/// A virtual terminal of ours is no larger: some 12 MB for each who watches.
const MAX_COLS: u32 = 1000;
/// The same for rows.
const MAX_ROWS: u32 = 300;
/// What happens within this time is drawn once.
const FRAME: Duration = Duration::from_millis(33);
/// So much text is drawn at once, at most.
const BURST: usize = 256 * 1024;
/// What an event counts beside its text.
const EVENT: usize = 16;

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
    dirty: DirtyRows,
    view: View,
    pace: Pace,
    last: f64,
    over: bool,
}

impl<I: Iterator<Item = Result<CastEvent, RecordError>>> Player<I> {
    /// Plays `events` of a file with this header on a screen of `cols` by `rows` (0 is taken as 80 by 24).
    pub fn new(header: &CastHeader, events: I, cols: u32, rows: u32, pace: Pace) -> Self {
        let pace = Pace { speed: if pace.speed.is_finite() { pace.speed.clamp(0.01, 1000.0) } else { 1.0 }, ..pace };
        let (terminal, dirty) = (virtual_terminal(header), DirtyRows::new());
        Self { events, ahead: None, terminal, dirty, view: View::new(cols, rows), pace, last: 0.0, over: false }
    }

    fn frame(&mut self) -> Result<Option<PlayFrame>, RecordError> {
        let Some(first) = self.ahead.take().map_or_else(|| self.events.next().transpose(), |e| Ok(Some(e)))? else {
            self.over = true;
            return Ok(Some(PlayFrame { delay: Duration::ZERO, bytes: self.view.leave() }));
        };
        let began = first.time();
        let until = began + FRAME.as_secs_f64() * self.pace.speed;
        let (mut rows, mut fed, mut next) = (Vec::new(), 0, Some(first));
        while let Some(event) = next {
            if event.time() > until || fed > BURST {
                self.ahead = Some(event);
                break;
            }
            // An event costs even if it has no text.
            fed += event.parts().1.len() + EVENT;
            rows.extend(self.feed(&event));
            if rows.len() > 16 * MAX_ROWS as usize {
                rows.sort_unstable();
                rows.dedup();
            }
            next = self.events.next().transpose()?;
        }
        rows.sort_unstable();
        rows.dedup();
        let pause = began - std::mem::replace(&mut self.last, began);
        let pause = self.pace.idle_limit.map_or(pause, |limit| pause.min(limit.as_secs_f64()));
        let delay = Duration::try_from_secs_f64(pause / self.pace.speed).unwrap_or_default();
        Ok(Some(PlayFrame { delay, bytes: self.view.draw(&self.terminal, &rows) }))
    }

    fn feed(&mut self, event: &CastEvent) -> Vec<usize> {
        if let ('m', text) = event.parts() {
            self.view.note(text);
        }
        apply(&mut self.terminal, event, &mut self.dirty)
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

/// A virtual terminal of the size that a recording begins with, within bounds.
pub(super) fn virtual_terminal(header: &CastHeader) -> Terminal {
    let (cols, rows) = bounded(header.base.width, header.base.height);
    #[expect(clippy::expect_used, reason = "only a size of zero is an error, and bounded() makes none")]
    Terminal::new(cols, rows).expect("a size of at least 1 by 1")
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

/// The viewer's terminal: what of the virtual one it shows.
struct View {
    cols: usize,
    rows: usize,
    top: usize,
    size: (usize, usize),
    fresh: bool,
    note: Option<String>,
    noted: bool,
}

impl View {
    fn new(cols: u32, rows: u32) -> Self {
        let (cols, rows) = if cols == 0 || rows == 0 { (80, 24) } else { bounded(cols, rows) };
        Self { cols, rows, top: 0, size: (0, 0), fresh: true, note: None, noted: false }
    }

    fn note(&mut self, text: &str) {
        self.note = Some(text.chars().take(self.cols).map(safe).collect());
    }

    /// Draws the rows that changed, or all where the view itself did.
    fn draw(&mut self, terminal: &Terminal, changed: &[usize]) -> Vec<u8> {
        let cursor = terminal.cursor();
        let height = terminal.size().1;
        // A screen taller than the viewer's is followed where the cursor is.
        let top = self.top.min(cursor.row).max((cursor.row + 1).saturating_sub(self.rows)).min(height.saturating_sub(self.rows));
        let anew = self.fresh || top != self.top || terminal.size() != self.size || self.noted;
        let mut out = String::new();
        if anew {
            out.push_str("\x1b[0m\x1b[2J");
        }
        (self.top, self.size, self.fresh, self.noted) = (top, terminal.size(), false, false);
        for (n, line) in terminal.screen().visible_lines().enumerate().skip(top).take(self.rows) {
            if anew || changed.binary_search(&n).is_ok() {
                draw_row(&mut out, n - top + 1, line.cells(), self.cols);
            }
        }
        if let Some(note) = self.note.take() {
            let text: String = format!(" bastion: {note} ").chars().take(self.cols).collect();
            let _ = write!(out, "\x1b[{};1H\x1b[0;7m{text}\x1b[0m", self.rows);
            self.noted = true;
        }
        let (row, col) = (cursor.row.saturating_sub(top) + 1, cursor.col.min(self.cols - 1) + 1);
        let _ = write!(out, "\x1b[{row};{col}H");
        out.into_bytes()
    }

    fn leave(&self) -> Vec<u8> {
        format!("\x1b[0m\x1b[{};1H\r\n", self.rows).into_bytes()
    }
}

/// One row, from its first column; the rest of the viewer's row is cleared.
fn draw_row(out: &mut String, row: usize, cells: &[Cell], cols: usize) {
    let _ = write!(out, "\x1b[{row};1H\x1b[0m");
    let blank = |c: &Cell| c.char() == ' ' && c.pen().is_default();
    let end = cells.iter().rposition(|c| !blank(c)).map_or(0, |last| last + 1);
    let (mut pen, mut used) = (None, 0);
    for cell in cells.iter().take(end) {
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
        out.push(safe(cell.char()));
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
