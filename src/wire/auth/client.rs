//! The client side: one certificate, signed for straight away. Whatever else a host wants, we do not have.

use ssh_key::{Certificate, PrivateKey};

use super::super::codec::{Reader, WireError, Writer};
use super::super::keys::{Signer, certificate_algorithm};
use super::super::number;
use super::server::USERAUTH_SERVICE;

/// Our way into a host.
pub struct ClientAuth {
    user: String,
    certificate: Vec<u8>,
    signer: Signer,
    session_id: Vec<u8>,
    state: State,
    banners: u32,
}

/// What to do after a message of the host.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send this, then wait.
    Send(Vec<u8>),
    /// Nothing to do.
    Wait,
    /// The host's words for the user, control characters removed, lines ending in `\n`; at most 16 KiB each.
    Banner(String),
    /// We are in.
    In,
    /// The host does not take our certificate, or takes it and wants more.
    Refused {
        /// The methods that it names, control characters removed; at most 1 KiB.
        methods: String,
        /// It took the certificate and wants one of these methods in addition.
        partial: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// SERVICE_REQUEST is out.
    Service,
    /// The one USERAUTH_REQUEST is out.
    Asked,
    /// In or refused.
    Over,
}

impl ClientAuth {
    /// Prepares to log in as `user` with `certificate`, which must certify `key` (Ed25519 or ECDSA).
    pub fn new(user: &str, certificate: &Certificate, key: &PrivateKey, session_id: &[u8]) -> Result<Self, WireError> {
        if certificate.public_key() != key.public_key().key_data() {
            return Err(WireError::Malformed("certificate for this key"));
        }
        Ok(Self {
            user: user.to_owned(),
            certificate: certificate.to_bytes().map_err(|_| WireError::Malformed("certificate"))?,
            signer: Signer::new(key)?,
            session_id: session_id.to_vec(),
            state: State::Service,
            banners: 0,
        })
    }

    /// SERVICE_REQUEST, the first message after the first key exchange.
    pub fn start(&mut self) -> Vec<u8> {
        Writer::message(number::SERVICE_REQUEST).string(USERAUTH_SERVICE.as_bytes()).done()
    }

    /// Takes the host's next message. An error ends the connection.
    pub fn handle(&mut self, payload: &[u8]) -> Result<ClientStep, WireError> {
        let mut r = Reader::new(payload);
        match (r.u8()?, self.state) {
            (number::EXT_INFO, _) => Ok(ClientStep::Wait),
            (number::SERVICE_ACCEPT, State::Service) => {
                if r.string()? != USERAUTH_SERVICE.as_bytes() {
                    return Err(WireError::Malformed("service name"));
                }
                self.state = State::Asked;
                self.request().map(ClientStep::Send)
            }
            (number::USERAUTH_BANNER, State::Service | State::Asked) => self.banner(r),
            (number::USERAUTH_SUCCESS, State::Asked) => {
                r.end()?;
                self.state = State::Over;
                Ok(ClientStep::In)
            }
            (number::USERAUTH_FAILURE, State::Asked) => {
                let (methods, partial) = (r.string()?, r.bool()?);
                self.state = State::Over;
                Ok(ClientStep::Refused { methods: printable(methods, MAX_METHODS), partial })
            }
            (other, _) => Err(WireError::Unexpected(other)),
        }
    }

    /// USERAUTH_REQUEST with its signature, RFC 4252 section 7.
    fn request(&self) -> Result<Vec<u8>, WireError> {
        let request = Writer::message(number::USERAUTH_REQUEST)
            .string(self.user.as_bytes())
            .string(b"ssh-connection")
            .string(b"publickey")
            .bool(true)
            .string(certificate_algorithm(self.signer.algorithm()).as_bytes())
            .string(&self.certificate)
            .done();
        let signed = Writer::new().string(&self.session_id).raw(&request).done();
        let signature = self.signer.sign(&signed)?;
        Ok(Writer::new().raw(&request).string(&signature).done())
    }

    fn banner(&mut self, mut r: Reader<'_>) -> Result<ClientStep, WireError> {
        self.banners += 1;
        if self.banners > MAX_BANNERS {
            return Err(WireError::TooLarge("number of banners"));
        }
        Ok(ClientStep::Banner(printable(r.string()?, MAX_BANNER)))
    }
}

/// Words of a host, safe for a terminal: line ends and tabs stay, all other control characters go.
fn printable(bytes: &[u8], limit: usize) -> String {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    let keep = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().filter(keep).collect()
}

/// Banners of one connection: sshd sends one, PAM modules a few.
const MAX_BANNERS: u32 = 16;
/// Bytes of one banner that are shown.
const MAX_BANNER: usize = 16 * 1024;
/// Bytes of a list of methods that are shown.
const MAX_METHODS: usize = 1024;
