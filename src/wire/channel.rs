//! The connection layer, RFC 4254, as far as a relay must understand it: parse without copying, build, and rewrite a
//! few numbers in place.
//!
//! Lengths are strict: a message with bytes missing or left over is an error, so that what we judged and kept is
//! exactly what the other side reads. Names are strict in their form ([`Reader::name`]) and open: what we do not know is told as
//! unknown, never refused here.

mod compose;
mod route;

use super::codec::{Reader, WireError};
use super::number;

pub use compose::{
    VETOED, clamp_max_packet, close, confirmation, data, eof, exec, exit_signal, extended_data, failure, global_request, open_failure,
    open_session, request_failure, request_success, set_window, signal, success, vetoed, window_adjust, with_reply,
};
pub use route::{Listen, Listening, Route, allocated_port, listening};

/// One message of the connection layer, borrowed from its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// GLOBAL_REQUEST; `rest` is the request's own data.
    GlobalRequest {
        /// Request name, for example `tcpip-forward`.
        name: &'a str,
        /// The peer waits for REQUEST_SUCCESS or REQUEST_FAILURE, matched by position only.
        want_reply: bool,
        /// What follows, in the form of `name`.
        rest: &'a [u8],
    },
    /// REQUEST_SUCCESS, to a global request.
    RequestSuccess,
    /// REQUEST_FAILURE, to a global request.
    RequestFailure,
    /// CHANNEL_OPEN.
    Open(Open<'a>),
    /// CHANNEL_OPEN_CONFIRMATION.
    Confirmation {
        /// The opener's number of the channel.
        recipient: u32,
        /// The sender's own number of the channel.
        sender: u32,
        /// Bytes that the opener may send at first.
        window: u32,
        /// Bytes of data that one message may carry towards the sender.
        max_packet: u32,
        /// What follows, in the form of the channel type.
        rest: &'a [u8],
    },
    /// CHANNEL_OPEN_FAILURE.
    OpenFailure {
        /// The opener's number of the channel.
        recipient: u32,
        /// Reason code, RFC 4254 section 5.1.
        code: u32,
        /// The peer's words: any bytes, to be sanitized before somebody sees them.
        reason: &'a [u8],
    },
    /// CHANNEL_WINDOW_ADJUST.
    WindowAdjust {
        /// Channel number of the receiver of this message.
        recipient: u32,
        /// Bytes that the receiver may send in addition.
        bytes: u32,
    },
    /// CHANNEL_DATA.
    Data {
        /// Channel number of the receiver of this message.
        recipient: u32,
        /// The bytes.
        data: &'a [u8],
    },
    /// CHANNEL_EXTENDED_DATA.
    ExtendedData {
        /// Channel number of the receiver of this message.
        recipient: u32,
        /// [`STDERR`], or something nobody defined yet.
        code: u32,
        /// The bytes.
        data: &'a [u8],
    },
    /// CHANNEL_EOF: the sender sends no more data.
    Eof {
        /// Channel number of the receiver of this message.
        recipient: u32,
    },
    /// CHANNEL_CLOSE.
    Close {
        /// Channel number of the receiver of this message.
        recipient: u32,
    },
    /// CHANNEL_REQUEST.
    Request(Request<'a>),
    /// CHANNEL_SUCCESS, to a channel request.
    Success {
        /// Channel number of the receiver of this message.
        recipient: u32,
    },
    /// CHANNEL_FAILURE, to a channel request.
    Failure {
        /// Channel number of the receiver of this message.
        recipient: u32,
    },
    /// A message number that the connection layer does not have.
    Unknown(u8),
}

/// CHANNEL_OPEN, RFC 4254 section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Channel type: `session`, `direct-tcpip`, `forwarded-tcpip`, `auth-agent@openssh.com`, `x11`, ..
    pub kind: &'a str,
    /// The opener's number of the channel.
    pub sender: u32,
    /// Bytes that may be sent to the opener at first.
    pub window: u32,
    /// Bytes of data that one message may carry towards the opener.
    pub max_packet: u32,
    /// What follows, in the form of `kind`.
    pub rest: &'a [u8],
}

