//! How keys are replaced: a role of the ring has one key that signs, perhaps the next one, which others learn to trust before it signs,
//! and those that are trusted still although they sign no more.
//!
//! Others must know a key before it signs: hosts the session CA, clients the host CA and the host keys. There the next key waits until it is
//! activated. Where only the bastion itself trusts (the access CA) or the log hands itself over (the checkpoint key), it signs at once.

use std::fmt;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, PublicKey};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::keyring::{Keyring, KeyringError, Seeds, ed25519};
use super::note::NoteSigner;
use crate::access::time::Timestamp;

/// What a key of the ring is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Hosts trust it: signs a certificate for each session.
    Session,
    /// Clients trust it: signs the bastion's own host certificates.
    Host,
    /// Only the bastion trusts it: signs access certificates.
    Access,
    /// Shown on the outer hop.
    HostKeyOuter,
    /// Shown on the inner hop.
    HostKeyInner,
    /// Signs the log's heads and the manifests of recordings.
    Checkpoint,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Session, Self::Host, Self::Access, Self::HostKeyOuter, Self::HostKeyInner, Self::Checkpoint];

    /// The word in commands and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Host => "host",
            Self::Access => "access",
            Self::HostKeyOuter => "host-key-outer",
            Self::HostKeyInner => "host-key-inner",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// Must others learn the next key before it signs?
    pub const fn waits(self) -> bool {
        !matches!(self, Self::Access | Self::Checkpoint)
    }

    /// Does the key before still mean something when it signs no more? A host key that is not shown does not.
    const fn lingers(self) -> bool {
        !matches!(self, Self::HostKeyOuter | Self::HostKeyInner)
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStage {
    /// It signs.
    Active,
    /// It will sign; others learn it now.
    Next,
    /// It signs no more and is trusted until its date.
    Retiring,
    /// It is trusted for what it signed before, and for nothing new: a checkpoint key after its date.
    Past,
}

impl KeyStage {
    /// The word in answers and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retiring => "retiring",
            Self::Past => "past",
        }
    }
}

/// One key of the ring, its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// What for.
    pub role: KeyRole,
    /// Where it stands.
    pub stage: KeyStage,
    /// The public half.
    pub public: PublicKey,
    /// Since when it stands there; unknown for the keys that `init` made.
    pub since: Option<Timestamp>,
    /// Until when it is trusted: of a retiring key; of a next one, when the one before it will be gone.
    pub until: Option<Timestamp>,
}

/// What a turn did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned {
    /// Which role.
    pub role: KeyRole,
    /// Where the new key stands now: next or active.
    pub stage: KeyStage,
    /// The new key.
    pub public: PublicKey,
    /// The key that signed before, or still signs while the new one waits.
    pub before: PublicKey,
    /// Until when that one is trusted; none: from now on it is not.
    pub until: Option<Timestamp>,
}

/// A turn that cannot be made.
#[derive(Debug, Error)]
pub enum TurnError {
    /// One waits already.
    #[error(
        "the next {0} key is there already and waits\nhint: `jit-bastion ca activate {0}` when others trust it; `ca rotate {0} --emergency` drops both"
    )]
    Waits(KeyRole),
    /// None waits.
    #[error("there is no next {0} key\nhint: `jit-bastion ca rotate {0}` makes one")]
    None(KeyRole),
    /// The overlap is over before it begins.
    #[error("the overlap would end at {0}, which is over\nhint: --overlap 30d, or --until with a time to come")]
    Over(Timestamp),
    /// The ring.
    #[error(transparent)]
    Ring(#[from] KeyringError),
}

/// A key that is not the active one of its role.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Other {
    #[zeroize(skip)]
    role: KeyRole,
    #[zeroize(skip)]
    stage: KeyStage,
    #[zeroize(skip)]
    public: [u8; 32],
    /// Gone as soon as it is needed no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<[u8; 32]>,
    #[zeroize(skip)]
    since_us: i64,
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_us: Option<i64>,
}

impl Other {
    fn until(&self) -> Option<Timestamp> {
        self.until_us.map(Timestamp::from_micros)
    }

    /// What it is at `now`; none if it is gone.
    fn stage(&self, now: Timestamp) -> Option<KeyStage> {
        match self.stage {
            KeyStage::Retiring if self.until().is_none_or(|until| now >= until) => {
                (self.role == KeyRole::Checkpoint).then_some(KeyStage::Past)
            }
            stage => Some(stage),
        }
    }
}

