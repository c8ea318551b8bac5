//! Laws of the transport for any stream: how it is cut up does not matter, and what is broken is found.

mod wire_pair;

use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::{WireError, Writer};
use jit_bastion::wire::entropy::{Entropy, SeededEntropy};
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::transport::Transport;
use proptest::prelude::*;
use wire_pair::*;

/// All that a client says in a connection with data, pings and rekeys from either side, in the pieces in which it said
/// it; and all messages that came out at the server.
struct Talk {
    cipher: Cipher,
    pieces: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

fn talk(cipher: Cipher) -> Talk {
    let algorithms = speak(Agreement::Curve25519, cipher);
    let (mut c, mut s) = (client(algorithms.clone(), 1), server(algorithms, 2));
    let mut talk = Talk { cipher, pieces: Vec::new(), messages: Vec::new() };
    for turn in 0..8 {
        if turn > 0 {
            c.send(&Writer::message(94).u32(turn).string(&vec![7; turn as usize * 4000]).done()).unwrap();
            c.send(&Writer::message(192).string(b"ping").done()).unwrap();
            c.send(&[96, 0, 0, 0, 0]).unwrap();
        }
        match turn {
            2 => s.send(&[52]).unwrap(),
            3 | 4 => c.start_rekey().unwrap(),
            _ => {}
        }
        while !c.output().is_empty() || !s.output().is_empty() {
            let mut piece = Vec::new();
            c.take_output(&mut piece);
            talk.messages.extend(feed(&mut s, &piece).unwrap());
            talk.pieces.push(piece);
            carry(&mut s, &mut c).unwrap();
        }
    }
    assert_eq!(talk.messages.len(), 14);
    talk
}

/// A server that knows nothing yet but draws the same randomness as the one of the talk.
fn again(cipher: Cipher) -> Transport {
    server(speak(Agreement::Curve25519, cipher), 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn any_split_gives_the_same_messages(chacha: bool, sizes in prop::collection::vec(1_usize..20_000, 1..60)) {
        let talk = talk(if chacha { Cipher::ChaCha20Poly1305 } else { Cipher::Aes256Gcm });
        let stream = talk.pieces.concat();
        let (mut s, mut whole) = (again(talk.cipher), again(talk.cipher));
        let (mut at, mut messages) = (0, Vec::new());
        for size in sizes.iter().cycle() {
            let end = (at + size).min(stream.len());
            messages.extend(feed(&mut s, &stream[at..end]).unwrap());
            at = end;
            if at == stream.len() {
                break;
            }
        }
        prop_assert_eq!(&messages, &feed(&mut whole, &stream).unwrap());
        prop_assert_eq!(&messages, &talk.messages);
        prop_assert_eq!(s.output(), whole.output());
    }

    #[test]
    fn a_changed_stream_never_gives_other_messages(chacha: bool, at: prop::sample::Index, flip in 1_u8..) {
        let talk = talk(if chacha { Cipher::ChaCha20Poly1305 } else { Cipher::Aes256Gcm });
        let mut stream = talk.pieces.concat();
        let at = at.index(stream.len());
        stream[at] ^= flip;
        let mut messages = Vec::new();
        let end = feed_into(&mut again(talk.cipher), &stream, &mut messages);
        // What comes before the change still arrives; nothing that was changed does.
        prop_assert!(talk.messages.starts_with(&messages));
        prop_assert!(end.is_err() || messages.len() < talk.messages.len());
    }

    #[test]
    fn garbage_never_panics(seed: u64, length in 0_usize..3000, role: bool, greeted: bool) {
        let mut noise = vec![0; length];
        SeededEntropy::new(seed).fill(&mut noise);
        let mut ours = if role { server(quick(), 1) } else { client(quick(), 1) };
        let id: &[u8] = if greeted { b"SSH-2.0-x\r\n" } else { b"" };
        let _ = feed(&mut ours, &[id, &noise].concat());
        let _ = ours.unimplemented();
        ours.disconnect(2, "noise");
    }

    /// Two peers that send and rekey as they like, over lines that deliver as they like, end with everything delivered.
    #[test]
    fn two_peers_never_wait_for_each_other(seed: u64) {
        let mut dice = Dice(SeededEntropy::new(seed));
        let (c, s) = known_pair(&quick());
        let mut ends = [End::new(c), End::new(s)];
        for _ in 0..300 {
            let who = dice.roll(2);
            match dice.roll(12) {
                0 => drop(ends[who].transport.start_rekey()),
                1..6 => ends[who].say(dice.roll(5000)),
                _ => deliver(&mut ends, who, 1 + dice.roll(9000)),
            }
        }
        while ends.iter().any(|e| !e.line.is_empty() || !e.transport.output().is_empty()) {
            deliver(&mut ends, 0, usize::MAX);
            deliver(&mut ends, 1, usize::MAX);
        }
        for (end, other) in [(0, 1), (1, 0)] {
            prop_assert!(ends[end].transport.can_send() && !ends[end].transport.in_kex());
            prop_assert_eq!(&ends[end].said, &ends[other].heard);
        }
    }
}

struct Dice(SeededEntropy);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % below
    }
}

/// One peer, and the line from it to the other.
struct End {
    transport: Transport,
    line: Vec<u8>,
    said: Vec<usize>,
    heard: Vec<usize>,
}

impl End {
    fn new(transport: Transport) -> Self {
        Self { transport, line: Vec::new(), said: Vec::new(), heard: Vec::new() }
    }

    fn say(&mut self, length: usize) {
        match self.transport.send(&vec![94; length + 1]) {
            Ok(()) => self.said.push(length + 1),
            Err(error) => assert_eq!(error, WireError::Busy),
        }
    }
}

/// Some bytes that `from` has sent reach the other end.
fn deliver(ends: &mut [End; 2], from: usize, most: usize) {
    let [a, b] = ends;
    let (from, to) = if from == 0 { (a, b) } else { (b, a) };
    from.transport.take_output(&mut from.line);
    let some: Vec<u8> = from.line.drain(..most.min(from.line.len())).collect();
    to.heard.extend(feed(&mut to.transport, &some).unwrap().iter().map(Vec::len));
}

#[test]
fn a_changed_byte_behind_the_length_is_corrupt() {
    for cipher in Cipher::ALL {
        for at in [4, 5, 20, 100, 1000, 1040] {
            let (mut c, mut s) = known_pair(&speak(Agreement::Curve25519, cipher));
            c.send(&[94; 1024]).unwrap();
            let mut wire = Vec::new();
            c.take_output(&mut wire);
            wire[at] ^= 1;
            assert_eq!(feed(&mut s, &wire), Err(WireError::Corrupt));
        }
    }
}
