//! One channel's asciicast file while it is written: `NN-KIND.cast.part`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::cast::{CastHeader, Newline, screen};
use super::command::CommandText;
use super::exact::{Stream, Teller};
use super::frames::Body;
use super::manifest::SealedChannel;
use super::{ChannelKind, ChannelMeta, RecordError, SessionMeta};

/// Lines are written to the file when there are this many bytes of them, and whenever the journal has nothing more.
const LINES: usize = 256 * 1024;
/// A quiet channel holds no more than this.
const QUIET: usize = 4 * 1024;

/// A channel that is being recorded.
pub(super) struct ChannelFile {
    number: u32,
    kind: ChannelKind,
    command: Option<CommandText>,
    name: String,
    part: PathBuf,
    /// Closed with the channel, opened again if something comes after all.
    file: Option<File>,
    digest: Context,
    bytes: u64,
    lines: Vec<u8>,
    teller: Teller,
    began: u64,
    last: u64,
    counts: Option<(u64, u64)>,
    told: bool,
}

impl ChannelFile {
    /// Makes the file (0600) with its header. `at` is the journal's time of the channel's first frame; `text` is how long its command may
    /// be told.
    pub(super) fn create(
        folder: &Path,
        session: &SessionMeta,
        number: u32,
        meta: &ChannelMeta,
        at: u64,
        text: usize,
    ) -> Result<Self, RecordError> {
        let told = meta.command.as_deref().map(|bytes| (bytes, CommandText::of(bytes, text)));
        let header = CastHeader::new(session, number, meta, told.as_ref().map(|t| &t.1), at);
        let name = format!("{number:02}-{}.cast", meta.kind.as_str());
        let part = folder.join(format!("{name}.part"));
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = open.map_err(RecordError::io("make", &part))?;
        let newline = header.x_jit.as_ref().map_or(Newline::Raw, |x| x.newline);
        let mut lines = Vec::new();
        header.write(&mut lines).map_err(RecordError::io("write", &part))?;
        let command = told.map(|(bytes, text)| {
            text.write_exact(bytes, &mut lines);
            text
        });
        let kind = meta.kind;
        let counts = (kind == ChannelKind::Sftp).then_some((0, 0));
        let (teller, digest) = (Teller::new(newline), Context::new(&SHA256));
        let file = Some(file);
        let mut channel =
            Self { number, kind, command, name, part, file, digest, bytes: 0, lines, teller, began: at, last: at, counts, told: false };
        channel.flush()?;
        Ok(channel)
    }

    /// How many bytes of its command are told in the manifest.
    pub(super) fn told(&self) -> usize {
        self.command.as_ref().map_or(0, |c| c.text.len())
    }

    /// Writes down one frame of this channel; `at` is the journal's time.
    pub(super) fn frame(&mut self, at: u64, body: &Body<'_>) -> Result<(), RecordError> {
        self.last = self.last.max(at);
        let now = self.last - self.began;
        let out = &mut self.lines;
        match *body {
            Body::Out(bytes) => self.teller.tell(out, now, Stream::Out, bytes),
            Body::Err(bytes) => self.teller.tell(out, now, Stream::Err, bytes),
            Body::In(bytes) => self.teller.tell(out, now, Stream::In, bytes),
            Body::Resize { cols, rows } => {
                let (cols, rows) = screen(cols, rows);
                self.teller.other(out, now, 'r', &format!("{cols}x{rows}"));
            }
            Body::Marker(text) => self.teller.other(out, now, 'm', text),
            Body::Count { up, down } => self.counts = Some((up, down)),
            Body::Close => return self.end(),
            Body::Open(_) | Body::End(_) => {}
        }
        if self.lines.len() >= LINES { self.flush() } else { Ok(()) }
    }

    /// Writes what is in memory to the file.
    pub(super) fn flush(&mut self) -> Result<(), RecordError> {
        if !self.lines.is_empty() {
            let wrong = RecordError::io("write", &self.part);
            let file = match &mut self.file {
                Some(file) => file,
                none => match OpenOptions::new().append(true).open(&self.part) {
                    Ok(file) => none.insert(file),
                    Err(error) => return Err(wrong(error)),
                },
            };
            file.write_all(&self.lines).map_err(wrong)?;
            self.digest.update(&self.lines);
            self.bytes += self.lines.len() as u64;
            self.lines.clear();
        }
        Ok(())
    }

    /// Nothing more for now: writes what there is and gives memory back.
    pub(super) fn rest(&mut self) -> Result<(), RecordError> {
        self.flush()?;
        self.lines.shrink_to(QUIET);
        Ok(())
    }

    /// The channel is over: the last characters, the counts, the disk.
    pub(super) fn end(&mut self) -> Result<(), RecordError> {
        let now = self.last - self.began;
        self.teller.flush(&mut self.lines, now);
        if let (Some((up, down)), false) = (self.counts, self.told) {
            let text = counted(self.kind, up, down, now);
            self.teller.remark(&mut self.lines, now, &text);
            self.told = true;
        }
        self.rest()?;
        match self.file.take() {
            Some(file) => file.sync_all().map_err(RecordError::io("sync", &self.part)),
            None => Ok(()),
        }
    }

    /// Gives the file its name. It must have ended.
    pub(super) fn seal(self) -> Result<SealedChannel, RecordError> {
        let name = self.part.with_file_name(&self.name);
        std::fs::rename(&self.part, &name).map_err(RecordError::io("rename", &self.part))?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        Ok(SealedChannel {
            number: self.number,
            kind: self.kind,
            file: self.name,
            sha256,
            bytes: self.bytes,
            began: Duration::from_micros(self.began),
            duration: Duration::from_micros(self.last - self.began),
            command: self.command,
            counts: self.counts,
        })
    }
}

/// `sftp: 1234 bytes up, 5678 bytes down in 3.2 s`.
fn counted(kind: ChannelKind, up: u64, down: u64, micros: u64) -> String {
    let (seconds, tenths) = (micros / 1_000_000, micros / 100_000 % 10);
    format!("{}: {up} bytes up, {down} bytes down in {seconds}.{tenths} s\r\n", kind.as_str())
}
