//! One channel's asciicast file while it is written: `NN-KIND.cast.part`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::cast::{CastHeader, Newline, screen};
use super::command::CommandText;
use super::exact::{Stream, Teller};
use super::files::Total;
use super::frames::{Body, Digested};
use super::manifest::SealedChannel;
use super::reserve::{Output, Reserve};
use super::{ChannelKind, ChannelMeta, RecordError, SessionMeta};
use crate::access::policy::hex;

/// Lines are written to the file when there are this many bytes of them, and whenever the journal has nothing more.
const LINES: usize = 256 * 1024;
/// A quiet channel that is open holds no more lines than this.
const QUIET: usize = 4 * 1024;

/// What is known of a channel, open or closed. A session may have thousands that are closed: this is all that is kept of them.
pub(super) struct Channel {
    number: u32,
    kind: ChannelKind,
    target: Option<String>,
    newline: Newline,
    command: Option<Box<CommandText>>,
    digest: Context,
    bytes: u64,
    began: u64,
    last: u64,
    /// Bytes up and down: those that are in the file, and those that were only counted.
    carried: [(u64, u64); 2],
    /// What it moved, file by file.
    files: Option<Box<Total>>,
    /// The relay said that it is over; what was not said was cut off.
    over: bool,
    told: bool,
    /// Of a command that is not kept to its end: the newest digest of each stream.
    digests: Vec<Digested>,
}

/// Where a session's files are made, and the space that is set aside for them.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) reserve: &'a Arc<Reserve>,
}

/// A channel that is being recorded.
pub(super) struct ChannelFile {
    channel: Channel,
    part: PathBuf,
    file: Output,
    lines: Vec<u8>,
    teller: Teller,
    /// The file's length before its first event.
    header: u64,
}

