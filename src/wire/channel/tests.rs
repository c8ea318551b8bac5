use proptest::prelude::*;

use super::super::codec::Writer;
use super::*;

fn named(message: u8, recipient: u32, name: &str, want_reply: bool) -> Writer {
    Writer::message(message).u32(recipient).string(name.as_bytes()).bool(want_reply)
}

/// Every request that is taken apart, as it stands in its RFC.
fn requests() -> Vec<(Vec<u8>, RequestKind<'static>)> {
    let request = |name: &str| named(number::CHANNEL_REQUEST, 3, name, true);
    let pty = request("pty-req").string(b"xterm").u32(80).u32(24).u32(640).u32(480).string(&[1, 0, 0, 0, 2, 0]);
    let exit_signal = request("exit-signal").string(b"TERM").bool(true).string(b"killed\xff");
    vec![
        (pty.done(), RequestKind::Pty { term: b"xterm", cols: 80, rows: 24, width: 640, height: 480, modes: &[1, 0, 0, 0, 2, 0] }),
        (request("env").string(b"LANG").string(b"C\xff").done(), RequestKind::Env { name: b"LANG", value: b"C\xff" }),
        (request("shell").done(), RequestKind::Shell),
        (request("exec").string(b"ls \xff").done(), RequestKind::Exec { command: b"ls \xff" }),
        (request("subsystem").string(b"sftp").done(), RequestKind::Subsystem { name: b"sftp" }),
        (request("window-change").u32(100).u32(50).u32(1).u32(2).done(), RequestKind::WindowChange { cols: 100, rows: 50 }),
        (request("signal").string(b"INT").done(), RequestKind::Signal { name: b"INT" }),
        (request("break").u32(500).done(), RequestKind::Break { length: 500 }),
        (request("exit-status").u32(255).done(), RequestKind::ExitStatus(255)),
        (exit_signal.string(b"en").done(), RequestKind::ExitSignal { name: b"TERM", core: true, message: b"killed\xff" }),
        (request("eow@openssh.com").done(), RequestKind::Eow),
        (request("xon-xoff").bool(true).done(), RequestKind::XonXoff { client_can_do: true }),
        (request("auth-agent-req@openssh.com").done(), RequestKind::Agent),
    ]
}

#[test]
fn every_request_is_taken_apart_and_its_length_is_held() {
    for (payload, kind) in requests() {
        let Ok(Message::Request(request)) = parse(&payload) else { panic!("{kind:?}") };
        assert_eq!((request.recipient, request.kind, request.want_reply), (3, kind, true));
        for cut in 0..payload.len() {
            // the language tag of exit-signal is the one field that may be missing
            let tagless = matches!(kind, RequestKind::ExitSignal { .. }) && cut == payload.len() - 6;
            assert_eq!(parse(&payload[..cut]).is_ok(), tagless, "{kind:?} cut to {cut}");
        }
        let longer = [&payload[..], b"x"].concat();
        assert!(parse(&longer).is_err(), "{kind:?} with a byte too many");
    }
}

#[test]
fn what_we_do_not_know_is_told_not_refused() {
    let odd = named(number::CHANNEL_REQUEST, 1, "new@example.com", false).raw(b"anything").done();
    let Ok(Message::Request(request)) = parse(&odd) else { panic!() };
    assert_eq!((request.kind, request.name), (RequestKind::Other, &b"new@example.com"[..]));
    let x11 = named(number::CHANNEL_REQUEST, 1, "x11-req", true).raw(b"its own form").done();
    assert!(matches!(parse(&x11), Ok(Message::Request(Request { kind: RequestKind::X11, .. }))));
    assert_eq!(parse(&[101, 1, 2]), Ok(Message::Unknown(101)));
    assert_eq!(parse(&[0]), Ok(Message::Unknown(0)));
    let keepalive = Writer::message(80).string(b"keepalive@openssh.com").bool(true).done();
    assert_eq!(parse(&keepalive), Ok(Message::GlobalRequest { name: "keepalive@openssh.com", want_reply: true, rest: b"" }));
    assert_eq!(parse(&[81, 0, 0, 1, 2]), Ok(Message::RequestSuccess));
    assert_eq!(parse(&[82]), Ok(Message::RequestFailure));
    assert_eq!(parse(&[]), Err(WireError::Truncated));
}

