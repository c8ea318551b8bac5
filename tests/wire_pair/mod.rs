//! Two ends of our transport that talk through memory.

#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;

use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::WireError;
use jit_bastion::wire::entropy::SeededEntropy;
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::kex::offer::Algorithms;
use jit_bastion::wire::keys::{HostIdentity, HostKeyCheck};
use jit_bastion::wire::transport::{ClientConfig, RekeyBudget, ServerConfig, Transport};
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

/// Accepts one host key only.
pub struct Only(pub Vec<u8>);

impl HostKeyCheck for Only {
    fn check(&self, blob: &[u8], _: &str) -> Result<(), WireError> {
        if blob == self.0 { Ok(()) } else { Err(WireError::HostKey("another one".into())) }
    }
}

/// The host key of every test.
pub fn host_key() -> PrivateKey {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[5; 32]));
    PrivateKey::new(pair, "test").unwrap()
}

pub fn speak(kex: Agreement, cipher: Cipher) -> Algorithms {
    Algorithms { kex: vec![kex], ciphers: vec![cipher] }
}

pub fn quick() -> Algorithms {
    speak(Agreement::Curve25519, Cipher::Aes128Gcm)
}

pub fn server_config(algorithms: Algorithms) -> ServerConfig {
    ServerConfig {
        id: "SSH-2.0-OpenSSH_9.9 jit-bastion".into(),
        host_keys: vec![HostIdentity::plain(&host_key()).unwrap()],
        rekey: RekeyBudget::default(),
        ext_info: vec![("ping@openssh.com".into(), b"0".to_vec())],
        algorithms,
    }
}

pub fn client_config(algorithms: Algorithms) -> ClientConfig {
    ClientConfig {
        id: "SSH-2.0-OpenSSH_9.9 jit-bastion".into(),
        trust: Arc::new(Only(HostIdentity::plain(&host_key()).unwrap().blob().to_vec())),
        host_key_algorithms: vec!["ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"],
        rekey: RekeyBudget::default(),
        algorithms,
    }
}

pub fn server(algorithms: Algorithms, seed: u64) -> Transport {
    let rng = Box::new(SeededEntropy::new(seed));
    Transport::server(Arc::new(server_config(algorithms)), rng)
}

pub fn client(algorithms: Algorithms, seed: u64) -> Transport {
    let rng = Box::new(SeededEntropy::new(seed));
    Transport::client(Arc::new(client_config(algorithms)), rng)
}

/// Gives `bytes` to `to` and collects the messages that come out, also those before an error.
pub fn feed_into(to: &mut Transport, mut bytes: &[u8], messages: &mut Vec<Vec<u8>>) -> Result<(), WireError> {
    loop {
        while let Some(message) = to.next()? {
            messages.push(message.to_vec());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let space = to.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        to.filled(n);
        bytes = &bytes[n..];
    }
}

/// The same where no error is expected to leave messages behind.
pub fn feed(to: &mut Transport, bytes: &[u8]) -> Result<Vec<Vec<u8>>, WireError> {
    let mut messages = Vec::new();
    feed_into(to, bytes, &mut messages)?;
    Ok(messages)
}

/// Everything that waits at `from` goes to `to`.
pub fn carry(from: &mut Transport, to: &mut Transport) -> Result<Vec<Vec<u8>>, WireError> {
    let mut wire = Vec::new();
    from.take_output(&mut wire);
    feed(to, &wire)
}

/// Both ways until nobody has anything to say: what the first and what the second was given.
pub fn settle(a: &mut Transport, b: &mut Transport) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    while !a.output().is_empty() || !b.output().is_empty() {
        at_b.extend(carry(a, b).unwrap());
        at_a.extend(carry(b, a).unwrap());
    }
    (at_a, at_b)
}

/// A client and a server after their first key exchange.
pub fn pair(algorithms: &Algorithms) -> (Transport, Transport) {
    let (mut c, mut s) = (client(algorithms.clone(), 1), server(algorithms.clone(), 2));
    assert_eq!(settle(&mut c, &mut s), (vec![], vec![]));
    assert!(c.established() && s.established());
    (c, s)
}

/// The same after login.
pub fn known_pair(algorithms: &Algorithms) -> (Transport, Transport) {
    let (mut c, mut s) = pair(algorithms);
    s.send(&[52]).unwrap();
    assert_eq!(settle(&mut c, &mut s), (vec![vec![52]], vec![]));
    (c, s)
}
