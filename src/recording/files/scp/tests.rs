use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use proptest::prelude::*;

use super::*;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// One side's bytes: true for the sender.
type Turn = (bool, Vec<u8>);

fn turns(list: &[(bool, &[u8])]) -> Vec<Turn> {
    list.iter().map(|(sender, bytes)| (*sender, bytes.to_vec())).collect()
}

/// All acts as lines, and whether it ended in order; or how it was broken.
fn account(command: &str, turns: &[Turn], chunk: usize) -> Result<(Vec<String>, bool), (Vec<String>, String)> {
    let mut scp = Scp::of(command.as_bytes()).unwrap();
    let uploads = scp.command.uploads;
    let mut lines = Vec::new();
    for (sender, bytes) in turns {
        for piece in bytes.chunks(chunk) {
            let seen = if *sender == uploads { scp.client(piece) } else { scp.host(piece) };
            lines.extend(scp.told().iter().map(FileAct::line));
            if let Err(violation) = seen {
                return Err((lines, violation.to_string()));
            }
        }
    }
    let (told, whole) = scp.finish();
    lines.extend(told.iter().map(FileAct::line));
    Ok((lines, whole))
}

/// A directory with a file in it, one that is refused, one that the sender could not read to its end, and one of no bytes.
fn tree() -> Vec<Turn> {
    turns(&[
        (false, b"\0"),
        (true, b"T7 0 8 0\n"),
        (false, b"\0"),
        (true, b"D0755 0 d\n"),
        (false, b"\0"),
        (true, b"T9 0 8 0\n"),
        (false, b"\0"),
        (true, b"C0640 3 a b\n"),
        (false, b"\0"),
        (true, b"abc\0"),
        (false, b"\0"),
        (true, b"C0644 3 no\n"),
        (false, b"\x01scp: no: Permission denied\n"),
        (true, b"\x01scp: gone: No such file or directory\n"),
        (true, b"C0600 3 torn\n"),
        (false, b"\0"),
        (true, b"abc\x01scp: torn: Input/output error\n"),
        (false, b"\0"),
        (true, b"C0600 0 \x1b[2J\n"),
        (false, b"\0"),
        (true, b"\0"),
        (false, b"\0"),
        (true, b"E\n"),
        (false, b"\0"),
    ])
}

#[test]
fn every_file_is_told_both_ways() {
    let (up, whole) = account("scp -r -p -t /in/", &tree(), 1000).unwrap();
    assert!(whole);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        up,
        [
            "mkdir /in/d mode=0755".to_owned(),
            format!("write /in/d/a b 3 bytes sha256:{ABC} mode=0640 mtime=9"),
            "open /in/d/no mode=0644 (scp: no: Permission denied)".into(),
            "open /in/d (scp: gone: No such file or directory)".into(),
            format!("write /in/d/torn 3 bytes sha256:{ABC} mode=0600 (scp: torn: Input/output error)"),
            format!("write /in/d/\\x1b[2J 0 bytes sha256:{empty} mode=0600"),
        ]
    );
    let (down, _) = account("scp -r -f /out/d", &tree(), 1000).unwrap();
    assert_eq!(down[..2], ["list /out/d mode=0755".to_owned(), format!("read /out/d/a b 3 bytes sha256:{ABC} mode=0640 mtime=9")]);
    let (unsure, _) = account("scp -t /in", &tree(), 1000).unwrap();
    assert_eq!(unsure[0], "mkdir d mode=0755, below /in");
}

#[test]
fn what_is_no_scp_ends_the_account() {
    let hi: &[u8] = b"\0";
    for (list, why) in [
        (turns(&[(true, b"C0644 3 x\n")]), "it did not wait for an answer"),
        (turns(&[(false, hi), (true, b"C0644 3 x\nabc")]), "it did not wait"),
        (turns(&[(false, hi), (true, b"C0644 3 ../x\n")]), "the name ../x leads elsewhere"),
        (turns(&[(false, hi), (true, b"C0644 3 ..\n")]), "leads elsewhere"),
        (turns(&[(false, hi), (true, b"C0944 3 x\n")]), "names no file"),
        (turns(&[(false, hi), (true, b"C0644 -3 x\n")]), "names no file"),
        (turns(&[(false, hi), (true, b"C0644 99999999999999999999 x\n")]), "names no file"),
        (turns(&[(false, hi), (true, b"Twice\n")]), "times that are none"),
        (turns(&[(false, hi), (true, b"\x1b]0;evil\n")]), "a line that begins with \\x1b"),
        (turns(&[(false, hi), (true, b"E\n"), (false, hi)]), "a directory that it was not in"),
        (turns(&[(false, hi), (true, b"\x02gone\n"), (true, b"more")]), "it went on after its end"),
        (turns(&[(false, b"Welcome!\n"), (true, b"C0644 3 x\n")]), "it went on after its end"),
        (turns(&[(false, hi), (true, &[b'C'; 20_000])]), "a line that does not end"),
        (turns(&[(false, &[0; 40])]), "it answered what nobody asked"),
    ] {
        let (_, said) = account("scp -t x", &list, 1000).unwrap_err();
        assert!(said.contains(why), "{said}: {why}");
    }
}