impl Keyring {
    /// Every key at `now`, by role; in a role first the one that signs, then the next, then the older ones.
    pub fn keys(&self, now: Timestamp) -> Vec<KeyState> {
        let mut states = Vec::new();
        for role in KeyRole::ALL {
            let since = self.seeds.since.get(&role).copied().map(Timestamp::from_micros);
            states.push(KeyState { role, stage: KeyStage::Active, public: self.active(role), since, until: None });
            let mut others: Vec<KeyState> = self
                .seeds
                .others
                .iter()
                .filter(|other| other.role == role)
                .filter_map(|other| {
                    let (stage, since) = (other.stage(now)?, Some(Timestamp::from_micros(other.since_us)));
                    Some(KeyState { role, stage, public: public(other.public), since, until: other.until() })
                })
                .collect();
            others.sort_by_key(|state| (state.stage, std::cmp::Reverse(state.since)));
            states.extend(others);
        }
        states
    }

    /// The keys of a role that others are to trust at `now`, the one that signs first.
    pub fn trusted(&self, role: KeyRole, now: Timestamp) -> Vec<PublicKey> {
        self.keys(now).into_iter().filter(|state| state.role == role && state.stage != KeyStage::Past).map(|state| state.public).collect()
    }

    /// The keys that ever signed this log's heads, the oldest first, as 32 bytes each; the last one signs now.
    pub fn checkpoint_keys(&self) -> Vec<[u8; 32]> {
        let mut keys: Vec<&Other> = self.seeds.others.iter().filter(|other| other.role == KeyRole::Checkpoint).collect();
        keys.sort_by_key(|other| other.since_us);
        let mut keys: Vec<[u8; 32]> = keys.into_iter().map(|other| other.public).collect();
        keys.extend(bytes(&self.active(KeyRole::Checkpoint)));
        keys
    }

    /// Sign as the log `name` with checkpoint keys that were replaced by plan and may still hand over to the one of now, the newest first.
    pub fn note_signers_before(&self, name: &str, now: Timestamp) -> Vec<NoteSigner> {
        let retiring = |other: &&Other| other.role == KeyRole::Checkpoint && other.stage(now) == Some(KeyStage::Retiring);
        let mut retiring: Vec<&Other> = self.seeds.others.iter().filter(retiring).collect();
        retiring.sort_by_key(|other| std::cmp::Reverse(other.since_us));
        retiring.into_iter().filter_map(|other| NoteSigner::new(name, other.seed.as_ref()?).ok()).collect()
    }

    /// The next key of `role`, drawn now; the one before stays trusted until `until`. Where nobody else must learn it first it signs at once.
    pub fn rotated<R: CryptoRng + ?Sized>(
        &self,
        role: KeyRole,
        now: Timestamp,
        until: Timestamp,
        rng: &mut R,
    ) -> Result<(Self, Turned), TurnError> {
        if self.next(role).is_some() {
            return Err(TurnError::Waits(role));
        }
        if until <= now {
            return Err(TurnError::Over(until));
        }
        let seed = draw(rng);
        let mut seeds = self.pruned(now);
        let (before, fresh) = (self.active(role), public_of(&seed)?);
        let stage = if role.waits() { KeyStage::Next } else { KeyStage::Active };
        if role.waits() {
            let (public, seed) = (bytes(&fresh).unwrap_or_default(), Some(seed));
            let next = Other { role, stage, public, seed, since_us: now.micros(), until_us: Some(until.micros()) };
            seeds.others.push(next);
        } else {
            replace(&mut seeds, role, seed, now, Some(until));
        }
        Ok((Self::from_seeds(seeds)?, Turned { role, stage, public: fresh, before, until: Some(until) }))
    }

    /// The next key of `role` signs from now on; the one before stays trusted until `until`, or as it was said when the next was made.
    pub fn activated(&self, role: KeyRole, now: Timestamp, until: Option<Timestamp>) -> Result<(Self, Turned), TurnError> {
        let next = self.next(role).ok_or(TurnError::None(role))?;
        let (Some(seed), said) = (next.seed, next.until()) else { return Err(TurnError::None(role)) };
        if let Some(over) = until.filter(|until| *until <= now) {
            return Err(TurnError::Over(over));
        }
        // A date that passed while the next key waited: then nobody needs the one before any more.
        let until = until.or(said).filter(|until| *until > now);
        let mut seeds = self.pruned(now);
        seeds.others.retain(|other| !(other.role == role && other.stage == KeyStage::Next));
        let (before, fresh) = (self.active(role), public_of(&seed)?);
        replace(&mut seeds, role, seed, now, until);
        let until = until.filter(|_| role.lingers());
        Ok((Self::from_seeds(seeds)?, Turned { role, stage: KeyStage::Active, public: fresh, before, until }))
    }

