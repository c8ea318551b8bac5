//! From the journal to the asciicast files, off the hot path: one thread a session, bounded memory, no frame dropped.
//!
//! If it cannot write, it poisons the journal: the session ends at the next byte, and nothing is shown that is not kept. Endings are
//! [`Recorder::seal`]; one that is only dropped leaves its journal for [`super::recover`].

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::bell::Bell;
use super::channel::{Channel, ChannelFile, Place};
use super::command::{MANY, MAX_TEXT, SHORT_TEXT};
use super::frames::{Body, Frame};
use super::journal::{Journal, JournalReader, Next};
use super::manifest::{ManifestSigner, SealedSession};
use super::reserve::Reserve;
use super::text::Texts;
use super::{ChannelKind, ChannelMeta, RecordError, SessionMeta, sealing};

/// Under load the thread looks this often, so that it writes large pieces and is woken seldom.
const PACE: Duration = Duration::from_millis(20);
/// Enough for the calls it makes; the default would be 2 MiB of address space a session.
const STACK: usize = 256 * 1024;

/// One session's recorder.
#[derive(Debug)]
pub struct Recorder {
    thread: Option<JoinHandle<Result<Casts, RecordError>>>,
    finish: Arc<AtomicBool>,
    bell: Bell,
    root: PathBuf,
    journal: PathBuf,
    reserve: Arc<Reserve>,
    /// Keeps the journal locked until the seal is done, also when nobody waits for it any more.
    _lock: Arc<File>,
}

impl Recorder {
    /// Makes the session's folder (0700) under `root` and starts the thread. An error here means: no session.
    pub fn start(root: &Path, journal: &Journal) -> Result<Self, RecordError> {
        Self::start_with(root, journal, Reserve::default())
    }

    /// The same, with space that is set aside for the end.
    pub fn start_with(root: &Path, journal: &Journal, reserve: Reserve) -> Result<Self, RecordError> {
        let reserve = Arc::new(reserve);
        let mut casts = Casts::create(root, journal.meta(), &reserve)?;
        casts.gather_text(journal.path());
        let reader = JournalReader::open(journal.path())?;
        let (finish, bell) = (Arc::new(AtomicBool::new(false)), journal.bell());
        let (of_thread, bell_of_thread) = (Arc::clone(&finish), bell.clone());
        let spawned = std::thread::Builder::new()
            .name(format!("rec {}", journal.meta().session))
            .stack_size(STACK)
            .spawn(move || tail(reader, casts, &of_thread, &bell_of_thread));
        let thread = spawned.map_err(RecordError::io("start the recorder of", journal.path()))?;
        let (root, lock, journal) = (root.to_owned(), journal.lock(), journal.path().to_owned());
        Ok(Self { thread: Some(thread), finish, bell, root, journal, reserve, _lock: lock })
    }

    /// Finishes the files: everything in the journal is written, hashed, synced, renamed, and named in a signed manifest. The journal
    /// stays until [`SealedSession::let_go`]. If the thread failed on the way, the files are made again from the journal. After an error
    /// the journal is left for the next start.
    pub async fn seal(mut self, ending: &str, signer: Arc<dyn ManifestSigner>) -> Result<SealedSession, RecordError> {
        let ending = ending.to_owned();
        let work = tokio::task::spawn_blocking(move || self.seal_now(&ending, &*signer));
        work.await.unwrap_or(Err(RecordError::Poisoned))
    }

    fn seal_now(&mut self, ending: &str, signer: &dyn ManifestSigner) -> Result<SealedSession, RecordError> {
        self.stop();
        let tailed = self.thread.take().map(JoinHandle::join);
        let casts = match tailed {
            Some(Ok(Ok(casts))) => casts,
            _ => sealing::rebuild(&self.root, &self.journal, &self.reserve)?,
        };
        sealing::seal(&self.root, &self.journal, casts, Some(ending), signer)
    }

