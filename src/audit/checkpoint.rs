//! Signed heads of the log: C2SP `tlog-checkpoint` inside a C2SP `signed-note` with Ed25519.
//!
//! ```text
//! bastion-1
//! 4711
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — bastion-1 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! Nothing here holds a private key: who signs is given as a function.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

use super::digest::Digest;

/// The longest note that is read, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// The most signatures that a note may carry (C2SP: implementations may refuse more than a sensible number).
const MOST_SIGNATURES: usize = 16;
/// signed-note's byte for Ed25519.
const ED25519_KIND: u8 = 1;

/// A note, checkpoint or key that cannot be read or trusted.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NoteError {
    /// Not laid out as a signed note.
    #[error("not a signed note: {0}")]
    Note(&'static str),
    /// The note's text is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
    /// Not a verifier key.
    #[error("not a verifier key: it looks like NAME+HASH+BASE64")]
    Key,
    /// No signature by the key that is asked for.
    #[error("it carries no signature by {0}")]
    Unsigned(String),
    /// A signature by that key, and it is wrong.
    #[error("its signature by {0} is wrong")]
    Forged(String),
    /// It could not be signed.
    #[error("it could not be signed: {0}")]
    Signing(String),
}

/// The public half of a key that signs notes: its name (the log's origin) and 32 bytes of Ed25519.
/// As text the C2SP verifier form `NAME+HASH+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    public: [u8; 32],
}

impl NoteKey {
    /// A key by its name and public half. Names have no spaces, no `+` and at least one character.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        let fits = !name.is_empty() && name.len() <= 255 && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
        if fits { Ok(Self { name: name.to_owned(), public }) } else { Err(NoteError::Key) }
    }

    /// Its name: the origin of the log whose heads it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// signed-note: the first four bytes of SHA-256 over name, newline, kind and key.
    pub fn id(&self) -> u32 {
        let hash = Digest::of_parts(&[self.name.as_bytes(), b"\n", &[ED25519_KIND], &self.public]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_KIND], self.public.as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64.encode(key))
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(NoteError::Key) };
        let key = BASE64.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_KIND, public)) = key.split_first() else { return Err(NoteError::Key) };
        let key = Self::new(name, public.try_into().map_err(|_| NoteError::Key)?)?;
        if id == format!("{:08x}", key.id()) { Ok(key) } else { Err(NoteError::Key) }
    }
}

/// A text with signatures below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line below a note.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

impl Note {
    /// Signs `text`, which ends with a newline. `sign` is Ed25519 over these very bytes.
    pub fn sign<E: fmt::Display>(text: String, key: &NoteKey, sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || text.contains("\n\n") || has_controls(&text) {
            return Err(NoteError::Note("the text must be lines that end with a newline, none of them empty"));
        }
        let bytes = sign(text.as_bytes()).map_err(|e| NoteError::Signing(e.to_string()))?.to_vec();
        Ok(Self { text, signatures: vec![NoteSignature { name: key.name.clone(), id: key.id(), bytes }] })
    }

    /// Reads a note; checks no signature.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > LONGEST || has_controls(note) {
            return Err(NoteError::Note("too long, or with control characters"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Note("no empty line before the signatures"))?;
        let (text, below) = note.split_at(split + 1);
        let lines = below.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::Note("the last line does not end"))?;
        let signatures: Vec<_> = lines.split('\n').take(MOST_SIGNATURES + 1).map(signature_line).collect::<Result<_, _>>()?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Note("too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What was signed, if `key` signed it. Signatures by other keys are ignored.
    pub fn verified(&self, key: &NoteKey) -> Result<&str, NoteError> {
        let mut ours = self.signatures.iter().filter(|s| s.name == key.name && s.id == key.id()).peekable();
        if ours.peek().is_none() {
            return Err(NoteError::Unsigned(key.name.clone()));
        }
        let public = UnparsedPublicKey::new(&ED25519, &key.public);
        let right = ours.all(|s| public.verify(self.text.as_bytes(), &s.bytes).is_ok());
        if right { Ok(&self.text) } else { Err(NoteError::Forged(key.name.clone())) }
    }

    /// The text, whoever signed it.
    pub fn unverified(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for s in &self.signatures {
            let signature = [&s.id.to_be_bytes(), s.bytes.as_slice()].concat();
            writeln!(f, "\u{2014} {} {}", s.name, BASE64.encode(signature))?;
        }
        Ok(())
    }
}

/// The head of a log: so many entries, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of the node that writes it.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// Signs it with `key`, whose name must be the origin.
    pub fn sign<E: fmt::Display>(&self, key: &NoteKey, sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>) -> Result<Note, NoteError> {
        if key.name != self.origin {
            return Err(NoteError::Checkpoint("the key has another name than the log"));
        }
        Note::sign(self.to_string(), key, sign)
    }

