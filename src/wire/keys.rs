//! The keys we sign with, and the question whether a peer's host key is the one we trust.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use ssh_key::certificate::CertType;
use ssh_key::private::KeypairData;
use ssh_key::{Certificate, EcdsaCurve, PrivateKey};

use super::codec::{WireError, Writer};

pub use super::trust::{Shown, TrustedHost, shown};
pub use super::verify::{Verified, verify};

/// Is this host key, or host certificate, the one we trust?
///
/// Asked by the client side of the transport for every key exchange's host key, after its signature over the exchange
/// hash was verified. `blob` is `K_S` of RFC 4253 section 8, `algorithm` the negotiated name, for example
/// `ssh-ed25519-cert-v01@openssh.com`.
pub trait HostKeyCheck: Send + Sync {
    /// Says yes, or [`WireError::HostKey`] with the reason.
    fn check(&self, blob: &[u8], algorithm: &str) -> Result<(), WireError>;
}

/// A host key of ours: the private key, and what we show for it, its plain public key or a host certificate.
pub struct HostIdentity {
    signer: Signer,
    algorithm: String,
    blob: Vec<u8>,
}

impl HostIdentity {
    /// Shows the plain public key. Only Ed25519 and ECDSA keys serve as our host keys.
    pub fn plain(key: &PrivateKey) -> Result<Self, WireError> {
        let signer = Signer::new(key)?;
        let blob = key.public_key().to_bytes().map_err(|_| WireError::Malformed("host key"))?;
        Ok(Self { algorithm: signer.algorithm().to_owned(), signer, blob })
    }

    /// Shows `certificate`, which must be a host certificate of exactly this key. Its times are the caller's business.
    pub fn certified(key: &PrivateKey, certificate: &Certificate) -> Result<Self, WireError> {
        if certificate.cert_type() != CertType::Host || certificate.public_key() != key.public_key().key_data() {
            return Err(WireError::Malformed("host certificate for this key"));
        }
        let signer = Signer::new(key)?;
        let blob = certificate.to_bytes().map_err(|_| WireError::Malformed("host certificate"))?;
        Ok(Self { algorithm: certificate_algorithm(signer.algorithm()), signer, blob })
    }

    /// The host key algorithm to negotiate, for example `ssh-ed25519` or `ssh-ed25519-cert-v01@openssh.com`.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// What goes on the wire as `K_S`: key or certificate blob.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Signs `data` (the exchange hash) and returns the signature blob of RFC 4253 section 6.6.
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>, WireError> {
        self.signer.sign(data)
    }
}

/// A private key, ready to sign. The library wipes it when it goes; it has no `Debug`.
pub struct Signer {
    key: SigningKey,
}

enum SigningKey {
    Ed25519(Ed25519KeyPair),
    Ecdsa { algorithm: &'static str, pair: EcdsaKeyPair },
}

impl Signer {
    /// Takes over the secret half of `key`: Ed25519 or ECDSA, not encrypted.
    pub fn new(key: &PrivateKey) -> Result<Self, WireError> {
        let key = match key.key_data() {
            KeypairData::Ed25519(pair) => {
                let seed = zeroize::Zeroizing::new(pair.private.to_bytes());
                Ed25519KeyPair::from_seed_and_public_key(&seed[..], &pair.public.0).map(SigningKey::Ed25519)
            }
            KeypairData::Ecdsa(pair) => {
                let (algorithm, signing) = match pair.curve() {
                    EcdsaCurve::NistP256 => ("ecdsa-sha2-nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING),
                    EcdsaCurve::NistP384 => ("ecdsa-sha2-nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING),
                    EcdsaCurve::NistP521 => ("ecdsa-sha2-nistp521", &ECDSA_P521_SHA512_FIXED_SIGNING),
                };
                let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
                EcdsaKeyPair::from_private_key_and_public_key(signing, private, public).map(|pair| SigningKey::Ecdsa { algorithm, pair })
            }
            _ => {
                return Err(WireError::Malformed("signing key: Ed25519 or ECDSA is needed"));
            }
        };
        Ok(Self { key: key.map_err(|_| WireError::Malformed("signing key"))? })
    }

    /// The signature algorithm, which for these keys is also the key's type.
    pub fn algorithm(&self) -> &'static str {
        match &self.key {
            SigningKey::Ed25519(_) => "ssh-ed25519",
            SigningKey::Ecdsa { algorithm, .. } => algorithm,
        }
    }

    /// Signs `data`; the signature blob of RFC 4253 section 6.6 (for ECDSA: RFC 5656 section 3.1.2).
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>, WireError> {
        let inner = match &self.key {
            SigningKey::Ed25519(pair) => pair.try_sign(data).map_err(|_| WireError::Crypto("Ed25519 signature"))?.as_ref().to_vec(),
            SigningKey::Ecdsa { pair, .. } => {
                let fixed = pair.sign(&SystemRandom::new(), data).map_err(|_| WireError::Crypto("ECDSA signature"))?;
                let fixed = fixed.as_ref();
                let (r, s) = fixed.split_at(fixed.len() / 2);
                Writer::new().mpint(r).mpint(s).done()
            }
        };
        Ok(Writer::new().string(self.algorithm().as_bytes()).string(&inner).done())
    }
}

/// The certificate name of a plain key or signature algorithm, for example `ssh-ed25519-cert-v01@openssh.com`.
pub(super) fn certificate_algorithm(plain: &str) -> String {
    format!("{}{CERTIFICATE_SUFFIX}", plain.strip_suffix("@openssh.com").unwrap_or(plain))
}

/// What OpenSSH's certificate names end in: PROTOCOL.certkeys.
pub(super) const CERTIFICATE_SUFFIX: &str = "-cert-v01@openssh.com";

#[cfg(test)]
mod tests {
    use super::super::keygen::Keygen;
    use super::*;

    #[test]
    fn what_a_host_identity_signs_verifies_with_what_it_shows() {
        let keygen = Keygen::new();
        keygen.key("ca", "ed25519");
        for (name, kind) in [("a", "ed25519"), ("b", "ecdsa:256"), ("c", "ecdsa:384"), ("d", "ecdsa:521")] {
            let key = keygen.key(name, kind);
            let certificate = keygen.certificate(name, "ca", &["-h", "-n", "phi-db"]);
            let plain = HostIdentity::plain(&key).unwrap();
            let certified = HostIdentity::certified(&key, &certificate).unwrap();
            assert_eq!(plain.algorithm(), key.algorithm().as_str());
            assert_eq!(certified.algorithm(), key.algorithm().to_certificate_type());
            for round in 0u8..20 {
                for identity in [&plain, &certified] {
                    let signature = identity.sign(&[round]).unwrap();
                    assert!(verify(identity.blob(), identity.algorithm(), &signature, &[round]).is_ok(), "{kind}");
                }
            }
        }
    }

    #[test]
    fn a_certificate_of_another_key_or_for_users_is_no_identity() {
        let keygen = Keygen::new();
        keygen.key("ca", "ed25519");
        let (a, b) = (keygen.key("a", "ed25519"), keygen.key("b", "ed25519"));
        let host = keygen.certificate("a", "ca", &["-h", "-n", "phi-db"]);
        assert!(HostIdentity::certified(&a, &host).is_ok());
        assert!(HostIdentity::certified(&b, &host).is_err());
        let user = keygen.certificate("a", "ca", &["-n", "phi-db"]);
        assert!(HostIdentity::certified(&a, &user).is_err());
        assert!(HostIdentity::plain(&keygen.key("r", "rsa:2048")).is_err());
    }
}
