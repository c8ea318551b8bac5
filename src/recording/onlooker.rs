//! Looks over somebody's shoulder: a session that goes on, from its journal, as its screen is now.
//!
//! It reads what was kept and asks nothing of the session, which knows nothing of it. A viewer who takes long gets the newest picture and
//! misses those between. Each call does a bounded piece of work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use avt::Terminal;

use super::cast::{CastEvent, CastHeader, screen};
use super::covering::Eyes;
use super::exact::{Stream, Teller};
use super::frames::Body;
use super::journal::{JournalReader, Next};
use super::screen::{LastRow, View, virtual_terminal};
use super::steering::{Key, clock};
use super::work::{Allowance, Turn};
use super::{ChannelKind, RecordError, SessionMeta};
use crate::access::mask::Mask;

/// So many bytes of the journal are looked at in one call, or less where they mean much work.
const PIECE: u64 = 1 << 20;
/// What a frame counts beside its bytes.
const FRAME: u64 = 64;
/// Units of work (see [`super::work`]) that count as much as a byte.
const UNITS: u64 = 8;
/// Output that means more work than this at once, some 0.1 s, is not shown..
const BURST: u64 = 8 << 20;
/// ..until other bytes have brought some of it back, so much each, or the end was reached.
const PER_BYTE: u64 = 32;

/// A channel that is open in a session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChannel {
    /// Its number.
    pub number: u32,
    /// What it is.
    pub kind: ChannelKind,
    /// Somebody sits at a terminal there.
    pub terminal: bool,
}

/// The channels that are open by what the journal says now, in order. An error if it is gone: then the session is over.
pub fn open_channels(journal: &Path) -> Result<Vec<OpenChannel>, RecordError> {
    let mut reader = JournalReader::open(journal)?;
    let mut open = BTreeMap::new();
    loop {
        match reader.next_frame()? {
            Next::Frame(_, frame) => match frame.body {
                Body::Open(meta) => {
                    let channel = OpenChannel { number: frame.channel, kind: meta.kind, terminal: meta.terminal.is_some() };
                    open.insert(frame.channel, channel);
                }
                Body::Close => _ = open.remove(&frame.channel),
                Body::End(_) => open.clear(),
                _ => {}
            },
            Next::Dry(_) => return Ok(open.into_values().collect()),
            Next::Torn(why) => return Err(RecordError::bad(journal, why)),
        }
    }
}

/// Why there is nothing more to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// The channel was closed.
    Channel,
    /// The session ended, so.
    Session(String),
}

/// One channel of a session, as it is now.
pub struct Onlooker {
    reader: JournalReader,
    number: u32,
    scene: Scene,
    /// Everything that was there has been seen once.
    there: bool,
}

/// What was seen of the channel.
struct Scene {
    session: SessionMeta,
    title: String,
    teller: Teller,
    lines: Vec<u8>,
    terminal: Terminal,
    eyes: Eyes,
    changed: BTreeSet<usize>,
    view: View,
    help: bool,
    typed: bool,
    /// The newest size, until something is shown in it.
    size: Option<CastEvent>,
    allowance: Allowance,
    /// Not all output was shown.
    skipped: bool,
    saying: String,
    at: u64,
    over: Option<Over>,
}

impl Onlooker {
    /// Looks at channel `number` on a viewer's terminal of this size. `title` says whose it is; `mask` is covered.
    pub fn new(journal: &Path, number: u32, cols: u32, rows: u32, mask: Option<Arc<Mask>>, title: String) -> Result<Self, RecordError> {
        let reader = JournalReader::open(journal)?;
        let session = reader.meta().clone();
        let mut view = View::new(cols, rows, LastRow::Status);
        view.masked(mask);
        let header =
            CastHeader::new(&session, number, &super::ChannelMeta { kind: ChannelKind::Shell, command: None, terminal: None }, None, 0);
        let scene = Scene {
            session,
            title,
            teller: Teller::new(super::cast::Newline::Raw),
            lines: Vec::new(),
            terminal: virtual_terminal(&header),
            eyes: Eyes::default(),
            changed: BTreeSet::new(),
            view,
            help: false,
            typed: false,
            size: None,
            allowance: Allowance::new(BURST),
            skipped: false,
            saying: String::new(),
            at: 0,
            over: None,
        };
        Ok(Self { reader, number, scene, there: false })
    }

