//! All keys of an installation, and their one form at rest.

use std::collections::BTreeMap;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{PrivateKey, PublicKey};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::access::AccessAuthority;
use super::authority::{HostAuthority, SessionAuthority};
use super::envelope::{self, Cost, EnvelopeError};
use super::note::{NoteKeyError, NoteSigner};
use super::secret::Passphrase;
use super::turning::{KeyRole, Other};

/// The largest opened keyring in bytes; the real one has less than 1 KiB, and a little for each key that was replaced.
const ROOM: usize = 32 * 1024;

/// Keys that cannot be made, sealed or opened.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// The envelope around them.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The envelope opened, and something else was in it.
    #[error("what was sealed is not a set of keys\nhint: restore the file from a backup")]
    Content,
    /// A key that the library refuses.
    #[error("a key cannot be used: {0}")]
    Key(#[from] ssh_key::Error),
}

/// Every key that the installation holds. Several nodes share one set.
pub struct Keyring {
    /// Shown on the outer hop.
    pub outer_host_key: PrivateKey,
    /// Shown on the inner hop, in every host's place.
    pub inner_host_key: PrivateKey,
    /// Hosts trust it.
    pub sessions: SessionAuthority,
    /// Clients trust it.
    pub hosts: HostAuthority,
    /// Only the bastion trusts it.
    pub access: AccessAuthority,
    /// The checkpoint key's public half.
    pub(super) checkpoint: PublicKey,
    pub(super) seeds: Seeds,
}

/// What is sealed: 32 random bytes each. The field says what of; a later version may add kinds beside Ed25519 under new names.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Seeds {
    outer_host_key_ed25519: [u8; 32],
    inner_host_key_ed25519: [u8; 32],
    session_ca_ed25519: [u8; 32],
    host_ca_ed25519: [u8; 32],
    access_ca_ed25519: [u8; 32],
    checkpoint_key_ed25519: [u8; 32],
    store_secret: [u8; 32],
    /// Keys that will sign, and keys that did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) others: Vec<Other>,
    /// Since when the keys above sign, where they are not those that `init` made. Microseconds.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) since: BTreeMap<KeyRole, i64>,
}

impl Seeds {
    pub(super) fn place(&mut self, role: KeyRole) -> &mut [u8; 32] {
        match role {
            KeyRole::Session => &mut self.session_ca_ed25519,
            KeyRole::Host => &mut self.host_ca_ed25519,
            KeyRole::Access => &mut self.access_ca_ed25519,
            KeyRole::HostKeyOuter => &mut self.outer_host_key_ed25519,
            KeyRole::HostKeyInner => &mut self.inner_host_key_ed25519,
            KeyRole::Checkpoint => &mut self.checkpoint_key_ed25519,
        }
    }
}

