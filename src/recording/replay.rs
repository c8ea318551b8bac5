//! Opens a sealed recording: checks it first, then yields its events, its exact bytes, or frames for a terminal.

use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cast::{CastEvent, CastHeader, CastReader, Newline, Place};
use super::command::{ExactCommand, MAX_COMMAND};
use super::exact::{Restorer, Stream};
use super::manifest::{self, Manifest, ManifestChannel};
use super::markers::{self, Marker};
use super::verify::{digest_of, plain_file};
use super::{RecordError, Stretch};
use crate::access::names::SessionId;

/// One recording whose manifest was signed by the right key and whose bytes are as the manifest says.
#[derive(Debug)]
pub struct Recording {
    manifest: Manifest,
    channel: ManifestChannel,
    events: CastReader<BufReader<Stretch>>,
    /// Where the first event is.
    begin: Place,
    command: Option<Vec<u8>>,
    ahead: Option<CastEvent>,
}

/// What the audit log vouches for: a session's recordings as they were sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Where they lie: the full path.
    pub folder: PathBuf,
    /// Whose they are.
    pub session: SessionId,
    /// The SHA-256 of their manifest.
    pub manifest: [u8; 32],
}

/// Opens channel `number` of a session. `public_key` is the base64 key that manifests must be signed with. Recordings that were signed, and
/// are not those that the log knows under this id, are another session's, or were made later.
pub fn open(vouched: &Vouched, number: u32, public_key: &str) -> Result<Recording, RecordError> {
    let (manifest, bytes) = Manifest::read(&vouched.folder)?;
    if manifest.session.session != vouched.session || manifest::sha256(&bytes) != vouched.manifest {
        return Err(RecordError::bad(&vouched.folder, "it is not the one that the log knows"));
    }
    checked(&vouched.folder, (manifest, bytes), number, public_key)
}

fn checked(folder: &Path, (manifest, bytes): (Manifest, Vec<u8>), number: u32, public_key: &str) -> Result<Recording, RecordError> {
    manifest.check(&bytes, public_key).map_err(|why| RecordError::bad(folder, why))?;
    opened(manifest, number, folder, |name| plain_file(&folder.join(name)).and_then(Stretch::whole))
}

/// The same of a manifest that has been checked already; `at` finds a file that it names. `place` is for errors only.
pub fn opened(
    manifest: Manifest,
    number: u32,
    place: &Path,
    at: impl FnOnce(&str) -> io::Result<Stretch>,
) -> Result<Recording, RecordError> {
    let found = manifest.channels.iter().find(|c| c.number == number).cloned();
    let channel = found.ok_or_else(|| RecordError::bad(place, format!("there is no channel {number}")))?;
    let path = place.join(&channel.file);
    let mut file = at(&channel.file).map_err(RecordError::io("open", &path))?;
    let (digest, length) = digest_of(&mut file).map_err(RecordError::io("read", &path))?;
    if channel.digest() != Some(digest) || channel.bytes != length {
        return Err(RecordError::bad(&path, "changed since it was sealed"));
    }
    // The same open file is read again: nobody can put another in its place in between.
    file.rewind().map_err(RecordError::io("read", &path))?;
    let mut events = CastReader::new(BufReader::with_capacity(64 * 1024, file), &path)?;
    let begin = events.place();
    let Begun { command, ahead } = begun(&mut events, &path)?;
    Ok(Recording { manifest, channel, events, begin, command, ahead })
}

/// The same in tests that have no log.
#[cfg(test)]
pub(super) fn unvouched(folder: &Path, number: u32, public_key: &str) -> Result<Recording, RecordError> {
    checked(folder, Manifest::read(folder)?, number, public_key)
}

/// What stands at a file's beginning: the exact command, and the event after it that was read on the way.
struct Begun {
    command: Option<Vec<u8>>,
    ahead: Option<CastEvent>,
}

/// The exact command: the header's, or from the events at the file's beginning where the header's is not exact.
fn begun(events: &mut CastReader<BufReader<Stretch>>, path: &Path) -> Result<Begun, RecordError> {
    let wrong = || RecordError::bad(path, "the command's bytes are not as its header says");
    let said = events.header().x_jit.as_ref().map(|x| (x.command.clone(), x.command_exact.clone()));
    let (text, exact) = said.unwrap_or_default();
    let Some(exact) = exact else {
        return Ok(Begun { command: text.map(String::into_bytes), ahead: None });
    };
    let mut bytes = Vec::new();
    let ahead = loop {
        let event = events.next().transpose()?;
        match event.as_ref().map(CastEvent::parts) {
            Some(('c', piece)) if bytes.len() <= MAX_COMMAND => bytes.extend(STANDARD.decode(piece).map_err(|_| wrong())?),
            _ => break event,
        }
    };
    if text.is_none() || ExactCommand::of(&bytes) != exact {
        return Err(wrong());
    }
    Ok(Begun { command: Some(bytes), ahead })
}

impl Recording {
    /// The session's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the manifest says of this channel.
    pub fn channel(&self) -> &ManifestChannel {
        &self.channel
    }

    /// The file's first line.
    pub fn header(&self) -> &CastHeader {
        self.events.header()
    }

    /// The exact command line of an exec, whatever its header shows of it.
    pub fn command(&self) -> Option<&[u8]> {
        self.command.as_deref()
    }

    /// What happened beside it in the same session: markers for whoever plays it.
    pub fn beside(&self) -> Vec<Marker> {
        markers::beside(&self.manifest, &self.channel)
    }

    /// The events alone, from the first, in a reader that can go back.
    pub fn rewindable(mut self) -> Result<CastReader<BufReader<Stretch>>, RecordError> {
        self.events.go(self.begin)?;
        Ok(self.events)
    }

    /// The exact bytes that crossed, in order, piece by piece: `sink` gets each with its stream.
    pub fn bytes(self, mut sink: impl FnMut(Stream, &[u8])) -> Result<(), RecordError> {
        let mut restorer = Restorer::new(self.header().x_jit.as_ref().map_or(Newline::Raw, |x| x.newline));
        let file = self.channel.file.clone();
        for event in self {
            let restored = restorer.bytes(&event?).map_err(|e| RecordError::bad(Path::new(&file), e.to_string()))?;
            if let Some((stream, bytes)) = restored {
                sink(stream, &bytes);
            }
        }
        Ok(())
    }
}

impl Iterator for Recording {
    type Item = Result<CastEvent, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ahead.take().map(Ok).or_else(|| self.events.next())
    }
}

/// What crossed in a channel.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RawStreams {
    /// The command line of an exec.
    pub command: Option<Vec<u8>>,
    /// To the client, stdout.
    pub out: Vec<u8>,
    /// To the client, stderr.
    pub err: Vec<u8>,
    /// From the client.
    pub input: Vec<u8>,
}

/// The exact bytes of a recording, all in memory. See [`Recording::bytes`].
#[cfg(test)]
pub(super) fn raw(folder: &Path, number: u32, public_key: &str) -> Result<RawStreams, RecordError> {
    let mut raw = RawStreams::default();
    let recording = unvouched(folder, number, public_key)?;
    raw.command = recording.command().map(<[u8]>::to_vec);
    recording.bytes(|stream, bytes| {
        let to = match stream {
            Stream::Out => &mut raw.out,
            Stream::Err => &mut raw.err,
            Stream::In => &mut raw.input,
        };
        to.extend_from_slice(bytes);
    })?;
    Ok(raw)
}
