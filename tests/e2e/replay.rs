//! Recordings at somebody's terminal: steered by keys, fitted to the window, and harmless.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::world::destinations::{echo, server};
use crate::world::{Bastion, Terminal, run};

/// A session of alice's at a terminal, with what a host may try to do to a viewer.
fn recorded(bastion: &Bastion) -> String {
    bastion.grant("alice", "phi-db", "1h");
    let mut screen = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 100, 30);
    screen.press("PS1='ready> '; printf 'fir%s\\n' st\r").until("first");
    screen
        .press("printf '\\033]52;c;ZXZpbA==\\007\\033]0;taken over\\007\\033[6n\\033[c\\007ssn 1%s-45-6789\\n' 23; echo se''cond\r")
        .until("second");
    screen.resize(90, 25);
    screen.press("stty size; echo th''ird\r").until("third");
    screen.press("exit\r");
    screen.wait();
    bastion.settled();
    bastion.sessions().remove(0)
}

#[test]
fn a_replay_is_steered_and_nothing_drives_the_viewers_terminal() {
    let bastion = Bastion::start();
    let session = recorded(&bastion);
    let replay = format!("replay {session}.1 --speed 0.1");
    let mut screen = Terminal::start(bastion.ssh().by("carol").flag("-tt").command(&[&replay]), 80, 24);
    // It is told what for, and that is kept.
    screen.until("what for?").press("case 12\r");
    screen.until("playing 0:00").press(" ").until("paused");
    screen.press("]").until("resize: 90x25");
    screen.press("]").until("end: exit status 0").press("]").until("end: the end");
    screen.until("third").until("columns 1-80 of 90");
    // Another size of the window, larger than the picture: it is all there, with the status line below.
    screen.resize(120, 40).until("\u{1b}[40;1H");
    screen.press("0").until("paused 0:00 of").press("?").until("space pause").press(".");
    screen.press("q");
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    let event = bastion.event("recording-opened", &session).to_string();
    assert!(
        event.contains("carol") && event.contains("purpose") && event.contains("\"shown\":\"masked\"") && !event.contains("case 12"),
        "{event}"
    );
    let seen = screen.seen();
    assert!(seen.contains("\u{1b}[?1049h") && seen.contains("\u{1b}[?1049l"), "the viewer's own screen is back");
    assert!(seen.contains(&format!("{session}.1: left at 0:0")), "{seen:?}");
    for driving in ["\u{1b}]", "\u{1b}[6n", "\u{1b}[c", "\u{7}", "\u{1b}P"] {
        assert!(!seen.contains(driving), "{driving:?} in {seen:?}");
    }
}

#[test]
fn who_types_nothing_sees_it_to_the_end_and_hits_start_there() {
    let bastion = Bastion::start();
    let session = recorded(&bastion);
    let mut screen = Terminal::start(
        bastion.ssh().by("carol").flag("-tt").command(&[&format!("replay {session} --speed 100 --because a test")]),
        80,
        24,
    );
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    assert!(screen.seen().contains("third"), "{:?}", screen.seen());
    // Ctrl-C leaves like q, and gives the screen back.
    let mut screen = Terminal::start(
        bastion.ssh().by("carol").flag("-tt").command(&[&format!("replay {session} --speed 0.1 --because a test")]),
        80,
        24,
    );
    screen.until("playing").press("\u{3}");
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    assert!(screen.seen().contains("\u{1b}[?1049l"));
    let all = bastion.verb("carol", &format!("replay {session} --because a test")).expect(0).text();
    assert!(all.contains("first") && all.contains("third"), "{all}");
    assert!(!bastion.verb("carol", &format!("replay {session} --at 23:59:59 --because a test")).expect(0).text().contains("first"));
    assert!(bastion.json("carol", &format!("replay {session} --at 0 --because a test")).as_array().is_some_and(|all| all.len() > 3));
}

