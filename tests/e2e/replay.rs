//! Recordings at somebody's terminal: steered by keys, fitted to the window, and harmless.

use rustix::process::Signal;

use crate::world::{Bastion, Terminal};

/// A session of alice's at a terminal, with what a host may try to do to a viewer.
fn recorded(bastion: &Bastion) -> String {
    bastion.grant("alice", "phi-db", "1h");
    let mut screen = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 100, 30);
    screen.press("PS1='ready> '; printf 'fir%s\\n' st\r").until("first");
    screen.press("printf '\\033]52;c;ZXZpbA==\\007\\033]0;taken over\\007\\033[6n\\033[c\\007'; echo se''cond\r").until("second");
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
    assert!(bob.seen().contains("left; it goes on"), "{}", bob.seen());
    alice.press("exit\r");
    alice.wait();
    assert_eq!(carol.wait().code(), Some(0), "{}", carol.seen());
    assert!(carol.seen().contains(&format!("{session}.1: ended: left")), "{:?}", carol.seen());
    for driving in ["\u{1b}]", "\u{7}", "123-45"] {
        assert!(!carol.seen().contains(driving), "{driving:?} in {:?}", carol.seen());
    }
    let event = bastion.event("session-watched", &session).to_string();
    assert!(event.contains("carol") && event.contains("\"shown\":\"masked\"") && !event.contains("case 12"), "{event}");
    let over = watch("carol", &format!("watch {session} --because x")).wait();
    assert_eq!(over.code(), Some(1), "it is over");
}
