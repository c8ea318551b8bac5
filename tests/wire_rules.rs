//! What the transport demands of a peer, message by message.

mod wire_pair;

use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::{WireError, Writer};
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::kex::offer::Algorithms;
use jit_bastion::wire::transport::{RekeyBudget, ServerConfig, Transport};
use wire_pair::*;

const ID: &[u8] = b"SSH-2.0-test\r\n";
const STRICT: &str = "kex-strict-c-v00@openssh.com";
const GCM: &str = "aes256-gcm@openssh.com";
const CHACHA: &str = "chacha20-poly1305@openssh.com";

/// A packet from before the first keys.
fn clear(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (9 + payload.len()) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    Writer::new().u32(length).u8(u8::try_from(padding).unwrap()).raw(payload).raw(&vec![0; padding]).done()
}

struct Hello<'a> {
    kex: &'a [&'a str],
    cipher: &'a str,
    guess: bool,
}

fn kexinit(hello: &Hello) -> Vec<u8> {
    let w = Writer::message(20).raw(&[3; 16]).names(hello.kex).names(&["ssh-ed25519"]);
    let w = w.names(&[hello.cipher]).names(&[hello.cipher]).names(&["hmac-sha2-256"]).names(&["hmac-sha2-256"]);
    w.names(&["none"]).names(&["none"]).names(&[]).names(&[]).bool(hello.guess).u32(0).done()
}

fn strict_hello() -> Vec<u8> {
    kexinit(&Hello { kex: &["curve25519-sha256", STRICT], cipher: GCM, guess: false })
}

/// The clear packets in what a transport says before its first keys, by number.
fn numbers(output: &[u8]) -> Vec<u8> {
    let mut rest = &output[output.iter().position(|b| *b == b'\n').unwrap() + 1..];
    let mut seen = Vec::new();
    while let Some(number) = rest.get(5) {
        seen.push(*number);
        if *number == 21 {
            break;
        }
        rest = &rest[4 + u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize..];
    }
    seen
}

fn told(parts: &[&[u8]]) -> (Transport, Result<Vec<Vec<u8>>, WireError>) {
    let mut s = server(Algorithms::default(), 1);
    let result = feed(&mut s, &parts.concat());
    (s, result)
}

fn init() -> Vec<u8> {
    clear(&Writer::message(30).string(&[9; 32]).done())
}

#[test]
fn a_server_composes_after_the_client_and_answers_in_one_go() {
    let (s, result) = told(&[ID]);
    assert_eq!((numbers(s.output()), result), (vec![], Ok(vec![])));
    let (s, result) = told(&[ID, &clear(&strict_hello()), &init()]);
    assert_eq!((numbers(s.output()), result), (vec![20, 31, 21], Ok(vec![])));
}

#[test]
fn a_server_may_offer_first_to_a_client_that_waits() {
    let mut s = server(Algorithms::default(), 1);
    s.offer_now().unwrap();
    s.offer_now().unwrap();
    assert_eq!(numbers(s.output()), [20]);
    let mut c = client(quick(), 2);
    settle(&mut c, &mut s);
    assert!(c.established() && s.established());
}

#[test]
fn a_wrong_guess_is_skipped_and_a_right_one_used() {
    let guessed = clear(&Writer::message(30).string(&[1; 97]).done());
    let hello = clear(&kexinit(&Hello { kex: &["ecdh-sha2-nistp521", "curve25519-sha256"], cipher: GCM, guess: true }));
    let (s, result) = told(&[ID, &hello, &guessed, &init()]);
    assert_eq!((numbers(s.output()), result), (vec![20, 31, 21], Ok(vec![])));

    let hello = clear(&kexinit(&Hello { kex: &["curve25519-sha256"], cipher: GCM, guess: true }));
    let mut s = server(speak(Agreement::Curve25519, Cipher::Aes256Gcm), 1);
    assert_eq!(feed(&mut s, &[ID, &hello, &init()].concat()), Ok(vec![]));
    assert_eq!(numbers(s.output()), [20, 31, 21]);
}

