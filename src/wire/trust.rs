//! Which host key is the right one: pinned keys, or certificates of authorities that we trust for hosts.

use ssh_key::PublicKey as Key;

use super::codec::{Reader, WireError};
use super::keys::HostKeyCheck;
use super::verify::{PublicKey, plain_algorithm, verify};

/// The one host that we mean to reach, at the time of the dial.
///
/// A plain host key is right if it is among the keys. A host certificate is right if an authority of ours signed it,
/// as a host certificate, for one of the principals, for now, and without any critical option: none exists for hosts,
/// so one that is there limits the certificate in a way that we would not see.
#[derive(Debug, Clone)]
pub struct TrustedHost {
    keys: Vec<Vec<u8>>,
    authorities: Vec<Vec<u8>>,
    principals: Vec<String>,
    now: u64,
}

impl TrustedHost {
    /// `principals` are the host's names and its address as registered, compared without regard to ASCII case and
    /// without wildcards; `now` is in seconds since 1970. An authority that is itself a certificate is an error.
    pub fn new(keys: &[Key], authorities: &[Key], principals: Vec<String>, now: u64) -> Result<Self, WireError> {
        let blobs = |keys: &[Key]| -> Result<Vec<Vec<u8>>, WireError> {
            keys.iter().map(|key| key.to_bytes().map_err(|_| WireError::Malformed("trusted key"))).collect()
        };
        if authorities.iter().any(|authority| authority.key_data().is_certificate()) {
            return Err(WireError::Malformed("authority: a certificate is none"));
        }
        Ok(Self { keys: blobs(keys)?, authorities: blobs(authorities)?, principals, now })
    }

    fn check_certificate(&self, blob: &[u8], fields: &[u8]) -> Result<(), WireError> {
        let certificate = Certificate::parse(blob, fields)?;
        if certificate.kind != HOST {
            return refuse("its certificate is not a host certificate");
        }
        if !self.authorities.iter().any(|authority| authority == certificate.authority) {
            return refuse("its certificate is signed by an authority that we do not trust");
        }
        if PublicKey::parse(certificate.authority)?.certificate.is_some() {
            return refuse("its certificate is signed by a certificate");
        }
        let algorithm = Reader::new(certificate.signature).text()?;
        if verify(certificate.authority, algorithm, certificate.signature, certificate.signed).is_err() {
            return refuse("the authority's signature on its certificate is wrong");
        }
        if certificate.critical_options {
            return refuse("its certificate has a critical option, which no host certificate may have");
        }
        if self.now < certificate.valid_after {
            return refuse("its certificate is not valid yet");
        }
        if self.now >= certificate.valid_before {
            return refuse("its certificate has expired");
        }
        let named = |principal: &&str| self.principals.iter().any(|ours| ours.eq_ignore_ascii_case(principal));
        if !certificate.principals.iter().any(|principal| named(&principal.as_str())) {
            return refuse("its certificate is for other names");
        }
        Ok(())
    }
}

impl HostKeyCheck for TrustedHost {
    fn check(&self, blob: &[u8], algorithm: &str) -> Result<(), WireError> {
        let key = PublicKey::parse(blob)?;
        let certified = plain_algorithm(algorithm).is_some_and(|plain| plain != algorithm);
        match key.certificate {
            Some(fields) if certified => self.check_certificate(blob, fields),
            None if !certified && self.keys.iter().any(|trusted| trusted == blob) => Ok(()),
            None if !certified => refuse("it is not the key that is registered for this host"),
            _ => refuse("it does not fit the algorithm agreed on"),
        }
    }
}

fn refuse(reason: &str) -> Result<(), WireError> {
    Err(WireError::HostKey(reason.to_owned()))
}

/// What somebody showed to prove themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A plain key.
    Key,
    /// A certificate whose authority is a plain key.
    Certificate,
}

/// Reads the form of a key or certificate blob, and nothing of its worth. A certificate whose authority is a certificate is an error:
/// libraries that read those go down one level for each, and the sender says how many there are.
pub fn shown(blob: &[u8]) -> Result<Shown, WireError> {
    let Some(fields) = PublicKey::parse(blob)?.certificate else { return Ok(Shown::Key) };
    let certificate = Certificate::parse(blob, fields)?;
    match PublicKey::parse(certificate.authority)?.certificate {
        None => Ok(Shown::Certificate),
        Some(_) => Err(WireError::Malformed("authority: a certificate is none")),
    }
}

