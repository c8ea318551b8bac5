//! The channels of one relayed connection, as both sides number them.

use super::throttle::Throttle;
use crate::recording::files::Account;
use crate::ssh::connection::{Connection, Start};
use crate::ssh::tap::{Purpose, Terminal};

/// One channel between the client and the host. Each side gave it a number of its own: a message from the client carries the
/// host's, a message from the host the client's (RFC 4254 section 5.1).
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) client: u32,
    pub(super) host: Option<u32>,
    pub(super) stage: Stage,
    pub(super) room: Room,
    /// Of the client's first window, what the host has not been told of; until the channel is put to use.
    pub(super) held_back: u32,
    /// Of a terminal.
    pub(super) throttle: Option<Throttle>,
    pub(super) host_ended: bool,
    pub(super) host_closed: bool,
    pub(super) client_closed: bool,
    pub(super) answers: Answers,
    /// How a command's streams began: from the client, from the host.
    pub(super) starts: (Start, Start),
    tail: Tail,
}

/// Where a channel stands whose shell, command or subsystem the law refused. OpenSSH drops what it was told on standard error when the
/// request that follows fails, so such a channel is answered with success, says why, and is closed without an exit status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// Requests of the client's that want a reply, and the replies so far: they match by their order (RFC 4254 section 5.4).
    asked: u64,
    answered: u64,
    /// The request that was refused, counted from 1.
    refused: Option<u64>,
    /// The request for a terminal.
    terminal: Option<TerminalAsked>,
    /// The host has been told to close.
    over: bool,
}

/// Who waits for the host's reply to the request for a terminal, and what it was.
#[derive(Debug, Clone, Copy)]
struct TerminalAsked {
    /// Its place, counted from 1.
    at: u64,
    by: Asker,
    given: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Client,
    /// The client wants no reply; we do.
    Us,
}

/// What a host's reply to a channel request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The client's.
    Theirs,
    /// To what nobody but us has asked.
    Ours,
    /// It stands where the refused request's does.
    OfTheRefused,
}

impl Answers {
    /// One more request that wants a reply goes to the host.
    pub(super) fn asked(&mut self) {
        self.asked += 1;
    }

    /// The request that went last is the refused one.
    pub(super) fn refuse(&mut self) {
        self.refused.get_or_insert(self.asked);
    }

    /// The request that went last is for a terminal; the first one counts.
    pub(super) fn asked_terminal(&mut self, by: Asker) {
        self.terminal.get_or_insert(TerminalAsked { at: self.asked, by, given: false });
    }

    /// A terminal was asked for.
    pub(super) fn has_asked_terminal(self) -> bool {
        self.terminal.is_some()
    }

    /// Whether the host has said that there is a terminal.
    pub(super) fn gave_terminal(self) -> bool {
        self.terminal.is_some_and(|terminal| terminal.given)
    }

    /// A reply of the host's has come.
    pub(super) fn replied(&mut self, success: bool) -> Reply {
        self.answered += 1;
        if let Some(terminal) = self.terminal.as_mut().filter(|terminal| terminal.at == self.answered) {
            terminal.given = success;
            if terminal.by == Asker::Us {
                return Reply::Ours;
            }
        }
        if self.refused == Some(self.answered) && !self.over { Reply::OfTheRefused } else { Reply::Theirs }
    }

    /// The host is told to close.
    pub(super) fn close(&mut self) {
        self.refused.get_or_insert(self.asked);
        self.over = true;
    }

    /// Nothing may begin in the channel any more.
    pub(super) fn is_refused(self) -> bool {
        self.refused.is_some()
    }

    /// All that a client may still say is CLOSE, and the host has heard it.
    pub(super) fn is_over(self) -> bool {
        self.over
    }
}

/// What a channel has become.
#[derive(Debug)]
pub(super) enum Stage {
    /// No shell, command or subsystem yet.
    Opened(Prelude),
    /// In use and recorded under `number`.
    Used { number: u32, purpose: Purpose, terminal: bool, up: u64, down: u64, files: Option<Account> },
    /// A connection that is carried, from its open on.
    Joined(Box<Connection>),
}

/// A connection that the host wants to make to the client's side, which has not answered yet.
#[derive(Debug)]
pub(super) struct Awaited {
    /// The host's number of the channel.
    pub(super) host: u32,
    pub(super) joined: Box<Connection>,
}

/// What was asked for before a channel was put to use.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    pub(super) terminal: Option<Terminal>,
    /// Environment variables that were passed on, as `NAME=VALUE`.
    pub(super) variables: Vec<String>,
}

/// Window of the client's that is held back, so that the bastion's own words fit at any time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    wanted: u32,
    held: u32,
}

impl Room {
    /// Takes its share of a channel's first window: a quarter, at most 4 KiB. Returns what is left for the host too.
    pub(super) fn of(window: u32) -> (Self, u32) {
        let held = (window / 4).min(WORDS_AT_MOST);
        (Self { wanted: held, held }, window - held)
    }

