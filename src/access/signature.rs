//! A signature over an approval's text, as `ssh-keygen -Y sign` makes it (OpenSSH's PROTOCOL.sshsig): kept byte for byte, checked with the
//! key that stands in it. Whose key that is, is the caller's to ask.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use super::names::BadName;
use super::policy::hex;
use super::refusal::Refusal;

/// What the signed bytes are for, so that a signature made for something else is none.
pub const NAMESPACE: &str = "jit-bastion-approval";

/// The longest text of a signature that is looked at, in bytes. One of RSA with 16384 bits has under 6000.
pub const LONGEST: usize = 16 * 1024;

/// A well-formed signature of an accepted algorithm, for our namespace. Not yet checked against a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The SSHSIG blob as it was given.
    blob: Vec<u8>,
    parsed: SshSig,
}

impl Signature {
    /// Reads what `ssh-keygen -Y sign` wrote, or its base64 in one word: of the whole file, or of what stands between its first and last
    /// line.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text.len() > LONGEST {
            return Err(BadName::new(WHAT, "", "it is longer than 16 KiB"));
        }
        let given = match text.trim().strip_prefix(BEGIN) {
            Some(_) => dearmored(text.trim())?,
            None => decoded(text)?,
        };
        match std::str::from_utf8(&given).ok().map(str::trim).filter(|inner| inner.starts_with(BEGIN)) {
            Some(inner) => Self::of_blob(dearmored(inner)?),
            None => Self::of_blob(given),
        }
    }

    fn of_blob(blob: Vec<u8>) -> Result<Self, BadName> {
        let parsed: SshSig = whole(&blob).ok_or_else(|| bad(RULE))?;
        if parsed.namespace() != NAMESPACE {
            return Err(BadName::new(WHAT, parsed.namespace(), "sign with `ssh-keygen -Y sign -n jit-bastion-approval`"));
        }
        if parsed.version() != SshSig::VERSION || !parsed.reserved().is_empty() {
            return Err(bad("it is of a version that is not known here"));
        }
        match (parsed.public_key().algorithm(), parsed.algorithm()) {
            (Algorithm::Ed25519, Algorithm::Ed25519) | (Algorithm::SkEd25519, Algorithm::SkEd25519) => {}
            (Algorithm::Ecdsa { curve: key }, Algorithm::Ecdsa { curve: used }) if key == used => {}
            (Algorithm::SkEcdsaSha2NistP256, Algorithm::SkEcdsaSha2NistP256) => {}
            // RSA with SHA-1 is no signature any more.
            (Algorithm::Rsa { .. }, Algorithm::Rsa { hash: Some(_) }) if rsa_is_long(&parsed) => {}
            _ => return Err(bad("keys that sign are ed25519, ecdsa, rsa of at least 2048 bits with SHA-2, and their sk kinds")),
        }
        Ok(Self { blob, parsed })
    }

    /// Was exactly `text` signed, with somebody at the key where it is a security key?
    pub fn verify(&self, text: &str) -> Result<(), Refusal> {
        let key = PublicKey::new(self.parsed.public_key().clone(), "");
        if self.untouched() || key.verify(NAMESPACE, text.as_bytes(), &self.parsed).is_err() {
            return Err(Refusal::new("wrong-signature", format!("the signature of {} is not over the text of this approval", self.key()))
                .hint("sign what `show ID --text` prints, with the same --for and --channels as the approval"));
        }
        Ok(())
    }

    /// A security key that was not touched: its signature proves nobody.
    fn untouched(&self) -> bool {
        let bytes = self.parsed.signature_bytes();
        let flags = bytes.len().checked_sub(TOUCH_BYTES).and_then(|at| bytes.get(at));
        matches!(self.parsed.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
            && flags.is_none_or(|flags| flags & USER_PRESENT == 0)
    }

    /// The key's fingerprint, `SHA256:..` as OpenSSH prints it.
    pub fn key(&self) -> String {
        self.parsed.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// SHA-256 of the signature's bytes (the blob, without its armour), in hex.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(&self.blob))
    }

    /// What an event says of it: the key's fingerprint and the signature's digest, a blank between them.
    pub fn told(&self) -> String {
        format!("{} {}", self.key(), self.digest())
    }

    /// In one word: base64 of the blob. [`Signature::parse`] reads it back.
    pub fn word(&self) -> String {
        STANDARD.encode(&self.blob)
    }

    /// As `ssh-keygen -Y verify` reads it.
    pub fn armored(&self) -> String {
        let word = self.word();
        let mut out = format!("{BEGIN}\n");
        for (at, c) in word.chars().enumerate() {
            if at > 0 && at % COLUMNS == 0 {
                out.push('\n');
            }
            out.push(c);
        }
        out.push_str(&format!("\n{END}\n"));
        out
    }
}

impl FromStr for Signature {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::parse(text)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signature").field(&self.told()).finish()
    }
}

fn whole(blob: &[u8]) -> Option<SshSig> {
    use ssh_key::encoding::Decode;
    let mut rest = blob;
    let parsed = SshSig::decode(&mut rest).ok()?;
    rest.is_empty().then_some(parsed)
}

fn rsa_is_long(parsed: &SshSig) -> bool {
    parsed.public_key().rsa().is_some_and(|rsa| rsa.key_size() >= RSA_BITS)
}

