//! PostgreSQL's protocol 3 (its manual, chapter "Frontend/Backend Protocol"), as far as it tells what was asked: who and which database,
//! and each simple query and prepared statement. Encrypted connections are told as such.

use super::Telling;
use crate::access::names::escaped;

/// So much of a statement is looked at; the rest of it is counted.
const STATEMENT: usize = 8 * 1024;
/// No startup packet is longer.
const STARTUP: usize = 10_000;
/// PostgreSQL itself takes no longer message.
const MESSAGE: usize = 1 << 30;
/// A name of a user or a database is told no longer.
const NAME: usize = 63;

/// Versions and special codes in a startup packet.
const VERSION_3: u32 = 3;
/// Servers before PostgreSQL 14 speak it.
const VERSION_2: u32 = 2;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// A look at one connection.
#[derive(Debug)]
pub struct Postgres {
    telling: Telling,
    state: State,
    /// The client has said it, which is told once.
    goodbye: bool,
    told: Vec<String>,
}

#[derive(Debug)]
enum State {
    /// The client's first bytes, or the next ones after a refused encryption.
    Startup(Vec<u8>),
    /// The client has asked for encryption; the server's next byte answers.
    Asked(&'static str),
    /// A message's head so far.
    Head(Vec<u8>),
    /// A message's body.
    Body(Message),
    /// Nothing more is looked at.
    Over,
}

/// A message whose body passes.
#[derive(Debug)]
struct Message {
    kind: u8,
    /// Of a prepared statement: the name that it gets stands before it, and has not passed yet.
    named: bool,
    /// Of the statement.
    kept: Vec<u8>,
    /// Bytes that are missing.
    left: usize,
}

impl Postgres {
    /// Of a connection whose first byte is still to come.
    pub fn new(telling: Telling) -> Self {
        Self { telling, state: State::Startup(Vec::new()), goodbye: false, told: Vec::new() }
    }

    /// Lines that are to be told, the oldest first.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Whether nothing more will be told.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Bytes from the client, in any pieces.
    pub fn client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match std::mem::replace(&mut self.state, State::Over) {
                State::Startup(known) => self.startup(known, bytes),
                State::Head(known) => self.head(known, bytes),
                State::Body(message) => self.body(message, bytes),
                // Whoever goes on before the answer has come speaks another protocol.
                State::Asked(_) => self.lost(),
                State::Over => return,
            };
        }
    }

    /// Bytes from the server.
    pub fn server(&mut self, bytes: &[u8]) {
        let (State::Asked(what), Some(first)) = (&self.state, bytes.first()) else { return };
        let what = *what;
        match first {
            b'N' => self.state = State::Startup(Vec::new()),
            b'S' | b'G' => {
                self.told.push(format!("postgresql: encrypted by {what}, its statements are not seen"));
                self.state = State::Over;
            }
            _ => {
                self.lost();
            }
        }
    }

    fn startup<'b>(&mut self, mut known: Vec<u8>, bytes: &'b [u8]) -> &'b [u8] {
        let want = length(&known).unwrap_or(4).max(if known.len() < 4 { 4 } else { 8 });
        let rest = fill(&mut known, bytes, want);
        let Some(length) = length(&known) else {
            self.state = State::Startup(known);
            return rest;
        };
        // Said before the packet is whole: what is no startup packet is not waited for.
        if !(8..=STARTUP).contains(&length) || number(&known, 4).is_some_and(|code| !is_startup(code, length)) {
            // Another protocol: nothing is said about it, but of an older one of the same server.
            if (8..=STARTUP).contains(&length) && number(&known, 4).is_some_and(|code| code >> 16 == VERSION_2) {
                self.told.push("postgresql: its protocol 2, its statements are not seen".into());
            }
            self.state = State::Over;
            return &[];
        }
        if known.len() < length {
            self.state = State::Startup(known);
            return rest;
        }
        match number(&known, 4) {
            Some(TLS) => self.state = State::Asked("TLS"),
            Some(GSS) => self.state = State::Asked("GSS"),
            Some(CANCEL) => {
                self.told.push("postgresql: asks to cancel what runs".into());
                self.state = State::Over;
            }
            _ => {
                self.told.push(greeting(known.get(8..).unwrap_or_default()));
                self.state = State::Head(Vec::new());
            }
        }
        rest
    }

    fn head<'b>(&mut self, mut known: Vec<u8>, bytes: &'b [u8]) -> &'b [u8] {
        let rest = fill(&mut known, bytes, 5);
        let (Some(kind), Some(length)) = (known.first().copied(), number(&known, 1)) else {
            self.state = State::Head(known);
            return rest;
        };
        let length = length as usize;
        if !(4..=MESSAGE).contains(&length) || !kind.is_ascii_alphabetic() {
            return self.lost();
        }
        let message = Message { kind, named: kind == b'P', kept: Vec::new(), left: length - 4 };
        // A body may be empty, and then no byte of it comes.
        if message.left == 0 {
            return self.body(message, rest);
        }
        self.state = State::Body(message);
        rest
    }

    fn body<'b>(&mut self, mut message: Message, bytes: &'b [u8]) -> &'b [u8] {
        let (now, rest) = bytes.split_at_checked(message.left).unwrap_or((bytes, &[]));
        message.left -= now.len();
        if matches!(message.kind, b'Q' | b'P') {
            message.keep(now);
        }
        if message.left > 0 {
            self.state = State::Body(message);
            return rest;
        }
        self.state = State::Head(Vec::new());
        self.message(&message);
        rest
    }

    fn message(&mut self, message: &Message) {
        let what = match message.kind {
            b'Q' => "statement",
            b'P' => "prepare",
            // Looked at further: servers before PostgreSQL 14 go on when it comes within a COPY.
            b'X' if !std::mem::replace(&mut self.goodbye, true) => return self.told.push("postgresql: the client says goodbye".into()),
            _ => return,
        };
        let end = message.kept.iter().position(|byte| *byte == 0);
        let text = message.kept.get(..end.unwrap_or(message.kept.len())).unwrap_or_default();
        match (text.is_empty(), end) {
            (true, Some(_)) => {}
            (true, None) => self.told.push(format!("{what}: [not told]")),
            (false, end) => self.told.push(format!("{what}: {}", self.telling.line(text, end.is_some()))),
        }
    }

    fn lost(&mut self) -> &'static [u8] {
        self.told.push("postgresql: not understood from here on".into());
        self.state = State::Over;
        &[]
    }
}

