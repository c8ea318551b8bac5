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
    let kinds: Vec<String> = bastion.sessions().iter().flat_map(|s| bastion.casts(s)).map(|c| c.about("kind")).collect();
    assert!(kinds.iter().any(|k| k.contains("sftp")) && kinds.iter().any(|k| k == "exec"), "{kinds:?}");
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn sftp_batch() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let bytes = noise(3_000_000);
    let (here, there, back) = (bastion.aside("here"), bastion.aside("there"), bastion.aside("back"));
    fs::write(&here, &bytes).expect("a file");
    let (h, t, b) = (here.display(), there.display(), back.display());
    let batch = format!("put {h} {t}\nls -l {t}\nrename {t} {t}.2\nget {t}.2 {b}\nrm {t}.2\nmkdir {t}.d\nrmdir {t}.d\n");
    let out = run(bastion.ssh().jump("phi-db").program("sftp").args(["-b", "-", "phi-db"]), batch.as_bytes()).expect(0);
    assert!(out.text().contains("3000000"), "{}", out.told());
    assert!(fs::read(&back).expect("it came back") == bytes);
    assert!(!there.exists());
}
