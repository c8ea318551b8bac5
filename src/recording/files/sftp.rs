//! Looks at an SFTP channel (version 3, with OpenSSH's extensions) and tells each act when its outcome is known. Never changes a byte; the
//! first thing that does not fit the protocol ends it.
//!
//! What the grant does not give, the host refuses (its server is forced to, by the session's certificate), and the client gets a polite
//! answer. A host that lets it through all the same ends the channel here.
//!
//! Sources: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4 (extensions; `symlink` has its arguments the other way round).

use std::collections::HashMap;

use super::numbers::*;
use super::packets::{Fields, Packets};
use super::{Act, FileAct, Hashed, Violation, path_text};

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

#[derive(Debug, Default)]
struct State {
    began: bool,
    versioned: bool,
    open: HashMap<Vec<u8>, Open>,
    asked: HashMap<u32, Asked>,
    told: Vec<FileAct>,
}

/// A handle that the host gave.
#[derive(Debug)]
struct Open {
    path: String,
    directory: bool,
    /// Written from nothing: what was written in sequence is the whole file.
    fresh: bool,
    read: Hashed,
    written: Hashed,
    end: u64,
    /// The lowest offset at which a reading met the end.
    eof: Option<u64>,
    failed: Option<String>,
    /// It is being closed: nothing may be said of it any more.
    closing: bool,
}

/// A request that waits for its answer.
#[derive(Debug)]
enum Asked {
    Open {
        path: String,
        directory: bool,
        fresh: bool,
    },
    Close {
        handle: Vec<u8>,
    },
    Read {
        handle: Vec<u8>,
        offset: u64,
        length: u32,
    },
    Write {
        handle: Vec<u8>,
    },
    /// The file is cut to what was written so far: after it, that is the whole.
    Cut {
        handle: Vec<u8>,
        act: Box<FileAct>,
    },
    Done(Box<FileAct>),
    Other,
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
        for (_, asked) in self.state.asked.drain() {
            if let Asked::Done(act) | Asked::Cut { act, .. } = asked {
                self.state.told.push(FileAct { outcome: "not answered".into(), ..*act });
            }
        }
        let mut left: Vec<Open> = self.state.open.drain().map(|(_, open)| open).collect();
        left.sort_by(|a, b| a.path.cmp(&b.path));
        self.state.told.extend(left.into_iter().map(|open| open.told("not closed")));
        (self.state.told, self.up.is_whole() && self.down.is_whole())
    }
}

impl Open {
    fn told(self, unless_failed: &str) -> FileAct {
        let size = self.eof;
        let written = if self.fresh { Some(self.end) } else { None };
        FileAct {
            act: if self.directory { Act::List } else { Act::Transfer },
            path: self.path,
            place: None,
            to: None,
            read: (!self.read.is_empty() || size == Some(0)).then(|| self.read.told(size)),
            written: (!self.written.is_empty()).then(|| self.written.told(written)),
            change: None,
            outcome: self.failed.unwrap_or_else(|| unless_failed.to_owned()),
        }
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
        if self.asked.len() >= ASKED_AT_MOST {
            return Err(client("too many requests at the same time"));
        }
        let asked = self.asked(kind, fields)?;
        match self.asked.insert(id, asked) {
            Some(_) => Err(client(format!("two requests with the number {id}"))),
            None => Ok(()),
        }
    }

