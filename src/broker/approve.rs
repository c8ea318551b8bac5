//! Deciding: yes by as many humans as the rule wants, or one no.

use std::collections::BTreeSet;

use super::caps::Caps;
use super::extend::extended;
use super::fault::Stop;
use super::laws::InForce;
use super::people::present;
use super::request::{begun, seen};
use super::{Broker, Error};
use crate::access::channels::Channels;
use crate::access::grant::Grant;
use crate::access::names::{Actor, GrantId, Note, Reason, RequestId, Ticket, User, escaped};
use crate::access::person::Person;
use crate::access::policy::{BoundRule, Policy};
use crate::access::refusal::Refusal;
use crate::access::request::{Approval, Makes, Request};
use crate::access::signature::Signature;
use crate::access::time::{Span, Timestamp};
use crate::audit::commitment::Salt;
use crate::audit::event::{Begin, Event};
use crate::store::{Act, Outcome, Tx, Urgency};

/// A yes, with what it shortens and narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yes {
    /// What the approver says with it.
    pub note: Option<Note>,
    /// No longer than this.
    pub length: Option<Span>,
    /// These kinds only.
    pub channels: Option<Channels>,
    /// Made with a key of the approver's over [`Request::approval_text`].
    pub signature: Option<Signature>,
    /// SHA-256 of the text that they have read, in hex: another text is refused.
    pub digest: Option<String>,
}

/// What a yes made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The request now.
    pub request: Request,
    /// The grant, if this yes was the last that was needed: a new one, or one that ends later.
    pub grant: Option<Grant>,
    /// Who said yes before and may not decide any more: their yes does not count.
    pub lost: BTreeSet<User>,
}

impl Broker {
    /// `who` says yes.
    pub async fn approve(&self, who: &Person, id: &RequestId, yes: Yes) -> Result<Decided, Error> {
        let decided = self.act_anew(Urgency::Ordinary, Actor::User(who.user.clone()), || {
            let approving = Approving {
                policy: self.in_force(),
                caps: self.settings.caps,
                user: who.user.clone(),
                id: id.clone(),
                yes: yes.clone(),
                grants: self.grant_ids(),
                salt: self.salt(),
            };
            move |tx: &mut Tx| -> Act<'_, Decided, Stop> { Box::pin(approving.run(tx)) }
        });
        let decided = decided.await?;
        if decided.grant.is_some() && decided.request.asked.extends.is_some() {
            // Sessions under it end later, here now and elsewhere at the next look.
            self.cut_now().await;
        }
        Ok(decided)
    }

    /// `who` says no; one is enough.
    pub async fn deny(&self, who: &Person, id: &RequestId, note: Note) -> Result<Request, Error> {
        let denied = self.act_anew(Urgency::Ordinary, Actor::User(who.user.clone()), || {
            let (policy, user, id, note, salt) = (self.in_force(), who.user.clone(), id.clone(), note.clone(), self.salt());
            move |tx: &mut Tx| -> Act<'_, Request, Stop> {
                Box::pin(async move {
                    let policy = policy.now();
                    let (kept, person) = seen(tx, &policy, &user, &id).await?;
                    let said = tx.keep_text(note.as_str(), &salt).await?;
                    let no = Approval::new(user, tx.now(), Some(note));
                    let after = kept.request.clone().deny(no.clone(), &person)?;
                    tx.decide_request(&kept, &after, &no, Some(said)).await?;
                    Ok(Outcome::Changed(after, Event::RequestDenied { request: id, note: said }))
                })
            }
        });
        denied.await
    }
}

struct Approving {
    policy: InForce,
    caps: Caps,
    user: User,
    id: RequestId,
    yes: Yes,
    grants: Vec<GrantId>,
    salt: Salt,
}

impl Approving {
    async fn run(self, tx: &mut Tx) -> Result<Outcome<Decided>, Stop> {
        let policy = self.policy.now();
        let (kept, approver) = seen(tx, &policy, &self.user, &self.id).await?;
        let Yes { note, length, channels, signature, digest } = self.yes;
        if let Some(read) = digest.filter(|read| !kept.request.is_digest(read, length, channels.as_ref())) {
            return Err(other_text(&kept.request, &read).into());
        }
        if let Some(signature) = &signature {
            theirs(tx, &self.user, signature).await?;
        }
        let yes = Approval { by: self.user, at: tx.now(), note, length, channels, signature };
        let makes = makes(tx, &kept.request, self.grants).await?;
        let (present, lost) = earlier(tx, &kept.request).await?;
        let (after, grant) = kept.request.clone().approve(yes.clone(), &approver, makes.clone(), &present)?;
        still_stands(tx, &policy, &after, grant.as_ref()).await?;
        let note = match &yes.note {
            Some(note) => Some(tx.keep_text(note.as_str(), &self.salt).await?),
            None => None,
        };
        match (&grant, &makes) {
            (Some(after), Makes::Later(before)) => tx.extend_grant(before, after).await?,
            (Some(new), Makes::New(_)) => {
                self.caps.grant(tx, &new.user).await?;
                tx.add_grant(new).await?;
            }
            (None, _) => {}
        }
        let said = |approvals: &[Approval]| approvals.iter().any(|earlier| earlier.by == yes.by && earlier.signature == yes.signature);
        if after.approvals().len() > kept.request.approvals().len() {
            tx.decide_request(&kept, &after, &yes, note).await?;
        } else if said(after.approvals()) && !said(kept.request.approvals()) {
            tx.sign_yes(&kept, &after, &yes, note).await?;
        } else {
            tx.move_request(&kept, &after).await?;
        }
        let event = match (&grant, &makes) {
            (Some(grant), Makes::Later(before)) => extended(before, grant, &after, note),
            (Some(grant), Makes::New(_)) => begun(grant, &after, Begin::Approved, note)?,
            (None, _) => Event::RequestApproved {
                request: self.id,
                note,
                length_s: yes.length.map(Span::as_seconds),
                channels: yes.channels.as_ref().map(ToString::to_string),
                approvals: (after.approvals().len() - lost.len()) as u64,
                quorum: after.rule.quorum().into(),
                signature: yes.signature.as_ref().map(Signature::told),
            },
        };
        Ok(Outcome::Changed(Decided { request: after, grant, lost }, event))
    }
}

