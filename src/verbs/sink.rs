//! Where an answer goes: a channel of an SSH connection, or the local terminal.

use std::future::Future;
use std::io;
use std::pin::Pin;

/// A future of a [`Sink`].
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes bytes as fast as the reader reads, and no faster: whoever writes waits, so nothing piles up. Lines end with a line feed; a door
/// that serves a terminal in raw mode writes it as carriage return and line feed.
pub trait Sink: Send {
    /// Standard output.
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>>;
    /// Standard error.
    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>>;
    /// Comes back when the reader is gone, or has typed Ctrl-C. Long answers (`--wait`, `replay`) end then.
    fn closed(&mut self) -> Waiting<'_, ()>;
}

/// Keeps everything: for tests, and for answers that are short by nature.
#[derive(Debug, Default)]
pub struct Collected {
    /// Standard output so far.
    pub out: Vec<u8>,
    /// Standard error so far.
    pub err: Vec<u8>,
}

impl Sink for Collected {
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        self.out.extend_from_slice(bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        self.err.extend_from_slice(bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn closed(&mut self) -> Waiting<'_, ()> {
        Box::pin(std::future::pending())
    }
}