#[test]
fn a_strict_first_exchange_takes_nothing_stray() {
    let ignore = clear(&Writer::message(2).string(b"").done());
    let hello = clear(&strict_hello());
    let (_, result) = told(&[ID, &ignore, &hello]);
    assert!(matches!(result, Err(WireError::Malformed(_))));
    for stray in [2, 3, 4, 7, 50, 192] {
        let stray_packet = clear(&[stray, 0, 0, 0, 0]);
        let (_, result) = told(&[ID, &hello, &stray_packet]);
        assert_eq!(result, Err(WireError::Unexpected(stray)));
    }
    // Without strict key exchange IGNORE is harmless, and data is still wrong.
    let hello = clear(&kexinit(&Hello { kex: &["curve25519-sha256"], cipher: GCM, guess: false }));
    assert_eq!(told(&[ID, &ignore, &hello, &ignore, &init()]).1, Ok(vec![]));
    assert_eq!(told(&[ID, &hello, &clear(&[50, 0])]).1, Err(WireError::Unexpected(50)));
}

#[test]
fn chacha20_needs_strict_key_exchange() {
    let hello = |kex: &[&str]| clear(&kexinit(&Hello { kex, cipher: CHACHA, guess: false }));
    assert_eq!(told(&[ID, &hello(&["curve25519-sha256", STRICT])]).1, Ok(vec![]));
    assert!(matches!(told(&[ID, &hello(&["curve25519-sha256"])]).1, Err(WireError::NoCommon("safe cipher", _))));
}

#[test]
fn nothing_in_common_names_what_is_missing() {
    let hello = |kex, cipher| clear(&kexinit(&Hello { kex, cipher, guess: false }));
    let Err(WireError::NoCommon("key exchange", seen)) = told(&[ID, &hello(&["x", STRICT], GCM)]).1 else { panic!() };
    assert!(seen.starts_with("x,kex-strict-c-v00@openssh.com against mlkem768x25519-sha256"), "{seen}");
    assert!(matches!(told(&[ID, &hello(&["curve25519-sha256"], "3des-cbc")]).1, Err(WireError::NoCommon("cipher", _))));
    // A marker is no algorithm, even if a peer lists ours.
    let ours = "kex-strict-s-v00@openssh.com";
    assert!(matches!(told(&[ID, &hello(&[ours], GCM)]).1, Err(WireError::NoCommon("key exchange", _))));
}

#[test]
fn bad_shares_are_refused() {
    let zero = clear(&Writer::message(30).string(&[0; 32]).done());
    let short = clear(&Writer::message(30).string(&[9; 31]).done());
    for init in [zero, short] {
        let (_, result) = told(&[ID, &clear(&strict_hello()), &init]);
        assert_eq!(result, Err(WireError::Malformed("key exchange value")));
    }
    let hello = clear(&kexinit(&Hello { kex: &["mlkem768x25519-sha256"], cipher: GCM, guess: false }));
    // All coefficients 4095, which is above q: FIPS 203 has it refused.
    let unreduced = clear(&Writer::message(30).string(&[[255; 1184].as_slice(), &[9; 32]].concat()).done());
    assert_eq!(told(&[ID, &hello, &unreduced]).1, Err(WireError::Malformed("key exchange value")));
}

#[test]
fn identification_lines_have_limits() {
    let long = [b"SSH-2.0-".as_slice(), &[b'x'; 245], b"\r\n"].concat();
    assert_eq!(long.len(), 255);
    assert_eq!(told(&[&long]).1, Ok(vec![]));
    assert!(told(&[b"SSH-2.0-", &[b'x'; 300]]).1.is_err());
    for wrong in ["SSH-1.5-old\r\n", "GET / HTTP/1.1\r\n", "SSH-2.0-\u{7}\r\n", "\n", "SSH-1.99-x\r\n"] {
        assert_eq!(told(&[wrong.as_bytes()]).1, Err(WireError::Malformed("identification line")), "{wrong:?}");
    }
    let mut c = client(quick(), 1);
    assert_eq!(feed(&mut c, b"welcome\nto this host\r\nSSH-1.99-old one\n"), Ok(vec![]));
    assert_eq!(c.peer_id(), "SSH-1.99-old one");
    let mut c = client(quick(), 1);
    assert!(feed(&mut c, "more\r\n".repeat(21).as_bytes()).is_err());
    let mut c = client(quick(), 1);
    assert!(feed(&mut c, &[b'x'; 1024]).is_err());
}

#[test]
fn an_error_is_final() {
    let (mut s, result) = told(&[b"nonsense\n"]);
    assert_eq!(result, feed(&mut s, ID));
}

