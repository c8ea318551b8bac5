//! KEXINIT: what each side offers, and what follows from both (RFC 4253 section 7.1).

use super::agreement::Agreement;
use crate::wire::cipher::Cipher;
use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::entropy::Entropy;
use crate::wire::number::KEXINIT;

/// What we are willing to speak, in the order that we prefer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key agreements.
    pub kex: Vec<Agreement>,
    /// Packet ciphers, the same for both directions.
    pub ciphers: Vec<Cipher>,
}

impl Default for Algorithms {
    /// All that this crate speaks: none of it is legacy.
    fn default() -> Self {
        Self { kex: Agreement::ALL.to_vec(), ciphers: Cipher::ALL.to_vec() }
    }
}

/// A KEXINIT taken apart. Compression and MACs are not kept: we speak no compression, and every cipher of ours is an AEAD.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    kex: Vec<&'a str>,
    host_keys: Vec<&'a str>,
    to_server: Vec<&'a str>,
    to_client: Vec<&'a str>,
    compression_to_server: Vec<&'a str>,
    compression_to_client: Vec<&'a str>,
    guess_follows: bool,
}

impl<'a> Offer<'a> {
    /// Takes a whole KEXINIT message apart.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        if message.len() > MAX_OFFER {
            return Err(WireError::TooLarge("key exchange offer"));
        }
        let mut r = Reader::new(message);
        r.take(1 + COOKIE)?;
        let (kex, host_keys) = (r.names()?, r.names()?);
        let (to_server, to_client) = (r.names()?, r.names()?);
        r.string()?;
        r.string()?;
        let (compression_to_server, compression_to_client) = (r.names()?, r.names()?);
        r.string()?;
        r.string()?;
        let guess_follows = r.bool()?;
        r.u32()?;
        r.end()?;
        Ok(Self { kex, host_keys, to_server, to_client, compression_to_server, compression_to_client, guess_follows })
    }

    /// Whether the list of key agreements names `name`: markers of protocol extensions stand there.
    pub(super) fn marks(&self, name: &str) -> bool {
        self.kex.contains(&name)
    }

    /// Our ciphers as a server, fitted to this client. The client's order decides, and OpenSSH puts ChaCha20 before
    /// AES-GCM until 9.9 at five times the cost: so only AES-GCM is offered to who has it, both ways.
    pub(super) fn fit(&self, ours: &[Cipher]) -> Vec<Cipher> {
        let has = |c: &Cipher| self.to_server.contains(&c.name()) && self.to_client.contains(&c.name());
        let fast: Vec<Cipher> = ours.iter().copied().filter(|c| *c != Cipher::ChaCha20Poly1305 && has(c)).collect();
        if fast.is_empty() { ours.to_vec() } else { fast }
    }
}

/// What the two offers come to.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) agreement: Agreement,
    pub(super) host_key: String,
    pub(super) to_server: Cipher,
    pub(super) to_client: Cipher,
    /// The client sent a guess with its offer, and it was wrong: its next packet counts for nothing.
    pub(super) client_guessed_wrong: bool,
    /// The same of the server.
    pub(super) server_guessed_wrong: bool,
}

impl Agreed {
    /// The client's order decides, among what both have.
    pub(super) fn between(client: &Offer, server: &Offer) -> Result<Self, WireError> {
        let agreement = choose("key exchange", &client.kex, &server.kex, Agreement::from_name)?;
        let host_key = choose("host key algorithm", &client.host_keys, &server.host_keys, |n| Some(n.to_owned()))?;
        let to_server = choose("cipher", &client.to_server, &server.to_server, Cipher::from_name)?;
        let to_client = choose("cipher", &client.to_client, &server.to_client, Cipher::from_name)?;
        for (c, s) in
            [(&client.compression_to_server, &server.compression_to_server), (&client.compression_to_client, &server.compression_to_client)]
        {
            choose("compression", c, s, |n| (n == "none").then_some(()))?;
        }
        // RFC 4253 section 7.1: a guess is right if both sides prefer the same key agreement and host key.
        let same = client.kex.first() == server.kex.first() && client.host_keys.first() == server.host_keys.first();
        Ok(Self {
            agreement,
            host_key,
            to_server,
            to_client,
            client_guessed_wrong: client.guess_follows && !same,
            server_guessed_wrong: server.guess_follows && !same,
        })
    }

    /// Whether a cipher was agreed on that a peer without strict key exchange makes unsafe (CVE-2023-48795).
    pub(super) fn needs_strict(&self) -> bool {
        [self.to_server, self.to_client].contains(&Cipher::ChaCha20Poly1305)
    }
}

fn choose<T>(what: &'static str, client: &[&str], server: &[&str], known: impl Fn(&str) -> Option<T>) -> Result<T, WireError> {
    let common = client.iter().find(|name| server.contains(name));
    common.and_then(|name| known(name)).ok_or_else(|| {
        // One of the two lists is ours; both together are short and show what is missing.
        let seen = format!("{} against {}", client.join(","), server.join(","));
        WireError::NoCommon(what, printable(&seen, 400))
    })
}

/// A peer's text made safe to show and to log: control characters dropped, cut to `most` characters.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Composes a KEXINIT with these names.
pub(super) fn compose(kex: &[&str], host_keys: &[&str], ciphers: &[Cipher], rng: &mut dyn Entropy) -> Vec<u8> {
    let mut cookie = [0; COOKIE];
    rng.fill(&mut cookie);
    let ciphers: Vec<&str> = ciphers.iter().map(|c| c.name()).collect();
    Writer::message(KEXINIT)
        .raw(&cookie)
        .names(kex)
        .names(host_keys)
        .names(&ciphers)
        .names(&ciphers)
        .names(MACS)
        .names(MACS)
        .names(&["none"])
        .names(&["none"])
        .names(&[])
        .names(&[])
        .bool(false)
        .u32(0)
        .done()
}

/// Never used, since every cipher that we offer is an AEAD; but some peers look for a common MAC before they see that.
const MACS: &[&str] = &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"];
const COOKIE: usize = 16;
/// OpenSSH's own is below 2 KiB.
const MAX_OFFER: usize = 32 * 1024;
