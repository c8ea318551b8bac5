//! What a client or a host wants to open, by every name that a grant or a deny can call it.
//!
//! A destination has many spellings: `localhost`, `127.1` and the host's own name are one place, and `forward:PORT` means them all. An
//! [`Opening`] knows its spellings; a grant that covers any of them covers it, and a deny that speaks of any of them takes it. Names are
//! not resolved: what they mean is the host's to know, so a name that leads to a place under another name is not seen here.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::channels::{Channels, Destination, Kind};
use super::host::Host;

/// Something that is about to be opened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    kind: Kind,
    /// The same under other names.
    others: Vec<Kind>,
    /// Where a forward over TCP goes: the address in its one spelling, and the port.
    place: Option<(String, u16)>,
}

impl Opening {
    /// A connection from the client's side to `to` and `port`, as the client wrote them, seen from `host`.
    pub fn forward(host: &Host, to: &str, port: u16) -> Self {
        let to = spelled(to);
        if !is_own(host, &to) {
            let kind = Kind::Forward(Destination::Address(to.clone(), port));
            return Self { kind, others: Vec::new(), place: Some((to, port)) };
        }
        let names = host.names().map(ToString::to_string).chain(LOOPBACK.map(str::to_owned));
        let names = names.chain([spelled(&host.address.host), to.clone()]);
        let others = names.map(|name| Kind::Forward(Destination::Address(name, port))).collect();
        Self { kind: Kind::Forward(Destination::Port(port)), others, place: Some((to, port)) }
    }

    /// A connection from the client's side to a unix socket on the host.
    pub fn forward_path(path: &str) -> Self {
        Self::only(Kind::Forward(Destination::Path(path.to_owned())))
    }

    /// A listener on the host at `bind` and `port`, as the client wrote them. `reverse:PORT` is a listener on the loopback alone: one that
    /// others can reach is `reverse:ADDR:PORT`.
    pub fn reverse(bind: &str, port: u16) -> Self {
        let bind = match bind {
            // RFC 4254 section 7.1: all addresses.
            "" | "*" => "0.0.0.0".to_owned(),
            // A listener on every IPv6 address hears IPv4 as well, nearly everywhere.
            bind => Some(spelled(bind)).filter(|bind| bind != "::").unwrap_or_else(|| "0.0.0.0".to_owned()),
        };
        if bind != LOCAL && !bind.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            return Self::only(Kind::Reverse(Destination::Address(bind, port)));
        }
        let others = LOOPBACK.map(|name| Kind::Reverse(Destination::Address(name.to_owned(), port))).to_vec();
        Self { kind: Kind::Reverse(Destination::Port(port)), others, place: None }
    }

    /// A unix socket on the host that listens.
    pub fn reverse_path(path: &str) -> Self {
        Self::only(Kind::Reverse(Destination::Path(path.to_owned())))
    }

    /// What a kind of a rule or a grant opens on `host`. `forward:5432`, `forward:localhost:5432` and that port under the host's own name are
    /// one [`Opening::kind`].
    pub fn of(host: &Host, kind: &Kind) -> Self {
        match kind {
            Kind::Forward(Destination::Port(port)) => Self::forward(host, LOCAL, *port),
            Kind::Forward(Destination::Address(to, port)) => Self::forward(host, to, *port),
            Kind::Reverse(Destination::Address(bind, port)) => Self::reverse(bind, *port),
            kind => Self::only(kind.clone()),
        }
    }

    /// The client's agent, lent to the host.
    pub fn agent() -> Self {
        Self::only(Kind::Agent)
    }

    fn only(kind: Kind) -> Self {
        Self { kind, others: Vec::new(), place: None }
    }

    /// Its name: what a grant for it and nothing else would say.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Does a grant of these let it open?
    pub fn granted_by(&self, channels: &Channels) -> bool {
        self.names().any(|kind| channels.covers(kind))
    }

    /// Every name that it has, for the denies.
    pub fn all(&self) -> Channels {
        self.names().cloned().collect()
    }

    fn names(&self) -> impl Iterator<Item = &Kind> {
        std::iter::once(&self.kind).chain(&self.others)
    }

    /// Is it the SSH port of a registered host, seen from `here`? That way there would be a session that nobody sees.
    pub fn leads_to_ssh(&self, here: &Host, ports: &SshPorts) -> bool {
        let Some((to, port)) = &self.place else { return false };
        // What listens at port 22 of the host itself is an sshd of its own, whatever port is registered.
        let own = is_own(here, to) && (*port == SSH || *port == here.address.port || ports.has(LOCAL, *port));
        own || ports.has(to, *port)
    }
}

