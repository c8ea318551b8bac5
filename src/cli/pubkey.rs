//! Public keys as people have them: authorized_keys, `.pub` files, known_hosts, ssh-keyscan's output, a line, or standard input.

use std::io::Read;
use std::path::Path;

use ssh_key::PublicKey;

use super::failure::Failure;
use crate::access::host::weakness;
use crate::access::names::escaped;

/// A file of public keys is small; more than this is another file.
const LARGEST: u64 = 256 * 1024;

/// What may stand before the key in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing: options of authorized_keys would have no effect here, so they are refused.
    User,
    /// Host names, as in known_hosts and ssh-keyscan's output.
    Host,
}

/// The keys in the file `named`, or on standard input for `-`. At least one.
pub(super) fn in_file(named: &Path, form: Form) -> Result<Vec<PublicKey>, Failure> {
    let shown = named.display().to_string();
    let mut text = String::new();
    let read = if named == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(named).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
    };
    let next = "name a file of public keys as authorized_keys has them, or - for standard input";
    read.map_err(|error| Failure::refused("unreadable", format!("cannot read {shown}: {error}"), next))?;
    in_text(&text, &shown, form)
}

/// The host keys of `given`: a line, else a file as for [`in_file`].
pub(super) fn in_line_or_file(given: &str) -> Result<Vec<PublicKey>, Failure> {
    let is_line = given.contains(' ') && !Path::new(given).exists();
    if is_line { in_text(given, "the line given", Form::Host) } else { in_file(Path::new(given), Form::Host) }
}

fn in_text(text: &str, from: &str, form: Form) -> Result<Vec<PublicKey>, Failure> {
    if text.contains("PRIVATE KEY-----") {
        let message = format!("{from} is a private key, which belongs to its owner alone");
        return Err(Failure::refused("private-key", message, "name the public half, the file that ends in .pub"));
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut keys: Vec<PublicKey> = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let key = one(line, form).map_err(|why| {
            let message = format!("{from}, line {number}: {why}");
            Failure::refused("bad-key", message, "a line looks like `ssh-ed25519 AAAA.. comment`; `ssh-keygen -lf FILE` checks a file")
        })?;
        if !keys.iter().any(|other| other.key_data() == key.key_data()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(Failure::refused("no-key", format!("{from} holds no public key"), "a line looks like `ssh-ed25519 AAAA.. comment`"));
    }
    Ok(keys)
}

/// One line: `TYPE BASE64 [COMMENT]`, or with the host names of known_hosts before it.
fn one(line: &str, form: Form) -> Result<PublicKey, String> {
    let line = if form == Form::Host { line.strip_prefix("@cert-authority ").unwrap_or(line).trim_start() } else { line };
    let first = line.split_whitespace().next().unwrap_or_default();
    let known_hosts = line.split_once(char::is_whitespace).map(|(_, rest)| rest.trim_start());
    let key = match (is_key_type(first), known_hosts) {
        (true, _) => line,
        (false, Some(rest)) if form == Form::Host && is_key_type(rest.split_whitespace().next().unwrap_or_default()) => rest,
        _ => return Err(format!("\"{}\" begins no public key", escaped(&first.chars().take(40).collect::<String>()))),
    };
    if key.split_whitespace().next().is_some_and(|kind| kind.contains("-cert-v01@")) {
        return Err("a certificate stands where a public key should".to_owned());
    }
    let key = PublicKey::from_openssh(key).map_err(|error| format!("not a public key: {error}"))?;
    match weakness(&key) {
        Some(why) => Err(format!("{why} proves too little")),
        None => Ok(key),
    }
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    #[test]
    fn every_form_that_people_have_is_read() {
        let forms = [
            format!("{KEY}\n"),
            format!("# laptop\n\n{KEY} alice@laptop\n{KEY} again\n"),
            format!("[127.0.0.1]:2222 {KEY}"),
            format!("# 10.0.0.5:22 SSH-2.0-OpenSSH_9.2\n10.0.0.5 {KEY}\n"),
            format!("@cert-authority phi-* {KEY} ca"),
        ];
        for text in forms {
            let keys = in_text(&text, "x", Form::Host).unwrap_or_default();
            assert_eq!(keys.len(), 1, "{text}");
        }
        assert!(in_text(&format!("{KEY} alice@laptop"), "x", Form::User).is_ok());
        assert!(in_text(&format!("from=\"10.0.0.1\" {KEY}"), "x", Form::User).is_err());
    }

    #[test]
    fn everything_else_is_refused_with_the_line() {
        let table = [
            ("", "no public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
            ("hello\n", "line 1: \"hello\" begins no public key"),
            ("\nssh-ed25519 AAAA\n", "line 2: not a public key"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA", "a certificate"),
            ("ssh-dss AAAAB3NzaC1kc3M=", "not"),
            ("command=\"x\" ssh-ed25519 AAAA", "begins no public key"),
        ];
        for (text, words) in table {
            let said = in_text(text, "x", Form::User).unwrap_err().text();
            assert!(said.contains(words), "{text:?}: {said}");
        }
    }

    #[test]
    fn short_rsa_is_refused() {
        let short = PublicKey::from_openssh(RSA_1024).unwrap();
        assert!(weakness(&short).unwrap().contains("1024"));
    }

    const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQD+b3zcIwVXYLItWaL3XCY0PZ5JHGKR/k2jj5QMj6crs4BpOTxPZz7IdCdRbtrQlyhiP/qeH+uLkx6hKa7+0GO0jcgqlTbzph/jvUBpGCIjTgqtYJeo3ZbAPzxbKjCmFCT4MAlKDw5oQxllJIj4SOAnR82uzH/Z2gfqtXTLF3Z3uQ==";
}
