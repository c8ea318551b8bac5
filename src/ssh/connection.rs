//! One connection that is carried and not spoken in: a forward in either direction, or one to the client's agent. What its recording tells:
//! where it went, who ended it, how many bytes it carried each way; its content where the rule keeps it; what was asked of a database.

use super::tap::{Keep, Kept, Way};
use crate::access::opening::Opening;
use crate::access::policy::{self, Statements};
use crate::broker::OpenSession;
use crate::recording::RecordError;
use crate::recording::frames::MAX_TOLD;
use crate::recording::statements::Telling;
use crate::recording::statements::postgres::Postgres;

/// What is kept of a connection beside its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Content {
    /// Every byte.
    pub(crate) bytes: bool,
    /// How statements to a database are told.
    pub(crate) telling: Telling,
}

impl Content {
    /// What the rule of a session says.
    pub(crate) fn of(open: &OpenSession) -> Self {
        let telling = match open.statements {
            Statements::Masked => Telling::Masked,
            Statements::Whole => Telling::Whole,
        };
        Self { bytes: open.keep == Some(policy::Keep::Bytes), telling }
    }

    /// The end of a sentence for whoever is inside, where more than usual is kept.
    pub(crate) fn words(self) -> &'static str {
        match (self.bytes, self.telling) {
            (true, Telling::Masked) => ", with all that forwards carry",
            (true, Telling::Whole) => ", with all that forwards carry and whole statements",
            (false, Telling::Masked) => "",
            (false, Telling::Whole) => ", with the whole statements that forwards carry to a database",
        }
    }
}

/// Whose bytes, and who ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Host,
}

/// One connection and its recording.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Of its recording.
    number: u32,
    way: Way,
    up: u64,
    down: u64,
    content: Content,
    /// How its streams began: from the client, from the host.
    starts: (Start, Start),
    statements: Option<Box<Postgres>>,
    /// Who said first that no more comes.
    ended_by: Option<End>,
}

impl Connection {
    /// Begins the recording of a connection that is about to be made.
    pub(crate) fn begin(
        keep: &mut dyn Keep,
        number: u32,
        (way, what): (Way, &Opening),
        told: &str,
        content: Content,
    ) -> Result<Self, RecordError> {
        let kind = what.kind().to_string();
        let target = kind.split_once(':').map(|(_, target)| target);
        keep.keep(Kept::Joined { channel: number, way, target })?;
        keep.keep(Kept::Told(number, told))?;
        let statements = (way == Way::Forward).then(|| Box::new(Postgres::new(content.telling)));
        Ok(Self { number, way, up: 0, down: 0, content, starts: Default::default(), statements, ended_by: None })
    }

    /// The number of its recording.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Which way it goes.
    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// The other side has accepted it.
    pub(crate) fn connected(&self, keep: &mut dyn Keep) -> Result<(), RecordError> {
        keep.keep(Kept::Told(self.number, "connected"))
    }

    /// The other side has not.
    pub(crate) fn unconnected(&self, keep: &mut dyn Keep, why: &str) -> Result<(), RecordError> {
        keep.keep(Kept::Told(self.number, &format!("not connected: {why}")))?;
        keep.keep(Kept::Ended(self.number))
    }

    /// Bytes that go on when this comes back: counted, kept and looked at. Tells whether this side's stream is now known to be SSH.
    pub(crate) fn carry(&mut self, keep: &mut dyn Keep, from: End, data: &[u8]) -> Result<bool, RecordError> {
        let n = data.len() as u64;
        match from {
            End::Client => self.up += n,
            End::Host => self.down += n,
        }
        keep.keep(match (self.content.bytes, from) {
            (true, End::Client) => Kept::In(self.number, data),
            (true, End::Host) => Kept::Out(self.number, data),
            (false, _) => Kept::Carried { channel: self.number, up: self.up, down: self.down },
        })?;
        self.look(keep, from, data)?;
        let start = match from {
            End::Client => &mut self.starts.0,
            End::Host => &mut self.starts.1,
        };
        tunnelled(keep, self.number, start, data)
    }