    /// Reads a signed checkpoint and checks that `key` signed it for the log of its own name.
    pub fn open(note: &str, key: &NoteKey) -> Result<Self, NoteError> {
        let checkpoint: Self = Note::parse(note)?.verified(key)?.parse()?;
        if checkpoint.origin == key.name { Ok(checkpoint) } else { Err(NoteError::Checkpoint("it is about another log")) }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    /// Reads the note's text. Further lines are C2SP extensions: allowed, signed, not looked at.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let text = text.strip_suffix('\n').ok_or(NoteError::Checkpoint("the last line does not end"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Checkpoint("fewer than three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(NoteError::Checkpoint("an empty line"));
        }
        let number: u64 = size.parse().map_err(|_| NoteError::Checkpoint("the size is no number"))?;
        if number.to_string() != size {
            return Err(NoteError::Checkpoint("the size is not written plainly"));
        }
        let bytes = BASE64.decode(root).map_err(|_| NoteError::Checkpoint("the root is not base64"))?;
        let root = Digest::try_from(bytes.as_slice()).map_err(|_| NoteError::Checkpoint("the root has not 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }
}

fn signature_line(line: &str) -> Result<NoteSignature, NoteError> {
    let bad = NoteError::Note("a signature line looks like: \u{2014} NAME BASE64");
    let (name, text) = line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(bad.clone())?;
    let bytes = BASE64.decode(text).map_err(|_| bad.clone())?;
    let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(bad.clone())?;
    if name.is_empty() || name.contains('+') || bytes.is_empty() {
        return Err(bad);
    }
    Ok(NoteSignature { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
}

/// signed-note: no ASCII controls but the newline.
fn has_controls(text: &str) -> bool {
    text.bytes().any(|b| b < 0x20 && b != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use std::convert::Infallible;

    fn pair(seed: u8) -> (Ed25519KeyPair, NoteKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = NoteKey::new("bastion-1", pair.public_key().as_ref().try_into().unwrap()).unwrap();
        (pair, key)
    }

    fn signed(size: u64) -> (String, NoteKey) {
        let (pair, key) = pair(1);
        let checkpoint = Checkpoint { origin: "bastion-1".into(), size, root: Digest::of(b"") };
        let note = checkpoint.sign(&key, |bytes| Ok::<_, Infallible>(pair.sign(bytes).as_ref().try_into().unwrap()));
        (note.unwrap().to_string(), key)
    }

    /// The example of C2SP's signed-note and golang.org/x/mod/sumdb/note.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_verifies() {
        let key: NoteKey = GO_KEY.parse().unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        let note = Note::parse(GO_NOTE).unwrap();
        assert!(note.verified(&key).unwrap().ends_with("your problem is.\n"));
        assert_eq!(note.to_string(), GO_NOTE);
        let changed = GO_NOTE.replace("answer", "anzwer");
        assert_eq!(Note::parse(&changed).unwrap().verified(&key), Err(NoteError::Forged("PeterNeumann".into())));
    }

    #[test]
    fn checkpoints_round_trip() {
        let (note, key) = signed(4711);
        let read = Checkpoint::open(&note, &key).unwrap();
        assert_eq!((read.size, read.root), (4711, Digest::of(b"")));
        assert!(note.starts_with("bastion-1\n4711\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} bastion-1 "));
    }

    #[test]
    fn the_installations_key_signs_what_is_read_here() {
        use rand::SeedableRng;
        let keys = crate::ca::keyring::Keyring::generate(&mut rand::rngs::StdRng::seed_from_u64(1)).unwrap();
        let signer = keys.note_signer("bastion-1").unwrap();
        let key = NoteKey::new(signer.name(), *signer.public_key()).unwrap();
        assert_eq!(signer.verifier(), key.to_string());
        let checkpoint = Checkpoint { origin: "bastion-1".into(), size: 3, root: Digest::of(b"x") };
        let note = checkpoint.sign(&key, |bytes| signer.sign(bytes)).unwrap().to_string();
        assert_eq!(Checkpoint::open(&note, &key), Ok(checkpoint));
    }

    #[test]
    fn forged_and_foreign_checkpoints_are_refused() {
        let (note, key) = signed(4711);
        assert_eq!(Checkpoint::open(&note.replace("4711", "4712"), &key), Err(NoteError::Forged("bastion-1".into())));
        let (_, other) = pair(2);
        assert_eq!(Checkpoint::open(&note, &other), Err(NoteError::Unsigned("bastion-1".into())));
        let elsewhere = NoteKey::new("bastion-2", *key.public()).unwrap();
        assert!(Checkpoint::open(&note, &elsewhere).is_err());
        let checkpoint = Checkpoint { origin: "bastion-1".into(), size: 0, root: Digest::of(b"") };
        assert!(checkpoint.sign(&elsewhere, |_| Ok::<_, Infallible>([0; 64])).is_err());
    }

    #[test]
    fn texts_that_are_nearly_checkpoints_are_refused() {
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for size in ["", "-1", "+1", "01", "1 ", "18446744073709551616", "a"] {
            assert!(format!("n\n{size}\n{root}\n").parse::<Checkpoint>().is_err(), "{size:?}");
        }
        for text in ["", "n\n1\n", "n\n1\nAAAA\n", "\n1\n", &format!("n\n1\n{root}"), &format!("n\n1\n{root}\n\nx\n")] {
            assert!(text.parse::<Checkpoint>().is_err(), "{text:?}");
        }
        assert!(format!("n\n18446744073709551615\n{root}\nextension\n").parse::<Checkpoint>().is_ok());
        for note in [
            "",
            "\n\n",
            "a\n\n",
            "a\n\n\u{2014} n AAAA\n",
            "a\n\n\u{2014} n AAAAAAA=",
            "a\r\n\n\u{2014} n AAAAAAA=\n",
            "a\n\n- n AAAAAAA=\n",
        ] {
            assert!(Note::parse(note).is_err(), "{note:?}");
        }
        let many = format!("a\n\n{}", "\u{2014} n AAAAAAA=\n".repeat(MOST_SIGNATURES + 1));
        assert!(Note::parse(&many).is_err());
        for key in ["", "a+b+c", "bastion-1+00000000+AQ==", "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"] {
            assert_eq!(key.parse::<NoteKey>(), Err(NoteError::Key), "{key}");
        }
    }
}
