//! A visit begins and ends, and its recordings are opened; each is an event.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::CERTIFICATE_NEEDED;
use super::admit::{still_given, visit};
use super::egress;
use super::fault::Stop;
use super::floors::tighten;
use super::people::{actor, place, present};
use super::{Admission, Broker, Budget, Error, Fault};
use crate::access::host::Host;
use crate::access::names::{Actor, ChannelId, HostName, Note, SessionId};
use crate::access::person::Person;
use crate::access::policy::{Act, Keep, Policy, Statements};
use crate::access::refusal::Refusal;
use crate::access::time::{Span, Timestamp};
use crate::audit::digest::Digest;
use crate::audit::event::{Event, Showing};
use crate::recording::{Right, SealedSession, SessionMeta};
use crate::session::{Cutoff, Ending, Lateness, LiveSession, Presence};
use crate::store::{ChannelRow, ClosedSession, NewSession, Outcome, Tx, Urgency};

/// A visit in progress. It ends with [`Broker::close_session`].
#[must_use]
#[derive(Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// What its recordings say of it.
    pub meta: SessionMeta,
    /// Who is inside, as they were when it began.
    pub person: Person,
    /// Where, as it was registered then.
    pub host: Host,
    /// When its grant ended as it began.
    pub ends: Timestamp,
    /// Logged off after this long without input, where the rule says so.
    pub idle: Option<Span>,
    /// Also while a command runs.
    pub idle_commands: bool,
    /// What is typed into terminals is kept too: for vendors always, for others where the rule says so.
    pub record_input: bool,
    /// What stands on its screens may be kept for search.
    pub index: bool,
    /// How many bytes may go towards the client; none: without limit.
    pub egress: Option<Budget>,
    /// How much is kept of commands and forwards, where the rule says so.
    pub keep: Option<Keep>,
    /// How statements to a database are told.
    pub statements: Statements,
    /// What ends it.
    pub cutoff: Cutoff,
    /// Its place on the list of who is inside.
    pub presence: Presence,
}

impl Broker {
    /// The visit begins: its row and its event, the cutoff armed, its place on the list. Asks once more whether the grant admits it.
    pub async fn open_session(&self, admission: Admission, client: SocketAddr) -> Result<OpenSession, Error> {
        let opened_keys = self.opened()?;
        self.keys_are_good()?;
        if !self.store.alone() {
            return Err(not_alone().into());
        }
        let node = self.store.node().to_owned();
        let (key_id, pass) = (admission.key_id(), admission.pass);
        let by = Actor::User(admission.person.user.clone());
        let policy = self.in_force();
        let (user, grant) = (admission.person.user.clone(), admission.grant.id.clone());
        let direct = admission.direct;
        let (person, host, channels) = (admission.person.clone(), admission.host.clone(), admission.grant.channels.clone());
        let (meta, ends, rule, vendor, egress) = self
            .act(Urgency::Ordinary, by, move |tx| {
                Box::pin(async move {
                    let policy = policy.now();
                    let (new, ends) = opened(tx, &policy, &admission, client).await?;
                    let mut bound = tx.request(&new.request).await?.ok_or_else(|| Refusal::no_such("request", &new.request))?;
                    tighten(tx, &policy, &mut bound.request).await?;
                    let egress = egress::first(tx, &new.grant, &new.host, bound.request.rule.egress).await?;
                    tx.add_session(&new, &node).await?;
                    let event = event(&new, key_id.as_str().to_owned(), pass);
                    let vendor = admission.person.vendor.is_some();
                    Ok(Outcome::Changed((meta(new, tx.now()), ends, bound.request.rule, vendor, egress), event))
                })
            })
            .await?;
        let cutoff = Cutoff::new(&opened_keys.knife, ends, self.clock.clone());
        let presence = self.live.enter(LiveSession {
            id: meta.session.clone(),
            user,
            host: meta.host.clone(),
            login: meta.login.clone(),
            grant,
            channels,
            direct,
            started: meta.started,
            ends,
            cutoff: cutoff.clone(),
        });
        // What was revoked between the commit and the line above, nobody has cut.
        self.cut_what_fell().await?;
        Ok(OpenSession {
            id: meta.session.clone(),
            meta,
            person,
            host,
            ends,
            idle: rule.idle,
            idle_commands: rule.idle_commands,
            record_input: vendor || rule.record_input,
            index: !rule.unindexed,
            egress,
            keep: rule.keep,
            statements: rule.statements,
            cutoff,
            presence,
        })
    }