impl Message {
    /// What passes of the body: of the statement as much as is looked at.
    fn keep(&mut self, mut now: &[u8]) {
        if self.named {
            let end = now.iter().position(|byte| *byte == 0);
            self.named = end.is_none();
            now = end.and_then(|end| now.get(end + 1..)).unwrap_or_default();
        }
        self.kept.extend_from_slice(now.get(..STATEMENT.saturating_sub(self.kept.len())).unwrap_or(now));
    }
}

fn is_startup(code: u32, length: usize) -> bool {
    match code {
        TLS | GSS => length == 8,
        CANCEL => (16..=STARTUP).contains(&length),
        version => version >> 16 == VERSION_3,
    }
}

/// `postgresql: alice on clinic`.
fn greeting(pairs: &[u8]) -> String {
    let mut texts = pairs.split(|byte| *byte == 0).map(|text| escaped(&String::from_utf8_lossy(text)));
    let (mut user, mut database) = (String::new(), None);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        let value: String = value.chars().take(NAME).collect();
        match name.as_str() {
            "user" => user = value,
            "database" => database = Some(value),
            _ => {}
        }
    }
    format!("postgresql: {user} on {}", database.unwrap_or_else(|| user.clone()))
}

/// Takes from `bytes` until `known` has `want` of them; returns what is left.
fn fill<'b>(known: &mut Vec<u8>, bytes: &'b [u8], want: usize) -> &'b [u8] {
    let (now, rest) = bytes.split_at_checked(want.saturating_sub(known.len())).unwrap_or((bytes, &[]));
    known.extend_from_slice(now);
    rest
}

fn length(packet: &[u8]) -> Option<usize> {
    number(packet, 0).map(|n| n as usize)
}

