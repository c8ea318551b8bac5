//! The keys at rest: where the passphrase comes from, what is refused, and another passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::damage::sql;
use super::{Place, text};

const NOT: &str = "the passphrase is wrong, or the file was changed";

#[test]
fn a_wrong_passphrase_and_a_changed_text_open_nothing() {
    let place = Place::installed();
    let file = place.path("jb/passphrase");
    let right = fs::read_to_string(&file).expect("the passphrase");
    for (content, why) in [("another passphrase\n", NOT), ("short\n", "at least 12 are needed"), ("", "at least 12 are needed")] {
        fs::write(&file, content).expect("written");
        let said = place.expect(1, &["serve"]);
        assert!(said.contains(why) && said.contains("hint: "), "{said}");
    }
    fs::write(&file, &right).expect("put back");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("opened");
    assert!(place.expect(1, &["serve"]).contains("(mode 640)"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("closed");
    place.expect(0, &["ca", "list"]);
    // One character of what is sealed; then of the words around it, which are bound to it.
    for (from, to) in [("'\"sealed\": \"'", "'\"sealed\": \"AAAA'"), ("'\"passes\": 3'", "'\"passes\": 2'")] {
        sql(&place, &format!("UPDATE sealed_keys SET sealed = replace(sealed, {from}, {to})"));
        assert!(place.expect(1, &["check"]).contains(NOT), "{from}");
        sql(&place, &format!("UPDATE sealed_keys SET sealed = replace(sealed, {to}, {from})"));
    }
    place.expect(0, &["check"]);
}

#[test]
fn systemd_hands_the_passphrase_over() {
    let place = Place::installed();
    let config = place.path("jb/jit-bastion.toml");
    let written =
        fs::read_to_string(&config).expect("the config").replace("passphrase-file = \"passphrase\"", "credential = \"jb-passphrase\"");
    fs::write(&config, written).expect("written");
    let said = place.expect(1, &["check"]);
    assert!(said.contains("CREDENTIALS_DIRECTORY is not set") && said.contains("LoadCredentialEncrypted=jb-passphrase:FILE"), "{said}");
    // As systemd makes it: a folder for this unit alone, a file without a mode to judge.
    let folder = place.path("credentials");
    fs::create_dir(&folder).expect("a folder");
    let check = || {
        let mut check = place.command(&["ca", "list", "--config", "jb/jit-bastion.toml"]);
        let ran = check.env("CREDENTIALS_DIRECTORY", &folder).output().expect("it runs");
        (ran.status.code(), format!("{}{}", text(&ran.stdout), text(&ran.stderr)))
    };
    assert_eq!(check().0, Some(1), "no such credential");
    fs::copy(place.path("jb/passphrase"), folder.join("jb-passphrase")).expect("a credential");
    fs::set_permissions(folder.join("jb-passphrase"), fs::Permissions::from_mode(0o440)).expect("as systemd does");
    let (status, said) = check();
    assert!(status == Some(0) && said.contains("session"), "{said}");
    fs::set_permissions(folder.join("jb-passphrase"), fs::Permissions::from_mode(0o640)).expect("to write");
    fs::write(folder.join("jb-passphrase"), "not the right one\n").expect("written");
    assert!(check().1.contains(NOT));
}

#[test]
fn the_keys_are_sealed_under_another_passphrase() {
    let place = Place::installed();
    let before = place.expect(0, &["ca", "list"]);
    let new = place.path("new-passphrase");
    fs::write(&new, "correct horse battery staple\n").expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("opened");
    let named = new.display().to_string();
    assert!(place.expect(1, &["ca", "passphrase", "--new", &named]).contains("(mode 644)"));
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("closed");
    let said = place.expect(0, &["ca", "passphrase", "--new", &named]);
    assert!(said.contains("jb/passphrase") && said.contains("jit-bastion check"), "{said}");
    assert!(place.expect(1, &["ca", "list"]).contains(NOT), "the old one opens nothing any more");
    fs::rename(&new, place.path("jb/passphrase")).expect("put in place");
    assert_eq!(place.expect(0, &["ca", "list"]), before, "the keys are the same");
    assert!(place.expect(0, &["verify"]).contains("log"));
}
