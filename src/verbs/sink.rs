//! Where an answer goes, and what the caller sends with the words: a channel of an SSH connection, or the local terminal.

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
    /// What the caller sends on standard input, up to its end; more than `most` bytes, and a caller who goes before the end, are errors.
    fn input(&mut self, most: usize) -> Waiting<'_, io::Result<Vec<u8>>>;
    /// Comes back when the reader is gone, or has typed Ctrl-C. Long answers (`--wait`, `replay`) end then.
    fn closed(&mut self) -> Waiting<'_, ()>;
    /// What the caller does next at their terminal. A call that is given up loses nothing.
    fn happening(&mut self) -> Waiting<'_, Happening>;
}

/// What somebody does at their terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Keys, as the terminal sends them.
    Typed(Vec<u8>),
    /// The window has another size.
    Resized {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Nothing more will be typed.
    Ended,
}

/// Keeps everything: for tests, and for answers that are short by nature.
#[derive(Debug, Default)]
pub struct Collected {
    /// Standard output so far.
    pub out: Vec<u8>,
    /// Standard error so far.
    pub err: Vec<u8>,
    /// Standard input, to be read once.
    pub input: Vec<u8>,
}

/// The most that any word reads on standard input, in bytes.
pub const INPUT_AT_MOST: usize = 16 * 1024;

/// Refuses input that is longer than `most`.
pub fn within(most: usize, input: Vec<u8>) -> io::Result<Vec<u8>> {
    if input.len() <= most { Ok(input) } else { Err(io::Error::other(format!("it is longer than {most} bytes"))) }
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

    fn input(&mut self, most: usize) -> Waiting<'_, io::Result<Vec<u8>>> {
        Box::pin(std::future::ready(within(most, std::mem::take(&mut self.input))))
    }

    fn closed(&mut self) -> Waiting<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn happening(&mut self) -> Waiting<'_, Happening> {
        let typed = std::mem::take(&mut self.input);
        Box::pin(std::future::ready(if typed.is_empty() { Happening::Ended } else { Happening::Typed(typed) }))
    }
}
