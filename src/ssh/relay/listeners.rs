//! Listeners on the host that a client asks for, and the global requests that go with them.
//!
//! Replies to global requests carry no name: they are matched by their position alone (RFC 4254 section 4). So every request that wants a
//! reply goes to the host, a refused one under a name that no host knows, and the host's replies come back in their order.

use std::collections::VecDeque;

use tokio::io::AsyncWrite;

use super::forwards::{address, socket};
use super::from_host::KEEPALIVE;
use super::opens::one_line;
use super::table::{Stage, Table};
use super::{Judged, Relay, Ruling, from_client};
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::ssh::tap::Lands;
use crate::wire::channel::{self, Listen, Listening};
use crate::wire::codec::WireError;

/// What the host listens for, and the requests that it has not answered.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: Vec<Listener>,
    /// Requests that want a reply, the oldest first.
    unanswered: VecDeque<Pending>,
    /// Refusals that no session channel could show yet.
    unsaid: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    at: Place,
    what: Opening,
}

/// A place as the client wrote it: the host names it so when somebody connects.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp { bind: Vec<u8>, port: u16 },
    Path(Vec<u8>),
}

#[derive(Debug)]
enum Pending {
    Begin(Listener),
    Cancel(Place),
    Other,
}

impl From<Listen<'_>> for Place {
    fn from(listen: Listen<'_>) -> Self {
        match listen {
            Listen::Tcp { bind, port } => Self::Tcp { bind: bind.to_vec(), port },
            Listen::Path(path) => Self::Path(path.to_vec()),
        }
    }
}

impl Listeners {
    /// What the listener at this address and port was granted as. Hosts name the address as it was asked for or as it became; the port is
    /// one listener's alone, nearly always.
    pub(super) fn at(&self, address: &[u8], port: u16) -> Option<&Opening> {
        let of_port = |l: &&Listener| matches!(&l.at, Place::Tcp { port: own, .. } if *own == port);
        let exactly = |l: &&Listener| matches!(&l.at, Place::Tcp { bind, .. } if bind == address);
        let found = self.open.iter().filter(of_port).find(exactly).or_else(|| self.open.iter().find(of_port));
        found.map(|listener| &listener.what)
    }

    /// The same for a unix socket.
    pub(super) fn at_path(&self, path: &[u8]) -> Option<&Opening> {
        self.open.iter().find(|l| matches!(&l.at, Place::Path(own) if own == path)).map(|listener| &listener.what)
    }

    fn is_full(&self) -> bool {
        let begun = self.unanswered.iter().filter(|pending| matches!(pending, Pending::Begin(_))).count();
        self.open.len() + begun >= LISTENERS_AT_MOST
    }

    /// One more request goes to the host.
    fn ask(&mut self, pending: Pending) -> Result<(), WireError> {
        if self.unanswered.len() >= UNANSWERED_AT_MOST {
            return Err(WireError::TooLarge("the number of requests without an answer"));
        }
        self.unanswered.push_back(pending);
        Ok(())
    }

    /// There is no such listener any more, and if it is only asked for, its answer makes none.
    fn forget(&mut self, at: &Place) {
        self.open.retain(|listener| listener.at != *at);
        for pending in &mut self.unanswered {
            if matches!(pending, Pending::Begin(listener) if listener.at == *at) {
                *pending = Pending::Other;
            }
        }
    }

    /// The host's next reply has come. The port that it gave, where any would do.
    fn answer(&mut self, payload: &[u8], success: bool) -> Result<Option<u16>, WireError> {
        let mut given = None;
        match self.unanswered.pop_front().ok_or(WireError::Malformed("reply: nothing was asked"))? {
            Pending::Begin(mut listener) if success => {
                if let Place::Tcp { port, .. } = &mut listener.at
                    && *port == 0
                {
                    *port = channel::allocated_port(payload).ok_or(WireError::Malformed("port of a listener"))?;
                    given = Some(*port);
                }
                self.open.push(listener);
            }
            Pending::Cancel(at) if success => self.open.retain(|listener| listener.at != at),
            Pending::Begin(_) | Pending::Cancel(_) | Pending::Other => {}
        }
        Ok(given)
    }
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// A global request of the client's.
    pub(super) fn asked_globally(&self, name: &str, want_reply: bool, rest: &[u8]) -> Result<Ruling, Judged> {
        let mut listeners = self.listeners.borrow_mut();
        let pending = match channel::listening(name, rest)? {
            None => Pending::Other,
            Some(Listening::Cancel(at)) => Pending::Cancel(at.into()),
            Some(Listening::Begin(at)) => match self.may_listen(&listeners, at) {
                Ok(what) => Pending::Begin(Listener { at: at.into(), what }),
                Err(refusal) => return self.refuse_listener(&mut listeners, want_reply, &refusal),
            },
        };
        let is_other = matches!(pending, Pending::Other);
        match (want_reply, pending) {
            (true, pending) => listeners.ask(pending)?,
            // Whether it listens is not told; whoever connects is known by this.
            (false, Pending::Begin(listener)) => listeners.open.push(listener),
            // OpenSSH cancels so: nobody will say whether the host has heard it.
            (false, Pending::Cancel(at)) => listeners.forget(&at),
            (false, Pending::Other) => {}
        }
        Ok(match (name, want_reply) {
            _ if !is_other => Ruling::PASS,
            (KEEPALIVE | NO_MORE_SESSIONS, _) => Ruling::change(channel::global_request(name, want_reply)),
            // What we do not understand a host might.
            (_, true) => Ruling::change(channel::global_request(channel::VETOED, true)),
            (_, false) => Ruling::STOP,
        })
    }

