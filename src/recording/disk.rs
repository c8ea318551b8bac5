//! Whether what is seen can be kept at this moment: a thread that tries, while there are sessions and whenever somebody asks.
//!
//! It tries where the journals and the recordings lie: the folders are those of the start, a file can be made and written, and there is
//! space for another session. A try that does not come back is an answer too.

use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::timeout;

use super::RecordError;
use super::reserve::{Reserve, is_full, nameless};
use crate::access::time::Clock;

/// How often it is tried while there are sessions.
const EVERY: Duration = Duration::from_secs(1);
/// After a session found the disk full, everybody ends before the space that was given free is offered to anybody else.
const FULL_FOR: u32 = 3;

/// Why nothing can be kept at this moment; half a sentence for people who are not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space is left.
    Full,
    /// There is some, but not enough for another session; or no file can be opened for it. Who is inside goes on.
    NoRoom,
    /// Neither yes nor no.
    Silent,
    /// A folder is not there, or is another one than at the start.
    Missing,
    /// It cannot be written: read-only, an error of the device, no permission.
    Unwritable,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ if is_full(error) => Self::Full,
            // Says nothing of the disk, nor of files that are open already.
            _ if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Self::NoRoom,
            _ => Self::Unwritable,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the disk for recordings is full",
            Self::NoRoom => "the disk for recordings has no room for another session",
            Self::Silent => "the disk for recordings does not answer",
            Self::Missing => "the folder for recordings is gone",
            Self::Unwritable => "the disk for recordings cannot be written",
        })
    }
}

/// A handle on the thread that tries. It ends with the last handle.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Watched>);

struct Watched {
    places: [Place; 2],
    clock: Arc<dyn Clock>,
    verdict: watch::Sender<Option<Trouble>>,
    /// When the try that runs now began, microseconds on BOOTTIME; 0 when none does.
    began: AtomicU64,
    live: AtomicUsize,
    full: Arc<AtomicBool>,
    thread: std::sync::OnceLock<Thread>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("verdict", &*self.verdict.borrow()).finish_non_exhaustive()
    }
}

struct Place {
    folder: PathBuf,
    device: u64,
    inode: AtomicU64,
}

impl Disk {
    /// Makes the folders (0700) where they are not there, remembers which they are, and starts the thread.
    pub fn watch(journals: &Path, recordings: &Path, clock: Arc<dyn Clock>) -> Result<Self, RecordError> {
        let places = [Place::of(journals)?, Place::of(recordings)?];
        let watched = Arc::new(Watched {
            places,
            clock,
            verdict: watch::Sender::new(None),
            began: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            full: Arc::default(),
            thread: std::sync::OnceLock::new(),
        });
        let weak = Arc::downgrade(&watched);
        let thread = std::thread::Builder::new().name("disk".into()).spawn(move || run(&weak));
        let thread = thread.map_err(RecordError::io("watch", recordings))?;
        let _ = watched.thread.set(thread.thread().clone());
        Ok(Self(watched))
    }

    /// Has it tried now, and waits for the answer.
    pub async fn ask(&self, patience: Duration) -> Result<(), Trouble> {
        let mut verdict = self.0.verdict.subscribe();
        self.0.thread.get().inspect(|thread| thread.unpark());
        match timeout(patience, verdict.changed()).await {
            Ok(Ok(())) => verdict.borrow().map_or(Ok(()), Err),
            _ => Err(Trouble::Silent),
        }
    }

    /// Why those who are inside cannot stay, by what was found last. Silence counts when it lasts longer than `patience`.
    pub fn trouble(&self, patience: Duration) -> Option<Trouble> {
        let began = self.0.began.load(Ordering::SeqCst);
        if began > 0 && self.0.clock.since_boot() > Duration::from_micros(began) + patience {
            return Some(Trouble::Silent);
        }
        self.0.verdict.borrow().filter(|trouble| *trouble != Trouble::NoRoom)
    }

    /// Counts a session: while there is one, the disk is tried.
    pub fn enter(&self) -> Inside {
        self.0.live.fetch_add(1, Ordering::SeqCst);
        self.0.thread.get().inspect(|thread| thread.unpark());
        Inside(Arc::clone(&self.0))
    }

    /// How many sessions there are.
    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::SeqCst)
    }

    /// Whether a session found the disk full: nobody writes any more until what is begun is finished.
    pub fn is_full(&self) -> bool {
        self.0.full.load(Ordering::SeqCst)
    }

    /// Space for one more session.
    pub fn reserve(&self) -> Result<Reserve, RecordError> {
        let [_, recordings] = &self.0.places;
        Reserve::take(&recordings.folder, &self.0.full)
    }
}

