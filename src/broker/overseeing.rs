//! Looking over the shoulder of somebody who is inside: who may, and the event that says so.

use super::fault::Stop;
use super::people::{actor, place};
use super::visit::may_unmask;
use super::{Broker, Error};
use crate::access::names::{Actor, Note, SessionId};
use crate::access::person::Person;
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::audit::event::{Event, Showing};
use crate::store::{Outcome, SessionRow, Tx, Urgency};

impl Broker {
    /// Somebody watches a channel of a session of this node: may they, and the event that says so. A `may` rule gives this, and so does
    /// having approved its request. `channel` is what there is to watch, or why there is nothing: told to whoever may. `purpose` is what
    /// they say it is for. Whoever is watched is not told.
    pub async fn watch_session(
        &self,
        by: &Actor,
        id: &SessionId,
        channel: Result<u32, Refusal>,
        purpose: Note,
        shown: Showing,
    ) -> Result<(SessionRow, u32), Error> {
        let (who, id, policy, salt, node) = (by.clone(), id.clone(), self.in_force(), self.salt(), self.node().to_owned());
        let watched = self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let session = tx.session(&id).await?.ok_or_else(|| Refusal::no_such("session", &id))?;
                if let Some(person) = actor(tx, &who).await? {
                    may_watch(tx, &policy, &person, &session, shown).await?;
                }
                goes_on_here(&session, &node)?;
                let channel = channel?;
                let purpose = tx.keep_text(purpose.as_str(), &salt).await?;
                let event = Event::SessionWatched { session: id, channel: Some(channel.into()), purpose, shown };
                Ok(Outcome::Changed((session, channel), event))
            })
        });
        watched.await
    }
}

async fn may_watch(tx: &mut Tx, policy: &Policy, person: &Person, session: &SessionRow, shown: Showing) -> Result<(), Stop> {
    let host = place(tx, &session.host).await?;
    let may = policy.may(person, Act::Watch, &host) || tx.approved_grant(&session.grant, &person.user).await?;
    if !may {
        let knows = person.user == session.user || policy.may(person, Act::Sessions, &host);
        let refusal =
            if knows { Refusal::may_not(Act::Watch.sentence(), Some(&session.host)) } else { Refusal::no_such("session", &session.id) };
        return Err(refusal.into());
    }
    if shown == Showing::Unmasked {
        may_unmask(policy, person, &host)?;
    }
    Ok(())
}

/// A session's screen is known where it lives, and while it lives.
fn goes_on_here(session: &SessionRow, node: &str) -> Result<(), Refusal> {
    let id = &session.id;
    if let Some((at, ending)) = session.ended {
        let refusal = Refusal::new("already-over", format!("{id} ended at {at}: {ending}"));
        return Err(refusal.hint(format!("ssh -t jit-bastion replay {id} --because WHY")));
    }
    if session.node != node {
        let refusal = Refusal::new("elsewhere", format!("{id} goes on at the bastion {}, and this is {node}", session.node));
        let there = format!("ssh -t {} watch {id} --because WHY", session.node);
        return Err(refusal.hint(format!("{there} (that bastion itself, past the load balancer)")));
    }
    Ok(())
}
