//! Access certificates: a user's own key, for the time of one grant, worth something at the bastion and nowhere else.
//!
//! Two things keep it from opening a host, even one that was told to trust this authority by mistake: its principal is no account's name
//! (`@` stands in none), and it carries a critical option that no sshd knows, so that sshd must refuse it (OpenSSH's PROTOCOL.certkeys).

use rand::CryptoRng;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PrivateKey, PublicKey};
use thiserror::Error;

use super::authority::begin;
use super::certificate::{CertificateError, KeyId, Serial, Validity};
use crate::access::names::{GrantId, escaped};
use crate::access::time::Timestamp;

/// The one principal of every access certificate.
pub const PRINCIPAL: &str = "access@jit-bastion";
/// The one critical option of every access certificate; its value is the grant's id.
pub const GRANT_OPTION: &str = "grant@jit-bastion";

/// Only the bastion trusts it: signs certificates over users' keys that open the bastion and never a host.
pub struct AccessAuthority(PrivateKey);

/// One access certificate: this key, for this grant's time.
#[derive(Debug, Clone)]
pub struct AccessCert<'a> {
    /// The user's key.
    pub key: &'a PublicKey,
    /// The grant.
    pub grant: &'a GrantId,
    /// Who and what for.
    pub key_id: KeyId,
    /// Its number.
    pub serial: Serial,
    /// When.
    pub validity: Validity,
}

impl AccessAuthority {
    pub(super) const fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// What the bastion accepts beside users' own keys.
    pub fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Signs an access certificate.
    pub fn certify<R: CryptoRng + ?Sized>(&self, ask: &AccessCert<'_>, rng: &mut R) -> Result<Certificate, CertificateError> {
        let mut builder = begin(ask.key, ask.validity, ask.serial, &ask.key_id, CertType::User, rng)?;
        builder.valid_principal(PRINCIPAL)?;
        builder.critical_option(GRANT_OPTION, ask.grant.as_str())?;
        builder.comment(ask.key_id.as_str())?;
        Ok(builder.sign(&self.0)?)
    }

    /// The private half, for tests that sign what this authority never would.
    #[cfg(test)]
    pub(crate) fn private_key(&self) -> &PrivateKey {
        &self.0
    }
}

/// What a sound access certificate says. That it was signed by us is known; that it still counts is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaim {
    /// The certified key.
    pub key: PublicKey,
    /// The grant that it names.
    pub grant: GrantId,
    /// Its number.
    pub serial: u64,
    /// Fingerprint of the authority that signed it.
    pub authority: String,
}

/// Why a certificate is no access certificate.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Unsound {
    /// A host certificate.
    #[error("it is not a user certificate")]
    Type,
    /// Signed by somebody else.
    #[error("it is signed by an authority that is not the bastion's access CA")]
    Authority,
    /// The authority never signed these bytes.
    #[error("the authority's signature on it is wrong")]
    Signature,
    /// Its time has not come.
    #[error("it is not valid yet")]
    Early,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// For somebody or something else.
    #[error("its principals are not {PRINCIPAL} alone")]
    Principal,
    /// It names no grant.
    #[error("it names no grant")]
    NoGrant,
    /// A critical option that we do not know: it limits the certificate in a way that we would not see.
    #[error("it has a critical option that the bastion does not know: {0}")]
    Option(String),
}

