//! Looks at an SFTP channel (version 3, with OpenSSH's extensions) and tells each act when its outcome is known. Never changes a byte; the
//! first thing that does not fit the protocol ends it.
//!
//! What the grant does not give, the host refuses (its server is forced to, by the session's certificate), and the client gets a polite
//! answer. A host that lets it through all the same ends the channel here.
//!
//! Sources: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4 (extensions; `symlink` has its arguments the other way round).

use std::collections::HashMap;

use super::numbers::*;
use super::open::{Asked, Open, Opening, Waiting, held};
use super::packets::{Fields, Packets};
use super::{Act, FileAct, Violation};

/// What the grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRights {
    /// Files may be read.
    pub read: bool,
    /// Files may be written, removed, renamed.
    pub write: bool,
}

/// One SFTP channel as it goes by.
#[derive(Debug)]
pub struct Sftp {
    rights: FileRights,
    up: Packets,
    down: Packets,
    state: State,
}

#[derive(Debug)]
struct State {
    began: bool,
    versioned: bool,
    /// The numbers of files by the handles that the host gave; not of those that are being closed: nothing may be said of them any more.
    handles: HashMap<Vec<u8>, u64>,
    open: HashMap<u64, Open>,
    /// The number of the next file.
    next: u64,
    asked: HashMap<u32, Asked>,
    /// Bytes that open files and waiting requests hold.
    held: usize,
    /// Ranges that may still be told apart, in all files that are open.
    room: usize,
    told: Vec<FileAct>,
}

impl Default for State {
    fn default() -> Self {
        let (handles, open, asked, told) = (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        Self { began: false, versioned: false, handles, open, next: 0, asked, held: 0, room: RANGES_AT_MOST, told }
    }
}

impl Sftp {
    /// A channel that begins.
    pub fn new(rights: FileRights) -> Self {
        Self { rights, up: Packets::of(CLIENT), down: Packets::of(HOST), state: State::default() }
    }

    /// Bytes from the client. What they complete is told by [`Sftp::told`].
    pub fn client(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let state = &mut self.state;
        self.up.feed(bytes, |packet| state.request(packet))
    }

    /// Bytes from the host.
    pub fn host(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let (state, rights) = (&mut self.state, self.rights);
        self.down.feed(bytes, |packet| state.answer(packet, rights))
    }

    /// What was told since the last call.
    pub fn told(&mut self) -> Vec<FileAct> {
        std::mem::take(&mut self.state.told)
    }

    /// The channel is over: what is still open or unanswered, and whether both directions ended with a whole packet.
    pub fn finish(mut self) -> (Vec<FileAct>, bool) {
        let mut asked: Vec<_> = self.state.asked.drain().collect();
        asked.sort_by_key(|(id, _)| *id);
        self.state.told.extend(asked.into_iter().filter_map(|(_, asked)| asked.unanswered()));
        let mut left: Vec<Open> = self.state.open.drain().map(|(_, open)| open).collect();
        left.sort_by(|a, b| a.path().cmp(b.path()));
        self.state.told.extend(left.into_iter().map(|open| open.told("not closed")));
        (self.state.told, self.up.is_whole() && self.down.is_whole())
    }
}

impl State {
    fn request(&mut self, packet: &[u8]) -> Result<(), Violation> {
        let mut fields = Fields(packet);
        let kind = fields.byte().ok_or_else(|| client("an empty packet"))?;
        if kind == INIT {
            return match std::mem::replace(&mut self.began, true) {
                true => Err(client("it began twice")),
                false => Ok(()),
            };
        }
        if !self.began {
            return Err(client("a request before the beginning"));
        }
        let id = fields.u32().ok_or_else(|| client("a request without a number"))?;
        let asked = self.asked(kind, fields)?;
        self.hold(asked.weight())?;
        match self.asked.insert(id, asked) {
            Some(_) => Err(client(format!("two requests with the number {id}"))),
            None => Ok(()),
        }
    }

    /// So much more is held until it can be told.
    fn hold(&mut self, bytes: usize) -> Result<(), Violation> {
        self.held += bytes;
        if self.held > HELD_AT_MOST { Err(client("too many requests and open files at the same time")) } else { Ok(()) }
    }