/// CHANNEL_REQUEST, RFC 4254 section 5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Channel number of the receiver of this message.
    pub recipient: u32,
    /// What is asked for, taken apart.
    pub kind: RequestKind<'a>,
    /// The request's name as sent.
    pub name: &'a [u8],
    /// The peer waits for SUCCESS or FAILURE, in order.
    pub want_reply: bool,
}

/// The channel requests that a relay judges, records or follows. Texts are bytes as sent: only the host knows their
/// encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind<'a> {
    /// `pty-req`: a terminal, RFC 4254 section 6.2.
    Pty {
        /// The TERM of the client.
        term: &'a [u8],
        /// Width in characters.
        cols: u32,
        /// Height in characters.
        rows: u32,
        /// Width in pixels, 0 for unknown.
        width: u32,
        /// Height in pixels, 0 for unknown.
        height: u32,
        /// Encoded terminal modes, RFC 4254 section 8.
        modes: &'a [u8],
    },
    /// `env`.
    Env {
        /// Variable.
        name: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// `shell`.
    Shell,
    /// `exec`.
    Exec {
        /// Command line for the user's shell on the host.
        command: &'a [u8],
    },
    /// `subsystem`.
    Subsystem {
        /// For example `sftp`.
        name: &'a [u8],
    },
    /// `window-change`.
    WindowChange {
        /// Width in characters.
        cols: u32,
        /// Height in characters.
        rows: u32,
    },
    /// `signal`.
    Signal {
        /// Without `SIG`.
        name: &'a [u8],
    },
    /// `break`, RFC 4335.
    Break {
        /// Milliseconds, 0 for the host's choice.
        length: u32,
    },
    /// `exit-status`.
    ExitStatus(u32),
    /// `exit-signal`.
    ExitSignal {
        /// Without `SIG`.
        name: &'a [u8],
        /// A core was dumped.
        core: bool,
        /// The host's words.
        message: &'a [u8],
    },
    /// `eow@openssh.com`: the sender reads no more, OpenSSH's PROTOCOL section 2.1.
    Eow,
    /// `xon-xoff`, RFC 4254 section 6.8.
    XonXoff {
        /// The client may do flow control itself.
        client_can_do: bool,
    },
    /// `auth-agent-req@openssh.com`: lend the client's agent to the host.
    Agent,
    /// `x11-req`: lend the client's display to the host.
    X11,
    /// Anything else, by its name only.
    Other,
}

/// Takes a payload apart. Never panics, never copies; see the file's head for what is an error.
pub fn parse(payload: &[u8]) -> Result<Message<'_>, WireError> {
    let mut r = Reader::new(payload);
    let message = match r.u8()? {
        number::GLOBAL_REQUEST => {
            return Ok(Message::GlobalRequest { name: r.name()?, want_reply: r.bool()?, rest: r.rest() });
        }
        number::REQUEST_SUCCESS => return Ok(Message::RequestSuccess), // its data has the form of its request
        number::REQUEST_FAILURE => Message::RequestFailure,
        number::CHANNEL_OPEN => return open(r),
        number::CHANNEL_OPEN_CONFIRMATION => return confirmed(r),
        number::CHANNEL_OPEN_FAILURE => return open_failure_message(r),
        number::CHANNEL_WINDOW_ADJUST => Message::WindowAdjust { recipient: r.u32()?, bytes: r.u32()? },
        number::CHANNEL_DATA => Message::Data { recipient: r.u32()?, data: r.string()? },
        number::CHANNEL_EXTENDED_DATA => Message::ExtendedData { recipient: r.u32()?, code: r.u32()?, data: r.string()? },
        number::CHANNEL_EOF => Message::Eof { recipient: r.u32()? },
        number::CHANNEL_CLOSE => Message::Close { recipient: r.u32()? },
        number::CHANNEL_REQUEST => return request(r).map(Message::Request),
        number::CHANNEL_SUCCESS => Message::Success { recipient: r.u32()? },
        number::CHANNEL_FAILURE => Message::Failure { recipient: r.u32()? },
        other => return Ok(Message::Unknown(other)),
    };
    r.end()?;
    Ok(message)
}

