//! The door for `host audit`: somebody on the bastion's own command line has one fixed script run on a host, which reads what access
//! stands there without the bastion. No grant is needed, because nothing else can be done with it.

use std::net::IpAddr;
use std::sync::LazyLock;

use ssh_key::{Certificate, PublicKey};

use super::clock_stands;
use crate::access::host::Host;
use crate::access::names::{Actor, HostName, Login, Note};
use crate::access::refusal::Refusal;
use crate::access::time::Span;
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::broker::fault::Stop;
use crate::broker::{Broker, Error, Fault};
use crate::ca::certificate::{KeyId, Serial, SessionCert, SourceAddress, Validity};
use crate::recording::{Right, SealedSession, SessionMeta};
use crate::session::Ending;
use crate::store::{ClosedAudit, NewAudit, Outcome, Tx, Urgency};

/// The only command that the certificate lets the host run: one line, see `look.sh`.
static LOOK: LazyLock<String> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("look.sh").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    format!("exec /bin/sh -c '{}'", lines.join(" "))
});

/// The proof that one look at a host is allowed now. Only [`Broker::admit_audit`] makes it; it is spent by [`Broker::close_audit`].
#[must_use]
#[derive(Debug)]
pub struct AuditAdmission {
    host: Host,
    meta: SessionMeta,
    serial: Serial,
    key_id: KeyId,
}

impl AuditAdmission {
    /// Where to, as registered now.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// As whom.
    pub fn login(&self) -> &Login {
        &self.meta.login
    }

    /// What its recording says of it.
    pub fn meta(&self) -> &SessionMeta {
        &self.meta
    }

    /// What the host will run, whatever is asked of it.
    pub fn command(&self) -> &'static str {
        LOOK.as_str()
    }
}

/// What a look came to, as the log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Keys in authorized_keys files.
    pub keys: u64,
    /// What could not be read: files, folders, settings.
    pub unread: u64,
}

impl Broker {
    /// May `by` look at what stands on `host`, through `login` (the default one if left out)? The look's row and event come first: no
    /// certificate without them.
    pub async fn admit_audit(
        &self,
        by: &Actor,
        host: &HostName,
        login: Option<Login>,
        note: Option<Note>,
    ) -> Result<AuditAdmission, Error> {
        if !matches!(by, Actor::Local(_)) {
            let refusal = Refusal::new("local-only", "`host audit` exists on the bastion's own command line alone");
            return Err(refusal.hint("an administrator runs `jit-bastion host audit NAME` on the bastion").into());
        }
        let reader = self.store.door();
        if let Some(newest) = reader.newest().await.map_err(|e| self.fault(&e))? {
            clock_stands(self.now(), newest)?;
        }
        let session = self.free_session_id().await.map_err(|e| self.fault(&e))?;
        let key_id = key_id(by, session.as_str()).map_err(|e| self.fault(&e))?;
        let serial = Serial::random(&mut *self.chance.rng());
        let (by, host, node, salt) = (by.clone(), host.clone(), self.store.node().to_owned(), self.salt());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let host = crate::broker::hosts::registered(tx, &host).await?;
                let login = login_of(&host, login)?;
                let note = match &note {
                    Some(note) => Some(tx.keep_text(note.as_str(), &salt).await?),
                    None => None,
                };
                let meta = SessionMeta {
                    session: session.clone(),
                    right: Right::Audit { auditor: by.clone() },
                    host: host.name.clone(),
                    login: login.clone(),
                    started: tx.now(),
                };
                let new =
                    NewAudit { id: session.clone(), host: host.name.clone(), login: login.clone(), actor: by, note, serial: serial.get() };
                tx.add_audit(&new, &node).await?;
                let event = Event::HostAuditBegun {
                    session,
                    host: host.name.clone(),
                    login,
                    serial: serial.to_string(),
                    key_id: key_id.to_string(),
                    note,
                };
                Ok(Outcome::Changed(AuditAdmission { host, meta, serial, key_id }, event))
            })
        })
        .await
    }

    /// Signs `key` for this look alone: its login, a few minutes, nothing but the fixed script, from `source` unless the configuration
    /// names other addresses.
    pub async fn certify_audit(&self, admission: &AuditAdmission, key: &PublicKey, source: IpAddr) -> Result<Certificate, Error> {
        let now = self.now();
        let own = [SourceAddress::from(source)];
        let configured = &self.settings.source_addresses;
        let ask = SessionCert {
            key,
            login: admission.login(),
            key_id: admission.key_id.clone(),
            serial: admission.serial,
            validity: Validity::for_session(now, now.plus(USABLE)).map_err(|e| self.fault(&e))?,
            sources: if configured.is_empty() { &own } else { configured },
            extensions: Default::default(),
            force_command: Some(admission.command()),
        };
        Ok(self.keys()?.sessions.certify(&ask, &mut *self.chance.rng()).map_err(|e| self.fault(&e))?)
    }

    /// The look is over, and what was seen is sealed, or could not be. `found` is none where the answer could not be read.
    pub async fn close_audit(
        &self,
        admission: AuditAdmission,
        ending: Ending,
        sealed: Option<&SealedSession>,
        found: Option<Standing>,
    ) -> Result<(), Fault> {
        let AuditAdmission { meta, .. } = admission;
        let Right::Audit { auditor } = meta.right.clone() else { return Err(self.fault("an audit without its auditor")) };
        let closed = closed_audit(&meta, ending, sealed, found);
        let channels = sealed.map(|sealed| sealed.channels.as_slice()).unwrap_or_default();
        let event = Event::HostAudited {
            session: meta.session,
            host: meta.host,
            login: meta.login,
            ending: ending.as_str().into(),
            keys: found.map(|found| found.keys),
            unread: found.map(|found| found.unread),
            manifest: closed.sealed.as_ref().map(|(_, manifest)| *manifest),
            recordings: channels.len() as u64,
            bytes: channels.iter().map(|channel| channel.bytes).sum(),
        };
        let done = self.act(Urgency::Ordinary, auditor, move |tx| {
            Box::pin(async move {
                tx.close_audit(&closed).await?;
                Ok(Outcome::Changed((), event))
            })
        });
        done.await.map_err(|error| self.as_fault(error))?;
        if let Some(Err(error)) = sealed.map(SealedSession::let_go) {
            self.fault(&error);
        }
        self.checkpoint().await
    }

    /// What a killed `host audit` left, sealed now. False: no such look is known.
    pub(in crate::broker) async fn keep_recovered_audit(&self, sealed: &SealedSession, event: Event) -> Result<bool, Fault> {
        let closed = closed_audit(&sealed.meta, Ending::Shutdown, Some(sealed), None);
        let id = sealed.meta.session.clone();
        let done = self.act(Urgency::Ordinary, Actor::System, move |tx: &mut Tx| {
            Box::pin(async move {
                match tx.audit(&id).await? {
                    None => Ok::<_, Stop>(Outcome::Same(false)),
                    Some(row) if row.sealed.is_some() => Ok(Outcome::Same(true)),
                    Some(_) => {
                        tx.close_audit(&closed).await?;
                        Ok(Outcome::Changed(true, event))
                    }
                }
            })
        });
        done.await.map_err(|error| self.as_fault(error))
    }
}

