//! A store that is missing, damaged or newer, and backups that are not made.

use std::fs;
use std::process::Command;

use crate::{Place, text};

/// Runs a statement on the installation's store, as nobody else would.
pub(crate) fn sql(place: &Place, statement: &str) {
    let code =
        "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1]);d.execute(sys.argv[2]);d.commit();d.execute('PRAGMA wal_checkpoint(TRUNCATE)')";
    let mut python = Command::new("/usr/bin/python3");
    let ran = python.args(["-c", code]).arg(place.path("jb/state/jit-bastion.db")).arg(statement).output().expect("python");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
}

#[test]
fn a_damaged_store_is_refused_and_a_backup_is_named() {
    let place = Place::installed();
    let store = place.path("jb/state/jit-bastion.db");
    let good = fs::read(&store).expect("the store");
    for what in ["its header", "a page in its middle"] {
        let mut bytes = good.clone();
        let from = if what == "its header" { 0 } else { bytes.len() / 4096 / 2 * 4096 };
        bytes[from..from + 4096].fill(0x55);
        fs::write(&store, &bytes).expect("written");
        for command in ["serve", "check"] {
            let said = place.expect(1, &[command]);
            assert!(said.contains("is damaged") && said.contains("the newest backup"), "{what}, {command}: {said}");
        }
        if what == "its header" {
            assert!(place.expect(1, &["backup", "b"]).contains("is damaged"));
            assert!(!place.path("b").exists() && !place.path("b.part").exists());
        }
    }
    fs::write(&store, &good).expect("put back");
    place.expect(0, &["check"]);
}

#[test]
fn a_store_that_is_missing_is_not_made_anew() {
    let place = Place::installed();
    let (store, away) = (place.path("jb/state/jit-bastion.db"), place.path("away"));
    fs::rename(&store, &away).expect("moved");
    for command in [&["serve"][..], &["check"], &["user", "list"], &["backup", "b"], &["grants"]] {
        let said = place.expect(1, command);
        assert!(said.contains("is not there") && said.contains("put it back"), "{command:?}: {said}");
        assert!(!store.exists(), "{command:?}");
    }
    fs::rename(&away, &store).expect("moved back");
    place.expect(0, &["check"]);
}

#[test]
fn status_says_what_is_not_well() {
    let place = Place::installed();
    let status = place.json(1, &["status"]);
    assert_eq!((&status["ok"], &status["serving"], &status["store"]["answers"]), (&false.into(), &false.into(), &true.into()), "{status}");
    assert_eq!((&status["store"]["kind"], &status["live_sessions"]), (&"sqlite".into(), &0.into()), "{status}");
    let problems = status["problems"].as_array().expect("a list");
    assert!(problems.iter().any(|p| p.to_string().contains("no bastion serves")), "{status}");
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let place = Place::installed();
    sql(&place, "INSERT INTO _sqlx_migrations SELECT 9999, 'tomorrow', installed_on, success, checksum, 0 FROM _sqlx_migrations LIMIT 1");
    for command in ["serve", "check"] {
        let said = place.expect(1, &[command]);
        assert!(said.contains("newer jit-bastion") && said.contains("run the newer version"), "{said}");
    }
}

#[test]
fn a_head_that_does_not_fit_its_log_is_found() {
    let place = Place::installed();
    place.expect(0, &["verify"]);
    sql(&place, "UPDATE heads SET size = size + 1, edge = edge || ',' || edge");
    assert!(place.expect(1, &["verify"]).contains("head"));
}

#[test]
fn a_backup_is_whole_or_not_there() {
    let place = Place::installed();
    let made = place.json(0, &["backup", "b"]);
    assert_eq!((&made["store"], made["recordings"].is_null()), (&"jit-bastion.db".into(), true), "{made}");
    let sums = fs::read_to_string(place.path("b/SHA256SUMS")).expect("the list");
    for name in ["RESTORE.txt", "backup.json", "jit-bastion.db", "jit-bastion.toml", "policy.toml", "state/checkpoints", "state/node"] {
        assert!(sums.contains(&format!("  {name}\n")), "{name}: {sums}");
        assert_eq!(crate::mode(&place.path(&format!("b/{name}"))), 0o600, "{name}");
    }
    assert_eq!(crate::mode(&place.path("b")), 0o700);
    assert!(place.expect(1, &["backup", "b"]).contains("overwrites nothing"));
    assert!(place.expect(1, &["backup", "jb/state/b"]).contains("outside of the installation"));
    fs::create_dir(place.path("c.part")).expect("a folder");
    assert!(place.expect(1, &["backup", "c"]).contains("interrupted"));
    assert!(!place.path("c").exists());
    fs::remove_file(place.path("jb/policy.toml")).expect("gone");
    assert!(place.expect(1, &["backup", "d"]).contains("put it back"));
    assert!(!place.path("d").exists() && !place.path("d.part").exists());
}