fn open(mut r: Reader<'_>) -> Result<Message<'_>, WireError> {
    Ok(Message::Open(Open { kind: r.name()?, sender: r.u32()?, window: r.u32()?, max_packet: r.u32()?, rest: r.rest() }))
}

fn confirmed(mut r: Reader<'_>) -> Result<Message<'_>, WireError> {
    Ok(Message::Confirmation { recipient: r.u32()?, sender: r.u32()?, window: r.u32()?, max_packet: r.u32()?, rest: r.rest() })
}

fn open_failure_message(mut r: Reader<'_>) -> Result<Message<'_>, WireError> {
    let message = Message::OpenFailure { recipient: r.u32()?, code: r.u32()?, reason: r.string()? };
    language(&mut r)?;
    Ok(message)
}

fn request(mut r: Reader<'_>) -> Result<Request<'_>, WireError> {
    let (recipient, name, want_reply) = (r.u32()?, r.name()?.as_bytes(), r.bool()?);
    let kind = match name {
        b"pty-req" => {
            RequestKind::Pty { term: r.string()?, cols: r.u32()?, rows: r.u32()?, width: r.u32()?, height: r.u32()?, modes: r.string()? }
        }
        b"env" => RequestKind::Env { name: r.string()?, value: r.string()? },
        b"shell" => RequestKind::Shell,
        b"exec" => RequestKind::Exec { command: r.string()? },
        b"subsystem" => RequestKind::Subsystem { name: r.string()? },
        b"window-change" => {
            let (cols, rows) = (r.u32()?, r.u32()?);
            r.take(8)?; // pixels
            RequestKind::WindowChange { cols, rows }
        }
        b"signal" => RequestKind::Signal { name: r.string()? },
        b"break" => RequestKind::Break { length: r.u32()? },
        b"exit-status" => RequestKind::ExitStatus(r.u32()?),
        b"exit-signal" => {
            let kind = RequestKind::ExitSignal { name: r.string()?, core: r.bool()?, message: r.string()? };
            language(&mut r)?;
            kind
        }
        b"eow@openssh.com" => RequestKind::Eow,
        b"xon-xoff" => RequestKind::XonXoff { client_can_do: r.bool()? },
        b"auth-agent-req@openssh.com" => RequestKind::Agent,
        b"x11-req" => return Ok(Request { recipient, kind: RequestKind::X11, name, want_reply }),
        _ => return Ok(Request { recipient, kind: RequestKind::Other, name, want_reply }),
    };
    r.end()?;
    Ok(Request { recipient, kind, name, want_reply })
}

/// A language tag, which old peers leave out, and the end.
fn language(r: &mut Reader<'_>) -> Result<(), WireError> {
    if !r.rest().is_empty() {
        r.string()?;
    }
    r.end()
}

fn port(r: &mut Reader<'_>) -> Result<u16, WireError> {
    u16::try_from(r.u32()?).map_err(|_| WireError::Malformed("port"))
}

/// The extended data code of stderr, RFC 4254 section 5.2.
pub const STDERR: u32 = 1;
/// Reason code of an open that policy forbids, RFC 4254 section 5.1.
pub const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
/// Reason code of an open that could not reach its destination.
pub const CONNECT_FAILED: u32 = 2;
/// Reason code of an open of a kind that we do not have.
pub const UNKNOWN_CHANNEL_TYPE: u32 = 3;
/// Reason code of an open beyond a limit.
pub const RESOURCE_SHORTAGE: u32 = 4;

#[cfg(test)]
mod tests;
