//! Readers of recordings: journal frames, asciicast files, manifests.

use std::path::Path;

use jit_bastion::recording::cast::{CastEvent, CastHeader, CastReader, Newline};
use jit_bastion::recording::exact::Restorer;
use jit_bastion::recording::frames::{self, Parsed};
use jit_bastion::recording::{Manifest, Player, transcript::Transcript};

use super::Target;

/// This room's targets.
pub const ALL: &[Target] = &[("journal", journal), ("cast", cast), ("manifest", manifest)];

/// Frames as they come, and one whose checksum is right whatever it holds.
pub fn journal(bytes: &[u8]) {
    let mut rest = bytes;
    while let Parsed::Whole(_, _, used) | Parsed::Meta(_, used) = frames::parse(rest) {
        assert_eq!(frames::need(rest), used);
        rest = &rest[used..];
    }
    let Some((kind, payload)) = bytes.split_first() else { return };
    let mut whole = frames::head(1, 2, 3, *kind, payload).to_vec();
    whole.extend_from_slice(payload);
    assert!(!matches!(frames::parse(&whole), Parsed::Short));
}

/// A file as it comes, and behind a good header: events, exact bytes, the player's drawing, the transcript.
pub fn cast(bytes: &[u8]) {
    let _ = CastHeader::parse(bytes);
    let _ = CastEvent::parse(bytes);
    let head = b"{\"version\":2,\"width\":80,\"height\":24}\n".as_slice();
    let told = as_output(bytes);
    for body in [bytes, told.as_slice()] {
        let file = [head, body].concat();
        let open = || CastReader::new(file.as_slice(), Path::new("x.cast"));
        for newline in [Newline::Raw, Newline::CrLf] {
            let mut restorer = Restorer::new(newline);
            for event in open().into_iter().flatten().flatten() {
                let _ = restorer.bytes(&event);
            }
        }
        let Ok(reader) = open() else { return };
        let header = reader.header().clone();
        Player::new(&header, reader, 60, 20, Default::default()).for_each(drop);
        if let Ok(reader) = open() {
            Transcript::new(&header, reader).for_each(drop);
        }
    }
}

/// The bytes as output, one event every 16 of them.
fn as_output(bytes: &[u8]) -> Vec<u8> {
    let mut teller = jit_bastion::recording::exact::Teller::new(Newline::Raw);
    let mut out = Vec::new();
    for (n, piece) in bytes.chunks(16).enumerate() {
        teller.tell(&mut out, n as u64 * 50_000, jit_bastion::recording::exact::Stream::Out, piece);
    }
    teller.flush(&mut out, bytes.len() as u64 * 50_000);
    out
}

/// A manifest's form and signature.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = manifest.check(bytes, &manifest.key);
        for channel in &manifest.channels {
            let _ = channel.digest();
        }
    }
}