#[test]
fn messages_of_ours_read_back() {
    for (payload, message) in [
        (data(7, b"abc"), Message::Data { recipient: 7, data: b"abc" }),
        (extended_data(7, STDERR, b"no"), Message::ExtendedData { recipient: 7, code: 1, data: b"no" }),
        (eof(7), Message::Eof { recipient: 7 }),
        (close(7), Message::Close { recipient: 7 }),
        (window_adjust(7, 9), Message::WindowAdjust { recipient: 7, bytes: 9 }),
        (open_failure(7, 1, "no"), Message::OpenFailure { recipient: 7, code: 1, reason: b"no" }),
        (success(7), Message::Success { recipient: 7 }),
        (failure(7), Message::Failure { recipient: 7 }),
        (request_failure(), Message::RequestFailure),
        (
            signal(7, "TERM"),
            Message::Request(Request { recipient: 7, kind: RequestKind::Signal { name: b"TERM" }, name: b"signal", want_reply: false }),
        ),
    ] {
        assert_eq!(parse(&payload), Ok(message));
        assert!(parse(&[&payload[..], b"x"].concat()).is_err(), "{message:?} with a byte too many");
    }
}

#[test]
fn a_vetoed_request_keeps_its_place_and_nothing_else() {
    for (payload, _) in requests() {
        let Ok(Message::Request(request)) = parse(&payload) else { panic!() };
        let vetoed = vetoed(&request);
        let expected = Request { recipient: 3, kind: RequestKind::Other, name: b"vetoed@jit-bastion", want_reply: true };
        assert_eq!(parse(&vetoed), Ok(Message::Request(expected)));
    }
}

#[test]
fn where_a_forward_comes_from_and_goes_to() {
    let open = |kind: &'static str, rest: &[u8]| {
        let payload = Writer::message(90).string(kind.as_bytes()).u32(1).u32(2).u32(3).raw(rest).done();
        let Ok(Message::Open(open)) = parse(&payload) else { panic!() };
        open.route().map(|route| format!("{route:?}"))
    };
    let tcp = |port: u32| Writer::new().string(b"db").u32(port).string(b"::1").u32(70_000).done();
    let path = Writer::new().string(b"/run/x").string(b"").done();
    let direct = [&path[..], &[0; 4]].concat();
    let is = |route: Route<'_>| Ok(format!("{:?}", Some(route)));
    assert_eq!(open("direct-tcpip", &tcp(22)), is(Route::Direct { to: b"db", port: 22, from: b"::1", from_port: 70_000 }));
    assert_eq!(open("forwarded-tcpip", &tcp(22)), is(Route::Forwarded { at: b"db", port: 22, from: b"::1", from_port: 70_000 }));
    assert_eq!(open("direct-streamlocal@openssh.com", &direct), is(Route::DirectPath(b"/run/x")));
    assert_eq!(open("forwarded-streamlocal@openssh.com", &path), is(Route::ForwardedPath(b"/run/x")));
    assert_eq!(open("auth-agent@openssh.com", b""), is(Route::Agent));
    assert_eq!(open("session", b""), Ok("None".into()));
    assert!(open("direct-tcpip", &tcp(65_536)).is_err());
    for (kind, whole) in
        [("direct-tcpip", &tcp(22)), ("direct-streamlocal@openssh.com", &direct), ("forwarded-streamlocal@openssh.com", &path)]
    {
        assert!((0..whole.len()).all(|n| open(kind, &whole[..n]).is_err()), "{kind}");
        assert!(open(kind, &[&whole[..], b"x"].concat()).is_err(), "{kind}");
    }
    assert!(open("auth-agent@openssh.com", b"x").is_err());
}

#[test]
fn where_a_host_is_to_listen() {
    let tcp = |port: u32| Writer::new().string(b"").u32(port).done();
    let any = Listen::Tcp { bind: b"", port: 0 };
    assert_eq!(listening("tcpip-forward", &tcp(0)), Ok(Some(Listening::Begin(any))));
    assert_eq!(listening("cancel-tcpip-forward", &tcp(0)), Ok(Some(Listening::Cancel(any))));
    let path = Writer::new().string(b"/x").done();
    assert_eq!(listening("streamlocal-forward@openssh.com", &path), Ok(Some(Listening::Begin(Listen::Path(b"/x")))));
    assert_eq!(listening("keepalive@openssh.com", b"anything"), Ok(None));
    assert!(listening("tcpip-forward", &tcp(65_536)).is_err() && listening("tcpip-forward", b"").is_err());
    assert_eq!(allocated_port(&Writer::message(81).u32(40_022).done()), Some(40_022));
    assert_eq!([allocated_port(&[81]), allocated_port(&[81, 0, 0, 0, 1, 0]), allocated_port(&[])], [None, None, None]);
}