#[test]
fn directories_are_as_deep_as_a_path_can_be() {
    let into = |name: Vec<u8>, times: usize| {
        let one = [(false, b"\0".to_vec()), (true, [&b"D0755 0 "[..], &name, b"\n"].concat())];
        let list: Vec<Turn> = one.iter().cloned().cycle().take(2 * times).chain([(false, b"\0".to_vec())]).collect();
        account("scp -r -t /x", &list, 100_000)
    };
    for (name, times, fits) in
        [(16_000, 300, false), (16_000, 1, false), (1, 2048, true), (1, 2049, false), (255, 16, true), (255, 17, false)]
    {
        match into(vec![b'd'; name], times) {
            Ok((lines, _)) => assert!(fits && lines.len() == times, "{name} {times}"),
            Err((lines, said)) => assert!(!fits && lines.len() <= times && said.contains("too deep"), "{name} {times}: {said}"),
        }
    }
}

#[test]
fn what_is_left_open_is_told() {
    let begun = turns(&[(false, b"\0"), (true, b"C0644 9 x\n"), (false, b"\0"), (true, b"abc")]);
    let (lines, whole) = account("scp -f x", &begun, 1000).unwrap();
    assert_eq!((lines.len(), whole), (1, false));
    assert!(lines[0].starts_with("read x 3 bytes in 1 ranges mode=0644 (not finished)"), "{lines:?}");
    let (lines, whole) = account("scp -t x", &turns(&[(false, b"\x02scp: x: Not a directory\n")]), 1000).unwrap();
    assert_eq!((lines, whole), (vec!["open x (scp: x: Not a directory)".to_owned()], true));
}

/// OpenSSH's own scp on both ends, with the watcher between.
fn between(sink: &[&str], source: &[&str], watched: &str) -> Vec<String> {
    let start = |args: &[&str]| Command::new("scp").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut sink, mut source) = (start(sink), start(source));
    let scp = std::sync::Mutex::new(Scp::of(watched.as_bytes()).unwrap());
    let (mut from, mut answers) = (source.stdout.take().unwrap(), sink.stdout.take().unwrap());
    let (mut to, mut back) = (sink.stdin.take().unwrap(), source.stdin.take().unwrap());
    let pump = |read: &mut dyn Read, write: &mut dyn Write, sender: bool| {
        let mut buffer = vec![0; 5000];
        while let Ok(n @ 1..) = read.read(&mut buffer) {
            let mut scp = scp.lock().unwrap();
            let uploads = scp.command.uploads;
            if sender == uploads { scp.client(&buffer[..n]) } else { scp.host(&buffer[..n]) }.unwrap();
            drop(scp);
            if write.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            pump(&mut from, &mut to, true);
            drop(to);
        });
        scope.spawn(|| {
            pump(&mut answers, &mut back, false);
            drop(back);
        });
    });
    let (_, _) = (sink.wait().unwrap(), source.wait().unwrap());
    let (told, whole) = scp.into_inner().unwrap().finish();
    assert!(whole);
    told.iter().map(FileAct::line).collect()
}

#[test]
fn what_openssh_does_is_told_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir_all(at("tree/deep")).unwrap();
    let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    std::fs::write(at("tree/deep/big"), &text).unwrap();
    std::fs::write(at("tree/abc"), "abc").unwrap();
    std::fs::create_dir(at("in")).unwrap();
    let lines = between(
        &["-r", "-p", "-d", "-t", &at("in")],
        &["-r", "-p", "-f", &at("tree"), &at("nothing")],
        &format!("scp -r -p -d -t {}", at("in")),
    );
    assert_eq!(std::fs::read(at("in/tree/deep/big")).unwrap(), text, "the file is what was sent");
    let mut hashed = Hashed::default();
    hashed.add(0, &text);
    let digest = hashed.told(Some(400_000)).sha256.unwrap();
    let has = |what: &str| assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:?}");
    has(&format!("write {} 3 bytes sha256:{ABC} mode=0644 mtime=", at("in/tree/abc")));
    has(&format!("write {} 400000 bytes sha256:{digest} mode=", at("in/tree/deep/big")));
    has(&format!("mkdir {} mode=0755", at("in/tree/deep")));
    has("nothing: No such file or directory)");
    let lines = between(&["-t", &at("one")], &["-f", &at("tree/abc")], &format!("scp -f {}", at("tree/abc")));
    assert_eq!(lines, [format!("read {} 3 bytes sha256:{ABC} mode=0644", at("tree/abc"))]);
}

proptest! {
    #[test]
    fn the_account_is_the_same_however_the_bytes_come(chunk in 1usize..40, upload in any::<bool>(), cut in 0usize..24) {
        let command = if upload { "scp -r -t /in" } else { "scp -r -f /out/d" };
        let all = tree();
        let some = &all[..all.len().min(cut + 1)];
        prop_assert_eq!(account(command, some, chunk), account(command, some, 10_000));
    }

    #[test]
    fn hostile_bytes_end_it_or_are_told_and_never_more(
        turns in prop::collection::vec((any::<bool>(), prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(tree()).prop_map(|turn| turn.1),
        ]), 0..60),
        chunk in 1usize..100,
    ) {
        let bytes: usize = turns.iter().map(|turn| turn.1.len()).sum();
        let (lines, same) = match (account("scp -t x", &turns, chunk), account("scp -t x", &turns, 10_000)) {
            (Ok((lines, _)), Ok((same, _))) => (lines, same),
            (Err((lines, why)), Err((same, and))) => {
                prop_assert_eq!(why, and);
                (lines, same)
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(&lines, &same);
        prop_assert!(lines.len() <= bytes + 2);
    }
}