/// The SSH ports of the registered hosts, under every name that leads there.
#[derive(Debug, Clone, Default)]
pub struct SshPorts(HashSet<(String, u16)>);

impl SshPorts {
    /// From a name or alias, the address and the port of each host.
    pub fn of<'h>(hosts: impl IntoIterator<Item = (&'h str, &'h str, u16)>) -> Self {
        let places = hosts.into_iter().flat_map(|(name, address, port)| {
            let address = spelled(address);
            let near = is_loopback(&address).then(|| (LOCAL.to_owned(), port));
            [Some((spelled(name), port)), Some((address, port)), near]
        });
        Self(places.flatten().collect())
    }

    fn has(&self, place: &str, port: u16) -> bool {
        self.0.contains(&(place.to_owned(), port))
    }
}

/// Is this address, in its one spelling, the host itself?
fn is_own(host: &Host, to: &str) -> bool {
    is_loopback(to) || spelled(&host.address.host) == to || host.names().any(|name| name.as_str() == to)
}

fn is_loopback(to: &str) -> bool {
    // A connection to "any address" arrives at the machine itself.
    to == LOCAL || to.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// An address in one spelling: lower case, without a last dot, a zone or brackets, and numbers as numbers, also in the forms that
/// `inet_aton` takes (`127.1`, `0x7f000001`).
fn spelled(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let bare = text.split_once('%').map_or(text.as_str(), |(address, _)| address);
    let bare = bare.trim_matches(|c: char| c.is_whitespace() || "[].".contains(c));
    if let Some(v4) = numbered(bare) {
        return v4.to_string();
    }
    match bare.parse::<Ipv6Addr>() {
        Ok(v6) => IpAddr::V6(v6).to_canonical().to_string(),
        Err(_) => bare.to_owned(),
    }
}

/// IPv4 as `inet_aton` reads it: one to four numbers, each decimal, octal or hexadecimal, the last of which fills what is left.
fn numbered(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|byte| *byte > 255) {
        return None;
    }
    let bits = 8 * (4 - first.len());
    if bits < 32 && *last >= 1 << bits {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).fold(0, |sum, (byte, shift)| sum | byte << shift);
    Some(Ipv4Addr::from(high | last))
}

