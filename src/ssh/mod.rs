//! The SSH wing: the front door, the inner server in the host's place, the way to the true host, and the relay between them.
//!
//! Every connection lives on one thread, with all its tunnels: what they share is borrowed, not locked. Nothing here decides who may
//! do what: the broker does, and hands out an `Admission`.

mod connection;
mod count;
mod egress;
mod forward;
mod ground;
mod inner;
pub mod inspect;
mod keeping;
mod leg;
mod limited;
mod outer;
pub mod peek;
mod quota;
mod relay;
mod reminders;
pub mod scan;
mod socket;
mod tap;
mod tunnel;
mod upstream;
mod visit;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::names::{HostName, User};
use crate::access::size::Size;
use crate::access::time::{Clock, Span};
use crate::broker::Broker;
use crate::metrics::Tally;
use count::{Counted, Counts};
use quota::Quotas;
use tunnel::Piles;

pub use keeping::{Archive, Signers};

/// How we identify ourselves. OpenSSH sends `eow@openssh.com` only to a version that begins with `OpenSSH`.
pub const IDENTIFICATION: &str = "SSH-2.0-OpenSSH_9.9 jit-bastion";

/// Bounds of this wing; `config` has their names and ranges.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Time to prove a key.
    pub login_grace: Span,
    /// Open outer connections.
    pub connections: usize,
    /// Open outer connections from one address.
    pub connections_per_address: usize,
    /// Live sessions of one user.
    pub sessions_per_user: usize,
    /// Bytes a second that a terminal may show, sustained.
    pub terminal_rate: Size,
    /// Recorded bytes of one session.
    pub recorded_per_session: Size,
    /// Recorded bytes of one user's sessions within a day.
    pub recorded_per_user: Size,
}

/// What all connections share.
pub struct Wing {
    broker: Arc<Broker>,
    limits: Bounds,
    archive: Arc<Archive>,
    clock: Arc<dyn Clock>,
    /// Bytes that lie in tunnels' buffers.
    piles: Piles,
    /// Verbs that run.
    tasks: TaskTracker,
    /// Visits, until they are sealed.
    visits: TaskTracker,
    callers: Arc<Counts<IpAddr>>,
    /// Visits that begin or go on, by user.
    visitors: Arc<Counts<User>>,
    /// What they have had recorded.
    quotas: Arc<Quotas>,
    /// Hosts that are being dialled.
    dials: Arc<Counts<HostName>>,
    /// What happens at the door, for the metrics.
    tally: Arc<Tally>,
}

impl Wing {
    /// A wing that answers for `broker`.
    pub fn new(broker: Arc<Broker>, limits: Bounds, archive: Archive, clock: Arc<dyn Clock>, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            limits,
            archive: Arc::new(archive),
            clock,
            piles: Piles::default(),
            tasks: TaskTracker::new(),
            visits: TaskTracker::new(),
            callers: Arc::default(),
            visitors: Arc::default(),
            quotas: Quotas::new(limits.recorded_per_session, limits.recorded_per_user),
            dials: Arc::default(),
            tally,
        })
    }

    /// Accepts connections until `stop`, then ends the live sessions, waits for their recordings to be sealed and returns how many
    /// there were. Fails when a worker thread cannot be started.
    pub async fn run(self: Arc<Self>, listeners: Vec<TcpListener>, stop: CancellationToken) -> io::Result<u64> {
        let workers = thread::available_parallelism().map_or(2, usize::from).max(2);
        let queues = (0..workers).map(|number| start_worker(&self, number)).collect::<io::Result<Vec<_>>>()?;
        let (wing, ended) = (Arc::clone(&self), stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = wing.watch_disk() => {}
            }
        });
        let doors: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let (wing, queues, stop) = (Arc::clone(&self), queues.clone(), stop.clone());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = wing.accept(listener, &queues) => {}
                    }
                })
            })
            .collect();
        for door in doors {
            door.await.map_err(io::Error::other)?;
        }
        Ok(self.close().await)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, queues: &[mpsc::Sender<Accepted>]) {
        for queue in queues.iter().cycle() {
            let (stream, peer) = loop {
                match listener.accept().await {
                    Ok(accepted) => break accepted,
                    Err(error) => {
                        // Out of descriptors, most likely: live sessions go on, new ones wait.
                        tracing::error!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            let from = count::neighbourhood(peer.ip());
            let Some(caller) = self.callers.enter(from, self.limits.connections_per_address, self.limits.connections) else {
                tracing::warn!(%peer, "too many connections");
                self.tally.turned_off();
                continue;
            };
            self.tally.connected();
            let Ok(stream) = stream.into_std() else { continue };
            // A worker that is behind takes no more for now.
            let _ = queue.try_send(Accepted { stream, peer, caller });
        }
    }

    /// Ends everybody when nothing can be kept any more, also those for whom nothing is to be kept at this moment.
    async fn watch_disk(&self) {
        loop {
            tokio::time::sleep(LOOK_AT_DISK).await;
            if self.archive.disk.live() == 0 {
                continue;
            }
            if let Some(trouble) = self.archive.disk.trouble(self.archive.patience) {
                let cut = self.broker.live().cut(|session| session.cutoff.reason().is_none(), crate::session::Ending::RecorderFailed);
                if cut > 0 {
                    tracing::error!(%trouble, sessions = cut, "sessions end: they cannot be recorded");
                }
            }
        }
    }

    fn terminal_rate(&self) -> u64 {
        self.limits.terminal_rate.as_bytes()
    }

    async fn close(&self) -> u64 {
        let cut = self.broker.live().cut(|_| true, crate::session::Ending::Shutdown);
        tracing::info!(sessions = cut, "stopping");
        self.visits.close();
        if tokio::time::timeout(CLOSING, self.visits.wait()).await.is_err() {
            tracing::warn!("some sessions are not sealed yet; the next start finishes them");
        }
        cut as u64
    }
}

struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    caller: Counted<IpAddr>,
}

/// One thread with a runtime of its own. Connections never move between threads: 15 to 20 % less CPU than sharing them.
fn start_worker(wing: &Arc<Wing>, number: usize) -> io::Result<mpsc::Sender<Accepted>> {
    let (queue, mut accepted) = mpsc::channel::<Accepted>(ACCEPTED_WAITING);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wing = Arc::clone(wing);
    thread::Builder::new().name(format!("ssh-{number}")).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            while let Some(Accepted { stream, peer, caller }) = accepted.recv().await {
                let wing = Arc::clone(&wing);
                spawn_local(async move {
                    let _caller = caller;
                    let ended = match TcpStream::from_std(stream) {
                        Ok(stream) => outer::connection(wing, stream, peer).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection ended early");
                    }
                });
            }
        });
    })?;
    Ok(queue)
}

/// Connections to one host that are being set up at the same time: sshd punishes who opens many and finishes few.
const DIALS_OF_ONE_HOST: usize = 8;

/// The same to all hosts: a slow host must not hold up the others.
const DIALS: usize = 256;

/// Accepted connections that a worker has not taken yet.
const ACCEPTED_WAITING: usize = 256;

/// How often it is looked whether the disk has failed those who are inside.
const LOOK_AT_DISK: Duration = Duration::from_millis(250);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For live sessions to end and be sealed at a stop.
const CLOSING: Duration = Duration::from_secs(20);
