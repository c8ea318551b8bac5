//! Key exchange in both roles: one state machine for the first and for every later one (RFC 4253 sections 7 to 9).

pub mod agreement;
mod derive;
pub mod offer;

use self::agreement::{Initiator, Secret, respond};
use self::derive::{Direction, Keys, Transcript};
use self::offer::{Agreed, Offer, compose};
use super::cipher::{Cipher, Opener};
use super::codec::{Reader, WireError, Writer};
use super::entropy::Entropy;
use super::keys::verify;
use super::number::{EXT_INFO, KEX_INIT, KEX_REPLY, KEXINIT, NEWKEYS};
use super::packet::{Outbound, Packet};
use super::role::Role;

/// What a step may use besides its own state.
pub(super) struct Tools<'a> {
    pub(super) rng: &'a mut dyn Entropy,
    pub(super) out: &'a mut Outbound,
}

/// The key exchange of one connection.
pub(super) struct Kex {
    role: Role,
    peer_id: String,
    state: State,
    /// H of the first exchange; empty before.
    session_id: Vec<u8>,
    /// Shown, or accepted, in the first exchange.
    host_key: Option<Vec<u8>>,
    strict: bool,
    peer_wants_extensions: bool,
    skip_guess: bool,
    /// Exchanges finished both ways.
    finished: u64,
}

enum State {
    /// No exchange is running.
    Idle,
    /// Our KEXINIT is out, the peer's has not come: what the peer sent before it saw ours is still data.
    Offered(Vec<u8>),
    /// Both KEXINITs are known.
    Exchanging(Box<Exchange>),
    /// Our NEWKEYS is out, the peer's has not come; afterwards it seals for this opener.
    Confirming(Opener),
    /// A step failed; the connection is over.
    Broken,
}

struct Exchange {
    agreed: Agreed,
    client_offer: Vec<u8>,
    server_offer: Vec<u8>,
    /// Our half, as a client.
    initiator: Option<Initiator>,
}