    /// The host's reply to the oldest request that waits for one.
    pub(super) fn answered_globally(&self, payload: &[u8], success: bool) -> Result<Ruling, Judged> {
        let port = self.listeners.borrow_mut().answer(payload, success)?;
        Ok(if success { Ruling::change(channel::request_success(port)) } else { Ruling::PASS })
    }

    fn may_listen(&self, listeners: &Listeners, at: Listen<'_>) -> Result<Opening, Refusal> {
        let what = match at {
            Listen::Tcp { bind, port } => Opening::reverse(address(bind)?, port),
            Listen::Path(path) => Opening::reverse_path(&socket(path)?),
        };
        self.law.opens(&what)?;
        if listeners.is_full() {
            let refusal = Refusal::new("too-many-listeners", format!("a session has at most {LISTENERS_AT_MOST} listeners"));
            return Err(refusal.hint("cancel one, or begin another session"));
        }
        Ok(what)
    }

    /// The host refuses it in our place. Why is said on a session channel: on one that is open, or on the next one.
    fn refuse_listener(&self, listeners: &mut Listeners, want_reply: bool, refusal: &Refusal) -> Result<Ruling, Judged> {
        tracing::info!(reason = %refusal.message, "a listener was refused");
        let words = one_line(refusal);
        let said = self.table.borrow_mut().say_somewhere(&words);
        if said.is_none() && listeners.unsaid.len() < UNSAID_AT_MOST {
            listeners.unsaid.push(words);
        }
        let mut ruling = Ruling::STOP;
        if want_reply {
            listeners.ask(Pending::Other)?;
            ruling = Ruling::change(channel::global_request(channel::VETOED, true));
        }
        ruling.back = said;
        Ok(ruling)
    }

    /// What was refused before there was a session channel to say it on, for the one that has just been put to use.
    pub(super) fn unsaid(&self, table: &mut Table) -> Option<Vec<u8>> {
        let mut listeners = self.listeners.borrow_mut();
        if listeners.unsaid.is_empty() {
            return None;
        }
        let said = table.say_somewhere(&listeners.unsaid.join("; "));
        if said.is_some() {
            listeners.unsaid.clear();
        }
        said
    }
}

impl Table {
    /// These words for the client's standard error, on the first channel in use that has room for them.
    fn say_somewhere(&mut self, words: &str) -> Option<Vec<u8>> {
        let used = |channel: &&mut super::table::Channel| matches!(channel.stage, Stage::Used { .. });
        self.channels.iter_mut().filter(used).find_map(|channel| from_client::said(channel, words))
    }
}

/// OpenSSH's promise to open no further session; it has no data.
const NO_MORE_SESSIONS: &str = "no-more-sessions@openssh.com";

/// Far above what a person asks for.
const LISTENERS_AT_MOST: usize = 64;

/// OpenSSH has one keepalive and a few listeners in flight; who has so many does not listen.
const UNANSWERED_AT_MOST: usize = 1024;

const UNSAID_AT_MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Writer;
    use crate::wire::number;

    fn begin(bind: &str, port: u16) -> Pending {
        Pending::Begin(Listener { at: Place::Tcp { bind: bind.into(), port }, what: Opening::reverse(bind, port) })
    }

    #[test]
    fn replies_are_matched_by_their_place() {
        let mut listeners = Listeners::default();
        for pending in [Pending::Other, begin("localhost", 0), begin("", 8080), Pending::Other, begin("::1", 9)] {
            listeners.ask(pending).unwrap();
        }
        let port = Writer::message(number::REQUEST_SUCCESS).u32(40_022).done();
        for (payload, success) in [(&[82][..], false), (&port, true), (&[82], false), (&[81], true), (&[81], true)] {
            listeners.answer(payload, success).unwrap();
        }
        assert!(listeners.answer(&[81], true).is_err(), "nothing was asked");
        assert_eq!(listeners.at(b"localhost", 40_022).map(|w| w.kind().to_string()), Some("reverse:0".into()));
        assert_eq!(listeners.at(b"127.0.0.1", 40_022).map(|w| w.kind().to_string()), Some("reverse:0".into()));
        assert_eq!((listeners.at(b"", 8080), listeners.at(b"::1", 0)), (None, None));
        let known = Place::Tcp { bind: b"::1".to_vec(), port: 9 };
        for success in [false, true] {
            assert!(listeners.at(b"::1", 9).is_some());
            listeners.ask(Pending::Cancel(known.clone())).unwrap();
            listeners.answer(&[81], success).unwrap();
        }
        assert!(listeners.at(b"::1", 9).is_none());
        listeners.ask(begin("localhost", 0)).unwrap();
        assert!(listeners.answer(&[81], true).is_err(), "a port must be told");
    }

    #[test]
    fn a_cancelled_listener_is_forgotten_though_nobody_says_that_it_is() {
        let mut listeners = Listeners::default();
        let at = Place::Tcp { bind: b"localhost".to_vec(), port: 8080 };
        for answered_before in [true, false] {
            listeners.ask(begin("localhost", 8080)).unwrap();
            if answered_before {
                listeners.answer(&[81], true).unwrap();
                assert!(listeners.at(b"localhost", 8080).is_some());
                listeners.forget(&at);
            } else {
                listeners.forget(&at);
                listeners.answer(&[81], true).unwrap();
            }
            assert!(listeners.at(b"localhost", 8080).is_none(), "{answered_before}");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut listeners = Listeners::default();
        (0..LISTENERS_AT_MOST).for_each(|_| listeners.ask(begin("", 1)).unwrap());
        assert!(listeners.is_full());
        let more = (0..UNANSWERED_AT_MOST).filter(|_| listeners.ask(Pending::Other).is_ok()).count();
        assert_eq!(more, UNANSWERED_AT_MOST - LISTENERS_AT_MOST);
    }
}
