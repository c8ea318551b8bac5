//! What passes beside channel data: nothing that nobody would have kept.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::{Onward, Relay, Rights, Ruling};
use super::pipes::{Chance, pipe};
use super::{Anything, Counter, client, server};
use crate::access::host::Host;
use crate::ssh::egress::Egress;
use crate::ssh::leg::Leg;
use crate::wire::channel;
use crate::wire::codec::Writer;
use crate::wire::number;
use crate::wire::transport::RekeyBudget;

/// So many bytes of a peer's own words may pass in one message that is no data.
const FEW: usize = 300;

fn request(recipient: u32, name: &[u8], want_reply: bool) -> Writer {
    Writer::message(number::CHANNEL_REQUEST).u32(recipient).string(name).bool(want_reply)
}

fn global(name: &str, want_reply: bool, rest: &[u8]) -> Vec<u8> {
    Writer::message(number::GLOBAL_REQUEST).string(name.as_bytes()).bool(want_reply).string(rest).done()
}

/// How many bytes of it go on.
fn passes(payload: &[u8], ruling: &Ruling) -> usize {
    match &ruling.onward {
        Onward::Pass => payload.len(),
        Onward::Change(message) => message.len(),
        Onward::Stop => 0,
    }
}

/// Runs `test` over a relay between two ends that nobody reads.
fn judging(test: impl FnOnce(&Relay<'_, super::PipeEnd, super::PipeEnd, Counter>, &RefCell<Counter>)) {
    let chance = Chance::new(1);
    let patient = RekeyBudget { bytes: 1 << 40, packets: 1 << 40 };
    let (inner, upstream) = (Leg::new(server(patient, 1), pipe(&chance)), Leg::new(client(patient, 2), pipe(&chance)));
    let keep = RefCell::new(Counter { kept: Rc::default(), handed: 0, taken: 0, chance: chance.clone() });
    let rights = Rights { shell: true, exec: true, reads: true, writes: true, record_input: false, content: Default::default() };
    let (egress, law) = (Egress::unlimited(), Anything(Host::unregistered(&"simulated".parse().unwrap())));
    test(&Relay::new((&inner, &upstream), &keep, (rights, &law), super::super::Pulse::none(), &egress), &keep);
}

#[test]
fn input_is_kept_where_the_host_gave_no_terminal() {
    for (given, kept) in [(true, 0), (false, 1)] {
        judging(|relay, keep| {
            relay.judge_client(&channel::open_session(0, 0, 32 * 1024)).unwrap();
            relay.judge_host(&channel::confirmation(0, 7, 1 << 20, 32 * 1024)).unwrap();
            let pty = request(7, b"pty-req", true).string(b"xterm").u32(80).u32(24).u32(0).u32(0).string(b"").done();
            relay.judge_client(&pty).unwrap();
            relay.judge_client(&request(7, b"shell", true).done()).unwrap();
            relay.judge_host(&if given { channel::success(0) } else { channel::failure(0) }).unwrap();
            relay.judge_host(&channel::success(0)).unwrap();
            let before = keep.borrow().taken;
            relay.judge_client(&channel::data(7, b"rm -r /\n")).unwrap();
            assert_eq!(keep.borrow().taken - before, kept);
        });
    }
}

#[test]
fn a_host_says_whether_it_gives_a_terminal_though_the_client_does_not_ask() {
    for (given, kept) in [(true, 0), (false, 1)] {
        judging(|relay, keep| {
            relay.judge_client(&channel::open_session(0, 0, 32 * 1024)).unwrap();
            relay.judge_host(&channel::confirmation(0, 7, 1 << 20, 32 * 1024)).unwrap();
            let pty = |reply| request(7, b"pty-req", reply).string(b"xterm").u32(80).u32(24).u32(0).u32(0).string(b"").done();
            let asked = relay.judge_client(&pty(false)).unwrap();
            assert!(matches!(asked.onward, Onward::Change(message) if message == pty(true)));
            assert_eq!(passes(&pty(false), &relay.judge_client(&pty(false)).unwrap()), 0);
            relay.judge_client(&request(7, b"shell", true).done()).unwrap();
            let reply = if given { channel::success(0) } else { channel::failure(0) };
            assert_eq!(passes(&reply, &relay.judge_host(&reply).unwrap()), 0, "the client waits for none");
            let shell = channel::success(0);
            assert_eq!(passes(&shell, &relay.judge_host(&shell).unwrap()), shell.len());
            let before = keep.borrow().taken;
            relay.judge_client(&channel::data(7, b"a password\n")).unwrap();
            assert_eq!(keep.borrow().taken - before, kept);
        });
    }
}

#[test]
fn what_is_no_data_carries_none() {
    judging(|relay, _| {
        let big = vec![b'x'; 100 * 1024];

        relay.judge_client(&channel::open_session(0, 0, 32 * 1024)).unwrap();
        let confirmed = Writer::message(number::CHANNEL_OPEN_CONFIRMATION).u32(0).u32(7).u32(1 << 20).u32(32 * 1024).string(&big).done();
        assert_eq!(passes(&confirmed, &relay.judge_host(&confirmed).unwrap()), channel::confirmation(0, 7, 0, 0).len());
        assert!(relay.judge_client(&request(7, b"exec\0", false).string(b"id").done()).is_err());
        relay.judge_client(&channel::exec(7, b"ls")).unwrap();
        relay.judge_host(&channel::success(0)).unwrap();

        let reply = [true, false];
        let downwards = reply.into_iter().flat_map(|reply| {
            let signal = request(0, b"exit-signal", reply).string(b"KILL").bool(false).string(&big).string(&big).done();
            [
                signal,
                request(0, b"x@y", reply).string(&big).done(),
                global("x@y", reply, &big),
                global("keepalive@openssh.com", reply, &big),
            ]
        });
        for payload in downwards {
            let out = passes(&payload, &relay.judge_host(&payload).unwrap());
            assert!(out < FEW, "{out} bytes of {:?}..", &payload[..20]);
        }
        relay.judge_client(&global("x@y", true, &big)).unwrap();
        let success = Writer::message(number::REQUEST_SUCCESS).string(&big).done();
        assert_eq!(passes(&success, &relay.judge_host(&success).unwrap()), 1);
        relay.judge_client(&channel::open_session(1, 0, 32 * 1024)).unwrap();
        let failure = channel::open_failure(1, 2, std::str::from_utf8(&big).unwrap());
        assert!(passes(&failure, &relay.judge_host(&failure).unwrap()) < FEW);

        let upwards = reply.into_iter().flat_map(|reply| {
            [request(7, b"x@y", reply).string(&big).done(), global("x@y", reply, &big), global("keepalive@openssh.com", reply, &big)]
        });
        for payload in upwards {
            let out = passes(&payload, &relay.judge_client(&payload).unwrap());
            assert!(out < FEW, "{out} bytes of {:?}..", &payload[..20]);
        }
        assert_eq!(passes(&success, &relay.judge_client(&success).unwrap()), 1);
    });
}
