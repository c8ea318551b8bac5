//! Recordings at somebody's terminal: steered by keys, fitted to the window, and harmless.

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
    screen.until("playing 0:00").press(" ").until("paused");
    screen.press("]").until("resize: 90x25");
    screen.press("]").until("end: exit status 0").press("]").until("end: the end");
    screen.until("third").until("columns 1-80 of 90");
    // Another size of the window, larger than the picture: it is all there, with the status line below.
    screen.resize(120, 40).until("\u{1b}[40;1H");
    screen.press("0").until("paused 0:00 of").press("?").until("space pause").press(".");
    screen.press("q");
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
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
    let mut screen = Terminal::start(bastion.ssh().by("carol").flag("-tt").command(&[&format!("replay {session} --speed 100")]), 80, 24);
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    assert!(screen.seen().contains("third"), "{:?}", screen.seen());
    // Ctrl-C leaves like q, and gives the screen back.
    let mut screen = Terminal::start(bastion.ssh().by("carol").flag("-tt").command(&[&format!("replay {session} --speed 0.1")]), 80, 24);
    screen.until("playing").press("\u{3}");
    assert_eq!(screen.wait().code(), Some(0), "{}", screen.seen());
    assert!(screen.seen().contains("\u{1b}[?1049l"));
    let all = bastion.verb("carol", &format!("replay {session}")).expect(0).text();
    assert!(all.contains("first") && all.contains("third"), "{all}");
    assert!(!bastion.verb("carol", &format!("replay {session} --at 23:59:59")).expect(0).text().contains("first"));
    assert!(bastion.json("carol", &format!("replay {session} --at 0")).as_array().is_some_and(|all| all.len() > 3));
}
