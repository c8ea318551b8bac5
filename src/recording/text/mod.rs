//! The text of a session as it stood on its screens, gathered while it runs, for search.
//!
//! It lies beside the journal, in `SESSION.text`, until the store has it: one JSON array a line, `[channel, microseconds, "text"]`, and
//! `"end"`. Whoever opens the journal makes the file, empty, where the text may be kept; where there is none, none is gathered. It is
//! never evidence: what cannot be gathered is left out and the recording goes on.

mod fold;
mod screen;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::cast::{CastEvent, CastHeader, Newline};
use super::files::FileAct;
use super::frames::{Body, Frame};
use super::{ChannelKind, ChannelMeta, RecordError};

pub use fold::{LONGEST, Needle, SHORTEST, folded, grams, some_grams};
pub use screen::{GAP, MAX_LINE, ScreenText, SeenLine};

/// So many channels of a session are looked at at one time.
const MOST_OPEN: usize = 32;
/// No session keeps more text.
const MOST: u64 = 64 << 20;
/// A line of the file: its text escaped, and the numbers.
const LONGEST_LINE: usize = 6 * (MAX_LINE + 8) + 64;
const END: &str = "\"end\"";

/// Where the text of the session whose journal this is lies.
pub fn beside(journal: &Path) -> PathBuf {
    journal.with_extension("text")
}

/// Says that the text of this journal's session may be kept. Before its recorder starts.
pub fn prepare(journal: &Path) -> Result<(), RecordError> {
    let path = beside(journal);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map(drop).map_err(RecordError::io("make", &path))
}

/// A session's text while it is gathered.
pub(super) struct Texts {
    out: BufWriter<File>,
    path: PathBuf,
    open: BTreeMap<u32, Open>,
    bytes: u64,
    failed: bool,
}

struct Open {
    screen: ScreenText,
    began: u64,
    /// What it carries is no text.
    raw: bool,
}

impl Texts {
    /// Begins anew, if the text of this journal's session may be kept.
    pub(super) fn begin(journal: &Path) -> Option<Self> {
        let path = beside(journal);
        match OpenOptions::new().write(true).truncate(true).open(&path) {
            Ok(file) => {
                let out = BufWriter::with_capacity(16 * 1024, file);
                Some(Self { out, path, open: BTreeMap::new(), bytes: 0, failed: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the text of a session cannot be kept for search");
                None
            }
        }
    }

    /// One thing that happened.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        if self.failed {
            return;
        }
        let mut told = Vec::new();
        // A virtual terminal that fails on what a host sent must not end the session.
        let seen = catch_unwind(AssertUnwindSafe(|| self.see(frame, &mut told)));
        match seen {
            Ok(()) => self.write(frame.channel, &told),
            Err(_) => self.fail(&"the virtual terminal failed"),
        }
    }

    fn see(&mut self, Frame { channel, at, body }: &Frame<'_>, told: &mut Vec<SeenLine>) {
        if let Body::Open(meta) = body {
            if self.open.len() < MOST_OPEN {
                let mut opened = Open::new(meta, *at);
                if let Some(command) = &meta.command {
                    opened.screen.remark(0, &String::from_utf8_lossy(command), told);
                }
                self.open.insert(*channel, opened);
            } else {
                told.push(SeenLine { at: 0, text: GAP.to_owned() });
            }
            return;
        }
        let Some(Open { screen, began, raw }) = self.open.get_mut(channel) else { return };
        let at = at.saturating_sub(*began);
        match body {
            Body::Out(bytes) | Body::Err(bytes) if !*raw => screen.output(at, bytes, told),
            Body::Resize { cols, rows } => screen.resize(at, *cols, *rows, told),
            Body::File(act) => {
                if let Ok(act) = serde_json::from_str::<FileAct>(act) {
                    screen.remark(at, &act.line(), told);
                }
            }
            Body::Close => {
                screen.finish(told);
                self.open.remove(channel);
            }
            _ => {}
        }
    }

    /// Nothing more for now.
    pub(super) fn rest(&mut self) {
        if !self.failed
            && let Err(error) = self.out.flush()
        {
            self.fail(&error);
        }
    }

