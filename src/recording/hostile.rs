//! Sessions of people who want recordings that nobody can read.

use std::path::PathBuf;
use std::sync::Arc;

use super::exact::Stream;
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
        replay::unvouched(&self.folder(), number, &self.signer.public_key()).unwrap()
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
    assert!(survey(&world.root(), &world.signer.public_key(), &mut |_| ()).alone().is_empty());
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
    let command = vec![b'x'; 5000];
    for number in 1..=1500 {
        journal.keep(&[frame(number, 0, exec(&command)), frame(number, 0, Body::Close)]).unwrap();
    }
    drop(journal);
    let sealed = world.recover();
    let lengths: Vec<_> = sealed.channels.iter().map(|c| c.command.as_ref().unwrap().text.len()).collect();
    assert!(lengths[0] > 3000 && lengths[1499] <= command::SHORT_TEXT, "{} {}", lengths[0], lengths[1499]);
    assert_eq!(world.raw(1500).command, Some(command));
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
    assert_eq!(Transcript::new(world.open(1).header(), world.open(1)).lines().map(|l| l.unwrap().text).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn a_clock_that_goes_back_does_not_turn_the_recording_back() {
    let world = World::new();
    let mut journal = world.journal();
    for (at, text) in [(5_000_000, "a"), (9_000_000, "b"), (1, "c"), (0, "d"), (8_999_999, "e"), (1 << 50, "f"), (3, "g")] {
        if at == 5_000_000 {
            journal.keep(&[frame(1, at, exec(b"date"))]).unwrap();
        }
        journal.keep(&[frame(1, at, Body::Out(text.as_bytes()))]).unwrap();
    }
    drop(journal);
    world.recover();
    assert_eq!(world.raw(1).out, b"abcdefg");
    // the reader refuses a file whose times go back
    let times: Vec<f64> = world.open(1).map(|e| e.unwrap().time()).collect();
    assert_eq!(times[..5], [0.0, 4.0, 4.0, 4.0, 4.0]);
    assert!(times[5] > 1e9 && times[6] >= times[5]);
    assert!(survey(&world.root(), &world.signer.public_key(), &mut |_| ()).alone().is_empty());
}

#[test]
fn a_channel_where_nothing_happened_has_an_event_all_the_same() {
    let world = World::new();
    let mut journal = world.journal();
    journal.keep(&[frame(1, 0, exec(b"true")), frame(1, 7, Body::Close), frame(2, 9, exec(b"cat \xff"))]).unwrap();
    drop(journal);
    world.recover();
    for number in 1..=2 {
        let events: Vec<_> =
            world.open(number).map(Result::unwrap).filter(|e| e.parts().0 != 'c').map(|e| e.parts().1.to_owned()).collect();
        assert_eq!(events, [""], "the web player refuses a file without an event");
        assert_eq!(world.raw(number).out, b"");
    }
}

#[test]
fn a_crash_says_how_far_a_command_that_is_not_kept_was_proven() {
    let world = World::new();
    let mut journal = world.journal();
    let digested = |stream, bytes, last| Body::Digested(Digested { stream, bytes, sha256: [0xab; 32], last });
    let frames = [
        exec(b"cat big"),
        Body::Out(b"kept"),
        Body::Count { up: 0, down: 900_000 },
        Body::Count { up: 0, down: 1_100_000 },
        digested(Stream::Out, 1_100_000, false),
        Body::Count { up: 0, down: 1_500_000 },
    ];
    for (at, body) in (0..).zip(frames) {
        journal.keep(&[frame(1, at, body)]).unwrap();
    }
    drop(journal);
    world.recover();
    assert_eq!(world.raw(1).out, b"kept");
    let text: Vec<_> = Transcript::new(world.open(1).header(), world.open(1)).lines().map(|l| l.unwrap().text).collect();
    let text = text.join("");
    assert!(text.contains("4 bytes of this command are kept; in all 0 bytes went in and 1500000 came out"), "{text}");
    assert!(text.contains(&format!("standard output: interrupted; up to byte 1100000 sha256:{}", "ab".repeat(32))), "{text}");
    let told = world.open(1).map(Result::unwrap).find(|e| e.parts().0 == 'h').map(|e| e.parts().1.to_owned()).unwrap();
    assert_eq!(told, format!("{{\"bytes\":1100000,\"sha256\":\"{}\",\"stream\":\"out\",\"whole\":false}}", "ab".repeat(32)));
}

fn sftp() -> Body<'static> {
    Body::Open(ChannelMeta { kind: ChannelKind::Sftp, command: None, terminal: None })
}

