//! A tunnel on russh. A queue of russh's that is full stops its whole connection, keepalives included, so each tunnel has a pump
//! that never stops emptying it, into a buffer with a budget.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use russh::server::ChannelOpenHandle;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

use super::super::Wing;
use super::super::forward::{self, Wanted};
use super::super::inner::{self, Turned};
use super::super::tunnel::{Outer, Pile, Tunnel, Use};
use super::super::visit;
use super::door::{self, CHANNELS_AT_MOST, Opening};
use crate::access::names::escaped;
use crate::access::refusal::Refusal;
use crate::broker::Meant;
use crate::session::Side;

/// Looks at one tunnel that was asked for: to a host's SSH port it is opened at once, anything else is refused in one sentence.
pub(super) async fn open(wing: Arc<Wing>, opening: Opening, peer: SocketAddr, outer: Arc<Outer>) {
    let Opening { channel, reply, proof, target, port, from } = opening;
    let Some(person) = door::still_known(&wing, &proof).await else {
        // Disabled, or the key was taken away, since the connection was opened.
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        return outer.shut();
    };
    let host = match wing.broker.resolve_for(&person, &proof, &target, port).await {
        Ok(Some(host)) => host,
        Ok(None) => {
            let refusal = Refusal::no_such_host(&target);
            tracing::info!(user = %person.user, reason = %refusal.message, port, "no tunnel");
            wing.broker.turned_away(&person, peer, Meant::Typed(&target, port), &refusal).await;
            return reply.reject(prohibited(refusal.message)).await;
        }
        Err(fault) => {
            tracing::error!(%fault, "a host could not be looked up");
            return reply.reject(prohibited(fault.message())).await;
        }
    };
    let Some(used) = outer.enter(CHANNELS_AT_MOST) else {
        return reply.reject(ChannelOpenFailure::ResourceShortage).await;
    };
    if port != SSH && port != host.address.port {
        let wanted = Wanted { person, proof, host, port, from, peer };
        return straight(wing, wanted, channel, reply, used).await;
    }
    reply.accept().await;
    let (read, write) = channel.split();
    let writer = write.make_writer();
    let (closed, closing) = watch::channel(false);
    let shared = Rc::new(RefCell::new(Inflow::default()));
    let pile = wing.piles.of(&person.user);
    let fill = fill(read, Rc::clone(&shared), pile.clone());
    let reader = Outflow(Rc::clone(&shared), pile);
    let tunnel = Tunnel { reader, writer, host, person, proof, peer, outer: used, closed: closing };
    let visit = inner::serve(&wing, tunnel);
    tokio::pin!(visit);
    tokio::pin!(fill);
    tokio::select! {
        () = &mut visit => {}
        () = &mut fill => {
            // The peer has closed its end: the visit reads what is left, and ends by itself.
            let _ = closed.send(true);
            visit.await;
            return close(&write).await;
        }
    }
    close(&write).await;
}

/// A tunnel to another port of a host: no SSH of ours is in it.
async fn straight(wing: Arc<Wing>, wanted: Wanted, channel: Channel<Msg>, reply: ChannelOpenHandle, used: Use) {
    let pile = wing.piles.of(&wanted.person.user);
    let ready = match forward::prepare(&wing, &wanted).await {
        Ok(ready) => ready,
        Err(turned) => {
            let words = turned.to_string();
            tracing::info!(user = %wanted.person.user, host = %wanted.host.name, port = wanted.port, reason = %escaped(&words), "no direct forward");
            if let Turned::Refused(refusal) = &turned {
                wing.broker.turned_away(&wanted.person, wanted.peer, Meant::Host(&wanted.host.name), refusal).await;
            }
            return reply.reject(prohibited(words.replace("\nhint: ", "; "))).await;
        }
    };
    reply.accept().await;
    let (read, write) = channel.split();
    let writer = write.make_writer();
    let (closed, mut closing) = watch::channel(false);
    let shared = Rc::new(RefCell::new(Inflow::default()));
    let fill = fill(read, Rc::clone(&shared), pile.clone());
    let reader = Outflow(shared, pile);
    let course = async {
        let cut = forward::carry(&wing, ready, (reader, writer), &used, closing.clone(), close(&write)).await;
        if let Some(cutoff) = cut {
            visit::await_close(&used, &mut closing).await;
            cutoff.release(Side::Outer);
        }
    };
    tokio::pin!(course);
    tokio::pin!(fill);
    tokio::select! {
        () = &mut course => {}
        () = &mut fill => {
            let _ = closed.send(true);
            course.await;
        }
    }
}

