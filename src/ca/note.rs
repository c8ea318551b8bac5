//! The checkpoint key: Ed25519 over bytes that are composed elsewhere. It signs the log's heads and the manifests of recordings.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// C2SP signed-note's byte for Ed25519.
const ED25519_KIND: u8 = 1;
/// Before a manifest's digest: what is signed for a manifest can never be read as a checkpoint, whose second line is a number.
const MANIFEST: &str = "jit-bastion manifest v1";

/// A key or a name that cannot sign.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum NoteKeyError {
    /// The name would break a note's line.
    #[error("a log's name has 1 to 255 characters, none of them a space or +")]
    Name,
    /// The library refuses the key.
    #[error("the checkpoint key cannot be used")]
    Key,
}

/// Signs as one log: its name, which is the node's, and the installation's checkpoint key.
pub struct NoteSigner {
    name: String,
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl NoteSigner {
    /// From the key's seed. The name has no spaces and no `+`.
    pub(super) fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteKeyError> {
        if name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(NoteKeyError::Name);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteKeyError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteKeyError::Key)?;
        Ok(Self { name: name.to_owned(), pair, public })
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half, 32 bytes.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// The public half as C2SP's verifier key, `NAME+HASH+BASE64`: what an auditor keeps.
    pub fn verifier(&self) -> String {
        let mut key = vec![ED25519_KIND];
        key.extend_from_slice(&self.public);
        let hash = Sha256::new().chain_update(&self.name).chain_update(b"\n").chain_update(&key).finalize();
        let id: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{}+{id}+{}", self.name, BASE64.encode(key))
    }

    /// Ed25519 (RFC 8032) over `bytes`. For notes, whose form keeps kinds apart; a manifest has [`sign_manifest`](Self::sign_manifest).
    pub fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], NoteKeyError> {
        self.pair.sign(bytes).as_ref().try_into().map_err(|_| NoteKeyError::Key)
    }

    /// The signature of a manifest, in base64: over `jit-bastion manifest v1`, a newline, its SHA-256 in hexadecimal and a newline.
    pub fn sign_manifest(&self, manifest: &[u8]) -> Result<String, NoteKeyError> {
        self.sign(&manifest_text(manifest)).map(|signature| BASE64.encode(signature))
    }
}

/// Whether `signature` is what [`NoteSigner::sign_manifest`] gave for `manifest`, by the key whose public half is `public`.
pub fn verify_manifest(public: &[u8; 32], manifest: &[u8], signature: &str) -> bool {
    let signature = BASE64.decode(signature.trim());
    let key = UnparsedPublicKey::new(&ED25519, public);
    signature.is_ok_and(|signature| key.verify(&manifest_text(manifest), &signature).is_ok())
}

fn manifest_text(manifest: &[u8]) -> Vec<u8> {
    let hex: String = Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{MANIFEST}\n{hex}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_key_is_c2sps() {
        let signer = NoteSigner::new("bastion-1", &[1; 32]).unwrap();
        // That the log reads it is tested there (audit::checkpoint): this room knows nothing of the log.
        let verifier = signer.verifier();
        let parts: Vec<_> = verifier.splitn(3, '+').collect();
        assert_eq!(parts[0], "bastion-1");
        assert_eq!(parts[1].len(), 8);
        assert_eq!(BASE64.decode(parts[2]).unwrap()[1..], signer.public_key()[..]);
        for bad in ["", "a b", "a+b", "a\n"] {
            assert_eq!(NoteSigner::new(bad, &[1; 32]).err(), Some(NoteKeyError::Name), "{bad:?}");
        }
    }

    #[test]
    fn manifests_are_signed_apart_from_notes() {
        let signer = NoteSigner::new("bastion-1", &[1; 32]).unwrap();
        let signature = signer.sign_manifest(b"{}").unwrap();
        assert!(verify_manifest(signer.public_key(), b"{}", &signature));
        assert!(!verify_manifest(signer.public_key(), b"{ }", &signature));
        assert!(!verify_manifest(&[0; 32], b"{}", &signature));
        assert!(!verify_manifest(signer.public_key(), b"{}", "no base64!"));
        let raw = BASE64.encode(signer.sign(b"{}").unwrap());
        assert!(!verify_manifest(signer.public_key(), b"{}", &raw));
    }
}
