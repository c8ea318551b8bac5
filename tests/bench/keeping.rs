//! What keeping costs, apart from SSH: the journal as the relay writes it and the recorder behind it, in one process with nothing else.
//! CPU for each GiB, the seal of 1 GiB, how fast a folder is verified, and what an hour of a person at a shell takes on the disk.
//! Terminal text and noise; `make bench`. The floor beside it is SHA-256 alone over the same files, which the manifest demands.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_bastion::recording::{
    Body, ChannelKind, ChannelMeta, Frame, Journal, Level, ManifestSigner, RecordError, Recorder, SessionMeta, TerminalMeta, survey,
};
use serde_json::json;

#[allow(dead_code, unused_imports, reason = "the tests speak it too")]
#[path = "../e2e/world/mod.rs"]
mod world;

use world::cpu_seconds;

const MIB: usize = 1 << 20;
const GIB: f64 = 1024.0 * MIB as f64;
/// What a pseudo-terminal hands on at once, and what a pipe does.
const TERMINAL_PIECE: usize = 4 * 1024;
const PIPE_PIECE: usize = 32 * 1024;
/// Somebody who works: a command every 20 s, typed at five keys a second.
const COMMANDS_AN_HOUR: u64 = 180;
const KEYS: u64 = 18;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let terminal = || Some(TerminalMeta { term: "xterm-256color".into(), cols: 120, rows: 40 });
    println!("keeping      CPU s/GiB kept   MiB/s   sealed after   bytes in the recording   verify MiB/s   SHA-256 alone s/GiB");
    for (name, text, piece, terminal, total) in [
        ("terminal", log_lines(b"\r\n"), TERMINAL_PIECE, terminal(), 1024 * MIB),
        ("command", log_lines(b"\n"), PIPE_PIECE, None, 512 * MIB),
        ("noise", noise(), PIPE_PIECE, None, 256 * MIB),
    ] {
        let session = Session::begin(terminal);
        runtime.block_on(session.bulk(name, &text, piece, total));
    }
    runtime.block_on(Session::begin(terminal()).hour());
}

/// One session that is kept.
struct Session {
    home: tempfile::TempDir,
    journal: Journal,
    recorder: Recorder,
    signer: Arc<Signer>,
}

impl Session {
    fn begin(terminal: Option<TerminalMeta>) -> Self {
        // beside the build, not in a /tmp that may be memory
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut journal = Journal::create(&home.path().join("journal"), &meta(), Level::Process).expect("a journal");
        let recorder = Recorder::start(&home.path().join("recordings"), &journal).expect("a recorder");
        let kind = if terminal.is_some() { ChannelKind::Shell } else { ChannelKind::Exec };
        let command = terminal.is_none().then(|| b"cat log".to_vec());
        journal.keep(&[Frame { channel: 1, at: 0, body: Body::Open(ChannelMeta { kind, command, terminal }) }]).expect("kept");
        Self { home, journal, recorder, signer: Arc::new(Signer::new()) }
    }

    fn recordings(&self) -> PathBuf {
        self.home.path().join("recordings")
    }

    /// As the relay does it: a frame a message, each written before the next.
    fn keep(&mut self, at: u64, bytes: &[u8]) {
        self.journal.add(&Frame { channel: 1, at, body: Body::Out(bytes) }).and_then(|()| self.journal.commit()).expect("kept");
    }