/// A session that is counted.
#[derive(Debug)]
pub struct Inside(Arc<Watched>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(watched: &Weak<Watched>) {
    let mut full_for = 0;
    while let Some(watched) = watched.upgrade() {
        let now = u64::try_from(watched.clock.since_boot().as_micros()).unwrap_or(u64::MAX);
        watched.began.store(now.max(1), Ordering::SeqCst);
        let found = watched.try_all(&mut full_for);
        watched.began.store(0, Ordering::SeqCst);
        let before = watched.verdict.send_replace(found);
        if before != found {
            match found {
                Some(trouble) => tracing::error!(%trouble, "nobody is let in: what is seen could not be kept"),
                None => tracing::info!("the disk for recordings is well again"),
            }
        }
        let live = watched.live.load(Ordering::SeqCst) > 0 || found.is_some();
        drop(watched);
        if live { std::thread::park_timeout(EVERY) } else { std::thread::park_timeout(SELDOM) }
    }
}

/// With nobody inside and nobody at the door it is only looked whether the bastion still runs.
const SELDOM: Duration = Duration::from_secs(600);

impl Watched {
    fn try_all(&self, full_for: &mut u32) -> Option<Trouble> {
        if self.full.load(Ordering::SeqCst) {
            *full_for += 1;
            if *full_for < FULL_FOR || self.live.load(Ordering::SeqCst) > 0 {
                return Some(Trouble::Full);
            }
        }
        let [journals, recordings] = &self.places;
        // Both folders first: that a file cannot be opened now must not hide that one of them is gone.
        let there = journals.is_there(&self.live).and_then(|()| recordings.is_there(&self.live));
        let written = there.and_then(|()| journals.try_file()).and_then(|()| recordings.try_file());
        let tried = written.and_then(|()| recordings.try_space());
        if tried.is_ok() {
            *full_for = 0;
            self.full.store(false, Ordering::SeqCst);
        }
        tried.err()
    }
}

impl Place {
    fn of(folder: &Path) -> Result<Self, RecordError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(RecordError::io("make", folder))?;
        let found = folder.metadata().map_err(RecordError::io("look at", folder))?;
        Ok(Self { folder: folder.to_owned(), device: found.dev(), inode: AtomicU64::new(found.ino()) })
    }

    /// The folder is the one of the start, or of the time when nobody was inside.
    fn is_there(&self, live: &AtomicUsize) -> Result<(), Trouble> {
        let found = self.tried(|| self.folder.metadata())?;
        // Not mounted any more, or something else is mounted in its place: what was kept there is out of reach.
        if found.dev() != self.device {
            return Err(Trouble::Missing);
        }
        // Made anew: whoever wrote into the old one writes into nothing, and ends. Who comes after that is safe. It is found before it is
        // counted: whoever comes between the two writes into the new one.
        if self.inode.load(Ordering::SeqCst) != found.ino() {
            if live.load(Ordering::SeqCst) > 0 {
                return Err(Trouble::Missing);
            }
            self.inode.store(found.ino(), Ordering::SeqCst);
        }
        Ok(())
    }

    /// A file can be written there.
    fn try_file(&self) -> Result<(), Trouble> {
        let mut file = self.tried(|| nameless(&self.folder))?;
        self.tried(|| file.write_all(&[0; 4096]))
    }

    fn try_space(&self) -> Result<(), Trouble> {
        match Reserve::take(&self.folder, &Arc::default()) {
            Err(RecordError::Io { source, .. }) => Err(match Trouble::of(&source) {
                Trouble::Full => Trouble::NoRoom,
                other => other,
            }),
            Err(_) => Err(Trouble::Unwritable),
            Ok(_) => Ok(()),
        }
    }

    /// Does it, again where a signal came between.
    fn tried<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> Result<T, Trouble> {
        loop {
            match work() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(folder = %self.folder.display(), %error, "a try failed");
                    return Err(Trouble::of(&error));
                }
                Ok(done) => return Ok(done),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_made_anew_is_missed_until_nobody_is_inside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("recordings");
        let (place, live) = (Place::of(&folder).unwrap(), AtomicUsize::new(1));
        place.is_there(&live).unwrap();
        std::fs::rename(&folder, dir.path().join("away")).unwrap();
        assert_eq!(place.is_there(&live), Err(Trouble::Missing));
        std::fs::create_dir(&folder).unwrap();
        for _ in 0..3 {
            assert_eq!(place.is_there(&live), Err(Trouble::Missing), "somebody writes into the old one");
        }
        live.store(0, Ordering::SeqCst);
        place.is_there(&live).unwrap();
        live.store(1, Ordering::SeqCst);
        place.is_there(&live).unwrap();
        place.try_file().unwrap();
    }

    #[test]
    fn what_this_machine_lacks_ends_nobody_who_is_inside() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(dir.path()).unwrap();
        let found = |errno: Errno| place.tried(|| Err::<(), _>(errno.into())).unwrap_err();
        for (errno, trouble) in [
            (Errno::MFILE, Trouble::NoRoom),
            (Errno::NFILE, Trouble::NoRoom),
            (Errno::NOMEM, Trouble::NoRoom),
            (Errno::NOSPC, Trouble::Full),
            (Errno::DQUOT, Trouble::Full),
            (Errno::NOENT, Trouble::Missing),
            (Errno::NOTDIR, Trouble::Missing),
            (Errno::IO, Trouble::Unwritable),
            (Errno::ROFS, Trouble::Unwritable),
        ] {
            assert_eq!(found(errno), trouble, "{errno}");
        }
        let mut signals = 3;
        let interrupted = || match signals {
            0 => Ok(()),
            _ => {
                signals -= 1;
                Err(Errno::INTR.into())
            }
        };
        assert_eq!(place.tried(interrupted), Ok(()));
    }
}
