//! A store on a PostgreSQL server is copied by PostgreSQL's own program.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::failure::Failure;
use crate::config::StoreUrl;

/// Runs `pg_dump` into the new file `to`. The password goes through its environment, which nobody else can read.
pub(super) fn run(store: &StoreUrl, to: &Path) -> Result<(), Failure> {
    let secret = store.secret();
    let (bare, password) = split(&secret);
    let mut command = Command::new("pg_dump");
    command.args(["--format=custom", "--no-owner", "--no-password"]).arg("--file").arg(to).arg("--dbname").arg(&bare);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    let ran = command.stdin(Stdio::null()).output();
    let by_hand = format!("pg_dump --format=custom --no-owner --file={} '{bare}'", to.file_name().unwrap_or_default().to_string_lossy());
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect::<String>();
            let next = format!("pg_dump must be of the server's version or newer; by hand: {by_hand}");
            Err(Failure::refused("pg-dump", format!("the store was not copied: {said}"), next))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let next = format!("install it (Debian: postgresql-client), or where it is: {by_hand}");
            Err(Failure::refused("no-pg-dump", "the store is a PostgreSQL server, and pg_dump is not installed here", next))
        }
        Err(error) => Err(Failure::Fault(anyhow::Error::new(error).context("pg_dump cannot be run"))),
    }
}

/// The URL without the password, and the password.
fn split(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let Some((authority, place)) = rest.split_once('/') else { return whole() };
    let Some((user, server)) = authority.rsplit_once('@') else { return whole() };
    let Some((user, password)) = user.split_once(':') else { return whole() };
    (format!("{scheme}://{user}@{server}/{place}"), Some(decoded(password)))
}

/// `%20` and the like undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_url() {
        let (bare, password) = split("postgres://jit:a%40b%2Fc@db.example:5433/jit?sslmode=verify-full");
        assert_eq!(bare, "postgres://jit@db.example:5433/jit?sslmode=verify-full");
        assert_eq!(password.as_deref(), Some("a@b/c"));
        for whole in ["postgres://jit@db.example/jit", "postgres://jit@%2Frun%2Fpostgresql/jit"] {
            assert_eq!(split(whole), (whole.to_owned(), None));
        }
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}