/// The fields of a certificate after its key: OpenSSH's PROTOCOL.certkeys.
struct Certificate<'a> {
    kind: u32,
    principals: Vec<String>,
    valid_after: u64,
    valid_before: u64,
    /// There is at least one.
    critical_options: bool,
    authority: &'a [u8],
    signature: &'a [u8],
    /// What the signature covers.
    signed: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// `fields` is the tail of `blob` after the certified key.
    fn parse(blob: &'a [u8], fields: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(fields);
        r.u64()?; // serial
        let kind = r.u32()?;
        r.string()?; // key id
        let principals = principals(r.string()?)?;
        let (valid_after, valid_before) = (r.u64()?, r.u64()?);
        let critical_options = !r.string()?.is_empty();
        r.string()?; // extensions: by their nature to be ignored
        r.string()?; // reserved
        let authority = r.string()?;
        let signed = blob.get(..blob.len().saturating_sub(r.rest().len())).ok_or(WireError::Truncated)?;
        let signature = r.string()?;
        r.end()?;
        Ok(Self { kind, principals, valid_after, valid_before, critical_options, authority, signature, signed })
    }
}

fn principals(list: &[u8]) -> Result<Vec<String>, WireError> {
    let mut r = Reader::new(list);
    let mut principals = Vec::new();
    while !r.rest().is_empty() {
        if principals.len() == MAX_PRINCIPALS {
            return Err(WireError::TooLarge("number of principals"));
        }
        principals.push(r.text()?.to_owned());
    }
    Ok(principals)
}

