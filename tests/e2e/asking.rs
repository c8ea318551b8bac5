//! Rights for later, more time for who is inside, and approvals signed with the real ssh-keygen.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::world::{Bastion, find_id, run, wait_for_or};

#[test]
fn more_time_moves_the_cut_and_done_early_is_at_once() {
    let bastion = Bastion::start();
    bastion.change_policy(|text| text.replace("id = \"engineers\"\n", "id = \"engineers\"\nextend = { self = \"30m\", times = 1 }\n"));
    let now = Timestamp::now();
    let (from, until) = (now + Duration::from_secs(5), now + Duration::from_secs(11));
    let filed = bastion.json("alice", &format!("request phi-db --from {from} --until {until} --reason the import at night"));
    let request = find_id(&filed, "r-").expect("an id");
    let grant = find_id(&bastion.json("bob", &format!("approve {request}")), "g-").expect("a grant");
    let waiting = bastion.verb("alice", "grants").expect(0).text();
    assert!(waiting.contains("waiting") && waiting.contains("begins in "), "{waiting}");
    let early = bastion.ssh().jump("phi-db").run("true").expect(255);
    assert!(early.stderr.contains(&format!("{grant} begins at ")), "{}", early.told());
    wait_for_or(Duration::from_secs(20), || (Timestamp::now() > from).then_some(()), || "the begin".into());
    let inside = bastion.ssh().jump("phi-db").spawn("echo in; for n in 1 2 3 4 5 6 7 8 9; do sleep 1; echo second $n; done; sleep 60");
    inside.until("in");
    let more = bastion.verb("alice", &format!("extend {grant} --for 30m --reason it still runs")).expect(0).text();
    assert!(more.starts_with(&format!("{grant} extended by 30m, until ")), "{more}");
    let asked = bastion.verb("alice", &format!("extend {grant} --for 10m --reason and on")).expect(0).text();
    assert!(asked.contains(&format!("filed: 10m more of {grant}, phi-db as ")), "{asked}");
    let second = asked.split(' ').next().unwrap_or_default();
    let said = bastion.verb("bob", &format!("approve {second} --note fine")).expect(0).text();
    assert!(said.contains(&format!("{second} approved, {grant}: alice as ")) && said.ends_with(" now\n"), "{said}");
    inside.until("second 9");
    let closed = Instant::now();
    bastion.verb("alice", &format!("close {grant}")).expect(0);
    inside.wait().expect(255);
    assert!(closed.elapsed() < Duration::from_secs(10), "{:?}", closed.elapsed());
    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    assert_eq!(bastion.event("session-closed", &session)["data"]["ending"], "closed");
    bastion.local(&["verify"]).expect(0);
}

/// A line as the bastion printed it, typed by bob.
fn typed(bastion: &Bastion, line: &str, key: &Path) -> Command {
    let ssh = format!("ssh -F {} -o BatchMode=yes bob@jit-bastion", bastion.dir().join("ssh_config").display());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line.replace("ssh jit-bastion", &ssh).replace("KEY", &key.display().to_string())).env_remove("SSH_AUTH_SOCK");
    shell
}

#[test]
fn a_signed_approval_is_proven_without_the_bastion() {
    let bastion = Bastion::start();
    bastion.change_policy(|text| text.replace("approve = { ", "approve = { signed = true, "));
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let mut key = bastion.key("bob");
        if kind != "ed25519" {
            key = bastion.aside(kind);
            run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&key), b"").expect(0);
        }
        let request = bastion.request("alice", "phi-db", "30m");
        let unsigned = bastion.verb("bob", &format!("approve {request} --for 10m")).expect(1);
        let line = unsigned.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_else(|| panic!("{}", unsigned.told()));
        let sign = || run(&mut typed(&bastion, line, &key), b"");
        if kind != "ed25519" {
            assert!(sign().expect(1).stderr.contains("is no key of yours here"));
            let public = key.with_extension("pub");
            bastion.local(&["user", "key", "add", "bob", "--key", &public.display().to_string()]).expect(0);
        }
        let said = sign().expect(0).text();
        assert!(said.starts_with(&format!("{request} approved, g-")), "{said}");
        let shown = bastion.verb("carol", &format!("show {request}")).expect(0).text();
        assert!(shown.contains(", for 10m at most, signed by SHA256:"), "{shown}");
        // Whoever has the text, the signature and the public key needs nobody else.
        let text = bastion.verb("carol", &format!("show {request} --text --for 10m")).expect(0).stdout;
        let signature =
            bastion.json("carol", &format!("show {request}"))["approvals"][0]["signature"]["text"].as_str().unwrap_or_default().to_owned();
        let public = fs::read_to_string(key.with_extension("pub")).expect("a public key");
        let (signers, file) = (bastion.aside("signers"), bastion.aside("sig"));
        fs::write(&signers, format!("bob {public}")).expect("written");
        fs::write(&file, signature).expect("written");
        let verify = |text: &[u8]| {
            let mut verify = Command::new("ssh-keygen");
            verify.args(["-Y", "verify", "-n", "jit-bastion-approval", "-I", "bob", "-f"]).arg(&signers).arg("-s").arg(&file);
            run(&mut verify, text)
        };
        verify(&text).expect(0);
        assert_ne!(verify(&[&text[..], b"x"].concat()).code, Some(0));
    }
    let long = bastion.ssh().by("bob").run_with("approve r-000000 --signature -", &[b'A'; 20_000]).expect(1);
    assert!(long.stderr.contains("longer than 16384 bytes"), "{}", long.told());
}