#[test]
fn a_file_transfer_whose_bytes_come_is_kept_whole_and_counted() {
    let world = World::new();
    let mut journal = world.journal();
    let wild: Vec<u8> = (0..100_000u32).map(|n| (n % 4099 * n / 7) as u8).collect();
    let frames =
        [sftp(), Body::In(b"id; cat /etc/shadow\n"), Body::Out(&wild), Body::Err(b"oops\n"), Body::Out(b"sftp: 1 bytes"), Body::Close];
    for (at, body) in (0..).zip(frames) {
        journal.keep(&[frame(1, at, body)]).unwrap();
    }
    // Only counted, in the same session.
    journal.keep(&[frame(2, 9, sftp()), frame(2, 9, Body::Count { up: 7, down: 8 })]).unwrap();
    drop(journal);
    let sealed = world.recover();
    let down = wild.len() as u64 + 18;
    assert_eq!(sealed.channels.iter().map(|c| c.counts.unwrap()).collect::<Vec<_>>(), [(20, down), (7, 8)]);
    let kept = world.raw(1);
    assert_eq!((kept.out, kept.err), ([&wild, b"sftp: 1 bytes".as_slice()].concat(), b"oops\n".to_vec()));
    assert_eq!(kept.input, b"id; cat /etc/shadow\n");
    assert_eq!(world.raw(2), replay::RawStreams::default());
    let text: Vec<_> = Transcript::new(world.open(1).header(), world.open(1)).lines().map(|l| l.unwrap().text).collect();
    assert!(
        text.iter().any(|l| l == "oops") && !text.iter().any(|l| l.contains("not text")),
        "of packets the account tells, not the bytes: {text:?}"
    );
    assert!(text.last().unwrap().ends_with(&format!("sftp: 20 bytes up, {down} bytes down in 0.0 s")), "{text:?}");
    assert!(
        std::fs::read_to_string(world.folder().join("02-sftp.cast"))
            .unwrap()
            .ends_with("sftp: 7 bytes up, 8 bytes down in 0.0 s\\r\\n\"]\n")
    );
}

#[test]
fn a_closed_channel_costs_little() {
    assert!(size_of::<channel::Channel>() <= 200, "{}", size_of::<channel::Channel>());
    let world = World::new();
    let mut journal = world.journal();
    let recorder = Recorder::start(&world.root(), &journal).unwrap();
    let files = || {
        let ours = |link: std::io::Result<std::path::PathBuf>| link.is_ok_and(|to| to.starts_with(world.folder()));
        std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter(|f| ours(std::fs::read_link(f.path()))).count()
    };
    for number in 1..=50 {
        journal.keep(&[frame(number, 0, exec(b"true")), frame(number, 1, Body::Close)]).unwrap();
    }
    for tries in 0.. {
        if world.folder().join("50-exec.cast.part").exists() && files() == 0 {
            break;
        }
        assert!(tries < 500, "{} files are open", files());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(recorder);
}

/// What a session is made of that has a little of everything.
fn everything(journal: &mut Journal) {
    let terminal = Some(TerminalMeta { term: "xterm".into(), cols: 90, rows: 30 });
    let shell = Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal });
    let long = [b"cat \xff".as_slice(), &[b'"'; 9000]].concat();
    let frames = [
        frame(1, 10, shell),
        frame(1, 20, Body::Out(b"$ \x1b[1mls\x1b[0m\r\n\xe2\x82")),
        frame(2, 25, exec(&long)),
        frame(2, 30, Body::In(&[0, 1, 2, 255])),
        frame(1, 31, Body::In(b"x")),
        frame(2, 35, Body::Err(b"no\n")),
        frame(2, 36, Body::Out(b"out\r\nput\n")),
        frame(2, 40, Body::Marker("exit status 1")),
        frame(2, 41, Body::Close),
        frame(3, 50, sftp()),
        frame(3, 60, Body::In(&[0, 0, 0, 5, 1, 0, 0, 0, 3])),
        frame(1, 70, Body::Resize { cols: 100, rows: 40 }),
    ];
    journal.keep(&frames).unwrap();
}

#[tokio::test]
async fn an_interrupted_session_reads_like_one_that_ended() {
    let (ended, killed) = (World::new(), World::new());
    let mut journal = ended.journal();
    let recorder = Recorder::start(&ended.root(), &journal).unwrap();
    everything(&mut journal);
    let first = recorder.seal("left", Arc::clone(&ended.signer) as _).await.unwrap();
    let mut journal = killed.journal();
    everything(&mut journal);
    drop(journal);
    let second = killed.recover();
    assert_eq!((first.ending.as_str(), second.ending.as_str()), ("left", INTERRUPTED));
    assert_eq!((&first.channels, first.duration), (&second.channels, second.duration));
    for world in [&ended, &killed] {
        let found = survey(&world.root(), &world.signer.public_key(), &mut |_| ()).alone();
        assert!(found.is_empty(), "{found:?}");
        for number in 1..=3 {
            assert_eq!(world.raw(number), ended.raw(number));
            let frames = Player::new(world.open(number).header(), world.open(number), 80, 24, Pace::default());
            assert!(frames.map(Result::unwrap).count() > 1);
            assert!(Transcript::new(world.open(number).header(), world.open(number)).lines().map(Result::unwrap).count() > 0);
        }
    }
    let exec = killed.raw(2);
    assert_eq!((exec.input, exec.err, exec.out), (vec![0, 1, 2, 255], b"no\n".to_vec(), b"out\r\nput\n".to_vec()));
    assert_eq!(exec.command.unwrap().len(), 9005);
    assert!(killed.raw(1).out.ends_with(b"\xe2\x82"));
    assert_eq!(killed.raw(3).input.len(), 9);
}
