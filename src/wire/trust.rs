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
