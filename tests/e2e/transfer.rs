//! Bytes in bulk: whole, in order, both ways at once, through rekeys, and beside somebody who has stalled.

use std::time::{Duration, Instant};

use crate::world::{Bastion, Out, Ssh};

const MIB: usize = 1 << 20;

/// Bytes that no compression or repetition can hide a mistake in.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

#[track_caller]
fn comes_back(ssh: &Ssh, bytes: &[u8]) {
    let back = ssh.run_with("cat", bytes).expect(0);
    assert_eq!(back.stdout.len(), bytes.len());
    assert!(back.stdout == bytes, "the same bytes come back");
}

#[test]
fn transfer_64_mib_both_ways_at_once() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let bytes = noise(64 * MIB);
    comes_back(&bastion.ssh().jump("phi-db"), &bytes);
    bastion.settled();
    let cast = bastion.casts(&bastion.sessions()[0]).remove(0);
    assert!(cast.out() == bytes && cast.input() == bytes, "and all of them are kept, both ways");
}

#[test]
fn rekey_every_mebibyte() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db").option("RekeyLimit=1M");
    comes_back(&ssh, &noise(32 * MIB));
    for cipher in ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"] {
        comes_back(&ssh.clone().flag("-c").flag(cipher), &noise(4 * MIB));
    }
    for exchange in ["curve25519-sha256", "curve25519-sha256@libssh.org"] {
        comes_back(&ssh.clone().option(&format!("KexAlgorithms={exchange}")), &noise(2 * MIB));
    }
}

#[test]
fn a_second_session_beside_a_stalled_one() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let stalled = bastion.ssh().jump("phi-db").spawn_to("echo >&2 begun; cat /dev/zero", Out::Stall);
    stalled.until_error("begun");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(bastion.ssh().jump("phi-db").run("head -c 3000000 /dev/zero | wc -c").expect(0).text(), "3000000\n");
    }
    comes_back(&bastion.ssh().jump("phi-db"), &noise(2 * MIB));
    assert!(began.elapsed() < Duration::from_secs(45), "a stalled client holds nobody else: {:?}", began.elapsed());
    let resident = std::fs::read_to_string(format!("/proc/{}/status", bastion.pid())).expect("it runs");
    let kib: u64 = resident.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok()).expect("a size");
    assert!(kib < 400 * 1024, "{kib} KiB are held beside a stalled client");
}
