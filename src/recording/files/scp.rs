//! Looks at a command that is one end of scp's own protocol (`scp -t`, `scp -f`; once rcp's) and tells each file when its outcome is known.
//! Never changes a byte; the first thing that does not fit the protocol ends the account.
//!
//! ```text
//! sender                                   receiver
//!                                          0
//! T<mtime> 0 <atime> 0 LF                  0, or 1 or 2 and a line: an error, that of 2 is the last word
//! C<mode> <size> <name> LF                 0: then <size> bytes and a 0 follow, and the receiver's word again
//! D<mode> 0 <name> LF  ..  E LF            0 to each
//! 1 or 2 and a line: the sender's error    (nothing)
//! ```
//!
//! Source: `source`, `rsource`, `sink` and `response` in OpenSSH's scp.c. Each side waits for the other's word, so one that does not is no scp.

use std::collections::VecDeque;

use super::command::ScpCommand;
use super::{Act, FileAct, Hashed, PATH_AT_MOST, Violation, path_text};

/// One command of scp as it goes by.
#[derive(Debug)]
pub struct Scp {
    command: ScpCommand,
    stage: Stage,
    /// The receiver's words that nobody has waited for yet.
    replies: VecDeque<Reply>,
    /// Of the receiver's word that is not whole.
    reply: Vec<u8>,
    /// The directory that is being sent, from the first one named.
    folders: Vec<Vec<u8>>,
    times: Option<Times>,
    errors: usize,
    told: Vec<FileAct>,
}

#[derive(Debug)]
enum Stage {
    /// The receiver has not said that it is there.
    Greeting,
    /// A line of the sender's, as far as it has come.
    Line(Vec<u8>),
    /// The receiver's word to it is awaited.
    Asked(Asked),
    /// The content of a file.
    Content(Box<File>),
    /// The sender's own word behind it.
    Tail(Box<File>, Vec<u8>),
    /// The receiver's word to the file.
    Sent(Box<File>),
    /// One of them has said its last word.
    Over,
}

#[derive(Debug)]
enum Asked {
    Times(Times),
    File(Box<File>),
    Folder { name: Vec<u8>, mode: u32 },
    Up,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    modified: u64,
}

#[derive(Debug)]
struct File {
    name: Vec<u8>,
    mode: u32,
    times: Option<Times>,
    size: u64,
    passed: u64,
    content: Hashed,
    /// What the sender said went wrong.
    failed: Option<String>,
}

/// One word of the receiver's.
#[derive(Debug)]
enum Reply {
    Good,
    Bad { text: String, last: bool },
}

impl Scp {
    /// The protocol that `command` speaks if it is one end of scp.
    pub fn of(command: &[u8]) -> Option<Self> {
        Some(Self {
            command: ScpCommand::read(command)?,
            stage: Stage::Greeting,
            replies: VecDeque::new(),
            reply: Vec::new(),
            folders: Vec::new(),
            times: None,
            errors: 0,
            told: Vec::new(),
        })
    }

    /// Bytes from the client. What they complete is told by [`Scp::told`].
    pub fn client(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.command.uploads { self.sent(bytes, CLIENT) } else { self.answered(bytes, CLIENT) }
    }

    /// Bytes from the host's standard output.
    pub fn host(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.command.uploads { self.answered(bytes, HOST) } else { self.sent(bytes, HOST) }
    }

    /// What was told since the last call.
    pub fn told(&mut self) -> Vec<FileAct> {
        std::mem::take(&mut self.told)
    }

