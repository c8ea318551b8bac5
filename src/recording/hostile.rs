//! Sessions of people who want recordings that nobody can read.

use std::path::PathBuf;
use std::sync::Arc;

use super::frames::MAX_MARKER;
use super::replay::{self, raw};
use super::sample::{self, TestSigner};
use super::transcript::Transcript;
use super::*;

struct World {
    dir: tempfile::TempDir,
    signer: Arc<TestSigner>,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), signer: Arc::new(TestSigner::new(1)) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("recordings")
    }

    fn folder(&self) -> PathBuf {
        self.root().join(sample::meta().folder())
    }

    fn journal(&self) -> Journal {
        Journal::create(&self.dir.path().join("journal"), &sample::meta(), Level::Process).unwrap()
    }

    fn recover(&self) -> SealedSession {
        recover(&self.dir.path().join("journal"), &self.root(), &*self.signer).unwrap().remove(0).sealed.unwrap()
    }

    fn raw(&self, number: u32) -> replay::RawStreams {
        raw(&self.folder(), number, &self.signer.public_key()).unwrap()
    }

    fn open(&self, number: u32) -> replay::Recording {
        replay::open(&self.folder(), number, &self.signer.public_key()).unwrap()
    }
}

fn frame(channel: u32, at: u64, body: Body<'_>) -> Frame<'_> {
    Frame { channel, at, body }
}

fn exec(command: &[u8]) -> Body<'static> {
    Body::Open(ChannelMeta { kind: ChannelKind::Exec, command: Some(command.to_vec()), terminal: None })
}

#[test]
fn commands_of_any_length_leave_recordings_that_can_be_read() {
    let world = World::new();
    let mut journal = world.journal();
    let command = [b"real #".as_slice(), &[1; 90_000]].concat();
    for number in 1..=200 {
        journal.keep(&[frame(number, 0, exec(&command)), frame(number, 1, Body::Out(b"out")), frame(number, 2, Body::Close)]).unwrap();
    }
    let longest = vec![0xff; command::MAX_COMMAND];
    journal.keep(&[frame(201, 3, exec(&longest))]).unwrap();
    drop(journal);
    let sealed = world.recover();
    assert_eq!(world.raw(1), replay::RawStreams { command: Some(command.clone()), out: b"out".to_vec(), ..Default::default() });
    assert_eq!(world.raw(201).command, Some(longest));
    let header = std::fs::read(world.folder().join("01-exec.cast")).unwrap();
    assert!(header.iter().position(|b| *b == b'\n').unwrap() < 10_000);
    assert!(std::fs::metadata(world.folder().join("manifest.json")).unwrap().len() < 1 << 20);
    let told = sealed.channels[0].command.clone().unwrap();
    assert!(told.text.starts_with("real #") && told.text.contains("90006 bytes, sha256 ") && told.text.len() < 4096);
    assert_eq!(world.open(1).channel().command_exact, told.exact);
    assert_eq!(world.open(1).map(Result::unwrap).map(|e| e.parts().0).collect::<String>(), "o");
    assert!(verify_folder(&world.root(), &world.signer.public_key(), |_| Some(sealed.digest)).is_empty());
}

#[test]
fn a_command_beyond_every_bound_ends_the_session() {
    let mut journal = World::new().journal();
    let long = vec![b'x'; command::MAX_COMMAND + 1];
    assert!(matches!(journal.keep(&[frame(1, 0, exec(&long))]), Err(RecordError::TooLong(_))));
    assert!(journal.failed());
}

#[test]
fn a_session_of_many_long_commands_has_a_manifest_that_can_be_read() {
    let world = World::new();
    let mut journal = world.journal();
    let command = vec![b'"'; 5000];
    for number in 1..=3000 {
        journal.keep(&[frame(number, 0, exec(&command)), frame(number, 0, Body::Close)]).unwrap();
    }
    drop(journal);
    let sealed = world.recover();
    let lengths: Vec<_> = sealed.channels.iter().map(|c| c.command.as_ref().unwrap().text.len()).collect();
    assert!(lengths[0] > 2000 && lengths[2999] <= command::SHORT_TEXT, "{} {}", lengths[0], lengths[2999]);
    assert_eq!(world.raw(3000).command, Some(command));
    assert!(std::fs::metadata(world.folder().join("manifest.json")).unwrap().len() < 12 << 20);
}

#[test]
fn words_of_any_length_are_cut() {
    let world = World::new();
    let mut journal = world.journal();
    let words = "\u{1}".repeat(300_000);
    let terminal = Some(TerminalMeta { term: "\u{1}ü".repeat(300_000), cols: 80, rows: 24 });
    journal.keep(&[frame(1, 0, Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal }))]).unwrap();
    journal.keep(&[frame(1, 0, Body::Marker(&words)), frame(1, 1, Body::Out(b"x"))]).unwrap();
    assert!(journal.len() < 8000);
    drop(journal);
    world.recover();
    let events: Vec<_> = world.open(1).map(Result::unwrap).collect();
    assert_eq!(events[0].parts(), ('m', &words[..MAX_MARKER]));
    assert_eq!(Transcript::new(world.open(1).header(), world.open(1)).map(|l| l.unwrap().text).collect::<Vec<_>>(), ["x"]);
}
