//! Messages of the connection layer.

use jit_bastion::wire::channel::{Message, allocated_port, clamp_max_packet, listening, parse, set_window, vetoed};

const LIMIT: u32 = 32_768;

pub const ALL: &[super::Target] = &[("channel", channel)];

/// Parsed, changed in place, parsed again.
pub fn channel(data: &[u8]) {
    let before = parse(data);
    match before {
        Ok(Message::Request(request)) => assert!(parse(&vetoed(&request)).is_ok()),
        Ok(Message::Open(open)) => drop(open.route()),
        Ok(Message::GlobalRequest { name, rest, .. }) => drop(listening(name, rest)),
        _ => {}
    }
    let _ = allocated_port(data);
    let mut changed = data.to_vec();
    clamp_max_packet(&mut changed, LIMIT);
    set_window(&mut changed, 77);
    let after = parse(&changed);
    assert_eq!(before.is_ok(), after.is_ok());
    match after {
        Ok(Message::Open(open)) => assert!(open.max_packet <= LIMIT && open.window == 77),
        Ok(Message::Confirmation { window, max_packet, .. }) => assert!(max_packet <= LIMIT && window == 77),
        Ok(Message::WindowAdjust { bytes, .. }) => assert_eq!(bytes, 77),
        _ => assert_eq!(before, after),
    }
}
