//! A peer of the relay, on either side: what OpenSSH would do, in an order of chance.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipes::{Chance, PipeEnd};
use crate::wire::channel::{self, Message, RequestKind};
use crate::wire::codec::{WireError, Writer};
use crate::wire::number;
use crate::wire::transport::Transport;

/// What both peers do once they speak: stream bytes both ways within windows, ask and answer, exchange keys when they feel like it.
pub(super) struct Peer {
    transport: Transport,
    reads: PipeEnd,
    writes: PipeEnd,
    out: Vec<u8>,
    chance: Chance,
    is_client: bool,
    /// The other side's number of the channel, once it is known.
    channel: Option<u32>,
    running: bool,
    window: usize,
    owed_window: usize,
    to_send: usize,
    pub(super) sent: usize,
    to_hear: usize,
    pub(super) heard: usize,
    asked: usize,
    answered: usize,
    ended: bool,
    said_goodbye: bool,
    kept: Rc<RefCell<usize>>,
}

const WINDOW: usize = 24_000;

impl Peer {
    pub(super) fn new(
        transport: Transport,
        [reads, writes]: [&PipeEnd; 2],
        is_client: bool,
        [to_send, to_hear]: [usize; 2],
        chance: &Chance,
        kept: &Rc<RefCell<usize>>,
    ) -> Self {
        Self {
            transport,
            reads: reads.clone(),
            writes: writes.clone(),
            out: Vec::new(),
            chance: chance.clone(),
            is_client,
            channel: None,
            running: false,
            window: 0,
            owed_window: 0,
            to_send,
            sent: 0,
            to_hear,
            heard: 0,
            asked: 0,
            answered: 0,
            ended: false,
            said_goodbye: false,
            kept: Rc::clone(kept),
        }
    }

