//! Taking away: a holder is done, a right is revoked, one visit is killed. These never wait behind other writes.

use super::fault::Stop;
use super::people::{actor, place};
use super::{Broker, Error};
use crate::access::grant::Grant;
use crate::access::host::Host;
use crate::access::names::{Actor, GrantId, Note, SessionId};
use crate::access::person::Person;
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::audit::event::{Cause, Event};
use crate::session::Ending;
use crate::store::{Outcome, SessionRow, Tx, Urgency};

impl Broker {
    /// The holder is done early, or somebody on the bastion's own command line says so. Its live sessions fall.
    pub async fn close_grant(&self, by: &Actor, id: &GrantId) -> Result<Grant, Error> {
        let (who, id, policy) = (by.clone(), id.clone(), self.in_force());
        let closed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let grant = known(tx, &id).await?;
                if let Some(person) = actor(tx, &who).await? {
                    let host = place(tx, &grant.host).await?;
                    may_know(&policy, &person, &grant, &host)?;
                }
                let after = grant.close(who, tx.now())?;
                tx.finish_grant(&after, None).await?;
                Ok(Outcome::Changed(after, Event::GrantClosed { grant: id }))
            })
        });
        let grant = closed.await?;
        self.live.cut(|s| s.grant == grant.id, Ending::Closed);
        Ok(grant)
    }

    /// Takes a grant away; a `may` rule gives this. Its live sessions fall.
    pub async fn revoke(&self, by: &Actor, id: &GrantId, note: Note) -> Result<Grant, Error> {
        let (who, id, policy, salt) = (by.clone(), id.clone(), self.in_force(), self.salt());
        let revoked = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let grant = known(tx, &id).await?;
                if let Some(person) = actor(tx, &who).await? {
                    let host = place(tx, &grant.host).await?;
                    may_know(&policy, &person, &grant, &host)?;
                    may_revoke(&policy, &person, &grant, &host)?;
                }
                let after = grant.revoke(who, tx.now())?;
                let said = tx.keep_text(note.as_str(), &salt).await?;
                tx.finish_grant(&after, Some(said)).await?;
                Ok(Outcome::Changed(after, Event::GrantRevoked { grant: id, cause: Cause::Asked, note: Some(said) }))
            })
        });
        let grant = revoked.await?;
        self.live.cut(|s| s.grant == grant.id, Ending::Revoked);
        Ok(grant)
    }

    /// Ends one visit, wherever it lives. A `may` rule gives this, and so does having approved its request.
    pub async fn kill(&self, by: &Actor, id: &SessionId, note: Note) -> Result<SessionRow, Error> {
        let (who, id, policy, salt) = (by.clone(), id.clone(), self.in_force(), self.salt());
        let killed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let session = tx.session(&id).await?.ok_or_else(|| Refusal::no_such("session", &id))?;
                if let Some(person) = actor(tx, &who).await? {
                    may_kill(tx, &policy, &person, &session).await?;
                }
                if let Some((at, ending)) = session.ended {
                    let refusal = Refusal::new("already-over", format!("{id} ended at {at}: {ending}"));
                    return Err(refusal.hint("`ssh jit-bastion sessions --live` lists who is inside").into());
                }
                tx.kill_session(&id).await?;
                let note = tx.keep_text(note.as_str(), &salt).await?;
                Ok(Outcome::Changed(session, Event::SessionKilled { session: id, note }))
            })
        });
        let session = killed.await?;
        self.live.cut(|s| s.id == session.id, Ending::Killed);
        Ok(session)
    }
}

/// A grant, whoever asks.
pub(super) async fn known(tx: &mut Tx, id: &GrantId) -> Result<Grant, Stop> {
    Ok(tx.grant(id).await?.ok_or_else(|| Refusal::no_such("grant", id))?)
}

/// Its holder, and who oversees its host, may know that a grant exists.
pub(super) fn may_know(policy: &Policy, person: &Person, grant: &Grant, host: &Host) -> Result<(), Refusal> {
    let oversees = policy.may(person, Act::Revoke, host) || policy.may(person, Act::Sessions, host);
    if oversees || person.user == grant.user { Ok(()) } else { Err(Refusal::no_such("grant", &grant.id)) }
}

fn may_revoke(policy: &Policy, person: &Person, grant: &Grant, host: &Host) -> Result<(), Refusal> {
    if policy.may(person, Act::Revoke, host) {
        return Ok(());
    }
    let refusal = Refusal::may_not(Act::Revoke.sentence(), Some(&grant.host));
    if person.user == grant.user {
        return Err(refusal.hint(format!("it is yours: `ssh jit-bastion close {}` ends it", grant.id)));
    }
    Err(refusal)
}

async fn may_kill(tx: &mut Tx, policy: &Policy, person: &Person, session: &SessionRow) -> Result<(), Stop> {
    let host = place(tx, &session.host).await?;
    let approved = tx.approved_grant(&session.grant, &person.user).await?;
    if approved || policy.may(person, Act::Kill, &host) {
        return Ok(());
    }
    if person.user == session.user || policy.may(person, Act::Sessions, &host) {
        return Err(Refusal::may_not(Act::Kill.sentence(), Some(&session.host)).into());
    }
    Err(Refusal::no_such("session", &session.id).into())
}
