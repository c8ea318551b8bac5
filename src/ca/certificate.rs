//! What a certificate says: checked parts that only have to be put together and signed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rand::CryptoRng;
use ssh_key::PublicKey;
use thiserror::Error;

use crate::access::names::{BadName, GrantId, Login, SessionId, User};
use crate::access::time::{Span, Timestamp};

/// How long before its making a certificate is valid: hosts' clocks differ.
const EARLY: Span = Span::minutes(5);
/// How long a session certificate stays usable; it is used once, at once. The cut ends the session, not the certificate.
const USABLE: Span = Span::minutes(5);
/// The longest key id and force-command; sshd logs the one and runs the other.
const LONGEST_KEY_ID: usize = 200;
const LONGEST_COMMAND: usize = 4096;

/// A certificate that cannot be made.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// It would be valid for nobody, or for everybody.
    #[error("a certificate names at least one principal")]
    NoPrincipal,
    /// It would work from anywhere.
    #[error("a session certificate names at least one source address")]
    NoSource,
    /// It would have ended before it began.
    #[error("nothing is certified for a time that is over: it ends at {0}")]
    Over(Timestamp),
    /// A part is not what it should be.
    #[error(transparent)]
    Part(#[from] BadName),
    /// The signature could not be made.
    #[error("cannot sign: {0}")]
    Sign(#[from] ssh_key::Error),
}

/// What a host's own log shows beside the login: `alice/s-7k2m9q/g-7k2m9q`. Only `[A-Za-z0-9._:/-]`, so that it cannot forge a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId(String);

impl KeyId {
    /// Parses, or refuses with the rule that was broken.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let fits = (1..=LONGEST_KEY_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName::new("key id", text, "1 to 200 of A-Z a-z 0-9 . _ : / -")) }
    }

    /// Of one session: user, session and grant. A user's name may hold `_`, all of it is in the alphabet.
    pub fn of_session(user: &User, session: &SessionId, grant: &GrantId) -> Self {
        Self(format!("{user}/{session}/{grant}"))
    }

    /// Of an access certificate: user and grant.
    pub fn of_access(user: &User, grant: &GrantId) -> Self {
        Self(format!("{user}/{grant}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate's number: 63 random bits, never 0, so that it tells nothing about how many there are. Shown in decimal, as
/// `ssh-keygen -L` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(u64);

impl Serial {
    /// A fresh one.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self((rng.next_u64() >> 1).max(1))
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address or a network that a certificate works from: `192.0.2.7`, `2001:db8::/48`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddress {
    address: IpAddr,
    prefix: u8,
}

impl From<IpAddr> for SourceAddress {
    /// This one address. An IPv4 address inside IPv6 is the IPv4 address: that is how the host sees it.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for SourceAddress {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("source address", text, "an address, or a network as 192.0.2.0/24 without bits after its prefix");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let mut source = Self::from(address.parse::<IpAddr>().map_err(|_| bad())?);
        if let Some(prefix) = prefix {
            let digits = prefix.bytes().all(|b| b.is_ascii_digit());
            let longest = source.prefix;
            source.prefix = prefix.parse().ok().filter(|p| digits && *p <= longest).ok_or_else(bad)?;
        }
        // sshd refuses the whole certificate for a network that has bits after its prefix.
        if source.host_bits() == 0 { Ok(source) } else { Err(bad()) }
    }
}

impl SourceAddress {
    fn host_bits(&self) -> u128 {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits() & u32::MAX.checked_shr(prefix).unwrap_or(0)),
            IpAddr::V6(address) => address.to_bits() & u128::MAX.checked_shr(prefix).unwrap_or(0),
        }
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.prefix) {
            (IpAddr::V4(address), 32) => address.fmt(f),
            (IpAddr::V6(address), 128) => address.fmt(f),
            (address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// What a host allows a session beyond running its commands. Without one of these the host says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// A terminal.
    Pty,
    /// Forwards in both directions.
    PortForwarding,
    /// The agent of the user.
    AgentForwarding,
}

impl Extension {
    /// OpenSSH's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pty => "permit-pty",
            Self::PortForwarding => "permit-port-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
        }
    }
}

/// From when until when, in whole seconds since 1970; OpenSSH counts the end as outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: u64,
    /// The first second that is outside.
    pub until: u64,
}

impl Validity {
    /// For one use now, never past `grant_ends`.
    pub fn for_session(now: Timestamp, grant_ends: Timestamp) -> Result<Self, CertificateError> {
        Self::new(now, grant_ends.min(now.plus(USABLE)))
    }

    /// From now on (and a little before, because clocks differ) until `ends`.
    pub fn new(now: Timestamp, ends: Timestamp) -> Result<Self, CertificateError> {
        let over = |_| CertificateError::Over(ends);
        let from = u64::try_from(now.minus(EARLY).seconds()).map_err(over)?;
        let until = u64::try_from(ends.seconds()).map_err(over)?;
        if ends.seconds() <= now.seconds() {
            return Err(CertificateError::Over(ends));
        }
        Ok(Self { from, until })
    }

    /// From a grant's begin to its end, both rounded down to the second: never past the end.
    pub fn of_grant(begins: Timestamp, ends: Timestamp) -> Result<Self, CertificateError> {
        let over = |_| CertificateError::Over(ends);
        let (from, until) = (u64::try_from(begins.seconds()).map_err(over)?, u64::try_from(ends.seconds()).map_err(over)?);
        if from < until { Ok(Self { from, until }) } else { Err(CertificateError::Over(ends)) }
    }

    /// Whether half of it or more has passed: time to renew.
    pub fn half_spent(&self, now: Timestamp) -> bool {
        let now = u64::try_from(now.seconds()).unwrap_or(0);
        now >= self.from + self.until.saturating_sub(self.from) / 2
    }
}

/// One session's certificate: this key, as this login, from here, for a moment.
#[derive(Debug, Clone)]
pub struct SessionCert<'a> {
    /// The session's fresh key.
    pub key: &'a PublicKey,
    /// The account on the host: the one principal.
    pub login: &'a Login,
    /// Who and what for, for the host's log.
    pub key_id: KeyId,
    /// Its number.
    pub serial: Serial,
    /// When.
    pub validity: Validity,
    /// From where: at least one.
    pub sources: &'a [SourceAddress],
    /// What beyond commands.
    pub extensions: BTreeSet<Extension>,
    /// The only command that the host may run, if there is such a one.
    pub force_command: Option<&'a str>,
}

