//! The authorities for hosts and for clients. Each is a type of its own that can sign only its own kind of certificate: the one that hosts
//! trust cannot make a host certificate, and the other way round; the third is in [`access`](super::access). None can sign for all principals.

use rand::CryptoRng;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{Certificate, PrivateKey, PublicKey};

use super::certificate::{CertificateError, HostCert, KeyId, Serial, SessionCert, Validity, check_command, check_host_name};

/// Random bytes that make each certificate's signed bytes unforeseeable.
const NONCE: usize = 32;

/// Hosts trust it: signs user certificates for one session each.
pub struct SessionAuthority(PrivateKey);

/// Clients trust it: signs host certificates for the bastion's own keys.
pub struct HostAuthority(PrivateKey);

impl SessionAuthority {
    pub(super) const fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// What hosts are told to trust (`TrustedUserCAKeys`).
    pub fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Signs one session's certificate.
    pub fn certify<R: CryptoRng + ?Sized>(&self, ask: &SessionCert<'_>, rng: &mut R) -> Result<Certificate, CertificateError> {
        if ask.sources.is_empty() {
            return Err(CertificateError::NoSource);
        }
        let mut builder = begin(ask.key, ask.validity, ask.serial, &ask.key_id, CertType::User, rng)?;
        builder.valid_principal(ask.login.as_str())?;
        if let Some(command) = ask.force_command {
            check_command(command)?;
            builder.critical_option("force-command", command)?;
        }
        let sources: Vec<String> = ask.sources.iter().map(ToString::to_string).collect();
        builder.critical_option("source-address", sources.join(","))?;
        for extension in &ask.extensions {
            builder.extension(extension.as_str(), "")?;
        }
        Ok(builder.sign(&self.0)?)
    }
}

impl HostAuthority {
    pub(super) const fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// What clients are told to trust (`@cert-authority`).
    pub fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Signs a host certificate.
    pub fn certify<R: CryptoRng + ?Sized>(&self, ask: &HostCert<'_>, rng: &mut R) -> Result<Certificate, CertificateError> {
        if ask.names.is_empty() {
            return Err(CertificateError::NoPrincipal);
        }
        let mut builder = begin(ask.key, ask.validity, ask.serial, &ask.key_id, CertType::Host, rng)?;
        for name in ask.names {
            check_host_name(name)?;
            builder.valid_principal(name.as_str())?;
        }
        Ok(builder.sign(&self.0)?)
    }
}

