//! What a client may say to a host.

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::table::{Asker, Channel, Prelude, Stage};
use super::throttle::Throttle;
use super::{Judged, Onward, Relay, Ruling, Side, opens, words};
use crate::access::names::escaped;
use crate::access::opening::Opening;
use crate::ssh::tap::{Beginning, Kept, Lands, Purpose, Terminal};
use crate::wire::channel::{self, Message, Request, RequestKind};
use crate::wire::codec::WireError;
use crate::wire::number;

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Judges one message from the client. Keeps what must be kept before it goes on.
    pub(super) fn judge_client(&self, payload: &[u8]) -> Result<Ruling, Judged> {
        let message = channel::parse(payload)?;
        match message {
            Message::Data { recipient, data } => self.typed(recipient, data),
            Message::WindowAdjust { recipient, bytes } => self.window_from_client(recipient, bytes),
            Message::Request(request) => self.asked(payload, &request),
            Message::Open(open) => self.opened_by_client(payload, &open),
            Message::Confirmation { recipient, sender, window, max_packet, .. } => {
                self.confirmed_by_client(recipient, sender)?;
                Ok(Ruling::change(channel::confirmation(recipient, sender, window, max_packet.min(MAX_PACKET))))
            }
            Message::OpenFailure { recipient, code, reason } => self.open_failed(Side::Client, recipient, code, reason),
            Message::GlobalRequest { name, want_reply, rest } => self.asked_globally(name, want_reply, rest),
            Message::Eof { recipient } | Message::Success { recipient } | Message::Failure { recipient } => {
                let mut table = self.table.borrow_mut();
                let channel = table.of_host(recipient).ok_or(NO_CHANNEL)?;
                if let Message::Eof { .. } = message {
                    channel.ended_by(Side::Client);
                }
                Ok(if channel.answers.is_over() { Ruling::STOP } else { Ruling::PASS })
            }
            Message::Close { recipient } => self.closed_by_client(recipient),
            // The host keeps the order of its own requests, none of which is answered with data.
            Message::RequestSuccess => Ok(Ruling::change(channel::request_success(None))),
            Message::RequestFailure => Ok(Ruling::PASS),
            // Nothing defines extended data towards a host.
            Message::ExtendedData { .. } => Err(WireError::Unexpected(number::CHANNEL_EXTENDED_DATA).into()),
            Message::Unknown(n) => Err(unknown(n)),
        }
    }

    fn window_from_client(&self, recipient: u32, bytes: u32) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_host(recipient).ok_or(NO_CHANNEL)?;
        let mut left = channel.room.refill(bytes);
        if let Some(throttle) = &mut channel.throttle {
            left = throttle.grant(left, Instant::now());
            if throttle.owes() {
                self.owes.notify_one();
            }
        }
        match left {
            _ if channel.answers.is_over() => Ok(Ruling::STOP),
            0 => Ok(Ruling::STOP),
            left if left == bytes => Ok(Ruling::PASS),
            left => Ok(Ruling::change(channel::window_adjust(recipient, left))),
        }
    }

    fn typed(&self, recipient: u32, data: &[u8]) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_host(recipient).ok_or(NO_CHANNEL)?;
        if channel.answers.is_refused() {
            return Ok(Ruling::STOP);
        }
        if let Stage::Joined(joined) = &mut channel.stage {
            return self.carried(Side::Client, joined, data);
        }
        let Stage::Used { number, purpose, terminal, ref mut up, down, ref mut files } = channel.stage else {
            return Err(WireError::Malformed("channel data: nothing runs in the channel yet").into());
        };
        *up += data.len() as u64;
        self.pulse.typed();
        let kept = match purpose {
            // Where nothing may be written the client has little to say, and nothing that it says goes unkept.
            Purpose::Sftp if self.rights.counts() && self.rights.writes => Kept::Carried { channel: number, up: *up, down },
            // Echo shows what is typed at a terminal; a host that gave none shows nothing of it.
            Purpose::Shell if terminal && channel.answers.gave_terminal() && !self.rights.record_input => return Ok(Ruling::PASS),
            Purpose::Shell | Purpose::Exec | Purpose::Sftp => Kept::In(number, data),
        };
        self.keep(kept)?;
        self.account(Side::Client, number, files, data)?;
        self.look_in_command(purpose, number, &mut channel.starts.0, data)?;
        Ok(Ruling::PASS)
    }

    fn closed_by_client(&self, recipient: u32) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_host(recipient).ok_or(NO_CHANNEL)?;
        channel.client_closed = true;
        channel.ended_by(Side::Client);
        let client = channel.client;
        let heard = channel.answers.is_over();
        self.part_joined(&mut table, client)?;
        if let Some((number, files)) = table.forget_closed(client) {
            self.close_account(number, files)?;
            self.keep(Kept::Ended(number))?;
        }
        Ok(if heard { Ruling::STOP } else { Ruling::PASS })
    }

    fn asked(&self, payload: &[u8], request: &Request<'_>) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_host(request.recipient).ok_or(NO_CHANNEL)?;
        if channel.answers.is_over() {
            return Ok(Ruling::STOP);
        }
        if channel.stage.joined().is_some() {
            // No request has a meaning in a connection.
            return Ok(veto(request, None));
        }
        if request.want_reply {
            channel.answers.asked();
        }
        let wish = match self.wish(channel, &request.kind) {
            Wish::Granted if matches!(request.kind, RequestKind::Pty { .. }) => return Ok(ask_terminal(channel, payload, request)),
            Wish::Granted => return Ok(Ruling::PASS),
            Wish::Silent => return Ok(veto(request, None)),
            Wish::Refused(reason) => return Ok(self.refused(channel, request, &reason)),
            Wish::Vetoed(reason) => return Ok(self.vetoed(channel, request, &reason)),
            Wish::Resized { columns, rows } => {
                if let Stage::Used { number, .. } = channel.stage {
                    self.keep(Kept::Resized { channel: number, columns, rows })?;
                }
                return Ok(Ruling::PASS);
            }
            Wish::Begins(purpose) => purpose,
        };
        let command = match request.kind {
            RequestKind::Exec { command } => Some(command),
            RequestKind::Subsystem { name } => Some(name),
            _ => None,
        };
        let Prelude { terminal, variables } = match &mut channel.stage {
            Stage::Opened(prelude) => std::mem::take(prelude),
            Stage::Used { .. } | Stage::Joined(_) => Prelude::default(),
        };
        let client = channel.client;
        let number = table.next_number();
        self.keep(Kept::Began(Beginning { channel: number, purpose: wish, command, terminal: terminal.as_ref() }))?;
        for variable in &variables {
            self.keep(Kept::Said(number, &format!("env {variable}")))?;
        }
        if let Some(channel) = table.of_client(client) {
            let files = self.rights.account(wish, command);
            channel.stage = Stage::Used { number, purpose: wish, terminal: terminal.is_some(), up: 0, down: 0, files };
            self.let_window_go(channel, terminal.is_some());
        }
        self.pulse.typed();
        self.pulse.turned(&table);
        Ok(Ruling { onward: Onward::Pass, back: self.unsaid(&mut table) })
    }

    /// A channel is put to use: the host gets what was held back of its window, on a terminal no faster than a terminal is filled.
    fn let_window_go(&self, channel: &mut Channel, terminal: bool) {
        let held_back = std::mem::take(&mut channel.held_back);
        match (terminal, channel.host) {
            (true, _) => {
                let throttle = channel.throttle.insert(Throttle::of(self.terminal_rate, Instant::now()));
                throttle.hold(held_back);
                self.owes.notify_one();
            }
            (false, Some(host)) if held_back > 0 => _ = self.host.answer(channel::window_adjust(host, held_back)),
            (false, _) => {}
        }
    }

    /// What the law says to a channel request, and what it does to the channel.
    fn wish(&self, channel: &mut Channel, kind: &RequestKind<'_>) -> Wish {
        let begun = !matches!(channel.stage, Stage::Opened(_));
        if channel.answers.is_refused() {
            return Wish::Silent;
        }
        let begins = |allowed: bool, purpose: Purpose, what: &str| match (begun, allowed) {
            (true, _) => Wish::Vetoed("this channel is in use already".into()),
            (false, true) => Wish::Begins(purpose),
            (false, false) => Wish::Refused(format!(
                "{what} is not in your grant; `ssh jit-bastion request HOST --channels K,.. --reason WHY` asks for it"
            )),
        };
        match *kind {
            RequestKind::Pty { term, cols, rows, .. } => match (&mut channel.stage, value(term, TERM_AT_MOST)) {
                (Stage::Opened(prelude), Some(term)) => {
                    prelude.terminal = Some(Terminal { term: term.to_owned(), columns: cols, rows });
                    Wish::Granted
                }
                (Stage::Opened(_), None) => Wish::Vetoed("the terminal's type (TERM) is not a name".into()),
                (Stage::Used { .. } | Stage::Joined(_), _) => Wish::Vetoed("this channel is in use already".into()),
            },
            RequestKind::WindowChange { cols, rows } => Wish::Resized { columns: cols, rows },
            RequestKind::Env { name, value } => pass_variable(channel, name, value),
            RequestKind::Shell => begins(self.rights.shell, Purpose::Shell, "a shell"),
            RequestKind::Exec { .. } => begins(self.rights.exec, Purpose::Exec, "exec, a command,"),
            RequestKind::Subsystem { name: b"sftp" } => {
                begins(self.rights.reads || self.rights.writes || self.rights.exec, Purpose::Sftp, "sftp (sftp-read, sftp-write)")
            }
            RequestKind::Subsystem { name } if !begun => {
                Wish::Refused(format!("the subsystem {} is not relayed; sftp is", printable(&String::from_utf8_lossy(name))))
            }
            RequestKind::Subsystem { .. } => Wish::Vetoed("this channel is in use already".into()),
            RequestKind::Agent => match self.law.opens(&Opening::agent()) {
                Ok(()) => {
                    self.agent.set(true);
                    Wish::Granted
                }
                Err(refusal) => Wish::Vetoed(opens::one_line(&refusal)),
            },
            RequestKind::X11 => Wish::Vetoed("X11 forwarding is always refused".into()),
            RequestKind::Signal { .. } | RequestKind::Break { .. } | RequestKind::XonXoff { .. } | RequestKind::Eow => Wish::Granted,
            // What we do not understand a host might: it would be done, and not be kept.
            RequestKind::ExitStatus(_) | RequestKind::ExitSignal { .. } | RequestKind::Other => Wish::Silent,
        }
    }

    fn vetoed(&self, channel: &mut Channel, request: &Request<'_>, reason: &str) -> Ruling {
        veto(request, said(channel, reason))
    }

    /// What the channel was opened for is refused: it ends as soon as the host's answers to what was asked before have come.
    fn refused(&self, channel: &mut Channel, request: &Request<'_>, reason: &str) -> Ruling {
        let said = said(channel, reason);
        if request.want_reply {
            channel.answers.refuse();
            return veto(request, said);
        }
        channel.answers.close();
        Ruling { onward: Onward::Change(channel::close(request.recipient)), back: said }
    }
}

