//! Files: scp over SFTP, scp of old, and sftp itself.

use std::fs;

use crate::transfer::noise;
use crate::world::{Bastion, run};

#[test]
fn scp_both_protocols_both_ways() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let bytes = noise(5_000_001);
    let (here, back) = (bastion.aside("here"), bastion.aside("back"));
    fs::write(&here, &bytes).expect("a file");
    let ssh = bastion.ssh().jump("phi-db");
    for protocol in ["-s", "-O"] {
        let there = bastion.aside(&format!("there{protocol}")).display().to_string();
        run(ssh.program("scp").arg(protocol).arg(&here).arg(format!("phi-db:{there}")), b"").expect(0);
        assert!(fs::read(&there).expect("it arrived") == bytes);
        run(ssh.program("scp").arg(protocol).arg(format!("phi-db:{there}")).arg(&back), b"").expect(0);
        assert!(fs::read(&back).expect("it came back") == bytes);
        fs::remove_file(&back).expect("ours");
        let missing = run(ssh.program("scp").arg(protocol).arg("phi-db:/no/such/file").arg(&back), b"");
        assert_eq!(
            missing.code,
            Some(if protocol == "-s" { 255 } else { 1 }).filter(|_| missing.code != Some(1)).or(Some(1)),
            "{}",
            missing.told()
        );
    }
    bastion.settled();
    // Of both protocols each file is told, with its digest.
    let digest = sha256(&here);
    let shown: String = bastion.sessions().iter().flat_map(|s| bastion.casts(s)).map(|c| c.shown().replace("\r\n", "\n")).collect();
    for protocol in ["-s", "-O"] {
        let there = bastion.aside(&format!("there{protocol}")).display().to_string();
        let read = format!("read {there} 5000001 bytes sha256:{digest}");
        assert!(shown.contains(&read), "{read:?} is not in\n{shown:.2000}");
    }
    assert_eq!(shown.matches(&format!("5000001 bytes sha256:{digest}")).count(), 4);
    assert!(shown.contains(&format!("below {}", bastion.aside("there-O").display())) && shown.contains("No such file or directory)"));
    let kinds: Vec<String> = bastion.sessions().iter().flat_map(|s| bastion.casts(s)).map(|c| c.about("kind")).collect();
    assert!(kinds.iter().any(|k| k.contains("sftp")) && kinds.iter().any(|k| k == "exec"), "{kinds:?}");
    bastion.local(&["verify"]).expect(0);
}

/// A grant for files alone: what is asked for, of these kinds.
fn files_only(bastion: &Bastion, kinds: &str) {
    let filed = bastion.json("alice", &format!("request phi-db --for 1h --channels {kinds} --reason exchange the export files"));
    let request = filed["request"].as_str().expect("a request").to_owned();
    bastion.json("bob", &format!("approve {request}"));
}

fn sha256(file: &std::path::Path) -> String {
    let out = run(std::process::Command::new("sha256sum").arg(file), b"").expect(0);
    out.text().split(' ').next().expect("a digest").to_owned()
}