impl Kex {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            peer_id: String::new(),
            state: State::Idle,
            session_id: Vec::new(),
            host_key: None,
            strict: false,
            peer_wants_extensions: false,
            skip_guess: false,
            finished: 0,
        }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.role, Role::Client(_))
    }

    /// The peer's identification line has come.
    pub(super) fn met(&mut self, peer_id: String) {
        self.peer_id = peer_id;
    }

    pub(super) fn peer_id(&self) -> &str {
        &self.peer_id
    }

    pub(super) fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    pub(super) fn host_key(&self) -> Option<&[u8]> {
        self.host_key.as_deref()
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Sequence numbers start again at each NEWKEYS, and nothing stray may come in the first exchange.
    pub(super) fn strict(&self) -> bool {
        self.strict
    }

    pub(super) fn idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// From our KEXINIT until our NEWKEYS: only messages of the exchange may go out.
    pub(super) fn holds_our_data(&self) -> bool {
        matches!(self.state, State::Offered(_) | State::Exchanging(_) | State::Broken)
    }

    /// From the peer's KEXINIT until its NEWKEYS: only messages of the exchange may come in.
    pub(super) fn holds_peer_data(&self) -> bool {
        matches!(self.state, State::Exchanging(_) | State::Confirming(_) | State::Broken)
    }

    /// Sends our KEXINIT, unless an exchange is running.
    pub(super) fn offer(&mut self, tools: &mut Tools) -> Result<(), WireError> {
        if !self.idle() {
            return Err(WireError::Busy);
        }
        let ours = self.compose(None, tools.rng);
        tools.out.seal(&ours)?;
        self.state = State::Offered(ours);
        Ok(())
    }

    /// Takes in a message of the numbers 20 to 49. An opener comes back where the peer's packets change keys.
    pub(super) fn handle(&mut self, message: &[u8], packet: &Packet, tools: &mut Tools) -> Result<Option<Opener>, WireError> {
        let number = message.first().copied().ok_or(WireError::Truncated)?;
        if self.skip_guess && number >= KEX_INIT {
            self.skip_guess = false;
            return Ok(None);
        }
        let server = matches!(self.role, Role::Server(_));
        match (number, std::mem::replace(&mut self.state, State::Broken)) {
            (KEXINIT, State::Idle) => {
                let ours = self.compose(Some(&Offer::parse(message)?), tools.rng);
                tools.out.seal(&ours)?;
                self.agree(ours, message, packet, tools)?;
            }
            (KEXINIT, State::Offered(ours)) => self.agree(ours, message, packet, tools)?,
            (KEX_INIT, State::Exchanging(exchange)) if server => {
                self.answer(&exchange, message, tools)?;
            }
            (KEX_REPLY, State::Exchanging(exchange)) if !server => {
                self.conclude(&exchange, message, tools)?;
            }
            (NEWKEYS, State::Confirming(opener)) => {
                Reader::new(message.get(1..).unwrap_or_default()).end()?;
                self.state = State::Idle;
                self.finished += 1;
                return Ok(Some(opener));
            }
            _ => return Err(WireError::Unexpected(number)),
        }
        Ok(None)
    }

    /// Our KEXINIT, fitted to the peer's where that is known already.
    fn compose(&self, theirs: Option<&Offer>, rng: &mut dyn Entropy) -> Vec<u8> {
        let first = self.session_id.is_empty();
        match &self.role {
            Role::Server(config) => {
                let mut kex: Vec<&str> = config.algorithms.kex.iter().map(|a| a.name()).collect();
                if first {
                    kex.push(STRICT_SERVER);
                }
                let host_keys: Vec<&str> = config.host_keys.iter().map(|k| k.algorithm()).collect();
                let ours = &config.algorithms.ciphers;
                let fitted: Vec<Cipher> = theirs.map_or_else(|| ours.clone(), |t| t.fit(ours));
                compose(&kex, &host_keys, &fitted, rng)
            }
            Role::Client(config) => {
                let mut kex: Vec<&str> = config.algorithms.kex.iter().map(|a| a.name()).collect();
                if first {
                    kex.extend([EXTENSIONS_CLIENT, STRICT_CLIENT]);
                }
                compose(&kex, &config.host_key_algorithms, &config.algorithms.ciphers, rng)
            }
        }
    }

    /// Both KEXINITs are here: what they come to. A client goes on at once.
    fn agree(&mut self, ours: Vec<u8>, message: &[u8], packet: &Packet, tools: &mut Tools) -> Result<(), WireError> {
        let theirs = Offer::parse(message)?;
        if self.session_id.is_empty() {
            self.read_markers(&theirs, packet)?;
        }
        let our_offer = Offer::parse(&ours)?;
        let server = matches!(self.role, Role::Server(_));
        let agreed = if server { Agreed::between(&theirs, &our_offer)? } else { Agreed::between(&our_offer, &theirs)? };
        if agreed.needs_strict() && !self.strict {
            let why = "chacha20-poly1305 without strict key exchange (CVE-2023-48795)";
            return Err(WireError::NoCommon("safe cipher", why.to_owned()));
        }
        self.skip_guess = if server { agreed.client_guessed_wrong } else { agreed.server_guessed_wrong };
        let theirs = message.to_vec();
        let (client_offer, server_offer, initiator) = if server {
            (theirs, ours, None)
        } else {
            let initiator = Initiator::new(agreed.agreement, tools.rng)?;
            tools.out.seal(&Writer::message(KEX_INIT).string(initiator.message()).done())?;
            (ours, theirs, Some(initiator))
        };
        let exchange = Exchange { agreed, client_offer, server_offer, initiator };
        self.state = State::Exchanging(Box::new(exchange));
        Ok(())
    }

    /// What the peer's first KEXINIT says besides algorithms.
    fn read_markers(&mut self, theirs: &Offer, packet: &Packet) -> Result<(), WireError> {
        match self.role {
            Role::Server(_) => {
                self.strict = theirs.marks(STRICT_CLIENT);
                self.peer_wants_extensions = theirs.marks(EXTENSIONS_CLIENT);
            }
            Role::Client(_) => self.strict = theirs.marks(STRICT_SERVER),
        }
        if self.strict && packet.sequence != 0 {
            return Err(WireError::Malformed("strict key exchange: a message before KEXINIT"));
        }
        Ok(())
    }

    /// As a server: the client's half has come; answer, sign, and change our keys.
    fn answer(&mut self, x: &Exchange, message: &[u8], tools: &mut Tools) -> Result<(), WireError> {
        let Role::Server(config) = self.role.clone() else { return Err(WireError::Unexpected(KEX_INIT)) };
        let mut r = Reader::new(message);
        r.u8()?;
        let init = r.string()?;
        r.end()?;
        let identity = config.host_keys.iter().find(|k| k.algorithm() == x.agreed.host_key).ok_or(WireError::Crypto("host key"))?;
        let (reply, secret) = respond(x.agreed.agreement, init, tools.rng)?;
        let hash = Transcript {
            client_id: self.peer_id.as_bytes(),
            server_id: config.id.as_bytes(),
            client_offer: &x.client_offer,
            server_offer: &x.server_offer,
            host_key: identity.blob(),
            init,
            reply: &reply,
        }
        .hash(x.agreed.agreement, &secret);
        let signature = identity.sign(hash.as_ref())?;
        let answer = Writer::message(KEX_REPLY).string(identity.blob()).string(&reply).string(&signature).done();
        tools.out.seal(&answer)?;
        let first = self.session_id.is_empty();
        self.host_key.get_or_insert_with(|| identity.blob().to_vec());
        self.change_keys(x, &secret, hash.as_ref(), tools)?;
        // RFC 8308 section 2.4: as the next packet after the server's first NEWKEYS.
        if first && self.peer_wants_extensions && !config.ext_info.is_empty() {
            tools.out.seal(&extensions(&config.ext_info))?;
        }
        Ok(())
    }

    /// As a client: the server's half has come; check who it is, and change our keys.
    fn conclude(&mut self, x: &Exchange, message: &[u8], tools: &mut Tools) -> Result<(), WireError> {
        let (Role::Client(config), Some(initiator)) = (self.role.clone(), &x.initiator) else {
            return Err(WireError::Unexpected(KEX_REPLY));
        };
        let mut r = Reader::new(message);
        r.u8()?;
        let (host_key, reply, signature) = (r.string()?, r.string()?, r.string()?);
        r.end()?;
        let secret = initiator.finish(reply)?;
        let hash = Transcript {
            client_id: config.id.as_bytes(),
            server_id: self.peer_id.as_bytes(),
            client_offer: &x.client_offer,
            server_offer: &x.server_offer,
            host_key,
            init: initiator.message(),
            reply,
        }
        .hash(x.agreed.agreement, &secret);
        // A host key on a token has flags too, but nobody stands beside a host to touch it: they are not asked for.
        let _flags = verify(host_key, &x.agreed.host_key, signature, hash.as_ref())?;
        match &self.host_key {
            // Who it is was settled; a certificate that has run out since does not end a running session.
            Some(known) if known == host_key => {}
            Some(_) => return Err(WireError::HostKey("changed during the session".to_owned())),
            None => {
                config.trust.check(host_key, &x.agreed.host_key)?;
                self.host_key = Some(host_key.to_vec());
            }
        }
        self.change_keys(x, &secret, hash.as_ref(), tools)
    }

    /// Sends NEWKEYS, seals under the new keys from there on, and waits for the peer to do the same.
    fn change_keys(&mut self, x: &Exchange, secret: &Secret, hash: &[u8], tools: &mut Tools) -> Result<(), WireError> {
        if self.session_id.is_empty() {
            self.session_id = hash.to_vec();
        }
        let keys = Keys { agreement: x.agreed.agreement, secret, hash, session_id: &self.session_id };
        let (to_server, to_client) = (x.agreed.to_server, x.agreed.to_client);
        let (sealer, opener) = match self.role {
            Role::Server(_) => (keys.sealer(to_client, Direction::ToClient)?, keys.opener(to_server, Direction::ToServer)?),
            Role::Client(_) => (keys.sealer(to_server, Direction::ToServer)?, keys.opener(to_client, Direction::ToClient)?),
        };
        tools.out.seal(&[NEWKEYS])?;
        tools.out.switch(sealer, self.strict);
        self.state = State::Confirming(opener);
        Ok(())
    }
}

/// EXT_INFO of RFC 8308 section 2.3.
fn extensions(list: &[(String, Vec<u8>)]) -> Vec<u8> {
    let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
    let mut message = Writer::message(EXT_INFO).u32(count);
    for (name, value) in list {
        message = message.string(name.as_bytes()).string(value);
    }
    message.done()
}

const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
const EXTENSIONS_CLIENT: &str = "ext-info-c";
