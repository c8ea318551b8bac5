//! Messages of the connection layer that we write ourselves, and the numbers that we change in passing.

use super::super::codec::{Reader, Writer};
use super::super::number;
use super::Request;

/// CHANNEL_OPEN of a `session`, by us as a client: our number of it, what we are ready to take in all, and in one message.
pub fn open_session(sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    Writer::message(number::CHANNEL_OPEN).string(b"session").u32(sender).u32(window).u32(max_packet).done()
}

/// The request `exec`, with a reply.
pub fn exec(recipient: u32, command: &[u8]) -> Vec<u8> {
    to(number::CHANNEL_REQUEST, recipient).string(b"exec").bool(true).string(command).done()
}

/// CHANNEL_DATA.
pub fn data(recipient: u32, data: &[u8]) -> Vec<u8> {
    to(number::CHANNEL_DATA, recipient).string(data).done()
}

/// CHANNEL_EXTENDED_DATA; `code` is [`STDERR`].
pub fn extended_data(recipient: u32, code: u32, data: &[u8]) -> Vec<u8> {
    to(number::CHANNEL_EXTENDED_DATA, recipient).u32(code).string(data).done()
}

/// CHANNEL_EOF.
pub fn eof(recipient: u32) -> Vec<u8> {
    to(number::CHANNEL_EOF, recipient).done()
}

/// CHANNEL_CLOSE.
pub fn close(recipient: u32) -> Vec<u8> {
    to(number::CHANNEL_CLOSE, recipient).done()
}

/// CHANNEL_WINDOW_ADJUST.
pub fn window_adjust(recipient: u32, bytes: u32) -> Vec<u8> {
    to(number::CHANNEL_WINDOW_ADJUST, recipient).u32(bytes).done()
}

/// CHANNEL_OPEN_FAILURE to the side that opened with channel number `recipient`.
pub fn open_failure(recipient: u32, code: u32, reason: &str) -> Vec<u8> {
    to(number::CHANNEL_OPEN_FAILURE, recipient).u32(code).string(reason.as_bytes()).string(b"").done()
}

/// CHANNEL_OPEN_CONFIRMATION, without data of a channel type: none that passes here has any.
pub fn confirmation(recipient: u32, sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    to(number::CHANNEL_OPEN_CONFIRMATION, recipient).u32(sender).u32(window).u32(max_packet).done()
}

/// The same CHANNEL_REQUEST, as one that wants a reply. Other messages stay as they are.
pub fn with_reply(request: &Request<'_>, payload: &[u8]) -> Vec<u8> {
    let mut changed = payload.to_vec();
    if let Some(wants) = changed.get_mut(1 + 4 + 4 + request.name.len()) {
        *wants = 1;
    }
    changed
}

/// CHANNEL_SUCCESS.
pub fn success(recipient: u32) -> Vec<u8> {
    to(number::CHANNEL_SUCCESS, recipient).done()
}

/// CHANNEL_FAILURE.
pub fn failure(recipient: u32) -> Vec<u8> {
    to(number::CHANNEL_FAILURE, recipient).done()
}

/// GLOBAL_REQUEST without data.
pub fn global_request(name: &str, want_reply: bool) -> Vec<u8> {
    Writer::message(number::GLOBAL_REQUEST).string(name.as_bytes()).bool(want_reply).done()
}

/// REQUEST_SUCCESS, with the port that a listener was given.
pub fn request_success(port: Option<u16>) -> Vec<u8> {
    let message = Writer::message(number::REQUEST_SUCCESS);
    port.map_or_else(|| Writer::message(number::REQUEST_SUCCESS), |port| message.u32(port.into())).done()
}

/// The request `exit-signal`, which wants no reply, without words; `name` is without `SIG`.
pub fn exit_signal(recipient: u32, name: &str, core: bool) -> Vec<u8> {
    let request = to(number::CHANNEL_REQUEST, recipient).string(b"exit-signal").bool(false);
    request.string(name.as_bytes()).bool(core).string(b"").string(b"").done()
}

/// REQUEST_FAILURE, to a global request.
pub fn request_failure() -> Vec<u8> {
    Writer::message(number::REQUEST_FAILURE).done()
}

/// The request `signal`, which wants no reply; `name` is without `SIG`.
pub fn signal(recipient: u32, name: &str) -> Vec<u8> {
    to(number::CHANNEL_REQUEST, recipient).string(b"signal").bool(false).string(name.as_bytes()).done()
}

/// The same request under a name that no host knows: the host's own failure comes back in the right place. Its data is
/// left out, since the host has no business with it.
pub fn vetoed(request: &Request<'_>) -> Vec<u8> {
    to(number::CHANNEL_REQUEST, request.recipient).string(VETOED.as_bytes()).bool(request.want_reply).done()
}

fn to(message: u8, recipient: u32) -> Writer {
    Writer::message(message).u32(recipient)
}

/// Lowers "maximum packet size" of an OPEN or OPEN_CONFIRMATION to `limit`, in place; other messages stay as they are.
pub fn clamp_max_packet(payload: &mut [u8], limit: u32) {
    if let Some(field) = numbers_at(payload).and_then(|at| payload.get_mut(at + 8..at + 12)) {
        let value = field.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        field.copy_from_slice(&value.min(limit).to_be_bytes());
    }
}

/// Replaces the window of an OPEN, OPEN_CONFIRMATION or WINDOW_ADJUST in place; other messages stay as they are.
pub fn set_window(payload: &mut [u8], window: u32) {
    let at = match payload.first() {
        Some(&number::CHANNEL_WINDOW_ADJUST) => Some(5),
        _ => numbers_at(payload).map(|at| at + 4),
    };
    if let Some(field) = at.and_then(|at| payload.get_mut(at..at + 4)) {
        field.copy_from_slice(&window.to_be_bytes());
    }
}

/// Where sender, window and maximum packet size begin in an OPEN or OPEN_CONFIRMATION.
fn numbers_at(payload: &[u8]) -> Option<usize> {
    match *payload.first()? {
        number::CHANNEL_OPEN => {
            let kind = Reader::new(payload.get(1..)?).string().ok()?;
            Some(1 + 4 + kind.len())
        }
        number::CHANNEL_OPEN_CONFIRMATION => Some(1 + 4),
        _ => None,
    }
}

/// The request name that stands in a vetoed request's place.
pub const VETOED: &str = "vetoed@jit-bastion";
