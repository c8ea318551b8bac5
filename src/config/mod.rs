//! TOML in, [`Config`] out: paths made whole, addresses and names parsed, limits within their ranges.
//!
//! This room only reads. Every error names the file, the line and the key; an unknown key is an error, and so is a key whose effect is
//! not built in this version.

mod limits;
mod node;
mod place;
mod store;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::access::names::HostName;
use crate::access::zone::Zone;
pub use limits::{LIMITS, Limit, Limits};
pub use node::node_name;
pub use store::StoreUrl;
pub use value::Source;
use value::{Folder, OneOrMany, Pattern};

/// The port when `listen` is left out; 22 usually belongs to the machine's own sshd.
const DEFAULT_PORT: u16 = 2222;
/// Why `[keys]` has no default: a passphrase that nobody chose a place for protects nothing.
const KEYS_HINT: &str = "say where the passphrase of the bastion's keys is:\n\n[keys]\npassphrase-file = \"/etc/jit-bastion/passphrase\"";

/// What one installation is told. All paths are absolute or relative to the working directory, no longer to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that this was read from.
    pub file: PathBuf,
    /// Where to listen; at least one, loopback by default.
    pub listen: Vec<SocketAddr>,
    /// What people call the bastion; the names in the outer host certificate. At least one.
    pub names: Vec<HostName>,
    /// The zone that local times are meant in; UTC by default.
    pub zone: Zone,
    /// The folder of sealed keys, journals and, by default, the store.
    pub state: PathBuf,
    /// Where the store is.
    pub store: StoreUrl,
    /// The folder of recordings.
    pub recordings: PathBuf,
    /// When what is seen counts as kept, so that it may be shown.
    pub journal: Kept,
    /// The policy file.
    pub policy: PathBuf,
    /// Addresses that hosts see the bastion come from; empty: the address of the connection itself.
    pub source_addresses: Vec<Source>,
    /// For which names people are told to trust the host CA; a pattern of known_hosts.
    pub known_hosts_pattern: String,
    /// Where the passphrase of the keys at rest is.
    pub keys: Keys,
    /// Where `GET /metrics` is answered; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The program, with its arguments, that is given each alarm; none: alarms stand in the log alone.
    pub alarm: Option<Vec<String>>,
    /// Bounds, each with a default and a range.
    pub limits: Limits,
    /// What is allowed but unwise; each a sentence.
    pub warnings: Vec<String>,
}

/// When what is seen counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// When the kernel has it: a bastion that is killed loses nothing, a power cut takes about a second.
    #[default]
    Process,
    /// When the disk has it: a power cut takes nothing either.
    Power,
}

/// Where the passphrase that seals the keys comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// A file that only its owner can read.
    PassphraseFile(PathBuf),
    /// A systemd credential of this name.
    Credential(String),
}

