//! The disk fails under live sessions: each ends with its reason, nothing was shown that is not kept, nobody is let in meanwhile, and when
//! the disk is back, everything is sealed, verifies, and people work again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::world::{Bastion, Disk, Fate, Out, Running, Small, files, wait_for, wait_for_or};

const ECHO: &str = "while read line; do echo got $line; done";
const PATIENT: &str = "[limits]\ndisk-patience = \"2s\"\n";

/// One who types and one who is flooded, both inside.
struct Inside {
    typist: Running,
    flood: Running,
    seen: PathBuf,
    sessions: [String; 2],
}

impl Inside {
    #[track_caller]
    fn begin(bastion: &Bastion, round: usize) -> Self {
        let before = bastion.sessions().len();
        let mut typist = bastion.ssh().jump("phi-db").spawn(ECHO);
        typist.write(b"one\n").until("got one");
        let seen = bastion.aside(&format!("seen-{round}"));
        let flood = bastion.ssh().jump("phi-db").spawn_to("seq 1 1000000000", Out::File(File::create(&seen).expect("a file")));
        wait_for("a flood", || (fs::metadata(&seen).map_or(0, |m| m.len()) > 100_000).then_some(()));
        let sessions = bastion.sessions();
        Self { typist, flood, seen, sessions: [sessions[before].clone(), sessions[before + 1].clone()] }
    }

    /// Both have ended for want of a recording, and the typist was told.
    #[track_caller]
    fn end(mut self) -> Kept {
        let flood = self.flood.wait().expect(255);
        let typist = self.typist.finish().expect(255);
        for ended in [&typist, &flood] {
            let told = ["this session can no longer be recorded (s-", "; your grant is not touched; tell an administrator"];
            assert!(told.iter().all(|words| ended.stderr.contains(words)), "{}", ended.told());
        }
        Kept { seen: fs::read(&self.seen).expect("the file"), typed: typist.stdout, sessions: self.sessions }
    }
}

/// What was seen, to be compared with what is kept.
struct Kept {
    seen: Vec<u8>,
    typed: Vec<u8>,
    sessions: [String; 2],
}

impl Kept {
    /// Sealed in the end, with every byte that was seen.
    #[track_caller]
    fn compare(&self, bastion: &Bastion) {
        let saw = [&self.typed, &self.seen];
        for (session, saw) in self.sessions.iter().zip(saw) {
            sealed(bastion, session);
            assert_eq!(bastion.event("session-closed", session)["data"]["ending"], "recorder-failed");
            let kept = bastion.casts(session).first().map(|cast| cast.out()).unwrap_or_default();
            assert!(kept.starts_with(saw), "{} bytes were seen and {} kept of {session}", saw.len(), kept.len());
        }
        bastion.local(&["verify"]).expect(0);
    }
}

#[track_caller]
fn sealed(bastion: &Bastion, session: &str) {
    let manifest = |path: &Path| path.parent().is_some_and(|folder| folder.ends_with(session)) && path.ends_with("manifest.json");
    let there = || files(&bastion.dir().join("recordings"), "json").iter().any(|path| manifest(path)).then_some(());
    wait_for_or(Duration::from_secs(60), there, || format!("{session} to be sealed: {}", bastion.log()));
    let logged = || bastion.local(&["verify"]).code.filter(|code| *code == 0);
    wait_for("the seal to be logged", logged);
}

#[track_caller]
fn works_again(bastion: &Bastion) {
    wait_for("a visit to work again", || (bastion.ssh().jump("phi-db").run("true").code == Some(0)).then_some(()));
}

fn journals(bastion: &Bastion) -> PathBuf {
    bastion.dir().join("state/journal")
}

fn recordings(bastion: &Bastion) -> PathBuf {
    bastion.dir().join("recordings")
}

type Where = fn(&Bastion) -> PathBuf;

#[test]
fn a_disk_that_refuses_ends_who_is_inside_and_lets_nobody_in() {
    refuses(&[
        (Fate::Full, journals, "is full"),
        (Fate::Error, journals, "cannot be written"),
        (Fate::ReadOnly, recordings, "cannot be written"),
    ]);
}

