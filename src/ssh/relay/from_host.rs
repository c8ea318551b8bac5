//! What a host may say to a client.

use tokio::io::AsyncWrite;

use super::from_client::{MAX_PACKET, NO_CHANNEL, printable, unknown, veto};
use super::table::{Reply, Stage};
use super::{Judged, Onward, Relay, Ruling, Side};
use crate::ssh::tap::{Kept, Lands, Purpose};
use crate::wire::channel::{self, Message, Request, RequestKind};
use crate::wire::codec::WireError;

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Judges one message from the host. What the user will see is kept first.
    pub(super) fn judge_host(&self, payload: &[u8]) -> Result<Ruling, Judged> {
        match channel::parse(payload)? {
            Message::Data { recipient, data } => self.towards_client(recipient, data, None),
            Message::ExtendedData { recipient, code, data } => self.towards_client(recipient, data, Some(code)),
            Message::Request(request) => self.told(&request),
            Message::Open(open) => self.opened_by_host(payload, &open),
            Message::Confirmation { recipient, sender, window, max_packet, .. } => {
                self.confirmed_by_host(recipient, sender)?;
                Ok(Ruling::change(channel::confirmation(recipient, sender, window, max_packet.min(MAX_PACKET))))
            }
            Message::OpenFailure { recipient, code, reason } => self.open_failed(Side::Host, recipient, code, reason),
            Message::Eof { recipient } => {
                let mut table = self.table.borrow_mut();
                let channel = table.of_client(recipient).ok_or(NO_CHANNEL)?;
                channel.host_ended = true;
                channel.ended_by(Side::Host);
                self.pulse.turned(&table);
                Ok(Ruling::PASS)
            }
            Message::Close { recipient } => self.closed_by_host(recipient),
            Message::WindowAdjust { recipient, .. } => {
                self.table.borrow_mut().of_client(recipient).map(|_| Ruling::PASS).ok_or(NO_CHANNEL.into())
            }
            Message::Success { recipient } => self.answered(recipient, true),
            Message::Failure { recipient } => self.answered(recipient, false),
            // Not the host's other keys either: the client would store them under the name of the bastion's certificate.
            Message::GlobalRequest { name, want_reply, .. } => Ok(question(name, want_reply)),
            Message::RequestSuccess => self.answered_globally(payload, true),
            Message::RequestFailure => self.answered_globally(payload, false),
            Message::Unknown(n) => Err(unknown(n)),
        }
    }

    /// Bytes of a channel of any kind, on their way to the client: the one place where its grant's budget is spent. What is too much does
    /// not pass, and ends the session.
    fn towards_client(&self, recipient: u32, data: &[u8], code: Option<u32>) -> Result<Ruling, Judged> {
        let passes = self.egress.spend(data.len());
        match data.get(..passes).filter(|part| part.len() < data.len()) {
            None => self.shown(recipient, data, code.is_some()),
            Some([]) => Ok(Ruling::STOP),
            Some(part) => {
                self.shown(recipient, part, code.is_some())?;
                let cut = code.map_or_else(|| channel::data(recipient, part), |code| channel::extended_data(recipient, code, part));
                Ok(Ruling::change(cut))
            }
        }
    }

    fn shown(&self, recipient: u32, data: &[u8], stderr: bool) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_client(recipient).filter(|c| c.host.is_some()).ok_or(NO_CHANNEL)?;
        if let Stage::Joined(joined) = &mut channel.stage {
            return self.carried(Side::Host, joined, data);
        }
        let Stage::Used { number, purpose, terminal, up, ref mut down, ref mut files } = channel.stage else {
            return Err(WireError::Malformed("channel data: nothing runs in the channel yet").into());
        };
        *down += data.len() as u64;
        self.pulse.shown(terminal);
        let kept = match purpose {
            // Where nothing may be read, content could come as names or errors: whatever the host says is kept.
            Purpose::Sftp if self.rights.counts() && self.rights.reads && !stderr => Kept::Carried { channel: number, up, down: *down },
            Purpose::Shell | Purpose::Exec | Purpose::Sftp if stderr => Kept::Err(number, data),
            Purpose::Shell | Purpose::Exec | Purpose::Sftp => Kept::Out(number, data),
        };
        self.keep(kept)?;
        if !stderr {
            self.account(Side::Host, number, files, data)?;
            self.look_in_command(purpose, number, &mut channel.starts.1, data)?;
        }
        if terminal {
            channel.shown(data);
        }
        Ok(Ruling::PASS)
    }

    /// Passes the host's answer, except the one to a refused shell, command or subsystem: there the client hears success, which lets it
    /// show why, and the host is told to close.
    fn answered(&self, recipient: u32, success: bool) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_client(recipient).ok_or(NO_CHANNEL)?;
        match (channel.answers.replied(success), channel.host) {
            (Reply::Ours, _) => Ok(Ruling::STOP),
            (Reply::OfTheRefused, Some(host)) if !channel.client_closed && !channel.host_closed => {
                channel.answers.close();
                Ok(Ruling { onward: Onward::Change(channel::success(channel.client)), back: Some(channel::close(host)) })
            }
            (Reply::OfTheRefused | Reply::Theirs, _) => Ok(Ruling::PASS),
        }
    }

    fn closed_by_host(&self, recipient: u32) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_client(recipient).ok_or(NO_CHANNEL)?;
        channel.host_closed = true;
        channel.ended_by(Side::Host);
        self.pulse.turned(&table);
        self.part_joined(&mut table, recipient)?;
        if let Some((number, files)) = table.forget_closed(recipient) {
            self.close_account(number, files)?;
            self.keep(Kept::Ended(number))?;
        }
        Ok(Ruling::PASS)
    }

    /// How what ran has ended is kept, and goes on. Nothing else that a host asks for means anything to a client: it goes on without its
    /// data, which nobody would have kept.
    fn told(&self, request: &Request<'_>) -> Result<Ruling, Judged> {
        let mut table = self.table.borrow_mut();
        let channel = table.of_client(request.recipient).ok_or(NO_CHANNEL)?;
        let Stage::Used { number, .. } = channel.stage else { return Ok(veto(request, None)) };
        match request.kind {
            RequestKind::ExitStatus(status) => {
                self.keep(Kept::Exit { channel: number, status: Some(status), signal: None })?;
                Ok(Ruling::PASS)
            }
            RequestKind::ExitSignal { name, core, .. } => {
                let signal = printable(&String::from_utf8_lossy(name));
                self.keep(Kept::Exit { channel: number, status: None, signal: Some(&signal) })?;
                Ok(Ruling::change(channel::exit_signal(request.recipient, &signal, core)))
            }
            RequestKind::Eow => Ok(Ruling::PASS),
            _ => Ok(veto(request, None)),
        }
    }
}

/// A host's global request goes on without its data, and under a name that nobody knows if it is no question for a sign of life.
fn question(name: &str, want_reply: bool) -> Ruling {
    match (name, want_reply) {
        (KEEPALIVE, _) => Ruling::change(channel::global_request(KEEPALIVE, want_reply)),
        (_, true) => Ruling::change(channel::global_request(channel::VETOED, true)),
        (_, false) => Ruling::STOP,
    }
}

/// OpenSSH's question whether the other side is there; it has no data.
pub(super) const KEEPALIVE: &str = "keepalive@openssh.com";
