//! A transport of ours on a real socket.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use jit_bastion::wire::codec::WireError;
use jit_bastion::wire::transport::Transport;

/// A transport on a socket, driven without blocking.
pub struct Line<S> {
    stream: S,
    pub transport: Transport,
    unsent: Vec<u8>,
    /// Key exchanges after the first.
    pub rekeys: u32,
    was_rekeying: bool,
    /// Everything that was read.
    pub heard: Vec<u8>,
    early: Vec<Vec<u8>>,
    /// Every message that came out.
    pub messages: Vec<Vec<u8>>,
}

impl<S: Read + Write + NonBlocking> Line<S> {
    pub fn new(stream: S, transport: Transport) -> Self {
        stream.non_blocking();
        Self {
            stream,
            transport,
            unsent: Vec::new(),
            rekeys: 0,
            was_rekeying: false,
            heard: Vec::new(),
            early: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Works until the first key exchange is over. What the peer has said behind it already is kept for later.
    pub fn establish(&mut self) -> Result<(), WireError> {
        let mut early = Vec::new();
        self.until(|t, message| {
            early.extend((!message.is_empty()).then(|| message.to_vec()));
            t.established()
        })?;
        self.early = early;
        Ok(())
    }

    /// Works until `enough` says so, which is asked for every message, and once a round with an empty one.
    pub fn until(&mut self, mut enough: impl FnMut(&mut Transport, &[u8]) -> bool) -> Result<(), WireError> {
        for message in std::mem::take(&mut self.early) {
            if enough(&mut self.transport, &message) {
                return Ok(());
            }
        }
        let (mut idle, mut message) = (0, Vec::new());
        loop {
            let moved = self.flush() | self.read();
            while let Some(payload) = self.transport.next()? {
                message.clear();
                message.extend_from_slice(payload);
                self.messages.push(message.clone());
                if enough(&mut self.transport, &message) {
                    return Ok(());
                }
            }
            if self.transport.wants_rekey() {
                self.transport.start_rekey()?;
            }
            let rekeying = self.transport.established() && self.transport.in_kex();
            self.rekeys += u32::from(!self.was_rekeying && rekeying);
            self.was_rekeying = rekeying;
            if enough(&mut self.transport, &[]) {
                return Ok(());
            }
            idle = if moved { 0 } else { idle + 1 };
            if idle > 0 {
                assert!(idle < 100_000, "the peer says nothing");
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    pub fn flush(&mut self) -> bool {
        self.transport.take_output(&mut self.unsent);
        match self.stream.write(&self.unsent) {
            Ok(n) => {
                self.unsent.drain(..n);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&mut self) -> bool {
        let space = self.transport.space();
        match self.stream.read(space) {
            Ok(0) => panic!("the peer closed the line"),
            Ok(n) => {
                self.heard.extend_from_slice(&space[..n]);
                self.transport.filled(n);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

pub trait NonBlocking {
    fn non_blocking(&self);
}

impl NonBlocking for UnixStream {
    fn non_blocking(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

impl NonBlocking for std::net::TcpStream {
    fn non_blocking(&self) {
        self.set_nonblocking(true).unwrap();
    }
}
