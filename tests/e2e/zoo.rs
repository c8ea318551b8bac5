//! What hosts send in real life, and what those send who mean ill: each is received by the client byte for byte, kept byte for byte,
//! verified, and drawn on replay without a byte that could drive the viewer's terminal. The stock players read all of it afterwards
//! (tests/players.py).

use std::fs;

use crate::world::{Bastion, Cast, Terminal};

const MIB: usize = 1 << 20;

struct Beast {
    name: &'static str,
    bytes: Vec<u8>,
    /// What a viewer of the replay must have seen.
    shown: &'static str,
}

fn beast(name: &'static str, bytes: impl Into<Vec<u8>>, shown: &'static str) -> Beast {
    Beast { name, bytes: bytes.into(), shown }
}

fn beasts() -> Vec<Beast> {
    let every_byte: Vec<u8> = (0..=255).cycle().take(1024).collect();
    let params = "1;".repeat(10_000);
    vec![
        beast("wide", "表示テスト 漢字かな 한국어 ｆｕｌｌ ".repeat(20) + "\r\nwide end\r\n", "漢字かな"),
        beast("emoji", "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☺️ 🫠\r\n".repeat(9) + "emoji end\r\n", "👍"),
        beast("combining", format!("e\u{301}a\u{308}\u{323} x{}\r\ncombining end\r\n", "\u{35f}".repeat(3000)), "combining end"),
        beast("latin-1", b"Gr\xfc\xdfe aus K\xf6ln, 5 \xa4\r\n".repeat(30), "aus K"),
        beast(
            "not quite UTF-8",
            b"\xef\xbb\xbfa\xc0\xafb\xed\xa0\x80c\xf8\x88\x80\x80\x80d\xf4\x90\x80\x80e\xe2\x82\r\n\xe2almost, and good enough to be read by a person\r\n\xf0\x9f\x98",
            "almost",
        ),
        beast("every byte", every_byte, ""),
        beast("line ends", "a\r\r\nb\nc\r\n\rd\n\r\u{85}e\u{2028}f\u{2029}g\u{b}h\u{c}\r\n\r\nline ends\n", "line ends"),
        beast("forged lines", FORGED, "forged"),
        beast("orders to the terminal", format!("{ORDERS}\x1b[{params}m\x1b[?1049h\x1bc\r\nobeyed\r\n\x1b]52;c;never ended"), "obeyed"),
    ]
}

/// As if the recording went on with lines of its own.
const FORGED: &str = "\"]\n[0.000001,\"o\",\"forged\"]\n{\"version\":2,\"width\":1,\"height\":1}\n[0.5,\"b\",\"AAAA\"]\n[1e99,\"o\",\"\\u0000\\ud800\"]\n\
                      \\\"]\\n[9,\\\"m\\\",\\\"x\\\"]\u{2028}[1,\"e\",\"\"]\r\n[-1,\"i\",\"yes\"]\r\n";

/// Clipboard, title, window size, answers, keys, colours, hyperlinks, pictures.
const ORDERS: &str = "\x1b]52;c;cm0gLXJmIC8K\x07\x1b]0;owned\x07\x1b]2;owned\x1b\\\x1b[8;5;5t\x1b[21t\x1b[6n\x1b[c\x1b[>c\x1bZ\x05\x1b[?1000h\x1b[?2004h\
                      \x1b]4;1;?\x07\x1b]10;?\x07\x1b]8;;file:///etc/passwd\x07link\x1b]8;;\x07\x1bPq#0;2;0;0;0~~@@vv\x1b\\\x1bP+q544e\x1b\\\x1b_G\x1b\\\x1b^\x1b\\\
                      \x1b[5i\x1b[4i\x1b#8\x1b[?5h\x1b[2J\x1b[3J\u{9b}31m\u{9d}0;c1\u{9c}";

#[test]
fn whatever_a_host_sends_is_kept_and_drawn() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db");
    let mut beasts = beasts();
    beasts.push(beast("one line of 10 MiB", vec![b'x'; 10 * MIB], "xxxxxxxxxx"));
    let mut all = Vec::new();
    for (n, Beast { name, bytes, .. }) in beasts.iter().enumerate() {
        let file = bastion.aside(&format!("beast-{n}"));
        fs::write(&file, bytes).expect("room for it");
        let got = ssh.run(&format!("cat {}", file.display())).expect(0);
        assert!(got.stdout == *bytes, "{name}: the client got {} of {} bytes, or others", got.stdout.len(), bytes.len());
        all.push(file.display().to_string());
    }
    // the same at a terminal, in one go
    let raw = |words: &str| ssh.clone().flag("-tt").run(&format!("stty raw -echo; {words}")).expect(0).stdout;
    let at_a_terminal = raw(&format!("cat {}", all.join(" ")));
    assert!(at_a_terminal == beasts.iter().flat_map(|b| b.bytes.clone()).collect::<Vec<u8>>(), "at a terminal");
    let copy = bastion.aside("urandom");
    let noise = raw(&format!("cat /dev/urandom | head -c 2M | tee {}", copy.display()));
    assert!(noise == fs::read(&copy).expect("the host's copy") && noise.len() == 2 * MIB, "cat /dev/urandom");

    bastion.settled();
    let sessions = bastion.sessions();
    let kept: Vec<Cast> = sessions.iter().map(|session| bastion.casts(session).remove(0)).collect();
    let wants = beasts.iter().map(|b| (b.name, &b.bytes, b.shown));
    let wants = wants.chain([("all at a terminal", &at_a_terminal, "漢字かな"), ("urandom", &noise, "")]);
    for ((name, bytes, shown), (cast, session)) in wants.zip(kept.iter().zip(&sessions)) {
        assert!(cast.out() == *bytes, "{name}: what was kept is not what was shown, {}", cast.file.display());
        let drawn = replay(&bastion, session);
        assert!(drawn.contains(shown), "{name}: {shown:?} on replay: {}", drawn.chars().take(3000).collect::<String>());
    }
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_character_that_comes_in_pieces() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let text = "grün €5 😀 é 終";
    let slowly: String = text.bytes().map(|byte| format!("printf '\\{byte:03o}'; sleep 0.02; ")).collect();
    for flag in ["-T", "-tt"] {
        assert_eq!(bastion.ssh().jump("phi-db").flag(flag).run(&slowly).expect(0).text(), text);
    }
    bastion.settled();
    for session in bastion.sessions() {
        let cast = bastion.casts(&session).remove(0);
        assert_eq!((cast.shown(), cast.out()), (text.into(), text.as_bytes().to_vec()), "players show it whole");
        assert!(replay(&bastion, &session).contains("grün €5 😀"));
    }
}

