use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;
use crate::access::time::Timestamp;
use crate::recording::frames::{Body, Frame};
use crate::recording::sample::{self, TestSigner};
use crate::recording::{ChannelKind, ChannelMeta, Journal, Level, ManifestSigner, SealedSession, recover};

const DAY: i64 = 86_400_000_000;

/// A folder of recordings, and what the log says of it.
struct World {
    dir: tempfile::TempDir,
    signer: TestSigner,
    log: Logged,
}

impl World {
    fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), signer: TestSigner::new(1), log: Logged::default() }
    }

    /// One sealed session with two channels.
    fn new() -> Self {
        let mut world = Self::empty();
        world.session("s-000001", 0);
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The first session's folder.
    fn first(&self) -> PathBuf {
        self.root().join(sample::meta().folder())
    }

    /// Seals a session that began so many days after the first.
    fn session(&mut self, id: &str, days: i64) -> SealedSession {
        let first = sample::meta();
        let started = Timestamp::from_micros(first.started.micros() + days * DAY);
        let meta = SessionMeta { session: SessionId::parse(id).unwrap(), started, ..first };
        let journals = self.dir.path().join("journal");
        let mut journal = Journal::create(&journals, &meta, Level::Process).unwrap();
        for (channel, said) in [(1, &b"hello"[..]), (2, b"world")] {
            let meta = ChannelMeta { kind: ChannelKind::Exec, command: None, terminal: None };
            journal.keep(&[Body::Open(meta), Body::Out(said)].map(|body| Frame { channel, at: 0, body })).unwrap();
        }
        drop(journal);
        let sealed = recover(&journals, &self.root(), &self.signer).unwrap().remove(0).sealed.unwrap();
        sealed.let_go().unwrap();
        assert!(self.log.opened(meta.session.clone(), sealed.folder.clone()));
        assert!(self.log.closed(&meta.session, Some(sealed.digest)));
        sealed
    }

    fn survey(&self) -> Survey {
        survey(&self.root(), &self.signer.public_key(), &mut |_| ())
    }

    /// Findings, with the first session's folder as S.
    fn check(&self) -> Vec<String> {
        told(&self.survey().against(&self.log))
    }

    fn alone(&self) -> Vec<String> {
        told(&self.survey().alone())
    }
}

fn told(found: &[Finding]) -> Vec<String> {
    found.iter().map(|f| f.to_string().replace("2026/11/21/s-000001", "S")).collect()
}

#[test]
fn a_good_folder_has_no_findings() {
    let mut world = World::new();
    assert_eq!(world.check(), Vec::<String>::new());
    std::fs::write(world.root().join("README.md"), "what this is").unwrap();
    assert_eq!(world.check(), Vec::<String>::new());
    assert_eq!(world.survey().progress, Progress { sessions: 1, bytes: hashed(&world) });
    let (id, folder) = world.log.sealed().next().map(|(id, folder)| (id.clone(), folder.clone())).unwrap();
    world.log = Logged::default();
    assert_eq!(world.check(), ["S/manifest.json: sealed, but the audit log has no such session"]);
    // Sealed, and its end is not written yet.
    assert!(world.log.opened(id.clone(), folder));
    assert_eq!(world.check(), Vec::<String>::new());
    assert!(world.log.closed(&id, Some([0; 32])));
    assert_eq!(world.check(), ["S/manifest.json: changed since it was sealed"]);
}

#[test]
fn nothing_that_is_logged_later_takes_back_what_was_logged() {
    let mut world = World::new();
    let (id, folder) = world.log.sealed().next().map(|(id, folder)| (id.clone(), folder.clone())).unwrap();
    // As if it had begun once more, and went on.
    assert!(!world.log.opened(id.clone(), folder));
    std::fs::remove_dir_all(world.first()).unwrap();
    std::fs::create_dir(world.first()).unwrap();
    assert_eq!(world.check(), ["S: not sealed"]);
    assert_eq!(world.log.open().count(), 0);
    // As if it had ended with nothing, or with other recordings, which whoever has the key can sign.
    assert!(!world.log.closed(&id, None) && !world.log.closed(&id, Some([1; 32])));
    assert_eq!(world.check(), ["S: not sealed"]);
    std::fs::remove_dir(world.first()).unwrap();
    assert_eq!(world.check(), ["S: missing"]);
}