impl ChannelFile {
    /// Makes the file (0600) with its header in the session's folder. `at` is the journal's time of the channel's first frame; `text` is how long its command may
    /// be told.
    pub(super) fn create(
        place: Place<'_>,
        session: &SessionMeta,
        number: u32,
        meta: &ChannelMeta,
        at: u64,
        text: usize,
    ) -> Result<Self, RecordError> {
        let command = meta.command.as_deref().filter(|_| !meta.kind.is_connection());
        let told = command.map(|bytes| (bytes, CommandText::of(bytes, text)));
        let header = CastHeader::new(session, number, meta, told.as_ref().map(|t| &t.1), at);
        let mut lines = Vec::new();
        let newline = header.x_jit.as_ref().map_or(Newline::Raw, |x| x.newline);
        let command = told.as_ref().map(|(_, text)| Box::new(text.clone()));
        let (kind, target, digest) = (meta.kind, meta.target(), Context::new(&SHA256));
        let (bytes, carried, digests) = (0, [(0, 0); 2], Vec::new());
        let channel = Channel {
            number,
            kind,
            target,
            newline,
            command,
            digest,
            bytes,
            began: at,
            last: at,
            carried,
            files: None,
            over: false,
            told: false,
            digests,
        };
        let part = channel.part(place.folder);
        header.write(&mut lines).map_err(RecordError::io("write", &part))?;
        told.inspect(|(bytes, text)| text.write_exact(bytes, &mut lines));
        let open = place.reserve.or_release(|| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part));
        let file = Output::new(open.map_err(RecordError::io("make", &part))?, place.reserve);
        let mut made = Self { channel, part, file, lines, teller: Teller::new(newline).silent(meta.kind == ChannelKind::Sftp), header: 0 };
        made.flush()?;
        made.header = made.channel.bytes;
        Ok(made)
    }

    /// How many bytes of its command are told in the manifest.
    pub(super) fn told(&self) -> usize {
        self.channel.command.as_ref().map_or(0, |c| c.text.len())
    }

    /// Writes down one frame of this channel; `at` is the journal's time.
    pub(super) fn frame(&mut self, at: u64, body: &Body<'_>) -> Result<(), RecordError> {
        let now = self.channel.at(at);
        let out = &mut self.lines;
        let [(kept_up, kept_down), counted] = &mut self.channel.carried;
        match *body {
            Body::Out(bytes) => {
                *kept_down += bytes.len() as u64;
                self.teller.tell(out, now, Stream::Out, bytes);
            }
            Body::Err(bytes) => {
                *kept_down += bytes.len() as u64;
                self.teller.tell(out, now, Stream::Err, bytes);
            }
            Body::In(bytes) => {
                *kept_up += bytes.len() as u64;
                self.teller.tell(out, now, Stream::In, bytes);
            }
            Body::Resize { cols, rows } => {
                let (cols, rows) = screen(cols, rows);
                self.teller.other(out, now, 'r', &format!("{cols}x{rows}"));
            }
            Body::Marker(text) => self.teller.other(out, now, 'm', text),
            Body::File(act) => self.teller.file(out, now, act).iter().for_each(|act| self.channel.files.get_or_insert_default().count(act)),
            Body::Count { up, down } => *counted = (up, down),
            Body::Told(line) => self.teller.remark(out, now, &format!("{line}\r\n")),
            Body::Digested(digested) => {
                let known = &mut self.channel.digests;
                known.retain(|other| other.stream != digested.stream);
                known.push(digested);
            }
            Body::Close => self.channel.over = true,
            Body::Open(_) | Body::End(_) => {}
        }
        if self.lines.len() >= LINES { self.flush() } else { Ok(()) }
    }

    /// Of a command that was not kept to its end: how long it was, and what proves the rest.
    fn tell_digests(&mut self, now: u64) {
        let [(kept_up, kept_down), (up, down)] = self.channel.carried;
        let cut = self.channel.kind == ChannelKind::Exec && (up > kept_up || down > kept_down);
        if !cut || std::mem::replace(&mut self.channel.told, true) {
            return;
        }
        let kept = kept_up + kept_down;
        let text = format!("{kept} bytes of this command are kept; in all {up} bytes went in and {down} came out\r\n");
        self.teller.remark(&mut self.lines, now, &text);
        for digested in std::mem::take(&mut self.channel.digests) {
            let Digested { stream, bytes, last, .. } = digested;
            let (word, name) = match stream {
                Stream::Out => ("out", "standard output"),
                Stream::Err => ("err", "standard error"),
                Stream::In => ("in", "input"),
            };
            let sha256 = hex(&digested.sha256);
            let told = serde_json::json!({ "stream": word, "bytes": bytes, "sha256": sha256, "whole": last }).to_string();
            self.teller.other(&mut self.lines, now, 'h', &told);
            let text = match last {
                true => format!("{name}: {bytes} bytes sha256:{sha256}\r\n"),
                false => format!("{name}: interrupted; up to byte {bytes} sha256:{sha256}\r\n"),
            };
            self.teller.remark(&mut self.lines, now, &text);
        }
    }

    /// Writes what is in memory to the file.
    fn flush(&mut self) -> Result<(), RecordError> {
        if !self.lines.is_empty() {
            self.file.write_all(&self.lines).map_err(RecordError::io("write", &self.part))?;
            self.channel.digest.update(&self.lines);
            self.channel.bytes += self.lines.len() as u64;
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

    /// The channel is over: the last characters, the counts, the disk. What comes back is small.
    pub(super) fn close(mut self) -> Result<Channel, RecordError> {
        let now = self.channel.last - self.channel.began;
        self.teller.flush(&mut self.lines, now);
        if self.channel.bytes == self.header && self.lines.is_empty() {
            // the web player refuses a file without an event; this one says nothing
            self.teller.other(&mut self.lines, now, 'o', "");
        }
        if let (Some((up, down)), false) = (self.channel.counts(), self.channel.told) {
            let text = counted(self.channel.kind, up, down, now, self.channel.over);
            self.teller.remark(&mut self.lines, now, &text);
            self.channel.told = true;
        }
        self.tell_digests(now);
        self.flush()?;
        self.file.sync_all().map_err(RecordError::io("sync", &self.part))?;
        Ok(self.channel)
    }
}

impl Channel {
    /// Something came after all.
    pub(super) fn reopen(self, folder: &Path, reserve: &Arc<Reserve>) -> Result<ChannelFile, RecordError> {
        let part = self.part(folder);
        let file = OpenOptions::new().append(true).open(&part).map_err(RecordError::io("open", &part))?;
        let file = Output::new(file, reserve);
        let teller = Teller::new(self.newline).silent(self.kind == ChannelKind::Sftp);
        Ok(ChannelFile { teller, channel: self, part, file, lines: Vec::new(), header: 0 })
    }

    /// Gives the file its name.
    pub(super) fn seal(self, folder: &Path, reserve: &Reserve) -> Result<SealedChannel, RecordError> {
        let (part, counts) = (self.part(folder), self.counts());
        let file = self.name();
        reserve.or_release(|| std::fs::rename(&part, folder.join(&file))).map_err(RecordError::io("rename", &part))?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        Ok(SealedChannel {
            number: self.number,
            kind: self.kind,
            target: self.target,
            file,
            sha256,
            bytes: self.bytes,
            began: Duration::from_micros(self.began),
            duration: Duration::from_micros(self.last - self.began),
            command: self.command.map(|c| *c),
            counts,
            files: self.files.map(|files| *files),
        })
    }

    /// Which number it has in its session.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn name(&self) -> String {
        format!("{:02}-{}.cast", self.number, self.kind.as_str())
    }

    fn part(&self, folder: &Path) -> PathBuf {
        folder.join(self.name() + ".part")
    }

    /// Microseconds since the channel began; never goes back.
    fn at(&mut self, at: u64) -> u64 {
        self.last = self.last.max(at);
        self.last - self.began
    }

    /// What a file transfer or a connection carried, by its bytes where they are kept and by the count where not.
    fn counts(&self) -> Option<(u64, u64)> {
        let [kept, counted] = self.carried;
        self.kind.is_counted().then_some((kept.0.max(counted.0), kept.1.max(counted.1)))
    }
}

/// `sftp: 1234 bytes up, 5678 bytes down in 3.2 s`; a connection that nobody closed was cut off where the counts say.
fn counted(kind: ChannelKind, up: u64, down: u64, micros: u64, over: bool) -> String {
    let (seconds, tenths) = (micros / 1_000_000, micros / 100_000 % 10);
    let name = kind.as_str();
    match over || !kind.is_connection() {
        true => format!("{name}: {up} bytes up, {down} bytes down in {seconds}.{tenths} s\r\n"),
        false => format!("{name}: interrupted at byte {up} up, byte {down} down, after {seconds}.{tenths} s\r\n"),
    }
}