#[test]
fn programs_that_draw_and_a_window_that_never_rests() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let dir = bastion.aside("home");
    fs::create_dir(&dir).expect("a folder");
    let numbers: String = (1..=500).map(|n| format!("line {n} of the file\n")).collect();
    fs::write(dir.join("long"), numbers).expect("room");
    let open = |words: &str| {
        let words = format!("cd {}; export LC_ALL=C.UTF-8; {words}", dir.display());
        let mut command = bastion.ssh().jump("phi-db").flag("-tt").command(&[&words]);
        command.env("TERM", "xterm-256color");
        Terminal::start(command, 100, 30)
    };
    let mut seen = Vec::new();
    let mut end = |mut screen: Terminal| {
        screen.wait();
        seen.push(screen.bytes());
    };

    let mut vi = open("exec vi -u NONE -N new.txt");
    // Ctrl-O: ESC and what follows it could be taken for one key
    vi.until("new.txt").press("igrün 世界 👍 end").until("end").press("\u{f}:wq\r");
    end(vi);
    assert_eq!(fs::read_to_string(dir.join("new.txt")).expect("it was written"), "grün 世界 👍 end\n");
    let mut less = open("exec less -K long");
    less.until("line 29").press(" ").until("line 58").press("/line 471\r").until("line 471").press("q");
    end(less);
    let mut top = open("exec top -d 0.3 -n 3");
    top.until("load average");
    end(top);
    let mut tmux = open(&format!("exec tmux -u -S {}/socket -f /dev/null new-session 'PS1=% exec sh'", dir.display()));
    tmux.until("%").press("echo pa''ne-one\r").until("pane-one").press("\u{2}%").resize(90, 25);
    tmux.press("echo pa''ne-two\r").until("pane-two").press("tmux -S ./socket kill-server\r");
    end(tmux);
    let mut storm = open("seq 3000; until [ \"$(stty size)\" = '33 101' ]; do sleep 0.05; done; echo at rest");
    storm.until("3000");
    for n in 0..120u16 {
        storm.resize(1 + n * 37 % 211, 1 + n * 13 % 83);
    }
    storm.resize(3000, 1500).resize(1, 1).resize(101, 33).until("at rest");
    end(storm);

    bastion.settled();
    for (session, seen) in bastion.sessions().iter().zip(&seen) {
        let cast = bastion.casts(session).remove(0);
        let out = cast.out();
        // around it stand ssh's own words
        let begins = out.get(..64).unwrap_or(&out);
        let at = seen.windows(begins.len()).position(|w| w == begins).expect("the beginning of the recording was seen");
        assert!(seen[at..].starts_with(&out), "{}: what was kept is what the client got", cast.file.display());
        replay(&bastion, session);
    }
    let storm = bastion.casts(&bastion.sessions()[4]).remove(0);
    assert_eq!(storm.events.iter().rfind(|e| e.1 == "r").map(|e| e.2.as_str()), Some("101x33"));
    assert!(replay(&bastion, &bastion.sessions()[4]).contains("at rest"));
    bastion.local(&["verify"]).expect(0);
}

/// What carol sees. Of escape sequences only those that draw.
#[track_caller]
fn replay(bastion: &Bastion, session: &str) -> String {
    let seen = bastion.verb("carol", &format!("replay {session} --speed 100 --idle-limit 1 --because a test")).expect(0).text();
    assert!(!seen.contains(|c: char| c.is_control() && !"\r\n\u{1b}\u{8}\t".contains(c)), "{session}: a control character on replay");
    for order in seen.split('\u{1b}').skip(1) {
        let mut chars = order.chars();
        let bracket = chars.next();
        let last = chars.find(|c| ('@'..='~').contains(c));
        assert!(bracket == Some('[') && last.is_some_and(|c| "ABCDGHJKXdhlmr".contains(c)), "{session}: ESC {order:.40} on replay");
    }
    seen
}