    /// The session is over: the last screens, and the end.
    pub(super) fn end(mut self) {
        for (channel, mut open) in std::mem::take(&mut self.open) {
            let mut told = Vec::new();
            match catch_unwind(AssertUnwindSafe(|| open.screen.finish(&mut told))) {
                Ok(()) => self.write(channel, &told),
                Err(_) => self.fail(&"the virtual terminal failed"),
            }
        }
        if !self.failed
            && let Err(error) = writeln!(self.out, "{END}").and_then(|()| self.out.flush())
        {
            self.fail(&error);
        }
    }

    fn write(&mut self, channel: u32, told: &[SeenLine]) {
        for SeenLine { at, text } in told {
            if self.bytes > MOST {
                return;
            }
            self.bytes += text.len() as u64;
            let text = if self.bytes > MOST { GAP } else { text };
            let line = serde_json::json!([channel, at, text]);
            if let Err(error) = writeln!(self.out, "{line}") {
                return self.fail(&error);
            }
        }
    }

    fn fail(&mut self, why: &dyn std::fmt::Display) {
        tracing::error!(path = %self.path.display(), %why, "the text of a session is no longer kept for search");
        self.failed = true;
        self.open.clear();
    }
}

impl Open {
    fn new(meta: &ChannelMeta, began: u64) -> Self {
        let (cols, rows) = meta.terminal.as_ref().map_or((0, 0), |terminal| (terminal.cols, terminal.rows));
        let newline = if meta.terminal.is_some() { Newline::Raw } else { Newline::CrLf };
        Self { screen: ScreenText::new(cols, rows, newline), began, raw: !shows_text(meta.kind) }
    }
}

/// What a file transfer or a connection carries was never on a screen.
fn shows_text(kind: ChannelKind) -> bool {
    matches!(kind, ChannelKind::Shell | ChannelKind::Exec)
}

/// A line of a session's text, and in which channel it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLine {
    /// The channel's number.
    pub channel: u32,
    /// What and when.
    pub line: SeenLine,
}

/// Reads what was gathered, line by line. It ends early where the file does: a crash may have torn it.
#[derive(Debug)]
pub struct TextReader<R>(R);

impl TextReader<BufReader<File>> {
    /// Opens the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }
}

impl<R: BufRead> TextReader<R> {
    /// Of an open file.
    pub fn new(input: R) -> Self {
        Self(input)
    }

    /// The next line; none at the end, or where the rest is torn.
    pub fn next_line(&mut self) -> io::Result<Option<ChannelLine>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        let read: Option<(u32, u64, String)> = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        let fits = read.filter(|(_, _, text)| text.len() <= MAX_LINE + 8);
        Ok(fits.map(|(channel, at, text)| ChannelLine { channel, line: SeenLine { at, text } }))
    }
}

