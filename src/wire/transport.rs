//! One SSH connection in one role, without its socket: bytes in, messages out, and back.
//!
//! The caller reads from the socket into [`Transport::space`], tells how much with [`Transport::filled`], and takes
//! messages from [`Transport::next`] until there is none. What it sends is sealed onto [`Transport::output`], where
//! the transport also lays what it says by itself: key exchange, PONG, EXT_INFO.

use std::ops::Range;
use std::sync::Arc;

use super::codec::{Reader, WireError, Writer};
use super::entropy::Entropy;
use super::kex::offer::printable;
use super::kex::{Kex, Tools};
use super::number::{DEBUG, DISCONNECT, EXT_INFO, IGNORE, KEX_LAST, KEXINIT, PING, PONG, UNIMPLEMENTED, USERAUTH_SUCCESS};
use super::packet::{Inbound, Outbound, Packet};
use super::role::Role;

pub use super::role::{ClientConfig, RekeyBudget, ServerConfig};

/// One SSH connection. After an error from [`Self::next`] only [`Self::disconnect`] and [`Self::output`] are of use.
pub struct Transport {
    kex: Kex,
    rng: Box<dyn Entropy>,
    rekey: RekeyBudget,
    inbound: Inbound,
    outbound: Outbound,
    id_lines: u32,
    peer_extensions: Vec<(String, Vec<u8>)>,
    last_sequence: u32,
    /// USERAUTH_SUCCESS has passed: the peer is known.
    known: bool,
    /// Messages that cost the peer nothing and say nothing, before it is known.
    chatter: u32,
    said_goodbye: bool,
    failed: Option<WireError>,
}

impl Transport {
    /// Waits for the client's identification and KEXINIT before it composes its own, so that the offer fits; see
    /// [`Self::offer_now`].
    pub fn server(config: Arc<ServerConfig>, rng: Box<dyn Entropy>) -> Self {
        let (id, rekey) = (config.id.clone(), config.rekey);
        Self::new(Role::Server(config), &id, rekey, rng)
    }

    /// Sends its identification and KEXINIT at once.
    pub fn client(config: Arc<ClientConfig>, rng: Box<dyn Entropy>) -> Self {
        let (id, rekey) = (config.id.clone(), config.rekey);
        let mut transport = Self::new(Role::Client(config), &id, rekey, rng);
        if let Err(error) = transport.offer_now() {
            transport.failed = Some(error);
        }
        transport
    }

    fn new(role: Role, id: &str, rekey: RekeyBudget, rng: Box<dyn Entropy>) -> Self {
        Self {
            kex: Kex::new(role),
            rng,
            rekey,
            inbound: Inbound::new(),
            outbound: Outbound::new(format!("{id}\r\n").as_bytes()),
            id_lines: 0,
            peer_extensions: Vec::new(),
            last_sequence: 0,
            known: false,
            chatter: 0,
            said_goodbye: false,
            failed: None,
        }
    }

    /// Where to read to from the socket: at least 16 KiB, normally 64 KiB and more.
    pub fn space(&mut self) -> &mut [u8] {
        self.inbound.space()
    }

    /// `n` bytes have been read into [`Self::space`].
    pub fn filled(&mut self, n: usize) {
        self.inbound.filled(n);
    }

