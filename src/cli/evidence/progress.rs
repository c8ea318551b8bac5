//! A line that says how far a long look is: on standard error, where that is a terminal.

use std::io::{IsTerminal, Write};

use crate::recording::Progress;

/// So many sessions from one telling to the next.
const SESSIONS: u64 = 200;
/// Or so many bytes.
const BYTES: u64 = 128 << 20;
const MIB: u64 = 1 << 20;

/// What was told last.
pub(in crate::cli) struct Shown {
    terminal: bool,
    told: Progress,
    seen: u64,
    dirty: bool,
}

impl Shown {
    /// Says nothing yet, and never anything where nobody looks.
    pub(in crate::cli) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), told: Progress::default(), seen: 0, dirty: false }
    }

    /// So much of the folder.
    pub(in crate::cli) fn recordings(&mut self, now: Progress) {
        if now.sessions >= self.told.sessions + SESSIONS || now.bytes >= self.told.bytes + BYTES {
            self.told = now;
            self.say(&format!("{} sessions, {} MiB of recordings", now.sessions, now.bytes / MIB));
        }
    }

    /// So many bytes more.
    pub(in crate::cli) fn bytes(&mut self, more: u64) {
        self.seen += more;
        if self.seen >= self.told.bytes + BYTES {
            self.told.bytes = self.seen;
            self.say(&format!("{} MiB", self.seen / MIB));
        }
    }

    /// So much of the log.
    pub(in crate::cli) fn entries(&mut self, now: u64) {
        self.say(&format!("{now} entries of the log"));
    }

    /// Takes the line away again.
    pub(in crate::cli) fn clear(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn say(&mut self, text: &str) {
        if self.terminal {
            self.dirty = true;
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}