    pub(super) fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut moved = false;
            self.transport.take_output(&mut self.out);
            if !self.out.is_empty() {
                match Pin::new(&mut self.writes).poll_write(cx, &self.out) {
                    Poll::Ready(Ok(n)) => {
                        self.out.drain(..n);
                        moved = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            let mut space = ReadBuf::new(self.transport.space());
            if let Poll::Ready(read) = Pin::new(&mut self.reads).poll_read(cx, &mut space) {
                read.unwrap();
                let n = space.filled().len();
                if n == 0 {
                    return Poll::Ready(());
                }
                self.transport.filled(n);
                while let Some(message) = self.hear() {
                    self.react(&message);
                }
                moved = true;
            }
            moved |= self.speak();
            if self.said_goodbye && self.out.is_empty() && self.transport.output().is_empty() {
                let _ = Pin::new(&mut self.writes).poll_shutdown(cx);
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        match self.transport.next() {
            Ok(message) => message.map(<[u8]>::to_vec),
            Err(WireError::Disconnected { .. }) => None,
            Err(error) => panic!("client {}: {error}", self.is_client),
        }
    }

    fn react(&mut self, message: &[u8]) {
        if message == login() {
            return self.queue(vec![number::USERAUTH_SUCCESS]);
        }
        if message == [number::USERAUTH_SUCCESS] {
            let open = Writer::message(number::CHANNEL_OPEN).string(b"session").u32(3).u32(WINDOW as u32).u32(32768).done();
            return self.queue(open);
        }
        match channel::parse(message).unwrap() {
            // A destination that cannot be reached.
            Message::Open(open) if open.kind == "direct-tcpip" => {
                let failure = channel::open_failure(open.sender, channel::CONNECT_FAILED, "nobody there");
                self.queue(failure);
            }
            Message::Open(open) => {
                self.channel = Some(open.sender);
                self.window = open.window as usize;
                let confirmation =
                    Writer::message(number::CHANNEL_OPEN_CONFIRMATION).u32(open.sender).u32(7).u32(WINDOW as u32).u32(32768).done();
                self.queue(confirmation);
            }
            Message::Confirmation { sender, window, .. } => {
                self.channel = Some(sender);
                self.window = window as usize;
                let exec = Writer::message(number::CHANNEL_REQUEST).u32(sender).string(b"exec").bool(true).string(b"x").done();
                self.queue(exec);
            }
            Message::Request(request) if matches!(request.kind, RequestKind::Exec { .. }) => {
                self.running = true;
                let success = channel::success(self.channel.unwrap());
                self.queue(success);
            }
            Message::Request(request) => {
                assert_eq!(request.name, channel::VETOED.as_bytes(), "only what is granted arrives");
                let failure = channel::failure(self.channel.unwrap());
                self.queue(failure);
            }
            Message::Success { .. } => self.running = true,
            Message::Failure { .. } | Message::OpenFailure { .. } => self.answered += 1,
            Message::Data { data, .. } => self.hear_bytes(data),
            // The veto's words; they cost window like any data.
            Message::ExtendedData { data, .. } => self.owed_window += data.len(),
            Message::WindowAdjust { bytes, .. } => self.window += bytes as usize,
            Message::GlobalRequest { want_reply: true, .. } => self.queue(channel::request_failure()),
            Message::RequestFailure => self.answered += 1,
            Message::Eof { .. } => {}
            Message::Close { .. } => {
                if !self.is_client {
                    let close = channel::close(self.channel.unwrap());
                    self.queue(close);
                }
                self.ended = true;
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The next bytes of the other peer's.
    fn hear_bytes(&mut self, data: &[u8]) {
        for byte in data {
            assert_eq!(*byte, pattern(self.heard), "byte {}", self.heard);
            self.heard += 1;
        }
        self.owed_window += data.len();
        assert!(!self.is_client || self.heard <= *self.kept.borrow(), "shown before it was kept");
    }

    /// Answers wait for the end of a key exchange in the peer, as in OpenSSH.
    pub(super) fn queue(&mut self, message: Vec<u8>) {
        LATER.with_borrow_mut(|later| later.entry(self.is_client).or_default().push_back(message));
    }

    fn speak(&mut self) -> bool {
        if !self.transport.established() || self.said_goodbye {
            return false;
        }
        if !self.transport.in_kex() && self.running && self.chance.one_in(60) {
            self.transport.start_rekey().unwrap();
            return true;
        }
        if !self.transport.can_send() || self.out.len() > 60_000 {
            return false;
        }
        if let Some(message) = LATER.with_borrow_mut(|later| later.entry(self.is_client).or_default().pop_front()) {
            self.transport.send(&message).unwrap();
            return true;
        }
        self.say_something()
    }

    fn say_something(&mut self) -> bool {
        let Some(channel) = self.channel.filter(|_| self.running && !self.ended) else {
            return self.ended && self.is_client && self.goodbye();
        };
        if self.owed_window > 0 && (self.owed_window > WINDOW / 2 || self.chance.one_in(3)) {
            let grant = channel::window_adjust(channel, self.owed_window as u32);
            self.owed_window = 0;
            self.transport.send(&grant).unwrap();
            return true;
        }
        if self.chance.one_in(30) && self.asked < 20 {
            self.asked += 1;
            let ask = self.ask(channel);
            self.transport.send(&ask).unwrap();
            return true;
        }
        let n = (self.to_send - self.sent).min(self.window).min(1 + self.chance.below(9000));
        if n > 0 {
            let bytes: Vec<u8> = (self.sent..self.sent + n).map(pattern).collect();
            self.sent += n;
            self.window -= n;
            self.transport.send(&channel::data(channel, &bytes)).unwrap();
            return true;
        }
        let finished = self.sent == self.to_send && self.heard == self.to_hear && self.answered == self.asked;
        if self.is_client && finished {
            self.ended = true;
            self.transport.send(&channel::close(channel)).unwrap();
            self.ended = false;
            self.running = false;
            return true;
        }
        false
    }

    /// Something that is answered. Replies to the two global requests are matched by their order alone.
    fn ask(&self, channel: u32) -> Vec<u8> {
        let keepalive = || Writer::message(number::GLOBAL_REQUEST).string(b"keepalive@openssh.com").bool(true).done();
        let choice = if self.is_client { self.chance.below(4) } else { 0 };
        match choice {
            0 => keepalive(),
            1 => Writer::message(number::GLOBAL_REQUEST).string(b"tcpip-forward").bool(true).string(b"localhost").u32(8080).done(),
            2 => Writer::message(number::CHANNEL_REQUEST).u32(channel).string(b"x11-req").bool(true).raw(&[0; 17]).done(),
            _ => {
                let open = Writer::message(number::CHANNEL_OPEN).string(b"direct-tcpip").u32(100 + self.asked as u32);
                open.u32(WINDOW as u32).u32(32768).string(b"db").u32(80).string(b"::1").u32(1).done()
            }
        }
    }

    fn goodbye(&mut self) -> bool {
        self.transport.disconnect(11, "done");
        self.said_goodbye = true;
        true
    }
}

/// Stands for all of authentication.
pub(super) fn login() -> Vec<u8> {
    Writer::message(number::SERVICE_REQUEST).string(b"ssh-userauth").done()
}

thread_local! {
    static LATER: RefCell<HashMap<bool, VecDeque<Vec<u8>>>> = RefCell::default();
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// Another simulation begins in this thread.
pub(super) fn forget() {
    LATER.with_borrow_mut(HashMap::clear);
}