    fn look(&mut self, keep: &mut dyn Keep, from: End, data: &[u8]) -> Result<(), RecordError> {
        let Some(statements) = &mut self.statements else { return Ok(()) };
        match from {
            End::Client => statements.client(data),
            End::Host => statements.server(data),
        }
        let told = statements.told();
        if statements.is_over() {
            self.statements = None;
        }
        runs(told).iter().try_for_each(|run| keep.keep(Kept::Told(self.number, run)))
    }

    /// A side says that no more comes, or closes.
    pub(crate) fn ended_by(&mut self, end: End) {
        self.ended_by.get_or_insert(end);
    }

    /// Both sides have closed it.
    pub(crate) fn over(&self, keep: &mut dyn Keep) -> Result<(), RecordError> {
        let who = match self.ended_by {
            Some(End::Host) => "ended by the host's side",
            _ => "ended by the client's side",
        };
        keep.keep(Kept::Told(self.number, who))?;
        keep.keep(Kept::Ended(self.number))
    }

    /// It ends because its session does.
    pub(crate) fn cut(&self, keep: &mut dyn Keep) {
        // A recording that takes no more is known elsewhere.
        let _ = keep.keep(Kept::Told(self.number, "cut: its session has ended"));
        let _ = keep.keep(Kept::Ended(self.number));
    }
}

/// Lines below each other, as few as their size allows: a packet may hold ten thousands of statements.
fn runs(lines: Vec<String>) -> Vec<String> {
    let mut runs: Vec<String> = Vec::new();
    for line in lines {
        match runs.last_mut() {
            Some(run) if run.len() + line.len() + 2 <= MAX_TOLD => {
                run.push_str("\r\n");
                run.push_str(&line);
            }
            _ => runs.push(line),
        }
    }
    runs
}

/// Looks whether a stream begins as SSH does: then what it carries nobody can read, and that is told. Once for each stream.
pub(crate) fn tunnelled(keep: &mut dyn Keep, number: u32, start: &mut Start, data: &[u8]) -> Result<bool, RecordError> {
    let found = start.is_ssh(data);
    if found {
        keep.keep(Kept::Said(number, "SSH inside: this stream begins as SSH does, and what it carries is ciphertext"))?;
    }
    Ok(found)
}

/// The begin of one direction of a stream: as much as tells SSH from everything else.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    seen: usize,
}

impl Start {
    /// Whether with these bytes it is known that the stream began as SSH does. Told once.
    fn is_ssh(&mut self, bytes: &[u8]) -> bool {
        let Some(left) = SSH.get(self.seen..).filter(|left| !left.is_empty()) else { return false };
        let n = left.len().min(bytes.len());
        // What is something else stays something else.
        self.seen = if left.get(..n) == bytes.get(..n) { self.seen + n } else { SSH.len() + 1 };
        self.seen == SSH.len() && n > 0
    }
}

