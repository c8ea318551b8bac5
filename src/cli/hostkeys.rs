//! The keys that hosts are known by: asked of the machine, compared by a human, changed with the old and the new before their eyes.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Value, json};
use ssh_key::{Algorithm, HashAlg, PublicKey};

use super::args::HostKey;
use super::failure::Failure;
use super::said::{Outcome, Said};
use super::{local, machines, pubkey};
use crate::access::host::{Address, Host, HostTrust, weakness};
use crate::broker::{Broker, Trusting};
use crate::ssh::scan::scan;

/// `host key`.
pub(super) async fn change(broker: &Broker, words: &HostKey) -> Outcome {
    let host = machines::registered(&broker.reader(), &words.name).await?;
    let how = match (&words.how.add, &words.how.add_ca, &words.how.remove) {
        (Some(given), _, _) => Trusting::Also(keys(given)?.map(HostTrust::Key).collect()),
        (_, Some(given), _) => Trusting::Also(keys(given)?.map(HostTrust::Authority).collect()),
        (_, _, Some(fingerprint)) => Trusting::Without(fingerprint.clone()),
        _ => rescan(&host, words.yes).await?,
    };
    let changed = broker.trust_host(&local::actor(), &host.name, how).await?;
    let (before, after) = (changed.before.unwrap_or_default(), changed.after.unwrap_or_default());
    let text = format!("{}\n{}", host.name, difference(&before, &after));
    Ok(Said::done(text, json!({ "host": host.name, "before": list(&before), "trust": list(&after) })))
}

fn keys(given: &str) -> Result<impl Iterator<Item = PublicKey>, Failure> {
    Ok(pubkey::in_line_or_file(given)?.into_iter())
}

/// The machine's keys of now instead of those that are registered; authorities stay.
async fn rescan(host: &Host, yes: bool) -> Result<Trusting, Failure> {
    let found = ask(&host.address).await?;
    let mut these: Vec<HostTrust> = found.into_iter().map(HostTrust::Key).collect();
    these.extend(host.trust.iter().filter(|line| matches!(line, HostTrust::Authority(_))).cloned());
    let question = format!("{} is {}\n{}", host.name, host.address, difference(&host.trust, &these));
    // Where nothing differs there is nothing to be asked.
    if host.trust.iter().any(|line| !these.contains(line)) || these.iter().any(|line| !host.trust.contains(line)) {
        confirmed(&question, "trust these keys from here on?", yes)?;
    }
    Ok(Trusting::Instead { of: host.trust.clone(), these })
}

/// The keys of the machine at `address`, shown to be compared and accepted. `name` is what it will be called.
pub(super) async fn scanned(name: &str, address: &Address, yes: bool) -> Result<Vec<HostTrust>, Failure> {
    let trust: Vec<HostTrust> = ask(address).await?.into_iter().map(HostTrust::Key).collect();
    let mut shown = format!("{name} at {address} shows\n");
    for line in &trust {
        let _ = writeln!(shown, "  {}", print(line));
    }
    confirmed(&shown, &format!("register {name} with these keys?"), yes)?;
    Ok(trust)
}

async fn ask(address: &Address) -> Result<Vec<PublicKey>, Failure> {
    let found = scan(address).await.map_err(|error| {
        Failure::refused("scan-failed", error.to_string(), "check address and port; or name the key with --key, as it stands on the host")
    })?;
    let (strong, weak): (Vec<_>, Vec<_>) = found.into_iter().partition(|key| weakness(key).is_none());
    for why in weak.iter().filter_map(weakness) {
        let _ = writeln!(io::stderr(), "warning: {why} is left out");
    }
    if strong.is_empty() {
        return Err(Failure::refused("weak-key", format!("{address} has weak keys only"), "make it an Ed25519 host key: `ssh-keygen -A`"));
    }
    Ok(strong)
}

/// A human compares `shown` with what the host's own console says, unless they said `yes` before.
fn confirmed(shown: &str, question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused = |why: &str| {
        let next = "compare them with the host's own console (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there), then add --yes";
        Err(Failure::refused("unconfirmed", format!("{}\n{why}; nothing was changed", shown.trim_end()), next))
    };
    if !io::stdin().is_terminal() {
        return refused("nobody is here to compare them");
    }
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{shown}{CONSOLE}{question} type yes: ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" { Ok(()) } else { refused("they were not confirmed") }
}

/// Each held its half of the key; whether it is the right machine, only its console can tell.
const CONSOLE: &str = "compare with the host's own console: for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done\n";

/// What goes, what comes, what stays.
fn difference(before: &[HostTrust], after: &[HostTrust]) -> String {
    let mut out = String::new();
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(out, "  - {}", print(line));
    }
    for line in after {
        let sign = if before.contains(line) { ' ' } else { '+' };
        let _ = writeln!(out, "  {sign} {}", print(line));
    }
    out
}

/// `ED25519 SHA256:..`, as `ssh-keygen -l` names kinds; an authority with `CA` before it.
pub(super) fn print(trust: &HostTrust) -> String {
    let mark = if matches!(trust, HostTrust::Authority(_)) { "CA " } else { "" };
    format!("{mark}{} {}", kind(trust.key()), trust.key().fingerprint(HashAlg::Sha256))
}

fn kind(key: &PublicKey) -> &'static str {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::SkEd25519 => "ED25519",
        Algorithm::Ecdsa { .. } | Algorithm::SkEcdsaSha2NistP256 => "ECDSA",
        Algorithm::Rsa { .. } => "RSA",
        _ => "KEY",
    }
}

/// For a program.
pub(super) fn list(trust: &[HostTrust]) -> Value {
    let one = |line: &HostTrust| {
        json!({
            "line": line.to_string(),
            "kind": kind(line.key()),
            "authority": matches!(line, HostTrust::Authority(_)),
            "fingerprint": line.key().fingerprint(HashAlg::Sha256).to_string(),
        })
    };
    trust.iter().map(one).collect()
}
