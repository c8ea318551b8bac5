//! Connections that are carried inside a session: forwards in both directions, and the client's agent.

use tokio::io::AsyncWrite;

use super::table::{Channel, Stage, Table};
use super::{Judged, Relay, Ruling, Side};
use crate::access::channels::plain_path;
use crate::access::names::escaped;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::ssh::connection::{self, Connection, End, Start};
use crate::ssh::tap::{Lands, Purpose, Way};

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Begins the recording of a connection that is about to be made.
    pub(super) fn begin_joined(&self, number: u32, way: Way, what: &Opening, told: &str) -> Result<Box<Connection>, Judged> {
        self.pulse.typed();
        let begun = Connection::begin(&mut *self.keep.borrow_mut(), number, (way, what), told, self.rights.content);
        begun.map(Box::new).map_err(Judged::Record)
    }

    /// The other side has accepted it.
    pub(super) fn connected(&self, joined: &Connection) -> Result<(), Judged> {
        joined.connected(&mut *self.keep.borrow_mut()).map_err(Judged::Record)
    }

    /// The other side has not.
    pub(super) fn unconnected(&self, joined: &Connection, why: &str) -> Result<(), Judged> {
        joined.unconnected(&mut *self.keep.borrow_mut(), why).map_err(Judged::Record)
    }

    /// Bytes from `side`: counted and kept before they go on.
    pub(super) fn carried(&self, side: Side, joined: &mut Connection, data: &[u8]) -> Result<Ruling, Judged> {
        self.pulse.typed();
        if joined.carry(&mut *self.keep.borrow_mut(), end(side), data).map_err(Judged::Record)? {
            self.law.tunnelled(joined.number(), joined.way().as_str());
        }
        Ok(Ruling::PASS)
    }

    /// A command can carry a connection too: `nc`.
    pub(super) fn look_in_command(&self, purpose: Purpose, number: u32, start: &mut Start, data: &[u8]) -> Result<(), Judged> {
        if purpose == Purpose::Exec && connection::tunnelled(&mut *self.keep.borrow_mut(), number, start, data).map_err(Judged::Record)? {
            self.law.tunnelled(number, "exec");
        }
        Ok(())
    }

    /// Tells how a connection ended that both sides have closed, and forgets it.
    pub(super) fn part_joined(&self, table: &mut Table, client: u32) -> Result<(), Judged> {
        let Some(joined) = table.take_closed_joined(client) else { return Ok(()) };
        joined.over(&mut *self.keep.borrow_mut()).map_err(Judged::Record)
    }

    /// The relay is over, and these connections with it.
    pub(super) fn cut_joined(&self, table: &mut Table) {
        let mut keep = self.keep.borrow_mut();
        table.awaited.drain(..).for_each(|awaited| awaited.joined.cut(&mut *keep));
        for channel in &mut table.channels {
            if let Some(joined) = channel.stage.joined() {
                joined.cut(&mut *keep);
            }
        }
    }
}

impl Channel {
    /// A side says that no more comes, or closes.
    pub(super) fn ended_by(&mut self, side: Side) {
        if let Some(joined) = self.stage.joined() {
            joined.ended_by(end(side));
        }
    }
}

impl Stage {
    pub(super) fn joined(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Joined(joined) => Some(joined),
            Self::Opened(_) | Self::Used { .. } => None,
        }
    }
}

fn end(side: Side) -> End {
    match side {
        Side::Client => End::Client,
        Side::Host => End::Host,
    }
}

/// A name, an address or a path that a peer wrote. What is no text is no place that could be judged.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let shown = || escaped(&String::from_utf8_lossy(bytes)).chars().take(80).collect::<String>();
    let bad = || Refusal::new("bad-destination", format!("\"{}\" is no name, address or path", shown())).hint("write it in UTF-8");
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST && !text.contains('\0')).ok_or_else(bad)
}

/// The name or address of a machine, and empty or `*` for every one. Strict: what is judged must be what the host understands, and resolvers
/// differ in what they make of blanks, of `%` in a name and of brackets.
pub(super) fn address(bytes: &[u8]) -> Result<&str, Refusal> {
    let address = text(bytes)?;
    let bare = address.strip_prefix('[').map_or(Some(address), |rest| rest.strip_suffix(']'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let is_plain = bare.is_some_and(|bare| match bare.split_once('%') {
        Some((v6, zone)) => v6.parse::<std::net::Ipv6Addr>().is_ok() && zone.chars().all(plain),
        None => bare == "*" || bare.chars().all(plain),
    });
    let shown = || escaped(address).chars().take(80).collect::<String>();
    let bad = || Refusal::new("bad-destination", format!("\"{}\" is no name and no address", shown()));
    if is_plain { Ok(address) } else { Err(bad().hint("write it in ASCII, an IPv6 address with or without [ ]")) }
}

/// The path of a unix socket, in the one spelling that rules know it by.
pub(super) fn socket(bytes: &[u8]) -> Result<String, Refusal> {
    let path = text(bytes)?;
    plain_path(path).ok_or_else(|| {
        let shown: String = escaped(path).chars().take(80).collect();
        Refusal::new("bad-destination", format!("\"{shown}\" is no path from the root")).hint("write it whole, and without ..")
    })
}

/// Of a name or a path.
const LONGEST: usize = 4096;