fn number(bytes: &[u8], from: usize) -> Option<u32> {
    bytes.get(from..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        [&(8 + rest.len() as u32).to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(4 + body.len() as u32).to_be_bytes(), body].concat()
    }

    fn hello() -> Vec<u8> {
        packet(196_608, b"user\0alice\0database\0clinic\0\0")
    }

    fn told(telling: Telling, pieces: &[&[u8]]) -> Vec<String> {
        let mut look = Postgres::new(telling);
        pieces.iter().for_each(|piece| look.client(piece));
        look.told()
    }

    #[test]
    fn statements_are_told_and_nothing_else() {
        let all = [
            hello(),
            message(b'p', b"secret\0"),
            message(b'Q', b"SELECT name FROM patients WHERE mrn = 'A 17'\0"),
            message(b'P', b"s1\0UPDATE t SET x = $1 WHERE y = 3\0\0\0"),
            message(b'B', b"\0s1\0\0\0\0\x01\0\0\0\x04John\0\0"),
            message(b'S', b""),
            message(b'Q', b"\0"),
            message(b'X', b""),
        ]
        .concat();
        let want = [
            "postgresql: alice on clinic",
            "statement: SELECT name FROM patients WHERE mrn = ?",
            "prepare: UPDATE t SET x = $1 WHERE y = ?",
            "postgresql: the client says goodbye",
        ];
        assert_eq!(told(Telling::Masked, &[&all]), want);
        for size in [1, 3, 7] {
            assert_eq!(told(Telling::Masked, &all.chunks(size).collect::<Vec<_>>()), want, "in pieces of {size}");
        }
        assert_eq!(told(Telling::Whole, &[&all])[1], "statement: SELECT name FROM patients WHERE mrn = 'A 17'");
    }

    #[test]
    fn encryption_is_asked_for_and_answered() {
        for (code, answer, after) in [
            (TLS, b'S', "postgresql: encrypted by TLS, its statements are not seen"),
            (GSS, b'G', "postgresql: encrypted by GSS, its statements are not seen"),
            (TLS, b'E', "postgresql: not understood from here on"),
        ] {
            let mut look = Postgres::new(Telling::Masked);
            look.client(&packet(code, b""));
            look.server(&[answer]);
            look.client(b"\x16\x03\x01\0\0");
            assert_eq!((look.told(), look.is_over()), (vec![after.to_owned()], true));
        }
        let mut look = Postgres::new(Telling::Masked);
        for code in [GSS, TLS] {
            look.client(&packet(code, b""));
            look.server(b"N");
        }
        look.client(&hello());
        look.server(b"R\0\0\0\x08\0\0\0\0");
        assert_eq!(look.told(), ["postgresql: alice on clinic"]);
        let mut eager = Postgres::new(Telling::Masked);
        eager.client(&[packet(TLS, b""), hello()].concat());
        assert_eq!(eager.told(), ["postgresql: not understood from here on"]);
    }

    #[test]
    fn other_protocols_are_left_alone() {
        for other in
            [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\0\x01\0", &packet(7, b""), &packet(196_608, &[0; 20_000])]
        {
            let mut look = Postgres::new(Telling::Masked);
            other.chunks(2).for_each(|piece| look.client(piece));
            assert!(look.told().is_empty() && look.is_over(), "{other:?}");
        }
        assert_eq!(told(Telling::Masked, &[&hello(), &[0; 9]]).len(), 2);
    }

    #[test]
    fn the_protocol_before_is_named() {
        for code in [0x2_0000, 0x2_0007] {
            let mut look = Postgres::new(Telling::Masked);
            packet(code, &[0; 288]).chunks(3).for_each(|piece| look.client(piece));
            assert_eq!((look.told(), look.is_over()), (vec!["postgresql: its protocol 2, its statements are not seen".to_owned()], true));
        }
    }

    #[test]
    fn goodbye_is_told_once_and_what_comes_after_it_too() {
        let copy = message(b'Q', b"COPY t FROM STDIN\0");
        let all = [hello(), copy, message(b'X', b"").repeat(50_000), message(b'Q', b"DELETE FROM t\0")].concat();
        assert_eq!(
            told(Telling::Masked, &[&all])[1..],
            ["statement: COPY t FROM STDIN", "postgresql: the client says goodbye", "statement: DELETE FROM t"]
        );
    }

    #[test]
    fn a_statement_is_told_whatever_its_name() {
        let name = "n".repeat(9000);
        for (body, line) in [
            (format!("{name}\0DELETE FROM t WHERE x = 7\0\0\0"), Some("prepare: DELETE FROM t WHERE x = ?")),
            ("s\0DELETE FROM t".into(), Some("prepare: DELETE FROM t [shortened]")),
            (name, Some("prepare: [not told]")),
            ("s\0".into(), Some("prepare: [not told]")),
            (String::new(), Some("prepare: [not told]")),
            ("s\0\0\0\0".into(), None),
        ] {
            let all = [hello(), message(b'P', body.as_bytes())].concat();
            for size in [1000, 7000, 90_000] {
                let lines = told(Telling::Masked, &all.chunks(size).collect::<Vec<_>>());
                assert_eq!(lines.get(1).map(String::as_str), line, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_long_statement_is_shortened_and_the_next_one_found() {
        let long = format!("SELECT a{}\0", "b".repeat(100_000));
        let lines = told(Telling::Masked, &[&hello(), &message(b'Q', long.as_bytes()), &message(b'Q', b"SELECT now()\0")]);
        assert!(lines[1].len() < STATEMENT + 100 && lines[1].ends_with(" [shortened]"), "{}", lines[1].len());
        assert_eq!(lines[2], "statement: SELECT now()");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..300), real: bool, size in 1usize..20) {
            let bytes = if real { [hello(), bytes].concat() } else { bytes };
            let whole = told(Telling::Masked, &[&bytes]);
            prop_assert_eq!(told(Telling::Masked, &bytes.chunks(size).collect::<Vec<_>>()), whole);
        }
    }
}