/// The text of one recording, from its file: for recordings whose text was not gathered while they ran.
pub fn of_recording(
    header: &CastHeader,
    events: impl Iterator<Item = Result<CastEvent, RecordError>>,
    mut each: impl FnMut(SeenLine),
) -> Result<(), RecordError> {
    let newline = header.x_jit.as_ref().map_or(Newline::Raw, |x| x.newline);
    // What the file tells has its line ends as a screen wants them.
    let mut screen = ScreenText::new(header.base.width, header.base.height, Newline::Raw);
    let raw = header.x_jit.as_ref().is_some_and(|x| ![ChannelKind::Shell, ChannelKind::Exec].iter().any(|kind| kind.as_str() == x.kind));
    let (mut told, mut ours) = (Vec::new(), false);
    if let (Newline::CrLf, Some(command)) = (newline, header.x_jit.as_ref().and_then(|x| x.command.as_ref())) {
        screen.remark(0, command, &mut told);
    }
    for event in events {
        let event = event?;
        let at = (event.time() * 1_000_000.0).round() as u64;
        match event.parts() {
            // The bastion's own words follow.
            ('j', _) => {
                ours = true;
                continue;
            }
            ('o', text) if ours || !raw => screen.output(at, text.as_bytes(), &mut told),
            ('r', size) => {
                if let Some((cols, rows)) = size.split_once('x').and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?))) {
                    screen.resize(at, cols, rows, &mut told);
                }
            }
            _ => {}
        }
        ours = false;
        told.drain(..).for_each(&mut each);
    }
    screen.finish(&mut told);
    told.drain(..).for_each(&mut each);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::sample::{self, TestSigner};
    use crate::recording::{Journal, Level, ManifestSigner, Recorder, TerminalMeta, recover, replay};

    fn play(journal: &mut Journal) {
        let terminal = Some(TerminalMeta { term: "xterm".into(), cols: 80, rows: 24 });
        let shell = ChannelMeta { kind: ChannelKind::Shell, command: None, terminal };
        let exec = ChannelMeta { kind: ChannelKind::Exec, command: Some(b"cat notes".to_vec()), terminal: None };
        let sftp = ChannelMeta { kind: ChannelKind::Sftp, command: None, terminal: None };
        let mut keep = |channel, at, body| journal.keep(&[Frame { channel, at, body }]).map(drop).unwrap();
        keep(1, 1_000_000, Body::Open(shell));
        keep(1, 1_500_000, Body::Out(b"$ psql\r\n"));
        keep(1, 3_500_000, Body::Out(b"\x1b[?1049h\x1b[Hpatient Meier\x1b[?1049l"));
        keep(1, 3_600_000, Body::In(b"a secret that was typed\r"));
        keep(2, 4_000_000, Body::Open(exec));
        keep(2, 4_100_000, Body::Out(b"first note\nsecond "));
        keep(2, 4_200_000, Body::Err(b"note\n"));
        keep(2, 4_300_000, Body::Close);
        keep(3, 5_000_000, Body::Open(sftp));
        keep(3, 5_000_000, Body::Out(b"raw protocol bytes"));
    }

    fn read(path: &Path) -> Vec<(u32, u64, String)> {
        let mut reader = TextReader::open(path).unwrap();
        let mut lines = Vec::new();
        while let Some(ChannelLine { channel, line }) = reader.next_line().unwrap() {
            lines.push((channel, line.at / 1000, line.text));
        }
        lines
    }

    fn want() -> Vec<(u32, u64, String)> {
        let lines = [(1, 500, "$ psql"), (1, 2500, "patient Meier"), (2, 0, "cat notes"), (2, 100, "first note"), (2, 200, "second note")];
        lines.map(|(channel, at, text)| (channel, at, text.to_owned())).to_vec()
    }

    #[tokio::test]
    async fn it_is_gathered_while_the_session_runs_and_again_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let (journals, root) = (dir.path().join("journal"), dir.path().join("root"));
        let signer = std::sync::Arc::new(TestSigner::new(1));
        let mut journal = Journal::create(&journals, &sample::meta(), Level::Process).unwrap();
        prepare(journal.path()).unwrap();
        let recorder = Recorder::start(&root, &journal).unwrap();
        play(&mut journal);
        let text = beside(journal.path());
        journal.finish("left", 6_000_000).unwrap();
        let sealed = recorder.seal("left", signer.clone()).await.unwrap();
        let found = read(&text);
        assert_eq!(found, want());
        assert!(std::fs::read_to_string(&text).unwrap().ends_with("\"end\"\n"));

        // From the sealed files, for those that have none.
        let mut again = Vec::new();
        for number in [1, 2] {
            let recording = replay::unvouched(&root.join(&sealed.folder), number, &signer.public_key()).unwrap();
            let header = recording.header().clone();
            of_recording(&header, recording, |line| again.push((number, line.at / 1000, line.text))).unwrap();
        }
        assert_eq!(again, want());

        // Killed: the file is torn, the journal has it all.
        std::fs::write(&text, "[1,5,\"torn").unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        drop(journal);
        assert_eq!(recover(&journals, &root, &*signer).unwrap().len(), 1);
        assert_eq!(read(&text), want());
    }

    #[tokio::test]
    async fn without_leave_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&dir.path().join("journal"), &sample::meta(), Level::Process).unwrap();
        let recorder = Recorder::start(&dir.path().join("root"), &journal).unwrap();
        play(&mut journal);
        journal.finish("left", 6_000_000).unwrap();
        recorder.seal("left", std::sync::Arc::new(TestSigner::new(1))).await.unwrap();
        assert!(!beside(journal.path()).exists());
    }
}
