//! The transport, fed with what no honest peer says.

#[path = "../../tests/wire_pair/mod.rs"]
mod wire_pair;

use jit_bastion::wire::codec::Writer;
use jit_bastion::wire::transport::Transport;
use wire_pair::{carry, client, feed, known_pair, quick, server};

pub const ALL: &[super::Target] = &[
    ("transport_server", transport_server),
    ("transport_client", transport_client),
    ("key_exchange_server", key_exchange_server),
    ("key_exchange_client", key_exchange_client),
    ("sealed_messages", sealed_messages),
];

/// Raw bytes to a server.
pub fn transport_server(bytes: &[u8]) {
    check(&mut server(Default::default(), 1), bytes);
}

/// Raw bytes to a client.
pub fn transport_client(bytes: &[u8]) {
    check(&mut client(Default::default(), 1), bytes);
}

/// Well-framed messages to a server that has no keys yet.
pub fn key_exchange_server(bytes: &[u8]) {
    check(&mut server(Default::default(), 1), &framed(bytes));
}

/// The same to a client.
pub fn key_exchange_client(bytes: &[u8]) {
    check(&mut client(Default::default(), 1), &framed(bytes));
}

/// Messages under the right keys, to both ends, after login.
pub fn sealed_messages(bytes: &[u8]) {
    let (mut c, mut s) = known_pair(&quick());
    for (turn, message) in messages(bytes).enumerate() {
        let (from, to) = if turn % 2 == 0 { (&mut c, &mut s) } else { (&mut s, &mut c) };
        if from.send(message).is_err() || carry(from, to).is_err() {
            return;
        }
        let _ = to.unimplemented();
    }
}

fn check(ours: &mut Transport, bytes: &[u8]) {
    let end = feed(ours, bytes);
    assert!(!ours.established(), "nobody holds the right keys by chance");
    assert!(ours.output().len() < 1 << 20);
    if let Err(error) = end {
        assert_eq!(ours.next().err(), Some(error), "an error is final");
    }
}

/// The input in pieces, each behind one byte of length times four.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first()?;
        let (message, rest) = rest.split_at(rest.len().min(usize::from(*length) * 4));
        bytes = rest;
        Some(message)
    })
}

/// An identification line, and packets in the clear.
fn framed(bytes: &[u8]) -> Vec<u8> {
    messages(bytes).fold(b"SSH-2.0-x\r\n".to_vec(), |mut wire, message| {
        let padding = 4 + (8 - (9 + message.len()) % 8) % 8;
        let packet = Writer::new().u32((1 + message.len() + padding) as u32).u8(padding as u8);
        wire.extend(packet.raw(message).raw(&vec![0; padding]).done());
        wire
    })
}
