//! The journal: one append-only file a session, in which everything is kept before it is shown.
//!
//! One write call a run of frames; a short write or an error poisons the journal, and with it the session. What was written survives the
//! death of the process (`kill -9`): the page cache has it. A journal is written either here, by who holds it, or by the
//! [`Scribe`](super::Scribe): a disk that stands still must not stop the thread that a session lives on.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::timeout;

use super::bell::{Bell, Landing};
use super::command::MAX_COMMAND;
use super::frames::{self, Body, Frame, HEAD, MAGIC, MAX_PAYLOAD, Payload, Seq};
use super::scribe::{Job, Scribe};
use super::{RecordError, SessionMeta};

pub use super::reader::{JournalReader, Next};

/// A run of small frames is written when it is this long.
const RUN: usize = 32 * 1024;
/// A payload from here on is written from where it lies instead of being copied into the run.
const LARGE: usize = 4 * 1024;
/// Frames in one `writev`: two slices each, below the kernel's limit of 1024.
const FRAMES_A_WRITE: usize = 256;
/// Runs of a session that may be on their way to the scribe: one of each direction, and words of our own.
const RUNS: usize = 4;
/// A run's memory is used again if it is no larger than this.
const SPARE: usize = 512 * 1024;

/// When something counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// When the kernel has it: survives the death of the process, not a power cut.
    #[default]
    Process,
    /// When the disk has it: survives a power cut too.
    Power,
}

