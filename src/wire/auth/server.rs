//! The server side: public keys and keyboard-interactive.

use std::fmt;

use zeroize::Zeroizing;

use super::super::codec::{Reader, WireError, Writer};
use super::super::number;
use super::super::verify::{Verified, acceptable, verify};
use super::compose::{failure, service_accept};

/// A client on its way in. The caller answers every [`AuthStep`] before it hands in the next message.
pub struct ServerAuth {
    session_id: Vec<u8>,
    host_key: Vec<u8>,
    methods: Vec<&'static str>,
    service_accepted: bool,
    user: String,
    /// Prompts of the one INFO_REQUEST that is out.
    asked: Option<usize>,
    requests: u32,
    offers: u32,
    wrong: u32,
}

/// What a message means and what it asks of the caller.
#[derive(Debug)]
pub enum AuthStep {
    /// Send this; nothing to decide.
    Reply(Vec<u8>),
    /// A key, not yet proven: answer [`pk_ok`](super::pk_ok) or [`failure`](super::failure).
    Offered {
        /// Login name as sent.
        user: String,
        /// Public key algorithm, accepted and fitting the key.
        algorithm: String,
        /// Key or certificate blob.
        key: Vec<u8>,
    },
    /// A key whose signature over this connection was right: answer success, failure or partial failure.
    Proven {
        /// Login name as sent; it is part of what was signed.
        user: String,
        /// Public key algorithm.
        algorithm: String,
        /// Key or certificate blob; of a certificate only the key was proven, nothing it says is checked.
        key: Vec<u8>,
        /// The proof, with a security key's word on its user.
        verified: Verified,
    },
    /// A signature that does not verify: send the reply, after a delay if you like.
    Wrong {
        /// USERAUTH_FAILURE.
        reply: Vec<u8>,
    },
    /// The client is ready for questions: send [`ServerAuth::ask`] or a failure.
    KeyboardInteractive {
        /// Login name as sent.
        user: String,
    },
    /// The answers to the questions, exactly as many as were asked.
    Answers {
        /// Login name as sent.
        user: String,
        /// What was typed.
        answers: Answers,
    },
}

/// Answers of a user: secrets, wiped when dropped, never in a debug print.
pub struct Answers(Vec<Zeroizing<String>>);

impl Answers {
    /// In the order of the questions.
    pub fn as_slice(&self) -> &[Zeroizing<String>] {
        &self.0
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({})", self.0.len())
    }
}

/// Does the client show what is typed?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It shows it.
    Show,
    /// It hides it.
    Hide,
}

impl ServerAuth {
    /// `session_id` is the first exchange hash; `host_key` the blob that we showed in the first key exchange, against
    /// which a host-bound signature is held.
    pub fn new(session_id: &[u8], host_key: &[u8]) -> Self {
        Self {
            session_id: session_id.to_vec(),
            host_key: host_key.to_vec(),
            methods: vec![PUBLICKEY],
            service_accepted: false,
            user: String::new(),
            asked: None,
            requests: 0,
            offers: 0,
            wrong: 0,
        }
    }

