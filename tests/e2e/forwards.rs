//! Forwards in both directions, unix sockets and the agent: carried, judged at each open, recorded, and never in each other's way.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::multiplex::master;
use crate::transfer::noise;
use crate::world::destinations::{banner, black_hole, closed_port, echo, flood, server};
use crate::world::{Bastion, Cast, Output, Ssh, run, wait_for};

/// A question to the master: `-O forward -L ..`.
fn ask(client: &Ssh, flags: &[&str]) -> Output {
    run(&mut flags.iter().fold(client.clone(), |ssh, flag| ssh.flag(flag)).command(&[]), b"")
}

/// A local socket that leads to `to`, through the master.
fn forwarded(bastion: &Bastion, client: &Ssh, name: &str, to: &str) -> PathBuf {
    let socket = bastion.aside(name);
    ask(client, &["-O", "forward", "-L", &format!("{}:{to}", socket.display())]).expect(0);
    socket
}

/// Everything there and back, from one thread to the other.
fn there_and_back(mut stream: impl Read + Write + Send, mut writer: impl Write + Send, bytes: &[u8], end: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).expect("it takes all");
            end();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("it comes back");
        assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    });
}

fn echoed(socket: &Path, bytes: &[u8]) {
    let stream = UnixStream::connect(socket).expect("ssh listens");
    let (writer, half) = (stream.try_clone().expect("a second handle"), stream.try_clone().expect("a third"));
    there_and_back(stream, writer, bytes, move || half.shutdown(Shutdown::Write).expect("half of it"));
}