/// What stands between the first and the last line of an armoured signature.
fn dearmored(text: &str) -> Result<Vec<u8>, BadName> {
    let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(|| bad(RULE))?;
    decoded(body)
}

fn decoded(text: &str) -> Result<Vec<u8>, BadName> {
    let word: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(word).map_err(|_| bad(RULE))
}

/// Never shows what was given: it is long, and nobody reads base64.
fn bad(rule: &'static str) -> BadName {
    BadName::new(WHAT, "..", rule)
}

const WHAT: &str = "signature";
const RULE: &str = "it is what `ssh-keygen -Y sign -n jit-bastion-approval` prints, or that in base64";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// As ssh-keygen writes it.
const COLUMNS: usize = 70;
const RSA_BITS: u32 = 2048;
/// Flags and counter at a security key's signature's end: OpenSSH's PROTOCOL.u2f.
const TOUCH_BYTES: usize = 5;
const USER_PRESENT: u8 = 0x01;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use ssh_key::{EcdsaCurve, PrivateKey};

    use super::*;

    fn signed(algorithm: Algorithm, namespace: &str, hash: HashAlg, text: &str) -> (PrivateKey, String) {
        let key = PrivateKey::random(&mut StdRng::seed_from_u64(3), algorithm).unwrap();
        let signature = key.sign(namespace, hash, text.as_bytes()).unwrap();
        (key, signature.to_pem(ssh_key::LineEnding::LF).unwrap())
    }

    #[test]
    fn what_ssh_keygen_writes_is_read_in_every_form_and_kept_as_it_was() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }] {
            for hash in [HashAlg::Sha256, HashAlg::Sha512] {
                let (key, pem) = signed(algorithm.clone(), NAMESPACE, hash, "the text\n");
                let signature = Signature::parse(&pem).unwrap();
                assert_eq!(signature.key(), key.public_key().fingerprint(HashAlg::Sha256).to_string());
                assert_eq!(signature.armored(), pem);
                for other in [signature.word(), STANDARD.encode(&pem), pem.replace('\n', "\r\n")] {
                    assert_eq!(Signature::parse(&other), Ok(signature.clone()), "{other}");
                }
                assert_eq!(signature.verify("the text\n"), Ok(()));
                for other in ["the text", "the text\n\n", ""] {
                    assert_eq!(signature.verify(other).map_err(|no| no.code), Err("wrong-signature"), "{other:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_made_for_something_else_is_refused() {
        let (_, file) = signed(Algorithm::Ed25519, "file", HashAlg::Sha512, "x");
        let said = Signature::parse(&file).unwrap_err().to_string();
        assert!(said.contains("\"file\" is not a signature: sign with `ssh-keygen -Y sign -n jit-bastion-approval`"), "{said}");
        let (_, pem) = signed(Algorithm::Ed25519, NAMESPACE, HashAlg::Sha512, "x");
        let blob = STANDARD.decode(Signature::parse(&pem).unwrap().word()).unwrap();
        for n in 0..blob.len() {
            assert!(Signature::parse(&STANDARD.encode(&blob[..n])).is_err(), "cut at {n}");
        }
        let longer = [&blob[..], b"x"].concat();
        assert!(Signature::parse(&STANDARD.encode(longer)).is_err());
        assert!(Signature::parse(&"A".repeat(LONGEST + 1)).is_err());
        assert!(Signature::parse("").is_err());
    }

    #[test]
    fn a_changed_bit_is_no_signature() {
        let (_, pem) = signed(Algorithm::Ed25519, NAMESPACE, HashAlg::Sha512, "x");
        let blob = STANDARD.decode(Signature::parse(&pem).unwrap().word()).unwrap();
        for n in 0..blob.len() {
            let mut changed = blob.clone();
            changed[n] ^= 1;
            let verified = Signature::parse(&STANDARD.encode(&changed)).is_ok_and(|signature| signature.verify("x").is_ok());
            assert!(!verified, "byte {n}");
        }
    }

    #[test]
    fn a_security_key_that_nobody_touched_proves_nobody() {
        // Signed in software as a token would: its key, application, flags and counter.
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
        use ssh_key::encoding::Encode;
        use ssh_key::public::{Ed25519PublicKey, KeyData, SkEd25519};
        let token = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = Ed25519PublicKey(token.public_key().as_ref().try_into().unwrap());
        let data = KeyData::SkEd25519(SkEd25519::new(public, "ssh:"));
        for (flags, counts) in [(1_u8, true), (5, true), (0, false), (4, false)] {
            let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, b"x").unwrap();
            let mut inner = Sha256::digest("ssh:").to_vec();
            inner.push(flags);
            inner.extend(7_u32.to_be_bytes());
            inner.extend(Sha256::digest(message));
            let mut touched = token.sign(&inner).as_ref().to_vec();
            touched.push(flags);
            touched.extend(7_u32.to_be_bytes());
            let made = ssh_key::Signature::new(Algorithm::SkEd25519, touched).unwrap();
            let sig = SshSig::new(data.clone(), NAMESPACE, HashAlg::Sha512, made).unwrap();
            let mut blob = Vec::new();
            sig.encode(&mut blob).unwrap();
            let signature = Signature::parse(&STANDARD.encode(blob)).unwrap();
            assert_eq!(signature.verify("x").is_ok(), counts, "{flags}");
            assert!(signature.verify("y").is_err());
        }
    }
}
