//! The door: who holds a grant that admits this visit now gets an [`Admission`], and only with one is a certificate signed.

pub(super) mod audit;
mod direct;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ssh_key::{Certificate, PublicKey};

use super::certified::{Sorted, explain};
use super::people::fingerprint;
use super::{Broker, Error, Proof, request_command};
use crate::access::channels::{Channels, Kind};
use crate::access::grant::{Grant, GrantState, Visit};
use crate::access::host::Host;
use crate::access::names::{GrantId, Login, SessionId};
use crate::access::person::Person;
use crate::access::policy::{Policy, Wish};
use crate::access::refusal::Refusal;
use crate::access::time::{Span, Timestamp};
use crate::ca::certificate::{Extension, KeyId, Serial, SessionCert, SourceAddress, Validity};
use crate::store::{GrantFilter, StoreError};

/// The proof that one visit is allowed now. Only [`Broker::admit`] makes it; it is spent by [`Broker::open_session`].
#[must_use]
#[derive(Debug)]
pub struct Admission {
    pub(super) grant: Grant,
    pub(super) host: Host,
    pub(super) person: Person,
    /// Fingerprint of the key that proved the user.
    pub(super) key: String,
    pub(super) session: SessionId,
    pub(super) serial: Serial,
    /// Number of the access certificate that the connection was proven with.
    pub(super) pass: Option<u64>,
    /// It goes past the host's SSH, straight to a port.
    pub(super) direct: bool,
}

impl Admission {
    /// The grant that admits.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Where to, as registered now.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// As whom.
    pub fn login(&self) -> &Login {
        &self.grant.login
    }

    /// Who.
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// The session that this visit will be.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    pub(super) fn key_id(&self) -> KeyId {
        KeyId::of_session(&self.person.user, &self.session, &self.grant.id)
    }
}

/// Somebody at the door of a host that they see, with the open grants that they hold there.
struct Arrived {
    person: Person,
    host: Host,
    policy: Arc<Policy>,
    grants: Vec<Grant>,
}

/// What the inner user name says.
#[derive(Debug, PartialEq, Eq)]
enum Hint {
    /// This login; with the grant that `LOGIN+GRANT` named.
    Login(Login, Option<GrantId>),
    /// Nothing: OpenSSH sent the name of the account on the laptop.
    Choose,
}

impl Hint {
    fn read(text: &str, host: &Host) -> Result<Self, Refusal> {
        let (login, grant) = text.split_once('+').map_or((text, None), |(login, grant)| (login, Some(grant)));
        let known = host.logins.iter().find(|known| known.as_str() == login).cloned();
        match (known, grant) {
            (Some(login), None) => Ok(Self::Login(login, None)),
            (Some(login), Some(grant)) => {
                let named = GrantId::parse(grant).map_err(|e| Refusal::new("bad-grant", e.to_string()).hint("write LOGIN+GRANT"))?;
                Ok(Self::Login(login, Some(named)))
            }
            (None, Some(grant)) if GrantId::parse(grant).is_ok() => {
                let login: String = crate::access::names::escaped(login).chars().take(64).collect();
                Err(Refusal::new("no-such-login", format!("{} has no login \"{login}\"", host.name))
                    .hint("write LOGIN+GRANT with the grant's login"))
            }
            (None, _) => Ok(Self::Choose),
        }
    }

    /// The login and the grant that were named.
    fn said(&self) -> (Option<&Login>, Option<&GrantId>) {
        match self {
            Self::Login(login, grant) => (Some(login), grant.as_ref()),
            Self::Choose => (None, None),
        }
    }
}

impl Broker {
    /// Does a grant of `who` (as `proof` proved them, on either hop) admit a visit to `to` now? `login_hint` is the inner user name. Refused
    /// with the exact command that would ask.
    pub async fn admit(&self, who: &Person, proof: &Proof, to: &Host, login_hint: &str) -> Result<Admission, Error> {
        let Arrived { person, host, policy, grants } = self.arrive(who, proof, to).await?;
        let hint = Hint::read(login_hint, &host)?;
        let Sorted { grants, certified } = self.sort(grants, proof).await?;
        let chosen = match &hint {
            Hint::Login(login, named) => self.choose(&person, &host, &grants, login.clone(), named.as_ref()),
            Hint::Choose => self.choose_login(&person, &host, &grants),
        };
        let (login, named) = hint.said();
        let grant = chosen.map_err(|refusal| explain(refusal, &certified, proof, login, named))?;
        still_given(&policy, &person, &host, &grant.login, &grant.channels)?;
        self.admitted(person, host, grant, proof, false).await
    }

