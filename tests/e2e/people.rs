//! People come and go: an invitation with a key that nobody knows, and news for approvers.

use std::process::Command;

use crate::world::{Bastion, run};

/// A new key; its fingerprint.
fn make_key(file: &std::path::Path) -> String {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(file), b"").expect(0);
    let shown = run(Command::new("ssh-keygen").arg("-lf").arg(file), b"").expect(0).text();
    shown.split_whitespace().find(|word| word.starts_with("SHA256:")).expect("a fingerprint").to_owned()
}

#[test]
fn an_invited_user_brings_a_key_and_the_sponsor_confirms_it() {
    let bastion = Bastion::start();
    let (key, other) = (bastion.aside("erin"), bastion.aside("other"));
    let (print, _) = (make_key(&key), make_key(&other));
    // Beside the key that the demo's config names for every user, and which these do not have.
    let as_user = |file: &std::path::Path, user: &str, words: &str| {
        let mut command = bastion.ssh().program("ssh");
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(file).arg(format!("{user}@jit-bastion"));
        run(command.args(words.split_whitespace()), b"")
    };
    let invited = bastion.local(&["user", "invite", "erin", "--role", "engineer", "--sponsor", "carol", "--json"]).expect(0).text();
    let code = serde_json::from_str::<serde_json::Value>(&invited).expect("JSON")["code"].as_str().expect("a code").to_owned();
    let wrong = format!("{}{}", &code[..code.len() - 1], if code.ends_with('0') { '1' } else { '0' });

    as_user(&key, "erin", "whoami").expect(255);
    let refused = as_user(&key, &wrong, "whoami").expect(255);
    assert!(refused.stderr.contains("Permission denied (publickey)"), "{}", refused.told());
    let welcome = as_user(&key, &code, "").expect(0);
    assert!(welcome.text().contains(&print) && welcome.text().contains("carol"), "{}", welcome.told());
    as_user(&other, &code, "").expect(255);
    as_user(&key, "erin", "whoami").expect(255);

    let news = bastion.verb("carol", "whoami").expect(0);
    assert!(news.stderr.contains("notice: ") && news.stderr.contains(&print), "{}", news.told());
    assert!(!bastion.verb("carol", "whoami").expect(0).stderr.contains("notice: "), "once is enough");
    bastion.verb("alice", &format!("confirm erin {print}")).expect(1);
    bastion.verb("carol", "confirm erin").expect(1);
    bastion.verb("carol", &format!("confirm erin {print}")).expect(0);
    assert!(as_user(&key, "erin", "whoami").expect(0).text().starts_with("erin, roles: engineer"));
    let names: Vec<String> = bastion.events().iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect();
    for name in ["user-invited", "invite-used", "invite-confirmed"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}