#[test]
fn what_could_not_be_sealed_at_first_may_be_sealed_by_a_later_start() {
    let mut world = World::new();
    let (id, folder) = world.log.sealed().next().map(|(id, folder)| (id.clone(), folder.clone())).unwrap();
    let whole = std::mem::take(&mut world.log);
    let Some(Fate::Sealed { manifest, .. }) = whole.of(&id) else { panic!("{whole:?}") };
    assert!(world.log.opened(id.clone(), folder) && world.log.closed(&id, None));
    assert_eq!(world.check(), ["S/manifest.json: sealed, but the audit log has no such session"]);
    assert!(world.log.closed(&id, Some(*manifest)) && world.log.closed(&id, Some(*manifest)));
    assert_eq!((world.check(), &world.log), (Vec::<String>::new(), &whole));
}

fn hashed(world: &World) -> u64 {
    ["01-exec.cast", "02-exec.cast"].map(|name| std::fs::metadata(world.first().join(name)).unwrap().len()).iter().sum()
}

/// What is done to the folder of the first session, what is found then, and what without the log.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: &[Damage] = &[
    ("a file deleted", |s| std::fs::remove_file(s.join("01-exec.cast")).unwrap(), &["S/01-exec.cast: missing"]),
    ("the manifest deleted", |s| std::fs::remove_file(s.join("manifest.json")).unwrap(), &["S: not sealed"]),
    ("a byte changed", |s| edit(&s.join("02-exec.cast"), |b| b[9] ^= 1), &["S/02-exec.cast: changed since it was sealed"]),
    (
        "the manifest changed",
        |s| edit(&s.join("manifest.json"), |b| *b = renamed(b)),
        &["S/manifest.json: changed since it was sealed", "S/manifest.json: not a manifest of ours: its signature is wrong"],
    ),
    (
        "the manifest is nonsense",
        |s| edit(&s.join("manifest.json"), |b| b.truncate(9)),
        &["S/manifest.json: not a manifest of ours: EOF while parsing a string at line 1 column 9"],
    ),
    (
        "truncated",
        |s| edit(&s.join("01-exec.cast"), |b| b.truncate(b.len() - 3)),
        &["S/01-exec.cast: changed since it was sealed: N bytes instead of N"],
    ),
    ("empty", |s| edit(&s.join("01-exec.cast"), Vec::clear), &["S/01-exec.cast: changed since it was sealed: N bytes instead of N"]),
    (
        "longer",
        |s| edit(&s.join("01-exec.cast"), |b| b.push(b'\n')),
        &["S/01-exec.cast: changed since it was sealed: N bytes instead of N"],
    ),
    ("two files swapped", swap, &["S/01-exec.cast: changed since it was sealed", "S/02-exec.cast: changed since it was sealed"]),
    ("a part left", |s| std::fs::write(s.join("03-shell.cast.part"), "x").unwrap(), &["S/03-shell.cast.part: not sealed"]),
    ("a foreign file", |s| std::fs::write(s.join("notes\u{1b}[2J"), "x").unwrap(), &["S/notes\\u{1b}[2J: does not belong here"]),
    ("a foreign folder", |s| std::fs::create_dir_all(s.join("a/b/c/d")).unwrap(), &["S/a: does not belong here: it is a folder"]),
    ("a link in a file's place", link, &["S/01-exec.cast: does not belong here: it is a symbolic link"]),
    (
        "a link in the manifest's place",
        |s| moved_behind_a_link(&s.join("manifest.json")),
        &["S/manifest.json: does not belong here: it is a symbolic link", "2026/11/aside: does not belong here"],
    ),
    ("a pipe in a file's place", |s| pipe(&s.join("01-exec.cast")), &["S/01-exec.cast: does not belong here: it is a pipe"]),
    ("a pipe in the manifest's place", |s| pipe(&s.join("manifest.json")), &["S/manifest.json: does not belong here: it is a pipe"]),
    ("a socket", |s| drop(UnixListener::bind(s.join("x")).unwrap()), &["S/x: does not belong here: it is a socket"]),
    (
        "links in circles",
        |s| symlink(s.ancestors().nth(4).unwrap(), s.parent().unwrap().join("s-000009")).unwrap(),
        &["2026/11/21/s-000009: does not belong here: it is a symbolic link"],
    ),
    (
        "the day behind a link",
        |s| moved_behind_a_link(s.parent().unwrap()),
        &["2026/11/21: does not belong here: it is a symbolic link", "S: missing", "2026/11/aside: does not belong here"],
    ),
    (
        "a name that is almost a session's",
        |s| std::fs::create_dir(s.with_file_name("S-000003")).unwrap(),
        &["2026/11/21/S-000003: does not belong here"],
    ),
    ("a session's copy on another day", copied, &["2026/11/20/s-000001/manifest.json: does not belong here"]),
    (
        "the session moved to another day",
        |s| std::fs::rename(s.parent().unwrap(), s.ancestors().nth(2).unwrap().join("20")).unwrap(),
        &["2026/11/20/s-000001/manifest.json: does not belong here", "S: missing"],
    ),
    (
        "a file where a session should be",
        |s| std::fs::write(s.with_file_name("s-000004"), "").unwrap(),
        &["2026/11/21/s-000004: does not belong here: it is a file"],
    ),
    ("a huge manifest", |s| huge(&s.join("manifest.json")), &["S/manifest.json: not a manifest of ours: too long for a manifest"]),
    (
        "a file as large as no disk",
        |s| huge(&s.join("01-exec.cast")),
        &["S/01-exec.cast: changed since it was sealed: N bytes instead of N"],
    ),
    ("the session deleted", |s| std::fs::remove_dir_all(s).unwrap(), &["S: missing"]),
    ("everything deleted", |s| std::fs::remove_dir_all(s.ancestors().nth(3).unwrap()).unwrap(), &["S: missing"]),
];

