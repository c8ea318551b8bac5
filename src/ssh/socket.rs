//! TCP sockets as this wing likes them: no Nagle, prompt acknowledgements while a connection sets itself up.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// A socket that acknowledges at once for its first reads. The client's `-W` process leaves Nagle on, so that each small packet of a
/// set-up would wait 40 ms for our delayed acknowledgement; later the option costs more than it gives.
pub(crate) struct Prompt<S> {
    stream: S,
    left: u32,
}

/// Something with a TCP socket in it.
pub(crate) trait Tcp {
    fn acknowledge_now(&self) -> io::Result<()>;
}

impl Tcp for TcpStream {
    fn acknowledge_now(&self) -> io::Result<()> {
        Ok(sockopt::set_tcp_quickack(self.as_fd(), true)?)
    }
}

impl Tcp for OwnedReadHalf {
    fn acknowledge_now(&self) -> io::Result<()> {
        self.as_ref().acknowledge_now()
    }
}

impl<S: Tcp> Prompt<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, left: PROMPT_READS }
    }
}

impl<S: Tcp + AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, space);
        if read.is_ready() && self.left > 0 {
            self.left -= 1;
            // The kernel may decline: only speed is lost.
            let _ = self.stream.acknowledge_now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// No Nagle, and a connection whose peer acknowledges nothing for `patience` is dead.
pub(crate) fn prepare(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream.as_fd(), millis)?;
    stream.acknowledge_now()
}

/// Reads of a set-up: both identifications, key exchange, authentication, the first channel.
const PROMPT_READS: u32 = 48;
