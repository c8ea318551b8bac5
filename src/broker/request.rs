//! Asking: a request is filed, or granted at once where the rule asks nobody.

use std::time::Duration;

use super::caps::Caps;
use super::fault::Stop;
use super::laws::InForce;
use super::people::{host_typed, may_see, present};
use super::{Broker, Error};
use crate::access::channels::Channels;
use crate::access::grant::Grant;
use crate::access::names::{Actor, GrantId, Login, Reason, RequestId, Ticket, User};
use crate::access::person::Person;
use crate::access::policy::{Policy, Why, Wish};
use crate::access::refusal::Refusal;
use crate::access::request::{Ask, Makes, Request, When};
use crate::access::signature::Signature;
use crate::access::time::{Span, Timestamp};
use crate::audit::commitment::{Commitment, Salt};
use crate::audit::digest::Digest;
use crate::audit::event::{Begin, Event};
use crate::store::{Act, Kept, Outcome, StoreError, Tx, Urgency};

/// What somebody asks for, as they typed it; policy fills in what they left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The host's name or an alias, as typed.
    pub host: String,
    /// The account; none means the only one that they may ask for.
    pub login: Option<Login>,
    /// From when; none means when it is approved.
    pub from: Option<Timestamp>,
    /// How long; none means the rule's default.
    pub length: Option<Span>,
    /// Which kinds; none means those that the rule gives.
    pub channels: Option<Channels>,
    /// Why.
    pub reason: Reason,
    /// Its id in another system.
    pub ticket: Option<Ticket>,
}

/// A request that stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    /// The request; approved already where its rule asks nobody.
    pub request: Request,
    /// It was pending before: this asker is attached to it, and nothing new was filed.
    pub attached: bool,
}

impl Broker {
    /// Files a request of `who`. The same request again, while it is pending, is the pending one. Where the rule asks nobody, the request
    /// comes back approved.
    pub async fn request(&self, who: &Person, asking: Asking) -> Result<Filed, Error> {
        // A request that nobody answered must not stand in the way of its successor.
        self.lapse_due().await?;
        let filing = Filing {
            policy: self.in_force(),
            caps: self.settings.caps,
            user: who.user.clone(),
            asking,
            requests: self.request_ids(),
            grants: self.grant_ids(),
            salt: self.salt(),
        };
        self.act(Urgency::Ordinary, Actor::User(who.user.clone()), move |tx| Box::pin(filing.run(tx))).await
    }

    /// Takes a request back; its asker alone.
    pub async fn withdraw(&self, who: &Person, id: &RequestId) -> Result<Request, Error> {
        let withdrawn = self.act_anew(Urgency::Ordinary, Actor::User(who.user.clone()), || {
            let (policy, user, id) = (self.in_force(), who.user.clone(), id.clone());
            move |tx: &mut Tx| -> Act<'_, Request, Stop> {
                Box::pin(async move {
                    let policy = policy.now();
                    let (kept, _) = seen(tx, &policy, &user, &id).await?;
                    let after = kept.request.clone().withdraw(&user, tx.now())?;
                    tx.move_request(&kept, &after).await?;
                    Ok(Outcome::Changed(after, Event::RequestWithdrawn { request: id }))
                })
            }
        });
        withdrawn.await
    }

    /// Waits until the request is no longer pending, and gives it as it is then. Whether the asker may see it is the caller's to know.
    pub async fn decided(&self, id: &RequestId) -> Result<Request, Error> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let request = self.reader().request(id).await.map_err(|e| self.store_fault(&e))?;
            let request = request.ok_or_else(|| Refusal::no_such("request", id))?;
            if !request.is_open(self.now()) {
                return Ok(request);
            }
            // The hint may be lost; the store is not.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }
}

struct Filing {
    policy: InForce,
    caps: Caps,
    user: User,
    asking: Asking,
    requests: Vec<RequestId>,
    grants: Vec<GrantId>,
    salt: Salt,
}

impl Filing {
    async fn run(self, tx: &mut Tx) -> Result<Outcome<Filed>, Stop> {
        let person = present(tx, &self.user).await?;
        let (asked, rule) = judged(tx, &self.policy.now(), &person, self.asking).await?;
        if let Some(pending) = tx.pending_request(&asked.user, &asked.host, &asked.login).await? {
            return same_or_refused(pending.request, &asked).map(Outcome::Same);
        }
        self.caps.grant(tx, &self.user).await?;
        self.caps.request(tx, &self.user).await?;
        let id = tx.free_request_id(self.requests).await?;
        let request = Request::file(id, asked, rule, tx.now());
        let reason = tx.keep_text(request.asked.reason.as_str(), &self.salt).await?;
        let kept = tx.file_request(&request, &reason).await?;
        let filed = filed(&request, reason)?;
        if request.rule.quorum() > 0 {
            return Ok(Outcome::Changed(Filed { request, attached: false }, filed));
        }
        let makes = Makes::New(tx.free_grant_id(self.grants).await?);
        let (approved, grant) = request.grant_at_once(makes, tx.now())?;
        tx.add_grant(&grant).await?;
        tx.move_request(&kept, &approved).await?;
        let begun = begun(&grant, &approved, Begin::AtOnce, None)?;
        Ok(Outcome::Both(Filed { request: approved, attached: false }, [filed, begun]))
    }
}