    fn asked(&mut self, kind: u8, mut fields: Fields<'_>) -> Result<Asked, Violation> {
        let short = || client(format!("a request of type {kind} that is too short"));
        let path = |fields: &mut Fields<'_>| fields.string().map(path_text).ok_or_else(short);
        let handle = |fields: &mut Fields<'_>| fields.string().map(<[u8]>::to_vec).ok_or_else(short);
        // Handles can be guessed: what is said of one before the host has given it would stand in no account.
        if HANDLED.contains(&kind) {
            self.known(fields.clone().string().ok_or_else(short)?)?;
        }
        let done = |act: FileAct| Ok(Asked::Done(Box::new(act)));
        match kind {
            3 => {
                let path = path(&mut fields)?;
                let flags = fields.u32().ok_or_else(short)?;
                Ok(Asked::Open { path, directory: false, fresh: flags & (TRUNCATE | EXCLUSIVE) != 0 && flags & APPEND == 0 })
            }
            4 => {
                let handle = handle(&mut fields)?;
                self.known(&handle)?.closing = true;
                Ok(Asked::Close { handle })
            }
            5 => {
                let handle = handle(&mut fields)?;
                let (offset, length) = fields.u64().zip(fields.u32()).ok_or_else(short)?;
                Ok(Asked::Read { handle, offset, length })
            }
            6 => {
                let handle = handle(&mut fields)?;
                let (offset, data) = fields.u64().zip(fields.string()).ok_or_else(short)?;
                let open = self.known(&handle)?;
                open.written.add(offset, data);
                open.end = open.end.max(offset.saturating_add(data.len() as u64));
                Ok(Asked::Write { handle })
            }
            9 => done(self.set(path(&mut fields)?, fields.attributes().ok_or_else(short)?.words())),
            10 => {
                let handle = handle(&mut fields)?;
                let change = fields.attributes().ok_or_else(short)?;
                let open = self.known(&handle)?;
                // A file that is cut or stretched is no longer what was written in sequence.
                open.fresh &= change.size.is_none_or(|size| size == open.end);
                let cut = change.size == Some(open.end);
                let path = open.path.clone();
                let act = Box::new(self.set(path, change.words()));
                Ok(if cut { Asked::Cut { handle, act } } else { Asked::Done(act) })
            }
            11 => Ok(Asked::Open { path: path(&mut fields)?, directory: true, fresh: false }),
            13 => done(plain(Act::Remove, path(&mut fields)?)),
            14 => done(plain(Act::MakeDirectory, path(&mut fields)?)),
            15 => done(plain(Act::RemoveDirectory, path(&mut fields)?)),
            18 => done(FileAct { to: None, ..plain(Act::Rename, path(&mut fields)?) }.towards(path(&mut fields)?)),
            20 => {
                let target = path(&mut fields)?;
                done(plain(Act::SymbolicLink, path(&mut fields)?).towards(target))
            }
            200 => self.extended(fields),
            7 | 8 | 12 | 16 | 17 | 19 => Ok(Asked::Other),
            _ => Err(client(format!("a request of unknown type {kind}"))),
        }
    }

    /// The file of a handle that the host gave and that nobody is closing.
    fn known(&mut self, handle: &[u8]) -> Result<&mut Open, Violation> {
        self.open.get_mut(handle).filter(|open| !open.closing).ok_or_else(|| client("a handle that is not open"))
    }

    fn set(&self, path: String, change: Option<String>) -> FileAct {
        FileAct { change, ..plain(Act::SetAttributes, path) }
    }

