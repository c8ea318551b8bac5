//! Key blobs, signatures, host certificates and access certificates.

use jit_bastion::access::time::Timestamp;
use jit_bastion::ca::access::AccessClaim;
use jit_bastion::wire::keys::{HostKeyCheck, TrustedHost, verify};
use jit_bastion::wire::trust::{Shown, shown};
use jit_bastion::wire::verify::{SIGNATURE_ALGORITHMS, acceptable};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{Certificate, PrivateKey};

pub const ALL: &[super::Target] = &[("keys", keys), ("access_certificate", access_certificate)];

/// The seed of the access CA of these targets, which signs nothing here.
pub const AUTHORITY: [u8; 32] = [8; 32];

/// The first byte picks the algorithm, the second says where the key ends and its signature begins.
pub fn keys(data: &[u8]) {
    let [pick, cut, rest @ ..] = data else { return };
    let plain = SIGNATURE_ALGORITHMS[usize::from(*pick >> 1) % SIGNATURE_ALGORITHMS.len()];
    let base = plain.strip_suffix("@openssh.com").unwrap_or(plain);
    let algorithm = if pick & 1 == 0 { plain.to_owned() } else { format!("{base}-cert-v01@openssh.com") };
    let (key, signature) = rest.split_at(usize::from(*cut).min(rest.len()));
    // no assertion: for a degenerate key, all zeroes for one, anybody can sign
    let _ = verify(key, &algorithm, signature, b"what nobody signed");
    let _ = acceptable(rest, &algorithm);
    let trust = TrustedHost::new(&[], &[], vec!["phi-db".to_owned()], 1_780_272_000).unwrap();
    assert!(trust.check(rest, &algorithm).is_err());
}

/// As the inner door reads a certificate: its form first, then what it says. Nobody signed these bytes.
pub fn access_certificate(data: &[u8]) {
    let Ok(Shown::Certificate) = shown(data) else { return };
    let Ok(certificate) = Certificate::from_bytes(data) else { return };
    let authority = PrivateKey::from(Ed25519Keypair::from_seed(&AUTHORITY)).public_key().clone();
    let now = Timestamp::from_micros(1_780_272_000_000_000);
    assert!(AccessClaim::read(&certificate, &[authority], now).is_err());
}
