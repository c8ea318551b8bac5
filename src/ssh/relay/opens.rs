//! Channels that one side wants to open: sessions and forwards by the client, what a listener or the agent is for by the host.
//!
//! Every open is judged by the grant as it is at that moment. What is refused is answered at once in the other side's place (opens have no
//! order); what is passed is recorded from its open on, so that a destination that never answers is seen as well.

use tokio::io::AsyncWrite;

use super::forwards::{address, socket, text};
use super::from_client::{FIRST_WINDOW, MAX_PACKET, NO_CHANNEL, printable};
use super::table::{Awaited, Channel, Room, Table};
use super::{Judged, Relay, Ruling, Side, from_client};
use crate::access::names::escaped;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::ssh::connection::Connection;
use crate::ssh::tap::{Lands, Way};
use crate::wire::channel::{self, Open, Route};
use crate::wire::codec::WireError;

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// The client opens a channel.
    pub(super) fn opened_by_client(&self, payload: &[u8], open: &Open<'_>) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        if table.of_client(open.sender).is_some() {
            return Err(IN_USE.into());
        }
        let wanted = match (open.kind, open.route()?) {
            ("session", _) => None,
            (_, Some(Route::Direct { to, port, from, from_port })) => {
                Some(self.forward(to, port).map(|what| (what, told_forward(text(to).unwrap_or_default(), port, from, from_port))))
            }
            (_, Some(Route::DirectPath(path))) => {
                let told = |path: &str| format!("forward to {}", escaped(path));
                Some(socket(path).map(|path| (Opening::forward_path(&path), told(&path))))
            }
            _ => return Ok(prohibited(open.sender, &never(open.kind))),
        };
        if table.is_full(wanted.is_none()) || table.is_spent() {
            return Ok(Ruling::refuse(channel::open_failure(open.sender, channel::RESOURCE_SHORTAGE, TOO_MANY)));
        }
        let (channel, window) = match wanted {
            None => {
                let (room, window) = Room::of(open.window);
                let held_back = window.saturating_sub(FIRST_WINDOW);
                (Channel::opened(open.sender, room, held_back), window - held_back)
            }
            Some(wanted) => match wanted.and_then(|(what, told)| self.law.opens(&what).map(|()| (what, told))) {
                Ok((what, told)) => {
                    let joined = self.joined(&mut table, Way::Forward, &what, &told)?;
                    (Channel::joined(open.sender, joined), open.window)
                }
                Err(refusal) => return Ok(refused(open, &refusal)),
            },
        };
        table.channels.push(channel);
        Ok(onward(payload, window))
    }

    /// Where a client wants to be connected, under every name of it.
    fn forward(&self, to: &[u8], port: u16) -> Result<Opening, Refusal> {
        // Servers differ in what they make of nothing and of every machine: for some it is the host itself.
        match address(to)? {
            "" | "*" => {
                Err(Refusal::new("bad-destination", "a forward leads to one machine").hint("name it: localhost, or a name or address"))
            }
            to => Ok(Opening::forward(self.law.host(), to, port)),
        }
    }

    /// The host opens a channel: for a listener that was asked for and granted, or to an agent that was lent.
    pub(super) fn opened_by_host(&self, payload: &[u8], open: &Open<'_>) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        if table.of_host(open.sender).is_some() || table.is_awaited(open.sender) {
            return Err(IN_USE.into());
        }
        let (way, what, told) = match open.route()? {
            Some(Route::Forwarded { at, port, from, from_port }) => match self.listeners.borrow().at(at, port) {
                Some(what) => (Way::Reverse, what.clone(), told_reverse(what, from, from_port)),
                None => return Ok(prohibited(open.sender, UNASKED)),
            },
            Some(Route::ForwardedPath(path)) => match self.listeners.borrow().at_path(path) {
                Some(what) => (Way::Reverse, what.clone(), format!("a connection to {}", escaped(&what.kind().to_string()))),
                None => return Ok(prohibited(open.sender, UNASKED)),
            },
            Some(Route::Agent) if self.agent.get() => (Way::Agent, Opening::agent(), "the host speaks to the client's agent".to_owned()),
            _ => return Ok(prohibited(open.sender, UNASKED)),
        };
        if let Err(refusal) = self.law.opens(&what) {
            return Ok(refused(open, &refusal));
        }
        if table.is_full(false) || table.is_spent() {
            return Ok(Ruling::refuse(channel::open_failure(open.sender, channel::RESOURCE_SHORTAGE, TOO_MANY)));
        }
        let joined = self.joined(&mut table, way, &what, &told)?;
        table.awaited.push(Awaited { host: open.sender, joined });
        Ok(onward(payload, open.window))
    }

    /// The host has opened what the client asked for.
    pub(super) fn confirmed_by_host(&self, recipient: u32, sender: u32) -> Result<(), Judged> {
        let mut table = self.table.borrow_mut();
        if table.of_host(sender).is_some() || table.is_awaited(sender) {
            return Err(IN_USE.into());
        }
        let channel = table.of_client(recipient).filter(|c| c.host.is_none()).ok_or(NO_CHANNEL)?;
        channel.host = Some(sender);
        if let Some(joined) = channel.stage.joined() {
            self.connected(joined)?;
        }
        Ok(())
    }

    /// The client has opened what the host asked for.
    pub(super) fn confirmed_by_client(&self, recipient: u32, sender: u32) -> Result<(), Judged> {
        let mut table = self.table.borrow_mut();
        if table.of_client(sender).is_some() {
            return Err(IN_USE.into());
        }
        let joined = table.take_awaited(recipient).ok_or(NO_CHANNEL)?;
        self.connected(&joined)?;
        let mut channel = Channel::joined(sender, joined);
        channel.host = Some(recipient);
        table.channels.push(channel);
        Ok(())
    }

    /// A side does not open what the other asked for; the beginning of its words goes on to who asked.
    pub(super) fn open_failed(&self, side: Side, recipient: u32, code: u32, reason: &[u8]) -> Result<Ruling, Judged> {
        let (mut table, words) = (self.table.borrow_mut(), from_client::words_of(reason));
        let joined = match side {
            Side::Host => {
                table.of_client(recipient).filter(|c| c.host.is_none()).ok_or(NO_CHANNEL)?;
                table.take_refused(recipient)
            }
            Side::Client => Some(table.take_awaited(recipient).ok_or(NO_CHANNEL)?),
        };
        if let Some(joined) = joined {
            self.unconnected(&joined, &words)?;
        }
        Ok(Ruling::change(channel::open_failure(recipient, code, &words)))
    }

    /// A new recording for a connection that is about to be made.
    fn joined(&self, table: &mut Table, way: Way, what: &Opening, told: &str) -> Result<Box<Connection>, Judged> {
        let number = table.next_number();
        self.begin_joined(number, way, what, told)
    }
}

