//! The front door, on russh: who are you, verbs, tunnels. The only SSH code that a stranger can reach. Only this folder names russh.
//!
//! A callback never waits for the network: it looks, notes and hands over.

mod command;
mod door;
mod offer;
mod pump;
mod welcome;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout_at;

use super::Wing;
use super::peek::{self, Peeked, Unseen};
use super::socket::{self, Prompt};
use super::tunnel::Outer;
use door::Door;

/// One outer connection, from its first byte to its end. Runs on one thread, with all its tunnels.
pub(crate) async fn connection(wing: Arc<Wing>, stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    let ended = whoever(Arc::clone(&wing), stream, peer).await;
    if !matches!(ended, Ok(true)) {
        wing.tally.stranger();
        tracing::info!(%peer, "a stranger left: no key that opens anything was proven");
    }
    ended.map(drop)
}

/// Tells whether a key was proven.
async fn whoever(wing: Arc<Wing>, stream: TcpStream, peer: SocketAddr) -> std::io::Result<bool> {
    socket::prepare(&stream, DEAD_PEER)?;
    let outer = Outer::new(stream.as_fd().try_clone_to_owned()?);
    // One deadline for all that a stranger may do: russh has none of its own.
    let grace = tokio::time::Instant::now() + wing.limits.login_grace.duration();
    let (stream, offers_gcm) = match peek::peek(Prompt::new(stream), super::IDENTIFICATION, PEEK).await {
        Ok(Peeked { stream, offers_gcm, .. }) => (stream, offers_gcm),
        Err(Unseen::Late(stream)) => (stream, false),
        Err(Unseen::Garbage(why)) => return Err(std::io::Error::other(why)),
        Err(Unseen::Gone(error)) => return Err(error),
    };
    let config = match offer::config(&wing, offers_gcm) {
        Ok(config) => config,
        Err(fault) => {
            tracing::error!(%fault, "no outer host key can be shown");
            return Ok(false);
        }
    };
    let (openings, mut opened) = mpsc::channel(TUNNELS_WAITING);
    let (proven, proof) = tokio::sync::oneshot::channel();
    let door = Door::new(Arc::clone(&wing), peer, Arc::clone(&outer), openings, proven);
    let session = timeout_at(grace, russh::server::run_stream(config, stream, door)).await?.map_err(std::io::Error::other)?;
    let guard = spawn_local({
        let outer = Arc::clone(&outer);
        async move {
            // The sender is dropped with the connection; only silence until the grace is over means that nobody proved a key.
            let proven = timeout_at(grace, proof).await;
            if proven.is_err() {
                outer.shut();
            }
            matches!(proven, Ok(Ok(())))
        }
    });
    tokio::pin!(session);
    loop {
        tokio::select! {
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "an outer connection ended");
                }
                return Ok(guard.await.unwrap_or(false));
            }
            Some(opening) = opened.recv() => {
                let visit = pump::open(Arc::clone(&wing), opening, peer, Arc::clone(&outer));
                spawn_local(wing.visits.track_future(visit));
            }
        }
    }
}

/// Tunnels that a client may ask for faster than they are looked at; more are refused.
const TUNNELS_WAITING: usize = 32;

/// For a client's identification and first message.
const PEEK: std::time::Duration = std::time::Duration::from_secs(10);

/// A client that acknowledges nothing for so long is gone.
const DEAD_PEER: std::time::Duration = std::time::Duration::from_secs(120);
