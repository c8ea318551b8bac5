//! Channel kinds: what may be opened inside a session, and sets of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::BadName;

/// Where a forward goes, or where a reverse forward listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// `*`: every one.
    Any,
    /// A port of the host itself: localhost, ::1, its own names.
    Port(u16),
    /// An address as the client wrote it, and a port.
    Address(String, u16),
    /// A unix socket.
    Path(String),
}

/// One thing that may be opened in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    /// A terminal, or a shell without one.
    Shell,
    /// A command. It reaches every file that the login reaches, because `cat`, `rsync` and `scp -O` are commands.
    Exec,
    /// Reading files and folders over SFTP.
    SftpRead,
    /// Writing files over SFTP.
    SftpWrite,
    /// A connection from the client's side to somewhere the host reaches.
    Forward(Destination),
    /// A listener on the host, connected to the client's side.
    Reverse(Destination),
    /// The client's authentication agent.
    Agent,
}

const HOW: &str = "it is one of shell, exec, sftp-read, sftp-write, forward:.., reverse:.., agent";

impl Kind {
    /// Is opening `other` allowed to a holder of this kind? `forward:*` covers each forward.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(Destination::Any), Self::Forward(_)) | (Self::Reverse(Destination::Any), Self::Reverse(_)) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Address(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Address(host, port) => write!(f, "{host}:{port}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell => f.write_str("shell"),
            Self::Exec => f.write_str("exec"),
            Self::SftpRead => f.write_str("sftp-read"),
            Self::SftpWrite => f.write_str("sftp-write"),
            Self::Forward(to) => write!(f, "forward:{to}"),
            Self::Reverse(to) => write!(f, "reverse:{to}"),
            Self::Agent => f.write_str("agent"),
        }
    }
}

impl FromStr for Destination {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("forward destination", text, "it is PORT, ADDR:PORT, [V6]:PORT, /PATH or *");
        let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(bad);
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.starts_with('/') && text.len() <= 255 && !text.contains([',', '\0']) && !text.chars().any(char::is_control) {
            return plain_path(text).map(Self::Path).ok_or_else(bad);
        }
        let Some((host, after)) = text.rsplit_once(':') else { return Ok(Self::Port(port(text)?)) };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || (bare.is_some() && c == ':');
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
            return Err(bad());
        }
        Ok(Self::Address(host.to_ascii_lowercase(), port(after)?))
    }
}

/// The path of a unix socket in one spelling: from the root, without `//`, `.` and a last `/`. `None` where it goes up by `..`: where that
/// leads is only known on the host.
pub fn plain_path(path: &str) -> Option<String> {
    let parts = path.strip_prefix('/')?.split('/').filter(|part| !matches!(*part, "" | "."));
    let plain = parts.map(|part| (part != "..").then(|| format!("/{part}"))).collect::<Option<String>>()?;
    Some(plain).filter(|plain| !plain.is_empty())
}

impl FromStr for Kind {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match (text, text.split_once(':')) {
            ("shell", _) => Ok(Self::Shell),
            ("exec", _) => Ok(Self::Exec),
            ("sftp-read", _) => Ok(Self::SftpRead),
            ("sftp-write", _) => Ok(Self::SftpWrite),
            ("agent", _) => Ok(Self::Agent),
            (_, Some(("forward", to))) => Ok(Self::Forward(to.parse()?)),
            (_, Some(("reverse", to))) => Ok(Self::Reverse(to.parse()?)),
            _ => Err(BadName::new("channel kind", text, HOW)),
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.to_string()
    }
}

/// A set of channel kinds, in a fixed order. Written `shell,exec,sftp-read`; kept as a list of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Channels(BTreeSet<Kind>);

impl Channels {
    /// Every kind there is: each forward by `forward:*`, each reverse forward by `reverse:*`.
    pub fn all() -> Self {
        let forwards = [Kind::Forward(Destination::Any), Kind::Reverse(Destination::Any), Kind::Agent];
        [Kind::Shell, Kind::Exec, Kind::SftpRead, Kind::SftpWrite].into_iter().chain(forwards).collect()
    }

    /// May `kind` be opened?
    pub fn covers(&self, kind: &Kind) -> bool {
        self.0.iter().any(|mine| mine.covers(kind))
    }

    /// May every kind of `other` be opened?
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|kind| self.covers(kind))
    }

    /// Those of mine that `keep` says yes to.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Kind) -> bool) -> Self {
        self.0.iter().filter(|kind| keep(kind)).cloned().collect()
    }

    /// What mine and `other` both give: of `forward:*` and `forward:22` the latter, whichever stands where.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        self.only(|kind| other.covers(kind)).0.into_iter().chain(other.only(|kind| self.covers(kind)).0).collect()
    }

    /// Without those that another one covers: `forward:*` says all that `forward:22` says.
    #[must_use]
    pub fn widest(&self) -> Self {
        self.only(|kind| !self.0.iter().any(|other| other != kind && other.covers(kind)))
    }

    /// No kind at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds, in their fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.iter()
    }
}

impl FromIterator<Kind> for Channels {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&texts.join(","))
    }
}

impl FromStr for Channels {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        text.split(',').map(|kind| kind.trim().parse::<Kind>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_and_print() {
        for text in [
            "shell",
            "exec",
            "sftp-read",
            "agent",
            "forward:5432",
            "forward:*",
            "forward:db.example:5432",
            "reverse:[::1]:80",
            "forward:/run/x.sock",
        ] {
            assert_eq!(text.parse::<Kind>().map(String::from), Ok(text.to_owned()));
        }
        assert_eq!("forward:/run//./x.sock/".parse::<Kind>().map(String::from), Ok("forward:/run/x.sock".to_owned()));
        for text in ["", "Shell", "forward", "forward:", "forward:0", "forward:65536", "forward:a b:1", "forward:::1:80", "x11"] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
        for text in ["forward:/", "forward:/run/../x.sock", "reverse:/.."] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
    }

    #[test]
    fn sets_have_one_order_and_cover() -> Result<(), BadName> {
        let set: Channels = "exec, shell,exec".parse()?;
        assert_eq!(set.to_string(), "shell,exec");
        assert!(Channels::all().covers_all(&set));
        assert!(!set.covers_all(&Channels::all()));
        let any: Channels = "forward:*".parse()?;
        assert!(any.covers(&"forward:22".parse()?) && !any.covers(&"reverse:22".parse()?));
        let both: Channels = "forward:22,forward:*,reverse:22".parse()?;
        assert_eq!(both.widest().to_string(), "forward:*,reverse:22");
        for (mine, other, common) in [
            ("shell,forward:*", "shell,forward:22", "shell,forward:22"),
            ("forward:22,exec", "forward:*,shell", "forward:22"),
            ("forward:*", "forward:*", "forward:*"),
            ("forward:22", "reverse:*", ""),
        ] {
            assert_eq!(mine.parse::<Channels>()?.within(&other.parse()?).to_string(), common, "{mine} and {other}");
        }
        assert!("".parse::<Channels>().is_err());
        Ok(())
    }

    #[test]
    fn kept_as_texts() {
        let json = serde_json::to_string(&Channels::all()).unwrap();
        assert_eq!(json, r#"["shell","exec","sftp-read","sftp-write","forward:*","reverse:*","agent"]"#);
        assert_eq!(serde_json::from_str::<Channels>(&json).unwrap(), Channels::all());
    }
}