    /// Fills itself up from a later grant of window; returns what is left for the host.
    pub(super) fn refill(&mut self, bytes: u32) -> u32 {
        let taken = bytes.min(self.wanted - self.held);
        self.held += taken;
        bytes - taken
    }

    /// Spends `n` bytes, or none.
    fn spend(&mut self, n: usize) -> bool {
        match u32::try_from(n) {
            Ok(n) if n <= self.held => {
                self.held -= n;
                true
            }
            _ => false,
        }
    }
}

impl Channel {
    pub(super) fn opened(client: u32, room: Room, held_back: u32) -> Self {
        Self {
            client,
            host: None,
            stage: Stage::Opened(Prelude::default()),
            room,
            held_back,
            throttle: None,
            host_ended: false,
            host_closed: false,
            client_closed: false,
            answers: Answers::default(),
            starts: Default::default(),
            tail: Tail::default(),
        }
    }

    /// A connection: the bastion says nothing in it, and so holds no room back.
    pub(super) fn joined(client: u32, joined: Box<Connection>) -> Self {
        Self { stage: Stage::Joined(joined), ..Self::opened(client, Room::of(0).0, 0) }
    }

    /// Remembers how the output to a terminal ends just now.
    pub(super) fn shown(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
    }

    /// Whether `n` bytes of ours may be written to the client's standard error now, and if so, spends the room for them.
    pub(super) fn may_say(&mut self, n: usize) -> bool {
        let open = self.host.is_some() && !self.host_ended && !self.host_closed && !self.client_closed;
        let whole = !matches!(self.stage, Stage::Used { terminal: true, .. }) || self.tail.is_whole();
        open && whole && self.room.spend(n)
    }
}

/// All channels; few, so a scan finds one faster than a hash.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) channels: Vec<Channel>,
    pub(super) awaited: Vec<Awaited>,
    used: u32,
}

impl Table {
    /// Whether there is no room for one more channel: a session, or a connection.
    pub(super) fn is_full(&self, session: bool) -> bool {
        let sessions = self.channels.iter().filter(|c| !matches!(c.stage, Stage::Joined(_))).count();
        let all = self.channels.len() + self.awaited.len();
        all >= CHANNELS_AT_MOST || (session && sessions >= SESSIONS_AT_MOST)
    }

    /// Whether this session has had as many recordings as one may have.
    pub(super) fn is_spent(&self) -> bool {
        self.used >= RECORDINGS_AT_MOST
    }

    /// The channel that the client calls `number`: for messages from the host.
    pub(super) fn of_client(&mut self, number: u32) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|c| c.client == number)
    }

    /// The channel that the host calls `number`: for messages from the client.
    pub(super) fn of_host(&mut self, number: u32) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|c| c.host == Some(number))
    }

    /// Whether a command runs in any channel, with or without a terminal.
    pub(super) fn runs_a_command(&self) -> bool {
        let command = |c: &Channel| matches!(c.stage, Stage::Used { purpose: Purpose::Exec, .. });
        self.channels.iter().any(|c| command(c) && !c.host_ended && !c.host_closed)
    }

    /// The number of the next recording.
    pub(super) fn next_number(&mut self) -> u32 {
        self.used += 1;
        self.used
    }

    /// Forgets a channel that both sides have closed; returns its recording's number and its account of files if it was used.
    pub(super) fn forget_closed(&mut self, client: u32) -> Option<(u32, Option<Account>)> {
        let at = self.channels.iter().position(|c| c.client == client && c.host_closed && c.client_closed)?;
        match self.channels.swap_remove(at).stage {
            Stage::Used { number, files, .. } => Some((number, files)),
            Stage::Opened(_) | Stage::Joined(_) => None,
        }
    }

    /// The same for a connection.
    pub(super) fn take_closed_joined(&mut self, client: u32) -> Option<Box<Connection>> {
        let over = |c: &Channel| c.client == client && c.host_closed && c.client_closed && matches!(c.stage, Stage::Joined(_));
        let at = self.channels.iter().position(over)?;
        match self.channels.swap_remove(at).stage {
            Stage::Joined(joined) => Some(joined),
            Stage::Opened(_) | Stage::Used { .. } => None,
        }
    }

    /// Whether the host's channel of this number waits for the client's answer.
    pub(super) fn is_awaited(&self, host: u32) -> bool {
        self.awaited.iter().any(|awaited| awaited.host == host)
    }

    /// The client has answered.
    pub(super) fn take_awaited(&mut self, host: u32) -> Option<Box<Connection>> {
        let at = self.awaited.iter().position(|awaited| awaited.host == host)?;
        Some(self.awaited.swap_remove(at).joined)
    }

    /// Forgets a channel that the host did not open; returns the connection that it would have been.
    pub(super) fn take_refused(&mut self, client: u32) -> Option<Box<Connection>> {
        let at = self.channels.iter().position(|c| c.client == client && c.host.is_none())?;
        match self.channels.swap_remove(at).stage {
            Stage::Joined(joined) => Some(joined),
            Stage::Opened(_) | Stage::Used { .. } => None,
        }
    }
}

/// The last bytes that a terminal was shown: enough to see whether an escape sequence or a character is still open.
#[derive(Debug)]
struct Tail {
    bytes: [u8; TAIL],
    length: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { bytes: [0; TAIL], length: 0 }
    }
}