    /// The next message for the caller, its number first, opened in place. `None` when more bytes are needed.
    ///
    /// Key exchange, IGNORE, DEBUG, UNIMPLEMENTED, EXT_INFO and PING (PROTOCOL of OpenSSH, section 1.8) are dealt with
    /// inside, and their answers lie in [`Self::output`]. DISCONNECT becomes [`WireError::Disconnected`]. An error is
    /// final: it comes again with every later call.
    #[allow(clippy::should_implement_trait, reason = "the item borrows from the transport")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.advance() {
            Ok(payload) => Ok(payload.map(|range| self.inbound.bytes(range))),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Seals a message onto [`Self::output`]. [`WireError::Busy`] while [`Self::can_send`] is false.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        if !self.can_send() {
            return Err(WireError::Busy);
        }
        self.outbound.seal(payload)?;
        if payload.first() == Some(&USERAUTH_SUCCESS) {
            self.greet();
        }
        Ok(())
    }

    /// False before the first keys, from our KEXINIT until our NEWKEYS is out, and after [`Self::disconnect`].
    pub fn can_send(&self) -> bool {
        self.outbound.keyed() && !self.kex.holds_our_data() && !self.said_goodbye
    }

    /// The first key exchange is finished both ways.
    pub fn established(&self) -> bool {
        self.kex.finished() > 0
    }

    /// Sealed bytes that wait for the socket.
    pub fn output(&self) -> &[u8] {
        self.outbound.waiting()
    }

    /// Moves [`Self::output`] behind what `into` holds; where that is nothing, two vectors change places, so that one
    /// pair of buffers serves a connection for good.
    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        self.outbound.take(into);
    }

    /// A budget has been passed in either direction and no key exchange is running: time for [`Self::start_rekey`].
    pub fn wants_rekey(&self) -> bool {
        let over =
            [self.inbound.spent(), self.outbound.spent()].iter().any(|s| s.bytes >= self.rekey.bytes || s.packets >= self.rekey.packets);
        over && self.established() && self.kex.idle() && !self.said_goodbye
    }

    /// Sends our KEXINIT for new keys. The caller holds its session's one rekey token: starting on both legs of a
    /// relay at once can stop both for good. [`WireError::Busy`] if an exchange is running or none has finished yet.
    pub fn start_rekey(&mut self) -> Result<(), WireError> {
        if !self.established() || self.said_goodbye {
            return Err(WireError::Busy);
        }
        self.offer()
    }

    /// As a server that has waited long enough for the client's first KEXINIT: offers everything we speak. For
    /// clients that wait for the server's offer in turn (libssh before 0.11). Does nothing once ours is out.
    pub fn offer_now(&mut self) -> Result<(), WireError> {
        if self.kex.finished() > 0 || !self.kex.idle() {
            return Ok(());
        }
        self.offer()
    }

    /// A key exchange is running: from the first KEXINIT of either side until both NEWKEYS have passed.
    pub fn in_kex(&self) -> bool {
        !self.kex.idle()
    }

    /// The exchange hash of the first key exchange; empty before.
    pub fn session_id(&self) -> &[u8] {
        self.kex.session_id()
    }

    /// The peer's identification line without its end; empty before it has come.
    pub fn peer_id(&self) -> &str {
        self.kex.peer_id()
    }

    /// The extensions of the peer's last EXT_INFO.
    pub fn peer_ext_info(&self) -> &[(String, Vec<u8>)] {
        &self.peer_extensions
    }

    /// The host key or certificate of the first key exchange: as a client the one that was accepted, as a server the
    /// one that was shown (`publickey-hostbound-v00@openssh.com` names it).
    pub fn host_key(&self) -> Option<&[u8]> {
        self.kex.host_key()
    }

    /// The number of the packet that [`Self::next`] gave out last.
    pub fn received_sequence(&self) -> u32 {
        self.last_sequence
    }

    /// Answers the message that [`Self::next`] gave out last with UNIMPLEMENTED. It may go out during a rekey too.
    /// An error if the peer sends such messages and does not read the answers.
    pub fn unimplemented(&mut self) -> Result<(), WireError> {
        if self.output().len() > MAX_UNREAD {
            return Err(WireError::TooLarge("answers that the peer does not read"));
        }
        self.outbound.seal(&Writer::message(UNIMPLEMENTED).u32(self.last_sequence).done())
    }

    /// Says goodbye, also during a key exchange; nothing can be sent after it. OpenSSH shows 400 characters of `text`.
    pub fn disconnect(&mut self, code: u32, text: &str) {
        if self.said_goodbye {
            return;
        }
        self.said_goodbye = true;
        let text = printable(text, MAX_WORDS);
        let message = Writer::message(DISCONNECT).u32(code).string(text.as_bytes()).string(b"").done();
        // If even this cannot be sealed, closing the socket says the same.
        let _ = self.outbound.seal(&message);
    }

    fn offer(&mut self) -> Result<(), WireError> {
        self.kex.offer(&mut Tools { rng: self.rng.as_mut(), out: &mut self.outbound })
    }

    /// Works through what has been read until there is a message for the caller.
    fn advance(&mut self) -> Result<Option<Range<usize>>, WireError> {
        while self.kex.peer_id().is_empty() {
            let Some(line) = self.inbound.line(self.longest_line())? else { return Ok(None) };
            self.read_id(line)?;
        }
        while let Some(packet) = self.inbound.open()? {
            if self.is_for_caller(&packet)? {
                self.last_sequence = packet.sequence;
                return Ok(Some(packet.payload));
            }
        }
        Ok(None)
    }

    fn is_for_caller(&mut self, packet: &Packet) -> Result<bool, WireError> {
        let message = self.inbound.bytes(packet.payload.clone());
        let number = message.first().copied().ok_or(WireError::Truncated)?;
        match number {
            DISCONNECT => return Err(goodbye(message)),
            IGNORE..=DEBUG => self.note_chatter(number)?,
            KEXINIT..=KEX_LAST => self.exchange(packet)?,
            _ if !self.established() || self.kex.holds_peer_data() => {
                return Err(WireError::Unexpected(number));
            }
            EXT_INFO => {
                self.peer_extensions = extensions(message)?;
                self.note_chatter(number)?;
            }
            PING => self.pong(packet)?,
            PONG => {}
            _ => {
                if number == USERAUTH_SUCCESS && self.kex.is_client() {
                    self.greet();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn exchange(&mut self, packet: &Packet) -> Result<(), WireError> {
        let message = self.inbound.bytes(packet.payload.clone());
        if message.first() == Some(&KEXINIT) && self.established() && !self.known {
            // A stranger makes us work for nothing: no client or server does this before it has logged in.
            if self.kex.finished() > MAX_EARLY_EXCHANGES {
                return Err(WireError::TooLarge("key exchanges before login"));
            }
        }
        let mut tools = Tools { rng: self.rng.as_mut(), out: &mut self.outbound };
        if let Some(opener) = self.kex.handle(message, packet, &mut tools)? {
            self.inbound.switch(opener, self.kex.strict());
        }
        Ok(())
    }

    /// IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO: taken in and forgotten, but not in a strict first exchange, and not
    /// without end from a stranger.
    fn note_chatter(&mut self, number: u8) -> Result<(), WireError> {
        if !self.established() && self.kex.strict() {
            return Err(WireError::Unexpected(number));
        }
        if !self.known {
            self.chatter += 1;
            if self.chatter > MAX_CHATTER {
                return Err(WireError::TooLarge("idle messages before login"));
            }
        }
        Ok(())
    }

    /// Answers a PING with its own words. Dropped where it cannot be said now, during a rekey, or where the peer does
    /// not read: OpenSSH uses PINGs to blur the rhythm of keystrokes and waits for none of them.
    fn pong(&mut self, packet: &Packet) -> Result<(), WireError> {
        if !self.can_send() || self.output().len() > MAX_UNREAD {
            return Ok(());
        }
        let message = self.inbound.bytes(packet.payload.clone());
        let mut r = Reader::new(message);
        r.u8()?;
        let data = r.string()?;
        r.end()?;
        self.outbound.seal(&Writer::message(PONG).string(data).done())
    }

    /// Login is over: from here on the peer is somebody, and may send large packets and talk idly.
    fn greet(&mut self) {
        self.known = true;
        self.inbound.trust_lengths();
    }

    fn longest_line(&self) -> usize {
        if self.kex.is_client() { MAX_LINE_BEFORE_ID } else { MAX_ID_LINE }
    }

    /// One line before the first packet: the identification, or as a client what a server may say before it.
    fn read_id(&mut self, line: Range<usize>) -> Result<(), WireError> {
        let line = self.inbound.bytes(line);
        let version = line.starts_with(b"SSH-2.0-") || (self.kex.is_client() && line.starts_with(b"SSH-1.99-"));
        if !version {
            self.id_lines += 1;
            if !self.kex.is_client() || self.id_lines > MAX_LINES_BEFORE_ID || line.starts_with(b"SSH-") {
                return Err(WireError::Malformed("identification line"));
            }
            return Ok(());
        }
        // RFC 4253 section 4.2: printable US-ASCII, at most 255 bytes with CR LF.
        if line.len() > MAX_ID_LINE - 2 || !line.iter().all(|b| (0x20..0x7f).contains(b)) {
            return Err(WireError::Malformed("identification line"));
        }
        self.kex.met(String::from_utf8_lossy(line).into_owned());
        Ok(())
    }
}

/// A DISCONNECT message as the error that it is.
fn goodbye(message: &[u8]) -> WireError {
    let mut r = Reader::new(message);
    let read = r.u8().and_then(|_| Ok((r.u32()?, r.string()?)));
    match read {
        Ok((code, text)) => {
            let text = printable(&String::from_utf8_lossy(text), MAX_WORDS);
            WireError::Disconnected { code, text }
        }
        Err(error) => error,
    }
}

/// The list in an EXT_INFO (RFC 8308 section 2.3).
fn extensions(message: &[u8]) -> Result<Vec<(String, Vec<u8>)>, WireError> {
    let mut r = Reader::new(message);
    r.u8()?;
    let count = r.u32()?;
    if count > MAX_EXTENSIONS || message.len() > MAX_EXTENSION_BYTES {
        return Err(WireError::TooLarge("extension list"));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push((r.text()?.to_owned(), r.string()?.to_vec()));
    }
    r.end()?;
    Ok(list)
}

/// RFC 4253 section 4.2, with CR LF.
const MAX_ID_LINE: usize = 255;
/// What a server may say before its identification: TCP wrappers do, nobody at length.
const MAX_LINES_BEFORE_ID: u32 = 20;
const MAX_LINE_BEFORE_ID: usize = 1024;
/// Idle messages that a stranger may send.
const MAX_CHATTER: u32 = 100;
/// Key exchanges after the first that a stranger may ask for.
const MAX_EARLY_EXCHANGES: u64 = 4;
/// OpenSSH knows a handful.
const MAX_EXTENSIONS: u32 = 64;
const MAX_EXTENSION_BYTES: usize = 32 * 1024;
/// What may lie unread before we stop answering idle questions.
const MAX_UNREAD: usize = 256 * 1024;
/// Characters of a DISCONNECT that are shown: more than that OpenSSH does not print.
const MAX_WORDS: usize = 400;