    /// What everybody passes on whichever way in: the store takes writes, the keys are good, the clock stands right, the person still is who
    /// was proven, and sees the host.
    async fn arrive(&self, who: &Person, proof: &Proof, to: &Host) -> Result<Arrived, Error> {
        self.store_takes_writes()?;
        self.keys_are_good()?;
        let fault = |e: StoreError| self.store_fault(&e);
        let (reader, now) = (self.store.door(), self.now());
        if let Some(newest) = reader.newest().await.map_err(fault)? {
            clock_stands(now, newest)?;
        }
        // The person was proven, perhaps a while ago: what counts is who they are now.
        let person = self.standing(proof).await?.filter(|known| known.user == who.user);
        let person =
            person.ok_or_else(|| Refusal::new("unknown-user", "this key opens nothing here any more").hint("ask an administrator"))?;
        let host = reader.host(&to.name).await.map_err(fault)?;
        let held = reader.held(&person.user, Some(&to.name)).await.map_err(fault)?;
        let policy = self.policy();
        let host = policy.look(&person, host.as_ref(), held, to.name.as_str())?.clone();
        let filter = GrantFilter { user: Some(person.user.clone()), host: Some(host.name.clone()), open_at: Some(now), most: None };
        let grants = reader.grants(&filter).await.map_err(fault)?;
        Ok(Arrived { person, host, policy, grants })
    }

    async fn admitted(&self, person: Person, host: Host, grant: Grant, proof: &Proof, direct: bool) -> Result<Admission, Error> {
        let session = self.free_session_id().await.map_err(|e| self.store_fault(&e))?;
        let serial = Serial::random(&mut *self.chance.rng());
        Ok(Admission { grant, host, person, key: fingerprint(proof.key()), session, serial, pass: proof.serial(), direct })
    }

    /// Signs `key` for the admitted visit alone: the grant's login, never past its end, from `source` (the address that the connection to
    /// the host has here) unless the configuration names other addresses.
    pub async fn certify(&self, admission: &Admission, key: &PublicKey, source: IpAddr) -> Result<Certificate, Error> {
        let now = self.now();
        let grant = self.store.door().grant(&admission.grant.id).await.map_err(|e| self.store_fault(&e))?;
        let grant = grant.ok_or_else(|| Refusal::no_such("grant", &admission.grant.id))?;
        grant.admits(&visit(&grant, &admission.person), now)?;
        // sshd reads whole seconds.
        let validity = Validity::for_session(now, grant.ends)
            .map_err(|_| Refusal::new("too-late", format!("{} ends at {}: too late to begin a visit", grant.id, grant.ends)))
            .map_err(|refusal| refusal.hint(request_command(&grant.host, &grant.login, DEFAULT_LENGTH)))?;
        let own = [SourceAddress::from(source)];
        let configured = &self.settings.source_addresses;
        let ask = SessionCert {
            key,
            login: &grant.login,
            key_id: admission.key_id(),
            serial: admission.serial,
            validity,
            sources: if configured.is_empty() { &own } else { configured },
            extensions: extensions(&grant.channels),
            force_command: files_only(&grant.channels),
        };
        Ok(self.keys()?.sessions.certify(&ask, &mut *self.chance.rng()).map_err(|e| self.fault(&e))?)
    }

    /// The grant for a login: the named one, or the one that ends last (the newest among equals).
    fn choose(&self, person: &Person, host: &Host, grants: &[Grant], login: Login, named: Option<&GrantId>) -> Result<Grant, Refusal> {
        let now = self.now();
        let mine: Vec<&Grant> = grants.iter().filter(|grant| grant.login == login && named.is_none_or(|id| grant.id == *id)).collect();
        if let Some(grant) = mine.iter().find(|grant| grant.state(now) == GrantState::Active) {
            return Ok((*grant).clone());
        }
        if let Some(waiting) = mine.iter().min_by_key(|grant| grant.begins) {
            return Err(waiting.admits(&visit(waiting, person), now).err().unwrap_or_else(|| no_grant(host, &login)));
        }
        if let Some(id) = named {
            let refusal = Refusal::new("no-grant", format!("{id} does not admit you to {} as {login} now", host.name));
            return Err(refusal.hint("`ssh jit-bastion grants` lists yours"));
        }
        Err(self.how_to_ask(person, host, &login))
    }

