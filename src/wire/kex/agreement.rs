//! The key agreements: what each side sends, and the secret that both then hold.

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{self, SHA256, SHA384};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use zeroize::Zeroizing;

use crate::wire::codec::{WireError, Writer};
use crate::wire::entropy::Entropy;

/// A key agreement that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// `mlkem768x25519-sha256` (draft-ietf-sshm-mlkem-hybrid-kex, OpenSSH since 9.9)
    MlKem768X25519,
    /// `curve25519-sha256` (RFC 8731)
    Curve25519,
    /// `curve25519-sha256@libssh.org`, the same under its first name
    Curve25519LibSsh,
    /// `ecdh-sha2-nistp256` (RFC 5656)
    NistP256,
    /// `ecdh-sha2-nistp384` (RFC 5656)
    NistP384,
}

impl Agreement {
    /// All of them, the preferred first; the NIST curves are for FIPS-mode peers, who refuse X25519.
    pub const ALL: [Self; 5] = [Self::MlKem768X25519, Self::Curve25519, Self::Curve25519LibSsh, Self::NistP256, Self::NistP384];

    /// Its name in a KEXINIT.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlKem768X25519 => "mlkem768x25519-sha256",
            Self::Curve25519 => "curve25519-sha256",
            Self::Curve25519LibSsh => "curve25519-sha256@libssh.org",
            Self::NistP256 => "ecdh-sha2-nistp256",
            Self::NistP384 => "ecdh-sha2-nistp384",
        }
    }

    /// The agreement of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The hash of its exchange hash and its key derivation.
    pub(super) fn hash(self) -> &'static digest::Algorithm {
        if self == Self::NistP384 { &SHA384 } else { &SHA256 }
    }

    fn curve(self) -> Curve {
        match self {
            Self::NistP256 => Curve { algorithm: &ECDH_P256, private: 32, public: 65 },
            Self::NistP384 => Curve { algorithm: &ECDH_P384, private: 48, public: 97 },
            Self::MlKem768X25519 | Self::Curve25519 | Self::Curve25519LibSsh => Curve { algorithm: &X25519, private: 32, public: 32 },
        }
    }
}

/// The client's half of an agreement, between its message and the server's.
pub(super) struct Initiator {
    agreement: Agreement,
    private: PrivateKey,
    kem: Option<DecapsulationKey>,
    message: Vec<u8>,
}

impl Initiator {
    /// Draws fresh keys.
    pub(super) fn new(agreement: Agreement, rng: &mut dyn Entropy) -> Result<Self, WireError> {
        let (private, public) = agreement.curve().fresh(rng)?;
        if agreement != Agreement::MlKem768X25519 {
            return Ok(Self { agreement, private, kem: None, message: public });
        }
        let kem = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| KEM_FAULT)?;
        let key = kem.encapsulation_key().map_err(|_| KEM_FAULT)?;
        let mut message = key.key_bytes().map_err(|_| KEM_FAULT)?.as_ref().to_vec();
        message.extend_from_slice(&public);
        Ok(Self { agreement, private, kem: Some(kem), message })
    }

    /// What the client sends (`C_INIT`, or `Q_C`).
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The secret, from what the server answered.
    pub(super) fn finish(&self, reply: &[u8]) -> Result<Secret, WireError> {
        let Some(kem) = &self.kem else {
            let shared = self.agreement.curve().agree(&self.private, reply)?;
            return Ok(Secret::number(&shared));
        };
        let (ciphertext, public) = reply.split_at_checked(KEM_CIPHERTEXT).ok_or(BAD_SHARE)?;
        let classic = self.agreement.curve().agree(&self.private, public)?;
        let quantum = kem.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| BAD_SHARE)?;
        Ok(Secret::hybrid(quantum.as_ref(), &classic))
    }
}

/// The server's half: its message (`S_REPLY`, or `Q_S`) and the secret, from what the client sent.
pub(super) fn respond(agreement: Agreement, init: &[u8], rng: &mut dyn Entropy) -> Result<(Vec<u8>, Secret), WireError> {
    let curve = agreement.curve();
    let (private, public) = curve.fresh(rng)?;
    if agreement != Agreement::MlKem768X25519 {
        let shared = curve.agree(&private, init)?;
        return Ok((public, Secret::number(&shared)));
    }
    let (key, their_public) = init.split_at_checked(KEM_PUBLIC).ok_or(BAD_SHARE)?;
    let classic = curve.agree(&private, their_public)?;
    // A key that is not reduced modulo q is refused here, as FIPS 203 section 7.2 demands.
    let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| BAD_SHARE)?;
    let (ciphertext, quantum) = key.encapsulate().map_err(|_| BAD_SHARE)?;
    let mut message = ciphertext.as_ref().to_vec();
    message.extend_from_slice(&public);
    Ok((message, Secret::hybrid(quantum.as_ref(), &classic)))
}

