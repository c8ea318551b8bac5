//! What a virtual terminal is asked to do, counted: a few bytes can mean that a screen is filled a thousand times.
//!
//! One unit is about as much as to print a character, some 15 ns. Whoever feeds a virtual terminal with what a host sent does so within an
//! allowance, so that no host can make a viewer wait, or a session's recorder fall behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use avt::parser::{AnsiMode, Function};
use avt::{Line, Observation, Observer, Operation, Terminal};

/// Counts what it sees done. The text itself is counted by whoever feeds it: a unit a byte. Whoever feeds it and the virtual terminal that
/// is fed share it; players move between threads.
#[derive(Default)]
pub(super) struct Work {
    done: AtomicU64,
    /// Each character that is printed moves the rest of its row.
    inserts: AtomicBool,
}

impl Work {
    /// So much more was done.
    pub(super) fn add(&self, units: u64) {
        self.done.store(self.done().saturating_add(units), Relaxed);
    }

    /// What was done since it was taken last.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Begins to count anew; what was done.
    pub(super) fn take(&self) -> u64 {
        self.done.swap(0, Relaxed)
    }

    fn cost(&self, terminal: &Terminal, function: &Function) -> u64 {
        let (cols, rows) = terminal.size();
        let (cols, rows) = (cols as u64, rows as u64);
        let print = if self.inserts.load(Relaxed) { 1 + cols / 16 } else { 1 } + rows / (8 * cols);
        match function {
            // What is printed is counted as text already.
            Function::Print(_) => print - 1,
            // Nothing stands before the first column that could be repeated.
            Function::Rep(_) if terminal.cursor().col == 0 => 1,
            Function::Rep(times) => u64::from(*times) * print,
            Function::Lf | Function::Nel | Function::Ri => (cols + rows) / 8,
            Function::Decaln => cols * rows,
            Function::Ed(_) | Function::Ris | Function::Decset(_) | Function::Decrst(_) => cols * rows / 4,
            Function::Il(_) | Function::Dl(_) | Function::Su(_) | Function::Sd(_) => (cols + rows) * rows / 8,
            Function::El(_) | Function::Ech(_) | Function::Ich(_) | Function::Dch(_) => cols / 8,
            _ => 1,
        }
    }

    fn note(&self, function: &Function) {
        let insert = |modes: &[AnsiMode]| modes.contains(&AnsiMode::Insert);
        match function {
            Function::Sm(modes) if insert(modes.as_slice()) => self.inserts.store(true, Relaxed),
            Function::Rm(modes) if insert(modes.as_slice()) => self.inserts.store(false, Relaxed),
            Function::Ris | Function::Decstr => self.inserts.store(false, Relaxed),
            _ => {}
        }
    }
}

impl Observer for &Work {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        let terminal = context.terminal();
        match operation {
            Operation::Function(function) => {
                self.add(self.cost(terminal, function));
                self.note(function);
            }
            // Each row is cut and joined anew, on both screens.
            Operation::Resize { cols, rows } => {
                let (now_cols, now_rows) = terminal.size();
                self.add((cols * rows + now_cols * now_rows) as u64 / 2);
            }
        }
    }

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        self.add(line.len() as u64 / 8);
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// The same picture with less work: a character that is repeated more often than the screen has room for only scrolls by.
pub(super) fn fitting(function: Function, (cols, rows): (usize, usize)) -> Function {
    match function {
        Function::Rep(times) => {
            let beyond = usize::from(times).saturating_sub(cols * rows) / cols * cols;
            Function::Rep(times.saturating_sub(u16::try_from(beyond).unwrap_or(0)))
        }
        other => other,
    }
}

/// Work that may be done at once, and that comes back. Who has used it up waits until an eighth of it is there again.
pub(super) struct Allowance {
    left: u64,
    most: u64,
    out: bool,
}

/// Whether there is something to be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is.
    Go,
    /// There is again; what came meanwhile was left out.
    Resume,
    /// There is not.
    Skip,
}

impl Allowance {
    /// So much, all of it at once.
    pub(super) const fn new(most: u64) -> Self {
        Self { left: most, most, out: false }
    }

    /// So much comes back.
    pub(super) fn comes_back(&mut self, units: u64) {
        self.left = self.left.saturating_add(units).min(self.most);
    }

    /// Whoever has seen everything that there is may look at what comes next.
    pub(super) fn caught_up(&mut self) {
        self.left = self.left.max(self.most / 8);
    }

    /// So much was done. False if that was all there was.
    pub(super) fn spend(&mut self, units: u64) -> bool {
        self.left = self.left.saturating_sub(units);
        self.out |= self.left == 0;
        self.left > 0
    }

    /// What is left of it.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Is it the turn of what comes next?
    pub(super) fn turn(&mut self) -> Turn {
        match self.out {
            false => Turn::Go,
            true if self.left < self.most / 8 => Turn::Skip,
            true => {
                self.out = false;
                Turn::Resume
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(cols: usize, rows: usize, text: &str) -> u64 {
        let (mut terminal, work) = (Terminal::new(cols, rows).unwrap(), Work::default());
        terminal.feed_with(text, &work);
        work.take()
    }

    #[test]
    fn few_bytes_that_mean_much_are_counted_and_those_that_mean_nothing_are_not() {
        assert!(done(1000, 300, "a\x1b[65535b") >= 65_535 && done(1000, 300, "\x1b[4ha\x1b[65535b") > 60 * 65_535);
        assert!(done(1000, 300, "\x1b#8") == 300_000 && done(1000, 300, "\x1b[2J") >= 75_000);
        assert_eq!((done(80, 24, "\x1b[65535b"), done(80, 24, "plain text")), (1, 0));
        assert!(done(1, 300, "aaaa") > 100, "each of them moves all rows");
    }

    #[test]
    fn what_only_scrolls_by_is_not_done() {
        for (cols, rows, times) in [(80, 24, 65_535), (20, 4, 81), (20, 4, 80), (1, 1, 7), (7, 3, 1000)] {
            let [mut whole, mut less] = [(); 2].map(|()| Terminal::new(cols, rows).unwrap());
            for terminal in [&mut whole, &mut less] {
                terminal.feed("x\r\nya");
            }
            let Function::Rep(fewer) = fitting(Function::Rep(times), (cols, rows)) else { panic!() };
            assert!(usize::from(fewer) < cols * rows + cols && fewer <= times);
            whole.execute(Function::Rep(times));
            less.execute(Function::Rep(fewer));
            assert_eq!((whole.screen().text(), whole.cursor().col), (less.screen().text(), less.cursor().col), "{cols}x{rows} {times}");
        }
    }

    #[test]
    fn what_is_used_up_comes_back() {
        let mut allowance = Allowance::new(80);
        assert!(allowance.spend(79) && allowance.turn() == Turn::Go);
        assert!(!allowance.spend(5) && allowance.turn() == Turn::Skip);
        allowance.comes_back(9);
        assert_eq!((allowance.turn(), allowance.left()), (Turn::Skip, 9));
        allowance.caught_up();
        assert_eq!((allowance.turn(), allowance.left()), (Turn::Resume, 10));
        assert!(!allowance.spend(10));
        allowance.comes_back(500);
        assert_eq!((allowance.turn(), allowance.turn(), allowance.left()), (Turn::Resume, Turn::Go, 80));
    }
}
