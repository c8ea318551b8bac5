//! Every fuzz target on stable Rust: a few thousand random inputs, and what is near to valid ones.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn no_target_panics() {
    for (name, target) in fuzz::ALL.iter().flat_map(|room| room.iter()) {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 6 * ProptestConfig::default().cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let ran = runner.run(&input(), |bytes| {
            target(&bytes);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Random bytes; words that parsers look for among them; messages with a likely number.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        &b"SSH-2.0-x\r\n"[..],
        b"\0\0\0\x0bssh-ed25519",
        b"\0\0\0\x07session",
        b"SSHSIG\0\0\0\x01\0\0\0\x33\0\0\0\x0bssh-ed25519\0\0\0\x20",
        b"\0\0\0\x04none",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x04exec",
        b"\n",
        b"\n\n\xe2\x80\x94 n AAAAAAA=\n",
        b"{\"seq\":0,",
        b"\x1b[8;9999",
        b"[0.5,\"o\",\"",
    ]);
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    let number = prop::sample::select(vec![1_u8, 2, 3, 4, 5, 7, 20, 21, 30, 31, 50, 60, 61, 80, 90, 91, 94, 98, 192]);
    let message = (1_u8..8, number, noise.clone()).prop_map(|(length, number, rest)| {
        let mut message = vec![length, number];
        message.extend(rest);
        message
    });
    let piece = prop_oneof![word.prop_map(<[u8]>::to_vec), noise, message];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
