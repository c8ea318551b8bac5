//! Which end of a connection we are, and what we are told for it.

use std::sync::Arc;

use super::kex::offer::Algorithms;
use super::keys::{HostIdentity, HostKeyCheck};

/// How we answer as a server.
pub struct ServerConfig {
    /// Our identification line without its end, for example `SSH-2.0-OpenSSH_9.9 jit-bastion`: OpenSSH sends
    /// `eow@openssh.com` only to a version that begins with `OpenSSH`.
    pub id: String,
    /// Host certificates and plain host keys; the client's order decides which one is shown.
    pub host_keys: Vec<HostIdentity>,
    /// When we want new keys.
    pub rekey: RekeyBudget,
    /// What EXT_INFO tells a client that asked for it (RFC 8308).
    pub ext_info: Vec<(String, Vec<u8>)>,
    /// What we speak.
    pub algorithms: Algorithms,
}

/// How we call as a client.
pub struct ClientConfig {
    /// Our identification line without its end.
    pub id: String,
    /// Whose host key is accepted.
    pub trust: Arc<dyn HostKeyCheck>,
    /// Host key algorithms, the preferred first.
    pub host_key_algorithms: Vec<&'static str>,
    /// When we want new keys.
    pub rekey: RekeyBudget,
    /// What we speak.
    pub algorithms: Algorithms,
}

/// How much may pass in one direction under one set of keys before we want new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyBudget {
    /// Bytes on the wire.
    pub bytes: u64,
    /// Packets; far below the 2^32 of the sequence number.
    pub packets: u64,
}

impl Default for RekeyBudget {
    /// A GiB (RFC 4253 section 9) or 2^28 packets.
    fn default() -> Self {
        Self { bytes: 1 << 30, packets: 1 << 28 }
    }
}

/// Which end of the connection we are.
#[derive(Clone)]
pub(super) enum Role {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}
