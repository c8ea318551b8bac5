//! Hosts as a file under version control has them: one `[[host]]` table each.
//!
//! ```toml
//! [[host]]
//! name = "phi-db"
//! address = "10.0.0.5:22"                       # port 22 may be left out
//! logins = ["postgres", "root"]                 # the first is the default
//! keys = ["ssh-ed25519 AAAA.."]                 # trusted host keys
//! host-cas = ["ssh-ed25519 AAAA.."]             # authorities whose host certificates are trusted; keys or host-cas, or both
//! labels = ["phi", "env=prod"]
//! aliases = ["db"]
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use ssh_key::PublicKey;
use toml::Spanned;

use super::{Host, HostTrust, distinct, parse_label, weakness};
use crate::access::names::{BadName, HostName};
use crate::access::sheet::{Sheet, SheetError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    host: Vec<Spanned<RawHost>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawHost {
    name: Spanned<String>,
    address: Spanned<String>,
    logins: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    host_cas: Vec<Spanned<String>>,
    #[serde(default)]
    labels: Vec<Spanned<String>>,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
}

/// Reads such a file; `file` is its name in errors. The first thing wrong is told with its place. No host is an error too: an empty file
/// with `--prune` would take everything away.
pub fn parse(text: &str, file: &str) -> Result<Vec<Host>, SheetError> {
    let sheet = Sheet::new(file, text);
    let raw: RawFile = sheet.read()?;
    if raw.host.is_empty() {
        return Err(sheet.wrong(0..0, "no host stands here").hint("each host is a table [[host]]"));
    }
    let mut hosts: Vec<Host> = Vec::new();
    for raw in raw.host {
        let place = raw.span();
        let host = read(&sheet, raw.into_inner())?;
        host.whole().map_err(|why| sheet.wrong(place.clone(), why.message))?;
        // The one that is read last is where the reader looks.
        distinct(hosts.iter().chain([&host])).map_err(|why| sheet.wrong(place, why.message))?;
        hosts.push(host);
    }
    Ok(hosts)
}

fn read(sheet: &Sheet<'_>, raw: RawHost) -> Result<Host, SheetError> {
    let name: HostName = sheet.value(&raw.name)?;
    let mut trust = Vec::new();
    for key in &raw.keys {
        trust.push(HostTrust::Key(public(sheet, key)?));
    }
    for key in &raw.host_cas {
        trust.push(HostTrust::Authority(public(sheet, key)?));
    }
    if trust.is_empty() {
        let wrong = sheet.wrong(raw.name.span(), format!("{name} has no trusted key, so nobody could reach it"));
        return Err(wrong.hint("keys = [\"ssh-ed25519 AAAA..\"], or host-cas"));
    }
    let mut labels = BTreeMap::new();
    for label in &raw.labels {
        let (key, value) = sheet.value_by(label, parse_label)?;
        if labels.insert(key.clone(), value).is_some() {
            return Err(sheet.wrong(label.span(), format!("the label {key} stands there twice")));
        }
    }
    if raw.logins.get_ref().is_empty() {
        return Err(sheet.wrong(raw.logins.span(), format!("{name} has no login")).hint("name at least one; the first is the default"));
    }
    Ok(Host {
        name,
        aliases: sheet.values(&raw.aliases)?,
        address: sheet.value(&raw.address)?,
        trust,
        labels,
        logins: sheet.values(raw.logins.get_ref())?,
    })
}

fn public(sheet: &Sheet<'_>, raw: &Spanned<String>) -> Result<PublicKey, SheetError> {
    let bad = |text: &str| BadName::new("public key", text, "write it as `ssh-ed25519 AAAA..`");
    let mut key = sheet.value_by(raw, |text| PublicKey::from_openssh(text.trim()).map_err(|_| bad(text)))?;
    if let Some(why) = weakness(&key) {
        return Err(sheet.wrong(raw.span(), format!("{why} proves too little")));
    }
    key.set_comment("");
    Ok(key)
}

/// `hosts` as such a file: reading it again gives the same.
pub fn print<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> String {
    let mut out = String::new();
    for host in hosts {
        let quoted = |texts: Vec<String>| format!("[{}]", texts.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", "));
        let texts = |trust: &[&HostTrust]| trust.iter().map(|t| t.to_string().replace(super::AUTHORITY, "")).collect::<Vec<_>>();
        let (keys, authorities): (Vec<_>, Vec<_>) = host.trust.iter().partition(|trust| matches!(trust, HostTrust::Key(_)));
        let separator = if out.is_empty() { "" } else { "\n" };
        let _ = write!(
            out,
            "{separator}[[host]]\nname = \"{}\"\naddress = \"{}\"\nlogins = {}\n",
            host.name,
            host.address,
            quoted(host.logins.iter().map(ToString::to_string).collect())
        );
        let lists = [
            ("keys", texts(&keys)),
            ("host-cas", texts(&authorities)),
            ("labels", host.label_words().collect()),
            ("aliases", host.aliases.iter().map(ToString::to_string).collect()),
        ];
        for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
            let _ = writeln!(out, "{key} = {}", quoted(values));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    fn file(more: &str) -> String {
        format!(
            "[[host]]\nname = \"phi-db\"\naddress = \"10.0.0.5\"\nlogins = [\"postgres\", \"root\"]\nkeys = [\"{KEY} root@db\"]\n\
             labels = [\"phi\", \"env=prod\"]\naliases = [\"db\"]\n{more}"
        )
    }

    #[test]
    fn a_file_is_read_and_printed_the_same() {
        let second =
            format!("[[host]]\nname = \"phi-app\"\naddress = \"[2001:db8::1]:2222\"\nlogins = [\"app\"]\nhost-cas = [\"{KEY}\"]\n");
        let hosts = parse(&file(&second), "hosts.toml").unwrap();
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0].address.to_string(), "10.0.0.5:22");
        assert_eq!((hosts[0].logins[0].as_str(), hosts[0].labels["env"].as_str()), ("postgres", "prod"));
        assert!(matches!(hosts[1].trust[..], [HostTrust::Authority(_)]));
        assert_eq!(parse(&print(&hosts), "again").unwrap(), hosts);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let bare = |keys: &str| format!("[[host]]\nname = \"a\"\naddress = \"b\"\nlogins = [\"c\"]\n{keys}");
        let twin = |name: &str, address: &str| {
            file(&format!("[[host]]\nname = \"{name}\"\naddress = \"{address}\"\nlogins = [\"c\"]\nkeys = [\"{KEY}\"]\n"))
        };
        let table = [
            ("".to_owned(), "hosts.toml:1:1: no host"),
            (file("adress = \"x\"\n"), "hosts.toml:8:1: unknown field `adress`"),
            (bare(""), "hosts.toml:2:8: a has no trusted key"),
            (bare("keys = [\"ssh-ed25519 AAAA\"]"), "hosts.toml:5:9: \"ssh-ed25519 AAAA\" is not a public key"),
            (bare(&format!("keys = [\"{KEY}\", \"{KEY}\"]")), "twice"),
            (file("").replace("\"env=prod\"", "\"phi=x\""), "hosts.toml:6:18: the label phi stands there twice"),
            (file("").replace("\"postgres\", \"root\"", ""), "hosts.toml:4:10: phi-db has no login"),
            (file("").replace("postgres", "a b"), "hosts.toml:4:11: \"a b\" is not a login"),
            (twin("DB", "10.0.0.6"), "\"db\" leads to phi-db already"),
            (twin("other", "10.0.0.5:22"), "10.0.0.5:22 is the address of phi-db already"),
            (twin("10.0.0.5", "10.0.0.6"), "the name \"10.0.0.5\" of 10.0.0.5 is the address of phi-db already"),
            (file("[[hosts]]\n"), "unknown field `hosts`"),
        ];
        for (text, words) in table {
            let said = parse(&text, "hosts.toml").unwrap_err().to_string();
            assert!(said.contains(words) && said.contains('^'), "{words}: {said}");
        }
        assert!(parse(&twin("other", "10.0.0.5:23"), "hosts.toml").is_ok());
    }
}