    /// The visit is over and what was seen is sealed, or could not be. Then the head of the log is signed.
    pub async fn close_session(
        &self,
        open: OpenSession,
        ending: Ending,
        sealed: Option<SealedSession>,
        late: Lateness,
    ) -> Result<(), Fault> {
        let millis = |late: Duration| u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        let unspent = open.egress.map_or(0, |budget| budget.left);
        let closed = closed(open.id.clone(), ending, sealed.as_ref(), late.host.map(millis), late.client.map(millis));
        let closed = ClosedSession { unspent, ..closed };
        if !self.closed_now(&closed).await? {
            // It waits, and so does the journal: after a crash it is found there too.
            drop(open);
            return Ok(());
        }
        // It is in the log. What fails from here on is logged under its id, and made good by the next start and the next minute.
        // A long journal takes a while to leave the disk, and this thread has other visits.
        let gone = tokio::task::spawn_blocking(move || sealed.map(|sealed| sealed.let_go()));
        if let Ok(Some(Err(error))) = gone.await {
            self.fault(&error);
        }
        drop(open);
        let _ = self.checkpoint().await;
        Ok(())
    }

    /// Writes the end of a session, or keeps it for when the store is back: then `false`. It may fail because of another act that was to be
    /// committed with it, and is tried again.
    async fn closed_now(&self, closed: &ClosedSession) -> Result<bool, Fault> {
        let mut tries = 0;
        loop {
            let Err(fault) = self.keep_closed(closed.clone(), closed_event(closed, None)).await else { return Ok(true) };
            tries += 1;
            match fault.is_store_lost() {
                true if self.close_later(closed).await => return Ok(false),
                false if tries >= TRIES => return Err(fault),
                _ => {}
            }
        }
    }

    /// Writes the end of a session with its event.
    pub(super) async fn keep_closed(&self, closed: ClosedSession, event: Event) -> Result<(), Fault> {
        let done = self.act(Urgency::Ordinary, Actor::System, move |tx| {
            Box::pin(async move {
                tx.close_session(&closed).await?;
                Ok(Outcome::Changed((), event))
            })
        });
        done.await.map_err(|error| self.as_fault(error))
    }

    /// Somebody opens the recording of a channel, or all of a session: may they, and the event that says so. `purpose` is what they say it
    /// is for.
    pub async fn open_recording(
        &self,
        by: &Actor,
        session: &SessionId,
        channel: Option<u32>,
        purpose: Note,
        shown: Showing,
    ) -> Result<Recorded, Error> {
        let (who, id, policy, salt) = (by.clone(), session.clone(), self.in_force(), self.salt());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let unknown = || match channel {
                    Some(number) => Refusal::no_such("recording", &ChannelId { session: id.clone(), number }),
                    None => Refusal::no_such("recording", &id),
                };
                let session = recorded(tx, &id).await?.ok_or_else(unknown)?;
                if let Some(person) = actor(tx, &who).await? {
                    let host = place(tx, &session.host).await?;
                    if !policy.may(&person, Act::Replay, &host) {
                        let finds = policy.may(&person, Act::Recordings, &host);
                        let refusal = if finds { Refusal::may_not(Act::Replay.sentence(), Some(&session.host)) } else { unknown() };
                        return Err(refusal.into());
                    }
                    if shown == Showing::Unmasked {
                        may_unmask(&policy, &person, &host)?;
                    }
                }
                if session.live {
                    return Err(goes_on(&id).into());
                }
                if channel.map_or(session.numbers.is_empty(), |number| !session.numbers.contains(&number)) {
                    return Err(unknown().into());
                }
                let purpose = Some(tx.keep_text(purpose.as_str(), &salt).await?);
                let event = Event::RecordingOpened { session: id, channel: channel.map(u64::from), purpose, shown: Some(shown) };
                Ok(Outcome::Changed(session, event))
            })
        })
        .await
    }
}