    fn asked(&mut self, kind: u8, mut fields: Fields<'_>) -> Result<Asked, Violation> {
        let short = || short(kind);
        let path = |fields: &mut Fields<'_>| fields.string().map(held).ok_or_else(short);
        let opening = |path, flags| Ok(Asked::Open(Box::new(Opening { path, flags })));
        match kind {
            3 => opening(path(&mut fields)?, Some(fields.u32().ok_or_else(short)?)),
            9 => done(Waiting::new(Act::SetAttributes, path(&mut fields)?).changed(fields.attributes().ok_or_else(short)?)),
            11 => opening(path(&mut fields)?, None),
            13 => done(Waiting::new(Act::Remove, path(&mut fields)?)),
            14 => done(Waiting::new(Act::MakeDirectory, path(&mut fields)?)),
            15 => done(Waiting::new(Act::RemoveDirectory, path(&mut fields)?)),
            18 => done(Waiting::new(Act::Rename, path(&mut fields)?).towards(path(&mut fields)?)),
            20 => {
                let target = path(&mut fields)?;
                done(Waiting::new(Act::SymbolicLink, path(&mut fields)?).towards(target))
            }
            200 => self.extended(fields),
            7 | 16 | 17 | 19 => Ok(Asked::Other),
            _ if HANDLED.contains(&kind) => self.of_handle(kind, fields),
            _ => Err(client(format!("a request of unknown type {kind}"))),
        }
    }

    /// A request that begins with a handle. Handles can be guessed: what is said of one before the host has given it would stand in no account.
    fn of_handle(&mut self, kind: u8, mut fields: Fields<'_>) -> Result<Asked, Violation> {
        let short = || short(kind);
        let handle = fields.string().ok_or_else(short)?;
        let file = self.known(handle)?;
        let open = self.open.get_mut(&file).ok_or_else(unknown)?;
        match kind {
            4 => {
                self.handles.remove(handle);
                Ok(Asked::Close(file))
            }
            5 => {
                let (offset, length) = fields.u64().zip(fields.u32()).ok_or_else(short)?;
                Ok(Asked::Read { file, offset, length })
            }
            6 => {
                let (offset, data) = fields.u64().zip(fields.string()).ok_or_else(short)?;
                open.write(offset, data, &mut self.room);
                Ok(Asked::Write(file))
            }
            10 => {
                let change = fields.attributes().ok_or_else(short)?;
                let cut = change.size.is_some_and(|size| open.sized(size));
                let act = Box::new(Waiting::new(Act::SetAttributes, open.path().to_vec()).changed(change));
                Ok(if cut { Asked::Cut(file, act) } else { Asked::Done(act) })
            }
            _ => Ok(Asked::Other),
        }
    }

    /// The file of a handle that the host gave and that nobody is closing.
    fn known(&self, handle: &[u8]) -> Result<u64, Violation> {
        self.handles.get(handle).copied().ok_or_else(unknown)
    }

    fn extended(&mut self, mut fields: Fields<'_>) -> Result<Asked, Violation> {
        let name = fields.string().ok_or_else(|| client("an extension without a name"))?;
        let short = || client("an extension that is too short");
        let path = |fields: &mut Fields<'_>| fields.string().map(held).ok_or_else(short);
        match name {
            b"posix-rename@openssh.com" => done(Waiting::new(Act::Rename, path(&mut fields)?).towards(path(&mut fields)?)),
            b"hardlink@openssh.com" => {
                let target = path(&mut fields)?;
                done(Waiting::new(Act::HardLink, path(&mut fields)?).towards(target))
            }
            b"lsetstat@openssh.com" => {
                done(Waiting::new(Act::SetAttributes, path(&mut fields)?).changed(fields.attributes().ok_or_else(short)?))
            }
            b"copy-data" => {
                let from = self.known(fields.string().ok_or_else(short)?)?;
                fields.u64().zip(fields.u64()).ok_or_else(short)?;
                let to = self.known(fields.string().ok_or_else(short)?)?;
                let from = self.open.get(&from).ok_or_else(unknown)?.path().to_vec();
                let open = self.open.get_mut(&to).ok_or_else(unknown)?;
                open.copied_into();
                done(Waiting::new(Act::Copy, from).towards(open.path().to_vec()))
            }
            _ if READ_ONLY.contains(&name) => Ok(Asked::Other),
            _ => done(Waiting::new(Act::Extension, held(name))),
        }
    }