async fn close(write: &ChannelWriteHalf<Msg>) {
    // The connection may be gone; then so is the channel.
    let _ = write.close().await;
}

fn prohibited(reason: String) -> ChannelOpenFailure {
    // SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254 section 5.1.
    ChannelOpenFailure::Other { code: 1, reason }
}

/// What a client has sent into a tunnel and the relay has not taken yet.
#[derive(Default)]
struct Inflow {
    pieces: VecDeque<Bytes>,
    taken: usize,
    bytes: usize,
    over: Option<Over>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Over {
    Ended,
    TooMuch,
    /// Nobody reads any more.
    Unread,
}

impl Inflow {
    fn end(&mut self, how: Over) {
        self.over.get_or_insert(how);
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

/// Empties russh's queue until the peer closes the channel.
async fn fill(mut read: ChannelReadHalf, inflow: Rc<RefCell<Inflow>>, pile: Pile) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let mut inflow = inflow.borrow_mut();
                if data.is_empty() || matches!(inflow.over, Some(Over::TooMuch | Over::Unread)) {
                    continue;
                }
                let cost = cost(&data);
                let too_much = pile.add(cost) && inflow.bytes > SPARED;
                inflow.bytes += cost;
                inflow.pieces.push_back(data);
                // What can pile up is what the host's windows have granted; who sends more breaks the protocol or the machine.
                if inflow.bytes > ONE_TUNNEL || too_much {
                    tracing::warn!(bytes = inflow.bytes, "a tunnel was ended: more was sent into it than the host takes");
                    return inflow.end(Over::TooMuch);
                }
                if let Some(waker) = inflow.reader.take() {
                    waker.wake();
                }
            }
            ChannelMsg::Eof => inflow.borrow_mut().end(Over::Ended),
            _ => {}
        }
    }
    inflow.borrow_mut().end(Over::Ended);
}

/// The reading end of a tunnel.
pub(super) struct Outflow(Rc<RefCell<Inflow>>, Pile);

impl AsyncRead for Outflow {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inflow = self.0.borrow_mut();
        if let Some(Over::TooMuch) = inflow.over {
            return Poll::Ready(Err(io::Error::other("more was sent into the tunnel than the host takes")));
        }
        let before = space.remaining();
        while space.remaining() > 0 {
            let from = inflow.taken;
            let Some(left) = inflow.pieces.front().and_then(|piece| piece.get(from..)) else { break };
            let n = left.len().min(space.remaining());
            space.put_slice(left.get(..n).unwrap_or_default());
            let emptied = n == left.len();
            inflow.taken += n;
            if emptied {
                let freed = inflow.pieces.pop_front().map_or(0, |piece| cost(&piece));
                inflow.bytes -= freed;
                self.1.take(freed);
                inflow.taken = 0;
            }
        }
        if before > space.remaining() || inflow.over.is_some() {
            return Poll::Ready(Ok(()));
        }
        inflow.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        let mut inflow = self.0.borrow_mut();
        self.1.take(inflow.bytes);
        inflow.bytes = 0;
        inflow.pieces.clear();
        // What still comes is thrown away: nobody would count it out again.
        inflow.over = Some(Over::Unread);
    }
}

/// What a piece costs: its bytes, and about what it takes to hold it.
fn cost(piece: &Bytes) -> usize {
    piece.len() + 64
}

/// The port that everybody types, whatever port a host's sshd is registered at.
const SSH: u16 = 22;

/// A tunnel that holds no more than this is never the one that ends because all are full.
const SPARED: usize = 1024 * 1024;

/// In one tunnel: sixteen channels with OpenSSH's window of 2 MiB.
const ONE_TUNNEL: usize = 32 * 1024 * 1024;
