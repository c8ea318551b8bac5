//! Public key blobs and the signatures made with them: parse, verify, and keep what a security key says of its user.
//!
//! The accepted algorithms are few on purpose: Ed25519, ECDSA, RSA with SHA-2 and at least 2048 bits, and the two
//! security key types. DSA and RSA with SHA-1 do not exist here.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::codec::{Reader, WireError, Writer};
use super::keys::{CERTIFICATE_SUFFIX, certificate_algorithm};

/// Verifies `signature` (a blob of RFC 4253 section 6.6) over `data` with the key in `key_blob`.
///
/// `algorithm` is the public key algorithm under which the peer offered the key (`ssh-ed25519`, `rsa-sha2-512`,
/// `ssh-ed25519-cert-v01@openssh.com`, ..): it must fit the blob, and the signature must be of exactly that algorithm.
/// A certificate blob verifies with the certified key; whether the certificate is worth anything is the caller's
/// business. A security key's signature without user presence is no signature.
pub fn verify(key_blob: &[u8], algorithm: &str, signature: &[u8], data: &[u8]) -> Result<Verified, WireError> {
    let key = PublicKey::parse(key_blob)?;
    let scheme = Scheme::named(algorithm).ok_or(WireError::Malformed("public key algorithm"))?;
    if !key.fits(algorithm) {
        return Err(WireError::Malformed("public key for its algorithm"));
    }
    let mut reader = Reader::new(signature);
    if reader.string()? != scheme.name().as_bytes() {
        return Err(WireError::Malformed("signature algorithm"));
    }
    let inner = reader.string()?;
    let touch = match key.material {
        Material::SkEd25519 { .. } | Material::SkEcdsa { .. } => Some(Touch { flags: reader.u8()?, counter: reader.u32()? }),
        _ => None,
    };
    reader.end()?;
    key.material.verify(scheme, inner, touch, data)?;
    if touch.is_some_and(|touch| !touch.user_present()) {
        return Err(WireError::Signature);
    }
    Ok(Verified { touch })
}

/// A signature that was right. It says nothing of what its key may do.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    touch: Option<Touch>,
}

impl Verified {
    /// What a security key added to its signature; `None` for all other keys.
    pub fn touch(&self) -> Option<Touch> {
        self.touch
    }
}

/// The words of a security key about its user, from the signed part of its signature: OpenSSH's PROTOCOL.u2f.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    flags: u8,
    counter: u32,
}

impl Touch {
    /// Somebody touched the key. Always true in a [`Verified`].
    pub fn user_present(self) -> bool {
        self.flags & 0x01 != 0
    }

    /// The key knew its user by PIN or fingerprint: the option `verify-required`.
    pub fn user_verified(self) -> bool {
        self.flags & 0x04 != 0
    }

    /// The key's own count of signatures.
    pub fn counter(self) -> u32 {
        self.counter
    }
}

/// The signature algorithms that a server of ours accepts, best first: the `server-sig-algs` of RFC 8308.
pub const SIGNATURE_ALGORITHMS: [&str; 8] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Does `blob` hold a well-formed public key or certificate for public key algorithm `algorithm`?
pub fn acceptable(blob: &[u8], algorithm: &str) -> bool {
    PublicKey::parse(blob).is_ok_and(|key| key.fits(algorithm))
}

/// A public key blob, or the key inside a certificate blob, borrowed from its message.
pub(super) struct PublicKey<'a> {
    material: Material<'a>,
    /// The fields after the key, present in a certificate only; unparsed.
    pub(super) certificate: Option<&'a [u8]>,
}

enum Material<'a> {
    Ed25519(&'a [u8]),
    Ecdsa { curve: &'static Curve, point: &'a [u8] },
    Rsa { exponent: &'a [u8], modulus: &'a [u8] },
    SkEd25519 { key: &'a [u8], application: &'a [u8] },
    SkEcdsa { point: &'a [u8], application: &'a [u8] },
}