fn confirmation(window: u32, max_packet: u32) -> Vec<u8> {
    Writer::message(91).u32(1).u32(2).u32(window).u32(max_packet).raw(b"rest").done()
}

fn open(kind: &str, window: u32, max_packet: u32) -> Vec<u8> {
    Writer::message(90).string(kind.as_bytes()).u32(1).u32(window).u32(max_packet).raw(b"rest").done()
}

#[test]
fn numbers_change_in_place() {
    for (before, after) in [(65_536, 32_768), (32_768, 32_768), (1000, 1000), (u32::MAX, 32_768)] {
        for (mut payload, expected) in
            [(open("session", 5, before), open("session", 5, after)), (confirmation(5, before), confirmation(5, after))]
        {
            clamp_max_packet(&mut payload, 32_768);
            assert_eq!(payload, expected);
        }
    }
    for (mut payload, expected) in [
        (open("session", 5, 9), open("session", 77, 9)),
        (confirmation(5, 9), confirmation(77, 9)),
        (window_adjust(1, 5), window_adjust(1, 77)),
        (data(1, b"twelve bytes"), data(1, b"twelve bytes")),
    ] {
        set_window(&mut payload, 77);
        assert_eq!(payload, expected);
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(number in 80u8..102, mut payload in any::<Vec<u8>>(), limit in any::<u32>()) {
        payload.insert(0, number);
        let _ = parse(&payload);
        let before = payload.clone();
        set_window(&mut payload, limit);
        clamp_max_packet(&mut payload, limit);
        prop_assert_eq!(before.len(), payload.len());
        if !matches!(number, 90 | 91 | 93) {
            prop_assert_eq!(before, payload);
        }
    }

    #[test]
    fn data_is_the_data(recipient in any::<u32>(), code in any::<u32>(), bytes in any::<Vec<u8>>()) {
        let plain = data(recipient, &bytes);
        prop_assert_eq!(parse(&plain), Ok(Message::Data { recipient, data: &bytes }));
        let extended = extended_data(recipient, code, &bytes);
        prop_assert_eq!(parse(&extended), Ok(Message::ExtendedData { recipient, code, data: &bytes }));
    }

    #[test]
    fn an_open_survives_its_changes(kind in "[a-z@.]{1,64}", sender in any::<u32>(), window in any::<u32>(), max in any::<u32>(), rest in any::<Vec<u8>>()) {
        let mut payload = Writer::message(90).string(kind.as_bytes()).u32(sender).u32(window).u32(max).raw(&rest).done();
        clamp_max_packet(&mut payload, 1000);
        set_window(&mut payload, 12);
        let expected = Open { kind: &kind, sender, window: 12, max_packet: max.min(1000), rest: &rest };
        prop_assert_eq!(parse(&payload), Ok(Message::Open(expected)));
    }
}

#[test]
fn a_name_is_printable_and_whole() {
    let request = |name: &[u8]| Writer::message(number::CHANNEL_REQUEST).u32(0).string(name).bool(false).string(b"id").done();
    let global = |name: &[u8]| Writer::message(number::GLOBAL_REQUEST).string(name).bool(true).done();
    let open = |name: &[u8]| Writer::message(number::CHANNEL_OPEN).string(name).u32(0).u32(0).u32(0).done();
    let long = [b'x'; 65];
    for name in [&b"exec\0"[..], b"", b"ex ec", b"exec\n", b"\xff", "exéc".as_bytes(), &long] {
        assert!(parse(&request(name)).is_err() && parse(&global(name)).is_err() && parse(&open(name)).is_err(), "{name:?}");
    }
    for name in [&b"exec"[..], b"new@example.com", &long[..64]] {
        assert!(parse(&request(name)).is_ok() && parse(&global(name)).is_ok() && parse(&open(name)).is_ok(), "{name:?}");
    }
}