#[track_caller]
fn refuses(fates: &[(Fate, Where, &str)]) {
    let (bastion, disk) = Disk::obeys(PATIENT);
    bastion.grant("alice", "phi-db", "1h");
    for (round, (fate, of, why)) in fates.iter().enumerate() {
        let inside = Inside::begin(&bastion, round);
        disk.is(*fate, &of(&bastion));
        let kept = inside.end();
        let refused = bastion.ssh().jump("phi-db").run("true").expect(255).told();
        assert!(refused.contains("sessions cannot be recorded at this moment") && refused.contains(why), "{fate:?}: {refused}");
        bastion.verb("alice", "grants").expect(0);
        disk.is_well();
        works_again(&bastion);
        kept.compare(&bastion);
    }
}

#[test]
fn half_a_write_is_the_end_of_that_session() {
    let (bastion, disk) = Disk::obeys(PATIENT);
    bastion.grant("alice", "phi-db", "1h");
    let mut inside = Inside::begin(&bastion, 0);
    disk.is(Fate::Short, &journals(&bastion));
    inside.typist.write(b"two\n");
    let kept = inside.end();
    bastion.ssh().jump("phi-db").run("true").expect(255);
    disk.is_well();
    works_again(&bastion);
    kept.compare(&bastion);
}

#[test]
fn a_folder_that_is_gone_ends_who_is_inside_and_lets_nobody_in() {
    let bastion = Bastion::start_with(PATIENT, |_| Vec::new());
    bastion.grant("alice", "phi-db", "1h");
    for (round, folder) in [recordings(&bastion), journals(&bastion)].into_iter().enumerate() {
        let inside = Inside::begin(&bastion, round);
        let away = bastion.aside("away");
        fs::rename(&folder, &away).expect("moved");
        let kept = inside.end();
        let refused = bastion.ssh().jump("phi-db").run("true").expect(255).told();
        assert!(refused.contains("the folder for recordings is gone"), "{refused}");
        fs::rename(&away, &folder).expect("moved back");
        works_again(&bastion);
        kept.compare(&bastion);
    }
}

#[test]
fn a_disk_that_answers_nothing_ends_sessions_after_a_while_and_stops_nobody_else() {
    let (bastion, disk) = Disk::obeys(PATIENT);
    bastion.grant("alice", "phi-db", "1h");
    let mut inside = Inside::begin(&bastion, 0);
    disk.is(Fate::Hangs, &journals(&bastion));
    inside.typist.write(b"two\n");
    bastion.verb("alice", "grants").expect(0);
    let kept = inside.end();
    assert_eq!(kept.typed, b"got one\n", "what was not kept was not shown");
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255).told();
    assert!(refused.contains("the disk for recordings does not answer"), "{refused}");
    disk.is_well();
    works_again(&bastion);
    kept.compare(&bastion);
}

