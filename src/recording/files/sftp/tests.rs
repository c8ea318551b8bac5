mod server;

use proptest::prelude::*;
use server::Server;

use super::*;
use crate::recording::files::Hashed;

const BOTH: FileRights = FileRights { read: true, write: true };

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    string([&[kind][..], &fields.concat()].concat())
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
    for guessed in [write(2), close.clone(), packet(5, &[&id(2), &handle, &0u64.to_be_bytes(), &id(9)]), packet(12, &[&id(2), &handle])] {
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

/// A channel that has begun.
fn began(rights: FileRights) -> Sftp {
    let mut sftp = Sftp::new(rights);
    sftp.client(&packet(INIT, &[&3u32.to_be_bytes()])).unwrap();
    sftp
}

/// A file that is open under the handle `h`, as the answer to request 1.
fn opened(rights: FileRights, flags: u32) -> (Sftp, Result<(), Violation>) {
    let mut sftp = began(rights);
    sftp.client(&packet(3, &[&1u32.to_be_bytes(), &string("/x"), &flags.to_be_bytes(), &0u32.to_be_bytes()])).unwrap();
    let answer = sftp.host(&packet(HANDLE, &[&1u32.to_be_bytes(), &string("h")]));
    (sftp, answer)
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(STATUS, &[&id.to_be_bytes(), &code.to_be_bytes(), &string(""), &string("")])
}

/// A request about the handle `h`.
fn of_handle(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
    packet(kind, &[&[&id.to_be_bytes()[..], &string("h")], fields].concat())
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn what_waits_for_an_answer_holds_a_megabyte_at_most() {
    let long = string([1; 4096]);
    let rename = |id: u32| packet(18, &[&id.to_be_bytes(), &long, &long]);
    let mut sftp = began(FileRights { read: true, write: false });
    let refused = (0..4096).find(|id| sftp.client(&rename(*id)).is_err()).expect("a bound");
    assert!((100..=HELD_AT_MOST as u32 / 8192).contains(&refused), "{refused}");
    // What was answered holds nothing, however much it was.
    let mut sftp = began(BOTH);
    for id in 0..200 {
        sftp.client(&rename(id)).unwrap();
        sftp.host(&status(id, 3)).unwrap();
        assert_eq!(sftp.told().len(), 1);
    }
    assert_eq!(sftp.state.held, 0);
    // Nor does what was closed; open files count.
    for n in 0..300u32 {
        sftp.client(&packet(3, &[&n.to_be_bytes(), &long, &READ.to_be_bytes(), &0u32.to_be_bytes()])).unwrap();
        sftp.host(&packet(HANDLE, &[&n.to_be_bytes(), &string("h")])).unwrap();
        sftp.client(&of_handle(4, n, &[])).unwrap();
        sftp.host(&status(n, OK)).unwrap();
    }
    assert_eq!((sftp.state.held, sftp.state.room, sftp.told().len()), (0, RANGES_AT_MOST, 300));
    let many = (0..1000u32).find(|n| {
        let open = packet(3, &[&n.to_be_bytes(), &long, &READ.to_be_bytes(), &0u32.to_be_bytes()]);
        sftp.client(&open).is_err() || sftp.host(&packet(HANDLE, &[&n.to_be_bytes(), &string(n.to_be_bytes())])).is_err()
    });
    assert!(many.is_some_and(|n| n < 300), "{many:?}");
}

#[test]
fn a_client_may_ask_for_a_gigabyte_at_once() {
    let (mut sftp, _) = opened(BOTH, READ);
    for id in 0..30_000u32 {
        sftp.client(&of_handle(5, id, &[&(u64::from(id) << 15).to_be_bytes(), &32_768u32.to_be_bytes()])).unwrap();
    }
}

#[test]
fn a_file_that_was_emptied_was_written() {
    let (written, made) = (format!("write /x 0 bytes sha256:{EMPTY}"), WRITE | CREATE);
    for (flags, line) in [
        (WRITE | TRUNCATE, &written[..]),
        (READ | TRUNCATE, &written),
        (made | EXCLUSIVE, &written),
        (made | TRUNCATE | APPEND, "write /x 0 bytes"),
        (made, "open /x"),
        (WRITE | EXCLUSIVE, "open /x"),
        (READ, "open /x"),
    ] {
        let (mut sftp, answer) = opened(BOTH, flags);
        answer.unwrap();
        sftp.client(&of_handle(4, 2, &[])).unwrap();
        sftp.host(&status(2, OK)).unwrap();
        assert_eq!(sftp.told()[0].line(), line, "{flags:#x}");
        let (sftp, _) = opened(BOTH, flags);
        assert_eq!(sftp.finish().0[0].line(), format!("{line} (not closed)"), "{flags:#x}");
    }
    // The host reads it also when nobody waits for its answer.
    let mut sftp = began(BOTH);
    sftp.client(&packet(3, &[&1u32.to_be_bytes(), &string("/x"), &(WRITE | TRUNCATE).to_be_bytes(), &0u32.to_be_bytes()])).unwrap();
    assert_eq!(sftp.finish().0[0].line(), "open /x (not answered)");
}

#[test]
fn the_whole_file_is_only_what_is_certain() {
    let write = |at: u64| of_handle(6, 9, &[&at.to_be_bytes(), &string("abc")]);
    let size = |size: u64| of_handle(10, 9, &[&1u32.to_be_bytes(), &size.to_be_bytes()]);
    let copy = || {
        let (from, name) = (string("h"), string("copy-data"));
        packet(200, &[&9u32.to_be_bytes(), &name, &from, &0u64.to_be_bytes(), &9u64.to_be_bytes(), &from, &0u64.to_be_bytes()])
    };
    let (made, append) = (WRITE | CREATE, WRITE | CREATE | APPEND);
    for (flags, acts, whole) in [
        (made | TRUNCATE, vec![write(0)], true),
        (made | EXCLUSIVE, vec![write(0)], true),
        // Linux opens what is there: it may be longer.
        (WRITE | EXCLUSIVE, vec![write(0)], false),
        (made, vec![write(0)], false),
        (made, vec![write(0), size(3)], true),
        (made, vec![size(900), write(0), size(3)], true),
        (made, vec![write(0), size(900)], false),
        // Zeros stand where it was cut and stretched again, and behind all else where it is appended to.
        (made | TRUNCATE, vec![write(0), size(1), size(3)], false),
        (append, vec![write(0), size(3)], false),
        (made | TRUNCATE, vec![write(0), copy()], false),
        (made | TRUNCATE, vec![write(0), copy(), size(3)], false),
        (made | TRUNCATE, vec![write(3)], false),
    ] {
        let (mut sftp, _) = opened(BOTH, flags);
        for act in &acts {
            sftp.client(act).unwrap();
            sftp.host(&status(9, OK)).unwrap();
        }
        sftp.client(&of_handle(4, 2, &[])).unwrap();
        sftp.host(&status(2, OK)).unwrap();
        let written = sftp.told().pop().and_then(|act| act.written).unwrap();
        assert_eq!(written.sha256.is_some(), whole, "{flags:#x} {acts:?}");
        assert!(written.sha256.is_none_or(|sha256| sha256 == ABC) && written.bytes == 3);
    }
}

#[test]
fn a_file_that_is_opened_for_writing_without_the_right_ends_it_and_is_told() {
    let reads = FileRights { read: true, write: false };
    for (flags, passes) in [(READ, true), (READ | APPEND, true), (WRITE, false), (READ | CREATE, false), (READ | TRUNCATE, false)] {
        let (sftp, answer) = opened(reads, flags);
        assert_eq!(answer.is_ok(), passes, "{flags:#x}");
        assert_eq!(sftp.finish().0.len(), 1);
    }
    let mut sftp = began(reads);
    sftp.client(&packet(13, &[&1u32.to_be_bytes(), &string("/x")])).unwrap();
    assert!(sftp.host(&status(1, OK)).is_err());
    assert_eq!(sftp.told()[0].line(), "remove /x", "it was done");
    assert!(opened(FileRights { read: false, write: true }, READ | WRITE).1.is_ok());
}

#[test]
fn data_that_belongs_to_no_file_ends_it() {
    let data = |id: u32| packet(DATA, &[&id.to_be_bytes(), &string("abc")]);
    let read = |id: u32| of_handle(5, id, &[&0u64.to_be_bytes(), &9u32.to_be_bytes()]);
    let (mut sftp, _) = opened(BOTH, READ);
    sftp.client(&read(2)).unwrap();
    sftp.client(&of_handle(4, 3, &[])).unwrap();
    sftp.host(&status(3, 4)).unwrap();
    assert_eq!(sftp.told()[0].line(), "open /x (failure)", "it could not be closed");
    // Another file has the handle now; the data is not that one's.
    sftp.client(&packet(3, &[&1u32.to_be_bytes(), &string("/y"), &READ.to_be_bytes(), &0u32.to_be_bytes()])).unwrap();
    sftp.host(&packet(HANDLE, &[&1u32.to_be_bytes(), &string("h")])).unwrap();
    assert!(sftp.host(&data(2)).is_err());
    assert_eq!(sftp.finish().0[0].line(), "open /y (not closed)");
    // In order it is the closed file's.
    let (mut sftp, _) = opened(BOTH, READ);
    sftp.client(&read(2)).unwrap();
    sftp.client(&of_handle(4, 3, &[])).unwrap();
    sftp.host(&data(2)).unwrap();
    sftp.host(&status(3, OK)).unwrap();
    assert_eq!(sftp.told()[0].line(), "read /x 3 bytes in 1 ranges");
    // As an answer to anything else.
    for asked in [packet(7, &[&2u32.to_be_bytes(), &string("/x")]), packet(13, &[&2u32.to_be_bytes(), &string("/x")])] {
        let mut sftp = began(BOTH);
        sftp.client(&asked).unwrap();
        assert!(sftp.host(&data(2)).is_err(), "{asked:?}");
    }
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
