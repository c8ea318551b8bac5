//! What the relay asks of the broker while a session goes on.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Wing;
use super::relay::Law;
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, OpenSession};

/// One session, as the law sees it.
pub(super) struct Ground<'a> {
    broker: &'a Broker,
    open: &'a OpenSession,
    tunnels: mpsc::Sender<Tunnelled>,
}

/// A stream inside a session that is SSH itself.
pub(super) struct Tunnelled {
    channel: u32,
    kind: &'static str,
}

impl<'a> Ground<'a> {
    /// The ground of a session, and what is to be told of it.
    pub(super) fn of(wing: &'a Wing, open: &'a OpenSession) -> (Self, mpsc::Receiver<Tunnelled>) {
        let (tunnels, told) = mpsc::channel(UNTOLD_AT_MOST);
        (Self { broker: &wing.broker, open, tunnels }, told)
    }
}

impl Law for Ground<'_> {
    fn host(&self) -> &Host {
        &self.open.host
    }

    fn opens(&self, what: &Opening) -> Result<(), Refusal> {
        self.broker.may_open(self.open, what)
    }

    fn tunnelled(&self, channel: u32, kind: &'static str) {
        tracing::warn!(session = %self.open.id, channel, kind, "SSH inside a session");
        // Whoever opens more than can be told is in the log file and in the recordings.
        let _ = self.tunnels.try_send(Tunnelled { channel, kind });
    }
}

/// Writes into the log what the relay has seen. Never comes back; dropped with the relay.
pub(super) async fn tell(wing: &Wing, open: &OpenSession, tunnels: &mut mpsc::Receiver<Tunnelled>) -> Infallible {
    while let Some(Tunnelled { channel, kind }) = tunnels.recv().await {
        wing.broker.tunnelled(&open.id, channel, kind).await;
    }
    std::future::pending().await
}

/// Writes what came last, while the session ends: the cut waits for nothing.
pub(super) fn tell_rest(wing: &Wing, open: &OpenSession, mut tunnels: mpsc::Receiver<Tunnelled>) {
    while let Ok(Tunnelled { channel, kind }) = tunnels.try_recv() {
        let (broker, id) = (Arc::clone(&wing.broker), open.id.clone());
        wing.tasks.spawn(async move { broker.tunnelled(&id, channel, kind).await });
    }
}

/// Streams that wait to be told.
const UNTOLD_AT_MOST: usize = 16;
