//! Between the relay, the scribe and the recorder of one session: how far each has come, and whether anything failed.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::Notify;

use super::RecordError;

/// How far the recorder may be behind the journal. Who shows more waits for it: what it still has to write when the disk is full must
/// fit into the space that is reserved for that.
pub(super) const BEHIND_AT_MOST: u64 = 1024 * 1024;

/// The one tells that there is more, the other that it is kept or failed. No lock, and a system call only where somebody sleeps.
#[derive(Debug, Clone, Default)]
pub(super) struct Bell(Arc<State>);

#[derive(Debug, Default)]
struct State {
    poisoned: AtomicBool,
    /// What failed first, for whoever waits.
    why: OnceLock<RecordError>,
    asleep: AtomicBool,
    /// The recorder takes a breath, unless much waits for it.
    pacing: AtomicBool,
    sleeper: OnceLock<Thread>,
    /// The last frame that is kept.
    kept: AtomicU64,
    /// Bytes of the journal that are in the file, and those that the recorder has read.
    written: AtomicU64,
    read: AtomicU64,
    progress: Notify,
}

impl Bell {
    /// Nothing more may be kept, hence shown.
    pub(super) fn poison(&self) {
        self.0.poisoned.store(true, Ordering::SeqCst);
        self.0.progress.notify_waiters();
    }

    /// The same, and why.
    pub(super) fn fail(&self, path: &Path, why: impl ToString) {
        let _ = self.0.why.set(RecordError::bad(path, why.to_string()));
        self.poison();
    }

    pub(super) fn poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::SeqCst)
    }

    /// Why nothing more is kept.
    pub(super) fn failure(&self) -> RecordError {
        match self.0.why.get() {
            Some(RecordError::Bad { path, why }) => RecordError::bad(path, why.clone()),
            _ => RecordError::Poisoned,
        }
    }

    /// Wakes the recorder if it sleeps.
    pub(super) fn ring(&self) {
        if self.0.asleep.load(Ordering::SeqCst) && self.0.asleep.swap(false, Ordering::SeqCst) {
            self.0.sleeper.get().inspect(|t| t.unpark());
        }
    }

    /// Called by the recorder's thread: sleeps until the bell rings, unless `more()` says that there is something already.
    pub(super) fn sleep(&self, more: impl FnOnce() -> bool) {
        self.0.sleeper.get_or_init(std::thread::current);
        self.0.asleep.store(true, Ordering::SeqCst);
        if !more() {
            while self.0.asleep.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
        self.0.asleep.store(false, Ordering::SeqCst);
    }

    /// Everything up to this frame is kept, and the file is so long.
    pub(super) fn kept(&self, seq: u64, written: u64) {
        self.0.written.fetch_max(written, Ordering::SeqCst);
        self.0.kept.fetch_max(seq, Ordering::SeqCst);
        self.0.progress.notify_waiters();
        if self.hurries() && self.0.pacing.swap(false, Ordering::SeqCst) {
            self.0.sleeper.get().inspect(|t| t.unpark());
        }
        self.ring();
    }

    /// Called by the recorder's thread: waits for as long, so that it writes large pieces and is woken seldom; less while much is written.
    pub(super) fn pace(&self, pace: Duration) {
        self.0.sleeper.get_or_init(std::thread::current);
        self.0.pacing.store(true, Ordering::SeqCst);
        if !self.hurries() {
            std::thread::park_timeout(pace);
        }
        self.0.pacing.store(false, Ordering::SeqCst);
    }

    /// The recorder has read so many bytes. Wakes who waits for it.
    pub(super) fn read(&self, bytes: u64) {
        let before = self.0.read.swap(bytes, Ordering::SeqCst);
        let written = self.0.written.load(Ordering::SeqCst);
        if written.saturating_sub(before) > BEHIND_AT_MOST && written.saturating_sub(bytes) <= BEHIND_AT_MOST {
            self.0.progress.notify_waiters();
        }
    }

    /// Whether so much waits for the recorder that it must not rest.
    fn hurries(&self) -> bool {
        self.behind() > BEHIND_AT_MOST / 4
    }

    fn behind(&self) -> u64 {
        self.0.written.load(Ordering::SeqCst).saturating_sub(self.0.read.load(Ordering::SeqCst))
    }

    /// Whether what was handed over up to `seq` may be shown: it is kept, and the recorder is not far behind.
    fn landed(&self, seq: u64) -> Option<Result<(), RecordError>> {
        if self.poisoned() {
            return Some(Err(self.failure()));
        }
        (self.0.kept.load(Ordering::SeqCst) >= seq && self.behind() <= BEHIND_AT_MOST).then_some(Ok(()))
    }
}

/// What was handed to the scribe, on its way to the disk.
#[derive(Debug)]
#[must_use = "nothing may be shown before it has landed"]
pub struct Landing {
    pub(super) bell: Bell,
    pub(super) seq: u64,
}

impl Landing {
    /// Waits until it is kept: then it may be shown. An error says that it is not, and that nothing more is kept.
    pub async fn landed(&self) -> Result<(), RecordError> {
        loop {
            let mut progress = pin!(self.bell.0.progress.notified());
            progress.as_mut().enable();
            if let Some(landed) = self.bell.landed(self.seq) {
                return landed;
            }
            progress.await;
        }
    }

    /// Gives up: it was waited for too long. Nothing more is kept from here on.
    pub fn give_up(&self) {
        self.bell.poison();
    }
}