    fn stop(&self) {
        self.finish.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tail(reader: JournalReader, casts: Casts, finish: &AtomicBool, bell: &Bell) -> Result<Casts, RecordError> {
    let path = reader.path().to_owned();
    let poison_on_panic = PoisonOnDrop(bell);
    let result = follow(reader, casts, finish, bell);
    match &result {
        Ok(_) => std::mem::forget(poison_on_panic),
        Err(error) => tracing::error!(journal = %path.display(), %error, "the recorder failed, its session ends"),
    }
    result
}

fn follow(mut reader: JournalReader, mut casts: Casts, finish: &AtomicBool, bell: &Bell) -> Result<Casts, RecordError> {
    loop {
        // Read before the drain: what was written before it was set is drained below.
        let last = finish.load(Ordering::SeqCst);
        let torn = casts.drain(&mut reader, |read| bell.read(read))?;
        casts.flush()?;
        if last {
            let _ = torn.inspect(|why| tracing::error!(journal = %reader.path().display(), why, "the journal's tail is torn and dropped"));
            return Ok(casts);
        }
        if let Some(why) = torn {
            return Err(RecordError::bad(reader.path(), why));
        }
        bell.pace(PACE);
        bell.sleep(|| finish.load(Ordering::SeqCst) || reader.has_more());
    }
}

struct PoisonOnDrop<'b>(&'b Bell);

impl Drop for PoisonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.poison();
    }
}

/// A session's files while they are written.
pub(super) struct Casts {
    pub(super) meta: SessionMeta,
    folder: PathBuf,
    reserve: Arc<Reserve>,
    open: BTreeMap<u32, ChannelFile>,
    closed: BTreeMap<u32, Channel>,
    /// What stands on the screens, where that may be kept for search.
    texts: Option<Texts>,
    /// Bytes of commands that the manifest will tell.
    told: usize,
    /// The last frame's time.
    pub(super) last: u64,
    /// What the journal's own last frame says of the ending.
    pub(super) ending: Option<String>,
}

