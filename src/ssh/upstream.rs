//! The way to the true host: a fresh key, a certificate for this session alone, and the host's key checked against what is registered.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ssh_key::private::Ed25519Keypair;
use ssh_key::{Certificate, PrivateKey};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::leg::{Leg, LegError};
use super::socket::{self, Prompt};
use crate::access::host::{Host, HostTrust};
use crate::access::names::Login;
use crate::access::time::Timestamp;
use crate::wire::auth::{ClientAuth, ClientStep};
use crate::wire::codec::WireError;
use crate::wire::entropy::{Entropy, SystemEntropy};
use crate::wire::keys::TrustedHost;
use crate::wire::transport::{ClientConfig, RekeyBudget, Transport};

/// A host that has accepted our certificate.
pub(crate) struct Upstream {
    pub(crate) leg: Leg<OwnedWriteHalf>,
    pub(crate) reader: Prompt<OwnedReadHalf>,
    /// For the knife.
    pub(crate) socket: OwnedFd,
    /// What the host said before it let us in: its legal banner.
    pub(crate) said: Vec<String>,
}

/// Why a host could not be reached; each is a sentence for the user.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("{host} cannot be reached: {why}\nhint: the host may be down; `ssh jit-bastion hosts` shows what is registered")]
    Unreachable { host: String, why: String },
    #[error(
        "{place} cannot be reached: {why}\nhint: whether something listens there is the host's business; `ssh jit-bastion hosts` shows what is registered"
    )]
    Port { place: String, why: String },
    #[error("{host} did not answer within {seconds} s")]
    Slow { host: String, seconds: u64 },
    #[error(
        "the key of {host} is not the registered one: {why}\nhint: an administrator compares the key at the console and registers it with `jit-bastion host key {host} --scan`"
    )]
    HostKey { host: String, why: String },
    #[error(
        "{host} refused the certificate for {login} (it would take: {methods})\nhint: an administrator checks `jit-bastion host setup {host} --stage trust` on that host, and that the account exists"
    )]
    Refused { host: String, login: String, methods: String },
    #[error("{host} does not speak SSH as we do: {why}")]
    Protocol { host: String, why: String },
}

/// A TCP connection to the host, before anything was said on it.
pub(crate) struct Reached {
    stream: TcpStream,
    /// The address that the host sees: it goes into the certificate.
    pub(crate) local: IpAddr,
}

/// Connects.
pub(crate) async fn reach(host: &Host) -> Result<Reached, DialError> {
    let name = || host.name.to_string();
    let connect = TcpStream::connect((host.address.host.as_str(), host.address.port));
    let unreachable = |e: std::io::Error| DialError::Unreachable { host: name(), why: e.to_string() };
    let stream =
        timeout(CONNECT, connect).await.map_err(|_| DialError::Slow { host: name(), seconds: CONNECT.as_secs() })?.map_err(unreachable)?;
    socket::prepare(&stream, DEAD_PEER).map_err(unreachable)?;
    let local = stream.local_addr().map_err(unreachable)?.ip().to_canonical();
    Ok(Reached { stream, local })
}

/// A key pair for one session: made here, used once, never written down.
pub(crate) fn fresh_key() -> PrivateKey {
    let mut seed = Zeroizing::new([0; 32]);
    SystemEntropy.fill(seed.as_mut_slice());
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

/// Authenticates to the host as `login`.
pub(crate) async fn enter(
    reached: Reached,
    host: &Host,
    login: &Login,
    key: &PrivateKey,
    certificate: &Certificate,
    now: Timestamp,
) -> Result<Upstream, DialError> {
    let name = || host.name.to_string();
    let protocol = |e: &dyn std::fmt::Display| DialError::Protocol { host: name(), why: e.to_string() };
    let config = client_config(host, now).map_err(|e| protocol(&e))?;
    let socket = reached.stream.as_fd().try_clone_to_owned().map_err(|e| protocol(&e))?;
    let (reader, writer) = reached.stream.into_split();
    let mut reader = Prompt::new(reader);
    let leg = Leg::new(Transport::client(Arc::new(config), Box::new(SystemEntropy)), writer);
    let greeting = async {
        leg.establish(&mut reader).await?;
        let mut auth = ClientAuth::new(login.as_str(), certificate, key, &leg.with(|t| t.session_id().to_vec()))?;
        leg.send(&auth.start()).await?;
        let mut said = Vec::new();
        loop {
            let message = leg.receive(&mut reader).await?;
            match auth.handle(&message)? {
                ClientStep::Send(reply) => leg.send(&reply).await?,
                ClientStep::Wait => {}
                ClientStep::Banner(text) => said.push(text),
                ClientStep::In => return Ok(Ok(said)),
                ClientStep::Refused { methods, .. } => return Ok(Err(methods)),
            }
        }
    };
    let greeted: Result<Result<Vec<String>, String>, LegError> =
        timeout(GREETING, greeting).await.map_err(|_| DialError::Slow { host: name(), seconds: GREETING.as_secs() })?;
    match greeted {
        Ok(Ok(said)) => Ok(Upstream { leg, reader, socket, said }),
        Ok(Err(methods)) => {
            let methods = methods.chars().filter(char::is_ascii_graphic).take(200).collect();
            Err(DialError::Refused { host: name(), login: login.to_string(), methods })
        }
        Err(LegError::Wire(WireError::HostKey(why))) => Err(DialError::HostKey { host: name(), why }),
        Err(error) => Err(protocol(&error)),
    }
}

fn client_config(host: &Host, now: Timestamp) -> Result<ClientConfig, WireError> {
    let mut keys = Vec::new();
    let mut authorities = Vec::new();
    for trust in &host.trust {
        match trust {
            HostTrust::Key(key) => keys.push(key.clone()),
            HostTrust::Authority(key) => authorities.push(key.clone()),
        }
    }
    let mut algorithms: Vec<&'static str> = Vec::new();
    if !authorities.is_empty() {
        algorithms.extend(CERTIFICATES);
    }
    algorithms.extend(PLAIN.iter().filter(|(family, _)| keys.iter().any(|k| k.algorithm().as_str() == *family)).map(|(_, name)| name));
    let mut principals = vec![host.address.host.clone()];
    principals.extend(host.names().map(ToString::to_string));
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    Ok(ClientConfig {
        id: super::IDENTIFICATION.into(),
        trust: Arc::new(TrustedHost::new(&keys, &authorities, principals, seconds)?),
        host_key_algorithms: algorithms,
        rekey: RekeyBudget::default(),
        algorithms: Default::default(),
    })
}

/// Host certificates that we take, the preferred first.
const CERTIFICATES: [&str; 6] = [
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
];

/// Key families as registered, and the signature algorithms that prove them. Only what is registered is offered, so that the host
/// shows the key that we can check.
const PLAIN: [(&str, &str); 6] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512"),
    ("ssh-rsa", "rsa-sha2-256"),
];

const CONNECT: Duration = Duration::from_secs(10);
/// Key exchange and authentication; PAM modules of hosts may take their time.
const GREETING: Duration = Duration::from_secs(30);
/// A host that acknowledges nothing for so long is gone.
const DEAD_PEER: Duration = Duration::from_secs(60);
