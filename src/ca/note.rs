//! The checkpoint key: Ed25519 over bytes that are composed elsewhere. It signs the log's heads and the manifests of recordings.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// C2SP signed-note's byte for Ed25519.
const ED25519_KIND: u8 = 1;

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

    /// Ed25519 (RFC 8032) over `bytes`. What they are a signature *of* must show in them: a checkpoint's second line is a number, a
    /// manifest's begins with a brace, so neither can be read as the other. Sign nothing here that could be read as one of the two.
    pub fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], NoteKeyError> {
        self.pair.sign(bytes).as_ref().try_into().map_err(|_| NoteKeyError::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

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
    fn signatures_verify_with_the_public_half() {
        let signer = NoteSigner::new("bastion-1", &[1; 32]).unwrap();
        let signature = signer.sign(b"bytes").unwrap();
        let public = UnparsedPublicKey::new(&ED25519, signer.public_key());
        assert!(public.verify(b"bytes", &signature).is_ok());
        assert!(public.verify(b"bytez", &signature).is_err());
    }
}