impl Level {
    /// `process` or `power`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// One session's journal, open for appending. The file is locked (`flock`) as long as this lives.
#[derive(Debug)]
pub struct Journal {
    file: Arc<File>,
    path: Arc<Path>,
    meta: SessionMeta,
    run: Vec<u8>,
    next: u64,
    len: u64,
    last_at: u64,
    /// Something was handed over already.
    handed_over: bool,
    bell: Bell,
    /// Memory of runs that are written comes back here.
    spares: (SyncSender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl Journal {
    /// Makes `DIR/SESSION.journal` (0600; the folder 0700 if it is not there). Fails if the file exists.
    pub fn create(dir: &Path, meta: &SessionMeta, level: Level) -> Result<Self, RecordError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(RecordError::io("make", dir))?;
        let path = dir.join(format!("{}.journal", meta.session));
        let open = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = open.map_err(RecordError::io("make", &path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| RecordError::io("lock", &path)(e.into()))?;
        let json = serde_json::to_vec(meta).map_err(|e| RecordError::bad(&path, e.to_string()))?;
        let mut journal = Self {
            file: Arc::new(file),
            path: path.into(),
            meta: meta.clone(),
            run: Vec::new(),
            next: 1,
            len: 0,
            last_at: 0,
            handed_over: false,
            bell: Bell::default(),
            spares: sync_channel(RUNS),
        };
        let head = frames::meta_head(&json);
        journal.write(&mut [IoSlice::new(MAGIC), IoSlice::new(&head), IoSlice::new(&json)])?;
        if level == Level::Power {
            journal.file.sync_all().map_err(RecordError::io("sync", &journal.path))?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(RecordError::io("sync", dir))?;
        }
        Ok(journal)
    }

    /// Adds a frame to the run, whatever its length, for the scribe: it may be shown when it has landed (see [`Journal::hand_over`]).
    pub fn stage(&mut self, frame: &Frame<'_>) -> Result<(), RecordError> {
        let (head, payload) = self.encode(frame)?;
        self.run.extend_from_slice(&head);
        self.run.extend_from_slice(payload.as_ref());
        Ok(())
    }

    /// Gives everything that was staged to the scribe. Never waits: what comes back is waited for.
    pub fn hand_over(&mut self, scribe: &Scribe) -> Result<Landing, RecordError> {
        if self.failed() {
            return Err(self.bell.failure());
        }
        let landing = Landing { bell: self.bell.clone(), seq: self.next - 1 };
        if self.run.is_empty() {
            return Ok(landing);
        }
        let mut bytes = self.spares.1.try_recv().unwrap_or_default();
        std::mem::swap(&mut bytes, &mut self.run);
        let at = self.len;
        self.len += bytes.len() as u64;
        // What a burst needed is given back when it is quiet again.
        let wanted = bytes.capacity() <= SPARE.min(bytes.len() * 8).max(LARGE);
        let spare = wanted.then(|| self.spares.0.clone());
        scribe.write(Job {
            session: self.meta.session.clone(),
            file: Arc::clone(&self.file),
            path: Arc::clone(&self.path),
            bell: self.bell.clone(),
            bytes,
            at,
            seq: landing.seq,
            spare,
            first: !std::mem::replace(&mut self.handed_over, true),
            landed: false,
        })?;
        Ok(landing)
    }

    /// The number of the last frame, kept or not yet; 0 before the first.
    pub fn last(&self) -> Seq {
        Seq(self.next - 1)
    }

    /// Keeps frames now, in one write call together with what was added before. When this returns they may be shown.
    pub fn keep(&mut self, frames: &[Frame<'_>]) -> Result<Seq, RecordError> {
        for frames in frames.chunks(FRAMES_A_WRITE) {
            let mut encoded = Vec::with_capacity(frames.len());
            for frame in frames {
                encoded.push(self.encode(frame)?);
            }
            let run = std::mem::take(&mut self.run);
            let slices = encoded.iter().flat_map(|(head, payload)| [IoSlice::new(head), IoSlice::new(payload.as_ref())]);
            let mut slices: Vec<_> = std::iter::once(IoSlice::new(&run)).chain(slices).collect();
            self.write(&mut slices)?;
            self.run = run;
            self.run.clear();
        }
        self.commit()
    }

    /// Adds a frame to the run. It may be shown after the next [`Journal::commit`], not before. A large payload is written at once, from
    /// where it lies.
    pub fn add(&mut self, frame: &Frame<'_>) -> Result<(), RecordError> {
        let (head, payload) = self.encode(frame)?;
        let payload = payload.as_ref();
        if payload.len() < LARGE {
            self.run.extend_from_slice(&head);
            self.run.extend_from_slice(payload);
            return if self.run.len() < RUN { Ok(()) } else { self.commit().map(|_| ()) };
        }
        let run = std::mem::take(&mut self.run);
        self.write(&mut [IoSlice::new(&run), IoSlice::new(&head), IoSlice::new(payload)])?;
        self.run = run;
        self.run.clear();
        Ok(())
    }

    /// Writes the run, if there is one. Everything up to the number that comes back may be shown.
    pub fn commit(&mut self) -> Result<Seq, RecordError> {
        if self.failed() {
            return Err(RecordError::Poisoned);
        }
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.write(&mut [IoSlice::new(&run)])?;
            self.run = run;
            self.run.clear();
        }
        Ok(Seq(self.next - 1))
    }

    /// The session is over: writes the last frame, so that a crash before the seal does not hide why it ended. Nothing can be kept after.
    pub fn finish(&mut self, ending: &str, at: u64) -> Result<(), RecordError> {
        let result = self.keep(&[Frame { channel: 0, at, body: Body::End(ending) }]);
        self.bell.poison();
        result.map(|_| ())
    }

    /// The same with a scribe. Waits no longer than `patience` for the disk: what it does not take is told by who seals.
    pub async fn conclude(&mut self, scribe: &Scribe, ending: &str, at: u64, patience: Duration) -> Result<(), RecordError> {
        self.stage(&Frame { channel: 0, at, body: Body::End(ending) })?;
        let landing = self.hand_over(scribe)?;
        let landed = timeout(patience, landing.landed()).await.unwrap_or(Err(RecordError::Silent));
        self.bell.poison();
        landed
    }

    /// Nothing more is kept: something around it failed.
    pub fn poison(&self, why: impl ToString) {
        self.bell.fail(&self.path, why);
    }

    /// Whether an earlier failure, here or of the recorder, forbids to show anything more.
    pub fn failed(&self) -> bool {
        self.bell.poisoned()
    }

    /// Bytes in the file and on the way there.
    pub fn size(&self) -> u64 {
        self.len + self.run.len() as u64
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: a journal begins with its head. Clippy wants the pair.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose journal this is.
    pub fn meta(&self) -> &SessionMeta {
        &self.meta
    }

    /// What wakes the recorder, and by which it can fail the session.
    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// As long as this lives, nobody else finishes the journal.
    pub(super) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Another file stands for the disk.
    #[cfg(test)]
    pub(super) fn replace(&mut self, file: File) {
        self.file = Arc::new(file);
    }

    /// The file takes what it can at once.
    #[cfg(test)]
    pub(super) fn nonblocking(&self) {
        rustix::io::ioctl_fionbio(&self.file, true).unwrap();
    }

    fn encode<'a>(&mut self, frame: &Frame<'a>) -> Result<([u8; HEAD], Payload<'a>), RecordError> {
        if self.failed() {
            return Err(self.bell.failure());
        }
        let command = match &frame.body {
            Body::Open(meta) => meta.command.as_ref().map_or(0, Vec::len),
            _ => 0,
        };
        if command > MAX_COMMAND {
            self.bell.poison();
            return Err(RecordError::TooLong(command));
        }
        let (kind, payload) = frame.body.encode();
        let bytes = payload.as_ref();
        if bytes.len() > MAX_PAYLOAD {
            // Frames before it in the same run have their numbers already: there is no way on.
            self.bell.poison();
            return Err(RecordError::TooLong(bytes.len()));
        }
        // Time in a recording never goes backwards, whatever two tasks measured.
        self.last_at = self.last_at.max(frame.at);
        let head = frames::head(self.next, self.last_at, frame.channel, kind, bytes);
        self.next += 1;
        Ok((head, payload))
    }

    fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), RecordError> {
        let want: usize = slices.iter().map(|s| s.len()).sum();
        let wrote = loop {
            match (&*self.file).write_vectored(slices) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let problem = match wrote {
            Ok(n) => {
                self.len += n as u64;
                (n != want).then(|| io::Error::new(io::ErrorKind::WriteZero, format!("only {n} of {want} bytes were written")))
            }
            Err(error) => Some(error),
        };
        if let Some(error) = problem {
            self.bell.poison();
            return Err(RecordError::io("write", &self.path)(error));
        }
        self.bell.kept(0, self.len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::recording::{ChannelKind, ChannelMeta, TerminalMeta, sample};

    type Owned = (u32, u64, String);

    /// Everything that can be read, as text, and what ended it.
    fn read(path: &Path) -> Result<(Vec<Owned>, &'static str), RecordError> {
        let mut reader = JournalReader::open(path)?;
        assert_eq!(reader.meta(), &sample::meta());
        let mut frames = Vec::new();
        loop {
            match reader.next_frame()? {
                Next::Frame(seq, f) => {
                    assert_eq!(seq.0, frames.len() as u64 + 1);
                    frames.push((f.channel, f.at, format!("{:?}", f.body)));
                }
                Next::Dry(0) => return Ok((frames, "whole")),
                Next::Dry(_) => return Ok((frames, "short")),
                Next::Torn(why) => return Ok((frames, why)),
            }
        }
    }

    fn bodies() -> Vec<Body<'static>> {
        let terminal = Some(TerminalMeta { term: "xterm".into(), cols: 80, rows: 24 });
        vec![
            Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal }),
            Body::Out(b"hello\r\n"),
            Body::Err(&[0xff, 0, 1]),
            Body::In(b""),
            Body::Resize { cols: 100, rows: u32::MAX },
            Body::Marker("exit status 3"),
            Body::Count { up: u64::MAX, down: 7 },
            Body::Digested(frames::Digested { stream: super::super::exact::Stream::In, bytes: 1 << 40, sha256: [9; 32], last: true }),
            Body::Close,
            Body::End("time-up"),
        ]
    }

    #[test]
    fn every_kind_of_frame_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        let frames: Vec<_> = bodies().into_iter().zip(0..).map(|(body, n)| Frame { channel: n, at: u64::from(n) * 1000, body }).collect();
        assert_eq!(journal.keep(&frames[..3]).unwrap(), Seq(3));
        for frame in &frames[3..] {
            journal.add(frame).unwrap();
        }
        assert_eq!(read(journal.path()).unwrap().0.len(), 3, "what was added is not kept yet");
        assert_eq!(journal.commit().unwrap(), Seq(10));
        let (back, end) = read(journal.path()).unwrap();
        let want: Vec<_> = frames.iter().map(|f| (f.channel, f.at, format!("{:?}", f.body))).collect();
        assert_eq!((back, end), (want, "whole"));
        assert_eq!(std::fs::metadata(journal.path()).unwrap().len(), journal.len());
        assert_eq!(std::fs::metadata(journal.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Journal::create(dir.path(), &sample::meta(), Level::Process);
        assert!(again.is_err_and(|e| e.to_string().contains("s-000001.journal")));
    }

    #[test]
    fn cut_at_every_byte_it_reads_up_to_the_last_whole_frame() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        let head = journal.len() as usize;
        let mut ends = Vec::new();
        for body in bodies() {
            journal.keep(&[Frame { channel: 1, at: 5, body }]).unwrap();
            ends.push(journal.len() as usize);
        }
        let whole = std::fs::read(journal.path()).unwrap();
        let torn = dir.path().join("torn");
        for cut in 0..=whole.len() {
            std::fs::write(&torn, &whole[..cut]).unwrap();
            match read(&torn) {
                Err(_) => assert!(cut < head, "{cut}"),
                Ok((frames, _)) => assert_eq!(frames.len(), ends.iter().filter(|e| **e <= cut).count(), "{cut}"),
            }
            // And with another byte there, or one that is wrong.
            let mut wrong = whole.clone();
            if let Some(byte) = wrong.get_mut(cut) {
                *byte ^= 0x40;
                std::fs::write(&torn, &wrong).unwrap();
                match read(&torn) {
                    Err(_) => assert!(cut < head, "{cut}"),
                    Ok((frames, end)) => {
                        assert!(end != "whole", "{cut}");
                        assert_eq!(frames.len(), ends.iter().filter(|e| **e <= cut).count(), "{cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_relay_does_with_a_message_is_one_write() {
        use std::os::fd::OwnedFd;
        use std::os::unix::net::UnixDatagram;

        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        // Here each write is a message of its own.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        journal.file = Arc::new(File::from(OwnedFd::from(ours)));
        let mut message = vec![0; 1 << 20];
        for length in [LARGE, 32 * 1024, 100_000, 3, 0] {
            let payload = vec![7; length];
            let held = journal.run.capacity();
            journal.add(&Frame { channel: 1, at: 0, body: Body::Out(&payload) }).unwrap();
            assert!(length < LARGE || journal.run.capacity() == held, "a large payload is not copied");
            let seq = journal.commit().unwrap();
            assert_eq!(theirs.recv(&mut message).unwrap(), HEAD + length);
            // Nothing more is there, and a commit of nothing writes nothing.
            assert_eq!(journal.commit().unwrap(), seq);
            assert_eq!(theirs.recv(&mut message).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_full_disk_poisons() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        journal.file = OpenOptions::new().write(true).open("/dev/full").unwrap().into();
        let frame = Frame { channel: 1, at: 0, body: Body::Out(b"x") };
        assert!(matches!(journal.keep(std::slice::from_ref(&frame)), Err(RecordError::Io { .. })));
        assert!(journal.failed());
        for result in [journal.add(&frame), journal.keep(std::slice::from_ref(&frame)).map(|_| ()), journal.commit().map(|_| ())] {
            assert!(matches!(result, Err(RecordError::Poisoned)));
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        let long = vec![0; MAX_PAYLOAD + 1];
        assert!(matches!(journal.add(&Frame { channel: 1, at: 0, body: Body::Out(&long) }), Err(RecordError::TooLong(_))));
        assert!(journal.failed());
    }

    #[test]
    fn times_never_go_back_and_a_finished_journal_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
        for at in [5, 9, 2] {
            journal.add(&Frame { channel: 1, at, body: Body::Close }).unwrap();
        }
        journal.finish("left", 3).unwrap();
        assert!(journal.keep(&[]).is_err());
        let times: Vec<_> = read(journal.path()).unwrap().0.into_iter().map(|f| f.1).collect();
        assert_eq!(times, [5, 9, 9, 9]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_frames_come_back_from_any_mix_of_calls(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..9000)), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap();
            let head = journal.len();
            for (at_once, payload) in &payloads {
                let frame = Frame { channel: 3, at: 0, body: Body::Out(payload) };
                if *at_once { journal.keep(&[frame]).unwrap(); } else { journal.add(&frame).unwrap(); }
            }
            journal.commit().unwrap();
            let want: Vec<_> = payloads.iter().map(|(_, p)| format!("{:?}", Body::Out(p))).collect();
            let (back, end) = read(journal.path()).unwrap();
            prop_assert_eq!(back.iter().map(|f| &f.2).collect::<Vec<_>>(), want.iter().collect::<Vec<_>>());
            prop_assert_eq!(end, "whole");
            // Cut anywhere behind the head: a prefix.
            let at = head + cut.index((journal.len() - head + 1) as usize) as u64;
            journal.file.set_len(at).unwrap();
            let (back, _) = read(journal.path()).unwrap();
            prop_assert!(back.iter().map(|f| &f.2).eq(want.iter().take(back.len())));
        }

        #[test]
        fn no_bytes_upset_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), [MAGIC.as_slice(), &bytes].concat()).unwrap();
            prop_assert!(JournalReader::open(file.path()).is_err());
        }
    }
}