    /// The key of `role` was stolen: a fresh one signs at once, and every other of the role is trusted no more. One that waited is
    /// dropped too: it lay where the stolen one lay.
    pub fn replaced<R: CryptoRng + ?Sized>(&self, role: KeyRole, now: Timestamp, rng: &mut R) -> Result<(Self, Turned), TurnError> {
        let seed = draw(rng);
        let mut seeds = self.pruned(now);
        // What a checkpoint key signed before stays to be read.
        seeds.others.retain(|other| other.role != role || (role == KeyRole::Checkpoint && other.stage == KeyStage::Retiring));
        for other in seeds.others.iter_mut().filter(|other| other.role == role) {
            other.seed.zeroize();
            other.until_us = Some(now.micros());
        }
        let (before, fresh) = (self.active(role), public_of(&seed)?);
        replace(&mut seeds, role, seed, now, None);
        Ok((Self::from_seeds(seeds)?, Turned { role, stage: KeyStage::Active, public: fresh, before, until: None }))
    }

    /// The public half of the key that signs.
    pub fn active(&self, role: KeyRole) -> PublicKey {
        match role {
            KeyRole::Session => self.sessions.public_key().clone(),
            KeyRole::Host => self.hosts.public_key().clone(),
            KeyRole::Access => self.access.public_key().clone(),
            KeyRole::HostKeyOuter => self.outer_host_key.public_key().clone(),
            KeyRole::HostKeyInner => self.inner_host_key.public_key().clone(),
            KeyRole::Checkpoint => self.checkpoint.clone(),
        }
    }

    fn next(&self, role: KeyRole) -> Option<&Other> {
        self.seeds.others.iter().find(|other| other.role == role && other.stage == KeyStage::Next)
    }

    /// The seeds without what is gone at `now`; of a checkpoint key that is past, the public half stays.
    fn pruned(&self, now: Timestamp) -> Seeds {
        let mut seeds = self.seeds.clone();
        seeds.others.retain(|other| other.stage(now).is_some());
        for past in seeds.others.iter_mut().filter(|other| other.stage(now) == Some(KeyStage::Past)) {
            past.seed.zeroize();
        }
        seeds
    }
}

/// Puts `seed` in the place of the role's key; the one before is kept, its public half, as long as it means something.
fn replace(seeds: &mut Seeds, role: KeyRole, seed: [u8; 32], now: Timestamp, until: Option<Timestamp>) {
    let place = seeds.place(role);
    let mut old = std::mem::replace(place, seed);
    seeds.since.insert(role, now.micros());
    let keeps = role == KeyRole::Checkpoint || (role.lingers() && until.is_some());
    if let Some(public) = public_of(&old).ok().as_ref().and_then(bytes).filter(|_| keeps) {
        // A node that stood still while the key was replaced must be able to hand its log over with the old one.
        let seed = (role == KeyRole::Checkpoint && until.is_some()).then_some(old);
        let until_us = Some(until.unwrap_or(now).micros());
        seeds.others.push(Other { role, stage: KeyStage::Retiring, public, seed, since_us: now.micros(), until_us });
    }
    old.zeroize();
}

fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

fn public_of(seed: &[u8; 32]) -> Result<PublicKey, KeyringError> {
    let mut key = ed25519(seed, "")?.public_key().clone();
    key.set_comment("");
    Ok(key)
}

fn public(bytes: [u8; 32]) -> PublicKey {
    KeyData::Ed25519(Ed25519PublicKey(bytes)).into()
}

fn bytes(key: &PublicKey) -> Option<[u8; 32]> {
    key.key_data().ed25519().map(|key| key.0)
}