fn number(text: &str) -> Option<u32> {
    let radix = |digits: &str, radix| (!digits.starts_with('+')).then(|| u32::from_str_radix(digits, radix).ok()).flatten();
    match text.strip_prefix("0x") {
        Some(hex) => radix(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => radix(text, 8),
        None => radix(text, 10),
    }
}

/// What everybody calls the machine itself.
const LOOPBACK: [&str; 3] = [LOCAL, "127.0.0.1", "::1"];

const LOCAL: &str = "localhost";

const SSH: u16 = 22;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::host::Address;

    fn host(name: &str, address: &str) -> Host {
        let address: Address = address.parse().unwrap();
        Host { address, aliases: vec!["db2".parse().unwrap()], ..Host::unregistered(&name.parse().unwrap()) }
    }

    fn granted(channels: &str, opening: &Opening) -> bool {
        opening.granted_by(&channels.parse().unwrap())
    }

    #[test]
    fn the_host_itself_has_many_names() {
        let db = host("phi-db", "10.0.0.5:2222");
        let own = [
            "localhost",
            "LOCALHOST.",
            "127.0.0.1",
            "127.1",
            "127.255.0.9",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "::1",
            "[::1]",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0",
            "::",
            "phi-db",
            "PHI-DB",
            "db2",
            "10.0.0.5",
            "10.0.5",
        ];
        for name in own {
            let opening = Opening::forward(&db, name, 5432);
            assert_eq!(opening.kind().to_string(), "forward:5432", "{name}");
            for grant in ["forward:5432", "forward:*", "forward:localhost:5432", "forward:phi-db:5432", "forward:10.0.0.5:5432"] {
                assert!(granted(grant, &opening), "{name} by {grant}");
            }
            assert!(!granted("forward:5433", &opening) && !granted("forward:10.0.0.6:5432", &opening), "{name}");
        }
        let other = Opening::forward(&db, "Registry.Lab.", 80);
        assert_eq!(other.kind().to_string(), "forward:registry.lab:80");
        assert!(granted("forward:registry.lab:80", &other) && granted("forward:*", &other));
        assert!(!granted("forward:80", &other) && !granted("reverse:*", &other));
        for no in ["", "1.2.3.4.5", "127.0.0.256", "+1", "0x", "fe80::1%eth0", "127.0.0.1.evil"] {
            assert_ne!(Opening::forward(&db, no, 5432).kind().to_string(), "forward:5432", "{no}");
        }
    }

    #[test]
    fn sockets_listeners_and_the_agent() {
        assert!(granted("forward:/run/pg.sock", &Opening::forward_path("/run/pg.sock")));
        assert!(!granted("forward:/run/pg.sock,reverse:*", &Opening::forward_path("/run/pg.sock2")));
        for bind in ["localhost", "127.0.0.1", "::1", "127.1"] {
            let opening = Opening::reverse(bind, 8080);
            assert_eq!(opening.kind().to_string(), "reverse:8080");
            assert!(granted("reverse:8080", &opening) && granted("reverse:localhost:8080", &opening));
        }
        for bind in ["", "*", "0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"] {
            let opening = Opening::reverse(bind, 8080);
            assert!(!granted("reverse:8080", &opening) && granted("reverse:0.0.0.0:8080", &opening), "{bind}");
        }
        assert!(!granted("reverse:8080", &Opening::reverse("10.0.0.5", 8080)));
        assert!(granted("reverse:/x", &Opening::reverse_path("/x")) && !granted("forward:/x", &Opening::reverse_path("/x")));
        assert!(granted("agent", &Opening::agent()) && !granted("forward:*,reverse:*", &Opening::agent()));
    }

    #[test]
    fn an_ssh_port_of_a_registered_host_is_known() {
        let db = host("phi-db", "10.0.0.5:2222");
        let ports = SshPorts::of([("phi-db", "10.0.0.5", 2222), ("db2", "10.0.0.5", 2222), ("phi-app", "127.0.0.1", 2022)]);
        let ssh = |to: &str, port| Opening::forward(&db, to, port).leads_to_ssh(&db, &ports);
        for (to, port) in [
            ("localhost", 2222),
            ("10.0.0.5", 2222),
            ("phi-db", 2222),
            ("localhost", 22),
            ("127.0.0.1", 2022),
            ("phi-app", 2022),
            ("::1", 2022),
        ] {
            assert!(ssh(to, port), "{to} {port}");
        }
        for (to, port) in [("localhost", 5432), ("phi-app", 22), ("10.0.0.6", 22), ("elsewhere", 2222)] {
            assert!(!ssh(to, port), "{to} {port}");
        }
        assert!(!Opening::forward_path("/run/x").leads_to_ssh(&db, &ports));
    }

    proptest! {
        #[test]
        fn any_text_is_one_place(text in "\\PC{0,40}", port in 1u16..) {
            let db = host("phi-db", "10.0.0.5:2222");
            let once = spelled(&text);
            prop_assert_eq!(spelled(&once), once.clone(), "a spelling is its own");
            let opening = Opening::forward(&db, &text, port);
            prop_assert!(granted("forward:*", &opening));
            prop_assert_eq!(opening.clone(), Opening::forward(&db, &once, port));
        }

        #[test]
        fn numbers_are_read_as_addresses(ip: u32) {
            let v4 = Ipv4Addr::from(ip);
            let [a, b, c, d] = v4.octets();
            let forms = [v4.to_string(), ip.to_string(), format!("0x{ip:x}"), format!("0{ip:o}"), format!("{a}.{}", ip & 0xff_ffff),
                format!("{a}.{b}.{}", u32::from(c) << 8 | u32::from(d)), format!("0x{a:x}.0{b:o}.{c}.{d}"), format!("::ffff:{v4}")];
            for form in forms {
                prop_assert_eq!(spelled(&form), v4.to_string(), "{}", form);
            }
        }
    }
}