#[test]
fn the_cut_falls_on_time_while_the_disk_answers_nothing() {
    let (bastion, disk) = Disk::obeys("[limits]\ndisk-patience = \"60s\"\n");
    bastion.grant("alice", "phi-db", "6s");
    let Inside { typist, flood, seen, sessions } = Inside::begin(&bastion, 0);
    disk.is(Fate::Hangs, &journals(&bastion));
    for (running, name) in [(flood, "the flood"), (typist, "the typist")] {
        let mut running = running;
        let ended = running.finish().expect(255);
        assert!(ended.stderr.contains("your time is up"), "{name}: {}", ended.told());
    }
    disk.is_well();
    for session in &sessions {
        let closed = bastion.event("session-closed", session);
        let late = |side: &str| closed["data"][side].as_u64().expect("it was cut");
        assert_eq!(closed["data"]["ending"], "time-up", "{closed}");
        // The promise is 100 ms and 1 s; the bench has the figures, and a loaded machine decides nothing.
        assert!(late("late_host_ms") < 1000 && late("late_client_ms") < 5000, "{closed}");
        println!("cut while the disk hangs: {} ms at the host, {} ms at the client", late("late_host_ms"), late("late_client_ms"));
    }
    bastion.settled();
    let kept = bastion.casts(&sessions[1])[0].out();
    assert!(kept.starts_with(&fs::read(&seen).expect("the file")));
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn at_level_power_nothing_is_shown_before_the_disk_has_it_and_the_cut_falls() {
    let (bastion, disk) = Disk::obeys("journal = \"power\"\n[limits]\ndisk-patience = \"60s\"\n");
    let grant = bastion.grant("alice", "phi-db", "1h");
    let mut typist = bastion.ssh().jump("phi-db").spawn(ECHO);
    typist.write(b"one\n").until("got one");
    disk.is(Fate::Unsynced, &journals(&bastion));
    typist.write(b"two\n");
    let journal = || files(&journals(&bastion), "journal").first().map(|path| fs::read(path).unwrap_or_default()).unwrap_or_default();
    let holds = || journal().windows(4).any(|part| part == b"two\n").then_some(());
    wait_for("the kernel to have it", holds);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(typist.seen(), b"got one\n", "what the disk does not have is not shown");
    bastion.local(&["revoke", &grant, "--note", "while the disk syncs nothing"]).expect(0);
    let ended = typist.finish().expect(255);
    assert!(ended.stderr.contains("revoked") && ended.stdout == b"got one\n", "{}", ended.told());
    disk.is_well();
    let session = bastion.sessions().remove(0);
    assert_eq!(bastion.event("session-closed", &session)["data"]["ending"], "revoked");
    bastion.settled();
    assert!(bastion.casts(&session)[0].out().starts_with(b"got one\n"));
    bastion.grant("alice", "phi-db", "1h");
    // As after a power cut that took nothing: what the ledger holds is in the journal, or sealed already.
    let mut bastion = bastion;
    let mut typist = bastion.ssh().jump("phi-db").spawn(ECHO);
    typist.write(b"three\n").until("got three");
    bastion.kill();
    typist.wait().expect(255);
    bastion.begin();
    let session = bastion.sessions().pop().expect("a session");
    bastion.event("session-recovered", &session);
    assert_eq!(bastion.casts(&session)[0].out(), b"got three\n");
    bastion.local(&["verify"]).expect(0);
}

/// What a keystroke takes at each level, for whoever asks (SOAK=1): a line to a loop on the host and back.
#[test]
fn echo_at_both_levels() {
    if std::env::var_os("SOAK").is_none() {
        return;
    }
    for level in ["process", "power"] {
        let bastion = Bastion::start_with(&format!("journal = \"{level}\"\n"), |_| Vec::new());
        bastion.grant("alice", "phi-db", "1h");
        let mut typist = bastion.ssh().jump("phi-db").spawn("cat");
        let mut took: Vec<Duration> = (0..500)
            .map(|n| {
                let (line, begun) = (format!("line-{n};\n"), Instant::now());
                typist.write(line.as_bytes());
                while !typist.seen().ends_with(line.as_bytes()) {
                    std::thread::sleep(Duration::from_micros(20));
                }
                begun.elapsed()
            })
            .collect();
        took.sort();
        println!("echo at level {level}: p50 {:?}, p99 {:?}", took[250], took[495]);
    }
}

#[test]
fn on_a_full_disk_what_was_shown_is_sealed_in_the_space_that_is_set_aside() {
    let mut small = None;
    let bastion = Bastion::start_with(PATIENT, |bastion| {
        let at = bastion.aside("small");
        small = Small::mount(&at, 64 << 20);
        fs::create_dir_all(at.join("recordings")).expect("a folder");
        fs::create_dir_all(bastion.dir()).expect("a folder");
        std::os::unix::fs::symlink(at.join("recordings"), recordings(bastion)).expect("a link");
        Vec::new()
    });
    let Some(small) = small else {
        println!("this account may not mount: the disk is said to be full, and its space is not counted");
        return refuses(&[(Fate::Full, recordings, "is full")]);
    };
    bastion.grant("alice", "phi-db", "1h");
    let inside = Inside::begin(&bastion, 0);
    small.fill();
    let kept = inside.end();
    kept.compare(&bastion);
    println!("sealed; {} bytes are free again", small.free());
    small.fill();
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255).told();
    assert!(refused.contains("sessions cannot be recorded at this moment"), "{refused}");
    small.relieve();
    works_again(&bastion);
    bastion.settled();
}

