//! Screens that were remembered while a recording was played, so that going back does not begin at its beginning.

use avt::Terminal;

use super::cast::Place;
use super::screen::sized;
use super::work::Work;

/// The first distance between two moments, in units of work.
const DISTANCE: u64 = 512 * 1024;
/// When there are more, every second one is forgotten and the distance doubled.
const MOST: usize = 48;
/// The same when they are larger than this in all, in bytes.
const BYTES: usize = 24 << 20;

/// A moment of a recording.
#[derive(Debug)]
pub(super) struct Moment {
    /// Where the reader stands to go on from here.
    pub(super) place: Place,
    /// The time of the last event before.
    pub(super) at: f64,
    /// The screen; none is the empty one at the beginning.
    pub(super) screen: Option<Screen>,
}

/// A virtual terminal, folded up.
#[derive(Debug)]
pub(super) struct Screen {
    cols: usize,
    rows: usize,
    dump: String,
    /// The end of the text that has left it and goes on in its first row.
    pub(super) above: String,
}

impl Screen {
    /// As it is now.
    pub(super) fn of(terminal: &Terminal, above: String) -> Self {
        let (cols, rows) = terminal.size();
        Self { cols, rows, dump: terminal.dump(), above }
    }

    /// Unfolds it.
    pub(super) fn put(&self, work: &Work) -> Terminal {
        let mut terminal = sized(self.cols, self.rows);
        terminal.feed_with(self.dump.as_str(), work);
        terminal
    }
}

/// The moments of one recording, in order of time; the first is its beginning.
#[derive(Debug)]
pub(super) struct Moments {
    first: Moment,
    later: Vec<Moment>,
    distance: u64,
    since: u64,
}

impl Moments {
    /// Of a recording whose first event is at `begin`.
    pub(super) fn new(begin: Place) -> Self {
        Self { first: Moment { place: begin, at: 0.0, screen: None }, later: Vec::new(), distance: DISTANCE, since: 0 }
    }

    /// So much work was done.
    pub(super) fn fed(&mut self, work: u64) {
        self.since = self.since.saturating_add(work);
    }

    /// It is time to remember one.
    pub(super) fn due(&self) -> bool {
        self.since >= self.distance
    }

    /// Remembers the screen after the event at `at`, unless it is behind what is known already.
    pub(super) fn keep(&mut self, place: Place, at: f64, screen: impl FnOnce() -> Screen) {
        self.since = 0;
        if self.later.last().is_some_and(|last| last.at >= at) {
            return;
        }
        self.later.push(Moment { place, at, screen: Some(screen()) });
        let bytes: usize = self.later.iter().filter_map(|moment| moment.screen.as_ref()).map(|screen| screen.dump.len()).sum();
        if self.later.len() > MOST || bytes > BYTES {
            let mut odd = false;
            self.later.retain(|_| {
                odd = !odd;
                !odd
            });
            self.distance *= 2;
        }
    }

    /// The last one at or before a time.
    pub(super) fn nearest(&self, to: f64) -> &Moment {
        self.later.iter().rev().find(|moment| moment.at <= to).unwrap_or(&self.first)
    }
}
