//! A tunnel: the way from the outer connection to one host's inner connection, as the inner side sees it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{Shutdown, shutdown};
use tokio::sync::watch;

use crate::access::host::Host;
use crate::access::person::Person;

/// What lives on one outer connection: how many channels, on which socket.
#[derive(Debug)]
pub(crate) struct Outer {
    socket: OwnedFd,
    open: AtomicUsize,
}

impl Outer {
    pub(crate) fn new(socket: OwnedFd) -> Arc<Self> {
        Arc::new(Self { socket, open: AtomicUsize::new(0) })
    }

    /// Counts one channel in, unless there are `most` already. Dropping the use counts it out.
    pub(crate) fn enter(self: &Arc<Self>, most: usize) -> Option<Use> {
        let entered = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1));
        entered.ok().map(|_| Use(Arc::clone(self)))
    }

    /// Ends the whole connection.
    pub(crate) fn shut(&self) {
        // It may be gone already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

/// One channel's use of its outer connection.
#[derive(Debug)]
pub(crate) struct Use(Arc<Outer>);

impl Use {
    /// Whether nothing else lives on the connection.
    pub(crate) fn is_sole(&self) -> bool {
        self.0.open.load(Ordering::Acquire) <= 1
    }

    /// A duplicate of the connection's socket, for the knife.
    pub(crate) fn socket(&self) -> std::io::Result<OwnedFd> {
        self.0.socket.as_fd().try_clone_to_owned()
    }

    /// Ends the whole connection.
    pub(crate) fn shut(&self) {
        self.0.shut();
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An open tunnel.
pub(crate) struct Tunnel<R, W> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    /// Where it leads.
    pub(crate) host: Host,
    /// Whose key opened the outer connection. The inner one must show the same user's.
    pub(crate) person: Person,
    pub(crate) peer: SocketAddr,
    pub(crate) outer: Use,
    /// Becomes true when the peer has closed its end of the tunnel.
    pub(crate) closed: watch::Receiver<bool>,
}
