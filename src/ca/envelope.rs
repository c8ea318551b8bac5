//! The envelope that keys lie in at rest: argon2id makes a key of the passphrase, AES-256-GCM seals with it. JSON, versioned, with its
//! parameters written down; whoever opens it caps them, because the file may come from anybody.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::secret::Passphrase;

/// What the file says it is.
const FORMAT: &str = "jit-bastion sealed keys";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// The longest envelope that is read, in bytes.
const LONGEST: usize = 64 * 1024;
const SALT: usize = 16;

/// How dear it is to try a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// What is written: 64 MiB, 3 passes, 1 lane.
    pub const WRITTEN: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// The most that is read: a forged file must not eat the machine.
    pub const MOST: Self = Self { memory_kib: 256 * 1024, passes: 10, lanes: 4 };
    /// The least that is read: nobody writes less, so less is a mistake or a trick.
    pub const LEAST: Self = Self { memory_kib: 8 * 1024, passes: 1, lanes: 1 };

    fn allowed(self) -> bool {
        (Self::LEAST.memory_kib..=Self::MOST.memory_kib).contains(&self.memory_kib)
            && (Self::LEAST.passes..=Self::MOST.passes).contains(&self.passes)
            && (Self::LEAST.lanes..=Self::MOST.lanes).contains(&self.lanes)
    }
}

/// An envelope that cannot be made or opened.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// Not an envelope, or damaged so that it cannot be read.
    #[error("this is not a file of sealed keys: {0}\nhint: restore it from a backup")]
    Form(String),
    /// Written by another version.
    #[error(
        "the keys are sealed in version {0} of the envelope, and this program reads version {VERSION}\nhint: use the version of jit-bastion that wrote it"
    )]
    Version(u32),
    /// Parameters that nobody writes.
    #[error("the envelope asks for {} KiB, {} passes and {} lanes, which is outside what is allowed\nhint: restore it from a backup", .0.memory_kib, .0.passes, .0.lanes)]
    Cost(Cost),
    /// The wrong passphrase, or a changed file: the two cannot be told apart.
    #[error(
        "the keys do not open: the passphrase is wrong, or the file was changed\nhint: check [keys] in the config, then restore the file from a backup"
    )]
    Closed,
    /// The libraries failed, most likely for want of memory.
    #[error("the keys cannot be sealed or opened: {0}")]
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Envelope {
    format: String,
    version: u32,
    kdf: String,
    cost: Cost,
    salt: String,
    cipher: String,
    nonce: String,
    sealed: String,
}

/// Only what is needed to tell a newer version from a broken file.
#[derive(Deserialize)]
struct Kind {
    format: String,
    version: u32,
}

/// Seals `secret` under `passphrase`. Takes as long as `cost` says (a third of a second and 64 MiB): not on a thread that others wait for.
pub fn seal<R: CryptoRng + ?Sized>(secret: &[u8], passphrase: &Passphrase, cost: Cost, rng: &mut R) -> Result<String, EnvelopeError> {
    if !cost.allowed() {
        return Err(EnvelopeError::Cost(cost));
    }
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut nonce);
    let mut envelope = Envelope {
        format: FORMAT.into(),
        version: VERSION,
        kdf: "argon2id".into(),
        cost,
        salt: BASE64.encode(salt),
        cipher: "aes-256-gcm".into(),
        nonce: BASE64.encode(nonce),
        sealed: String::new(),
    };
    let key = derive(passphrase, &salt, cost)?;
    // Room for the tag at once: a vector that grows leaves copies behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
    buffer.extend_from_slice(secret);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(envelope.bound()), &mut *buffer)
        .map_err(|_| EnvelopeError::Failed("AES-256-GCM refused".into()))?;
    envelope.sealed = BASE64.encode(&*buffer);
    let text = serde_json::to_string_pretty(&envelope).map_err(|e| EnvelopeError::Failed(e.to_string()))?;
    Ok(text + "\n")
}

