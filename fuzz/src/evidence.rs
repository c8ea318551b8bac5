//! The audit log's readers, and the sealed keys: files that may come from anybody.

use std::io::Read as _;

use jit_bastion::audit::canonical;
use jit_bastion::audit::checkpoint::{Checkpoint, Note, NoteKey};
use jit_bastion::audit::copy::{self, CopyReader, Piece};
use jit_bastion::audit::entry::Entry;
use jit_bastion::audit::proofs::Proofs;
use jit_bastion::audit::tar::{TarReader, TarWriter};
use jit_bastion::audit::verify::{Head, Row, verify};
use jit_bastion::ca::certificate::{KeyId, SourceAddress};
use jit_bastion::ca::envelope;
use jit_bastion::store::{parse_spool, spool_line};

use super::Target;

/// The targets of this file.
pub const ALL: &[Target] = &[
    ("log_entry", log_entry),
    ("signed_note", signed_note),
    ("whole_log", whole_log),
    ("sealed_keys", sealed_keys),
    ("unwritten", unwritten),
    ("log_copy", log_copy),
    ("export", export),
];

const ENTRY: &str =
    r#"{"actor":"system:bastion","data":{"jump_ms":-5},"event":"clock-alarm","node":"n","seq":0,"time_us":1795298820000000}"#;
const NOTE: &str = "n\n18\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} n x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const UNWRITTEN: &str = r#"{"what":"closed","at":1795298820000000,"session":{"id":"s-7k2m9q","ending":"store-lost","ended":null,"late_host_ms":4,"late_client_ms":null,"sealed":null,"channels":[]}}"#;
const KEYS: &str = r#"{"format":"jit-bastion sealed keys","version":1,"kdf":"argon2id","cost":{"memory-kib":65536,"passes":3,"lanes":1},"salt":"AAAAAAAAAAAAAAAAAAAAAA==","cipher":"aes-256-gcm","nonce":"AAAAAAAAAAAAAAAA","sealed":"AAAA"}"#;

/// What is read is what would be written, to the byte.
pub fn log_entry(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), edited(ENTRY, bytes)] {
        if let Ok(value) = canonical::parse(&bytes) {
            assert_eq!(canonical::encode(&value).expect("it was canonical"), bytes);
        }
        if let Ok(entry) = Entry::parse(&bytes) {
            assert_eq!(entry.to_bytes().expect("it was an entry"), bytes);
        }
    }
}

/// Notes, checkpoints and verifier keys come back as they were.
pub fn signed_note(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), edited(NOTE, bytes), edited(KEY, bytes)] {
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(note) = Note::parse(&text) {
            let again = Note::parse(&note.to_string()).expect("it was a note");
            assert_eq!(again, note);
            if let Ok(key) = KEY.parse::<NoteKey>() {
                let _ = note.verified(&key);
            }
        }
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        }
        if let Ok(key) = text.parse::<NoteKey>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
}

/// A log of lies ends in findings.
pub fn whole_log(bytes: &[u8]) {
    let Ok(key) = KEY.parse::<NoteKey>() else { return };
    let rows = bytes.split(|byte| *byte == b'\n').enumerate().map(|(seq, line)| Row {
        seq: line.first().map_or(seq as u64, |first| u64::from(*first) << (seq % 57)),
        bytes: edited(ENTRY, line),
        leaf: None,
    });
    let head = Head { source: "fuzz".into(), note: String::from_utf8_lossy(&edited(NOTE, bytes)).into_owned() };
    let verdict = verify(&key, rows, [head]);
    assert!(!verdict.findings.is_empty());
    verdict.findings.iter().for_each(|finding| assert!(!finding.to_string().is_empty()));
}

/// A copy of a log is read in lines, or refused; so are the heads after it.
pub fn log_copy(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), edited(&format!("{ENTRY}\n{ENTRY}\n{NOTE}\n{NOTE}\n"), bytes)] {
        let (mut reader, mut rest, mut read) = (CopyReader::new(bytes.as_slice()), Vec::new(), 0);
        while let Ok(Some(piece)) = reader.piece() {
            match piece {
                Piece::Entry(entry) => {
                    read += entry.len() + 1;
                    let _ = copy::row(entry, 3);
                }
                Piece::Line(line) => rest.extend(line),
            }
        }
        assert!(read + rest.len() <= bytes.len() + 1);
        assert!(copy::heads(&rest, "fuzz").iter().map(|head| head.note.len()).sum::<usize>() <= rest.len() * 3);
    }
}

/// A container is read file by file, or refused; and what is read is what would be written.
pub fn export(bytes: &[u8]) {
    let mut writer = TarWriter::new(Vec::new(), 7);
    writer.file("s-7k2m9q/a", bytes.len() as u64, bytes).expect("a name of ours");
    writer.file("s-7k2m9q/b", 1, &b"x"[..]).expect("a name of ours");
    let good = writer.finish().expect("memory");
    let mut near = good.clone();
    for edit in bytes.chunks_exact(3) {
        let [high, low, byte] = *edit else { continue };
        let at = (usize::from(high) << 8 | usize::from(low)) % near.len();
        near[at] = byte;
    }
    for bytes in [bytes.to_vec(), good, near] {
        let (mut reader, mut files) = (TarReader::new(bytes.as_slice()), Vec::new());
        let ended = loop {
            let Ok(next) = reader.next_file() else { break false };
            let Some((name, size)) = next else { break true };
            let mut content = Vec::new();
            if reader.read_to_end(&mut content).is_err() {
                break false;
            }
            files.push((name, size, content));
        };
        if ended {
            let mut again = TarWriter::new(Vec::new(), reader.mtime().unwrap_or_default());
            files.iter().for_each(|(name, size, content)| again.file(name, *size, content.as_slice()).expect("it was read"));
            assert_eq!(again.finish().expect("memory"), bytes);
        }
    }
    assert!(Proofs::parse(bytes).is_err());
}

/// What waits for a lost store: each line is read or refused, and what is read is what would be written.
pub fn unwritten(bytes: &[u8]) {
    let json = edited(UNWRITTEN, bytes);
    let sealed = [format!("{:08x} ", crc32(&json)).into_bytes(), json].concat();
    for bytes in [bytes.to_vec(), sealed] {
        for what in parse_spool(&bytes).into_iter().flatten() {
            let line = spool_line(&what).expect("it was a line");
            assert_eq!(parse_spool(&line), [Ok(what)]);
        }
    }
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())))
}

/// An envelope is judged before any work is done; so are the parts of a certificate that come from a config.
pub fn sealed_keys(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), edited(KEYS, bytes)] {
        let text = String::from_utf8_lossy(&bytes);
        let _ = envelope::check(&text);
        let _ = KeyId::parse(&text);
        if let Ok(source) = text.parse::<SourceAddress>() {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
    }
}

/// `template` with bytes put elsewhere in it: the near misses that random bytes never are.
fn edited(template: &str, edits: &[u8]) -> Vec<u8> {
    let mut bytes = template.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let [at, how, byte] = *edit else { continue };
        let at = at as usize * bytes.len() / 256;
        match how % 4 {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(1)),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes
}