impl std::fmt::Debug for Casts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Casts").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Casts {
    /// Makes the folder, or takes it as it is.
    pub(super) fn create(root: &Path, meta: &SessionMeta, reserve: &Arc<Reserve>) -> Result<Self, RecordError> {
        let folder = root.join(meta.folder());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(RecordError::io("make", &folder))?;
        let (meta, reserve) = (meta.clone(), Arc::clone(reserve));
        let (open, closed) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { meta, folder, reserve, open, closed, texts: None, told: 0, last: 0, ending: None })
    }

    /// Gathers the text too, if that may be kept: from the journal's beginning.
    pub(super) fn gather_text(&mut self, journal: &Path) {
        self.texts = Texts::begin(journal);
    }

    /// Writes down every whole frame that is there. Says what is wrong with the next one, if something is.
    pub(super) fn drain(&mut self, reader: &mut JournalReader, read: impl Fn(u64)) -> Result<Option<&'static str>, RecordError> {
        loop {
            read(reader.position());
            match reader.next_frame()? {
                Next::Frame(_, frame) => self.frame(frame)?,
                Next::Dry(_) => return Ok(None),
                Next::Torn(why) => return Ok(Some(why)),
            }
        }
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), RecordError> {
        if let Some(texts) = &mut self.texts {
            texts.frame(&frame);
        }
        let Frame { channel: number, at, body } = frame;
        self.last = self.last.max(at);
        if let Body::End(ending) = body {
            self.ending = Some(ending.to_owned());
            return Ok(());
        }
        if let Some(closed) = self.closed.remove(&number) {
            // Late, but it may have been shown.
            self.open.insert(number, closed.reopen(&self.folder, &self.reserve)?);
        }
        if let Some(channel) = self.open.get_mut(&number) {
            channel.frame(at, &body)?;
            return if body == Body::Close { self.close(number) } else { Ok(()) };
        }
        let meta = match &body {
            Body::Open(meta) => meta.clone(),
            // Nothing is lost because somebody forgot to say what it is.
            _ => ChannelMeta { kind: ChannelKind::Shell, command: None, terminal: None },
        };
        let text = if self.told < MANY { MAX_TEXT } else { SHORT_TEXT };
        let mut channel = ChannelFile::create(Place { folder: &self.folder, reserve: &self.reserve }, &self.meta, number, &meta, at, text)?;
        self.told += channel.told();
        channel.frame(at, &body)?;
        self.open.insert(number, channel);
        Ok(())
    }

    fn close(&mut self, number: u32) -> Result<(), RecordError> {
        if let Some(channel) = self.open.remove(&number) {
            self.closed.insert(number, channel.close()?);
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), RecordError> {
        if let Some(texts) = &mut self.texts {
            texts.rest();
        }
        self.open.values_mut().try_for_each(ChannelFile::rest)
    }

    /// Ends every channel and hands them over for the seal.
    pub(super) fn end(mut self) -> Result<(PathBuf, Vec<Channel>, Arc<Reserve>), RecordError> {
        if let Some(texts) = self.texts.take() {
            texts.end();
        }
        for channel in self.open.into_values() {
            let channel = channel.close()?;
            self.closed.insert(channel.number(), channel);
        }
        Ok((self.folder, self.closed.into_values().collect(), self.reserve))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::recording::replay::{RawStreams, raw};
    use crate::recording::sample::{self, TestSigner};
    use crate::recording::{Level, TerminalMeta};

    const LONG_AGO: u64 = 3_200_000;

    fn open(kind: ChannelKind) -> Body<'static> {
        let terminal = (kind == ChannelKind::Shell).then(|| TerminalMeta { term: "xterm".into(), cols: 100, rows: 30 });
        let command = (kind == ChannelKind::Exec).then(|| b"cat \"a b\"".to_vec());
        Body::Open(ChannelMeta { kind, command, terminal })
    }

    fn frame(channel: u32, at: u64, body: Body<'_>) -> Frame<'_> {
        Frame { channel, at, body }
    }

    /// Three channels, one of each kind; what crossed in the exec.
    fn play(journal: &mut Journal) -> RawStreams {
        let mut want = RawStreams { command: Some(b"cat \"a b\"".to_vec()), ..RawStreams::default() };
        let kinds = [ChannelKind::Shell, ChannelKind::Exec, ChannelKind::Sftp];
        for (n, kind) in (1..).zip(kinds) {
            journal.keep(&[frame(n, 1000, open(kind))]).unwrap();
        }
        for n in 0..200u32 {
            let bytes: Vec<u8> = (0..n * 97).map(|i| (i * n / 7) as u8).collect();
            let text = format!("line {n} ü\r\nx\n");
            let at = u64::from(n) * 10;
            journal.add(&frame(1, at, Body::Out(text.as_bytes()))).unwrap();
            journal.add(&frame(2, at, Body::Out(&bytes))).unwrap();
            journal.add(&frame(2, at, Body::Err(text.as_bytes()))).unwrap();
            journal.add(&frame(2, at, Body::In(&bytes))).unwrap();
            want.out.extend_from_slice(&bytes);
            want.err.extend_from_slice(text.as_bytes());
            want.input.extend_from_slice(&bytes);
            let count = Body::Count { up: u64::from(n), down: u64::from(n) * 32 };
            journal.add(&frame(3, LONG_AGO, count)).unwrap();
            journal.commit().unwrap();
        }
        journal.keep(&[frame(1, LONG_AGO, Body::Resize { cols: 70, rows: 20 }), frame(3, LONG_AGO + 1000, Body::Close)]).unwrap();
        want
    }

    fn world() -> (tempfile::TempDir, PathBuf, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("recordings");
        let journal = Journal::create(&dir.path().join("journal"), &sample::meta(), Level::Process).unwrap();
        (dir, root, journal)
    }

    #[tokio::test]
    async fn a_session_is_sealed_byte_for_byte() {
        let (_dir, root, mut journal) = world();
        let recorder = Recorder::start(&root, &journal).unwrap();
        let want = play(&mut journal);
        journal.finish("left", LONG_AGO + 2000).unwrap();
        let signer = Arc::new(TestSigner::new(1));
        let sealed = recorder.seal("left", Arc::clone(&signer) as _).await.unwrap();
        let folder = root.join(&sealed.folder);
        assert_eq!(sealed.folder, Path::new("2026/11/21/s-000001"));
        let names: Vec<_> = sealed.channels.iter().map(|c| (c.number, c.file.as_str(), c.duration.as_micros())).collect();
        assert_eq!(names, [(1, "01-shell.cast", 3_199_000), (2, "02-exec.cast", 3_199_000), (3, "03-sftp.cast", 3_200_000)]);
        assert_eq!(raw(&folder, 2, &signer.public_key()).unwrap(), want);
        let shell = std::fs::read_to_string(folder.join("01-shell.cast")).unwrap();
        assert!(shell.contains("\"width\":100") && shell.ends_with("\"r\",\"70x20\"]\n"), "{shell}");
        let sftp = std::fs::read_to_string(folder.join("03-sftp.cast")).unwrap();
        assert!(sftp.ends_with("[3.200000,\"o\",\"sftp: 199 bytes up, 6368 bytes down in 3.2 s\\r\\n\"]\n"), "{sftp}");
        for (path, mode) in [(&folder, 0o700), (&folder.join("01-shell.cast"), 0o600), (&folder.join("manifest.json"), 0o600)] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        assert!(journal.path().exists());
        sealed.let_go().unwrap();
        sealed.let_go().unwrap();
        assert!(!journal.path().exists());
    }

    #[tokio::test]
    async fn it_follows_while_the_session_runs_and_sleeps_when_it_is_quiet() {
        let (_dir, root, mut journal) = world();
        let recorder = Recorder::start(&root, &journal).unwrap();
        journal.keep(&[frame(1, 0, open(ChannelKind::Shell))]).unwrap();
        let part = root.join(sample::meta().folder()).join("01-shell.cast.part");
        for n in 0..5 {
            let text = format!("word-{n}");
            journal.keep(&[frame(1, n, Body::Out(text.as_bytes()))]).unwrap();
            for tries in 0.. {
                if std::fs::read_to_string(&part).is_ok_and(|t| t.contains(&text)) {
                    break;
                }
                assert!(tries < 500, "never written");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // Told the ending by the seal alone, without a last frame.
        let sealed = recorder.seal("killed", Arc::new(TestSigner::new(1))).await.unwrap();
        assert_eq!(sealed.ending, "killed");
    }

    #[tokio::test]
    async fn a_recorder_that_cannot_write_fails_the_session_and_the_journal_has_it_all() {
        let (_dir, root, mut journal) = world();
        let recorder = Recorder::start(&root, &journal).unwrap();
        journal.keep(&[frame(1, 0, open(ChannelKind::Exec)), frame(1, 0, Body::Out(b"shown"))]).unwrap();
        // A file of the next channel is in the way.
        let folder = root.join(sample::meta().folder());
        std::fs::write(folder.join("02-exec.cast.part"), "").unwrap();
        journal.keep(&[frame(2, 0, open(ChannelKind::Exec))]).unwrap();
        for tries in 0.. {
            if journal.failed() {
                break;
            }
            assert!(tries < 500, "never failed");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(journal.keep(&[frame(1, 0, Body::Out(b"never shown"))]).is_err());
        let signer = Arc::new(TestSigner::new(1));
        recorder.seal("recorder-failed", Arc::clone(&signer) as _).await.unwrap();
        assert_eq!(raw(&folder, 1, &signer.public_key()).unwrap().out, b"shown");
    }

    #[test]
    fn late_frames_of_a_closed_channel_are_kept() {
        let (_dir, root, _journal) = world();
        let mut casts = Casts::create(&root, &sample::meta(), &Arc::default()).unwrap();
        let bodies = [open(ChannelKind::Exec), Body::Out(b"a"), Body::Close, Body::Out(b"b"), Body::Close];
        for (at, body) in (0..).zip(bodies) {
            casts.frame(frame(1, at, body)).unwrap();
        }
        casts.frame(frame(9, 9, Body::Out(b"nobody said what"))).unwrap();
        let (folder, files, _) = casts.end().unwrap();
        assert_eq!(files.len(), 2);
        let text = std::fs::read_to_string(folder.join("01-exec.cast.part")).unwrap();
        assert!(text.ends_with("[0.000001,\"o\",\"a\"]\n[0.000003,\"o\",\"b\"]\n"), "{text}");
    }
}