#[test]
fn what_may_be_recorded_has_a_bound_for_a_session_and_one_for_a_user() {
    let bastion = Bastion::start_with("[limits]\nrecorded-per-session = \"1MiB\"\nrecorded-per-user = \"1536KiB\"\n", |_| Vec::new());
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db");
    let ending = |session: &String| bastion.event("session-closed", session)["data"]["ending"].to_string();
    let mut bystander = ssh.spawn(ECHO);
    bystander.write(b"one\n").until("got one");
    let first = ssh.run("head -c 5000000 /dev/zero | tr '\\0' x").expect(255);
    let told = ["this session has reached the 1MiB that may be recorded of one (s-", "; begin another one"];
    assert!(told.iter().all(|words| first.stderr.contains(words)), "{}", first.told());
    assert!((900_000..1_100_000).contains(&first.stdout.len()), "{}", first.stdout.len());
    // Whoever wants little goes on until all of the user's together are too much.
    bystander.write(b"two\n").until("got two");
    let second = ssh.run("head -c 5000000 /dev/zero | tr '\\0' x").expect(255);
    assert!(second.stderr.contains("1536KiB that may be recorded of a user"), "{}", second.told());
    bystander.close_stdin();
    let _ = bystander.finish();
    bastion.settled();
    let refused = ssh.run("true").expect(255);
    assert!(refused.told().contains("your sessions of the last 24 hours"), "{}", refused.told());
    let sessions = bastion.sessions();
    assert_eq!([1, 2].map(|n| ending(&sessions[n])), ["\"over-budget\"", "\"over-budget\""]);
    let listed = bastion.verb("carol", "sessions").expect(0).text();
    let over = |session: &&String| listed.lines().any(|line| line.contains(session.as_str()) && line.contains("over-budget"));
    assert!(sessions[1..].iter().all(|session| over(&session)), "{listed}");
    for (session, saw) in sessions[1..].iter().zip([first.stdout, second.stdout]) {
        assert!(bastion.casts(session)[0].out().starts_with(&saw));
    }
    // The bystander's exit may be too much too: what was left for it depends on how the flood was cut into pieces.
    let of_both = |path: &&PathBuf| path.parent().is_some_and(|folder| sessions[1..].iter().any(|session| folder.ends_with(session)));
    let last = bastion.cast_files().iter().filter(of_both).map(|path| fs::read_to_string(path).expect("text")).collect::<Vec<_>>();
    let says = |words: &str| last.iter().filter(|text| text.lines().last().is_some_and(|line| line.contains(words))).count();
    assert_eq!((says("may be recorded of one ("), says("may be recorded of a user in 24 hours (")), (1, 1), "the recordings say why");
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_terminal_is_filled_no_faster_than_it_may() {
    let bastion = Bastion::start_with("[limits]\nterminal-rate = \"256KiB\"\n", |_| Vec::new());
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db");
    let begun = Instant::now();
    let flooded = ssh.clone().flag("-tt").spawn_to("head -c 3500000 /dev/zero | tr '\\0' x", Out::Count);
    // A command beside it is not held up.
    assert_eq!(ssh.run("head -c 3500000 /dev/zero").expect(0).stdout.len(), 3_500_000);
    let counted = || (flooded.counted() >= 3_500_000).then_some(());
    wait_for("all of it", counted);
    // What OpenSSH's window and a second's worth let through at once takes no time; the rest does.
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
    flooded.wait().expect(0);
}