/// May they see what is masked?
pub(super) fn may_unmask(policy: &Policy, person: &Person, host: &Host) -> Result<(), Refusal> {
    if policy.may(person, Act::Unmask, host) {
        return Ok(());
    }
    Err(Refusal::may_not(Act::Unmask.sentence(), Some(&host.name)).hint("without --unmask it plays with that covered"))
}

/// What is recorded while somebody is inside is sealed when they have left.
fn goes_on(id: &SessionId) -> Refusal {
    let refusal = Refusal::new("goes-on", format!("{id} goes on: it can be replayed when it has ended"));
    refusal.hint(format!("ssh -t jit-bastion watch {id} --because WHY"))
}

/// What is known of a session's recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where the session was.
    pub host: HostName,
    /// Where they lie below the recordings' root, and their manifest's digest; none if nothing could be sealed.
    pub sealed: Option<(String, Digest)>,
    /// The channels that there are recordings of.
    pub numbers: BTreeSet<u32>,
    /// Somebody is inside.
    pub live: bool,
}

/// A visit's recordings, or those of a look from the bastion's own command line.
pub(super) async fn recorded(tx: &mut Tx, id: &SessionId) -> Result<Option<Recorded>, Stop> {
    if let Some(row) = tx.session(id).await? {
        let numbers = row.channels.iter().map(|channel| channel.number).collect();
        return Ok(Some(Recorded { host: row.host, sealed: row.sealed, numbers, live: row.ended.is_none() }));
    }
    let audit = tx.audit(id).await?;
    Ok(audit.map(|row| Recorded {
        numbers: (1..).zip(0..row.recordings).map(|(number, _)| number).collect(),
        host: row.host,
        sealed: row.sealed,
        live: false,
    }))
}

/// While another process could be serving as this node, a session that begins here could be taken for a dead one's there.
fn not_alone() -> Refusal {
    Refusal::new("not-alone", "the bastion has lost sight of its store and lets nobody in until it is back").hint("try again in a minute")
}

/// The session's row, and when its grant ends, if the grant still admits it, the key is still the user's, and policy still gives all of it.
/// A host was dialled since the door, and that takes a while.
async fn opened(tx: &mut Tx, policy: &Policy, admission: &Admission, client: SocketAddr) -> Result<(NewSession, Timestamp), Stop> {
    let person = present(tx, &admission.person.user).await?;
    let id = &admission.grant.id;
    let grant = tx.grant(id).await?.ok_or_else(|| Refusal::no_such("grant", id))?;
    grant.admits(&visit(&admission.grant, &person), tx.now())?;
    if tx.key_owner(&admission.key).await?.as_ref() != Some(&person.user) {
        let refusal = Refusal::new("unknown-user", "this key opens nothing here any more");
        return Err(refusal.hint("ask an administrator").into());
    }
    let gone = || Refusal::new("host-gone", format!("{} is not registered any more", grant.host)).hint("ask an administrator");
    let host = tx.host(&grant.host).await?.ok_or_else(gone)?;
    same_machine(&host, &admission.host)?;
    still_given(policy, &person, &host, &grant.login, &grant.channels)?;
    let bound = tx.request(&grant.request).await?.ok_or_else(|| Refusal::no_such("request", &grant.request))?;
    let rule = policy.tightened(&bound.request.rule, &person, &host, &grant.login, &grant.channels);
    if rule.require_cert && admission.pass.is_none() {
        let refusal = Refusal::new(CERTIFICATE_NEEDED, format!("the rule of {id} wants an access certificate of it now"));
        return Err(refusal.hint(format!("ssh jit-bastion cert {id} > ~/.ssh/id_ed25519-cert.pub")).into());
    }
    let new = NewSession {
        id: admission.session.clone(),
        grant: grant.id,
        request: grant.request,
        user: grant.user,
        host: grant.host,
        login: grant.login,
        rule: grant.rule,
        client,
        key: admission.key.clone(),
        serial: admission.serial.get(),
    };
    Ok((new, grant.ends))
}

