//! Exchanges with real peers, recorded by tests/wire_openssh.rs, played to new transports.

mod wire_pair;

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::WireError;
use jit_bastion::wire::kex::agreement::Agreement;
use wire_pair::*;

#[test]
fn recorded_exchanges_give_the_same_messages() {
    let mut played = 0;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = || text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' '));
        let head: HashMap<&str, &str> = lines().filter(|(key, _)| *key != "message").collect();
        let expected: Vec<Vec<u8>> = lines().filter(|(key, _)| *key == "message").map(|(_, m)| BASE64.decode(m).unwrap()).collect();

        let algorithms = speak(Agreement::Curve25519, Cipher::from_name(head["cipher"]).unwrap());
        let seed = head["seed"].parse().unwrap();
        let mut ours = if head["role"] == "server" { server(algorithms, seed) } else { client(algorithms, seed) };
        let mut messages = Vec::new();
        let end = feed_into(&mut ours, &BASE64.decode(head["heard"]).unwrap(), &mut messages);
        // Some peers still said goodbye while the recording ran.
        assert!(matches!(end, Ok(()) | Err(WireError::Disconnected { code: 11, .. })), "{end:?}");
        assert_eq!(messages, expected, "{}", path.display());
        assert!(ours.established() && expected.len() > 5);
        played += 1;
    }
    assert_eq!(played, 4);
}