#[test]
fn every_damage_is_named() {
    for (what, damage, want) in DAMAGES {
        let world = World::new();
        damage(&world.first());
        let found: Vec<String> = world.check().iter().map(|f| without_numbers(f)).collect();
        assert_eq!(found, *want, "{what}");
        for finding in world.survey().against(&world.log).iter().filter(|f| f.to_string().contains("s-000001")) {
            assert_eq!(finding.session.as_ref().map(SessionId::as_str), Some("s-000001"), "{what}: {finding}");
        }
        // Without the log all of it but what is gone.
        let alone: Vec<String> = world.alone().iter().map(|f| without_numbers(f)).collect();
        let named = want.iter().filter(|f| **f != "S: missing" && **f != "S/manifest.json: changed since it was sealed");
        assert_eq!(alone, named.copied().collect::<Vec<_>>(), "{what}");
    }
}

/// The lengths of files are not what the tests are about.
fn without_numbers(finding: &str) -> String {
    let Some((before, after)) = finding.split_once(": changed since it was sealed: ") else { return finding.to_owned() };
    let word = |word: &str| if word.bytes().all(|b| b.is_ascii_digit()) { "N".to_owned() } else { word.to_owned() };
    format!("{before}: changed since it was sealed: {}", after.split(' ').map(word).collect::<Vec<_>>().join(" "))
}