/// The shared secret K, encoded as it enters the exchange hash: a number for curves, a string for the hybrid.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    fn number(shared: &[u8]) -> Self {
        Self(Zeroizing::new(Writer::new().mpint(shared).done()))
    }

    /// K = SHA-256(ML-KEM secret, X25519 secret).
    fn hybrid(quantum: &[u8], classic: &[u8]) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        hash.update(quantum);
        hash.update(classic);
        Self(Zeroizing::new(Writer::new().string(hash.finish().as_ref()).done()))
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// One curve with the lengths of its keys as SSH sends them.
struct Curve {
    algorithm: &'static Algorithm,
    private: usize,
    public: usize,
}

impl Curve {
    fn fresh(&self, rng: &mut dyn Entropy) -> Result<(PrivateKey, Vec<u8>), WireError> {
        let mut bytes = Zeroizing::new(vec![0; self.private]);
        // Random bytes are a valid P-256 scalar all but once in 2^32 tries; three failures in a row are a fault.
        for _ in 0..3 {
            rng.fill(&mut bytes);
            if let Ok(private) = PrivateKey::from_private_key(self.algorithm, &bytes) {
                let public = private.compute_public_key().map_err(|_| CURVE_FAULT)?;
                return Ok((private, public.as_ref().to_vec()));
            }
        }
        Err(CURVE_FAULT)
    }

    /// The raw shared secret. Refuses points off the curve, other encodings than SSH's own, and the all-zero secret
    /// of RFC 8731 section 3.
    fn agree(&self, private: &PrivateKey, public: &[u8]) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let compressed = self.public != 32 && public.first() != Some(&4);
        if public.len() != self.public || compressed {
            return Err(BAD_SHARE);
        }
        agree(private, UnparsedPublicKey::new(self.algorithm, public), BAD_SHARE, |shared| Ok(Zeroizing::new(shared.to_vec())))
    }
}

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203 table 3).
const KEM_PUBLIC: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext.
const KEM_CIPHERTEXT: usize = 1088;
const BAD_SHARE: WireError = WireError::Malformed("key exchange value");
const KEM_FAULT: WireError = WireError::Crypto("ml-kem");
const CURVE_FAULT: WireError = WireError::Crypto("elliptic curve");

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;
    use crate::wire::entropy::SeededEntropy;

    #[test]
    fn both_halves_come_to_one_secret() {
        for agreement in Agreement::ALL {
            let rng = &mut SeededEntropy::new(1);
            let initiator = Initiator::new(agreement, rng).unwrap();
            let (reply, theirs) = respond(agreement, initiator.message(), rng).unwrap();
            assert_eq!(initiator.finish(&reply).unwrap().encoded(), theirs.encoded());
            assert_ne!(theirs.encoded(), respond(agreement, initiator.message(), rng).unwrap().1.encoded());
            for wrong in [&reply[1..], &[], &[reply.as_slice(), &[0]].concat()] {
                assert_eq!(initiator.finish(wrong).err(), Some(BAD_SHARE));
            }
        }
    }

    /// RFC 7748 section 5.2, and the K of the hybrid draft, which is a string and not a number.
    #[test]
    fn known_secrets() {
        let hex = |text: &str| -> Vec<u8> { (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect() };
        let scalar = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let private = PrivateKey::from_private_key(&X25519, &scalar).unwrap();
        let shared = Agreement::Curve25519.curve().agree(&private, &point).unwrap();
        assert_eq!(*shared, hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));

        let secret = Secret::hybrid(&[1; 32], &[0x80; 32]);
        let hash = sha2::Sha256::digest([[1; 32], [0x80; 32]].concat());
        assert_eq!(secret.encoded(), [&[0, 0, 0, 32], hash.as_slice()].concat());
        assert_eq!(Secret::number(&[0x80; 32]).encoded()[..6], [0, 0, 0, 33, 0, 0x80]);
    }
}