/// The machine that was dialled is the one that is registered now: its address and its trusted keys are those of the admission.
pub(super) fn same_machine(now: &Host, dialled: &Host) -> Result<(), Refusal> {
    if now.address == dialled.address && now.trust == dialled.trust {
        return Ok(());
    }
    let refusal = Refusal::new("host-changed", format!("the address or the trusted keys of {} were changed at this moment", now.name));
    Err(refusal.hint("try again: the next visit goes to the host as it is registered now"))
}

/// The event of a session's end; `late`: when it happened and how much later it is written, where the store did not answer then.
pub(super) fn closed_event(closed: &ClosedSession, late: Option<(Timestamp, u64)>) -> Event {
    Event::SessionClosed {
        session: closed.id.clone(),
        ending: closed.ending.as_str().into(),
        late_host_ms: closed.late_host_ms,
        late_client_ms: closed.late_client_ms,
        manifest: closed.sealed.as_ref().map(|(_, manifest)| *manifest),
        recordings: closed.channels.len() as u64,
        bytes: closed.channels.iter().map(|channel| channel.bytes).sum(),
        happened_us: late.map(|(at, _)| at),
        written_late_us: late.map(|(_, by)| by),
    }
}

fn event(new: &NewSession, key_id: String, pass: Option<u64>) -> Event {
    Event::SessionOpened {
        session: new.id.clone(),
        grant: new.grant.clone(),
        request: new.request.clone(),
        user: new.user.clone(),
        host: new.host.clone(),
        login: new.login.clone(),
        rule: new.rule.clone(),
        client: new.client.to_string(),
        key: new.key.clone(),
        serial: new.serial.to_string(),
        key_id,
        pass: pass.map(|serial| serial.to_string()),
    }
}

fn meta(new: NewSession, started: Timestamp) -> SessionMeta {
    let NewSession { id, grant, request, user, host, login, rule, .. } = new;
    SessionMeta { session: id, right: Right::Grant { grant, request, user, rule }, host, login, started }
}

/// How often the end of a session is written before it is left for the next start.
const TRIES: usize = 3;

/// What the store keeps of an end.
pub(super) fn closed(
    id: SessionId,
    ending: Ending,
    sealed: Option<&SealedSession>,
    late_host_ms: Option<u64>,
    late_client_ms: Option<u64>,
) -> ClosedSession {
    let row = |channel: &crate::recording::SealedChannel| ChannelRow {
        number: channel.number,
        kind: channel.kind.with(channel.target.as_deref()),
        command: channel.command.as_ref().map(|command| command.text.clone()),
        file: channel.file.clone(),
        sha256: Digest::from_bytes(channel.sha256),
        bytes: channel.bytes,
        duration: channel.duration,
    };
    ClosedSession {
        id,
        ending,
        ended: sealed.map(|sealed| sealed.meta.started.plus(Span::from_duration(sealed.duration))),
        late_host_ms,
        late_client_ms,
        sealed: sealed.map(|sealed| (sealed.folder.display().to_string(), Digest::from_bytes(sealed.digest))),
        channels: sealed.map(|sealed| sealed.channels.iter().map(row).collect()).unwrap_or_default(),
        // A visit that was killed may have spent all of it.
        unspent: 0,
    }
}