#[test]
fn a_shell_has_markers_where_a_connection_beside_it_opened_and_closed() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let (port, socket) = (server(echo), bastion.aside("near"));
    let forward = format!("{}:localhost:{port}", socket.display());
    let ssh = bastion.ssh().jump("phi-db").flag("-tt").flag("-L").flag(&forward);
    let mut screen = Terminal::start(ssh.command(&[]), 80, 24);
    screen.press("echo be''fore\r").until("before");
    let (mut stream, mut back) = (UnixStream::connect(&socket).expect("ssh listens"), Vec::new());
    stream.write_all(b"four").and_then(|()| stream.shutdown(Shutdown::Write)).expect("it takes it");
    stream.read_to_end(&mut back).expect("it comes back");
    screen.press("echo af''ter; exit\r").until("after").wait();
    bastion.settled();
    let session = bastion.sessions().remove(0);
    let shown = bastion.verb("alice", &format!("show {session}")).expect(0).text();
    assert!(shown.contains(&format!("forward:{port}")) && shown.contains("1 connection: 4 bytes up, 4 bytes down\n"), "{shown}");
    let words = format!("replay {session}.1 --speed 0.1 --because a test");
    let mut viewer = Terminal::start(bastion.ssh().by("carol").flag("-tt").command(&[&words]), 140, 24);
    viewer.until("playing").press(" ").until("paused").press("0]").until(&format!("forward: forward:{port} opened ({session}.2)"));
    viewer.press("]").until(&format!("forward: forward:{port} closed: 4 bytes up, 4 bytes down ({session}.2)"));
    viewer.press("q").wait();
}

/// A session that was exported, and a folder of somebody else's with the file and the key; the bastion is gone.
fn handed_out() -> (String, tempfile::TempDir) {
    let bastion = Bastion::start();
    let session = recorded(&bastion);
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("handed.tar").display().to_string();
    bastion.local(&["export", "--session", &session, "--out", &file]).expect(0);
    fs::copy(bastion.dir().join("state/checkpoint.pub"), place.path().join("key")).expect("the key");
    (session, place)
}

/// `replay --export` as somebody runs it who has nothing but what lies in `place`.
fn elsewhere(place: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
    command.args(["replay", "--export"]).args(words.split(' ')).current_dir(place).env_clear();
    command
}

#[test]
fn what_was_handed_out_is_played_anywhere_and_the_terminal_is_as_it_was() {
    let (session, place) = handed_out();
    let mut screen = Terminal::start(elsewhere(place.path(), "handed.tar --public-key key --speed 0.1"), 80, 24);
    let before = screen.modes();
    screen.until("verified").until("playing 0:00").press(" ").until("paused");
    assert_ne!(screen.modes(), before, "keys come one by one");
    screen.press("]").until("resize: 90x25");
    screen.press("]").until("end: exit status 0").press("]").until("end: the end");
    screen.until("third").until("columns 1-80 of 90");
    screen.resize(120, 40).until("\u{1b}[40;1H");
    screen.press("q");
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    screen.until("\u{1b}[?1049l").until(&format!("{session}.1: left at 0:"));
    for driving in ["\u{1b}]", "\u{1b}[6n", "\u{1b}[c", "\u{7}", "\u{1b}P", "123-45-6789"] {
        assert!(!screen.seen().contains(driving), "{driving:?} in {:?}", screen.seen());
    }
    assert_eq!(screen.modes(), before);
    for signal in [Signal::TERM, Signal::HUP] {
        let mut screen = Terminal::start(elsewhere(place.path(), "handed.tar --key key --speed 0.1"), 80, 24);
        screen.until("playing 0:00").signal(signal).wait();
        screen.until("\u{1b}[?1049l");
        assert_eq!(screen.modes(), before, "after {signal:?} too");
    }
}