impl Keyring {
    /// Fresh keys.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Result<Self, KeyringError> {
        let mut draw = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        Self::from_seeds(Seeds {
            outer_host_key_ed25519: draw(),
            inner_host_key_ed25519: draw(),
            session_ca_ed25519: draw(),
            host_ca_ed25519: draw(),
            access_ca_ed25519: draw(),
            checkpoint_key_ed25519: draw(),
            store_secret: draw(),
            others: Vec::new(),
            since: BTreeMap::new(),
        })
    }

    /// The text that may lie on a disk. Slow on purpose: not on a thread that others wait for.
    pub fn seal<R: CryptoRng + ?Sized>(&self, passphrase: &Passphrase, rng: &mut R) -> Result<String, KeyringError> {
        self.seal_at(passphrase, Cost::WRITTEN, rng)
    }

    /// Opens what [`seal`](Self::seal) made. Slow on purpose.
    pub fn open(sealed: &str, passphrase: &Passphrase) -> Result<Self, KeyringError> {
        let opened = envelope::open(sealed, passphrase)?;
        Self::from_seeds(serde_json::from_slice(&opened).map_err(|_| KeyringError::Content)?)
    }

    /// Signs notes and manifests as the log `name`, which is the node's name.
    pub fn note_signer(&self, name: &str) -> Result<NoteSigner, NoteKeyError> {
        NoteSigner::new(name, &self.seeds.checkpoint_key_ed25519)
    }

    /// Seals single secrets inside the store (second factors and the like; nothing uses it in this version).
    pub const fn store_secret(&self) -> &[u8; 32] {
        &self.seeds.store_secret
    }

    pub(super) fn seal_at<R: CryptoRng + ?Sized>(&self, passphrase: &Passphrase, cost: Cost, rng: &mut R) -> Result<String, KeyringError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *plain, &self.seeds).map_err(|_| KeyringError::Content)?;
        Ok(envelope::seal(&plain, passphrase, cost, rng)?)
    }

    pub(super) fn from_seeds(seeds: Seeds) -> Result<Self, KeyringError> {
        Ok(Self {
            outer_host_key: ed25519(&seeds.outer_host_key_ed25519, "jit-bastion outer")?,
            inner_host_key: ed25519(&seeds.inner_host_key_ed25519, "jit-bastion inner")?,
            sessions: SessionAuthority::new(ed25519(&seeds.session_ca_ed25519, "jit-bastion session CA")?),
            hosts: HostAuthority::new(ed25519(&seeds.host_ca_ed25519, "jit-bastion host CA")?),
            access: AccessAuthority::new(ed25519(&seeds.access_ca_ed25519, "jit-bastion access CA")?),
            checkpoint: ed25519(&seeds.checkpoint_key_ed25519, "jit-bastion checkpoint key")?.public_key().clone(),
            seeds,
        })
    }
}

pub(super) fn ed25519(seed: &[u8; 32], comment: &str) -> Result<PrivateKey, ssh_key::Error> {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(seed)), comment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).ok().unwrap()
    }

    fn public(keys: &Keyring) -> Vec<String> {
        let ssh = [&keys.outer_host_key, &keys.inner_host_key].map(|key| key.public_key().clone());
        let authorities = [keys.sessions.public_key(), keys.hosts.public_key(), keys.access.public_key()].map(Clone::clone);
        let mut all: Vec<_> = ssh.iter().chain(&authorities).map(|key| key.to_openssh().unwrap()).collect();
        all.push(keys.note_signer("n").unwrap().verifier());
        all
    }

    #[test]
    fn keys_come_back_the_same() {
        let mut rng = StdRng::seed_from_u64(1);
        let keys = Keyring::generate(&mut rng).unwrap();
        let sealed = keys.seal(&passphrase("correct horse battery"), &mut rng).unwrap();
        let again = Keyring::open(&sealed, &passphrase("correct horse battery")).unwrap();
        assert_eq!(public(&again), public(&keys));
        assert_eq!(again.store_secret(), keys.store_secret());
        let distinct: std::collections::BTreeSet<_> = public(&keys).into_iter().collect();
        assert_eq!(distinct.len(), 6);
    }

    #[test]
    fn the_wrong_passphrase_and_other_contents_are_refused() {
        let mut rng = StdRng::seed_from_u64(2);
        let right = passphrase("correct horse battery");
        let sealed = Keyring::generate(&mut rng).unwrap().seal_at(&right, Cost::LEAST, &mut rng).unwrap();
        let wrong = Keyring::open(&sealed, &passphrase("correct horse batterz")).err().unwrap();
        assert!(matches!(wrong, KeyringError::Envelope(EnvelopeError::Closed)));
        for other in [&b""[..], b"{}", b"[1]", b"\xff"] {
            let sealed = envelope::seal(other, &right, Cost::LEAST, &mut rng).unwrap();
            assert!(matches!(Keyring::open(&sealed, &right), Err(KeyringError::Content)));
        }
    }

    #[test]
    fn the_same_keys_seal_differently_each_time() {
        let mut rng = StdRng::seed_from_u64(3);
        let keys = Keyring::generate(&mut rng).unwrap();
        let right = passphrase("correct horse battery");
        assert_ne!(keys.seal_at(&right, Cost::LEAST, &mut rng).unwrap(), keys.seal_at(&right, Cost::LEAST, &mut rng).unwrap());
    }
}