fn closed_audit(meta: &SessionMeta, ending: Ending, sealed: Option<&SealedSession>, found: Option<Standing>) -> ClosedAudit {
    ClosedAudit {
        id: meta.session.clone(),
        ending,
        sealed: sealed.map(|sealed| (sealed.folder.display().to_string(), Digest::from_bytes(sealed.digest))),
        recordings: sealed.map_or(0, |sealed| sealed.channels.len() as u64),
        keys: found.map(|found| found.keys),
        unread: found.map(|found| found.unread),
    }
}

/// `audit/local:root/s-7k2m9q`: what the host's own log shows. A Unix name may hold what a key id may not.
fn key_id(by: &Actor, session: &str) -> Result<KeyId, crate::access::names::BadName> {
    let by: String =
        by.to_string().chars().map(|c| if c.is_ascii_alphanumeric() || "._:-".contains(c) { c } else { '-' }).take(64).collect();
    KeyId::parse(&format!("audit/{by}/{session}"))
}

fn login_of(host: &Host, wanted: Option<Login>) -> Result<Login, Refusal> {
    let known = match &wanted {
        Some(login) => host.logins.iter().find(|known| *known == login),
        None => host.logins.first(),
    };
    known.cloned().ok_or_else(|| {
        let logins: Vec<&str> = host.logins.iter().map(Login::as_str).collect();
        Refusal::new("no-such-login", format!("{} has no such login", host.name)).hint(format!("its logins are {}", logins.join(", ")))
    })
}

/// For how long the certificate may be used: once, at once.
const USABLE: Span = Span::minutes(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_line_that_a_certificate_can_carry_and_a_shell_can_read() {
        assert!(LOOK.len() <= 4096 && !LOOK.chars().any(char::is_control), "{}", LOOK.len());
        assert_eq!(LOOK.matches('\'').count(), 2);
        let read = std::process::Command::new("/bin/sh").args(["-n", "-c", LOOK.as_str()]).output().unwrap();
        let inner = LOOK.trim_start_matches("exec /bin/sh -c '").trim_end_matches('\'');
        let inside = std::process::Command::new("/bin/sh").args(["-n", "-c", inner]).output().unwrap();
        assert!(read.status.success() && inside.status.success(), "{}", String::from_utf8_lossy(&inside.stderr));
    }

    #[test]
    fn any_unix_name_makes_a_key_id() {
        for name in ["root", "svc$", "a b\n", "ä"] {
            assert!(key_id(&Actor::Local(name.into()), "s-7k2m9q").is_ok(), "{name}");
        }
    }
}