impl<'a> PublicKey<'a> {
    /// Reads a plain key blob to its end, or a certificate blob up to the end of its key.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, WireError> {
        if blob.len() > MAX_BLOB {
            return Err(WireError::TooLarge("public key"));
        }
        let mut reader = Reader::new(blob);
        let name = reader.text()?;
        let plain = plain_algorithm(name).ok_or(WireError::Malformed("public key type"))?;
        let certified = plain != name;
        if certified {
            reader.string()?; // the nonce
        }
        let material = Material::read(plain, &mut reader)?;
        if !certified {
            reader.end()?;
        }
        Ok(Self { material, certificate: certified.then(|| reader.rest()) })
    }

    /// May the key be used under this public key algorithm name?
    fn fits(&self, algorithm: &str) -> bool {
        let Some(plain) = plain_algorithm(algorithm) else {
            return false;
        };
        let certified = plain != algorithm;
        certified == self.certificate.is_some()
            && match (&self.material, plain) {
                (Material::Ed25519(_), "ssh-ed25519") => true,
                (Material::Ecdsa { curve, .. }, name) => curve.algorithm == name,
                (Material::Rsa { .. }, "rsa-sha2-256" | "rsa-sha2-512") => true,
                (Material::SkEd25519 { .. }, "sk-ssh-ed25519@openssh.com") => true,
                (Material::SkEcdsa { .. }, "sk-ecdsa-sha2-nistp256@openssh.com") => true,
                _ => false,
            }
    }
}

impl<'a> Material<'a> {
    fn read(plain: &str, reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match plain {
            "ssh-ed25519" => Self::Ed25519(ed25519_key(reader)?),
            "ssh-rsa" => Self::Rsa { exponent: positive(reader.string()?)?, modulus: positive(reader.string()?)? },
            "sk-ssh-ed25519@openssh.com" => Self::SkEd25519 { key: ed25519_key(reader)?, application: reader.string()? },
            "sk-ecdsa-sha2-nistp256@openssh.com" => Self::SkEcdsa { point: P256.point(reader)?, application: reader.string()? },
            name => {
                let curve = [&P256, &P384, &P521].into_iter().find(|curve| curve.algorithm == name);
                let curve = curve.ok_or(WireError::Malformed("public key type"))?;
                Self::Ecdsa { curve, point: curve.point(reader)? }
            }
        })
    }

    fn verify(&self, scheme: Scheme, inner: &[u8], touch: Option<Touch>, data: &[u8]) -> Result<(), WireError> {
        match *self {
            Self::Ed25519(key) => ed25519(key, inner, data),
            Self::Ecdsa { curve, point } => curve.verify(point, inner, data),
            Self::Rsa { exponent, modulus } => rsa(scheme, exponent, modulus, inner, data),
            Self::SkEd25519 { key, application } => ed25519(key, inner, &touched(application, touch, data)?),
            Self::SkEcdsa { point, application } => P256.verify(point, inner, &touched(application, touch, data)?),
        }
    }
}

/// A signature algorithm by its name in the signature blob.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scheme(&'static str);

impl Scheme {
    /// The signature algorithm that belongs to a public key algorithm, plain or certified.
    fn named(algorithm: &str) -> Option<Self> {
        let plain = plain_algorithm(algorithm)?;
        SIGNATURE_ALGORITHMS.into_iter().find(|name| *name == plain).map(Self)
    }

    fn name(self) -> &'static str {
        self.0
    }
}

struct Curve {
    algorithm: &'static str,
    name: &'static str,
    /// Bytes of one coordinate.
    size: usize,
    verification: &'static EcdsaVerificationAlgorithm,
}

