//! Asks a machine for its host keys, as `ssh-keyscan` does, and has it prove each: a key counts only when a key exchange that it signed
//! was finished. Whoever sits on the way could still show keys of their own, so a human compares the fingerprints.

use std::sync::Arc;
use std::time::Duration;

use ssh_key::PublicKey;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::leg::{Leg, LegError};
use crate::access::host::Address;
use crate::wire::codec::WireError;
use crate::wire::entropy::SystemEntropy;
use crate::wire::keys::HostKeyCheck;
use crate::wire::transport::{ClientConfig, RekeyBudget, Transport};

/// Why a machine told no key; each is a sentence for an administrator.
#[derive(Debug, Error)]
pub enum ScanError {
    /// No connection.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Address, String),
    /// It took too long.
    #[error("{0} did not answer within {1} s")]
    Slow(Address, u64),
    /// It speaks something else, or badly.
    #[error("{0} does not speak SSH as we do: {1}")]
    Protocol(Address, String),
    /// It has keys only of kinds that we do not take.
    #[error("{0} has no Ed25519, ECDSA or RSA host key")]
    None(Address),
}

/// The host keys of the machine at `address`, the preferred kind first: at most one each of Ed25519, ECDSA and RSA. Every step is
/// bounded in time. Their strength is the caller's business.
pub async fn scan(address: &Address) -> Result<Vec<PublicKey>, ScanError> {
    let mut keys = Vec::new();
    for family in FAMILIES {
        let asked = timeout(EXCHANGE, one(address, family)).await;
        keys.extend(asked.map_err(|_| ScanError::Slow(address.clone(), EXCHANGE.as_secs()))??);
    }
    if keys.is_empty() { Err(ScanError::None(address.clone())) } else { Ok(keys) }
}

/// The key of one kind, if the machine has one.
async fn one(address: &Address, family: &[&'static str]) -> Result<Option<PublicKey>, ScanError> {
    let protocol = |why: &dyn std::fmt::Display| ScanError::Protocol(address.clone(), why.to_string());
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
    let stream = stream.map_err(|error| ScanError::Unreachable(address.clone(), error.to_string()))?;
    let (mut reader, writer) = stream.into_split();
    let config = ClientConfig {
        id: super::IDENTIFICATION.into(),
        trust: Arc::new(Whoever),
        host_key_algorithms: family.to_vec(),
        rekey: RekeyBudget::default(),
        algorithms: Default::default(),
    };
    let leg = Leg::new(Transport::client(Arc::new(config), Box::new(SystemEntropy)), writer);
    match leg.establish(&mut reader).await {
        Ok(()) => {}
        Err(LegError::Wire(WireError::NoCommon(HOST_KEYS, _))) => return Ok(None),
        Err(error) => return Err(protocol(&error)),
    }
    let blob = leg.with(|transport| transport.host_key().map(<[u8]>::to_vec)).unwrap_or_default();
    leg.with(|transport| transport.disconnect(BY_APPLICATION, "only the host key was asked for"));
    // Whether the goodbye arrives is no matter.
    let _ = leg.flush().await;
    PublicKey::from_bytes(&blob).map(Some).map_err(|error| protocol(&error))
}

/// Any key will do: the transport has checked its signature, and a human decides about it.
struct Whoever;

impl HostKeyCheck for Whoever {
    fn check(&self, _blob: &[u8], _algorithm: &str) -> Result<(), WireError> {
        Ok(())
    }
}

/// One connection each. Of the three curves the machine's own order decides.
const FAMILIES: [&[&str]; 3] =
    [&["ssh-ed25519"], &["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"], &["rsa-sha2-512", "rsa-sha2-256"]];

/// What the transport calls the list that has no member in common.
const HOST_KEYS: &str = "host key algorithm";

/// SSH_DISCONNECT_BY_APPLICATION, RFC 4253 section 11.1.
const BY_APPLICATION: u32 = 11;

/// Connection and key exchange of one kind.
const EXCHANGE: Duration = Duration::from_secs(10);
