//! Runs the bastion until it is told to stop: listens, tells systemd, raises the limit of open files.

use std::net::SocketAddr;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel holds for us while we accept others.
const BACKLOG: u32 = 1024;

/// Listens at every address, or says which one cannot be had.
pub(super) fn listen(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses.iter().map(|address| bind(*address).with_context(|| format!("cannot listen at {address}\nhint: {}", hint(*address)))).collect()
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        // `[::]:22` beside `0.0.0.0:22` would otherwise be "in use".
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

fn hint(address: SocketAddr) -> &'static str {
    if address.port() < 1024 {
        "ports below 1024 need CAP_NET_BIND_SERVICE (the unit in systemd/ has it), and the machine's own sshd may have this one"
    } else {
        "another program may have this port; `ss -ltnp` lists who listens"
    }
}

/// The soft limit of open files up to the hard one; a session needs about eight.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
