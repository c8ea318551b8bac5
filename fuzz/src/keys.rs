//! Key blobs, signatures and host certificates.

use jit_bastion::wire::keys::{HostKeyCheck, TrustedHost, verify};
use jit_bastion::wire::verify::{SIGNATURE_ALGORITHMS, acceptable};

pub const ALL: &[super::Target] = &[("keys", keys)];

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
