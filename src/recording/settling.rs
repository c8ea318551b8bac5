//! At level `process` nobody waits for the disk, but a power cut must not take more than about a second: a thread of its own has the disk take
//! every journal in which something was written, soon after; later where many sessions write to a slow disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::bell::Bell;
use super::scribe::Job;
use crate::access::names::SessionId;

/// From the first byte that the disk does not have to the sync: with the time that this takes, less than a second on a disk that works.
const SOON: Duration = Duration::from_millis(500);

/// A handle on the thread. It ends with it.
#[derive(Debug)]
pub(super) struct Settling(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    unsettled: Mutex<Unsettled>,
    some: Condvar,
}

#[derive(Debug, Default)]
struct Unsettled {
    journals: BTreeMap<SessionId, Journal>,
    over: bool,
}

#[derive(Debug)]
struct Journal {
    file: Arc<File>,
    path: Arc<Path>,
    bell: Bell,
    /// Its folder does not have it yet.
    fresh: bool,
}

impl Settling {
    /// Starts the thread. Fails when the machine gives none.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("settling".into()).spawn(move || of_thread.run())?;
        Ok(Self(shared))
    }

    /// These were written, and the disk does not have them yet.
    pub(super) fn note(&self, batch: &[Job]) {
        let mut unsettled = self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if unsettled.journals.is_empty() {
            self.0.some.notify_one();
        }
        for job in batch {
            let journal = || Journal { file: Arc::clone(&job.file), path: Arc::clone(&job.path), bell: job.bell.clone(), fresh: false };
            unsettled.journals.entry(job.session.clone()).or_insert_with(journal).fresh |= job.first;
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.0.some.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            let nothing = |unsettled: &mut Unsettled| unsettled.journals.is_empty() && !unsettled.over;
            let unsettled = self.some.wait_while(unsettled, nothing).unwrap_or_else(PoisonError::into_inner);
            // Whoever stops has sealed everything.
            if unsettled.over {
                return;
            }
            drop(unsettled);
            std::thread::sleep(SOON);
            let journals = std::mem::take(&mut self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).journals);
            journals.into_values().for_each(|journal| journal.settle());
        }
    }
}

impl Journal {
    /// Has the disk take it. One that is over was sealed, or failed.
    fn settle(&self) {
        if self.bell.poisoned() {
            return;
        }
        let synced = match self.path.parent().filter(|_| self.fresh) {
            Some(folder) => self.file.sync_all().and_then(|()| File::open(folder)?.sync_all()),
            None => self.file.sync_data(),
        };
        match synced {
            // Nothing that could be synced: no file.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                self.bell.fail(&self.path, format!("cannot be synced: {error}"));
                tracing::error!(error = %self.bell.failure(), "a journal failed, its session ends");
            }
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::recording::scribe::Scribe;
    use crate::recording::{Body, Frame, Journal, Level, sample};

    /// A folder that is gone cannot be synced: nobody waited for that, and the session ends all the same.
    #[tokio::test]
    async fn what_cannot_be_synced_soon_ends_its_session() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("journal");
        let scribe = Scribe::start(Level::Process, dir.path()).unwrap();
        let mut journal = Journal::create(&folder, &sample::meta(), Level::Process).unwrap();
        std::fs::rename(&folder, dir.path().join("away")).unwrap();
        journal.stage(&Frame { channel: 1, at: 0, body: Body::Out(b"x") }).unwrap();
        journal.hand_over(&scribe).unwrap().landed().await.unwrap();
        let begun = Instant::now();
        while !journal.failed() {
            assert!(begun.elapsed().as_secs() < 30, "nothing was synced");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let said = journal.stage(&Frame { channel: 1, at: 0, body: Body::Out(b"y") }).unwrap_err().to_string();
        assert!(said.contains("cannot be synced"), "{said}");
    }
}
