//! Two peers, a relay between them, pipes that take and give what chance allows, key exchanges from all four ends: every seed must
//! come to its end with every byte delivered once, in order, and none shown before it was kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{End, Law, Relay, Rights};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::recording::RecordError;
use crate::ssh::leg::Leg;
use crate::ssh::tap::{Keep, Kept};
use crate::wire::channel::{self, Message, RequestKind};
use crate::wire::codec::{WireError, Writer};
use crate::wire::entropy::SeededEntropy;
use crate::wire::keys::{HostIdentity, HostKeyCheck};
use crate::wire::number;
use crate::wire::transport::{ClientConfig, RekeyBudget, ServerConfig, Transport};

/// SplitMix64: chance that repeats itself.
#[derive(Clone)]
struct Chance(Rc<RefCell<u64>>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One direction of a connection: holds at most `capacity` bytes.
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    chance: Chance,
}

#[derive(Clone)]
struct PipeEnd(Rc<RefCell<Pipe>>);

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

fn pipe(chance: &Chance) -> PipeEnd {
    let capacity = 1 + chance.below(40_000);
    let pipe = Pipe { bytes: VecDeque::new(), capacity, closed: false, reader: None, writer: None, chance: chance.clone() };
    PipeEnd(Rc::new(RefCell::new(pipe)))
}

impl AsyncRead for PipeEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.bytes.is_empty() {
            if pipe.closed {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = pipe.bytes.len().min(space.remaining());
        let n = 1 + pipe.chance.below(most);
        let taken: Vec<u8> = pipe.bytes.drain(..n).collect();
        space.put_slice(&taken);
        wake(&mut pipe.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.capacity - pipe.bytes.len();
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = 1 + pipe.chance.below(room.min(bytes.len()));
        pipe.bytes.extend(&bytes[..n]);
        wake(&mut pipe.reader);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        pipe.closed = true;
        wake(&mut pipe.reader);
        wake(&mut pipe.writer);
        Poll::Ready(Ok(()))
    }
}

/// What both peers do once they speak: stream bytes both ways within windows, ask and answer, exchange keys when they feel like it.
struct Peer {
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
    sent: usize,
    to_hear: usize,
    heard: usize,
    asked: usize,
    answered: usize,
    ended: bool,
    said_goodbye: bool,
    kept: Rc<RefCell<usize>>,
}

const WINDOW: usize = 24_000;

impl Peer {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
            Message::Data { data, .. } => {
                for byte in data {
                    assert_eq!(*byte, pattern(self.heard), "byte {}", self.heard);
                    self.heard += 1;
                }
                self.owed_window += data.len();
                assert!(!self.is_client || self.heard <= *self.kept.borrow(), "shown before it was kept");
            }
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