/// The certificate type of hosts; 1 is for users.
const HOST: u32 = 2;
/// As many as OpenSSH reads.
const MAX_PRINCIPALS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keygen::Keygen;
    use super::super::keys::certificate_algorithm;
    use super::*;

    /// 2026-06-01 in UTC, the time of the check.
    const NOW: u64 = 1_780_272_000;
    const VALID: &str = "20260501000000Z:20260701000000Z";

    fn names() -> Vec<String> {
        vec!["phi-db".to_owned(), "10.1.2.3".to_owned()]
    }

    fn reason(result: Result<(), WireError>) -> String {
        match result {
            Err(WireError::HostKey(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pinned_key_is_compared_whole() {
        let keygen = Keygen::new();
        let (a, b) = (keygen.key("a", "ed25519"), keygen.key("b", "ecdsa:256"));
        let trust = TrustedHost::new(&[keygen.public("a")], &[], names(), NOW).unwrap();
        let (a, b) = (a.public_key().to_bytes().unwrap(), b.public_key().to_bytes().unwrap());
        assert_eq!(trust.check(&a, "ssh-ed25519"), Ok(()));
        assert!(reason(trust.check(&b, "ecdsa-sha2-nistp256")).contains("not the key"));
        assert!(reason(trust.check(&a, "ssh-ed25519-cert-v01@openssh.com")).contains("algorithm"));
        // an authority's own key is no host key
        let trust = TrustedHost::new(&[], &[keygen.public("a")], names(), NOW).unwrap();
        assert!(trust.check(&a, "ssh-ed25519").is_err());
    }

    #[test]
    fn host_certificates_of_real_authorities() {
        let keygen = Keygen::new();
        for (index, (host, authority, signature)) in [
            ("ed25519", "ed25519", None),
            ("ecdsa:256", "ecdsa:256", None),
            ("ed25519", "ecdsa:521", None),
            ("rsa:3072", "rsa:3072", Some("rsa-sha2-512")),
            ("ed25519", "rsa:3072", Some("rsa-sha2-256")),
        ]
        .into_iter()
        .enumerate()
        {
            let (host_name, ca) = (format!("host{index}"), format!("ca{index}"));
            let key = keygen.key(&host_name, host);
            keygen.key(&ca, authority);
            let mut options = vec!["-h", "-n", "other,PHI-db", "-V", VALID];
            options.extend(signature.iter().flat_map(|algorithm| ["-t", algorithm]));
            let blob = keygen.certificate(&host_name, &ca, &options).to_bytes().unwrap();
            let algorithm = match host {
                "rsa:3072" => "rsa-sha2-512-cert-v01@openssh.com".to_owned(),
                _ => certificate_algorithm(key.algorithm().as_str()),
            };
            let trust = TrustedHost::new(&[], &[keygen.public(&ca)], names(), NOW).unwrap();
            assert_eq!(trust.check(&blob, &algorithm), Ok(()), "{host} by {authority}");
            for byte in (0..blob.len()).step_by(7) {
                let mut changed = blob.clone();
                changed[byte] ^= 0x10;
                assert!(trust.check(&changed, &algorithm).is_err(), "byte {byte} of {host} by {authority}");
            }
        }
    }

    #[test]
    fn every_wrong_certificate_is_refused_for_its_reason() {
        let keygen = Keygen::new();
        for name in ["host", "ca", "stranger"] {
            keygen.key(name, "ed25519");
        }
        let trust = TrustedHost::new(&[keygen.public("host")], &[keygen.public("ca")], names(), NOW).unwrap();
        let check = |authority: &str, options: &[&str]| {
            let blob = keygen.certificate("host", authority, options).to_bytes().unwrap();
            trust.check(&blob, "ssh-ed25519-cert-v01@openssh.com")
        };
        assert_eq!(check("ca", &["-h", "-n", "10.1.2.3", "-V", VALID]), Ok(()));
        for (authority, options, part) in [
            ("ca", &["-n", "phi-db", "-V", VALID][..], "not a host certificate"),
            ("stranger", &["-h", "-n", "phi-db", "-V", VALID], "do not trust"),
            ("ca", &["-h", "-n", "phi-db", "-V", "20260401000000Z:20260501000000Z"], "expired"),
            ("ca", &["-h", "-n", "phi-db", "-V", "20260401000000Z:20260601000000Z"], "expired"),
            ("ca", &["-h", "-n", "phi-db", "-V", "20260601000001Z:20260701000000Z"], "not valid yet"),
            ("ca", &["-h", "-n", "phi-db2", "-V", VALID], "other names"),
            ("ca", &["-h", "-n", "phi-*", "-V", VALID], "other names"),
            ("ca", &["-h", "-V", VALID], "other names"), // no principals: for every host, says OpenSSH; for none, say we
            ("ca", &["-h", "-n", "phi-db", "-V", VALID, "-O", "critical:force-command=x"], "critical option"),
        ] {
            assert!(reason(check(authority, options)).contains(part), "{options:?}");
        }
        // the trusted plain key does not make its certificates right, nor the other way round
        let blob = keygen.certificate("host", "ca", &["-h", "-n", "phi-db", "-V", VALID]).to_bytes().unwrap();
        assert!(reason(trust.check(&blob, "ssh-ed25519")).contains("algorithm"));
    }

    #[test]
    fn the_last_second_is_outside() {
        let keygen = Keygen::new();
        keygen.key("host", "ed25519");
        keygen.key("ca", "ed25519");
        let blob = keygen.certificate("host", "ca", &["-h", "-n", "phi-db", "-V", VALID]).to_bytes().unwrap();
        let at = |now| {
            let trust = TrustedHost::new(&[], &[keygen.public("ca")], names(), now).unwrap();
            trust.check(&blob, "ssh-ed25519-cert-v01@openssh.com").is_ok()
        };
        let (first, end) = (1_777_593_600, 1_782_864_000);
        assert_eq!([at(first - 1), at(first), at(end - 1), at(end)], [false, true, true, false]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(tail in any::<Vec<u8>>()) {
            use super::super::codec::Writer;
            let name = b"ssh-ed25519-cert-v01@openssh.com";
            let blob = Writer::new().string(name).string(&[1; 32]).string(&[7; 32]).raw(&tail).done();
            let trust = TrustedHost::new(&[], &[], names(), NOW).unwrap();
            prop_assert!(trust.check(&blob, "ssh-ed25519-cert-v01@openssh.com").is_err());
            prop_assert!(trust.check(&tail, "ssh-ed25519").is_err());
        }
    }
}