    fn extended(&mut self, mut fields: Fields<'_>) -> Result<Asked, Violation> {
        let name = fields.string().ok_or_else(|| client("an extension without a name"))?;
        let short = || client("an extension that is too short");
        let path = |fields: &mut Fields<'_>| fields.string().map(path_text).ok_or_else(short);
        let done = |act: FileAct| Ok(Asked::Done(Box::new(act)));
        match name {
            b"posix-rename@openssh.com" => done(plain(Act::Rename, path(&mut fields)?).towards(path(&mut fields)?)),
            b"hardlink@openssh.com" => {
                let target = path(&mut fields)?;
                done(plain(Act::HardLink, path(&mut fields)?).towards(target))
            }
            b"lsetstat@openssh.com" => done(self.set(path(&mut fields)?, fields.attributes().ok_or_else(short)?.words())),
            b"copy-data" => {
                let from = fields.string().ok_or_else(short)?;
                fields.u64().zip(fields.u64()).ok_or_else(short)?;
                let to = fields.string().ok_or_else(short)?;
                let from = self.known(from)?.path.clone();
                let open = self.known(to)?;
                open.fresh = false;
                done(plain(Act::Copy, from).towards(open.path.clone()))
            }
            _ if READ_ONLY.contains(&name) => Ok(Asked::Other),
            _ => done(plain(Act::Extension, path_text(name))),
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
        let status = match kind {
            STATUS => Some(fields.u32().ok_or_else(|| host("a status without a code"))?),
            HANDLE | DATA | NAME | ATTRIBUTES | EXTENDED => None,
            _ => return Err(host(format!("an answer of unknown type {kind}"))),
        };
        match (asked, status) {
            (Asked::Open { path, directory, fresh }, None) if kind == HANDLE => self.opened(fields, path, directory, fresh),
            (Asked::Open { path, directory, .. }, Some(code)) => {
                let act = if directory { Act::List } else { Act::Transfer };
                self.told.push(FileAct { outcome: outcome(code), ..plain(act, path) });
                Ok(())
            }
            (Asked::Close { handle }, Some(_)) => {
                if let Some(open) = self.open.remove(&handle) {
                    self.told.push(open.told("ok"));
                }
                Ok(())
            }
            (Asked::Read { .. }, None) if kind == DATA && !rights.read => Err(host("it let a file be read, which is not in your grant")),
            (Asked::Read { handle, offset, length }, None) if kind == DATA => self.data(fields, &handle, offset, length),
            (Asked::Read { handle, offset, .. }, Some(code)) => {
                if let Some(open) = self.open.get_mut(&handle) {
                    match code {
                        EOF => open.eof = Some(open.eof.map_or(offset, |eof| eof.min(offset))),
                        code => open.failed = Some(outcome(code)),
                    }
                }
                Ok(())
            }
            (Asked::Write { .. } | Asked::Cut { .. } | Asked::Done(_), Some(OK)) if !rights.write => {
                Err(host("it let a file be changed, which is not in your grant"))
            }
            (Asked::Write { handle }, Some(code)) => {
                if let Some(open) = self.open.get_mut(&handle).filter(|_| code != OK) {
                    open.failed = Some(outcome(code));
                }
                Ok(())
            }
            (Asked::Cut { handle, act }, status) => {
                if let Some(open) = self.open.get_mut(&handle).filter(|_| status == Some(OK)) {
                    open.fresh = true;
                }
                self.done(*act, status)
            }
            (Asked::Done(act), status) => self.done(*act, status),
            (Asked::Other, _) => Ok(()),
            _ => Err(host(format!("an answer of type {kind} to something else"))),
        }
    }

    fn done(&mut self, act: FileAct, status: Option<u32>) -> Result<(), Violation> {
        self.told.push(FileAct { outcome: outcome(status.unwrap_or(OK)), ..act });
        Ok(())
    }

    fn data(&mut self, mut fields: Fields<'_>, handle: &[u8], offset: u64, length: u32) -> Result<(), Violation> {
        let data = fields.string().ok_or_else(|| host("data that is too short"))?;
        if data.len() > length as usize {
            return Err(host("more data than was asked for"));
        }
        if let Some(open) = self.open.get_mut(handle) {
            open.read.add(offset, data);
        }
        Ok(())
    }

    fn opened(&mut self, mut fields: Fields<'_>, path: String, directory: bool, fresh: bool) -> Result<(), Violation> {
        let handle = fields.string().filter(|handle| handle.len() <= HANDLE_AT_MOST).ok_or_else(|| host("a handle that is none"))?;
        if self.open.len() >= OPEN_AT_MOST {
            return Err(host("too many open files"));
        }
        let (read, written) = (Hashed::default(), Hashed::default());
        let open = Open { path, directory, fresh, read, written, end: 0, eof: None, failed: None, closing: false };
        match self.open.insert(handle.to_vec(), open) {
            Some(_) => Err(host("the same handle for two files")),
            None => Ok(()),
        }
    }
}

impl FileAct {
    fn towards(self, to: String) -> Self {
        Self { to: Some(to), ..self }
    }
}

fn plain(act: Act, path: String) -> FileAct {
    FileAct { act, path, place: None, to: None, read: None, written: None, change: None, outcome: "ok".into() }
}

fn client(what: impl Into<String>) -> Violation {
    Violation { who: CLIENT, what: what.into() }
}

fn host(what: impl Into<String>) -> Violation {
    Violation { who: HOST, what: what.into() }
}

const CLIENT: &str = "the client";
const HOST: &str = "the host";

/// Requests that wait for their answers; OpenSSH's client has at most 64.
const ASKED_AT_MOST: usize = 4096;
/// Handles that are open; OpenSSH's server gives at most 100.
const OPEN_AT_MOST: usize = 1024;
/// The longest handle (section 6.3).
const HANDLE_AT_MOST: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    const BOTH: FileRights = FileRights { read: true, write: true };

    fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let bytes = bytes.as_ref();
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
        string([&[kind][..], &fields.concat()].concat())
    }

    /// OpenSSH's own server, with the watcher between.
    struct Server {
        child: Child,
        sftp: Sftp,
        next: u32,
    }

    impl Server {
        fn start(rights: FileRights) -> Self {
            let program = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
            let program = program.into_iter().find(|path| std::path::Path::new(path).exists()).expect("OpenSSH's sftp-server");
            let child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut server = Self { child, sftp: Sftp::new(rights), next: 0 };
            server.exchange(&packet(INIT, &[&3u32.to_be_bytes()]));
            server
        }

        /// Sends one packet and gives the answer's type and fields.
        fn exchange(&mut self, sent: &[u8]) -> (u8, Vec<u8>) {
            self.sftp.client(sent).unwrap();
            self.child.stdin.as_mut().unwrap().write_all(sent).unwrap();
            let out = self.child.stdout.as_mut().unwrap();
            let mut head = [0; 4];
            out.read_exact(&mut head).unwrap();
            let mut body = vec![0; u32::from_be_bytes(head) as usize];
            out.read_exact(&mut body).unwrap();
            self.sftp.host(&head).unwrap();
            self.sftp.host(&body).unwrap();
            (body[0], body[1..].to_vec())
        }

        fn ask(&mut self, kind: u8, fields: &[&[u8]]) -> (u8, Vec<u8>) {
            self.next += 1;
            let id = self.next.to_be_bytes();
            self.exchange(&packet(kind, &[&[&id[..]], fields].concat()))
        }

        fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
            let (kind, answer) = self.ask(3, &[&string(path), &flags.to_be_bytes(), &0u32.to_be_bytes()]);
            assert_eq!(kind, HANDLE, "{path}");
            answer[4..].to_vec()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn sha256(bytes: &[u8]) -> String {
        let mut hashed = Hashed::default();
        hashed.add(0, bytes);
        hashed.told(Some(bytes.len() as u64)).sha256.unwrap()
    }

    #[test]
    fn what_openssh_does_is_told_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        std::fs::write(at("there"), &text).unwrap();
        let mut server = Server::start(BOTH);
        // read in sequence, to the end
        let handle = server.open(&at("there"), READ);
        let mut offset = 0u64;
        while let (DATA, answer) = server.ask(5, &[&handle, &offset.to_be_bytes(), &32_768u32.to_be_bytes()]) {
            offset += answer.len() as u64 - 8;
        }
        server.ask(4, &[&handle]);
        // written from nothing, then its mode
        let handle = server.open(&at("new"), 0x2 | 0x8 | TRUNCATE);
        for (n, part) in text.chunks(30_000).enumerate() {
            server.ask(6, &[&handle, &(n as u64 * 30_000).to_be_bytes(), &string(part)]);
        }
        server.ask(10, &[&handle, &4u32.to_be_bytes(), &0o640u32.to_be_bytes()]);
        server.ask(4, &[&handle]);
        // written over what was there, and cut to it: as scp does
        std::fs::write(at("over"), vec![1; 500_000]).unwrap();
        let handle = server.open(&at("over"), 0x2 | 0x8);
        for (n, part) in text.chunks(30_000).enumerate() {
            server.ask(6, &[&handle, &(n as u64 * 30_000).to_be_bytes(), &string(part)]);
        }
        server.ask(10, &[&handle, &1u32.to_be_bytes(), &400_000u64.to_be_bytes()]);
        server.ask(4, &[&handle]);
        server.ask(18, &[&string(at("new")), &string(at("newer"))]);
        server.ask(13, &[&string(at("nowhere"))]);
        server.ask(20, &[&string("newer"), &string(at("link"))]);
        server.ask(200, &[&string("posix-rename@openssh.com"), &string(at("newer")), &string(at("newest"))]);
        server.ask(3, &[&string(at("nothing")), &READ.to_be_bytes(), &0u32.to_be_bytes()]);
        let told = server.sftp.told();
        let lines: Vec<String> = told.iter().map(|act| act.line().replace(&format!("{}/", dir.path().display()), "")).collect();
        let digest = sha256(&text);
        assert_eq!(
            lines,
            [
                format!("read there 400000 bytes sha256:{digest}"),
                "set new mode=0640".into(),
                format!("write new 400000 bytes sha256:{digest}"),
                "set over size=400000".into(),
                format!("write over 400000 bytes sha256:{digest}"),
                "rename new -> newer".into(),
                "remove nowhere (no such file)".into(),
                "symlink link -> newer".into(),
                "rename newer -> newest".into(),
                "open nothing (no such file)".into(),
            ]
        );
        assert_eq!(std::fs::read(at("newest")).unwrap(), text, "the file is what was sent");
        for act in told {
            let json = serde_json::to_string(&act).unwrap();
            assert_eq!(serde_json::from_str::<FileAct>(&json).unwrap(), act);
        }
    }

    #[test]
    fn a_host_that_lets_through_what_is_not_granted_ends_it() {
        let open = |flags: u32| packet(3, &[&1u32.to_be_bytes(), &string("/x"), &flags.to_be_bytes(), &0u32.to_be_bytes()]);
        let opened = |read, write, flags| {
            let mut sftp = Sftp::new(FileRights { read, write });
            sftp.client(&packet(INIT, &[&3u32.to_be_bytes()])).unwrap();
            sftp.client(&open(flags)).unwrap();
            sftp.host(&packet(HANDLE, &[&1u32.to_be_bytes(), &string("h")])).unwrap();
            sftp
        };
        let two = 2u32.to_be_bytes();
        let ask = packet(5, &[&two, &string("h"), &0u64.to_be_bytes(), &9u32.to_be_bytes()]);
        let send = packet(6, &[&two, &string("h"), &0u64.to_be_bytes(), &string("abc")]);
        let remove = packet(13, &[&two, &string("/x")]);
        let status = |code: u32| packet(STATUS, &[&two, &code.to_be_bytes(), &string(""), &string("")]);
        let data = packet(DATA, &[&two, &string("abc")]);
        for (read, write, asked, answer, passes) in [
            (true, false, &ask, data.clone(), true),
            (false, true, &ask, data.clone(), false),
            (false, true, &ask, status(3), true),
            (false, true, &send, status(OK), true),
            (true, false, &send, status(OK), false),
            (true, false, &send, status(3), true),
            (true, false, &remove, status(OK), false),
            (true, false, &remove, status(3), true),
        ] {
            let mut sftp = opened(read, write, READ);
            sftp.client(asked).unwrap();
            assert_eq!(sftp.host(&answer).is_ok(), passes, "read {read}, write {write}: {asked:?} {answer:?}");
        }
    }

    #[test]
    fn a_handle_counts_from_its_answer_to_its_closing() {
        let handle = string("\0\0\0\0");
        let id = |n: u32| n.to_be_bytes();
        let open = packet(3, &[&id(1), &string("/x"), &0x1au32.to_be_bytes(), &0u32.to_be_bytes()]);
        let write = |n: u32| packet(6, &[&id(n), &handle, &0u64.to_be_bytes(), &string("hidden")]);
        let close = packet(4, &[&id(2), &handle]);
        let began = || {
            let mut sftp = Sftp::new(BOTH);
            sftp.client(&packet(INIT, &[&id(3)])).unwrap();
            sftp.host(&packet(VERSION, &[&id(3)])).unwrap();
            sftp.client(&open).unwrap();
            sftp
        };
        // guessed before it is given
        for guessed in [write(2), close.clone(), packet(5, &[&id(2), &handle, &0u64.to_be_bytes(), &id(9)]), packet(12, &[&id(2), &handle])]
        {
            assert!(began().client(&guessed).is_err(), "{guessed:?}");
        }
        let mut sftp = began();
        sftp.host(&packet(HANDLE, &[&id(1), &handle])).unwrap();
        sftp.client(&write(5)).unwrap();
        sftp.client(&close).unwrap();
        // and after it was let go: it may be another file's by the time that the host reads this
        assert!(sftp.client(&write(6)).is_err());
        assert!(began().host(&packet(VERSION, &[&id(3)])).is_err(), "one version is enough");
    }

    #[test]
    fn what_is_left_open_or_unanswered_is_told() {
        let mut sftp = Sftp::new(BOTH);
        sftp.client(&packet(INIT, &[&3u32.to_be_bytes()])).unwrap();
        sftp.client(&packet(3, &[&1u32.to_be_bytes(), &string("/x"), &0x1au32.to_be_bytes(), &0u32.to_be_bytes()])).unwrap();
        sftp.host(&packet(HANDLE, &[&1u32.to_be_bytes(), &string("h")])).unwrap();
        sftp.client(&packet(6, &[&2u32.to_be_bytes(), &string("h"), &0u64.to_be_bytes(), &string("abc")])).unwrap();
        sftp.client(&packet(13, &[&3u32.to_be_bytes(), &string("/y")])).unwrap();
        sftp.client(&[0, 0]).unwrap();
        let (told, whole) = sftp.finish();
        let lines: Vec<String> = told.iter().map(FileAct::line).collect();
        assert_eq!(lines[0], "remove /y (not answered)");
        assert!(lines[1].starts_with("write /x 3 bytes sha256:ba7816bf") && lines[1].ends_with("(not closed)"), "{lines:?}");
        assert!(!whole);
    }

    proptest! {
        #[test]
        fn hostile_bytes_end_it_or_are_told_and_never_more(
            up in proptest::collection::vec(any::<u8>(), 0..400),
            kinds in proptest::collection::vec((0u8..22, any::<[u8; 12]>()), 0..20),
        ) {
            let mut sftp = Sftp::new(BOTH);
            let _ = sftp.client(&packet(INIT, &[&3u32.to_be_bytes()]));
            for (n, (kind, bytes)) in kinds.iter().enumerate() {
                let id = u32::try_from(n).unwrap().to_be_bytes();
                let _ = sftp.client(&packet(*kind, &[&id, &string(bytes), &string(bytes)]));
                let _ = sftp.host(&packet(101 + kind % 5, &[&id, &string(bytes)]));
            }
            let _ = sftp.client(&up);
            let _ = sftp.host(&up);
            let (told, _) = sftp.finish();
            prop_assert!(told.len() <= kinds.len() + 40);
        }
    }
}