    async fn bulk(mut self, name: &str, text: &[u8], piece: usize, total: usize) {
        let (began, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
        let mut kept = 0;
        let mut pieces = text.chunks(piece).cycle();
        while kept < total {
            let bytes = pieces.next().expect("it goes round");
            kept += bytes.len();
            self.keep(began.elapsed().as_micros() as u64, bytes);
        }
        let last = Instant::now();
        let (recordings, signer) = (self.recordings(), Arc::clone(&self.signer));
        self.recorder.seal("left", self.signer).await.expect("sealed");
        let (sealed, all) = (last.elapsed().as_secs_f64(), began.elapsed().as_secs_f64());
        let cpu = cpu_seconds(std::process::id()) - cpu;
        let size = size(&recordings);
        let began = Instant::now();
        let findings = survey(&recordings, &signer.public_key(), &mut |_| ()).alone();
        let verify = began.elapsed().as_secs_f64();
        assert!(findings.is_empty(), "{findings:?}");
        println!(
            "{name:<12} {:14.2} {:7.0} {sealed:12.2} s {size:24} {:14.0} {:21.2}",
            cpu * GIB / kept as f64,
            kept as f64 / MIB as f64 / all,
            size as f64 / MIB as f64 / verify,
            sha_alone(text) * size as f64 / kept as f64,
        );
    }

    /// An hour of a person, without the waiting: the times are given.
    async fn hour(mut self) {
        let mut at = 0;
        let mut shown = 0;
        let text = log_lines(b"\r\n");
        let mut lines = text.split_inclusive(|b| *b == b'\n').cycle();
        for command in 0..COMMANDS_AN_HOUR {
            at = command * 3_600_000_000 / COMMANDS_AN_HOUR;
            for _ in 0..KEYS {
                at += 200_000;
                self.keep(at, b"k");
                shown += 1;
            }
            let answer: Vec<u8> = b"\r\n".iter().chain(lines.by_ref().take((command * 7 % 41) as usize).flatten()).copied().collect();
            let prompt = b"\x1b[01;32malice@phi-db\x1b[00m:\x1b[01;34m~/work\x1b[00m$ ";
            for bytes in answer.chunks(TERMINAL_PIECE).chain([&prompt[..]]) {
                at += 3_000;
                self.keep(at, bytes);
                shown += bytes.len();
            }
        }
        self.journal.finish("left", at).expect("kept");
        let (recordings, journal) = (self.recordings(), self.journal.len());
        self.recorder.seal("left", self.signer).await.expect("sealed");
        println!(
            "an hour of a shell: {shown} bytes shown, {} bytes on the disk; {journal} bytes of journal, gone with the seal",
            size(&recordings)
        );
    }
}

/// Seconds that SHA-256 alone takes for a GiB of it.
fn sha_alone(text: &[u8]) -> f64 {
    let cpu = cpu_seconds(std::process::id());
    let rounds = 512 * MIB / text.len();
    let mut last = 0;
    for _ in 0..rounds {
        last ^= digest(&SHA256, text).as_ref()[0];
    }
    std::hint::black_box(last);
    (cpu_seconds(std::process::id()) - cpu) * GIB / (rounds * text.len()) as f64
}

/// Lines as a log has them, with a colour here and there.
fn log_lines(end: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for n in 0u64.. {
        let level = ["\x1b[32mINFO\x1b[0m", "INFO", "\x1b[33mWARN\x1b[0m", "DEBUG"][(n % 4) as usize];
        let line = format!(
            "2026-11-21T22:{:02}:{:02} {level} worker[{}]: \"{:x}\" took {} ms, grün",
            n / 60 % 60,
            n % 60,
            n % 97,
            n * n,
            n % 1009
        );
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(end);
        if text.len() >= 4 * MIB {
            return text;
        }
    }
    text
}

fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).take(4 * MIB / 8).flatten().collect()
}

fn size(folder: &Path) -> u64 {
    world::files(folder, "cast").iter().map(|f| fs::metadata(f).map_or(0, |m| m.len())).sum()
}

fn meta() -> SessionMeta {
    serde_json::from_value(json!({
        "session": "s-000001", "grant": "g-7k2m9q", "request": "r-7k2m9q", "user": "alice", "rule": "dba-phi", "host": "phi-db",
        "login": "postgres", "started": 1_795_298_820_000_000_u64,
    }))
    .expect("a session")
}

/// Signs with a key of its own.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"))
    }
}

impl ManifestSigner for Signer {
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
        Ok(STANDARD.encode(self.0.sign(bytes)))
    }

    fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key().as_ref())
    }
}