/// What every SSH stream begins with, RFC 4253 section 4.2.
const SSH: &[u8] = b"SSH-2.0-";

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers in short words what it was given.
    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Keep for Seen {
        fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
            self.0.push(match what {
                Kept::Told(_, line) => line.to_owned(),
                Kept::Carried { up, down, .. } => format!("{up} {down}"),
                Kept::In(_, bytes) => format!("in {}", bytes.len()),
                Kept::Out(_, bytes) => format!("out {}", bytes.len()),
                Kept::Joined { way, target, .. } => format!("{} {target:?}", way.as_str()),
                other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
            });
            Ok(())
        }
    }

    fn hello() -> Vec<u8> {
        [&26_u32.to_be_bytes()[..], &196_608_u32.to_be_bytes(), b"user\0a\0database\0", b"\0\0"].concat()[..26].to_vec()
    }

    #[test]
    fn counts_come_before_bytes_go_on() {
        let (mut seen, what) = (Seen::default(), Opening::forward_path("/x"));
        let mut connection = Connection::begin(&mut seen, 3, (Way::Forward, &what), "to /x", Content::default()).unwrap();
        connection.connected(&mut seen).unwrap();
        assert!(!connection.carry(&mut seen, End::Client, b"four").unwrap());
        assert!(connection.carry(&mut seen, End::Host, b"SSH-2.0-x").unwrap());
        connection.ended_by(End::Host);
        connection.ended_by(End::Client);
        connection.over(&mut seen).unwrap();
        let want = ["forward Some(\"/x\")", "to /x", "connected", "4 0", "4 9", "Said", "ended by the host's side", "Ended"];
        assert_eq!(seen.0, want);
    }

    #[test]
    fn where_the_rule_says_so_the_content_is_kept_and_statements_are_told() {
        let (mut seen, what) = (Seen::default(), Opening::forward_path("/x"));
        let content = Content { bytes: true, telling: Telling::Masked };
        let mut connection = Connection::begin(&mut seen, 1, (Way::Forward, &what), "to /x", content).unwrap();
        connection.carry(&mut seen, End::Client, &hello()).unwrap();
        connection.carry(&mut seen, End::Client, b"Q\0\0\0\x0eSELECT 17\0").unwrap();
        connection.carry(&mut seen, End::Host, b"Z\0\0\0\x05I").unwrap();
        connection.cut(&mut seen);
        assert_eq!(seen.0[2], "in 26");
        assert!(seen.0[3].starts_with("postgresql: a on "), "{:?}", seen.0);
        assert_eq!(seen.0[4..], ["in 15", "statement: SELECT ?", "out 6", "cut: its session has ended", "Ended"]);
    }

    #[test]
    fn the_statements_of_one_packet_are_told_together() {
        let (mut seen, what) = (Seen::default(), Opening::forward_path("/x"));
        let mut connection = Connection::begin(&mut seen, 1, (Way::Forward, &what), "to /x", Content::default()).unwrap();
        connection.carry(&mut seen, End::Client, &hello()).unwrap();
        seen.0.clear();
        let many = 256 * 1024 / 7;
        connection.carry(&mut seen, End::Client, &b"Q\0\0\0\x06x\0".repeat(many)).unwrap();
        assert!(seen.0.len() < 60 && seen.0.iter().all(|run| run.len() <= MAX_TOLD), "{}", seen.0.len());
        let lines: Vec<&str> = seen.0[1..].iter().flat_map(|run| run.split("\r\n")).collect();
        assert!(lines.len() == many && lines.iter().all(|line| *line == "statement: x"));
        seen.0.clear();
        connection.carry(&mut seen, End::Client, &b"X\0\0\0\x04".repeat(50_000)).unwrap();
        connection.carry(&mut seen, End::Client, &b"X\0\0\0\x04".repeat(50_000)).unwrap();
        assert_eq!(seen.0.iter().filter(|line| line.contains("goodbye")).count(), 1);
        assert_eq!(seen.0.len(), 3, "two counts and one line");
    }

    #[test]
    fn ssh_is_known_by_its_first_bytes_and_told_once() {
        let told = |pieces: &[&[u8]]| {
            let mut start = Start::default();
            pieces.iter().filter(|piece| start.is_ssh(piece)).count()
        };
        assert_eq!(told(&[b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-", b"x"]), 1);
        assert_eq!(told(&[b"S", b"", b"SH-2", b".0", b"-x", b"SSH-2.0-"]), 1);
        for other in [&[&b"SSH-1.99-x"[..], b"SSH-2.0-"][..], &[b"SSH-2.0"], &[b" SSH-2.0-x"], &[b"S", b"SSH-2.0-"], &[]] {
            assert_eq!(told(other), 0, "{other:?}");
        }
    }
}