    /// Sees what is new, or a piece of it. Whether there is more already.
    pub fn look(&mut self) -> Result<bool, RecordError> {
        let mut seen = 0;
        while seen < PIECE {
            match self.reader.next_frame()? {
                Next::Frame(_, frame) => {
                    seen += FRAME;
                    self.scene.at = self.scene.at.max(frame.at);
                    if let Body::End(ending) = frame.body {
                        self.scene.over = Some(Over::Session(ending.to_owned()));
                    } else if frame.channel == self.number {
                        seen += self.scene.frame(frame.at, &frame.body, self.number)?;
                    }
                }
                Next::Dry(_) => {
                    self.there = true;
                    self.scene.fit();
                    self.scene.allowance.caught_up();
                    return Ok(false);
                }
                Next::Torn(why) => return Err(RecordError::bad(self.reader.path(), why)),
            }
        }
        Ok(true)
    }

    /// What is to be written to the viewer's terminal, so that it shows what was seen. `since` is how long the session has lasted, in
    /// seconds.
    pub fn draw(&mut self, since: f64) -> Vec<u8> {
        let scene = &mut self.scene;
        let mut out = Vec::new();
        if self.there {
            let changed = std::mem::take(&mut scene.changed);
            out = scene.view.draw(&scene.terminal, &changed, scene.eyes.above(&scene.terminal));
        }
        let status = scene.status(since, self.there);
        out.extend(scene.view.status(&scene.terminal, &status));
        out
    }

    /// Why there is nothing more to see, if so.
    pub fn over(&self) -> Option<&Over> {
        self.scene.over.as_ref()
    }

    /// The viewer's terminal has a new size.
    pub fn resize(&mut self, cols: u32, rows: u32) {
        self.scene.view.resize(cols, rows);
    }

    /// What a viewer does: only how it is seen can be changed.
    pub fn press(&mut self, key: Key) {
        match key {
            Key::Pan(down, right) => self.scene.view.pan(down, right),
            Key::Follow => self.scene.view.follow(),
            Key::Help => self.scene.help = !self.scene.help,
            _ => {}
        }
    }
}

impl Scene {
    /// Sees a frame of the channel; what that counts.
    fn frame(&mut self, at: u64, body: &Body<'_>, number: u32) -> Result<u64, RecordError> {
        let lines = &mut self.lines;
        let seen = match *body {
            Body::Open(ref meta) => {
                let header = CastHeader::new(&self.session, number, meta, None, at);
                self.teller = Teller::new(header.x_jit.as_ref().map_or(super::cast::Newline::Raw, |x| x.newline));
                self.terminal = virtual_terminal(&header);
                (self.eyes, self.over, self.size, self.skipped) = (Eyes::default(), None, None, false);
                self.view.refresh();
                0
            }
            Body::Out(bytes) => {
                self.teller.tell(lines, at, Stream::Out, bytes);
                bytes.len()
            }
            Body::Err(bytes) => {
                self.teller.tell(lines, at, Stream::Err, bytes);
                bytes.len()
            }
            Body::In(bytes) => {
                self.typed = true;
                bytes.len()
            }
            Body::Resize { cols, rows } => {
                let (cols, rows) = screen(cols, rows);
                self.teller.other(lines, at, 'r', &format!("{cols}x{rows}"));
                0
            }
            Body::Marker(text) => {
                self.saying = format!("bastion: {text}");
                0
            }
            Body::File(act) => {
                self.teller.file(lines, at, act);
                act.len()
            }
            Body::Told(line) => {
                self.teller.remark(lines, at, &format!("{line}\r\n"));
                0
            }
            Body::Close => {
                self.over = Some(Over::Channel);
                0
            }
            Body::Count { .. } | Body::Digested(_) | Body::End(_) => 0,
        };
        self.allowance.comes_back(seen as u64 * PER_BYTE);
        Ok(seen as u64 + self.see()? / UNITS)
    }