/// A config that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or not ours to read.
    #[error("cannot read {}: {why}\nhint: name the file with --config FILE, or make one with `jit-bastion init --dir DIR`", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Something that `init` makes is not there.
    #[error("cannot read {}: {why}\nhint: `jit-bastion init` makes it", file.display())]
    NotMade {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The text is wrong: file, line, column, the line itself with a caret, and a hint.
    #[error("{0}")]
    Wrong(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    listen: Option<OneOrMany<SocketAddr>>,
    names: Option<OneOrMany<HostName>>,
    zone: Option<value::ZoneName>,
    state: Option<PathBuf>,
    store: Option<StoreUrl>,
    recordings: Option<Folder>,
    #[serde(default)]
    journal: Kept,
    policy: Option<PathBuf>,
    source_addresses: Option<OneOrMany<Source>>,
    known_hosts_pattern: Option<Pattern>,
    keys: Option<WrittenKeys>,
    metrics: Option<WrittenMetrics>,
    alarm: Option<WrittenAlarm>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenMetrics {
    listen: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenAlarm {
    command: value::Program,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenKeys {
    passphrase_file: Option<PathBuf>,
    credential: Option<value::CredentialName>,
}

impl Config {
    /// Reads and parses `file`. Warns (in `warnings`) when others can write it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |why| ConfigError::Unreadable { file: file.to_owned(), why };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let mut config = Self::parse(&text, file)?;
        let mode = std::fs::metadata(file).map_err(unreadable)?.permissions().mode();
        if mode & 0o022 != 0 {
            let shown = file.display();
            config.warnings.push(format!("others can write {shown} (mode {:03o})\nhint: chmod go-w {shown}", mode & 0o777));
        }
        Ok(config)
    }

    /// Parses `text` that stands in `file`: the name is for errors, its folder is what relative paths begin at.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let wrong = |message: &str, span| ConfigError::Wrong(place::show(file, text, message, span));
        let written: Written = toml::from_str(text).map_err(|e| wrong(e.message(), e.span()))?;
        let base = file.parent().unwrap_or(Path::new(""));
        let at = |path: PathBuf| tidy(&base.join(path));
        let keys = match written.keys {
            Some(WrittenKeys { passphrase_file: Some(path), credential: None }) => Keys::PassphraseFile(at(path)),
            Some(WrittenKeys { passphrase_file: None, credential: Some(name) }) => Keys::Credential(name.0),
            Some(WrittenKeys { passphrase_file: Some(_), credential: Some(_) }) => {
                return Err(wrong(
                    "[keys] has both `passphrase-file` and `credential`\nhint: keep one of them",
                    place::table(text, "keys"),
                ));
            }
            Some(_) => {
                return Err(wrong(&format!("[keys] is empty\nhint: {KEYS_HINT}"), place::table(text, "keys")));
            }
            None => {
                return Err(wrong(&format!("[keys] is missing\nhint: {KEYS_HINT}"), None));
            }
        };
        let state = at(written.state.unwrap_or_else(|| "state".into()));
        let store = match written.store {
            None => StoreUrl::Sqlite(state.join("jit-bastion.db")),
            Some(StoreUrl::Sqlite(path)) => StoreUrl::Sqlite(at(path)),
            Some(server) => server,
        };
        Ok(Self {
            file: file.to_owned(),
            listen: written.listen.map_or_else(|| vec![(Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()], |l| l.0),
            names: match written.names {
                Some(names) => names.0,
                None => HostName::parse("jit-bastion").into_iter().collect(),
            },
            zone: written.zone.map_or_else(Zone::utc, |zone| zone.0),
            store,
            recordings: at(written.recordings.map_or_else(|| "recordings".into(), |f| f.0)),
            journal: written.journal,
            policy: at(written.policy.unwrap_or_else(|| "policy.toml".into())),
            source_addresses: written.source_addresses.map(|s| s.0).unwrap_or_default(),
            known_hosts_pattern: written.known_hosts_pattern.map_or_else(|| "*".into(), |p| p.0),
            metrics: written.metrics.map(|metrics| metrics.listen),
            alarm: written.alarm.map(|alarm| alarm.command.0),
            limits: written.limits,
            warnings: Vec::new(),
            state,
            keys,
        })
    }
}

/// `path` without `.` parts; `..` stays, because what it means depends on links.
fn tidy(path: &Path) -> PathBuf {
    let tidied: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    if tidied.as_os_str().is_empty() { PathBuf::from(".") } else { tidied }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::time::Span;

    const KEYS: &str = "[keys]\npassphrase-file = \"passphrase\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/jb/jit-bastion.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn left_out_keys_have_defaults_beside_the_file() {
        let config = parse(KEYS).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:2222".parse().unwrap()]);
        assert_eq!(config.names[0].as_str(), "jit-bastion");
        assert_eq!(config.state, Path::new("/etc/jb/state"));
        assert_eq!(config.store.to_string(), "sqlite:/etc/jb/state/jit-bastion.db");
        assert_eq!(config.recordings, Path::new("/etc/jb/recordings"));
        assert_eq!(config.policy, Path::new("/etc/jb/policy.toml"));
        assert_eq!(config.keys, Keys::PassphraseFile("/etc/jb/passphrase".into()));
        assert_eq!(config.known_hosts_pattern, "*");
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.zone, Zone::utc());
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            listen = ["0.0.0.0:22", "[::]:22"]
            names = "bastion.hospital.example"
            zone = "Europe/Berlin"
            state = "/var/lib/jb"
            store = "sqlite:./x.db"
            recordings = "file:///srv/recordings"
            journal = "power"
            policy = "/etc/p.toml"
            source-addresses = ["192.0.2.7", "2001:db8::/64"]
            known-hosts-pattern = "bastion.*,phi-*"
            [keys]
            credential = "passphrase"
            [metrics]
            listen = "127.0.0.1:9222"
            [alarm]
            command = ["/usr/bin/logger", "-t", "jit-bastion"]
            [limits]
            login-grace = "45s"
            connections = 7
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.zone.name(), "Europe/Berlin");
        assert_eq!(config.store.to_string(), "sqlite:/etc/jb/x.db");
        assert_eq!(config.store.to_string(), "sqlite:/etc/jb/x.db");
        assert_eq!(config.recordings, Path::new("/srv/recordings"));
        assert_eq!(config.journal, Kept::Power);
        assert_eq!(config.source_addresses[1].to_string(), "2001:db8::/64");
        assert_eq!(config.keys, Keys::Credential("passphrase".into()));
        assert_eq!(config.metrics, Some((Ipv4Addr::LOCALHOST, 9222).into()));
        assert_eq!(config.alarm.unwrap_or_default(), ["/usr/bin/logger", "-t", "jit-bastion"]);
        assert_eq!((config.limits.login_grace, config.limits.connections), (Span::seconds(45), 7));
    }

    /// What is wrong, where it is said to be, and words that the message must have.
    #[test]
    fn errors_name_line_column_and_what_is_allowed() {
        let table: &[(&str, &str, &[&str])] = &[
            ("lissten = 1\n", ":1:1:", &["unknown key `lissten`", "lissten = 1\n  | ^^^^^^^", "`listen`", "`limits`"]),
            ("zone = \"Mars/Olympus\"\n", ":1:8:", &["\"Mars/Olympus\" is not a time zone", "America/New_York"]),
            ("\nlisten = \"localhost\"\n", ":2:10:", &["localhost", "127.0.0.1:2222", "^^^^^^^^^^^"]),
            ("listen = []\n", ":1:10:", &["at least one"]),
            ("listen = 22\n", ":1:10:", &["integer `22`", "a text or a list of texts"]),
            ("names = [\"a b\"]\n", ":1:9:", &["\"a b\" is not a host name"]),
            ("state = \"a\"\nstate = \"b\"\n", ":2:1:", &["duplicate key"]),
            ("store = \"mysql://x\"\n", ":1:9:", &["names no store", "sqlite:", "postgres:"]),
            ("store = \"postgres://a:hunter2@b/c\"\n", ":1:9:", &["sslmode=verify-full", "postgres://a:*******@b/c\"\n"]),
            ("stoer = \"postgres://a:hunter2@b/c\"\n", ":1:1:", &["postgres://a:*******@b/c"]),
            ("recordings = \"s3://x\"\n", ":1:14:", &["not built in this version"]),
            ("journal = \"disk\"\n", ":1:11:", &["`disk`", "`process`", "`power`"]),
            ("source-addresses = [\"10.0.0.0/33\"]\n", ":1:20:", &["10.0.0.0/33", "192.0.2.7"]),
            ("source-addresses = [\"10.0.0.1/24\"]\n", ":1:20:", &["10.0.0.1/24"]),
            ("known-hosts-pattern = \"a b\"\n", ":1:23:", &["\"a b\"", "phi-*"]),
            ("[keys]\npassphrase = \"x\"\n", ":2:1:", &["unknown key `passphrase`", "`passphrase-file`", "`credential`"]),
            ("[metrics]\nport = 1\n", ":2:1:", &["unknown key `port`", "`listen`"]),
            ("[alarm]\ncommand = [\"logger\"]\n", ":2:11:", &["absolute path", "/usr/bin/logger"]),
            ("[keys]\n", ":1:1:", &["[keys] is empty"]),
            ("[keys]\ncredential = \"a/b\"\n", ":2:14:", &["a/b"]),
            ("[keys]\ncredential = \"a\"\npassphrase-file = \"b\"\n", ":1:1:", &["both"]),
            ("policy = \"p\"\n", ".toml:", &["[keys] is missing", "passphrase-file ="]),
            ("[limits]\nconections = 1\n", ":2:1:", &["unknown key `conections`", "`connections`"]),
            ("[limits]\nconnections = 0\n", ":2:15:", &["from 1 to", "`connections`"]),
            ("[limits]\nlogin-grace = \"1s\"\n", ":2:15:", &["from 5s to 10m", "`login-grace`"]),
            ("[limits]\nlogin-grace = 30\n", ":2:15:", &["30s"]),
            ("[limits]\nterminal-rate = \"1KiB\"\n", ":2:17:", &["from 64KiB to 1GiB", "8MiB"]),
            ("[limits]\nrecorded-per-user = 5\n", ":2:21:", &["64GiB"]),
            ("listen = \"\n", ":1:", &["listen = "]),
        ];
        for (text, at, words) in table {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with("/etc/jb/jit-bastion.toml") && said.contains(at), "{text}\n{said}");
            for word in *words {
                assert!(said.contains(word), "{word:?} is missing for\n{text}\n{said}");
            }
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, KEYS).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert!(Config::load(&file).unwrap().warnings[0].contains("others can write"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Config::load(&file).unwrap().warnings.is_empty());
        let missing = Config::load(&dir.path().join("none.toml")).unwrap_err().to_string();
        assert!(missing.contains("none.toml") && missing.contains("hint:"), "{missing}");
    }
}