fn edit(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

fn renamed(manifest: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(manifest).replacen("alice", "alicia", 1).into_bytes()
}

fn swap(session: &Path) {
    let [one, two] = ["01-exec.cast", "02-exec.cast"].map(|name| session.join(name));
    // The same length, or the length alone would tell.
    assert_eq!(std::fs::metadata(&one).unwrap().len(), std::fs::metadata(&two).unwrap().len());
    std::fs::rename(&one, session.join("x")).unwrap();
    std::fs::rename(&two, &one).unwrap();
    std::fs::rename(session.join("x"), &two).unwrap();
}

fn link(session: &Path) {
    std::fs::remove_file(session.join("01-exec.cast")).unwrap();
    symlink("02-exec.cast", session.join("01-exec.cast")).unwrap();
}

/// Everything is still there, behind a link.
fn moved_behind_a_link(path: &Path) {
    let levels = if path.ends_with("manifest.json") { 3 } else { 1 };
    let aside = path.ancestors().nth(levels).unwrap().join("aside");
    std::fs::rename(path, &aside).unwrap();
    symlink(&aside, path).unwrap();
}

fn pipe(path: &Path) {
    std::fs::remove_file(path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
}

fn huge(path: &Path) {
    let file = OpenOptions::new().write(true).mode(0o600).open(path).unwrap();
    file.set_len(1 << 40).unwrap();
}

fn copied(session: &Path) {
    let other = session.ancestors().nth(2).unwrap().join("20/s-000001");
    std::fs::create_dir_all(&other).unwrap();
    for entry in std::fs::read_dir(session).unwrap().flatten() {
        std::fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_manifest_by_another_key_is_foreign() {
    let mut world = World::new();
    world.signer = TestSigner::new(2);
    assert_eq!(world.alone(), ["S/manifest.json: not a manifest of ours: it is signed with another key"]);
    // Somebody else's whole session among ours.
    world.session("s-000002", 0);
    world.signer = TestSigner::new(1);
    let found = world.alone();
    assert_eq!(found, ["2026/11/21/s-000002/manifest.json: not a manifest of ours: it is signed with another key"]);
}

#[test]
fn a_whole_day_that_is_missing_is_found_by_the_log() {
    let mut world = World::new();
    for (id, days) in [("s-000002", 1), ("s-000003", 1), ("s-000004", 2)] {
        world.session(id, days);
    }
    assert_eq!(world.check(), Vec::<String>::new());
    std::fs::remove_dir_all(world.root().join("2026/11/22")).unwrap();
    assert_eq!(world.check(), ["2026/11/22/s-000002: missing", "2026/11/22/s-000003: missing"]);
    assert_eq!(world.alone(), Vec::<String>::new(), "only the log can tell");
}

#[test]
fn a_session_that_goes_on_is_no_finding() {
    let mut world = World::new();
    let goes_on = world.root().join("2026/11/22/s-000002");
    std::fs::create_dir_all(&goes_on).unwrap();
    std::fs::write(goes_on.join("01-shell.cast.part"), "{}").unwrap();
    assert_eq!(world.check(), ["2026/11/22/s-000002: not sealed"]);
    assert!(world.log.opened(SessionId::parse("s-000002").unwrap(), goes_on.clone()));
    assert_eq!(world.check(), Vec::<String>::new());
    std::fs::write(goes_on.join("core"), "").unwrap();
    assert_eq!(world.check(), ["2026/11/22/s-000002/core: does not belong here"]);
}

#[test]
fn what_was_sealed_while_the_folder_was_read_is_looked_at_again() {
    let mut world = World::new();
    let going_on = world.root().join("2026/11/23/s-000003");
    std::fs::create_dir_all(&going_on).unwrap();
    let before = world.survey();
    assert!(before.unsealed.contains(&SessionId::parse("s-000003").unwrap()));
    world.session("s-000002", 0);
    world.session("s-000003", 2);
    let key = world.signer.public_key();
    let found = before.again(&world.root(), &key, &world.log).against(&world.log);
    assert_eq!(told(&found), Vec::<String>::new());
}

#[test]
fn findings_have_a_bound() {
    let world = World::new();
    for n in 0..MOST_FINDINGS + 7 {
        std::fs::write(world.first().join(n.to_string()), "").unwrap();
    }
    let found = world.survey().against(&world.log);
    assert_eq!((found.len(), found.last().map(|f| f.what.clone())), (MOST_FINDINGS + 1, Some(Wrong::More(7))));
}

#[test]
fn every_changed_byte_is_found() {
    let world = World::new();
    for name in ["01-exec.cast", "manifest.json"] {
        let path = world.first().join(name);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            std::fs::write(&path, &wrong).unwrap();
            assert!(!world.alone().is_empty(), "{name} byte {at}");
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(world.check().is_empty());
}
