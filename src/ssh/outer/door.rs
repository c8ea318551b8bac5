//! The handler of one outer connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::Certificate;
use russh::keys::ssh_key::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Pty};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::Wing;
use super::super::tunnel::{Outer, Use};
use super::{command, welcome};
use crate::access::invite::InviteCode;
use crate::access::person::Person;
use crate::broker::{Error, Offered, Proof};
use crate::verbs;

/// A tunnel that was asked for and not yet looked at.
pub(super) struct Opening {
    pub(super) channel: Channel<Msg>,
    pub(super) reply: ChannelOpenHandle,
    /// What opened the connection.
    pub(super) proof: Proof,
    pub(super) target: String,
    pub(super) port: u16,
    /// Where the connection comes from on the client's side, as the client says.
    pub(super) from: (String, u32),
}

/// The terminal at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    pub(super) columns: u16,
    pub(super) rows: u16,
    /// It shows colour: `TERM` is not `dumb`.
    pub(super) color: bool,
}

/// A session channel that waits for its command.
pub(super) struct Waiting {
    pub(super) write: ChannelWriteHalf<Msg>,
    /// Becomes true when the client has left the channel or has typed Ctrl-C.
    pub(super) left: watch::Receiver<bool>,
    /// What came on standard input so far.
    pub(super) input: watch::Receiver<Input>,
    /// The same as it comes, for who plays with keys.
    pub(super) keys: mpsc::Receiver<Vec<u8>>,
    /// The size of the window since it was changed.
    pub(super) size: watch::Receiver<(u16, u16)>,
    pub(super) terminal: Option<Terminal>,
    pub(super) outer: Use,
}

/// The begin of a channel's standard input: as much as any verb reads, and one byte more to tell that there was more.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: Vec<u8>,
    /// Nothing more comes.
    pub(super) ended: bool,
}

impl Input {
    fn keep(&mut self, data: &[u8]) {
        let room = (verbs::INPUT_AT_MOST + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(data.get(..room).unwrap_or(data));
    }
}

/// The user whom this proves, as they are known now; none if they may do nothing any more.
pub(super) async fn still_known(wing: &Wing, proof: &Proof) -> Option<Person> {
    match wing.broker.standing(proof).await {
        Ok(person) => person,
        Err(fault) => {
            tracing::error!(%fault, "a key could not be looked up");
            None
        }
    }
}

/// What a channel's reader hands on.
struct Drained {
    left: watch::Sender<bool>,
    input: watch::Sender<Input>,
    /// None after the end of standard input.
    keys: Option<mpsc::Sender<Vec<u8>>>,
    size: watch::Sender<(u16, u16)>,
}

/// Empties a channel's queue for as long as it lives: one that is full would stop the whole connection. Keeps the little that a verb may
/// read.
async fn drain(mut read: ChannelReadHalf, to: Drained) {
    let Drained { left, input, mut keys, size } = to;
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                // Ctrl-C on a raw terminal.
                if data.contains(&3) {
                    _ = left.send(true);
                }
                // Who types faster than keys are answered loses some of them, and only those.
                let _ = keys.as_ref().map(|keys| keys.try_send(data.get(..KEYS).unwrap_or(&data).to_vec()));
                input.send_modify(|input| input.keep(&data));
            }
            ChannelMsg::Eof => {
                keys = None;
                input.send_modify(|input| input.ended = true);
            }
            ChannelMsg::WindowChange { col_width, row_height, .. } => _ = size.send((cells(col_width, 80), cells(row_height, 24))),
            // The signal that a client may send instead.
            ChannelMsg::Signal { .. } | ChannelMsg::Close => _ = left.send(true),
            _ => {}
        }
    }
    let _ = left.send(true);
}

/// What one outer connection knows.
pub(super) struct Door {
    wing: Arc<Wing>,
    peer: SocketAddr,
    outer: Arc<Outer>,
    openings: mpsc::Sender<Opening>,
    proven: Option<oneshot::Sender<()>>,
    proof: Option<Proof>,
    /// Whoever came with the code of an invitation instead: they are told what happens next, and nothing else.
    invited: Option<Offered>,
    offers: u32,
    waiting: HashMap<ChannelId, Waiting>,
}

impl Door {
    pub(super) fn new(
        wing: Arc<Wing>,
        peer: SocketAddr,
        outer: Arc<Outer>,
        openings: mpsc::Sender<Opening>,
        proven: oneshot::Sender<()>,
    ) -> Self {
        Self { wing, peer, outer, openings, proven: Some(proven), proof: None, invited: None, offers: 0, waiting: HashMap::new() }
    }

