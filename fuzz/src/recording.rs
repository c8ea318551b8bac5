//! Readers of recordings: journal frames, asciicast files, manifests.

use std::path::Path;

use jit_bastion::recording::cast::{CastEvent, CastHeader, CastReader, Newline};
use jit_bastion::recording::exact::Restorer;
use jit_bastion::recording::files::scp::Scp;
use jit_bastion::recording::files::sftp::{FileRights, Sftp};
use jit_bastion::recording::frames::{self, Parsed};
use jit_bastion::recording::statements::postgres::Postgres;
use jit_bastion::recording::statements::{Telling, masked};
use jit_bastion::recording::text::{MAX_LINE, Needle, ScreenText, SeenLine, TextReader, folded};
use jit_bastion::recording::{Manifest, Player, transcript::Transcript};

use super::Target;

/// This room's targets.
pub const ALL: &[Target] = &[
    ("journal", journal),
    ("cast", cast),
    ("manifest", manifest),
    ("sftp", sftp),
    ("scp", scp),
    ("screen_text", screen_text),
    ("statements", statements),
];

/// What a screen shows, in pieces at odd times: whatever is told can be sought. A file of such text is read or ends.
pub fn screen_text(bytes: &[u8]) {
    let Some(([cols, rows, how], rest)) = bytes.split_first_chunk() else { return };
    let newline = if how % 2 == 0 { Newline::Raw } else { Newline::CrLf };
    let (mut screen, mut told, mut at) = (ScreenText::new((*cols).into(), (*rows).into(), newline), Vec::new(), 0_u64);
    for piece in rest.chunks(1 + usize::from(how >> 1)) {
        at += u64::from(piece.first().copied().unwrap_or_default()) * 1000;
        match piece {
            [255, cols, rows, ..] => screen.resize(at, (*cols).into(), (*rows).into(), &mut told),
            piece => screen.output(at, piece, &mut told),
        }
    }
    screen.finish(&mut told);
    for SeenLine { at: when, text } in &told {
        assert!(*when <= at && text.len() <= MAX_LINE + 4 && !text.chars().any(char::is_control));
        if let Some(needle) = Needle::parse(&folded(text)) {
            assert!(needle.is_in(text));
        }
    }
    let mut reader = TextReader::new(bytes);
    while let Ok(Some(line)) = reader.next_line() {
        assert!(line.line.text.len() <= MAX_LINE + 8);
    }
}

/// A look at a database's connection, in pieces or at once, after a good beginning or as it comes.
pub fn statements(bytes: &[u8]) {
    let hello = [&[0, 0, 0, 17, 0, 3, 0, 0][..], b"user\0a\0\0\0"].concat();
    for begin in [&[][..], &hello] {
        let told = |size: usize| {
            let mut look = Postgres::new(Telling::Masked);
            [begin, bytes].concat().chunks(size).for_each(|piece| look.client(piece));
            look.told()
        };
        let whole = told(usize::MAX);
        assert_eq!(told(3), whole);
        assert!(whole.iter().all(|line| !line.contains(char::is_control)));
    }
    let mut look = Postgres::new(Telling::Whole);
    bytes.chunks(9).for_each(|piece| {
        look.client(piece);
        look.server(piece);
    });
    let _ = masked(&String::from_utf8_lossy(bytes));
}

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

/// An SFTP channel after a good beginning: each piece, as one packet and as it is, from one side and then from the other.
pub fn sftp(bytes: &[u8]) {
    let mut sftp = Sftp::new(FileRights { read: true, write: bytes.len().is_multiple_of(2) });
    let _ = sftp.client(&[0, 0, 0, 5, 1, 0, 0, 0, 3]);
    for (n, piece) in bytes.chunks(29).enumerate() {
        let packet = [&(piece.len() as u32).to_be_bytes(), piece].concat();
        let sent = if n % 3 == 0 { piece } else { &packet };
        let passed = if n % 2 == 0 { sftp.client(sent) } else { sftp.host(sent) };
        for act in sftp.told() {
            assert!(!act.line().contains('\u{1b}'));
        }
        if passed.is_err() {
            break;
        }
    }
    let _ = sftp.finish();
}

/// A command of scp after the receiver's greeting: each piece from one side, then from the other; the answers good or as they come.
pub fn scp(bytes: &[u8]) {
    let uploads = bytes.len().is_multiple_of(2);
    let Some(mut scp) = Scp::of(if uploads { b"scp -r -p -t /in" } else { b"scp -r -f /out" }) else { return };
    let mut say = |sender: bool, bytes: &[u8]| {
        let passed = if sender == uploads { scp.client(bytes) } else { scp.host(bytes) };
        for act in scp.told() {
            assert!(!act.line().contains('\u{1b}'));
        }
        passed.is_ok()
    };
    let mut on = say(false, b"\0");
    for (n, piece) in bytes.chunks(17).enumerate() {
        on = on
            && if n % 4 == 3 {
                say(false, piece)
            } else {
                say(true, &[b"C0644 7 ", piece, b"\n"].concat()[if n % 2 == 0 { 0 } else { 8 }..]) && say(false, b"\0")
            };
    }
    let _ = scp.finish();
}