    /// Answers wait for the end of a key exchange in the peer, as in OpenSSH.
    fn queue(&mut self, message: Vec<u8>) {
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
fn login() -> Vec<u8> {
    Writer::message(number::SERVICE_REQUEST).string(b"ssh-userauth").done()
}

thread_local! {
    static LATER: RefCell<std::collections::HashMap<bool, VecDeque<Vec<u8>>>> = RefCell::default();
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// Counts what is kept towards the user.
struct Counter(Rc<RefCell<usize>>);

impl Keep for Counter {
    fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
        if let Kept::Out(_, bytes) = what {
            *self.0.borrow_mut() += bytes.len();
        }
        Ok(())
    }
}

/// A law that lets everything pass.
struct Anything(Host);

impl Law for Anything {
    fn host(&self) -> &Host {
        &self.0
    }

    fn opens(&self, _: &Opening) -> Result<(), Refusal> {
        Ok(())
    }

    fn tunnelled(&self, _: u32, _: &'static str) {}
}

struct Anyone;

impl HostKeyCheck for Anyone {
    fn check(&self, _blob: &[u8], _algorithm: &str) -> Result<(), WireError> {
        Ok(())
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn server(budget: RekeyBudget, seed: u64) -> Transport {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let config = ServerConfig {
        id: crate::ssh::IDENTIFICATION.into(),
        host_keys: vec![HostIdentity::plain(&key).unwrap()],
        rekey: budget,
        ext_info: Vec::new(),
        algorithms: Default::default(),
    };
    Transport::server(Arc::new(config), Box::new(SeededEntropy::new(seed)))
}

fn client(budget: RekeyBudget, seed: u64) -> Transport {
    let config = ClientConfig {
        id: "SSH-2.0-OpenSSH_9.9 simulated".into(),
        trust: Arc::new(Anyone),
        host_key_algorithms: vec!["ssh-ed25519"],
        rekey: budget,
        algorithms: Default::default(),
    };
    Transport::client(Arc::new(config), Box::new(SeededEntropy::new(seed)))
}

/// One whole connection for one seed.
fn simulate(seed: u64) {
    LATER.with_borrow_mut(std::collections::HashMap::clear);
    let chance = Chance::new(seed);
    let [from_client, to_client, from_host, to_host] = [(); 4].map(|()| pipe(&chance));
    let kept = Rc::new(RefCell::new(0));
    let patient = RekeyBudget { bytes: 1 << 40, packets: 1 << 40 };
    let budget = RekeyBudget { bytes: 20_000 + chance.below(80_000) as u64, packets: 1 << 20 };
    let (up, down) = (chance.below(120_000), chance.below(120_000));
    let peer = |transport, reads: &PipeEnd, writes: &PipeEnd, is_client, to_send, to_hear| Peer {
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
        kept: Rc::clone(&kept),
    };
    let mut client_peer = peer(client(patient, seed), &to_client, &from_client, true, up, down);
    let mut host_peer = peer(server(patient, seed + 1), &to_host, &from_host, false, down, up);
    client_peer.queue(login());
    let relay = relay(server(budget, seed + 2), client(budget, seed + 3), [&from_client, &to_client, &from_host, &to_host], &kept);
    let client_task = async {
        poll_fn(|cx| client_peer.step(cx)).await;
        assert_eq!((client_peer.sent, client_peer.heard), (up, down), "the client is not done");
    };
    let host_task = async {
        poll_fn(|cx| host_peer.step(cx)).await;
        assert_eq!((host_peer.sent, host_peer.heard), (down, up), "the host is not done");
    };
    run(seed, &chance, vec![Box::pin(client_task), Box::pin(host_task), Box::pin(relay)]);
}

async fn relay(server: Transport, client: Transport, pipes: [&PipeEnd; 4], kept: &Rc<RefCell<usize>>) {
    let [from_client, to_client, from_host, to_host] = pipes.map(PipeEnd::clone);
    let (mut client_reader, mut host_reader) = (from_client, from_host);
    let (inner, upstream) = (Leg::new(server, to_client), Leg::new(client, to_host));
    upstream.establish(&mut host_reader).await.unwrap();
    // The relay begins where authentication ends.
    upstream.send(&login()).await.unwrap();
    assert_eq!(upstream.receive(&mut host_reader).await.unwrap(), [number::USERAUTH_SUCCESS]);
    assert_eq!(inner.receive(&mut client_reader).await.unwrap(), login());
    inner.send(&[number::USERAUTH_SUCCESS]).await.unwrap();
    let keep = RefCell::new(Counter(Rc::clone(kept)));
    let rights = Rights { shell: true, exec: true, reads: true, writes: true, record_input: false, content: Default::default() };
    let egress = crate::ssh::egress::Egress::unlimited();
    let law = Anything(Host::unregistered(&"simulated".parse().unwrap()));
    let relay = Relay::new((&inner, &upstream), &keep, (rights, &law), super::Pulse::none(), &egress);
    let end = relay.run(&mut client_reader, &mut host_reader).await;
    assert!(matches!(end, End::ClientLeft), "{end}");
    let _ = upstream.shutdown().await;
    let _ = inner.shutdown().await;
}

/// Polls whoever was woken, in an order of chance, until all are done. Nobody woken while somebody is not done is a deadlock.
fn run(seed: u64, chance: &Chance, tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (Some(task), Arc::new(Flag(AtomicBool::new(true))))).collect();
    while tasks.iter().any(|(task, _)| task.is_some()) {
        let woken: Vec<usize> = (0..tasks.len()).filter(|i| tasks[*i].0.is_some() && tasks[*i].1.0.load(Ordering::SeqCst)).collect();
        assert!(!woken.is_empty(), "seed {seed}: deadlock");
        let (task, flag) = &mut tasks[woken[chance.below(woken.len())]];
        flag.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(flag));
        if task.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *task = None;
        }
    }
}

/// 10,000 seeds in all, in quarters, so that two cores share them. `SOAK` multiplies.
fn quarter(number: u64) {
    let rounds = std::env::var("SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1_u64);
    (0..2_500 * rounds).for_each(|n| simulate(n * 4 + number));
}

#[test]
fn no_deadlock_first_quarter() {
    quarter(0);
}

#[test]
fn no_deadlock_second_quarter() {
    quarter(1);
}

#[test]
fn no_deadlock_third_quarter() {
    quarter(2);
}

#[test]
fn no_deadlock_fourth_quarter() {
    quarter(3);
}