    /// The channel is over: what was being sent, and whether it ended in order.
    pub fn finish(mut self) -> (Vec<FileAct>, bool) {
        let whole = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Greeting | Stage::Over => true,
            Stage::Line(line) => line.is_empty() && self.folders.is_empty(),
            Stage::Content(file) | Stage::Tail(file, _) => {
                self.transferred(*file, Some("not finished"));
                false
            }
            Stage::Sent(file) | Stage::Asked(Asked::File(file)) => {
                self.transferred(*file, Some("not answered"));
                false
            }
            Stage::Asked(_) => false,
        };
        for reply in std::mem::take(&mut self.replies) {
            if let Reply::Bad { text, .. } = reply {
                let act = self.about(&[], Act::Transfer);
                self.told.push(FileAct { outcome: text, ..act });
            }
        }
        (self.told, whole && self.reply.is_empty())
    }

    /// Bytes of the side that sends files.
    fn sent(&mut self, mut bytes: &[u8], who: &'static str) -> Result<(), Violation> {
        while !bytes.is_empty() {
            match &mut self.stage {
                Stage::Line(line) => {
                    let Some(whole) = take_line(line, &mut bytes, who)? else { return Ok(()) };
                    self.stage = Stage::Line(Vec::new());
                    self.line(&whole, who)?;
                }
                Stage::Content(file) => {
                    let left = usize::try_from(file.size - file.passed).unwrap_or(usize::MAX);
                    let (now, after) = bytes.split_at(bytes.len().min(left));
                    file.content.add(file.passed, now);
                    file.passed += now.len() as u64;
                    bytes = after;
                    self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                        Stage::Content(file) if file.passed == file.size => Stage::Tail(file, Vec::new()),
                        other => other,
                    };
                }
                Stage::Tail(file, line) => {
                    match bytes.split_first() {
                        Some((0, after)) if line.is_empty() => bytes = after,
                        _ => {
                            let Some(whole) = take_line(line, &mut bytes, who)? else { return Ok(()) };
                            file.failed = Some(words(whole.get(1..).unwrap_or_default()));
                        }
                    }
                    self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                        Stage::Tail(file, _) => Stage::Sent(file),
                        other => other,
                    };
                    self.settle()?;
                }
                Stage::Greeting | Stage::Asked(_) | Stage::Sent(_) => return Err(broken(who, "it did not wait for an answer")),
                Stage::Over => return Err(broken(who, "it went on after its end")),
            }
        }
        Ok(())
    }

    /// Bytes of the side that receives them.
    fn answered(&mut self, mut bytes: &[u8], who: &'static str) -> Result<(), Violation> {
        while let Some((first, after)) = bytes.split_first() {
            let reply = if self.reply.is_empty() && *first == 0 {
                bytes = after;
                Reply::Good
            } else {
                let Some(line) = take_line(&mut self.reply, &mut bytes, who)? else { return Ok(()) };
                let (code, text) = line.split_first().map_or((1, &[][..]), |(code, text)| (*code, text));
                // Whatever is no code is the beginning of an error, and ends it: a greeting of the login shell, say.
                let text = if code > 2 { line.as_slice() } else { text };
                Reply::Bad { text: words(text), last: code != 1 }
            };
            if self.replies.len() >= WORDS_AT_MOST {
                return Err(broken(who, "it answered what nobody asked"));
            }
            self.replies.push_back(reply);
            self.settle()?;
        }
        Ok(())
    }

    /// One whole line of the sender's.
    fn line(&mut self, line: &[u8], who: &'static str) -> Result<(), Violation> {
        let (code, rest) = line.split_first().ok_or_else(|| broken(who, "an empty line"))?;
        let asked = match code {
            1 | 2 => {
                self.errors += 1;
                if self.errors > ERRORS_AT_MOST {
                    return Err(broken(who, "too many errors"));
                }
                let act = self.about(&[], Act::Transfer);
                self.told.push(FileAct { outcome: words(rest), ..act });
                if *code == 2 {
                    self.stage = Stage::Over;
                }
                return Ok(());
            }
            b'T' => Asked::Times(times(rest).ok_or_else(|| broken(who, "times that are none"))?),
            b'E' if rest.is_empty() => Asked::Up,
            b'C' | b'D' => {
                let (mode, size, name) = entry(rest).ok_or_else(|| broken(who, "a line that names no file"))?;
                if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
                    return Err(broken(who, format!("the name {} leads elsewhere", path_text(name))));
                }
                let (name, times) = (name.to_vec(), self.times.take());
                match code {
                    b'C' => Asked::File(Box::new(File { name, mode, times, size, passed: 0, content: Hashed::default(), failed: None })),
                    _ => Asked::Folder { name, mode },
                }
            }
            code => return Err(broken(who, format!("a line that begins with {}", path_text(&[*code])))),
        };
        self.stage = Stage::Asked(asked);
        self.settle()
    }

    /// Takes the receiver's words that are waited for.
    fn settle(&mut self) -> Result<(), Violation> {
        while matches!(self.stage, Stage::Greeting | Stage::Asked(_) | Stage::Sent(_))
            && let Some(reply) = self.replies.pop_front()
        {
            let good = matches!(reply, Reply::Good);
            let (said, last) = match reply {
                Reply::Good => (None, false),
                Reply::Bad { text, last } => (Some(text), last),
            };
            let next = match (std::mem::replace(&mut self.stage, Stage::Over), good) {
                (Stage::Asked(Asked::Times(times)), true) => {
                    self.times = Some(times);
                    Stage::Line(Vec::new())
                }
                (Stage::Asked(Asked::File(file)), true) if file.size == 0 => Stage::Tail(file, Vec::new()),
                (Stage::Asked(Asked::File(file)), true) => Stage::Content(file),
                (Stage::Asked(Asked::File(file)) | Stage::Sent(file), _) => {
                    self.transferred(*file, said.as_deref());
                    Stage::Line(Vec::new())
                }
                (Stage::Asked(Asked::Folder { name, mode }), _) => {
                    self.folder(name, mode, said.as_deref())?;
                    Stage::Line(Vec::new())
                }
                (Stage::Asked(Asked::Up), _) => {
                    self.folders.pop().ok_or_else(|| broken(SENDER, "it left a directory that it was not in"))?;
                    Stage::Line(Vec::new())
                }
                (_, true) => Stage::Line(Vec::new()),
                (_, false) => {
                    let act = self.about(&[], Act::Transfer);
                    self.told.push(FileAct { outcome: said.unwrap_or_default(), ..act });
                    Stage::Line(Vec::new())
                }
            };
            self.stage = if last { Stage::Over } else { next };
        }
        Ok(())
    }

    fn folder(&mut self, name: Vec<u8>, mode: u32, failed: Option<&str>) -> Result<(), Violation> {
        let act = self.about(&name, if self.command.uploads { Act::MakeDirectory } else { Act::List });
        let change = Some(format!("mode={mode:04o}"));
        self.told.push(FileAct { change, outcome: failed.unwrap_or("ok").to_owned(), ..act });
        if failed.is_none() {
            self.folders.push(name);
        }
        // Of every line the whole path is told.
        let length: usize = self.folders.iter().map(|folder| folder.len() + 1).sum();
        if length > PATH_AT_MOST { Err(broken(SENDER, "directories too deep")) } else { Ok(()) }
    }

    fn transferred(&mut self, file: File, failed: Option<&str>) {
        let act = self.about(&file.name, Act::Transfer);
        let modified = file.times.map_or_else(String::new, |times| format!(" mtime={}", times.modified));
        let change = Some(format!("mode={:04o}{modified}", file.mode));
        let outcome = failed.map(str::to_owned).or(file.failed).unwrap_or_else(|| "ok".into());
        // Refused before a byte came.
        let moved = (file.passed > 0 || failed.is_none()).then(|| file.content.told(Some(file.size)));
        let (read, written) = if self.command.uploads { (None, moved) } else { (moved, None) };
        self.told.push(FileAct { change, outcome, read, written, ..act });
    }

    /// What is told of `name` in the directory that is being sent.
    fn about(&self, name: &[u8], act: Act) -> FileAct {
        let mut path = self.folders.join(&b'/');
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let (path, place) = self.command.located(&path);
        FileAct { act, path, place, to: None, read: None, written: None, change: None, outcome: "ok".into() }
    }
}