#[test]
fn every_file_is_accounted_for() {
    let bastion = Bastion::start();
    files_only(&bastion, "sftp-read,sftp-write");
    let (here, there, back) = (bastion.aside("here"), bastion.aside("there"), bastion.aside("back"));
    fs::write(&here, noise(3_000_000)).expect("a file");
    let digest = sha256(&here);
    let (h, t, b) = (here.display(), there.display(), back.display());
    let batch =
        format!("put {h} {t}\nls -l {t}\nchmod 600 {t}\nrename {t} {t}.2\nget {t}.2 {b}\n-rm {t}.no\nrm {t}.2\nmkdir {t}.d\nrmdir {t}.d\n");
    let out = run(bastion.ssh().jump("phi-db").program("sftp").args(["-b", "-", "phi-db"]), batch.as_bytes()).expect(0);
    assert!(out.text().contains("3000000"), "{}", out.told());
    assert_eq!(sha256(&back), digest);
    assert!(!there.exists());
    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    let cast = bastion.casts(&session).remove(0);
    let shown = cast.shown().replace("\r\n", "\n");
    for line in [
        format!("write {t} 3000000 bytes sha256:{digest}\n"),
        format!("set {t} mode=0600\n"),
        format!("rename {t} -> {t}.2\n"),
        format!("read {t}.2 3000000 bytes sha256:{digest}\n"),
        format!("remove {t}.no (no such file)\n"),
        format!("remove {t}.2\n"),
        format!("mkdir {t}.d mode=0777\n"),
        format!("rmdir {t}.d\n"),
    ] {
        let said = line.split(" mode=0777").next().expect("a line").trim_end();
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
    let acts: Vec<serde_json::Value> =
        cast.events.iter().filter(|e| e.1 == "f").map(|e| serde_json::from_str(&e.2).expect("an act")).collect();
    assert!(acts.iter().any(|act| act["act"] == "transfer" && act["read"]["sha256"] == digest.as_str()), "{acts:?}");
    let table = bastion.verb("carol", &format!("replay {session} --files --because case 4711")).expect(0).text();
    let row = |words: &[&str]| table.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(row(&["write", &format!("{t} "), "3000000", &digest, "ok"]) && row(&["remove", &format!("{t}.no"), "no such file"]), "{table}");
    let opened = bastion.event("recording-opened", &session).to_string();
    assert!(opened.contains("carol") && opened.contains("\"shown\":\"masked\"") && !opened.contains("4711"), "{opened}");
    let told = bastion.json("carol", &format!("replay {session} --files --because case 4711"));
    assert!(told.as_array().expect("an array").iter().any(|one| one["file"]["read"]["sha256"] == digest.as_str()), "{told}");
    bastion.verb("carol", &format!("replay {session} --files")).expect(1).says("says what for");
    let shown = bastion.verb("bob", &format!("show {session}")).expect(0).text();
    assert!(shown.contains("\n2 files: 3000000 bytes read, 3000000 bytes written\n"), "{shown}");
    let told = bastion.json("carol", &format!("show {session}"));
    assert_eq!((&told["files"]["moved"], &told["recordings"][0]["files"]["read"]), (&2.into(), &3_000_000.into()), "{told}");
    let file = bastion.aside("handed.tar").display().to_string();
    bastion.local(&["export", "--session", &session, "--out", &file]).expect(0);
    assert_eq!(bastion.local(&["replay", "--export", &file, "--files"]).expect(0).text(), table);
    bastion.verb("bob", &format!("replay {session} --files --because of me")).expect(1);
    assert!(bastion.verb("carol", &format!("replay {session} --speed 100 --because a test")).expect(0).text().contains(&digest));
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn reading_alone_and_writing_alone() {
    let bastion = Bastion::start();
    let (here, there, back) = (bastion.aside("here"), bastion.aside("there"), bastion.aside("back"));
    fs::write(&here, b"secret").expect("a file");
    fs::write(&there, b"there").expect("a file");
    let (h, t, b) = (here.display(), there.display(), back.display());
    for (kinds, command, passes) in [
        ("sftp-read", format!("get {t} {b}\n"), true),
        ("sftp-read", format!("put {h} {t}\n"), false),
        ("sftp-read", format!("rm {t}\n"), false),
        ("sftp-write", format!("put {h} {t}.new\n"), true),
        ("sftp-write", format!("get {t} {b}\n"), false),
        // whoever may run commands reaches every file anyway
        ("exec", format!("get {t} {b}\n"), true),
        ("exec", format!("put {h} {t}.new\n"), true),
        ("shell", format!("get {t} {b}\n"), false),
    ] {
        files_only(&bastion, kinds);
        let out = run(bastion.ssh().jump("phi-db").program("sftp").args(["-b", "-", "phi-db"]), command.as_bytes());
        assert_eq!(out.code == Some(0), passes, "{kinds}: {command}: {}", out.told());
        let grant = bastion.json("alice", "grants")[0]["grant"].as_str().expect("a grant").to_owned();
        bastion.verb("alice", &format!("close {grant}")).expect(0);
    }
    assert_eq!(fs::read(&there).expect("untouched"), b"there");
}

fn ending(bastion: &Bastion, session: &str) -> String {
    bastion.event("session-closed", session)["data"]["ending"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_budget_is_cut_to_the_byte_over_all_sessions_and_kinds() {
    let bastion = Bastion::start();
    bastion.change_policy(|text| text.replace("id = \"engineers\"\n", "id = \"engineers\"\negress = \"1000000B\"\n"));
    let grant = bastion.grant("alice", "phi-db", "1h");
    assert!(bastion.verb("alice", "explain phi-db").expect(0).text().contains("at most 1000000B to the client"));
    let ssh = bastion.ssh().jump("phi-db");
    let first = ssh.run("head -c 600000 /dev/zero; echo err >&2").expect(0);
    assert_eq!(first.stdout.len(), 600_000);
    assert!(first.told().contains("at most 1000000B to you"), "{}", first.told());
    bastion.settled();
    // 400000 less the four bytes of standard error are left.
    let second = ssh.run("head -c 5000000 /dev/zero; echo done >&2");
    let (budget, shown) = (400_000 - 4, second.stdout.len());
    assert_eq!(second.code, Some(255), "{}", second.told());
    // What stands in ssh's own buffer as the connection ends it drops: at most its reads of one round.
    assert!((budget - 64 * 1024..=budget).contains(&shown), "{shown}: {}", second.told());
    assert!(second.told().contains("the byte budget of 1000000B") && !second.told().contains("done"), "{}", second.told());
    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    let kept = bastion.casts(&session).pop().expect("a recording").out();
    assert!(kept.len() == budget && kept.starts_with(&second.stdout), "{} bytes are kept of {shown} that were seen", kept.len());
    let third = ssh.run("true").expect(255);
    assert!(third.told().contains("has let through the 1000000B that its rule allows"), "{}", third.told());
    let sessions = bastion.sessions();
    let endings: Vec<String> = sessions.iter().map(|session| ending(&bastion, session)).collect();
    assert_eq!(endings.iter().filter(|ending| *ending == "over-budget").count(), 1, "{endings:?}");
    bastion.verb("alice", &format!("close {grant}")).expect(0);
    // files count too, and so does everything that the protocol says around them
    files_only(&bastion, "sftp-read");
    let (there, back) = (bastion.aside("there"), bastion.aside("back"));
    fs::write(&there, noise(2_000_000)).expect("a file");
    let get = format!("get {} {}\n", there.display(), back.display());
    let out = run(bastion.ssh().jump("phi-db").program("sftp").args(["-b", "-", "phi-db"]), get.as_bytes());
    assert_ne!(out.code, Some(0), "{}", out.told());
    bastion.settled();
    let got = fs::metadata(&back).map_or(0, |meta| meta.len());
    assert!((100_000..1_000_000).contains(&got), "{got}");
    assert!(bastion.sessions().iter().filter(|session| ending(&bastion, session) == "over-budget").count() == 2);
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn of_a_command_so_much_is_kept_as_its_rule_says() {
    let bastion = Bastion::start();
    let keep = |beyond: &str| format!("keep = {{ bytes = \"100KiB\", beyond = \"{beyond}\" }}\n");
    bastion.change_policy(|text| text.replace("id = \"engineers\"\n", &format!("id = \"engineers\"\n{}", keep("hash"))));
    let request = bastion.request("alice", "phi-db", "1h");
    let text = bastion.verb("bob", &format!("show {request} --text")).expect(0).text();
    assert!(text.contains("\nkeep: of a command 100KiB are kept, then only its length and SHA-256\n"), "{text}");
    bastion.json("bob", &format!("approve {request}"));
    let ssh = bastion.ssh().jump("phi-db");
    let bytes = noise(3_000_000);
    let (here, there) = (bastion.aside("here"), bastion.aside("there"));
    fs::write(&here, &bytes).expect("a file");
    let out = run(ssh.program("ssh").args(["phi-db", &format!("tee {}", there.display())]), &bytes).expect(0);
    assert!(out.stdout == bytes && fs::read(&there).expect("it arrived") == bytes, "what is not kept passes as it is");
    assert!(out.told().contains("is recorded; of a command 100KiB are kept, then only its length"), "{}", out.stderr);
    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    let cast = bastion.casts(&session).remove(0);
    let proof = format!("3000000 bytes sha256:{}", sha256(&here));
    let shown = cast.shown();
    assert!(shown.contains("102400 bytes of this command are kept; in all 3000000 bytes went in and 3000000 came out"), "{shown}");
    assert!(shown.contains(&format!("standard output: {proof}")) && shown.contains(&format!("input: {proof}")), "{shown}");
    assert_eq!(cast.events.iter().filter(|e| e.1 == "h").count(), 3);
    bastion.change_policy(|text| text.replace(&keep("hash"), &keep("end")));
    bastion.grant("alice", "phi-app", "1h");
    let out = bastion.ssh().jump("phi-app").run("head -c 3000000 /dev/zero");
    assert!(out.code == Some(255) && out.stdout.len() <= 102_400, "{}", out.told());
    assert!(out.told().contains("of a command no more than 100KiB may be kept"), "{}", out.stderr);
    bastion.settled();
    assert_eq!(ending(&bastion, &bastion.sessions().pop().expect("a session")), "over-budget");
    bastion.local(&["verify"]).expect(0);
}
