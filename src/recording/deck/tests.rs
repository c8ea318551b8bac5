use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::access::mask::Mask;

type Event<'a> = (f64, char, &'a str);
type Tape = Deck<Cursor<Vec<u8>>>;

fn tape(cols: u32, rows: u32, events: &[Event<'_>]) -> CastReader<Cursor<Vec<u8>>> {
    let mut text = format!("{{\"version\":2,\"width\":{cols},\"height\":{rows}}}\n").into_bytes();
    for event in events {
        text.extend(serde_json::to_vec(event).unwrap());
        text.push(b'\n');
    }
    CastReader::new(Cursor::new(text), Path::new("x.cast")).unwrap()
}

/// A deck and the terminal that shows what it writes.
struct Show {
    deck: Tape,
    viewer: Terminal,
    bytes: Vec<u8>,
}

impl Show {
    fn new(events: &[Event<'_>], from: f64) -> Self {
        Self::sized((20, 4), (20, 5), events, from)
    }

    fn sized(host: (u32, u32), viewer: (u32, u32), events: &[Event<'_>], from: f64) -> Self {
        let deck = Deck::new(tape(host.0, host.1, events), viewer.0, viewer.1, Pace::default(), from).unwrap();
        let mut show = Self { deck, viewer: sized(viewer.0, viewer.1), bytes: Vec::new() };
        show.pass(0.0);
        show
    }

    fn pass(&mut self, seconds: f64) -> &mut Self {
        let bytes = self.deck.advance(Duration::from_secs_f64(seconds)).unwrap();
        self.viewer.feed(std::str::from_utf8(&bytes).unwrap());
        self.bytes.extend(bytes);
        while matches!(self.deck.state, State::Seeking(..)) {
            self.pass(0.0);
        }
        self
    }

    fn press(&mut self, key: Key) -> &mut Self {
        self.deck.press(key).unwrap();
        self.pass(0.0)
    }

    fn row(&self, n: usize) -> String {
        self.viewer.screen().line(n).unwrap().text().trim_end().to_owned()
    }

    /// The picture, without the status line.
    fn picture(&self) -> Vec<String> {
        let rows = self.viewer.size().1 - 1;
        (0..rows).map(|n| self.row(n)).collect()
    }

    fn status(&self) -> String {
        self.row(self.viewer.size().1 - 1)
    }
}

fn sized(cols: u32, rows: u32) -> Terminal {
    super::super::screen::sized(cols as usize, rows as usize)
}

#[test]
fn time_passes_stops_and_goes_on() {
    let mut show = Show::sized((20, 4), (70, 5), &[(1.0, 'o', "one"), (2.0, 'o', " two"), (8.0, 'o', " three")], 0.0);
    assert_eq!(show.status(), " playing 0:00 of 0:08 x1 | ? keys, q quit");
    show.pass(0.5).pass(0.5);
    assert_eq!(show.row(0), "one");
    show.press(Key::Pause).pass(0.5).pass(0.5);
    assert_eq!((show.row(0).as_str(), show.deck.due()), ("one", None));
    assert!(show.status().starts_with(" paused 0:01 of"), "{}", show.status());
    show.press(Key::Step);
    assert_eq!((show.row(0).as_str(), show.deck.at), ("one two", 2.0));
    // The time that it stood is not made up for.
    show.press(Key::Pause).pass(0.4);
    assert_eq!(show.deck.at, 2.4);
    show.press(Key::Faster).press(Key::Faster).pass(0.5);
    assert!((show.deck.at - 3.4).abs() < 0.001 && show.deck.due() == Some(Duration::from_millis(300)), "{:?}", show.deck.due());
    show.press(Key::Slower).press(Key::Normal);
    for _ in 0..9 {
        show.pass(0.5);
    }
    assert_eq!(show.row(0), "one two");
    show.pass(0.5);
    assert_eq!(show.row(0), "one two three");
    assert!(show.status().starts_with(" end 0:08 of 0:08"), "{}", show.status());
    assert!(show.deck.at_end() && !show.deck.over(), "whoever steered may look at the end");
    show.press(Key::Pause).pass(0.4);
    assert_eq!((show.row(0).as_str(), show.deck.at), ("", 0.4));
}

#[test]
fn whoever_only_watches_is_done_at_the_end() {
    let mut show = Show::new(&[(0.2, 'o', "x")], 0.0);
    assert!(!show.deck.over());
    show.pass(0.5);
    assert!(show.deck.over() && show.deck.due().is_none());
    assert!(Show::new(&[], 0.0).deck.over());
}

#[test]
fn a_pause_lasts_no_longer_than_the_limit() {
    let events = [(0.0, 'o', "a"), (600.0, 'o', "b"), (601.0, 'o', "c")];
    let pace = Pace { speed: 1.0, idle_limit: Some(Duration::from_secs(1)) };
    let mut deck = Deck::new(tape(20, 4, &events), 20, 5, pace, 0.0).unwrap();
    deck.advance(Duration::from_millis(500)).unwrap();
    assert_eq!((deck.at, deck.due()), (0.5, Some(Duration::from_millis(500))));
    deck.advance(Duration::from_millis(500)).unwrap();
    assert_eq!((deck.at, deck.last), (600.0, 600.0));
}

#[test]
fn markers_are_jumped_to_and_named() {
    let events = [(1.0, 'o', "a"), (5.0, 'r', "30x4"), (6.0, 'o', "b"), (9.0, 'm', "your time is up"), (10.0, 'o', "c")];
    let mut show = Show::sized((20, 4), (80, 5), &events, 0.0);
    show.press(Key::Pause).press(Key::Next);
    assert_eq!((show.deck.at, show.row(0).as_str()), (5.0, "a"));
    assert!(show.status().contains("| resize: 30x4 |"), "{}", show.status());
    show.press(Key::Next);
    assert_eq!((show.deck.at, show.row(0).as_str()), (9.0, "ab"));
    assert!(show.status().contains("| warning: your time is up |"), "{}", show.status());
    show.press(Key::Next);
    assert!(show.deck.at_end() && show.status().contains("| end: the end |"), "{}", show.status());
    show.press(Key::Previous).press(Key::Previous);
    assert_eq!((show.deck.at, show.deck.terminal.size()), (5.0, (30, 4)));
    show.press(Key::Previous);
    assert_eq!((show.deck.at, show.deck.terminal.size(), show.row(0).as_str()), (0.0, (20, 4), ""));
}

#[test]
fn a_picture_that_is_too_large_is_cropped_and_says_so() {
    let rows: String = (1..=9).map(|n| format!("\x1b[{n};1H{n}abcdefghijklmnopqrstuvwxyz")).collect();
    let first = format!("{rows}\x1b[1;1H");
    let events = [(0.0, 'o', first.as_str()), (1.0, 'o', "\x1b[9;26H")];
    let mut show = Show::sized((30, 9), (50, 24), &events, 0.0);
    show.viewer = sized(12, 4);
    show.deck.resize(12, 4);
    show.pass(0.0);
    assert_eq!(show.picture(), ["1abcdefghijk", "2abcdefghijk", "3abcdefghijk"]);
    show.press(Key::Pause).press(Key::End);
    assert_eq!(show.picture(), ["rstuvwxyz"; 3]);
    assert_eq!(show.deck.view.cropped().unwrap(), "columns 19-30 of 30, rows 7-9 of 9");
    show.press(Key::Pan(-4, -8));
    assert_eq!(show.picture()[0], "jklmnopqrstu");
    show.press(Key::Follow);
    assert_eq!(show.picture()[0], "rstuvwxyz");
    show.viewer = sized(60, 20);
    show.deck.resize(60, 20);
    show.pass(0.0);
    assert_eq!((show.row(8).as_str(), show.deck.view.cropped()), ("9abcdefghijklmnopqrstuvwxyz", None));
}

#[test]
fn only_what_draws_leaves_it() {
    let evil =
        "\x1b]0;title\x07\x1b]52;c;YQ==\x07\x1b[6n\x1b[c\x1b[>c\x1b[?1049h\x1bP$q q\x1b\\\x07\x07\x1b[8;9999;9999ta\u{202e}b\u{9b}5n";
    let marker = "\x1b]52;c;YQ==\x07\u{9d}0;x\u{4e16}\u{202e}".repeat(30);
    let mut show = Show::new(&[(0.0, 'o', evil), (0.1, 'm', &marker), (0.2, 'f', &marker), (0.3, 'i', evil)], 0.0);
    show.pass(0.4).press(Key::Previous).press(Key::Next).press(Key::Help).press(Key::Help).press(Key::Pan(1, 1));
    let all = String::from_utf8(show.bytes.clone()).unwrap();
    for sequence in all.split('\x1b').skip(1) {
        let sequence = sequence.strip_prefix('[').expect("only CSI");
        let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap();
        assert!("HJKm".contains(&sequence[end..=end]), "{sequence:?}");
    }
    assert!(all.chars().all(|c| c == '\x1b' || !c.is_control()), "{all:?}");
    assert!(!all.contains('\u{202e}') && !all.contains("title"));
    assert!(show.status().is_ascii(), "nothing wide in the status line: {}", show.status());
}

#[test]
fn a_torn_file_is_told() {
    let text = b"{\"version\":2,\"width\":20,\"height\":4}\n[0.1,\"o\",\"a\"]\nnonsense\n".to_vec();
    let reader = CastReader::new(Cursor::new(text), Path::new("x.cast")).unwrap();
    let mut deck = Deck::new(reader, 20, 5, Pace::default(), 0.0).unwrap();
    deck.advance(Duration::ZERO).unwrap();
    assert!(deck.advance(Duration::from_millis(200)).is_err_and(|e| e.to_string().contains("line 3")));
}

#[test]
fn going_back_in_a_long_recording_begins_near() {
    let line = "x".repeat(8000) + "\r\n";
    let events: Vec<Event<'_>> = (0..2000).map(|n| (f64::from(n), 'o', line.as_str())).collect();
    let mut show = Show::new(&events, 1999.0);
    let begins = show.deck.moments.nearest(1500.0);
    assert!(begins.screen.is_some() && begins.at > 1300.0, "{}", begins.at);
    show.press(Key::Skip(-499.0));
    assert_eq!((show.deck.at, show.deck.last), (1500.0, 1500.0));
}

/// A show whose mask is on.
fn covering(events: &[Event<'_>]) -> Show {
    let mut show = Show::new(&[], 0.0);
    show.deck = Deck::new(tape(20, 4, events), 20, 5, Pace::default(), 0.0).unwrap().masked(Some(Arc::new(Mask::built_in())));
    show
}

#[test]
fn a_number_is_covered_as_it_stands_on_the_screen() {
    for sent in [
        vec!["ssn 123-45-6789 x"],
        vec!["ssn 123", "-45-", "6789 x"],
        vec!["ssn 1\x1b[1m2\x1b[0m3-4\x1b[31m5-6789 x"],
        vec!["ssn 123-45-0000\x1b[4D6789 x"],
        vec!["\x1b[1;5H123-45-", "\x1b[3;1Helsewhere", "\x1b[1;12H6789 x\x1b[1;1Hssn"],
        vec!["\x1b]0;t\x07ssn 123\x1b[6n-45\x1bPq\x1b\\-6789 x"],
    ] {
        let events: Vec<Event<'_>> = (0..).zip(&sent).map(|(n, text)| (f64::from(n) / 10.0, 'o', *text)).collect();
        let mut show = covering(&events);
        show.pass(0.5).pass(0.5);
        assert_eq!(show.row(0), "ssn *********** x", "{sent:?}");
    }
}

#[test]
fn a_number_over_two_rows_or_half_gone_is_covered() {
    // Soft-wrapped; then the first of its rows leaves the screen.
    let wrapped = "0123456789abcde123-45-6789 x";
    let mut show = covering(&[(0.0, 'o', wrapped), (0.2, 'o', "\r\n1\r\n2\r\n3")]);
    show.pass(0.1);
    assert_eq!(show.picture()[..2], ["0123456789abcde*****", "****** x"]);
    show.pass(0.5);
    assert_eq!(show.picture(), ["****** x", "1", "2", "3"]);
    // A program that places the cursor itself fills its rows.
    let mut show = covering(&[(0.0, 'o', "\x1b[?1049h\x1b[2;16H123-4\x1b[3;1H5-6789")]);
    show.pass(0.1);
    assert_eq!(show.picture(), ["", "               *****", "******", ""]);
}

#[test]
fn a_number_whose_beginning_has_left_stays_covered_after_a_jump_back() {
    let wrapped = "0123456789abcde123-45-6789 x\r\n1\r\n2\r\n3";
    let mut show = covering(&[(0.0, 'o', wrapped), (0.2, 'o', ""), (3.0, 'o', "\r\n4"), (9.0, 'o', "\r\n5")]);
    show.deck.moments.fed(1 << 20);
    show.pass(0.3);
    assert_eq!(show.picture()[0], "****** x");
    show.press(Key::End);
    assert_eq!(show.picture()[0], "2");
    show.press(Key::Skip(-8.0));
    assert_eq!(show.picture()[0], "****** x");
}

#[test]
fn a_number_at_the_end_of_what_is_shown_of_a_label_is_covered() {
    let label = format!("{}123-45-6789", "x".repeat(109));
    let mut show = covering(&[(0.0, 'o', "."), (1.0, 'm', &label), (2.0, 'o', ".")]);
    show.deck.resize(300, 5);
    show.deck.press(Key::Next).unwrap();
    show.pass(0.0);
    assert!(show.deck.status().contains("x***"), "{}", show.deck.status());
    assert!(!show.deck.status().contains("123"), "{}", show.deck.status());
}

#[test]
fn a_host_that_makes_much_of_few_bytes_keeps_no_key_waiting() {
    let bomb = "a\x1b[65535b".repeat(2_000);
    let events = [(0.0, 'o', "begin"), (1.0, 'o', bomb.as_str()), (2.0, 'o', "\x1b[2J\x1b[Hend")];
    let mut deck = Deck::new(tape(1000, 300, &events), 80, 24, Pace::default(), 0.0).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..8 {
        deck.advance(LEAP).unwrap();
    }
    assert!(deck.ahead.is_some() && deck.into > 0, "in the midst of it");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let (into, last) = (deck.into, deck.last);
    deck.press(Key::Pause).unwrap();
    deck.advance(LEAP).unwrap();
    assert_eq!((deck.into, deck.last), (into, last));
    deck.press(Key::Step).unwrap();
    assert!(deck.into > into && deck.at == 1.0);
    deck.press(Key::Skip(-1.0)).unwrap();
    while matches!(deck.state, State::Seeking(..)) {
        deck.advance(Duration::ZERO).unwrap();
    }
    assert_eq!((deck.into, deck.terminal.screen().line(0).unwrap().text().trim_end()), (0, "begin"));
}

#[test]
fn what_is_typed_shows_only_to_who_may() {
    let events = [(0.0, 'i', "pass\r"), (0.1, 'm', "ssn 123-45-6789")];
    let mut show = covering(&events);
    (show.viewer, show.deck.view) = (sized(100, 5), View::new(100, 5, LastRow::Status));
    show.deck = show.deck.masked(Some(Arc::new(Mask::built_in())));
    show.pass(0.3);
    assert!(show.status().contains("bastion: ssn *********** | typed: (masked)"), "{}", show.status());
    let mut show = Show::sized((20, 4), (100, 5), &[], 0.0);
    show.deck = Deck::new(tape(20, 4, &events), 100, 5, Pace::default(), 0.0).unwrap().masked(None);
    show.pass(0.3);
    assert!(show.status().contains("bastion: ssn 123-45-6789 | typed: pass\\r"), "{}", show.status());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// However a number comes onto the screen, no frame shows it, and none shows more of one that is being typed than could be anything.
    #[test]
    fn no_frame_shows_what_is_masked(
        n in "[0-9]{3}-[0-9]{2}-[0-9]{4}",
        before in "[a-z ]{0,17}|[a-z]{20,50}",
        colours in prop::collection::vec(0..8u8, 11),
        cuts in prop::collection::vec(any::<bool>(), 11),
    ) {
        let mut chunks = vec![before.clone()];
        for ((c, colour), cut) in n.chars().zip(colours).zip(cuts) {
            let piece = if colour == 0 { c.to_string() } else { format!("\x1b[3{colour}m{c}") };
            match cut {
                true => chunks.push(piece),
                false => chunks.last_mut().unwrap().push_str(&piece),
            }
        }
        chunks.push(" after\r\n".into());
        let events: Vec<Event<'_>> = (0..).zip(&chunks).map(|(n, c)| (f64::from(n), 'o', c.as_str())).collect();
        let mut show = covering(&events);
        for _ in 0..2 * chunks.len() + 2 {
            show.pass(0.5);
            let seen: String = show.picture().concat();
            let typed = (5..=n.len()).map(|length| &n[..length]).filter(|part| seen.contains(*part)).count();
            prop_assert_eq!(typed, 0, "{:?} of {}", seen, n);
        }
        prop_assert!(show.picture().concat().contains("****"));
    }


    /// Wherever one jumps from, the picture is the one that is there.
    #[test]
    fn a_moment_looks_the_same_from_all_sides(
        chunks in prop::collection::vec("[a-zü世 ]{0,30}|\r\n|\x1b\\[[0-9]{1,2};[0-9]{1,2}H|\x1b\\[[0-9]{0,2}[JKABCDm]|\x1b\\[\\?1049[hl]", 1..30),
        jumps in prop::collection::vec(0.0..30.0f64, 1..6),
    ) {
        let events: Vec<Event<'_>> = (0..).zip(&chunks).map(|(n, c)| (f64::from(n), 'o', c.as_str())).collect();
        let mut wanderer = Show::new(&events, 0.0);
        wanderer.deck.moments.fed(1 << 20);
        wanderer.press(Key::Pause);
        for to in jumps {
            let to = to.min(wanderer.deck.index.total);
            let straight = Show::new(&events, to);
            wanderer.deck.moments.fed(1 << 20);
            wanderer.press(Key::Skip(to - wanderer.deck.at));
            prop_assert_eq!(wanderer.picture(), straight.picture());
            prop_assert!(wanderer.status().len() > 10, "the status line stays");
        }
    }
}