impl AccessClaim {
    /// Reads `certificate` at `now`. `authorities` are those whose access certificates count at this moment. The end is outside, to the
    /// second: `now` must lie before it.
    pub fn read(certificate: &Certificate, authorities: &[PublicKey], now: Timestamp) -> Result<Self, Unsound> {
        if certificate.cert_type() != CertType::User {
            return Err(Unsound::Type);
        }
        if !authorities.iter().any(|authority| authority.key_data() == certificate.signature_key()) {
            return Err(Unsound::Authority);
        }
        let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
        let seconds = u64::try_from(now.seconds()).map_err(|_| Unsound::Early)?;
        // A moment at which it is valid, so that only the signature can be what is wrong.
        certificate.validate_at(certificate.valid_after(), [&authority]).map_err(|_| Unsound::Signature)?;
        if seconds < certificate.valid_after() {
            return Err(Unsound::Early);
        }
        if seconds >= certificate.valid_before() {
            return Err(Unsound::Expired);
        }
        if certificate.valid_principals() != [PRINCIPAL] {
            return Err(Unsound::Principal);
        }
        let mut grant = None;
        for (name, value) in certificate.critical_options().iter() {
            if name != GRANT_OPTION {
                return Err(Unsound::Option(escaped(name).chars().take(64).collect()));
            }
            grant = GrantId::parse(value).ok();
        }
        let grant = grant.ok_or(Unsound::NoGrant)?;
        let key = PublicKey::from(certificate.public_key().clone());
        if matches!(key.key_data(), KeyData::Other(_)) || key.key_data().is_certificate() {
            return Err(Unsound::Type);
        }
        Ok(Self { key, grant, serial: certificate.serial(), authority: authority.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use ssh_key::Algorithm;
    use std::path::Path;
    use std::process::Command;

    /// 2026-06-01 in UTC.
    const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);
    const VALID: &str = "20260501000000Z:20260701000000Z";

    fn keygen(folder: &Path, arguments: &[&str]) -> String {
        let run = Command::new("ssh-keygen").current_dir(folder).env("TZ", "UTC").args(arguments).output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).into_owned()
    }

    /// A folder with keys `ca`, `stranger` and `alice` of the real ssh-keygen.
    fn keys() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ca", "stranger", "alice"] {
            keygen(folder.path(), &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]);
        }
        folder
    }

    fn public(folder: &Path, name: &str) -> PublicKey {
        PublicKey::read_openssh_file(folder.join(format!("{name}.pub"))).unwrap()
    }

    fn signed(folder: &Path, ca: &str, options: &[&str]) -> Certificate {
        let mut arguments = vec!["-q", "-s", ca, "-I", "alice/g-7k2m9q", "-z", "17"];
        arguments.extend(options);
        arguments.push("alice.pub");
        keygen(folder, &arguments);
        Certificate::read_file(&folder.join("alice-cert.pub")).unwrap()
    }

    const GRANT: &str = "critical:grant@jit-bastion=g-7k2m9q";

    #[test]
    fn what_ssh_keygen_signs_is_judged_line_by_line() {
        let folder = keys();
        let dir = folder.path();
        let ours = [public(dir, "ca")];
        let read = |ca: &str, options: &[&str]| AccessClaim::read(&signed(dir, ca, options), &ours, NOW);
        let good = ["-n", PRINCIPAL, "-V", VALID, "-O", "clear", "-O", GRANT];
        let claim = read("ca", &good).unwrap();
        assert_eq!((claim.grant.as_str(), claim.serial), ("g-7k2m9q", 17));
        assert_eq!(claim.key.key_data(), public(dir, "alice").key_data());
        assert_eq!(claim.authority, ours[0].fingerprint(HashAlg::Sha256).to_string());
        // Extensions are by their nature to be ignored.
        assert!(read("ca", &["-n", PRINCIPAL, "-V", VALID, "-O", GRANT]).is_ok());
        for (ca, options, why) in [
            ("stranger", &good[..], Unsound::Authority),
            ("ca", &["-h", "-n", PRINCIPAL, "-V", VALID, "-O", GRANT], Unsound::Type),
            ("ca", &["-n", PRINCIPAL, "-V", "20260401000000Z:20260501000000Z", "-O", GRANT], Unsound::Expired),
            ("ca", &["-n", PRINCIPAL, "-V", "20260401000000Z:20260601000000Z", "-O", GRANT], Unsound::Expired),
            ("ca", &["-n", PRINCIPAL, "-V", "20260601000001Z:20260701000000Z", "-O", GRANT], Unsound::Early),
            ("ca", &["-n", "alice", "-V", VALID, "-O", GRANT], Unsound::Principal),
            ("ca", &["-n", "root", "-V", VALID, "-O", GRANT], Unsound::Principal),
            ("ca", &["-n", "access@jit-bastion,root", "-V", VALID, "-O", GRANT], Unsound::Principal),
            // Without principals it would be for every name, says OpenSSH; for none, say we.
            ("ca", &["-V", VALID, "-O", GRANT], Unsound::Principal),
            ("ca", &["-n", PRINCIPAL, "-V", VALID], Unsound::NoGrant),
            ("ca", &["-n", PRINCIPAL, "-V", VALID, "-O", "critical:grant@jit-bastion=g-7k2m9"], Unsound::NoGrant),
            ("ca", &["-n", PRINCIPAL, "-V", VALID, "-O", "extension:grant@jit-bastion=g-7k2m9q"], Unsound::NoGrant),
            (
                "ca",
                &["-n", PRINCIPAL, "-V", VALID, "-O", GRANT, "-O", "source-address=192.0.2.0/24"],
                Unsound::Option("source-address".into()),
            ),
            ("ca", &["-n", PRINCIPAL, "-V", VALID, "-O", GRANT, "-O", "force-command=/bin/true"], Unsound::Option("force-command".into())),
            ("ca", &["-n", PRINCIPAL, "-V", VALID, "-O", GRANT, "-O", "critical:x@example.org"], Unsound::Option("x@example.org".into())),
        ] {
            assert_eq!(read(ca, options), Err(why), "{ca} {options:?}");
        }
    }

    #[test]
    fn a_changed_byte_is_no_certificate() {
        let folder = keys();
        let ours = [public(folder.path(), "ca")];
        let blob = signed(folder.path(), "ca", &["-n", PRINCIPAL, "-V", VALID, "-O", "clear", "-O", GRANT]).to_bytes().unwrap();
        for byte in (0..blob.len()).step_by(3) {
            let mut changed = blob.clone();
            changed[byte] ^= 0x04;
            let read = Certificate::from_bytes(&changed).ok().and_then(|c| AccessClaim::read(&c, &ours, NOW).ok());
            assert!(read.is_none(), "byte {byte}: {read:?}");
        }
    }

    #[test]
    fn the_end_is_outside_to_the_second() {
        let folder = keys();
        let ours = [public(folder.path(), "ca")];
        let certificate = signed(folder.path(), "ca", &["-n", PRINCIPAL, "-V", VALID, "-O", GRANT]);
        let at = |seconds: i64, micros: i64| {
            AccessClaim::read(&certificate, &ours, Timestamp::from_micros(seconds * 1_000_000 + micros)).is_ok()
        };
        let (first, end) = (1_777_593_600, 1_782_864_000);
        assert_eq!([at(first - 1, 999_999), at(first, 0), at(end - 1, 999_999), at(end, 0)], [false, true, true, false]);
    }

    #[test]
    fn ours_is_read_by_ssh_keygen_and_refused_by_no_rule_of_ours() {
        let mut rng = StdRng::seed_from_u64(8);
        let authority = AccessAuthority::new(PrivateKey::random(&mut rng, Algorithm::Ed25519).unwrap());
        let folder = tempfile::tempdir().unwrap();
        for algorithm in [Algorithm::Ed25519, Algorithm::Ecdsa { curve: ssh_key::EcdsaCurve::NistP256 }] {
            let user = PrivateKey::random(&mut rng, algorithm).unwrap();
            let grant: GrantId = "g-7k2m9q".parse().unwrap();
            let ends = NOW.plus(crate::access::time::Span::minutes(60));
            let ask = AccessCert {
                key: user.public_key(),
                grant: &grant,
                key_id: KeyId::of_access(&"alice".parse().unwrap(), &grant),
                serial: Serial::random(&mut rng),
                validity: Validity::of_grant(NOW, ends).unwrap(),
            };
            let certificate = authority.certify(&ask, &mut rng).unwrap();
            let claim = AccessClaim::read(&certificate, &[authority.public_key().clone()], NOW).unwrap();
            assert_eq!((&claim.grant, claim.serial), (&grant, ask.serial.get()));
            let file = folder.path().join("id-cert.pub");
            std::fs::write(&file, certificate.to_openssh().unwrap()).unwrap();
            let shown = keygen(folder.path(), &["-L", "-f", "id-cert.pub"]);
            for words in [
                "user certificate",
                "Key ID: \"alice/g-7k2m9q\"",
                "Valid: from 2026-06-01T00:00:00 to 2026-06-01T01:00:00",
                "Principals: \n                access@jit-bastion\n",
                "grant@jit-bastion UNKNOWN OPTION",
                "Extensions: (none)",
            ] {
                assert!(shown.contains(words), "{words:?} is not in\n{shown}");
            }
        }
    }
}