/// The rest of a line out of `bytes`, without its line feed; none where it is not whole yet.
fn take_line(begun: &mut Vec<u8>, bytes: &mut &[u8], who: &'static str) -> Result<Option<Vec<u8>>, Violation> {
    let end = bytes.iter().position(|b| *b == b'\n');
    let (now, after) = bytes.split_at(end.unwrap_or(bytes.len()));
    if begun.len() + now.len() > LINE_AT_MOST {
        return Err(broken(who, "a line that does not end"));
    }
    begun.extend_from_slice(now);
    *bytes = after.get(1..).unwrap_or_default();
    Ok(end.map(|_| std::mem::take(begun)))
}

/// `0644 123 name`.
fn entry(rest: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (mode, rest) = rest.split_at_checked(4)?;
    let mode = mode.iter().try_fold(0, |sum, digit| matches!(digit, b'0'..=b'7').then(|| sum * 8 + u32::from(digit - b'0')))?;
    let mut parts = rest.strip_prefix(b" ")?.splitn(2, |b| *b == b' ');
    let (size, name) = (number(parts.next()?)?, parts.next()?);
    (size <= SIZE_AT_MOST).then_some((mode, size, name))
}

/// `1795298820 0 1795298820 0`.
fn times(rest: &[u8]) -> Option<Times> {
    let parts: Vec<u64> = rest.split(|b| *b == b' ').map(number).collect::<Option<_>>()?;
    matches!(parts.as_slice(), [_, _, _, _]).then_some(Times { modified: *parts.first()? })
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// An error line, fit to be shown.
fn words(line: &[u8]) -> String {
    let text = path_text(line.get(..MESSAGE_AT_MOST).unwrap_or(line));
    if text.is_empty() { "failed".into() } else { text }
}

fn broken(who: &'static str, what: impl Into<String>) -> Violation {
    Violation { who, what: what.into() }
}

const CLIENT: &str = "the client";
const HOST: &str = "the host";
const SENDER: &str = "the sender";

/// OpenSSH's own buffer for a line.
const LINE_AT_MOST: usize = 16 * 1024;
/// What is told of an error line.
const MESSAGE_AT_MOST: usize = 256;
/// Words of a receiver's ahead of what it is asked: OpenSSH's says two at most.
const WORDS_AT_MOST: usize = 16;
/// Errors that one command's sender may tell.
const ERRORS_AT_MOST: usize = 10_000;
/// What an offset of 63 bits reaches.
const SIZE_AT_MOST: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests;