impl Curve {
    /// Reads the curve's name and an uncompressed point: RFC 5656 section 3.1.
    fn point<'a>(&self, reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
        if reader.string()? != self.name.as_bytes() {
            return Err(WireError::Malformed("curve"));
        }
        let point = reader.string()?;
        if point.len() != 1 + 2 * self.size || point.first() != Some(&4) {
            return Err(WireError::Malformed("curve point"));
        }
        Ok(point)
    }

    /// The two numbers of a signature, RFC 5656 section 3.1.2, against the point.
    fn verify(&self, point: &[u8], inner: &[u8], data: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(inner);
        let (r, s) = (positive(reader.string()?)?, positive(reader.string()?)?);
        reader.end()?;
        let mut fixed = left_padded(r, self.size)?;
        fixed.extend_from_slice(&left_padded(s, self.size)?);
        let key = UnparsedPublicKey::new(self.verification, point);
        key.verify(data, &fixed).map_err(|_| WireError::Signature)
    }
}

static P256: Curve = Curve { algorithm: "ecdsa-sha2-nistp256", name: "nistp256", size: 32, verification: &ECDSA_P256_SHA256_FIXED };
static P384: Curve = Curve { algorithm: "ecdsa-sha2-nistp384", name: "nistp384", size: 48, verification: &ECDSA_P384_SHA384_FIXED };
static P521: Curve = Curve { algorithm: "ecdsa-sha2-nistp521", name: "nistp521", size: 66, verification: &ECDSA_P521_SHA512_FIXED };

/// The name of the key or signature inside a certificate name; any other name as it is. `None`: we never heard of it.
pub(super) fn plain_algorithm(name: &str) -> Option<&str> {
    let known = |plain: &&str| SIGNATURE_ALGORITHMS.contains(plain) || *plain == "ssh-rsa";
    if let Some(plain) = Some(name).filter(known) {
        return Some(plain);
    }
    name.strip_suffix(CERTIFICATE_SUFFIX)?;
    SIGNATURE_ALGORITHMS.into_iter().chain(["ssh-rsa"]).find(|plain| certificate_algorithm(plain) == name)
}

fn ed25519_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let key = reader.string()?;
    if key.len() == 32 { Ok(key) } else { Err(WireError::Malformed("Ed25519 key")) }
}

fn ed25519(key: &[u8], inner: &[u8], data: &[u8]) -> Result<(), WireError> {
    UnparsedPublicKey::new(&ED25519, key).verify(data, inner).map_err(|_| WireError::Signature)
}

fn rsa(scheme: Scheme, exponent: &[u8], modulus: &[u8], inner: &[u8], data: &[u8]) -> Result<(), WireError> {
    let parameters = match scheme.name() {
        "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
        "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(WireError::Malformed("signature algorithm")),
    };
    if modulus.len() > MAX_RSA_MODULUS || exponent.len() > MAX_RSA_EXPONENT {
        return Err(WireError::TooLarge("RSA key"));
    }
    // Some signers drop leading zeroes, and OpenSSH takes such a signature.
    let padded = left_padded(inner, modulus.len())?;
    let key = RsaPublicKeyComponents { n: modulus, e: exponent };
    key.verify(parameters, data, &padded).map_err(|_| WireError::Signature)
}

/// What a security key signs instead of the data: PROTOCOL.u2f, "SSH U2F signatures".
fn touched(application: &[u8], touch: Option<Touch>, data: &[u8]) -> Result<Vec<u8>, WireError> {
    let touch = touch.ok_or(WireError::Signature)?;
    let application = digest::digest(&digest::SHA256, application);
    let data = digest::digest(&digest::SHA256, data);
    Ok(Writer::new().raw(application.as_ref()).u8(touch.flags).u32(touch.counter).raw(data.as_ref()).done())
}

/// The magnitude of a positive mpint, without leading zeroes.
fn positive(mpint: &[u8]) -> Result<&[u8], WireError> {
    if mpint.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(WireError::Malformed("positive number"));
    }
    let start = mpint.iter().position(|byte| *byte != 0).ok_or(WireError::Malformed("positive number"))?;
    mpint.get(start..).ok_or(WireError::Truncated)
}

