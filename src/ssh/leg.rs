//! One SSH connection of ours over one stream: reads, writes, waits; everything that `wire` leaves to its caller.
//!
//! A leg lives on one thread. The transport is borrowed only between awaits, never across one; bytes that were sealed leave
//! in the order in which they were sealed, whoever flushes them; a flush that is dropped half way goes on where it stopped.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Mutex, Notify};

use crate::wire::codec::WireError;
use crate::wire::transport::Transport;

/// Why a leg cannot go on.
#[derive(Debug, Error)]
pub(crate) enum LegError {
    /// The stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer broke the protocol, refused, or said goodbye.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The stream ended without a goodbye.
    #[error("the connection was closed")]
    Closed,
    /// A peer lets answers pile up.
    #[error("too many answers are owed to a peer that is exchanging keys")]
    Owed,
}

/// A transport and the writing half of its stream. The reading half stays with the one task that reads.
pub(crate) struct Leg<W> {
    transport: RefCell<Transport>,
    owed: RefCell<VecDeque<Vec<u8>>>,
    outgoing: Mutex<Outgoing<W>>,
    progressed: Notify,
}

struct Outgoing<W> {
    writer: W,
    bytes: Vec<u8>,
    sent: usize,
}

impl<W: AsyncWrite + Unpin> Leg<W> {
    pub(crate) fn new(transport: Transport, writer: W) -> Self {
        Self {
            transport: RefCell::new(transport),
            owed: RefCell::default(),
            outgoing: Mutex::new(Outgoing { writer, bytes: Vec::new(), sent: 0 }),
            progressed: Notify::new(),
        }
    }

    /// Looks at the transport, for the length of one closure that cannot wait.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Transport) -> T) -> T {
        look(&mut self.transport.borrow_mut())
    }

    /// Reads once from the stream; 0 is its end.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&self, reader: &mut R) -> io::Result<usize> {
        poll_fn(|context| {
            let mut transport = self.transport.borrow_mut();
            let mut space = ReadBuf::new(transport.space());
            ready!(Pin::new(&mut *reader).poll_read(context, &mut space))?;
            let n = space.filled().len();
            transport.filled(n);
            Ok(n).into()
        })
        .await
    }

    /// Writes all that is sealed. Whoever comes second waits for the first and then has little left to do.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        let mut outgoing = self.outgoing.lock().await;
        let Outgoing { writer, bytes, sent } = &mut *outgoing;
        loop {
            let left = bytes.get(*sent..).unwrap_or_default();
            if left.is_empty() {
                bytes.clear();
                *sent = 0;
                self.transport.borrow_mut().take_output(bytes);
                if bytes.is_empty() {
                    return writer.flush().await;
                }
                continue;
            }
            let n = writer.write(left).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *sent += n;
        }
    }

    /// Waits until no key exchange of this leg forbids a message.
    pub(crate) async fn sendable(&self) {
        loop {
            let progressed = self.progressed.notified();
            if self.transport.borrow().can_send() {
                return;
            }
            progressed.await;
        }
    }

    /// Pays the answers that a key exchange held back and wakes who waits for its end. To be called after every run of messages.
    pub(crate) fn settle(&self) -> Result<(), LegError> {
        let mut transport = self.transport.borrow_mut();
        let mut owed = self.owed.borrow_mut();
        while transport.can_send() {
            let Some(answer) = owed.pop_front() else {
                self.progressed.notify_waiters();
                break;
            };
            transport.send(&answer)?;
        }
        Ok(())
    }

    /// Sends an answer of our own now, or right after the running key exchange: the task that reads this leg must never wait for it.
    pub(crate) fn answer(&self, payload: Vec<u8>) -> Result<(), LegError> {
        let mut transport = self.transport.borrow_mut();
        if transport.can_send() {
            return Ok(transport.send(&payload)?);
        }
        let mut owed = self.owed.borrow_mut();
        if owed.len() >= OWED_AT_MOST {
            return Err(LegError::Owed);
        }
        owed.push_back(payload);
        Ok(())
    }

    /// The next message, for the time before the relay: reads, answers key exchanges and flushes as needed.
    pub(crate) async fn receive<R: AsyncRead + Unpin>(&self, reader: &mut R) -> Result<Vec<u8>, LegError> {
        loop {
            let message = self.with(|t| t.next().map(|m| m.map(<[u8]>::to_vec)))?;
            self.settle()?;
            self.flush().await?;
            if let Some(message) = message {
                return Ok(message);
            }
            if self.fill(reader).await? == 0 {
                return Err(LegError::Closed);
            }
        }
    }

    /// Drives the first key exchange to its end, in the client's role: a server says nothing after it until it is asked.
    pub(crate) async fn establish<R: AsyncRead + Unpin>(&self, reader: &mut R) -> Result<(), LegError> {
        loop {
            if let Some(number) = self.with(|t| t.next().map(|m| m.and_then(|m| m.first().copied())))? {
                return Err(WireError::Unexpected(number).into());
            }
            self.settle()?;
            self.flush().await?;
            if self.with(|t| t.established()) {
                return Ok(());
            }
            if self.fill(reader).await? == 0 {
                return Err(LegError::Closed);
            }
        }
    }

    /// Seals one message and writes it.
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<(), LegError> {
        self.sendable().await;
        self.with(|t| t.send(payload))?;
        Ok(self.flush().await?)
    }

    /// Closes the writing half of the stream.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        self.outgoing.lock().await.writer.shutdown().await
    }
}

/// Answers of our own that may wait for the end of a key exchange; a well-behaved peer leaves a handful.
const OWED_AT_MOST: usize = 256;
