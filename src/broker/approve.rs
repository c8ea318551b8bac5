//! Deciding: yes by as many humans as the rule wants, or one no.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fault::Stop;
use super::people::present;
use super::request::{begun, seen};
use super::{Broker, Error};
use crate::access::channels::Channels;
use crate::access::grant::Grant;
use crate::access::names::{Actor, GrantId, Note, RequestId, User};
use crate::access::person::Person;
use crate::access::policy::Policy;
use crate::access::refusal::Refusal;
use crate::access::request::{Approval, Request};
use crate::access::time::Span;
use crate::audit::commitment::Salt;
use crate::audit::event::{Begin, Event};
use crate::store::{Outcome, Tx, Urgency};

/// A yes, with what it shortens and narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yes {
    /// What the approver says with it.
    pub note: Option<Note>,
    /// No longer than this.
    pub length: Option<Span>,
    /// These kinds only.
    pub channels: Option<Channels>,
}

/// What a yes made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The request now.
    pub request: Request,
    /// The grant, if this yes was the last that was needed.
    pub grant: Option<Grant>,
    /// Who said yes before and may not decide any more: their yes does not count.
    pub lost: BTreeSet<User>,
}

impl Broker {
    /// `who` says yes.
    pub async fn approve(&self, who: &Person, id: &RequestId, yes: Yes) -> Result<Decided, Error> {
        let approving =
            Approving { policy: self.policy(), user: who.user.clone(), id: id.clone(), yes, grants: self.grant_ids(), salt: self.salt() };
        self.act(Urgency::Ordinary, Actor::User(who.user.clone()), move |tx| Box::pin(approving.run(tx))).await
    }

    /// `who` says no; one is enough.
    pub async fn deny(&self, who: &Person, id: &RequestId, note: Note) -> Result<Request, Error> {
        let (policy, user, id, salt) = (self.policy(), who.user.clone(), id.clone(), self.salt());
        self.act(Urgency::Ordinary, Actor::User(who.user.clone()), move |tx| {
            Box::pin(async move {
                let (kept, person) = seen(tx, &policy, &user, &id).await?;
                let said = tx.keep_text(note.as_str(), &salt).await?;
                let no = Approval::new(user, tx.now(), Some(note));
                let after = kept.request.clone().deny(no.clone(), &person)?;
                tx.decide_request(&kept, &after, &no, Some(said)).await?;
                Ok(Outcome::Changed(after, Event::RequestDenied { request: id, note: said }))
            })
        })
        .await
    }
}

struct Approving {
    policy: Arc<Policy>,
    user: User,
    id: RequestId,
    yes: Yes,
    grants: Vec<GrantId>,
    salt: Salt,
}

impl Approving {
    async fn run(self, tx: &mut Tx) -> Result<Outcome<Decided>, Stop> {
        let (kept, approver) = seen(tx, &self.policy, &self.user, &self.id).await?;
        let Yes { note, length, channels } = self.yes;
        let yes = Approval { by: self.user, at: tx.now(), note, length, channels };
        let grant = tx.free_grant_id(self.grants).await?;
        let (present, lost) = earlier(tx, &kept.request).await?;
        let (after, grant) = kept.request.clone().approve(yes.clone(), &approver, grant, &present)?;
        still_stands(tx, &self.policy, &after, grant.as_ref()).await?;
        let note = match &yes.note {
            Some(note) => Some(tx.keep_text(note.as_str(), &self.salt).await?),
            None => None,
        };
        if let Some(grant) = &grant {
            tx.add_grant(grant).await?;
        }
        if after.approvals().len() > kept.request.approvals().len() {
            tx.decide_request(&kept, &after, &yes, note).await?;
        } else {
            tx.move_request(&kept, &after).await?;
        }
        let event = match &grant {
            Some(grant) => begun(grant, &after, Begin::Approved, note)?,
            None => Event::RequestApproved {
                request: self.id,
                note,
                length_s: yes.length.map(Span::as_seconds),
                channels: yes.channels.as_ref().map(ToString::to_string),
                approvals: (after.approvals().len() - lost.len()) as u64,
                quorum: after.rule.quorum().into(),
            },
        };
        Ok(Outcome::Changed(Decided { request: after, grant, lost }, event))
    }
}

/// Who has said yes: those who may still decide, as they are now, and those who may not any more (disabled since, or without the role).
/// What these said stays told, and does not count.
async fn earlier(tx: &mut Tx, request: &Request) -> Result<(Vec<Person>, BTreeSet<User>), Stop> {
    let (mut present, mut lost) = (Vec::new(), BTreeSet::new());
    for Approval { by, .. } in request.approvals() {
        match tx.person(by).await? {
            Some(person) if request.rule.may_decide(&person, &request.asked.user).is_ok() => present.push(person),
            _ => drop(lost.insert(by.clone())),
        }
    }
    Ok((present, lost))
}

/// An approval is judged by the denies of now, on asker and host as they are now.
async fn still_stands(tx: &mut Tx, policy: &Policy, request: &Request, grant: Option<&Grant>) -> Result<(), Stop> {
    let ask = &request.asked;
    let asker = present(tx, &ask.user).await?;
    let gone = || Refusal::new("host-gone", format!("{} is not registered any more", ask.host)).hint("deny the request");
    let host = tx.host(&ask.host).await?.ok_or_else(gone)?;
    let channels = grant.map_or(&ask.channels, |grant| &grant.channels);
    Ok(policy.denies_now(&asker, &host, &ask.login, channels)?)
}
