//! What happened while the store did not answer: a file of lines that waits until it does.
//!
//! ```text
//! line = checksum " " JSON "\n"        checksum: CRC-32 (IEEE) of the JSON, eight hexadecimal digits
//! ```
//!
//! Appended and synced, line by line. A line that is not whole or not right is an error of its own and hides none of the others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ClosedSession;
use crate::access::time::Timestamp;

/// Something that must be in the log, with the time when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Waiting {
    /// From here on the store did not answer.
    Lost {
        /// When that was noticed.
        at: Timestamp,
    },
    /// A session ended.
    Closed {
        /// When its end was to be written.
        at: Timestamp,
        /// How it ended and what it left.
        session: ClosedSession,
    },
    /// The bastion was told to stop, and did.
    Stopped {
        /// When.
        at: Timestamp,
        /// How many sessions it ended.
        sessions: u64,
    },
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpoolError {
    /// The line was cut off, or is none of ours.
    #[error("it has no checksum")]
    Bare,
    /// It was changed, or its end is missing.
    #[error("its checksum is wrong")]
    Checksum,
    /// The checksum is right, and this version does not know what it says.
    #[error("it says nothing that this version knows: {0}")]
    Unknown(String),
}

/// The file.
#[derive(Debug, Clone)]
pub struct Spool(PathBuf);

impl Spool {
    /// The file `unwritten` in the state folder; made when the first line is added.
    pub fn in_folder(state: &Path) -> Self {
        Self(state.join("unwritten"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Adds a line and returns when it is on the disk.
    pub fn add(&self, what: &Waiting) -> io::Result<()> {
        let mut line = line(what)?;
        let is_new = !self.0.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.0)?;
        let len = file.metadata()?.len();
        if len + line.len() as u64 > LONGEST_FILE {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} may not grow beyond {LONGEST_FILE} bytes", self.0.display()),
            ));
        }
        if len > 0 && !ends_a_line(&mut file)? {
            // Killed in the middle of a line: that one is lost, the next begins anew.
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_data()?;
        match self.0.parent() {
            Some(folder) if is_new => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Every line in it, the oldest first. No file: nothing waits.
    pub fn read(&self) -> io::Result<Vec<Result<Waiting, SpoolError>>> {
        let mut bytes = Vec::new();
        match File::open(&self.0) {
            Ok(file) => file.take(LONGEST_FILE).read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(parse(&bytes))
    }

    /// Everything in it is written: it goes.
    pub fn clear(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Puts it aside for somebody to look at; where it is then.
    pub fn put_aside(&self, now: Timestamp) -> io::Result<PathBuf> {
        let aside = self.0.with_extension(format!("damaged-{}", now.micros()));
        std::fs::rename(&self.0, &aside)?;
        Ok(aside)
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// One line, as it stands in the file.
pub fn line(what: &Waiting) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(what)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// Reads the bytes of such a file.
pub fn parse(bytes: &[u8]) -> Vec<Result<Waiting, SpoolError>> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read_line).collect()
}

fn read_line(line: &[u8]) -> Result<Waiting, SpoolError> {
    let (sum, json) = line.split_at_checked(8).ok_or(SpoolError::Bare)?;
    let json = json.strip_prefix(b" ").ok_or(SpoolError::Bare)?;
    let sum = std::str::from_utf8(sum).ok().and_then(|sum| u32::from_str_radix(sum, 16).ok()).ok_or(SpoolError::Bare)?;
    if sum != crc32fast::hash(json) {
        return Err(SpoolError::Checksum);
    }
    serde_json::from_slice(json).map_err(|e| SpoolError::Unknown(e.to_string()))
}

/// Room for the ends of tens of thousands of sessions.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::names::SessionId;
    use crate::audit::digest::Digest;
    use crate::session::Ending;
    use crate::store::ChannelRow;

    fn closed(n: u32) -> Waiting {
        let channel = ChannelRow {
            number: 1,
            kind: "exec".into(),
            command: Some("printf 'a\\nb'\n".into()),
            file: "01-exec.cast".into(),
            sha256: Digest::of(b"x"),
            bytes: 7,
            duration: std::time::Duration::from_micros(9),
        };
        let session = ClosedSession {
            id: SessionId::from_random(n),
            ending: Ending::StoreLost,
            ended: None,
            late_host_ms: Some(4),
            late_client_ms: None,
            sealed: Some(("2026/11/21/s-000001".into(), Digest::of(b"manifest"))),
            channels: vec![channel],
            unspent: 3,
        };
        Waiting::Closed { at: Timestamp::from_micros(1_795_262_400_000_000), session }
    }

    #[test]
    fn what_was_added_is_read_in_order_wherever_the_last_line_tore() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::in_folder(dir.path());
        assert_eq!(spool.read().unwrap(), []);
        let now = Timestamp::from_micros(1);
        let all = [Waiting::Lost { at: now }, closed(1), Waiting::Stopped { at: now, sessions: 2 }];
        all.iter().for_each(|what| spool.add(what).unwrap());
        assert_eq!(spool.read().unwrap(), all.clone().map(Ok));
        let whole = std::fs::read(spool.path()).unwrap();
        let last = line(&all[2]).unwrap().len();
        for torn in 1..last {
            std::fs::write(spool.path(), &whole[..whole.len() - torn]).unwrap();
            spool.add(&closed(2)).unwrap();
            let read: Vec<_> = spool.read().unwrap().into_iter().filter_map(Result::ok).collect();
            // Without its line feed alone a line is whole.
            let kept = if torn == 1 { 3 } else { 2 };
            assert_eq!(read, [&all[..kept], &[closed(2)]].concat(), "{torn}");
        }
        spool.clear().unwrap();
        spool.clear().unwrap();
        assert_eq!(spool.read().unwrap(), []);
    }

    #[test]
    fn a_changed_line_is_an_error_and_hides_no_other() {
        let (one, two) = (line(&closed(1)).unwrap(), line(&closed(2)).unwrap());
        for at in 0..one.len() - 1 {
            let mut changed = one.clone();
            changed[at] ^= 1;
            let read = parse(&[changed, two.clone()].concat());
            assert!(read.iter().any(Result::is_err), "{at}");
            assert_eq!(read.last(), Some(&Ok(closed(2))));
        }
        let newer = r#"{"what":"tea","at":1}"#;
        let read = parse(format!("{:08x} {newer}\n", crc32fast::hash(newer.as_bytes())).as_bytes());
        assert!(matches!(read.as_slice(), [Err(SpoolError::Unknown(_))]));
    }
}