/// A host certificate: this key answers for these names.
#[derive(Debug, Clone)]
pub struct HostCert<'a> {
    /// The host key.
    pub key: &'a PublicKey,
    /// Names and addresses as people type them, lower case; at least one, no patterns.
    pub names: &'a [String],
    /// For whoever reads the certificate.
    pub key_id: KeyId,
    /// Its number.
    pub serial: Serial,
    /// When.
    pub validity: Validity,
}

/// A name that a host certificate may carry. OpenSSH reads `*` and `?` in it as a pattern, and `,` ends it.
pub(super) fn check_host_name(name: &str) -> Result<(), BadName> {
    let fits =
        (1..=253).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._:-".contains(&b));
    if fits { Ok(()) } else { Err(BadName::new("host name in a certificate", name, "1 to 253 of a-z 0-9 . _ : -")) }
}

pub(super) fn check_command(command: &str) -> Result<(), BadName> {
    let fits = (1..=LONGEST_COMMAND).contains(&command.len()) && !command.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(BadName::new("forced command", command, "one line without control characters")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_cannot_forge_a_log_line() {
        assert!(KeyId::parse("alice/s-7k2m9q/g-7k2m9q").is_ok());
        for bad in ["", "a b", "a\nb", "a\"b", "ä", "a(b)", &"a".repeat(201)] {
            assert!(KeyId::parse(bad).is_err(), "{bad:?}");
        }
        let longest = (User::parse(&"a".repeat(32)), SessionId::parse("s-7k2m9q"), GrantId::parse("g-7k2m9q"));
        let key_id = KeyId::of_session(&longest.0.unwrap(), &longest.1.unwrap(), &longest.2.unwrap());
        assert_eq!(KeyId::parse(key_id.as_str()), Ok(key_id));
    }

    #[test]
    fn source_addresses_are_what_sshd_accepts() {
        for good in ["192.0.2.7", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32", "0.0.0.0/0"] {
            assert_eq!(good.parse::<SourceAddress>().map(|s| s.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(SourceAddress::from("::ffff:192.0.2.7".parse::<IpAddr>().unwrap()).to_string(), "192.0.2.7");
        for bad in ["", "*", "192.0.2.7/24", "192.0.2.0/33", "2001:db8::1/64", "a.example", "192.0.2.0/+8", "192.0.2.7,0.0.0.0/0"] {
            assert!(bad.parse::<SourceAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_certificate_lives_five_minutes_and_never_past_the_grant() {
        let now = Timestamp::from_micros(1_795_298_820_000_000);
        let long = Validity::for_session(now, now.plus(Span::minutes(240))).unwrap();
        assert_eq!((long.from, long.until), (1_795_298_520, 1_795_299_120));
        let short = Validity::for_session(now, now.plus(Span::seconds(7))).unwrap();
        assert_eq!(short.until, 1_795_298_827);
        for ends in [now, now.minus(Span::seconds(1)), Timestamp::from_micros(now.micros() + 999_999), Timestamp::from_micros(-1)] {
            assert!(matches!(Validity::for_session(now, ends), Err(CertificateError::Over(_))), "{ends}");
        }
        assert!(!long.half_spent(now.minus(Span::seconds(1))));
        assert!(long.half_spent(now));
    }
}