fn left_padded(bytes: &[u8], size: usize) -> Result<Vec<u8>, WireError> {
    let missing = size.checked_sub(bytes.len()).ok_or(WireError::Malformed("signature length"))?;
    let mut padded = vec![0; missing];
    padded.extend_from_slice(bytes);
    Ok(padded)
}

/// No key of an accepted type is nearly as long, nor is a certificate of one that a sane authority would sign.
const MAX_BLOB: usize = 16 * 1024;
/// 8192 bits: what our cryptography verifies at most, and slowly enough.
const MAX_RSA_MODULUS: usize = 1024;
/// 65537 needs three bytes; nobody uses more than five.
const MAX_RSA_EXPONENT: usize = 5;

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;

    use super::super::keygen::Keygen;
    use super::*;

    #[test]
    fn real_keys_of_every_type_verify_and_nothing_else_does() {
        let keygen = Keygen::new();
        let kinds = [
            ("ed25519", "ssh-ed25519"),
            ("ecdsa:256", "ecdsa-sha2-nistp256"),
            ("ecdsa:384", "ecdsa-sha2-nistp384"),
            ("ecdsa:521", "ecdsa-sha2-nistp521"),
            ("rsa:3072", "rsa-sha2-512"),
        ];
        keygen.key("ca", "ed25519");
        for (index, (kind, algorithm)) in kinds.into_iter().enumerate() {
            let name = format!("key{index}");
            let blob = keygen.key(&name, kind).public_key().to_bytes().unwrap();
            let certificate = keygen.certificate(&name, "ca", &["-n", "anna"]).to_bytes().unwrap();
            let certified = certificate_algorithm(algorithm);
            for round in 0u8..4 {
                let (signature, data) = keygen.sign(&name, &[round; 100]);
                assert_eq!(verify(&blob, algorithm, &signature, &data).unwrap().touch(), None, "{kind}");
                assert!(verify(&certificate, &certified, &signature, &data).is_ok(), "{kind} certified");
                // each fits its own kind of name only
                assert!(verify(&blob, &certified, &signature, &data).is_err());
                assert!(verify(&certificate, algorithm, &signature, &data).is_err());
                for (_, other) in kinds.iter().filter(|(_, other)| *other != algorithm) {
                    assert!(verify(&blob, other, &signature, &data).is_err(), "{kind} as {other}");
                }
                assert!(verify(&blob, "ssh-rsa", &signature, &data).is_err());
                let mut changed = data.clone();
                changed[round as usize] ^= 1;
                assert_eq!(verify(&blob, algorithm, &signature, &changed), Err(WireError::Signature), "{kind}");
                let mut longer = signature.clone();
                longer.push(0);
                assert!(verify(&blob, algorithm, &longer, &data).is_err());
            }
        }
    }

    #[test]
    fn rsa_below_2048_bits_and_sha1_are_refused() {
        let keygen = Keygen::new();
        let blob = keygen.key("small", "rsa:1024").public_key().to_bytes().unwrap();
        let (signature, data) = keygen.sign("small", b"hello");
        assert_eq!(verify(&blob, "rsa-sha2-512", &signature, &data), Err(WireError::Signature));
        let old = Writer::new().string(b"ssh-rsa").string(&[1; 128]).done();
        assert!(verify(&blob, "ssh-rsa", &old, &data).is_err());
        assert!(verify(&blob, "rsa-sha2-512", &old, &data).is_err());
        assert!(!acceptable(&blob, "ssh-rsa"));
        assert!(!acceptable(b"\0\0\0\x07ssh-dss", "ssh-dss"));
    }

    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

    /// Algorithm, blob and signer of each security key that we play ourselves.
    fn security_keys() -> Vec<(&'static str, Vec<u8>, Sign)> {
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        let name = "sk-ssh-ed25519@openssh.com";
        let point = ed25519.public_key().as_ref().to_vec();
        let ed25519_blob = Writer::new().string(name.as_bytes()).string(&point).string(b"ssh:").done();
        let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let other = "sk-ecdsa-sha2-nistp256@openssh.com";
        let blob = Writer::new().string(other.as_bytes()).string(b"nistp256");
        let ecdsa_blob = blob.string(ecdsa.public_key().as_ref()).string(b"ssh:").done();
        vec![
            (name, ed25519_blob, Box::new(move |data| ed25519.sign(data).as_ref().to_vec())),
            (
                other,
                ecdsa_blob,
                Box::new(move |data| {
                    let fixed = ecdsa.sign(&SystemRandom::new(), data).unwrap();
                    let (r, s) = fixed.as_ref().split_at(32);
                    Writer::new().mpint(r).mpint(s).done()
                }),
            ),
        ]
    }

    #[test]
    fn a_security_key_must_say_that_its_user_was_there() {
        for (algorithm, blob, sign) in security_keys() {
            let signed = |flags: u8, claimed: u8| {
                let data = touched(b"ssh:", Some(Touch { flags, counter: 7 }), b"data").unwrap();
                let head = Writer::new().string(algorithm.as_bytes()).string(&sign(&data));
                head.u8(claimed).u32(7).done()
            };
            let touch = verify(&blob, algorithm, &signed(1, 1), b"data").unwrap().touch().unwrap();
            assert!(touch.user_present() && !touch.user_verified());
            assert_eq!(touch.counter(), 7);
            let touch = verify(&blob, algorithm, &signed(5, 5), b"data").unwrap().touch().unwrap();
            assert!(touch.user_present() && touch.user_verified());
            // rightly signed, but nobody was there: Go's ssh took it, CVE-2026-39831
            assert_eq!(verify(&blob, algorithm, &signed(0, 0), b"data"), Err(WireError::Signature));
            assert_eq!(verify(&blob, algorithm, &signed(4, 4), b"data"), Err(WireError::Signature));
            // the flags are part of what is signed
            assert_eq!(verify(&blob, algorithm, &signed(0, 1), b"data"), Err(WireError::Signature));
            assert_eq!(verify(&blob, algorithm, &signed(1, 5), b"data"), Err(WireError::Signature));
            let without = Writer::new().string(algorithm.as_bytes()).string(&sign(b"data")).done();
            assert_eq!(verify(&blob, algorithm, &without, b"data"), Err(WireError::Truncated));
        }
    }

    #[test]
    fn names_of_certificates() {
        for (certified, plain) in [
            ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"),
            ("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com"),
            ("rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-256"),
            ("ssh-rsa-cert-v01@openssh.com", "ssh-rsa"),
        ] {
            assert_eq!(plain_algorithm(certified), Some(plain));
            assert_eq!(plain_algorithm(plain), Some(plain));
            assert_eq!(certificate_algorithm(plain), certified);
        }
        assert_eq!(plain_algorithm("ssh-dss"), None);
        assert_eq!(plain_algorithm("-cert-v01@openssh.com"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut blob in any::<Vec<u8>>(), signature in any::<Vec<u8>>(), kind in 0usize..8, cut in any::<usize>()) {
            let algorithm = SIGNATURE_ALGORITHMS[kind];
            let _ = verify(&blob, algorithm, &signature, b"data");
            let mut named = Writer::new().string(algorithm.as_bytes()).done();
            named.append(&mut blob);
            let _ = verify(&named, algorithm, &signature, b"data");
            let point = Writer::new().string(b"ssh-ed25519").string(&[7; 32]).done();
            let inner = Writer::new().string(b"ssh-ed25519").string(&signature).done();
            let _ = verify(&point, "ssh-ed25519", &inner, b"data");
            let cut = cut % (point.len() + 1);
            prop_assert_eq!(acceptable(&point[..cut], "ssh-ed25519"), cut == point.len());
        }
    }
}