    /// The login where none was named: that of my only live grant here, else the only one that I may ask for.
    fn choose_login(&self, person: &Person, host: &Host, grants: &[Grant]) -> Result<Grant, Refusal> {
        let now = self.now();
        let mut logins: Vec<&Login> =
            grants.iter().filter(|grant| grant.state(now) == GrantState::Active).map(|grant| &grant.login).collect();
        logins.sort();
        logins.dedup();
        match logins.as_slice() {
            [only] => self.choose(person, host, grants, (*only).clone(), None),
            [] => {
                // What waits says when it begins.
                let login = match grants.iter().filter(|grant| grant.state(now) == GrantState::Waiting).min_by_key(|grant| grant.begins) {
                    Some(waiting) => waiting.login.clone(),
                    None => self.policy().only_login(person, host)?,
                };
                self.choose(person, host, grants, login, None)
            }
            [first, ..] => {
                let list: Vec<&str> = logins.iter().map(|login| login.as_str()).collect();
                let refusal =
                    Refusal::new("choose-login", format!("you hold grants on {} for several logins: {}", host.name, list.join(", ")));
                Err(refusal.hint(format!("ssh -J jit-bastion {first}@{}", host.name)))
            }
        }
    }

    /// No grant: the command that asks for one, or why none can be asked for.
    fn how_to_ask(&self, person: &Person, host: &Host, login: &Login) -> Refusal {
        match self.policy().judge(person, host, &Wish::of(login.clone())) {
            Ok(verdict) => no_grant(host, login).hint(request_command(&host.name, login, verdict.length)),
            Err(refusal) => refusal,
        }
    }

    async fn free_session_id(&self) -> Result<SessionId, StoreError> {
        let reader = self.store.door();
        for id in self.ids(SessionId::from_random) {
            if reader.session(&id).await?.is_none() && reader.audit(&id).await?.is_none() {
                return Ok(id);
            }
        }
        Err(StoreError::Ids)
    }
}

/// Nobody is admitted while the clock stands before the newest event's time: it was set back.
fn clock_stands(now: Timestamp, newest: Timestamp) -> Result<(), Refusal> {
    if now.plus(CLOCK_RACE) >= newest {
        return Ok(());
    }
    let refusal = Refusal::new("clock", format!("the bastion's clock stands at {now}, before its newest event at {newest}"));
    Err(refusal.hint("an administrator must set the clock; until then nobody is admitted"))
}

fn no_grant(host: &Host, login: &Login) -> Refusal {
    Refusal::new("no-grant", format!("you hold no grant on {} as {login} now", host.name))
}

/// Would what this grant gives still be given, to this person as they are now, on this host as it is now? Asked at the door, as the
/// session begins, and of every live session whenever something has changed.
pub(super) fn still_given(policy: &Policy, person: &Person, host: &Host, login: &Login, channels: &Channels) -> Result<(), Refusal> {
    if !host.logins.contains(login) {
        let refusal = Refusal::new("no-such-login", format!("{} has no login {login} any more", host.name));
        return Err(refusal.hint("ask an administrator"));
    }
    policy.still_allows(person, host, login, channels)
}

pub(super) fn visit(grant: &Grant, person: &Person) -> Visit {
    Visit { user: person.user.clone(), host: grant.host.clone(), login: grant.login.clone() }
}

fn runs_programs(channels: &Channels) -> bool {
    channels.covers(&Kind::Shell) || channels.covers(&Kind::Exec)
}

/// What the host itself may let this visit do, beside running what it asks for.
fn extensions(channels: &Channels) -> BTreeSet<Extension> {
    let forwards = channels.iter().any(|kind| matches!(kind, Kind::Forward(_) | Kind::Reverse(_)));
    let each = [
        (runs_programs(channels), Extension::Pty),
        (forwards, Extension::PortForwarding),
        (channels.covers(&Kind::Agent), Extension::AgentForwarding),
    ];
    each.into_iter().filter(|(given, _)| *given).map(|(_, extension)| extension).collect()
}

/// Where only files are granted, the host itself runs nothing else, and refuses to write or to read what is not granted; where not even
/// files are, it runs nothing.
fn files_only(channels: &Channels) -> Option<&'static str> {
    let (reads, writes) = (channels.covers(&Kind::SftpRead), channels.covers(&Kind::SftpWrite));
    match (runs_programs(channels), reads || writes, writes) {
        (false, true, true) if reads => Some("internal-sftp"),
        (false, true, true) => Some("internal-sftp -P read"),
        (false, true, false) => Some("internal-sftp -R"),
        // Nothing but forwards: the host's own answer to whoever asks for more.
        (false, false, _) => Some("exit 1"),
        (true, _, _) => None,
    }
}

/// What a hint names where no rule was asked for its own.
const DEFAULT_LENGTH: Span = Span::minutes(60);

/// Another process's event may be this much newer than a reading of the clock that came first.
const CLOCK_RACE: Span = Span::seconds(2);
