//! Which cells of a virtual terminal are masked: found in the text as it stands on the screen, so that a number counts however it was sent.
//!
//! Rows that go on in the next one are one text: soft-wrapped ones, and full ones (programs that place the cursor wrap lines themselves).
//! Where the first row goes on from rows that have left the screen, those count too.

use std::collections::{BTreeMap, BTreeSet};

use avt::observer::DirtyRows;
use avt::{Line, Observation, Observer, ScreenKind, Terminal};

use super::cast::CastEvent;
use super::moments::Screen;
use super::screen::{apply, safe};
use super::work::Work;
use crate::access::mask::{Mask, OVERLAP};

/// What an event costs beside its text.
const EVENT: u64 = 16;

/// What is seen of a virtual terminal while it is fed.
#[derive(Default)]
pub(super) struct Eyes {
    dirty: DirtyRows,
    above: Above,
    work: Work,
}

/// What was seen of an event.
pub(super) struct Sight {
    /// The rows that changed.
    pub(super) rows: Vec<usize>,
    /// What it cost, see [`Work`].
    pub(super) work: u64,
    /// Where it goes on, in bytes of its text, if not all of it was seen.
    pub(super) rest: Option<usize>,
}

impl Eyes {
    /// Those that looked at a screen that was folded up.
    pub(super) fn on(screen: &Screen) -> (Terminal, Self) {
        let eyes = Self { above: Above(screen.above.clone()), ..Self::default() };
        let terminal = screen.put(&eyes.work);
        eyes.work.take();
        (terminal, eyes)
    }

    /// Lets the virtual terminal see an event, from this byte of its text on, until so much work was done.
    pub(super) fn see(&mut self, terminal: &mut Terminal, event: &CastEvent, from: usize, most: u64) -> Sight {
        self.work.take();
        self.work.add(EVENT);
        let (rows, rest) = match event.parts() {
            ('o', text) => {
                let (work, mut at) = (&self.work, from);
                let bounded = text.get(from..).unwrap_or_default().chars().map_while(|c| {
                    // However much one character means, there is always a next one.
                    if at > from && work.done() >= most {
                        return None;
                    }
                    at += c.len_utf8();
                    work.add(c.len_utf8() as u64);
                    Some(c)
                });
                let ((rows, ()), ()) = terminal.feed_with(bounded, ((&mut self.dirty, &mut self.above), work));
                (rows, (at < text.len()).then_some(at))
            }
            _ => (apply(terminal, event, ((&mut self.dirty, &mut self.above), &self.work)).0.0, None),
        };
        Sight { rows, work: self.work.take(), rest }
    }

    /// The same of some text, all of it.
    pub(super) fn text(&mut self, terminal: &mut Terminal, text: &str) -> Vec<usize> {
        terminal.feed_with(text, (&mut self.dirty, &mut self.above)).0
    }

    /// The end of the text that has left the screen and goes on in its first row.
    pub(super) fn above(&self, terminal: &Terminal) -> &str {
        if terminal.active_screen_kind() == ScreenKind::Primary { &self.above.0 } else { "" }
    }

    /// Folds up what is seen now.
    pub(super) fn fold(&self, terminal: &Terminal) -> Screen {
        Screen::of(terminal, self.above.0.clone())
    }
}

/// Remembers text that leaves the screen, for as long as it goes on.
#[derive(Default)]
struct Above(String);

impl Observer for Above {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        if !goes_on(line) {
            return self.0.clear();
        }
        self.0.extend(line.chars().map(safe));
        let too_much = self.0.ceil_char_boundary(self.0.len().saturating_sub(OVERLAP));
        self.0.drain(..too_much);
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// What must be drawn, and what of it covered.
#[derive(Debug, Default)]
pub(super) struct Covered {
    /// Rows whose text was looked at.
    pub(super) rows: BTreeSet<usize>,
    /// The covered columns of those that have some.
    pub(super) columns: BTreeMap<usize, BTreeSet<usize>>,
}

/// Looks at the texts that the `wanted` rows are part of. `above` goes on in the first row.
pub(super) fn cover(mask: &Mask, terminal: &Terminal, above: &str, wanted: &BTreeSet<usize>) -> Covered {
    let lines: Vec<&Line> = terminal.screen().visible_lines().collect();
    let cursor = (terminal.cursor().row, terminal.cursor().col);
    let mut covered = Covered::default();
    let mut first = 0;
    while first < lines.len() {
        let on = lines.iter().skip(first).take_while(|line| goes_on(line)).count();
        let last = (first + on).min(lines.len() - 1);
        if wanted.range(first..=last).next().is_some() {
            let text = Text::of(lines.get(first..=last).unwrap_or_default(), first, if first == 0 { above } else { "" });
            for (row, column) in text.covered(mask, cursor) {
                covered.columns.entry(row).or_default().insert(column);
            }
            covered.rows.extend(first..=last);
        }
        first = last + 1;
    }
    covered
}

/// The next row is part of the same text.
fn goes_on(line: &Line) -> bool {
    line.is_wrapped() || line.cells().last().is_some_and(|cell| cell.char() != ' ')
}

/// The next row goes on in the middle of a word or number: where rows are told one by one, these belong together. A frame around a dialog
/// does not.
pub(super) fn goes_on_in(line: &Line, next: Option<&Line>) -> bool {
    let end = |cell: Option<&avt::Cell>| cell.is_some_and(|cell| is_of_a_word(cell.char()));
    line.is_wrapped() || end(line.cells().last()) && next.is_some_and(|next| end(next.cells().first()))
}

/// Part of a word or number, with a dash in any of its shapes.
pub(super) fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The text of some rows, and where each of its characters stands.
struct Text {
    text: String,
    /// Byte, row and column of each character.
    places: Vec<(usize, usize, usize)>,
}

impl Text {
    fn of(lines: &[&Line], first: usize, above: &str) -> Self {
        let mut made = Self { text: above.to_owned(), places: Vec::new() };
        for (row, line) in (first..).zip(lines) {
            let cells = line.cells();
            // A wide character that did not fit leaves a blank at the end of its row.
            let gap = line.is_wrapped() && cells.last().is_some_and(|cell| cell.char() == ' ');
            let shown = cells.len().saturating_sub(usize::from(gap));
            for (column, cell) in cells.iter().enumerate().take(shown).filter(|(_, cell)| cell.width() > 0) {
                made.places.push((made.text.len(), row, column));
                made.text.push(safe(cell.char()));
            }
        }
        made
    }

    /// Rows and columns of what is masked, and of what could become so where the cursor stands.
    fn covered(&self, mask: &Mask, cursor: (usize, usize)) -> Vec<(usize, usize)> {
        let mut ranges = mask.spans(&self.text);
        let before = self.places.partition_point(|(_, row, column)| (*row, *column) < cursor);
        let here = self.places.first().zip(self.places.last()).is_some_and(|(first, last)| (first.1..=last.1).contains(&cursor.0));
        let typed = self.places.get(before).map_or(self.text.len(), |place| place.0);
        if here && let Some(begun) = self.text.get(..typed).and_then(|text| mask.begun(text)) {
            ranges.push(begun..typed);
        }
        let place = |byte: usize| self.places.partition_point(|(at, ..)| *at < byte);
        let characters = ranges.into_iter().flat_map(|range| place(range.start)..place(range.end));
        characters.filter_map(|n| self.places.get(n)).map(|(_, row, column)| (*row, *column)).collect()
    }
}