pub(super) fn begin<R: CryptoRng + ?Sized>(
    key: &PublicKey,
    validity: Validity,
    serial: Serial,
    key_id: &KeyId,
    kind: CertType,
    rng: &mut R,
) -> Result<Builder, CertificateError> {
    let mut nonce = vec![0; NONCE];
    rng.fill_bytes(&mut nonce);
    let mut builder = Builder::new(nonce, key, validity.from, validity.until)?;
    builder.serial(serial.get())?.key_id(key_id.as_str())?.cert_type(kind)?;
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::names::Login;
    use crate::access::time::{Span, Timestamp};
    use crate::ca::certificate::{Extension, SourceAddress};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use ssh_key::{Algorithm, HashAlg};
    use std::collections::BTreeSet;
    use std::process::Command;

    fn key(rng: &mut StdRng) -> PrivateKey {
        PrivateKey::random(rng, Algorithm::Ed25519).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_795_298_820_000_000)
    }

    fn listed(certificate: &Certificate) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id-cert.pub");
        std::fs::write(&file, certificate.to_openssh().unwrap()).unwrap();
        let out = Command::new("ssh-keygen").env("TZ", "UTC").arg("-L").arg("-f").arg(&file).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn session(rng: &mut StdRng, sources: &[&str], command: Option<&str>) -> Result<(SessionAuthority, Certificate), CertificateError> {
        let authority = SessionAuthority::new(key(rng));
        let subject = key(rng);
        let sources: Vec<SourceAddress> = sources.iter().map(|s| s.parse().unwrap()).collect();
        let ask = SessionCert {
            key: subject.public_key(),
            login: &Login::parse("postgres").unwrap(),
            key_id: KeyId::parse("alice/s-7k2m9q/g-7k2m9q").unwrap(),
            serial: Serial::random(rng),
            validity: Validity::for_session(now(), now().plus(Span::minutes(60)))?,
            sources: &sources,
            extensions: BTreeSet::from([Extension::Pty]),
            force_command: command,
        };
        let certificate = authority.certify(&ask, rng)?;
        Ok((authority, certificate))
    }

    #[test]
    fn ssh_keygen_reads_a_session_certificate() {
        let mut rng = StdRng::seed_from_u64(1);
        let (authority, certificate) = session(&mut rng, &["192.0.2.7", "2001:db8::/32"], Some("internal-sftp -R")).unwrap();
        let shown = listed(&certificate);
        let ca = authority.public_key().fingerprint(HashAlg::Sha256).to_string();
        for expected in [
            "ssh-ed25519-cert-v01@openssh.com user certificate",
            &ca,
            "Key ID: \"alice/s-7k2m9q/g-7k2m9q\"",
            &format!("Serial: {}", certificate.serial()),
            "Valid: from 2026-11-21T22:02:00 to 2026-11-21T22:12:00",
            "Principals: \n                postgres\n",
            "force-command internal-sftp -R",
            "source-address 192.0.2.7,2001:db8::/32",
            "Extensions: \n                permit-pty\n",
        ] {
            assert!(shown.contains(expected), "{expected:?} is not in\n{shown}");
        }
    }

    #[test]
    fn ssh_keygen_reads_a_host_certificate() {
        let mut rng = StdRng::seed_from_u64(2);
        let authority = HostAuthority::new(key(&mut rng));
        let subject = key(&mut rng);
        let ask = HostCert {
            key: subject.public_key(),
            names: &["phi-db".into(), "192.0.2.9".into()],
            key_id: KeyId::parse("inner:phi-db").unwrap(),
            serial: Serial::random(&mut rng),
            validity: Validity::new(now(), now().plus(Span::minutes(60 * 24 * 30))).unwrap(),
        };
        let shown = listed(&authority.certify(&ask, &mut rng).unwrap());
        for expected in ["host certificate", "phi-db\n                192.0.2.9\n", "Critical Options: (none)", "Extensions: (none)"] {
            assert!(shown.contains(expected), "{expected:?} is not in\n{shown}");
        }
    }

    #[test]
    fn a_session_certificate_is_for_one_principal_and_one_authority() {
        let mut rng = StdRng::seed_from_u64(3);
        let (authority, certificate) = session(&mut rng, &["192.0.2.7"], None).unwrap();
        assert_eq!(certificate.valid_principals(), ["postgres"]);
        assert_eq!(certificate.cert_type(), CertType::User);
        let options: Vec<_> = certificate.critical_options().keys().map(String::as_str).collect();
        assert_eq!(options, ["source-address"]);
        let at = u64::try_from(now().seconds()).unwrap();
        let ca = authority.public_key().fingerprint(HashAlg::Sha256);
        assert!(certificate.validate_at(at, [&ca]).is_ok());
        assert!(certificate.validate_at(at + 301, [&ca]).is_err());
        let other = HostAuthority::new(key(&mut rng)).public_key().fingerprint(HashAlg::Sha256);
        assert!(certificate.validate_at(at, [&other]).is_err());
    }

    #[test]
    fn nonces_and_serials_are_fresh() {
        let mut rng = StdRng::seed_from_u64(4);
        let (_, a) = session(&mut rng, &["192.0.2.7"], None).unwrap();
        let (_, b) = session(&mut rng, &["192.0.2.7"], None).unwrap();
        assert_ne!(a.nonce(), b.nonce());
        assert_ne!(a.serial(), b.serial());
        assert!(a.nonce().len() == NONCE && a.serial() >> 63 == 0 && a.serial() > 0);
    }

    #[test]
    fn what_would_be_too_wide_is_not_signed() {
        let mut rng = StdRng::seed_from_u64(5);
        assert!(matches!(session(&mut rng, &[], None), Err(CertificateError::NoSource)));
        assert!(matches!(session(&mut rng, &["192.0.2.7"], Some("a\nb")), Err(CertificateError::Part(_))));
        let authority = HostAuthority::new(key(&mut rng));
        let subject = key(&mut rng);
        let mut host = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let validity = Validity::new(now(), now().plus(Span::minutes(60))).unwrap();
            let (key_id, serial) = (KeyId::parse("inner").unwrap(), Serial::random(&mut rng));
            authority.certify(&HostCert { key: subject.public_key(), names: &names, key_id, serial, validity }, &mut rng)
        };
        assert!(matches!(host(&[]), Err(CertificateError::NoPrincipal)));
        for pattern in ["*", "phi-*", "phi-d?", "a,b", "", "!phi", "PHI"] {
            assert!(matches!(host(&[pattern]), Err(CertificateError::Part(_))), "{pattern}");
        }
    }
}
