//! A tunnel: the way from the outer connection to one host's inner connection, as the inner side sees it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::{Shutdown, shutdown};
use tokio::sync::watch;

use crate::access::host::Host;
use crate::access::names::User;
use crate::access::person::Person;
use crate::broker::Proof;

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

/// Bytes that lie in the buffers of all tunnels, in all and by user.
#[derive(Debug, Default)]
pub(crate) struct Piles {
    all: Arc<AtomicUsize>,
    users: Mutex<HashMap<User, Weak<AtomicUsize>>>,
}

impl Piles {
    /// The pile of one user's tunnels.
    pub(crate) fn of(&self, user: &User) -> Pile {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, pile| pile.strong_count() > 0);
        let user = users.get(user).and_then(Weak::upgrade).unwrap_or_else(|| {
            let fresh = Arc::default();
            users.insert(user.clone(), Arc::downgrade(&fresh));
            fresh
        });
        Pile { user, all: Arc::clone(&self.all) }
    }
}

/// What one user's tunnels have piled up.
#[derive(Debug, Clone)]
pub(crate) struct Pile {
    user: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Pile {
    /// Counts `n` bytes in, and tells whether that is too much for the user or for the bastion.
    pub(crate) fn add(&self, n: usize) -> bool {
        let user = self.user.fetch_add(n, Ordering::AcqRel) + n;
        let all = self.all.fetch_add(n, Ordering::AcqRel) + n;
        user > ONE_USER || all > ALL_USERS
    }

    /// Counts `n` bytes out.
    pub(crate) fn take(&self, n: usize) {
        self.user.fetch_sub(n, Ordering::AcqRel);
        self.all.fetch_sub(n, Ordering::AcqRel);
    }
}

/// Four tunnels that are full.
const ONE_USER: usize = 128 * 1024 * 1024;

/// In all tunnels together.
const ALL_USERS: usize = 512 * 1024 * 1024;

/// An open tunnel.
pub(crate) struct Tunnel<R, W> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    /// Where it leads.
    pub(crate) host: Host,
    /// Whose key opened the outer connection. The inner one must show the same user's.
    pub(crate) person: Person,
    /// How it was proven; what limits the outer connection limits the inner one.
    pub(crate) proof: Proof,
    pub(crate) peer: SocketAddr,
    pub(crate) outer: Use,
    /// Becomes true when the peer has closed its end of the tunnel.
    pub(crate) closed: watch::Receiver<bool>,
}
