//! What administrators and users write: the policy file, a command line, names and channel kinds, signatures and times.

use jit_bastion::access::channels::Channels;
use jit_bastion::access::host::{Address, Host, HostTrust};
use jit_bastion::access::person::Person;
use jit_bastion::access::policy::{Direction, Policy};
use jit_bastion::access::signature::Signature;
use jit_bastion::access::zone::{Typed, Zone};
use jit_bastion::verbs;

/// For the list of all targets.
pub const ALL: &[super::Target] = &[("policy", policy), ("command_line", command_line), ("signature", signature)];

/// A policy is read or refused with a place; one that was read runs its own tests, is compared with nothing, and counts its approvers.
pub fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Policy::parse(&text, "policy.toml") {
        Ok(policy) => {
            drop(policy.run_tests(|_| None));
            let person = |name: &str, role: &str| Some(Person::staff(name.parse().ok()?, [role.parse().ok()?]));
            let people: Vec<Person> = [person("alice", "dba"), person("bob", "phi-owner")].into_iter().flatten().collect();
            let mut hosts: Vec<Host> = "phi-db".parse().iter().map(Host::unregistered).collect();
            for host in &mut hosts {
                host.logins.extend("postgres".parse());
                host.labels.insert("phi".into(), String::new());
            }
            let difference = policy.compared_with(&Policy::empty(), &people, &hosts);
            assert!(difference.changes.iter().all(|change| change.direction == Direction::Gains), "{difference}");
            drop(policy.unreached(&people, &hosts));
        }
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && error.to_string().contains('^')),
    }
}

/// A command line over SSH is read or answered in one line without control characters.
pub fn command_line(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(verbs::Usage::Wrong { line, .. }) = verbs::from_line(&text, Some(80)) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    for word in text.split_whitespace() {
        if let Ok(channels) = word.parse::<Channels>() {
            assert_eq!(channels.to_string().parse::<Channels>().ok(), Some(channels));
        }
        if let Ok(address) = word.parse::<Address>() {
            assert_eq!(address.to_string().parse::<Address>().ok(), Some(address));
        }
        let _ = word.parse::<HostTrust>();
    }
}

/// A signature, as text and as a blob, is refused or reads back as it was; so is a time.
pub fn signature(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let blob: String = base64(bytes);
    for given in [text.as_ref(), &blob] {
        if let Ok(signature) = Signature::parse(given) {
            assert_eq!(Signature::parse(&signature.armored()), Ok(signature.clone()));
            assert_eq!(Signature::parse(&signature.word()), Ok(signature.clone()));
            let _ = signature.verify("x");
        }
    }
    if let Ok(typed) = text.parse::<Typed>() {
        let _ = typed.in_zone(&Zone::utc());
    }
}

/// With padding: what the parser wants, so that the bytes behind it are reached.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let n = three.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - three.len()));
        for at in 0..4 {
            out.push(if at <= three.len() { char::from(LETTERS[(n >> (18 - 6 * at)) as usize & 63]) } else { '=' });
        }
    }
    out
}