/// What exactly is asked for and the rule that covers it, by the users, hosts and policy of now.
async fn judged(tx: &mut Tx, policy: &Policy, person: &Person, asking: Asking) -> Result<(Ask, crate::access::policy::BoundRule), Stop> {
    let Asking { host: typed, login, from, length, channels, reason, ticket } = asking;
    let host = host_typed(tx, &typed).await?;
    let held = tx.held(&person.user, host.as_ref().map(|host| &host.name)).await?;
    let host = policy.look(person, host.as_ref(), held, &typed)?;
    let login = match login {
        Some(login) => login,
        None => policy.only_login(person, host)?,
    };
    let why = Some(Why { reason: reason.as_str().chars().count(), ticket: ticket.is_some() });
    let verdict = policy.judge(person, host, &Wish { login: login.clone(), channels, length, why })?;
    let when = When { from, length: verdict.length };
    still_to_come(&when, tx.now())?;
    let (user, host) = (person.user.clone(), host.name.clone());
    let ask = Ask { user, host, login, channels: verdict.channels, when, reason, ticket, extends: None };
    Ok((ask, verdict.rule))
}

/// A right for a time that is over is refused, and so is one that nobody who approves it can foresee.
fn still_to_come(when: &When, now: Timestamp) -> Result<(), Refusal> {
    if when.until().is_some_and(|until| until <= now) {
        return Err(Refusal::new("in-the-past", "the time that you ask for is over").hint("ask for a later --from and --until"));
    }
    match when.from {
        Some(from) if from > now.plus(FURTHEST) => {
            Err(Refusal::new("too-far", format!("{from} is more than a year from now")).hint("ask for an earlier --from"))
        }
        _ => Ok(()),
    }
}

/// The pending request, if it is what is asked for again.
pub(super) fn same_or_refused(pending: Request, asked: &Ask) -> Result<Filed, Stop> {
    let before = &pending.asked;
    if before.channels == asked.channels && before.when == asked.when && before.ticket == asked.ticket {
        return Ok(Filed { request: pending, attached: true });
    }
    let refusal = Refusal::new("already-pending", format!("{} waits already for {} as {}", pending.id, asked.host, asked.login));
    Err(refusal.hint(format!("`ssh jit-bastion withdraw {}` takes it back, then ask again", pending.id)).into())
}

/// A request to be moved by `user`, if they may see it; its rule with the floors of now under it.
pub(super) async fn seen(tx: &mut Tx, policy: &Policy, user: &User, id: &RequestId) -> Result<(Kept, Person), Stop> {
    let person = present(tx, user).await?;
    let mut kept = tx.request(id).await?.ok_or_else(|| Refusal::no_such("request", id))?;
    let asked = &kept.request.asked;
    let (asker, host) = (tx.person(&asked.user).await?, tx.host(&asked.host).await?);
    if let (Some(asker), Some(host)) = (&asker, &host) {
        kept.request.rule = policy.tightened(&kept.request.rule, asker, host, &asked.login, &asked.channels);
    }
    if may_see(policy, &person, &kept.request, host.as_ref()) { Ok((kept, person)) } else { Err(Refusal::no_such("request", id).into()) }
}

/// The event of a request that is filed.
pub(super) fn filed(request: &Request, reason: Commitment) -> Result<Event, Stop> {
    let ask = &request.asked;
    Ok(Event::RequestFiled {
        request: request.id.clone(),
        user: ask.user.clone(),
        host: ask.host.clone(),
        login: ask.login.clone(),
        channels: ask.channels.to_string(),
        length_s: ask.when.length.as_seconds(),
        from_us: ask.when.from,
        reason,
        ticket: ask.ticket.as_ref().map(ToString::to_string),
        rule: request.rule.id.clone(),
        policy: policy_digest(request)?,
        quorum: request.rule.quorum().into(),
        extends: ask.extends.clone(),
    })
}

/// The event of a grant that begins.
pub(super) fn begun(grant: &Grant, request: &Request, how: Begin, note: Option<Commitment>) -> Result<Event, Stop> {
    Ok(Event::GrantBegun {
        grant: grant.id.clone(),
        request: grant.request.clone(),
        user: grant.user.clone(),
        host: grant.host.clone(),
        login: grant.login.clone(),
        channels: grant.channels.to_string(),
        begins_us: grant.begins,
        ends_us: grant.ends,
        rule: grant.rule.clone(),
        policy: policy_digest(request)?,
        how,
        approvals: request.approvals().len() as u64,
        note,
        signature: last_signature(request),
    })
}

/// What the event of the last yes says of its signature.
pub(super) fn last_signature(request: &Request) -> Option<String> {
    request.approvals().last().and_then(|yes| yes.signature.as_ref()).map(Signature::told)
}

fn policy_digest(request: &Request) -> Result<Digest, Stop> {
    request.rule.policy.parse().map_err(|e| StoreError::row("requests", request.id.as_str(), e).into())
}

/// How far ahead a right may begin.
const FURTHEST: Span = Span::minutes(366 * 24 * 60);

/// How often a waiting asker looks without a hint.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