/// Hosts are made to say whether they give a terminal, also where the client does not ask.
fn ask_terminal(channel: &mut Channel, payload: &[u8], request: &Request<'_>) -> Ruling {
    if request.want_reply {
        channel.answers.asked_terminal(Asker::Client);
        return Ruling::PASS;
    }
    if channel.answers.has_asked_terminal() {
        // A second one would change nothing.
        return Ruling::STOP;
    }
    channel.answers.asked();
    channel.answers.asked_terminal(Asker::Us);
    Ruling::change(channel::with_reply(request, payload))
}

/// The answer to one channel request.
enum Wish {
    Granted,
    /// Refused without a word: clients ask for it unasked.
    Silent,
    Vetoed(String),
    /// A shell, command or subsystem that is not granted: the channel is of no use.
    Refused(String),
    Resized {
        columns: u32,
        rows: u32,
    },
    Begins(Purpose),
}

/// `reason` on the channel's standard error, if there is room for it.
pub(super) fn said(channel: &mut Channel, reason: &str) -> Option<Vec<u8>> {
    let line = words::line(reason);
    channel.may_say(line.len()).then(|| channel::extended_data(channel.client, channel::STDERR, line.as_bytes()))
}

/// The host itself refuses, in the right place, a request under a name that nobody knows; without a wanted reply it just ends here.
pub(super) fn veto(request: &Request<'_>, back: Option<Vec<u8>>) -> Ruling {
    let mut ruling = if request.want_reply { Ruling::change(channel::vetoed(request)) } else { Ruling::STOP };
    ruling.back = back;
    ruling
}