#[test]
fn only_key_exchange_may_follow_a_peers_kexinit() {
    let (mut c, mut s) = known_pair(&quick());
    // The client does not know that this is a KEXINIT, so that it can go on as a broken one would.
    c.send(&strict_hello()).unwrap();
    assert_eq!(carry(&mut c, &mut s), Err(WireError::NoCommon("cipher", format!("{GCM} against aes128-gcm@openssh.com"))));
    for (stray, fine) in [(94, false), (5, false), (7, false), (192, false), (20, false), (21, false), (2, true), (3, true), (4, true)] {
        let (mut c, mut s) = known_pair(&speak(Agreement::Curve25519, Cipher::Aes256Gcm));
        c.send(&strict_hello()).unwrap();
        c.send(&[stray, 0, 0, 0, 0]).unwrap();
        let expected = if fine { Ok(vec![]) } else { Err(WireError::Unexpected(stray)) };
        assert_eq!(carry(&mut c, &mut s), expected);
    }
}

#[test]
fn a_stranger_does_not_talk_idly_without_end() {
    let (mut c, mut s) = pair(&quick());
    for _ in 0..101 {
        c.send(&[2, 0, 0, 0, 0]).unwrap();
    }
    assert_eq!(carry(&mut c, &mut s), Err(WireError::TooLarge("idle messages before login")));
    let (mut c, mut s) = pair(&quick());
    for _ in 0..4 {
        c.start_rekey().unwrap();
        settle(&mut c, &mut s);
    }
    c.start_rekey().unwrap();
    assert_eq!(carry(&mut c, &mut s), Err(WireError::TooLarge("key exchanges before login")));
    let (mut c, mut s) = known_pair(&quick());
    for _ in 0..1000 {
        c.send(&[2, 0, 0, 0, 0]).unwrap();
    }
    assert_eq!(carry(&mut c, &mut s), Ok(vec![]));
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_not_answered_without_end() {
    let (mut c, mut s) = known_pair(&quick());
    let ping = Writer::message(192).string(&[0; 30_000]).done();
    for _ in 0..100 {
        c.send(&ping).unwrap();
    }
    assert_eq!(carry(&mut c, &mut s), Ok(vec![]));
    assert!(s.output().len() < 300_000);
    let unread = std::iter::repeat_with(|| s.unimplemented()).take(20_000).find(Result::is_err);
    assert!(unread.is_some());
}

#[test]
fn unimplemented_counts_from_the_last_keys() {
    let (mut c, mut s) = known_pair(&quick());
    for expected in 0..3 {
        c.send(&[200]).unwrap();
        assert_eq!(carry(&mut c, &mut s), Ok(vec![vec![200]]));
        assert_eq!(s.received_sequence(), expected);
    }
    s.unimplemented().unwrap();
    assert_eq!(carry(&mut s, &mut c), Ok(vec![]));
}

#[test]
fn a_budget_asks_for_new_keys_once() {
    let config = ServerConfig { rekey: RekeyBudget { bytes: 10_000, packets: 1 << 20 }, ..server_config(quick()) };
    let mut s = Transport::server(config.into(), Box::new(jit_bastion::wire::entropy::SystemEntropy));
    let mut c = client(quick(), 1);
    settle(&mut c, &mut s);
    assert!(!s.wants_rekey());
    c.send(&[94; 9_990]).unwrap();
    settle(&mut c, &mut s);
    assert!(s.wants_rekey() && !c.wants_rekey());
    s.start_rekey().unwrap();
    assert!(!s.wants_rekey());
    settle(&mut c, &mut s);
    assert!(!s.wants_rekey());
}

#[test]
fn an_extension_list_has_a_limit() {
    let (mut c, mut s) = pair(&quick());
    c.send(&Writer::message(7).u32(1).string(b"name").string(b"value").done()).unwrap();
    assert_eq!(carry(&mut c, &mut s), Ok(vec![]));
    assert_eq!(s.peer_ext_info(), [("name".to_owned(), b"value".to_vec())]);
    c.send(&Writer::message(7).u32(u32::MAX).done()).unwrap();
    assert_eq!(carry(&mut c, &mut s), Err(WireError::TooLarge("extension list")));
}

#[test]
fn a_host_that_signs_wrongly_is_not_believed() {
    let (mut c, mut s) = (client(quick(), 1), server(quick(), 2));
    carry(&mut c, &mut s).unwrap();
    carry(&mut s, &mut c).unwrap();
    carry(&mut c, &mut s).unwrap();
    let mut wire = Vec::new();
    s.take_output(&mut wire);
    let blob = wire.windows(11).position(|w| w == b"ssh-ed25519").unwrap();
    let signature = blob + 11 + wire[blob + 11..].windows(11).position(|w| w == b"ssh-ed25519").unwrap();
    wire[signature + 20] ^= 1;
    assert_eq!(feed(&mut c, &wire), Err(WireError::Signature));
    assert!(c.host_key().is_none() && !c.can_send());
}
