//! Connections that are carried and not spoken in: forwards in both directions, and the client's agent. Each has a recording that tells
//! where it went, who ended it, and how many bytes it carried each way.

use tokio::io::AsyncWrite;

use super::table::{Channel, Stage, Table};
use super::{Judged, Relay, Ruling, Side};
use crate::access::names::escaped;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::ssh::tap::{Keep, Kept, Purpose, Way};

/// One connection.
#[derive(Debug)]
pub(super) struct Joined {
    /// Of its recording.
    number: u32,
    way: Way,
    up: u64,
    down: u64,
    /// Who said first that no more comes.
    ended_by: Option<Side>,
}

/// The begin of one direction of a stream: as much as tells SSH from everything else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Start {
    seen: usize,
}

impl Start {
    /// Whether with these bytes it is known that the stream began as SSH does. Told once.
    pub(super) fn is_ssh(&mut self, bytes: &[u8]) -> bool {
        let Some(left) = SSH.get(self.seen..).filter(|left| !left.is_empty()) else { return false };
        let n = left.len().min(bytes.len());
        // What is something else stays something else.
        self.seen = if left.get(..n) == bytes.get(..n) { self.seen + n } else { SSH.len() + 1 };
        self.seen == SSH.len() && n > 0
    }
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Keep,
{
    /// Begins the recording of a connection that is about to be made.
    pub(super) fn begin_joined(&self, number: u32, way: Way, what: &Opening, told: &str) -> Result<Box<Joined>, Judged> {
        let kind = what.kind().to_string();
        let target = kind.split_once(':').map(|(_, target)| target);
        self.keep(Kept::Joined { channel: number, way, target })?;
        self.keep(Kept::Told(number, told))?;
        self.pulse.typed();
        Ok(Box::new(Joined { number, way, up: 0, down: 0, ended_by: None }))
    }

    /// The other side has accepted it.
    pub(super) fn connected(&self, joined: &mut Joined) -> Result<(), Judged> {
        self.keep(Kept::Told(joined.number, "connected"))
    }

    /// The other side has not.
    pub(super) fn unconnected(&self, joined: &Joined, why: &str) -> Result<(), Judged> {
        self.keep(Kept::Told(joined.number, &format!("not connected: {why}")))?;
        self.keep(Kept::Ended(joined.number))
    }

    /// Bytes from `side`: counted and kept before they go on.
    pub(super) fn carried(&self, side: Side, joined: &mut Joined, start: &mut Start, data: &[u8]) -> Result<Ruling, Judged> {
        let n = data.len() as u64;
        match side {
            Side::Client => joined.up += n,
            Side::Host => joined.down += n,
        }
        self.pulse.typed();
        self.keep(Kept::Carried { channel: joined.number, up: joined.up, down: joined.down })?;
        self.look_for_ssh(joined.number, joined.way.as_str(), start, data)?;
        Ok(Ruling::PASS)
    }

    /// A stream that begins as SSH does carries what nobody can read: that is told, once for each direction.
    pub(super) fn look_for_ssh(&self, number: u32, kind: &'static str, start: &mut Start, data: &[u8]) -> Result<(), Judged> {
        if !start.is_ssh(data) {
            return Ok(());
        }
        self.law.tunnelled(number, kind);
        self.keep(Kept::Said(number, "SSH inside: this stream begins as SSH does, and what it carries is ciphertext"))
    }

    /// The same in a command: `nc` is a forward too.
    pub(super) fn look_in_command(&self, purpose: Purpose, number: u32, start: &mut Start, data: &[u8]) -> Result<(), Judged> {
        if purpose == Purpose::Exec { self.look_for_ssh(number, "exec", start, data) } else { Ok(()) }
    }

    /// Tells how a connection ended that both sides have closed, and forgets it.
    pub(super) fn part_joined(&self, table: &mut Table, client: u32) -> Result<(), Judged> {
        let Some(joined) = table.take_closed_joined(client) else { return Ok(()) };
        let who = match joined.ended_by {
            Some(Side::Host) => "ended by the host's side",
            _ => "ended by the client's side",
        };
        self.keep(Kept::Told(joined.number, who))?;
        self.keep(Kept::Ended(joined.number))
    }

    /// The relay is over, and these connections with it.
    pub(super) fn cut_joined(&self, table: &mut Table) {
        let awaited = table.awaited.drain(..).map(|awaited| awaited.joined);
        for joined in awaited.collect::<Vec<_>>() {
            self.tell_cut(&joined);
        }
        for channel in &mut table.channels {
            if let Some(joined) = channel.stage.joined() {
                self.tell_cut(joined);
            }
        }
    }

    fn tell_cut(&self, joined: &Joined) {
        // A recording that takes no more is known elsewhere.
        let _ = self.keep(Kept::Told(joined.number, "cut: its session has ended"));
        let _ = self.keep(Kept::Ended(joined.number));
    }
}

impl Channel {
    /// A side says that no more comes, or closes.
    pub(super) fn ended_by(&mut self, side: Side) {
        if let Some(joined) = self.stage.joined() {
            joined.ended_by.get_or_insert(side);
        }
    }
}

impl Stage {
    pub(super) fn joined(&mut self) -> Option<&mut Joined> {
        match self {
            Self::Joined(joined) => Some(joined),
            Self::Opened(_) | Self::Used { .. } => None,
        }
    }
}

/// A name, an address or a path that a peer wrote. What is no text is no place that could be judged.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let shown = || escaped(&String::from_utf8_lossy(bytes)).chars().take(80).collect::<String>();
    let bad = || Refusal::new("bad-destination", format!("\"{}\" is no name, address or path", shown())).hint("write it in UTF-8");
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST && !text.contains('\0')).ok_or_else(bad)
}

/// What every SSH stream begins with, RFC 4253 section 4.2.
const SSH: &[u8] = b"SSH-2.0-";

/// Of a name or a path.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_known_by_its_first_bytes_and_told_once() {
        let told = |pieces: &[&[u8]]| {
            let mut start = Start::default();
            pieces.iter().filter(|piece| start.is_ssh(piece)).count()
        };
        assert_eq!(told(&[b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-", b"x"]), 1);
        assert_eq!(told(&[b"S", b"", b"SH-2", b".0", b"-x", b"SSH-2.0-"]), 1);
        for other in [&[&b"SSH-1.99-x"[..], b"SSH-2.0-"][..], &[b"SSH-2.0"], &[b" SSH-2.0-x"], &[b"S", b"SSH-2.0-"], &[]] {
            assert_eq!(told(other), 0, "{other:?}");
        }
    }
}