#[test]
fn what_was_handed_out_is_verified_before_a_line_of_it_is_shown() {
    let (_, place) = handed_out();
    let replay = |words: &str| run(&mut elsewhere(place.path(), words), b"");
    // Not in a terminal; by the key that it carries itself.
    let said = replay("handed.tar").expect(0).says("compare it with the one you keep");
    assert!(said.text().contains("first\n") && said.text().contains("third\n") && !said.text().contains('\u{1b}'), "{}", said.told());
    assert!(said.text().contains("ssn ***********"), "{}", said.told());
    assert!(replay("handed.tar --key key --unmask").expect(0).text().contains("123-45-6789"));
    let told: serde_json::Value = serde_json::from_slice(&replay("handed.tar --json").expect(0).stdout).expect("JSON");
    assert!(told.as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == "r" && one["data"] == "90x25")), "{told}");
    assert_eq!(replay("handed.tar --files").expect(0).text(), "no files\n");
    replay("handed.tar --channel 9").expect(1).says("it holds: 1 (shell)");
    // A byte of the recording, the end, another key.
    let good = fs::read(place.path().join("handed.tar")).expect("the file");
    let (mut bytes, at) = (good.clone(), good.windows(5).position(|window| window == b"third").expect("it is in there"));
    bytes[at] ^= 1;
    fs::write(place.path().join("bad.tar"), bytes).expect("written");
    fs::write(place.path().join("short.tar"), &good[..good.len() - 512]).expect("written");
    let key = fs::read_to_string(place.path().join("key")).expect("the key");
    fs::write(place.path().join("other"), key.replacen('+', "-other+", 1)).expect("written");
    for (words, why) in [
        ("bad.tar --key key", "01-shell.cast: changed since it was exported"),
        ("short.tar", "the file itself is "),
        ("handed.tar --key other", ""),
        ("none.tar", "cannot read none.tar"),
    ] {
        let said = replay(words).expect(1).says(why);
        assert!(said.stdout.is_empty() && said.stderr.contains("hint: "), "{}", said.told());
        let told: serde_json::Value = serde_json::from_slice(&replay(&format!("{words} --json")).expect(1).stdout).expect("JSON");
        assert!(told["error"]["next"].is_string(), "{told}");
    }
}

#[test]
fn a_session_is_watched_from_its_screen_on_until_its_end() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let mut alice = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 80, 24);
    alice.press("PS1='ready> '; printf 'bef%s\\n' ore; printf '\\033]52;c;ZXZpbA==\\007ssn 1%s-45-6789\\n' 23\r").until("123-45-6789");
    let session = bastion.sessions().remove(0);
    let watch = |who: &str, words: &str| Terminal::start(bastion.ssh().by(who).flag("-tt").command(&[words]), 80, 24);
    let mut carol = watch("carol", &format!("watch {session}"));
    carol.until("what for?").press("case 12\r");
    carol.until(&format!("watching {session}.1: alice as ")).until("before").until("ssn ***********");
    // Whoever approved it may; others do not even learn that it is there.
    let mut bob = watch("bob", &format!("watch {session}.1 --because he asked me"));
    bob.until("before");
    for (who, words) in
        [("vera", format!("watch {session}")), ("carol", format!("watch {session} --unmask")), ("alice", format!("watch {session}"))]
    {
        assert_eq!(watch(who, &format!("{words} --because x")).wait().code(), Some(1), "{who}");
    }
    bastion.verb("carol", &format!("watch {session} --because x")).expect(1);
    bastion.local(&["watch", &session, "--because", "x"]).expect(1);
    // Somebody who does not read delays nobody, and sees the newest screen when they do again.
    bob.signal(Signal::STOP);
    alice.press("seq 200000; echo th''rough\r").until("through");
    carol.until("through");
    bob.signal(Signal::CONT).until("through");
    bob.press("q");
    assert_eq!(bob.wait().code(), Some(0), "{}", bob.seen());
    bob.until("left; it goes on");
    alice.press("exit\r");
    alice.wait();
    assert_eq!(carol.wait().code(), Some(0), "{}", carol.seen());
    carol.until(&format!("{session}.1: ended: left"));
    for driving in ["\u{1b}]", "\u{7}", "123-45"] {
        assert!(!carol.seen().contains(driving), "{driving:?} in {:?}", carol.seen());
    }
    let event = bastion.event("session-watched", &session).to_string();
    assert!(event.contains("carol") && event.contains("\"shown\":\"masked\"") && !event.contains("case 12"), "{event}");
    let over = watch("carol", &format!("watch {session} --because x")).wait();
    assert_eq!(over.code(), Some(1), "it is over");
}