/// A variable goes on if its name is one that names language, time zone, colours or git's protocol, and its value can be nothing but
/// such a name: a value that could hold a command would be a command that the recording does not show.
fn pass_variable(channel: &mut Channel, name: &[u8], text: &[u8]) -> Wish {
    let known = VARIABLES.iter().find(|known| known.as_bytes() == name);
    let (Some(name), Some(text), Stage::Opened(prelude)) = (known, value(text, VALUE_AT_MOST), &mut channel.stage) else {
        return Wish::Silent;
    };
    if prelude.variables.len() >= VARIABLES.len() {
        return Wish::Silent;
    }
    prelude.variables.push(format!("{name}={text}"));
    Wish::Granted
}

/// A text that is a name of something: letters, digits and a few signs that no shell obeys.
fn value(text: &[u8], most: usize) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.@:/+=-".contains(c);
    (text.len() <= most && text.chars().all(plain)).then_some(text)
}

/// A peer's word, fit to be shown: printable ASCII, at most 40 characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(40).collect()
}

/// A peer's reason, fit to be shown.
pub(super) fn words_of(reason: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(reason)).chars().take(200).collect()
}

pub(super) fn unknown(n: u8) -> Judged {
    // RFC 4253 section 12: 1 to 79 belong to layers that are done; what lies beyond is of an extension that we do not have.
    if n < number::GLOBAL_REQUEST { Judged::Wire(WireError::Unexpected(n)) } else { Judged::Unknown }
}

pub(super) const NO_CHANNEL: WireError = WireError::Malformed("channel number: no such channel is open");

/// What a client may set on a host. Nothing that a loader or shell obeys.
const VARIABLES: [&str; 19] = [
    "LANG",
    "LANGUAGE",
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "TZ",
    "COLORTERM",
    "NO_COLOR",
    "GIT_PROTOCOL",
];

const VALUE_AT_MOST: usize = 64;

const TERM_AT_MOST: usize = 40;

/// What a host may send of a channel that has just been opened: OpenSSH's own window, twice.
pub(super) const FIRST_WINDOW: u32 = 4 * 1024 * 1024;

/// OpenSSH's own limit, so that no message outgrows a packet.
pub(super) const MAX_PACKET: u32 = 32 * 1024;