    fn answer(&mut self, packet: &[u8], rights: FileRights) -> Result<(), Violation> {
        let mut fields = Fields(packet);
        let kind = fields.byte().ok_or_else(|| host("an empty packet"))?;
        if kind == VERSION {
            return match (self.began, std::mem::replace(&mut self.versioned, true), fields.u32()) {
                (true, false, Some(3)) => Ok(()),
                _ => Err(host("a version that is not 3, or that nobody asked for")),
            };
        }
        let id = fields.u32().ok_or_else(|| host("an answer without a number"))?;
        let asked = self.asked.remove(&id).ok_or_else(|| host(format!("an answer to {id}, which nobody asked")))?;
        self.held -= asked.weight();
        let status = match kind {
            STATUS => Some(fields.u32().ok_or_else(|| host("a status without a code"))?),
            HANDLE | DATA | NAME | ATTRIBUTES | EXTENDED => None,
            _ => return Err(host(format!("an answer of unknown type {kind}"))),
        };
        match (asked, status) {
            (Asked::Open(what), None) if kind == HANDLE => self.opened(fields, *what, rights),
            (Asked::Open(what), Some(code)) => {
                self.told.push(what.refused(outcome(code)));
                Ok(())
            }
            (Asked::Close(file), Some(code)) => {
                self.closed(file, code);
                Ok(())
            }
            (Asked::Read { .. }, None) if kind == DATA && !rights.read => Err(host("it let a file be read, which is not in your grant")),
            (Asked::Read { file, offset, length }, None) if kind == DATA => self.data(fields, file, offset, length),
            (Asked::Read { file, offset, .. }, Some(code)) => {
                if let Some(open) = self.open.get_mut(&file) {
                    open.unread(offset, code);
                }
                Ok(())
            }
            (Asked::Write(file), Some(code)) => {
                if let Some(open) = self.open.get_mut(&file).filter(|_| code != OK) {
                    open.fail(code);
                }
                may_change(code, rights)
            }
            (Asked::Cut(file, act), Some(code)) => {
                if let Some(open) = self.open.get_mut(&file).filter(|_| code == OK) {
                    open.cut();
                }
                self.done(*act, code, rights)
            }
            (Asked::Done(act), Some(code)) => self.done(*act, code, rights),
            (Asked::Done(act), None) if kind == EXTENDED && act.act == Act::Extension => self.done(*act, OK, rights),
            (Asked::Other, _) if !matches!(kind, DATA | HANDLE) => Ok(()),
            _ => Err(host(format!("an answer of type {kind} to something else"))),
        }
    }

    /// Told before it is judged: it was done.
    fn done(&mut self, act: Waiting, code: u32, rights: FileRights) -> Result<(), Violation> {
        self.told.push(act.told(outcome(code)));
        may_change(code, rights)
    }

    fn data(&mut self, mut fields: Fields<'_>, file: u64, offset: u64, length: u32) -> Result<(), Violation> {
        let data = fields.string().ok_or_else(|| host("data that is too short"))?;
        if data.len() > length as usize {
            return Err(host("more data than was asked for"));
        }
        let open = self.open.get_mut(&file).ok_or_else(|| host("data of a file that it has closed"))?;
        open.read(offset, data, &mut self.room);
        Ok(())
    }

    fn opened(&mut self, mut fields: Fields<'_>, what: Opening, rights: FileRights) -> Result<(), Violation> {
        let handle = fields.string().filter(|handle| handle.len() <= HANDLE_AT_MOST).ok_or_else(|| host("a handle that is none"))?;
        if self.open.len() >= OPEN_AT_MOST {
            return Err(host("too many open files"));
        }
        if self.handles.insert(handle.to_vec(), self.next).is_some() {
            return Err(host("the same handle for two files"));
        }
        let granted = rights.write || !what.changes();
        let open = Open::new(what, handle);
        let weight = open.weight();
        self.open.insert(self.next, open);
        self.next += 1;
        self.hold(weight)?;
        // It is open by now, and told as such.
        if granted { Ok(()) } else { Err(host("it let a file be opened for writing, which is not in your grant")) }
    }

    fn closed(&mut self, file: u64, code: u32) {
        if let Some(open) = self.open.remove(&file) {
            self.held -= open.weight();
            self.room += open.ranges();
            self.told.push(open.told(&outcome(code)));
        }
    }
}

fn done(act: Waiting) -> Result<Asked, Violation> {
    Ok(Asked::Done(Box::new(act)))
}

/// Whether the host may answer a change with `code`.
fn may_change(code: u32, rights: FileRights) -> Result<(), Violation> {
    if code == OK && !rights.write { Err(host("it let a file be changed, which is not in your grant")) } else { Ok(()) }
}

fn short(kind: u8) -> Violation {
    client(format!("a request of type {kind} that is too short"))
}

fn unknown() -> Violation {
    client("a handle that is not open")
}

fn client(what: impl Into<String>) -> Violation {
    Violation { who: CLIENT, what: what.into() }
}

fn host(what: impl Into<String>) -> Violation {
    Violation { who: HOST, what: what.into() }
}

const CLIENT: &str = "the client";
const HOST: &str = "the host";

/// What open files and requests that wait may hold, in bytes. OpenSSH's client has 64 requests at a time; paramiko's asks for all of a file
/// at once, which is 32 bytes for each 32 KiB here.
const HELD_AT_MOST: usize = 1 << 20;
/// Ranges of the files that are open, together; what jumps about more often is counted.
const RANGES_AT_MOST: usize = 8192;
/// Handles that are open; OpenSSH's server gives at most 100.
const OPEN_AT_MOST: usize = 1024;
/// The longest handle (section 6.3).
const HANDLE_AT_MOST: usize = 256;

#[cfg(test)]
mod tests;