impl Tail {
    fn push(&mut self, new: &[u8]) {
        if let Some(last) = new.len().checked_sub(TAIL).and_then(|from| new.get(from..)) {
            self.bytes.copy_from_slice(last);
            self.length = TAIL;
            return;
        }
        let kept = self.length.min(TAIL - new.len());
        self.bytes.copy_within(self.length - kept..self.length, 0);
        if let Some(place) = self.bytes.get_mut(kept..kept + new.len()) {
            place.copy_from_slice(new);
        }
        self.length = kept + new.len();
    }

    /// Whether nothing is open: no escape sequence, no string sequence, no UTF-8 character. A sequence longer than the tail counts
    /// as closed, which at worst misplaces one line of ours.
    fn is_whole(&self) -> bool {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        let character_open = match std::str::from_utf8(bytes.get(bytes.len().saturating_sub(4)..).unwrap_or_default()) {
            Ok(_) => false,
            Err(e) => e.error_len().is_none(),
        };
        let Some(escape) = bytes.iter().rposition(|b| *b == 0x1b) else {
            return !character_open;
        };
        let sequence = bytes.get(escape + 1..).unwrap_or_default();
        let closed = match sequence.split_first() {
            None => false,
            Some((b'[', rest)) => rest.iter().any(|b| (0x40..=0x7e).contains(b)),
            Some((b']' | b'P' | b'X' | b'^' | b'_', rest)) => rest.contains(&0x07),
            Some((0x20..=0x2f, rest)) => rest.iter().any(|b| (0x30..=0x7e).contains(b)),
            Some(_) => true,
        };
        closed && !character_open
    }
}

const TAIL: usize = 64;

/// Held back of a client's first window for our own words: more than any of them.
const WORDS_AT_MOST: u32 = 4096;

/// Recordings of one session: each is a file, a row and a line of the manifest.
const RECORDINGS_AT_MOST: u32 = 10_000;

/// OpenSSH's server allows 10 sessions a connection unless told otherwise (MaxSessions); this leaves room for those that are told.
const SESSIONS_AT_MOST: usize = 64;

/// With all connections: a browser over `ssh -D` opens a hundred.
const CHANNELS_AT_MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_quarter_and_refills_first() {
        let (mut room, left) = Room::of(2_097_152);
        assert_eq!(left, 2_097_152 - 4096);
        assert!(room.spend(4000) && !room.spend(97));
        assert_eq!(room.refill(100), 0);
        assert_eq!(room.refill(10_000), 10_000 - 3900);
        assert_eq!(Room::of(100).1, 75);
        assert_eq!(Room::of(0).1, 0);
    }

    #[test]
    fn an_open_sequence_or_character_is_seen() {
        let whole = |text: &[u8]| {
            let mut tail = Tail::default();
            tail.push(text);
            let mut bytewise = Tail::default();
            text.iter().for_each(|b| bytewise.push(&[*b]));
            assert_eq!(tail.is_whole(), bytewise.is_whole(), "{text:?}");
            tail.is_whole()
        };
        for text in [&b""[..], b"plain", b"\x1b[31mred", b"\x1b]0;title\x07", b"\x1bM", "ä".as_bytes(), b"\x1b(B", b"\x1b[0m\xe2\x82\xac"]
        {
            assert!(whole(text), "{text:?}");
        }
        for text in [&b"\x1b"[..], b"x\x1b[3", b"\x1b]0;tit", b"\x1b(", b"\xe2\x82", b"\x1bP1$r"] {
            assert!(!whole(text), "{text:?}");
        }
        assert!(whole(&[b'x'; 300]));
    }

    #[test]
    fn the_refused_request_is_known_by_the_place_of_its_answer() {
        let mut answers = Answers::default();
        answers.asked();
        answers.asked();
        answers.refuse();
        // what comes after it is refused with it, and moves nothing
        answers.asked();
        answers.refuse();
        assert!(answers.is_refused() && !answers.is_over());
        assert_eq!([(); 3].map(|()| answers.replied(false)), [Reply::Theirs, Reply::OfTheRefused, Reply::Theirs]);
        answers.close();
        assert!(answers.is_over() && answers.replied(false) == Reply::Theirs);
        let mut unasked = Answers::default();
        unasked.close();
        assert!(
            unasked.is_refused() && unasked.is_over() && unasked.replied(false) == Reply::Theirs,
            "nothing is answered where nothing was asked"
        );
    }

    #[test]
    fn a_terminal_is_one_when_the_host_says_so() {
        for (answers, given) in [([true, true, true], true), ([true, false, true], false), ([false, true, false], true)] {
            let mut channel = Answers::default();
            channel.asked();
            channel.asked();
            channel.asked_terminal(Asker::Client);
            channel.asked();
            for success in answers {
                assert!(!channel.gave_terminal() || given);
                assert_eq!(channel.replied(success), Reply::Theirs);
            }
            assert_eq!(channel.gave_terminal(), given, "{answers:?}");
        }
    }
}