/// `forward to db:5432, from 127.0.0.1:40112 on the client's side`.
fn told_forward(to: &str, port: u16, from: &[u8], from_port: u32) -> String {
    let to = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
    format!("forward to {}:{port}, from {} on the client's side", escaped(&to), place(from, from_port))
}

fn told_reverse(what: &Opening, from: &[u8], from_port: u32) -> String {
    format!("a connection to {} from {}", escaped(&what.kind().to_string()), place(from, from_port))
}

/// Where a connection comes from, as a peer says.
fn place(address: &[u8], port: u32) -> String {
    let address: String = escaped(&String::from_utf8_lossy(address)).chars().take(255).collect();
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// What no grant gives.
fn never(kind: &str) -> String {
    match kind {
        "tun@openssh.com" => "tun devices are always refused: the bastion relays sessions".to_owned(),
        "x11" => "X11 is always refused".to_owned(),
        kind => format!("{} is nothing that the bastion relays", printable(kind)),
    }
}

fn prohibited(opener: u32, reason: &str) -> Ruling {
    Ruling::refuse(channel::open_failure(opener, channel::ADMINISTRATIVELY_PROHIBITED, reason))
}

fn refused(open: &Open<'_>, refusal: &Refusal) -> Ruling {
    tracing::info!(kind = %printable(open.kind), reason = %refusal.message, "a channel was refused");
    prohibited(open.sender, &one_line(refusal))
}

/// A refusal as one line: where only one can be said.
pub(super) fn one_line(refusal: &Refusal) -> String {
    match &refusal.next {
        Some(next) => format!("{} ({next})", refusal.message),
        None => refusal.message.clone(),
    }
}

fn onward(payload: &[u8], window: u32) -> Ruling {
    let mut changed = payload.to_vec();
    channel::set_window(&mut changed, window);
    channel::clamp_max_packet(&mut changed, MAX_PACKET);
    Ruling::change(changed)
}

const IN_USE: WireError = WireError::Malformed("channel number: it is in use");

const TOO_MANY: &str = "this session has too many channels: close some, or begin another session";

const UNASKED: &str = "the bastion passes no channel of a host's that was not asked for and granted";