    /// Runs `command` on a waiting session channel, on a task of its own: verbs may wait for people.
    fn start(&mut self, id: ChannelId, command: Option<&[u8]>, session: &mut Session) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else { return session.channel_failure(id) };
        if let Some(invited) = &self.invited {
            session.channel_success(id)?;
            self.wing.tasks.spawn(command::say(waiting, welcome::text(invited)));
            return Ok(());
        }
        let Some(proof) = self.proof.clone() else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let command = command.map(<[u8]>::to_vec);
        self.wing.tasks.spawn(command::run(Arc::clone(&self.wing), proof, waiting, command));
        Ok(())
    }

    /// An agent that was forwarded to a host must not approve anything from there.
    fn comes_from_a_host(&self) -> bool {
        let refused = self.wing.broker.is_host_address(self.peer.ip());
        if refused {
            tracing::warn!(peer = %self.peer, "a login from a registered host was refused");
        }
        refused
    }

    /// A key that is nobody's: with the code of an open invitation it is kept until somebody confirms it. Whatever is wrong with a code
    /// costs the same time as none.
    async fn stranger(&mut self, user: &str, key: &PublicKey) -> Auth {
        let redeemed = async {
            match InviteCode::parse(user) {
                Some(code) => welcome::redeem(&self.wing, code, key, self.peer).await,
                None => None,
            }
        };
        let (invited, ()) = tokio::join!(redeemed, tokio::time::sleep(WRONG_SIGNATURE));
        if invited.is_none() {
            self.wing.tally.wrong_key();
            return Auth::reject();
        }
        self.invited = invited;
        Auth::Accept
    }

    async fn recognised(&mut self, person: &Person, hint: &str, proof: Proof) -> Auth {
        let limit = proof.limit().map(tracing::field::display);
        // An unused code is a secret, and the log is read by more people than it is meant for.
        let hint = if InviteCode::parse(hint).is_some() { "(a code)" } else { hint };
        tracing::info!(user = %person.user, peer = %self.peer, limit, hint = %crate::access::names::escaped(hint), "recognised");
        // When a key was last used is worth no refusal; a fault is in the log.
        let _ = self.wing.broker.proven(proof.key()).await;
        self.wing.tally.logged_in();
        self.proof = Some(proof);
        Auth::Accept
    }
}

impl Handler for Door {
    type Error = russh::Error;

    /// While the store answers nothing no key can be looked up, and the client would only say that permission was denied.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        let fault = self.wing.broker.store_answers().err();
        Ok(fault.map(|fault| format!("{fault}\n").replace('\n', "\r\n")))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        self.offers += 1;
        if self.offers > OFFERS_AT_MOST {
            return Err(russh::Error::Disconnect);
        }
        // Of an access certificate this is the key; what the certificate says is looked at when it is proven.
        let offered = Proof::plain(offer.public_key.clone());
        // Who comes with a code, right or wrong, must prove the key first: only then is the code looked at.
        let opens = still_known(&self.wing, &offered).await.is_some() || InviteCode::parse(user).is_some();
        Ok(if opens { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        if self.comes_from_a_host() {
            return Ok(Auth::reject());
        }
        let proof = Proof::plain(key.public_key.clone());
        let Some(person) = still_known(&self.wing, &proof).await else { return Ok(self.stranger(user, key.public_key).await) };
        Ok(self.recognised(&person, user, proof).await)
    }

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Self::Error> {
        if self.comes_from_a_host() {
            return Ok(Auth::reject());
        }
        match self.wing.broker.recognise_certificate(certificate).await {
            Ok((person, proof)) => Ok(self.recognised(&person, user, proof).await),
            // OpenSSH offers the plain key next. Its signature was right and its key is somebody's: no need to slow it down.
            Err(Error::Refused(refusal)) => {
                self.wing.tally.wrong_key();
                tracing::info!(peer = %self.peer, reason = %refusal.message, "an access certificate was refused");
                Ok(Auth::reject())
            }
            Err(Error::Fault(fault)) => {
                tracing::error!(%fault, "an access certificate could not be looked up");
                Ok(Auth::reject())
            }
        }
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(proven) = self.proven.take() {
            // Whoever watched the grace may have given up in the same moment; then the socket is shut already.
            let _ = proven.send(());
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(outer) = self.outer.enter(CHANNELS_AT_MOST) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (id, (read, write)) = (channel.id(), channel.split());
        let (leave, left) = watch::channel(false);
        let (typed, input) = watch::channel(Input::default());
        let (press, keys) = mpsc::channel(KEYS_WAITING);
        let (drag, size) = watch::channel((0, 0));
        self.wing.tasks.spawn(drain(read, Drained { left: leave, input: typed, keys: Some(press), size: drag }));
        self.waiting.insert(id, Waiting { write, left, input, keys, size, terminal: None, outer });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(proof), Ok(port)) = (self.proof.clone(), u16::try_from(port_to_connect)) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let from = (originator_address.chars().take(255).collect(), originator_port);
        let opening = Opening { channel, reply, proof, target: host_to_connect.to_owned(), port, from };
        // Full means that the client asks faster than hosts can be looked up; dropping the opening refuses it.
        let _ = self.openings.try_send(opening);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(waiting) = self.waiting.get_mut(&channel) else { return session.channel_failure(channel) };
        let (columns, rows) = (cells(columns, 80), cells(rows, 24));
        waiting.terminal = Some(Terminal { columns, rows, color: !matches!(term, "" | "dumb" | "unknown") });
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, None, session)
    }

    async fn exec_request(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, Some(data), session)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

/// A terminal's columns or rows, within bounds. Nothing is what one says that does not know its size: RFC 4254 section 6.2.
fn cells(n: u32, usual: u16) -> u16 {
    if n == 0 { usual } else { u16::try_from(n.min(1000)).unwrap_or(usual) }
}

/// Of what is typed at once, so many bytes are looked at as keys.
const KEYS: usize = 1024;

/// And so many times, while the last are not answered.
const KEYS_WAITING: usize = 64;

/// Keys that a client may offer without proving one.
pub(super) const OFFERS_AT_MOST: u32 = 20;

/// Channels on one outer connection: verbs and tunnels together.
pub(super) const CHANNELS_AT_MOST: usize = 64;

/// Before a key that signed correctly and is nobody's is refused.
const WRONG_SIGNATURE: Duration = Duration::from_secs(1);
