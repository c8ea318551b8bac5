//! What the front door offers: a short list, fitted to what the client has.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::Algorithm;
use russh::keys::{EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use super::super::Wing;
use crate::broker::Fault;

/// The server's side of one outer connection. The client's order of ciphers decides, and OpenSSH up to 9.9 puts the slow one first:
/// who has AES-GCM is offered nothing else.
pub(super) fn config(wing: &Wing, offers_gcm: bool) -> Result<Arc<Config>, Fault> {
    let identity = wing.broker.outer_identity()?;
    let ciphers: &'static [cipher::Name] = if offers_gcm { GCM } else { WIDE };
    Ok(Arc::new(Config {
        server_id: SshId::Standard(Cow::Borrowed(super::super::IDENTIFICATION)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // russh sleeps on every key that is merely offered; the door delays wrong signatures itself.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![identity.key],
        certificates: identity.certificate.into_iter().collect(),
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(ciphers),
            mac: Cow::Borrowed(MAC),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        max_auth_attempts: super::door::OFFERS_AT_MOST as usize + 6,
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        nodelay: true,
        ..Config::default()
    }))
}

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const GCM: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];

const WIDE: &[cipher::Name] =
    &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];

const MAC: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// Our own host key's algorithm, and those that a user's key may sign with.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
];