    /// Shows the virtual terminal what was told; the work that it was.
    fn see(&mut self) -> Result<u64, RecordError> {
        let (lines, mut work) = (std::mem::take(&mut self.lines), 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let event = CastEvent::parse(line).map_err(|error| RecordError::Act(error.to_string()))?;
            match (event.parts().0, self.allowance.turn()) {
                // Who pulls at the corner of a window makes thousands.
                ('r', _) => self.size = Some(event),
                (_, Turn::Skip) => self.skipped = true,
                (_, turn) => work += self.show(&event, turn),
            }
        }
        self.lines = lines;
        self.lines.clear();
        Ok(work)
    }

    fn show(&mut self, event: &CastEvent, turn: Turn) -> u64 {
        if turn == Turn::Resume {
            // What was left out may have ended in the middle of a sequence.
            self.changed.extend(self.eyes.text(&mut self.terminal, "\x18"));
        }
        let fitted = self.fit();
        let sight = self.eyes.see(&mut self.terminal, event, 0, self.allowance.left());
        self.changed.extend(sight.rows);
        self.skipped |= sight.rest.is_some();
        self.allowance.spend(sight.work);
        fitted + sight.work
    }

    /// Gives the virtual terminal its newest size; the work that it was.
    fn fit(&mut self) -> u64 {
        let Some(size) = self.size.take() else { return 0 };
        let sight = self.eyes.see(&mut self.terminal, &size, 0, u64::MAX);
        self.changed.extend(sight.rows);
        self.allowance.spend(sight.work);
        sight.work
    }

    fn status(&self, since: f64, there: bool) -> String {
        if self.help {
            return " hjkl other parts of the picture  c where the cursor is  q quit".into();
        }
        let mut out = format!(" {} {} {}", if there { "watching" } else { "catching up with" }, self.title, clock(since));
        let typed = if self.typed { "typed: (kept, not shown)" } else { "" };
        let cropped = self.view.cropped().unwrap_or_default();
        let skipped = if self.skipped { "some output went by too fast to be shown" } else { "" };
        for part in [&self.view.covered_text(&self.saying), skipped, cropped.as_str(), typed, "q quit"] {
            if !part.is_empty() {
                out.push_str(" | ");
                out.push_str(part);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{ChannelMeta, Frame, Journal, Level, TerminalMeta, sample};

    fn shell(cols: u32, rows: u32) -> Body<'static> {
        let terminal = Some(TerminalMeta { term: "xterm".into(), cols, rows });
        Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal })
    }