/// `SHA256:..`, as OpenSSH prints it.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::time::Span;
    use crate::ca::envelope::Cost;
    use crate::ca::secret::Passphrase;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);

    fn later(days: u64) -> Timestamp {
        NOW.plus(Span::seconds(days * 86_400))
    }

    fn ring() -> (Keyring, StdRng) {
        let mut rng = StdRng::seed_from_u64(4);
        (Keyring::generate(&mut rng).unwrap(), rng)
    }

    fn stages(ring: &Keyring, role: KeyRole, now: Timestamp) -> Vec<KeyStage> {
        ring.keys(now).into_iter().filter(|key| key.role == role).map(|key| key.stage).collect()
    }

    fn resealed(ring: &Keyring) -> Keyring {
        let passphrase = Passphrase::new(b"correct horse battery".to_vec().into()).ok().unwrap();
        let mut rng = StdRng::seed_from_u64(5);
        Keyring::open(&ring.seal_at(&passphrase, Cost::LEAST, &mut rng).unwrap(), &passphrase).unwrap()
    }

    #[test]
    fn what_others_trust_waits_until_they_do() {
        use KeyStage::{Active, Next, Retiring};
        for role in [KeyRole::Session, KeyRole::Host] {
            let (ring, mut rng) = ring();
            let old = ring.active(role);
            let (waits, turned) = ring.rotated(role, NOW, later(30), &mut rng).unwrap();
            assert_eq!((turned.stage, &turned.before, turned.until), (Next, &old, Some(later(30))));
            assert_eq!(waits.active(role), old, "{role}: the old one still signs");
            assert_eq!(waits.trusted(role, NOW).len(), 2);
            assert!(matches!(waits.rotated(role, NOW, later(30), &mut rng), Err(TurnError::Waits(_))));
            let (signs, turned) = resealed(&waits).activated(role, later(2), None).unwrap();
            assert_eq!((turned.stage, turned.until), (Active, Some(later(30))));
            assert_ne!(signs.active(role), old);
            assert_eq!(stages(&signs, role, later(3)), [Active, Retiring]);
            let signs = resealed(&signs);
            let trusted = signs.trusted(role, later(29));
            assert!(trusted.len() == 2 && fingerprint(&trusted[1]) == fingerprint(&old));
            assert_eq!(signs.trusted(role, later(30)).len(), 1, "at its date it is gone");
            assert!(matches!(signs.activated(role, later(2), None), Err(TurnError::None(_))));
            for other in KeyRole::ALL.into_iter().filter(|other| *other != role) {
                assert_eq!(signs.active(other), ring.active(other), "{other} stays");
            }
        }
    }

    #[test]
    fn a_host_key_is_shown_or_not() {
        for role in [KeyRole::HostKeyOuter, KeyRole::HostKeyInner] {
            let (ring, mut rng) = ring();
            let (waits, _) = ring.rotated(role, NOW, later(30), &mut rng).unwrap();
            assert_eq!(stages(&waits, role, NOW), [KeyStage::Active, KeyStage::Next]);
            let (signs, turned) = waits.activated(role, later(1), None).unwrap();
            assert_eq!((stages(&signs, role, later(1)), turned.until), (vec![KeyStage::Active], None));
        }
    }

    #[test]
    fn the_access_ca_signs_at_once_and_the_old_one_counts_until_its_date() {
        let (ring, mut rng) = ring();
        let old = ring.active(KeyRole::Access);
        let (after, turned) = ring.rotated(KeyRole::Access, NOW, later(1), &mut rng).unwrap();
        assert_eq!(turned.stage, KeyStage::Active);
        assert_eq!(after.trusted(KeyRole::Access, NOW).len(), 2);
        assert!(after.trusted(KeyRole::Access, NOW).iter().any(|key| fingerprint(key) == fingerprint(&old)));
        assert_eq!(after.trusted(KeyRole::Access, later(1)).len(), 1);
        assert!(matches!(ring.rotated(KeyRole::Access, NOW, NOW, &mut rng), Err(TurnError::Over(_))));
    }

    #[test]
    fn checkpoint_keys_are_never_forgotten_and_their_secrets_are() {
        let (ring, mut rng) = ring();
        let (first, _) = ring.rotated(KeyRole::Checkpoint, NOW, later(1), &mut rng).unwrap();
        assert_eq!(first.note_signers_before("n", NOW).len(), 1);
        assert!(first.note_signers_before("n", later(1)).is_empty(), "after its date it hands nothing over");
        let (second, _) = resealed(&first).rotated(KeyRole::Checkpoint, later(2), later(3), &mut rng).unwrap();
        let (third, _) = resealed(&second).replaced(KeyRole::Checkpoint, later(4), &mut rng).unwrap();
        let all = third.checkpoint_keys();
        assert_eq!(all.len(), 4);
        let signs = |ring: &Keyring| *ring.note_signer("n").unwrap().public_key();
        assert_eq!(all, [signs(&ring), signs(&first), signs(&second), signs(&third)]);
        assert!(third.seeds.others.iter().all(|other| other.seed.is_none()), "after an emergency nothing old can sign");
    }

    #[test]
    fn a_stolen_key_is_trusted_no_more_nor_is_the_one_that_waited() {
        for role in KeyRole::ALL {
            let (ring, mut rng) = ring();
            let (waits, _) = ring.rotated(role, NOW, later(30), &mut rng).unwrap();
            let (after, turned) = waits.replaced(role, later(1), &mut rng).unwrap();
            let trusted = after.trusted(role, later(1));
            assert_eq!(trusted.iter().map(fingerprint).collect::<Vec<_>>(), [fingerprint(&turned.public)], "{role}");
            assert!(!waits.trusted(role, NOW).iter().any(|key| fingerprint(key) == fingerprint(&turned.public)));
            assert_eq!(turned.until, None);
        }
    }
}
