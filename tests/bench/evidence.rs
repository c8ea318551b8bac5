//! How fast `verify` reads a folder of recordings: many small sessions, and a few large ones. `cargo bench --bench evidence`.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

use std::path::Path;
use std::time::Instant;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_bastion::access::names::{GrantId, HostName, Login, RequestId, RuleId, SessionId, User};
use jit_bastion::access::time::Timestamp;
use jit_bastion::recording::{
    Body, ChannelKind, ChannelMeta, Frame, Journal, Level, ManifestSigner, RecordError, Right, SessionMeta, recover, survey,
};

const ROUNDS: usize = 5;

struct Signer(Ed25519KeyPair);

impl ManifestSigner for Signer {
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
        Ok(STANDARD.encode(self.0.sign(bytes)))
    }

    fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key().as_ref())
    }
}

fn main() {
    for (sessions, bytes) in [(5_000, 20_000), (16, 64 << 20)] {
        let dir = tempfile::tempdir().expect("a folder");
        let signer = Signer(Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a key"));
        (0..sessions).for_each(|n| journal(&dir.path().join("journal"), n, bytes));
        let root = dir.path().join("recordings");
        let sealed = recover(&dir.path().join("journal"), &root, &signer).expect("sealed");
        assert!(sealed.iter().all(|session| session.sealed.is_ok()));
        let mut best = f64::MAX;
        let mut hashed = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let found = survey(&root, &signer.public_key(), &mut |_| ());
            best = best.min(began.elapsed().as_secs_f64());
            hashed = found.progress.bytes;
            assert!(found.alone().is_empty());
        }
        let mib = hashed as f64 / 1_048_576.0;
        println!("{sessions} sessions, {mib:.0} MiB: {best:.2} s, {:.0} sessions/s, {:.0} MiB/s", f64::from(sessions) / best, mib / best);
    }
}

fn journal(folder: &Path, n: u32, bytes: usize) {
    let right = Right::Grant {
        grant: GrantId::from_random(n),
        request: RequestId::from_random(n),
        user: User::parse("alice").expect("a name"),
        rule: RuleId::parse("dba-phi").expect("a name"),
    };
    let meta = SessionMeta {
        session: SessionId::from_random(n),
        right,
        host: HostName::parse("phi-db").expect("a name"),
        login: Login::parse("postgres").expect("a name"),
        started: Timestamp::from_micros(1_795_298_820_000_000),
    };
    let mut journal = Journal::create(folder, &meta, Level::Process).expect("a journal");
    let open = Body::Open(ChannelMeta { kind: ChannelKind::Exec, command: None, terminal: None });
    journal.keep(&[Frame { channel: 1, at: 0, body: open }]).expect("kept");
    let text = "2026-11-22 02:51:30 phi-db postgres[4711]: statement: select * from admissions\r\n".repeat(400);
    let mut left = bytes;
    while left > 0 {
        let piece = &text.as_bytes()[..left.min(text.len())];
        journal.keep(&[Frame { channel: 1, at: 1, body: Body::Out(piece) }]).expect("kept");
        left -= piece.len();
    }
}