    fn exec() -> Body<'static> {
        Body::Open(ChannelMeta { kind: ChannelKind::Exec, command: Some(b"ls".to_vec()), terminal: None })
    }

    fn journal(dir: &tempfile::TempDir) -> Journal {
        Journal::create(dir.path(), &sample::meta(), Level::Process).unwrap()
    }

    fn frame(channel: u32, body: Body<'_>) -> Frame<'_> {
        Frame { channel, at: 0, body }
    }

    struct Watch {
        onlooker: Onlooker,
        viewer: Terminal,
    }

    impl Watch {
        fn new(journal: &Journal, number: u32, mask: Option<Arc<Mask>>) -> Self {
            let onlooker = Onlooker::new(journal.path(), number, 40, 5, mask, "alice".into()).unwrap();
            Self { onlooker, viewer: super::super::screen::sized(40, 5) }
        }

        fn rows(&mut self) -> Vec<String> {
            while self.onlooker.look().unwrap() {}
            self.viewer.feed(std::str::from_utf8(&self.onlooker.draw(65.0)).unwrap());
            self.viewer.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect()
        }
    }

    #[test]
    fn the_screen_is_seen_as_it_is_now_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        assert_eq!(open_channels(journal.path()).unwrap(), []);
        let flood = "line\r\n".repeat(200_000);
        journal.keep(&[frame(1, exec()), frame(2, shell(20, 4)), frame(2, Body::Out(&flood.as_bytes()[..1_000_000]))]).unwrap();
        journal.keep(&[frame(2, Body::Out(b"\x1b[2J\x1b[Hssn 123-45-6789\r\n\xe4\xb8")), frame(1, Body::Out(b"not here"))]).unwrap();
        let shell = OpenChannel { number: 2, kind: ChannelKind::Shell, terminal: true };
        assert_eq!(open_channels(journal.path()).unwrap()[1], shell);
        let mut watch = Watch::new(&journal, 2, Some(Arc::new(Mask::built_in())));
        assert_eq!(watch.rows(), ["ssn ***********", "", "", "", " watching alice 1:05 | q quit"]);
        journal.keep(&[frame(2, Body::Out(b"\x96\x1b]0;t\x07")), frame(2, Body::In(b"secret")), frame(1, Body::Close)]).unwrap();
        assert_eq!(watch.rows()[1..], ["\u{4e16}", "", "", " watching alice 1:05 | typed: (kept, no"]);
        journal.keep(&[frame(2, Body::Resize { cols: 60, rows: 9 }), frame(2, Body::Close)]).unwrap();
        assert!(watch.rows()[4].contains("columns 1-40"), "{:?}", watch.rows());
        assert_eq!(watch.onlooker.over(), Some(&Over::Channel));
        journal.finish("time-up", 9).unwrap();
        watch.rows();
        assert_eq!(watch.onlooker.over(), Some(&Over::Session("time-up".into())));
        assert_eq!(open_channels(journal.path()).unwrap(), []);
    }

    #[test]
    fn what_a_viewer_gets_only_draws() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let evil = b"\x1b]52;c;YQ==\x07\x1b[6n\x1b[c\x1bP$q q\x1b\\\x07a";
        journal.keep(&[frame(1, shell(40, 4)), frame(1, Body::Out(evil)), frame(1, Body::Marker("\x1b]0;x\x07"))]).unwrap();
        let mut watch = Watch::new(&journal, 1, None);
        while watch.onlooker.look().unwrap() {}
        let drawn = String::from_utf8(watch.onlooker.draw(0.0)).unwrap();
        assert!(drawn.split('\x1b').skip(1).all(|s| s.starts_with('[')) && !drawn.contains('\x07'), "{drawn:?}");
    }

    #[test]
    fn a_little_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        journal.keep(&[frame(1, shell(40, 4))]).unwrap();
        for _ in 0..5 {
            journal.keep(&[frame(1, Body::Out(&[b'x'; 900_000]))]).unwrap();
        }
        let mut watch = Watch::new(&journal, 1, None);
        assert!(watch.onlooker.look().unwrap(), "a key is answered before all of it was seen");
        assert!(watch.onlooker.draw(0.0).len() < 200, "and nothing is drawn before");
        while watch.onlooker.look().unwrap() {}
        assert!(watch.rows()[0].starts_with("xxxx"));
    }

    #[test]
    fn a_host_that_makes_much_of_few_bytes_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        journal.keep(&[frame(1, shell(1000, 300))]).unwrap();
        for _ in 0..16 {
            journal.keep(&[frame(1, Body::Out("a\x1b[65535b".repeat(7_000).as_bytes()))]).unwrap();
        }
        for n in 0..2_000 {
            journal.keep(&[frame(1, Body::Resize { cols: 999 + n % 2, rows: 300 })]).unwrap();
        }
        let mut watch = Watch::new(&journal, 1, None);
        let begun = std::time::Instant::now();
        watch.onlooker.look().unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "one look took {:?}", begun.elapsed());
        watch.rows();
        let behind = begun.elapsed();
        assert!(behind < std::time::Duration::from_secs(60), "the end was reached after {behind:?}");
        assert!(watch.onlooker.scene.status(1.0, true).contains("some output went by too fast to be shown"));
        // What comes then is seen, in the newest size.
        journal.keep(&[frame(1, Body::Resize { cols: 40, rows: 4 }), frame(1, Body::Out(b"\x1b[2J\x1b[Hhere again"))]).unwrap();
        assert_eq!(watch.rows()[0], "here again");
    }
}