/// What the last yes would make. What is over by now is not extended.
async fn makes(tx: &mut Tx, request: &Request, new: Vec<GrantId>) -> Result<Makes, Stop> {
    let Some(id) = &request.asked.extends else { return Ok(Makes::New(tx.free_grant_id(new).await?)) };
    let grant = tx.grant(id).await?.ok_or_else(|| Refusal::no_such("grant", id))?;
    Ok(Makes::Later(grant.stands(tx.now()).map(|()| grant)?))
}

/// A signature counts only by a key that is the approver's now.
async fn theirs(tx: &mut Tx, user: &User, signature: &Signature) -> Result<(), Stop> {
    if tx.key_owner(&signature.key()).await?.as_ref() == Some(user) {
        return Ok(());
    }
    let refusal =
        Refusal::new("not-your-key", format!("{} is no key of yours here, so what it signed is not your approval", signature.key()));
    Err(refusal.hint("sign with a key that opens the bastion for you: ssh-keygen -Y sign -n jit-bastion-approval -f KEY").into())
}

fn other_text(request: &Request, read: &str) -> Refusal {
    let shown: String = escaped(read).chars().take(64).collect();
    Refusal::new("other-text", format!("the text of {} has the digest {}, not {shown}", request.id, request.digest()))
        .hint(format!("read it again: ssh jit-bastion show {}", request.id))
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

/// An approval is judged by the denies and floors of now, on asker and host as they are now, over what its yeses so far
/// leave of it.
async fn still_stands(tx: &mut Tx, policy: &Policy, request: &Request, grant: Option<&Grant>) -> Result<(), Stop> {
    let ask = &request.asked;
    let asker = present(tx, &ask.user).await?;
    let gone = || Refusal::new("host-gone", format!("{} is not registered any more", ask.host)).hint("deny the request");
    let host = tx.host(&ask.host).await?.ok_or_else(gone)?;
    // What approvers have taken out of it is nobody's concern any more.
    let narrowed = request.approvals().iter().filter_map(|yes| yes.channels.as_ref());
    let channels = narrowed.fold(ask.channels.clone(), |left, only| left.only(|kind| only.covers(kind)));
    policy.denies_now(&asker, &host, &ask.login, &channels)?;
    let stored = tx.request(&request.id).await?.map_or_else(|| request.rule.clone(), |kept| kept.request.rule);
    let rule = policy.tightened(&stored, &asker, &host, &ask.login, &channels);
    said_enough(&ask.reason, ask.ticket.as_ref(), &rule)?;
    Ok(grant.map_or(Ok(()), |grant| short_enough(request, &rule, grant, tx.now()))?)
}

/// No floor of now is under what the request says of itself.
pub(super) fn said_enough(reason: &Reason, ticket: Option<&Ticket>, rule: &BoundRule) -> Result<(), Refusal> {
    let length = reason.as_str().chars().count();
    if let Some(least) = rule.reason_min_length.filter(|least| length < *least as usize) {
        let refusal = Refusal::new("short-reason", format!("a reason of at least {least} characters is wanted now, this one has {length}"));
        return Err(refusal.hint("ask with a longer --reason"));
    }
    if rule.ticket && ticket.is_none() {
        return Err(Refusal::new("no-ticket", "a ticket is wanted now, and the request names none").hint("ask with --ticket ID"));
    }
    Ok(())
}

/// What is granted is no longer than the rule and the floors of now give.
fn short_enough(request: &Request, rule: &BoundRule, grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
    let (max, granted) = (rule.max_duration, grant.ends.since(grant.begins));
    let too_long = match &request.asked.extends {
        Some(_) => grant.ends > grant.furthest(rule, now),
        None => granted > max,
    };
    if !too_long {
        return Ok(());
    }
    Err(Refusal::new("too-long", format!("{granted} is longer than the {max} that rule {} gives now", request.rule.id))
        .hint(format!("`ssh jit-bastion approve {} --for D` gives less", request.id)))
}