/// What comes to somebody who says nothing.
fn answer(socket: &Path) -> String {
    let mut said = Vec::new();
    let mut stream = UnixStream::connect(socket).expect("ssh listens");
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Asks for these kinds alone.
fn granted(bastion: &Bastion, kinds: &str) -> String {
    let filed = bastion.json("alice", &format!("request phi-db --for 1h --channels {kinds} --reason look after the nightly import"));
    let request = filed["request"].as_str().expect("a request").to_owned();
    bastion.json("bob", &format!("approve {request}"));
    request
}

/// The sealed recordings of the last session that are of this kind.
fn of_kind(bastion: &Bastion, kind: &str) -> Vec<Cast> {
    let session = bastion.sessions().pop().expect("a session");
    bastion.casts(&session).into_iter().filter(|cast| cast.about("kind") == kind).collect()
}

#[track_caller]
fn told(cast: &Cast, words: &[&str]) {
    let shown = cast.shown().replace("\r\n", "\n");
    words.iter().for_each(|line| assert!(shown.contains(line), "{line:?} is not in\n{shown}"));
}

#[test]
fn local_and_dynamic_forwards_are_carried_and_recorded() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let (port, dead, hidden) = (server(echo), closed_port(), server(banner));
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let bytes = noise(3_000_001);
    echoed(&forwarded(&bastion, &client, "l", &format!("localhost:{port}")), &bytes);
    // SOCKS: no authentication, connect to a name
    let socks = closed_port();
    ask(&client, &["-O", "forward", "-D", &format!("127.0.0.1:{socks}")]).expect(0);
    let mut stream = TcpStream::connect(("127.0.0.1", socks)).expect("ssh listens");
    let name = b"127.0.0.1";
    let request = [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name, &port.to_be_bytes()].concat();
    stream.write_all(&request).expect("it reads");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(reply[..4], [5, 0, 5, 0], "{reply:?}");
    let (writer, half) = (stream.try_clone().expect("a second handle"), stream.try_clone().expect("a third"));
    there_and_back(stream, writer, b"by SOCKS", move || half.shutdown(Shutdown::Write).expect("half of it"));
    // a destination that is dead, and one that is SSH itself
    assert_eq!(answer(&forwarded(&bastion, &client, "dead", &format!("localhost:{dead}"))), "");
    running.until_error("open failed: connect failed");
    let stdio = bastion.ssh().jump("phi-db").flag("-W").flag(&format!("127.1:{hidden}")).spawn("");
    stdio.until("SSH-2.0-somebody");
    let event = bastion.event("session-tunnelled", "");
    assert_eq!((event["data"]["kind"].as_str(), event["data"]["channel"].as_u64()), (Some("forward"), Some(1)), "{event}");
    drop(stdio);
    drop(running);
    bastion.settled();

    let sessions = bastion.sessions();
    let casts = bastion.casts(&sessions[0]);
    let of = |kind: String| casts.iter().filter(|cast| cast.about("kind") == kind).cloned().collect::<Vec<_>>();
    let [first, socks] = &of(format!("forward:{port}"))[..] else { panic!("two connections: {casts:?}") };
    let counts = format!("forward: {n} bytes up, {n} bytes down in ", n = bytes.len());
    told(first, &[&format!("forward to localhost:{port}, from "), "connected\n", "ended by the client's side\n", &counts]);
    told(socks, &[&format!("forward to 127.0.0.1:{port}, from 127.0.0.1:"), "forward: 8 bytes up, 8 bytes down in "]);
    told(&of(format!("forward:{dead}"))[0], &["not connected: ", "forward: 0 bytes up, 0 bytes down in "]);
    let hidden = of_kind(&bastion, &format!("forward:{hidden}")).remove(0);
    assert!(hidden.events.iter().any(|event| event.1 == "m" && event.2.starts_with("SSH inside")), "{hidden:?}");
    assert!(first.out().is_empty() && first.input().is_empty(), "what it carried is not kept");
    let session = &sessions[0];
    let list = bastion.verb("carol", "recordings").expect(0).text();
    assert!(list.contains(&format!("{session}.1  forward:{port}")), "{list}");
    assert!(bastion.verb("carol", &format!("replay {session}.1 --speed 100 --because a test")).expect(0).text().contains("connected"));
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn an_unread_channel_and_a_destination_that_never_answers_stall_nobody() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let (hole, _held, _listener) = black_hole();
    let (mut running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let unread = forwarded(&bastion, &client, "unread", &format!("localhost:{}", server(flood)));
    let unread = UnixStream::connect(unread).expect("ssh listens");
    let silent = UnixStream::connect(forwarded(&bastion, &client, "hole", &format!("127.0.0.1:{hole}"))).expect("ssh listens");
    let socket = forwarded(&bastion, &client, "echo", &format!("localhost:{}", server(echo)));
    for _ in 0..3 {
        echoed(&socket, &noise(2_000_000));
        assert_eq!(client.run("echo still here").expect(0).text(), "still here\n");
    }
    // all of it falls with the session
    let grant = bastion.json("alice", "grants")[0]["grant"].as_str().expect("a grant").to_owned();
    bastion.verb("alice", &format!("close {grant}")).expect(0);
    running.finish().expect(255);
    drop((unread, silent));
    bastion.settled();
    let cast = of_kind(&bastion, &format!("forward:{hole}")).remove(0);
    told(&cast, &[&format!("forward to 127.0.0.1:{hole}"), "cut: its session has ended\n", "forward: 0 bytes up, 0 bytes down in "]);
    let session = bastion.sessions().pop().expect("a session");
    let closed = bastion.event("session-closed", &session);
    assert!(closed["data"]["late_host_ms"].as_u64().is_some(), "{closed}");
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn what_is_not_granted_is_refused_with_the_reason_and_the_rest_goes_on() {
    let bastion = Bastion::start();
    let (port, other) = (server(echo), server(echo));
    granted(&bastion, &format!("exec,forward:{port},reverse:/tmp/no,agent"));
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let sshd = |host: &str| {
        let text = fs::read_to_string(bastion.dir().join("hosts").join(host).join("sshd_config")).expect("a config");
        text.split("ListenAddress 127.0.0.1:").nth(1).and_then(|t| t.lines().next()).expect("a port").to_owned()
    };
    for (n, (to, why)) in [
        (format!("localhost:{other}"), format!("forward:{other} is not in your grant (ssh jit-bastion request phi-db --login ")),
        (format!("10.9.9.9:{port}"), format!("forward:10.9.9.9:{port} is not in your grant")),
        ("/run/x.sock".to_owned(), "forward:/run/x.sock is not in your grant".to_owned()),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(answer(&forwarded(&bastion, &client, &format!("no{n}"), to)), "");
        running.until_error(&format!("administratively prohibited: {why}"));
    }
    ask(&client, &["-O", "forward", "-R", "0:localhost:1"]).expect(255).says("remote port forwarding failed");
    echoed(&forwarded(&bastion, &client, "granted", &format!("127.1:{port}")), b"and back");
    client.run("true").expect(0);
    drop(running);
    // around the bastion leads no grant
    granted(&bastion, "forward:*,exec");
    let (mut running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm2");
    for (n, to) in [format!("127.0.0.1:{}", sshd("phi-app")), format!("localhost:{}", sshd("phi-db")), "0:22".into()].iter().enumerate() {
        assert_eq!(answer(&forwarded(&bastion, &client, &format!("ssh{n}"), to)), "");
        let count = || running.errors().matches("go through the bastion: ssh -J jit-bastion HOST").count();
        wait_for("the refusal", || (count() > n).then_some(()));
    }
    echoed(&forwarded(&bastion, &client, "any", &format!("localhost:{other}")), b"and back");
    // a deny of now ends what it takes
    bastion.change_policy(|text| format!("{text}\n[[deny]]\nid = \"no\"\nchannels = [\"forward:*\"]\nbecause = \"not today\"\n"));
    running.finish().expect(255);
}

#[test]
fn reverse_forwards_sockets_and_the_agent() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let near = bastion.aside("near");
    let listener = std::os::unix::net::UnixListener::bind(&near).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut from, mut to) = (stream.try_clone().expect("a second handle"), stream);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        }
    });
    // a port that the host chooses, and a socket on the host
    let chosen = ask(&client, &["-O", "forward", "-R", &format!("0:{}", near.display())]).expect(0).text().trim().to_owned();
    let stream = TcpStream::connect(("127.0.0.1", chosen.parse().expect("a port"))).expect("the host listens");
    let (writer, half) = (stream.try_clone().expect("a second handle"), stream.try_clone().expect("a third"));
    let bytes = noise(500_000);
    there_and_back(stream, writer, &bytes, move || half.shutdown(Shutdown::Write).expect("half of it"));
    let far = bastion.aside("far");
    ask(&client, &["-O", "forward", "-R", &format!("{}:{}", far.display(), near.display())]).expect(0);
    echoed(&far, b"by a socket on the host");
    // to a socket on the host
    echoed(&forwarded(&bastion, &client, "to-far", &far.display().to_string()), b"there and back again");
    ask(&client, &["-O", "cancel", "-R", &format!("{}:{}", far.display(), near.display())]).expect(0);
    drop(running);

    let socket = bastion.aside("agent");
    let agent = crate::world::Running::start(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket), crate::world::Out::Collect);
    wait_for("the agent", || socket.exists().then_some(()));
    run(Command::new("ssh-add").arg("-q").arg(bastion.key("alice")).env("SSH_AUTH_SOCK", &socket), b"").expect(0);
    let lending = bastion.ssh().jump("phi-db").flag("-A").option(&format!("IdentityAgent={}", socket.display()));
    let listed = lending.run("ssh-add -l; ssh-add -l").expect(0).text();
    assert_eq!(listed.matches("ED25519").count(), 2, "{listed}");
    bastion.settled();
    let agents = of_kind(&bastion, "agent");
    assert_eq!(agents.len(), 2);
    told(&agents[0], &["the host speaks to the client's agent\n", "connected\n", "agent: "]);

    let first = bastion.sessions().remove(0);
    let casts = bastion.casts(&first);
    let kinds: Vec<String> = casts.iter().map(|cast| cast.about("kind")).collect();
    let far = far.display();
    // the host's connection to its own socket is a connection to the client's listener as well
    assert_eq!(kinds, ["reverse:0".to_owned(), format!("reverse:{far}"), format!("forward:{far}"), format!("reverse:{far}")]);
    let counts = format!("reverse: {n} bytes up, {n} bytes down in ", n = bytes.len());
    told(&casts[0], &["a connection to reverse:0 from 127.0.0.1:", "connected\n", &counts]);
    // what is not granted
    granted(&bastion, "exec");
    let grants = bastion.json("alice", "grants");
    let wide = grants.as_array().expect("grants").iter().find(|g| g.to_string().contains("agent")).expect("the first grant");
    bastion.verb("alice", &format!("close {}", wide["grant"].as_str().expect("an id"))).expect(0);
    let out = lending.flag("-R").flag("0:localhost:1").run("echo \"agent: $SSH_AUTH_SOCK\"").expect(0);
    let out = out.says("reverse:0 is not in your grant").says("agent is not in your grant (ssh jit-bastion request phi-db");
    assert_eq!(out.text(), "agent: \n");
    drop(agent);
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_killed_bastion_tells_how_far_a_forward_came() {
    let mut bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let port = server(echo);
    let (mut running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let mut stream = UnixStream::connect(forwarded(&bastion, &client, "l", &format!("localhost:{port}"))).expect("ssh listens");
    stream.write_all(&[b'x'; 1000]).expect("it takes it");
    stream.read_exact(&mut [0; 1000]).expect("it comes back");
    bastion.kill();
    running.finish().expect(255);
    bastion.begin();
    bastion.settled();
    told(&of_kind(&bastion, &format!("forward:{port}"))[0], &["forward: interrupted at byte 1000 up, byte 1000 down, after "]);
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_direct_forward_stands_on_a_rule_that_says_so() {
    let bastion = Bastion::start();
    let (port, dead) = (server(echo), closed_port());
    let to = |port: u16| bastion.ssh().flag("-W").flag(&format!("phi-db:{port}"));
    let refused = |words: &str| run(&mut to(port).command(&[]), b"").expect(255).says(words);
    refused("no such host or not permitted");
    bastion.grant("alice", "phi-db", "1h");
    refused("no such host or not permitted: no grant of yours gives");
    bastion.change_policy(|text| text.replacen("max-duration = \"4h\"", "max-duration = \"4h\"\ndirect = true", 1));
    refused("no such host or not permitted");
    bastion.grant("alice", "phi-db", "2h");
    let bytes = noise(2_000_000);
    let back = run(&mut to(port).command(&[]), &bytes).expect(0);
    assert!(back.stdout == bytes, "{} bytes came back", back.stdout.len());
    run(&mut to(dead).command(&[]), b"").expect(255).says(&format!("phi-db:{dead} cannot be reached"));
    let mut live = to(port).spawn("");
    live.write(b"still here").until("still here");
    // what no rule gives any more is cut
    bastion.change_policy(|text| text.replacen("direct = true", "", 1));
    live.finish().expect(255);
    refused("no such host or not permitted");
    bastion.settled();
    let sessions = bastion.sessions();
    assert_eq!(sessions.len(), 2, "each is a session");
    let casts: Vec<Cast> = sessions.iter().flat_map(|session| bastion.casts(session)).collect();
    let counts = format!("forward: {n} bytes up, {n} bytes down in ", n = bytes.len());
    told(&casts[0], &[&format!("direct forward to phi-db:{port}, from "), "connected\n", "ended by the client's side\n", &counts]);
    told(&casts[1], &["cut: its session has ended\n", "forward: 10 bytes up, 10 bytes down in "]);
    assert_eq!(casts[0].about("kind"), format!("forward:{port}"));
    let closed = bastion.event("session-closed", &sessions[1]);
    assert_eq!(closed["data"]["ending"], "revoked", "{closed}");
    bastion.local(&["verify"]).expect(0);
}

/// User, password, port and database of the PostgreSQL that the tests were given.
fn postgres() -> [String; 4] {
    let url = std::env::var("JIT_BASTION_TEST_POSTGRES").expect("this test needs a PostgreSQL: tests/postgres.sh run ..");
    let rest = url.split_once("://").expect("a URL").1.split('?').next().expect("a part");
    let (who, place) = rest.rsplit_once('@').expect("a user");
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let (server, database) = place.split_once('/').expect("a database");
    let port = server.rsplit_once(':').map_or("5432", |(_, port)| port);
    [user, password, port, database].map(str::to_owned)
}

#[test]
fn statements_are_told_and_content_is_kept_where_the_rule_says_so() {
    let [user, password, port, database] = postgres();
    let bastion = Bastion::start();
    let ask_it = |client: &Ssh, name: &str, options: &str| {
        let near = closed_port();
        ask(client, &["-O", "forward", "-L", &format!("127.0.0.1:{near}:localhost:{port}")]).expect(0);
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-d"]).env("PGPASSWORD", &password);
        psql.arg(format!("host=127.0.0.1 port={near} user={user} dbname={database} {options}"));
        let statement = format!("SELECT 'found ' || count(*) FROM pg_class WHERE relname = '{name}' AND 4711 = 4711");
        assert_eq!(run(psql.args(["-c", &statement]), b"").expect(0).text(), "found 0\n");
    };
    let shown = "statement: SELECT ? || count(*) FROM pg_class WHERE relname = ? AND ? = ?\n";
    let grant = bastion.grant("alice", "phi-db", "1h");
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    ask_it(&client, "mrs_doe", "sslmode=disable gssencmode=disable");
    ask_it(&client, "mrs_roe", "sslmode=require gssencmode=disable");
    drop(running);
    bastion.settled();
    let casts = of_kind(&bastion, &format!("forward:{port}"));
    told(&casts[0], &[&format!("postgresql: {user} on {database}\n"), shown, "postgresql: the client says goodbye\n"]);
    assert!(!casts[0].shown().contains("mrs_doe") && casts[0].input().is_empty());
    told(&casts[1], &["postgresql: encrypted by TLS, its statements are not seen\n"]);

    bastion.verb("alice", &format!("close {grant}")).expect(0);
    bastion.change_policy(|text| text.replacen("max-duration = \"4h\"", "max-duration = \"4h\"\nkeep = \"bytes\"", 1));
    bastion.grant("alice", "phi-db", "1h");
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm2");
    running.until_error("is recorded, with all that forwards carry");
    ask_it(&client, "mrs_poe", "sslmode=disable gssencmode=disable");
    let bytes = noise(500_000);
    let echoes = server(echo);
    echoed(&forwarded(&bastion, &client, "l", &format!("localhost:{echoes}")), &bytes);
    drop(running);
    bastion.settled();
    let cast = of_kind(&bastion, &format!("forward:{port}")).remove(0);
    told(&cast, &[shown]);
    let has = |stream: &[u8], words: &str| String::from_utf8_lossy(stream).contains(words);
    assert!(has(&cast.input(), "mrs_poe") && has(&cast.out(), "found 0"), "every byte is kept");
    let cast = of_kind(&bastion, &format!("forward:{echoes}")).remove(0);
    assert!(cast.input() == bytes && cast.out() == bytes, "and restored exactly");
    bastion.local(&["verify"]).expect(0);
}