/// Opens what [`seal`] made. As slow as sealing.
pub fn open(text: &str, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let envelope = Envelope::read(text)?;
    let salt = envelope.decode::<SALT>(&envelope.salt)?;
    let nonce = envelope.decode::<NONCE_LEN>(&envelope.nonce)?;
    let mut buffer = Zeroizing::new(BASE64.decode(&envelope.sealed).map_err(|e| EnvelopeError::Form(e.to_string()))?);
    let key = derive(passphrase, &salt, envelope.cost)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = key.open_in_place(nonce, Aad::from(envelope.bound()), &mut buffer).map_err(|_| EnvelopeError::Closed)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Reads and judges an envelope without opening it: form, version, parameters.
pub fn check(text: &str) -> Result<(), EnvelopeError> {
    let envelope = Envelope::read(text)?;
    envelope.decode::<SALT>(&envelope.salt)?;
    envelope.decode::<NONCE_LEN>(&envelope.nonce)?;
    Ok(())
}

impl Envelope {
    fn read(text: &str) -> Result<Self, EnvelopeError> {
        let form = |e: serde_json::Error| EnvelopeError::Form(e.to_string());
        if text.len() > LONGEST {
            return Err(EnvelopeError::Form(format!("it is longer than {LONGEST} bytes")));
        }
        let kind: Kind = serde_json::from_str(text).map_err(form)?;
        if kind.format != FORMAT {
            return Err(EnvelopeError::Form("it says that it is something else".into()));
        }
        if kind.version != VERSION {
            return Err(EnvelopeError::Version(kind.version));
        }
        let envelope: Self = serde_json::from_str(text).map_err(form)?;
        if envelope.kdf != "argon2id" || envelope.cipher != "aes-256-gcm" {
            return Err(EnvelopeError::Form("it names another method than argon2id and aes-256-gcm".into()));
        }
        if envelope.cost.allowed() { Ok(envelope) } else { Err(EnvelopeError::Cost(envelope.cost)) }
    }

    /// Everything but the sealed bytes, bound to them.
    fn bound(&self) -> Vec<u8> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let head = [&self.format, &self.kdf, &self.salt, &self.cipher, &self.nonce].map(|s| s.as_str()).join("\n");
        format!("{head}\n{}\n{memory_kib}\n{passes}\n{lanes}\n", self.version).into_bytes()
    }

    fn decode<const N: usize>(&self, text: &str) -> Result<[u8; N], EnvelopeError> {
        let bytes = BASE64.decode(text).map_err(|e| EnvelopeError::Form(e.to_string()))?;
        bytes.try_into().map_err(|_| EnvelopeError::Form(format!("a salt or nonce has not {N} bytes")))
    }
}

fn derive(passphrase: &Passphrase, salt: &[u8; SALT], cost: Cost) -> Result<LessSafeKey, EnvelopeError> {
    let failed = |e: argon2::Error| EnvelopeError::Failed(e.to_string());
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(passphrase.bytes(), salt, &mut *key).map_err(failed)?;
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| EnvelopeError::Failed("AES-256-GCM refused the key".into()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).ok().unwrap()
    }

    fn sealed(cost: Cost) -> String {
        seal(b"the secret", &passphrase("correct horse battery"), cost, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    fn opened(text: &str) -> Result<Vec<u8>, EnvelopeError> {
        open(text, &passphrase("correct horse battery")).map(|secret| secret.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_passphrase_only() {
        let text = sealed(Cost::WRITTEN);
        assert!(text.contains("\"memory-kib\": 65536"), "{text}");
        assert_eq!(opened(&text).unwrap(), b"the secret");
        assert!(matches!(open(&text, &passphrase("correct horse batterz")), Err(EnvelopeError::Closed)));
        assert!(!text.contains("the secret"));
    }

    #[test]
    fn a_changed_envelope_does_not_open() {
        let text = sealed(Cost::LEAST);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (member, put) in [
            ("/salt", BASE64.encode([9; 16]).into()),
            ("/nonce", BASE64.encode([9; 12]).into()),
            ("/cost/passes", 2.into()),
            ("/cost/lanes", 2.into()),
            ("/sealed", BASE64.encode([9; 26]).into()),
            ("/sealed", "".into()),
        ] {
            let mut changed = value.clone();
            *changed.pointer_mut(member).unwrap() = put;
            assert!(matches!(opened(&changed.to_string()), Err(EnvelopeError::Closed)), "{member}");
        }
    }

    #[test]
    fn parameters_have_a_cap() {
        let value: serde_json::Value = serde_json::from_str(&sealed(Cost::LEAST)).unwrap();
        for (member, n) in [
            ("memory-kib", u32::MAX),
            ("memory-kib", 262_145),
            ("memory-kib", 8),
            ("passes", 11),
            ("passes", 0),
            ("lanes", 5),
            ("lanes", 0),
        ] {
            let mut changed = value.clone();
            changed["cost"][member] = n.into();
            assert!(matches!(opened(&changed.to_string()), Err(EnvelopeError::Cost(_))), "{member} {n}");
        }
        let wrong = Cost { memory_kib: 1, ..Cost::WRITTEN };
        assert!(seal(b"", &passphrase("correct horse battery"), wrong, &mut StdRng::seed_from_u64(1)).is_err());
    }

    #[test]
    fn other_files_are_told_apart() {
        let text = sealed(Cost::LEAST);
        assert!(check(&text).is_ok());
        assert!(matches!(check(&text.replace("\"version\": 1", "\"version\": 2")), Err(EnvelopeError::Version(2))));
        for (from, to) in [("argon2id", "scrypt"), ("aes-256-gcm", "none"), ("sealed keys", "something"), ("\"kdf\"", "\"x\"")] {
            assert!(matches!(check(&text.replace(from, to)), Err(EnvelopeError::Form(_))), "{from}");
        }
        for other in ["", "{}", "[]", "null", "key = 1", &"[".repeat(10_000), &" ".repeat(LONGEST + 1)] {
            assert!(matches!(check(other), Err(EnvelopeError::Form(_))));
        }
    }

    proptest! {
        #[test]
        fn anything_is_judged_without_a_panic(text in ".{0,300}") {
            let _ = check(&text);
        }

        #[test]
        fn any_cut_is_refused(at in any::<prop::sample::Index>()) {
            static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| sealed(Cost::LEAST));
            let text = TEXT.trim_end();
            prop_assert!(check(&text[..at.index(text.len())]).is_err());
        }
    }
}
