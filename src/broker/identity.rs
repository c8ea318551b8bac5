//! What the bastion shows of itself: its own key on the outer hop, and on the inner hop one key for every host, each with a certificate
//! of our host authority that is renewed when half of its life is over.

use std::collections::HashMap;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::{Certificate, PrivateKey};

use super::{Broker, Error, Fault};
use crate::access::host::Host;
use crate::access::time::Span;
use crate::ca::certificate::{HostCert, KeyId, Serial, Validity};
use crate::ca::keyring::Keyring;
use crate::ca::turning::KeyRole;

/// A host key with its certificate, if there is one.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The key.
    pub key: PrivateKey,
    /// The certificate over it.
    pub certificate: Option<Certificate>,
}

/// Which lines for known_hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownHosts {
    /// Trust our host authority.
    Authority,
    /// The plain keys, for clients that read no host certificates.
    Plain,
}

/// Certificates in use, by the principals that they carry.
pub(super) type Shown = HashMap<Vec<String>, (Certificate, Validity)>;

impl Broker {
    /// What the outer hop shows.
    pub fn outer_identity(&self) -> Result<Identity, Fault> {
        let ring = self.keys()?;
        let key = ring.outer_host_key.clone();
        let certificate = self.shown(&ring, &key, self.settings.names.clone(), "outer")?;
        Ok(Identity { key, certificate })
    }

    /// What the inner hop shows in the host's place, the best first.
    pub fn inner_identities(&self, host: &Host) -> Result<Vec<Identity>, Fault> {
        let ring = self.keys()?;
        let key = ring.inner_host_key.clone();
        // People may dial the registered address too, and OpenSSH looks for what they typed.
        let mut names: Vec<String> = host.names().map(ToString::to_string).collect();
        names.push(host.address.host.clone());
        let certificate = self.shown(&ring, &key, names, host.name.as_str())?;
        Ok(vec![Identity { key, certificate }])
    }

    /// The public keys, in base64 with a blank between them, that the manifests of sealed recordings are or were signed with.
    pub fn manifest_key(&self) -> Result<String, Fault> {
        let keys: Vec<String> = self.keys()?.checkpoint_keys().iter().map(|key| STANDARD.encode(key)).collect();
        Ok(keys.join(" "))
    }

    /// The lines for known_hosts.
    pub fn known_hosts(&self, form: KnownHosts) -> Result<Vec<String>, Error> {
        let (keys, now) = (self.keys()?, self.now());
        let pattern = &self.settings.known_hosts_pattern;
        let text = |key: &ssh_key::PublicKey| {
            let mut bare = key.clone();
            bare.set_comment("");
            bare.to_openssh().map(|line| line.trim_end().to_owned()).map_err(|e| self.fault(&e))
        };
        // Several while one is replaced: people take the next one before it is shown.
        let lines = |role: KeyRole, before: &str| {
            keys.trusted(role, now).iter().map(|key| Ok(format!("{before} {}", text(key)?))).collect::<Result<Vec<_>, Fault>>()
        };
        Ok(match form {
            KnownHosts::Authority => lines(KeyRole::Host, &format!("@cert-authority {pattern}"))?,
            KnownHosts::Plain => {
                [lines(KeyRole::HostKeyOuter, &self.settings.names.join(","))?, lines(KeyRole::HostKeyInner, pattern)?].concat()
            }
        })
    }

    /// A certificate over `key` for `names`: the one in use, or a new one when half of its life is over or a key was replaced. None without
    /// names.
    fn shown(&self, ring: &Keyring, key: &PrivateKey, mut names: Vec<String>, whose: &str) -> Result<Option<Certificate>, Fault> {
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let in_use = self.shown.read().unwrap_or_else(PoisonError::into_inner).get(&names).cloned();
        if let Some((certificate, _)) = in_use.filter(|(shown, validity)| !validity.half_spent(now) && of(shown, ring, key)) {
            return Ok(Some(certificate));
        }
        let ask = HostCert {
            key: key.public_key(),
            names: &names,
            key_id: KeyId::parse(&format!("host/{whose}")).map_err(|e| self.fault(&e))?,
            serial: Serial::random(&mut *self.chance.rng()),
            validity: Validity::new(now, now.plus(LIFE)).map_err(|e| self.fault(&e))?,
        };
        let validity = ask.validity;
        let signed = ring.hosts.certify(&ask, &mut *self.chance.rng()).map_err(|e| self.fault(&e))?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        // Hosts come and go: what nobody was shown for its whole life is forgotten.
        shown.retain(|_, (_, validity)| i64::try_from(validity.until).is_ok_and(|until| until > now.seconds()));
        shown.insert(names, (signed.clone(), validity));
        Ok(Some(signed))
    }
}

/// Is this certificate by the authority of now, over the key of now?
fn of(shown: &Certificate, ring: &Keyring, key: &PrivateKey) -> bool {
    shown.signature_key() == ring.hosts.public_key().key_data() && shown.public_key() == key.public_key().key_data()
}

/// How long a host certificate is good; it is renewed at half of it.
const LIFE: Span = Span::seconds(24 * 3600);