    /// The methods named in the failures that this machine composes itself; at first `publickey` alone.
    pub fn set_methods(&mut self, methods: &[&'static str]) {
        self.methods = methods.to_vec();
    }

    /// Takes the next message. An error ends the connection.
    pub fn handle(&mut self, payload: &[u8]) -> Result<AuthStep, WireError> {
        let mut r = Reader::new(payload);
        match r.u8()? {
            number::SERVICE_REQUEST if !self.service_accepted => self.service_request(r),
            number::USERAUTH_REQUEST if self.service_accepted => self.request(payload, r),
            number::USERAUTH_INFO_RESPONSE if self.asked.is_some() => self.answers(r),
            other => Err(WireError::Unexpected(other)),
        }
    }

    /// USERAUTH_INFO_REQUEST, RFC 4256 section 3.2; without prompts it only shows `instruction`, and the client answers
    /// with no answers at once.
    #[must_use]
    pub fn ask(&mut self, name: &str, instruction: &str, prompts: &[(&str, Echo)]) -> Vec<u8> {
        self.asked = Some(prompts.len());
        let head = Writer::message(number::USERAUTH_INFO_REQUEST)
            .string(name.as_bytes())
            .string(instruction.as_bytes())
            .string(b"")
            .u32(u32::try_from(prompts.len()).unwrap_or(u32::MAX));
        let message = prompts.iter().fold(head, |message, (prompt, echo)| message.string(prompt.as_bytes()).bool(*echo == Echo::Show));
        message.done()
    }

    fn service_request(&mut self, mut r: Reader<'_>) -> Result<AuthStep, WireError> {
        if r.string()? != USERAUTH_SERVICE.as_bytes() {
            return Err(WireError::Malformed("service name"));
        }
        r.end()?;
        self.service_accepted = true;
        Ok(AuthStep::Reply(service_accept(USERAUTH_SERVICE)))
    }

    fn request(&mut self, payload: &[u8], mut r: Reader<'_>) -> Result<AuthStep, WireError> {
        count(&mut self.requests, MAX_REQUESTS, "number of authentication requests")?;
        let (user, service, method) = (r.text()?, r.string()?, r.string()?);
        if user.len() > MAX_NAME {
            return Err(WireError::TooLarge("user name"));
        }
        if service != b"ssh-connection" {
            return Err(WireError::Malformed("service name"));
        }
        self.asked = None; // a new request abandons the one under way: RFC 4252 section 5.1
        if self.user != user {
            user.clone_into(&mut self.user);
        }
        match method {
            b"publickey" => self.public_key(payload, r, Bound::No),
            b"publickey-hostbound-v00@openssh.com" => self.public_key(payload, r, Bound::ToHostKey),
            b"keyboard-interactive" if self.methods.contains(&KEYBOARD_INTERACTIVE) => {
                r.string()?; // language
                r.string()?; // submethods: hints, to be ignored
                r.end()?;
                Ok(AuthStep::KeyboardInteractive { user: self.user.clone() })
            }
            _ => Ok(AuthStep::Reply(self.refusal())),
        }
    }

    fn public_key(&mut self, payload: &[u8], mut r: Reader<'_>, bound: Bound) -> Result<AuthStep, WireError> {
        let signed = r.bool()?;
        let (algorithm, key) = (r.text()?, r.string()?);
        let host_key = match bound {
            Bound::No => None,
            Bound::ToHostKey => Some(r.string()?),
        };
        let covered = payload.len().saturating_sub(r.rest().len());
        let signature = if signed { Some(r.string()?) } else { None };
        r.end()?;
        let Some(signature) = signature else {
            return self.offer(algorithm, key, host_key);
        };
        let verdict = if host_key.is_some_and(|shown| shown != self.host_key) {
            Err(WireError::Signature) // signed for another server: somebody stands between
        } else {
            let request = payload.get(..covered).ok_or(WireError::Truncated)?;
            let data = Writer::new().string(&self.session_id).raw(request).done();
            verify(key, algorithm, signature, &data)
        };
        let Ok(verified) = verdict else {
            count(&mut self.wrong, MAX_WRONG, "number of wrong signatures")?;
            return Ok(AuthStep::Wrong { reply: self.refusal() });
        };
        let (user, algorithm) = (self.user.clone(), algorithm.to_owned());
        Ok(AuthStep::Proven { user, algorithm, key: key.to_vec(), verified })
    }

    fn offer(&mut self, algorithm: &str, key: &[u8], host_key: Option<&[u8]>) -> Result<AuthStep, WireError> {
        count(&mut self.offers, MAX_OFFERS, "number of offered keys")?;
        if !acceptable(key, algorithm) || host_key.is_some_and(|shown| shown != self.host_key) {
            return Ok(AuthStep::Reply(self.refusal()));
        }
        let (user, algorithm) = (self.user.clone(), algorithm.to_owned());
        Ok(AuthStep::Offered { user, algorithm, key: key.to_vec() })
    }

    fn answers(&mut self, mut r: Reader<'_>) -> Result<AuthStep, WireError> {
        let asked = self.asked.take().unwrap_or_default();
        if r.u32()? as usize != asked {
            return Err(WireError::Malformed("number of answers"));
        }
        let mut answers = Vec::new();
        for _ in 0..asked {
            let answer = r.text()?;
            if answer.len() > MAX_ANSWER {
                return Err(WireError::TooLarge("answer"));
            }
            answers.push(Zeroizing::new(answer.to_owned()));
        }
        r.end()?;
        Ok(AuthStep::Answers { user: self.user.clone(), answers: Answers(answers) })
    }

    fn refusal(&self) -> Vec<u8> {
        failure(&self.methods, false)
    }
}

/// Does the request name the host key that it is meant for?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    No,
    ToHostKey,
}

/// Counts over the whole connection: a new user name does not begin a new budget.
fn count(counter: &mut u32, limit: u32, what: &'static str) -> Result<(), WireError> {
    *counter += 1;
    if *counter > limit { Err(WireError::TooLarge(what)) } else { Ok(()) }
}

/// The method name of RFC 4252 section 7.
const PUBLICKEY: &str = "publickey";
/// The method name of RFC 4256.
const KEYBOARD_INTERACTIVE: &str = "keyboard-interactive";
/// The service that authentication is, RFC 4252 section 4.
pub(super) const USERAUTH_SERVICE: &str = "ssh-userauth";
/// Keys that a client may offer without a signature: an agent with more is better told so.
const MAX_OFFERS: u32 = 20;
/// Wrong signatures: an honest client makes none.
const MAX_WRONG: u32 = 6;
/// All requests together: offers, their signatures, and a few rounds of questions.
const MAX_REQUESTS: u32 = 64;
/// Bytes of a user name.
const MAX_NAME: usize = 256;
/// Bytes of one answer.
const MAX_ANSWER: usize = 1024;
