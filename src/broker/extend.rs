//! More time: at once where the bound rule lets the holder, else by a request that the same approvers decide.

use super::admit::still_given;
use super::approve::said_enough;
use super::caps::Caps;
use super::fault::Stop;
use super::laws::InForce;
use super::people::{place, present};
use super::request::{Filed, filed, last_signature, same_or_refused};
use super::rights::{known, may_know};
use super::{Broker, Error};
use crate::access::grant::Grant;
use crate::access::names::{Actor, GrantId, Reason, RequestId, User};
use crate::access::person::Person;
use crate::access::policy::BoundRule;
use crate::access::refusal::Refusal;
use crate::access::request::{Ask, Makes, Request, When};
use crate::access::time::{Span, Timestamp};
use crate::audit::commitment::{Commitment, Salt};
use crate::audit::event::Event;
use crate::store::{Act, Outcome, Tx, Urgency};

/// What asking for more time came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// The grant as it stands now.
    pub grant: Grant,
    /// What was filed; none where the holder alone was enough.
    pub filed: Option<Filed>,
}

impl Broker {
    /// The holder asks for `length` more. At once and without a request where the bound rule gives it to them alone; otherwise by a
    /// request that is decided like the grant's own. A grant that is over stays over.
    pub async fn extend_grant(&self, who: &Person, id: &GrantId, length: Span, reason: Reason) -> Result<Extended, Error> {
        self.lapse_due().await?;
        let extended = self.act_anew(Urgency::Ordinary, Actor::User(who.user.clone()), || {
            let extending = Extending {
                policy: self.in_force(),
                caps: self.settings.caps,
                user: who.user.clone(),
                grant: id.clone(),
                length,
                reason: reason.clone(),
                requests: self.request_ids(),
                salt: self.salt(),
            };
            move |tx: &mut Tx| -> Act<'_, Extended, Stop> { Box::pin(extending.run(tx)) }
        });
        let extended = extended.await?;
        self.cut_now().await;
        Ok(extended)
    }
}

struct Extending {
    policy: InForce,
    caps: Caps,
    user: User,
    grant: GrantId,
    length: Span,
    reason: Reason,
    requests: Vec<RequestId>,
    salt: Salt,
}

impl Extending {
    async fn run(self, tx: &mut Tx) -> Result<Outcome<Extended>, Stop> {
        let policy = self.policy.now();
        let person = present(tx, &self.user).await?;
        let before = known(tx, &self.grant).await?;
        let host = place(tx, &before.host).await?;
        may_know(&policy, &person, &before, &host)?;
        if before.user != person.user {
            let refusal = Refusal::new("not-yours", format!("{} is the grant of {}", before.id, before.user));
            return Err(refusal.hint("only its holder extends a grant").into());
        }
        // What is over stays over.
        before.stands(tx.now())?;
        still_given(&policy, &person, &host, &before.login, &before.channels)?;
        let first = tx.request(&before.request).await?.ok_or_else(|| Refusal::no_such("request", &before.request))?.request;
        let rule = policy.tightened(&first.rule, &person, &host, &before.login, &before.channels);
        said_enough(&self.reason, first.asked.ticket.as_ref(), &rule)?;
        match before.by_oneself(self.length, &rule) {
            Some(ends) => {
                let after = before.clone().lengthened_by_oneself(ends, tx.now())?;
                self.alone(tx, &before, after).await
            }
            // What is asked for now says what binds now.
            None => self.asked(tx, before, Request { rule: BoundRule { egress_filed: rule.egress, ..rule }, ..first }).await,
        }
    }

    async fn alone(self, tx: &mut Tx, before: &Grant, after: Grant) -> Result<Outcome<Extended>, Stop> {
        let reason = tx.keep_text(self.reason.as_str(), &self.salt).await?;
        tx.extend_grant(before, &after).await?;
        let event = Event::GrantExtended {
            grant: after.id.clone(),
            before_us: before.ends,
            ends_us: after.ends,
            request: None,
            approvals: 0,
            reason: Some(reason),
            note: None,
            signature: None,
        };
        Ok(Outcome::Changed(Extended { grant: after, filed: None }, event))
    }

    /// A request under the rule that the grant's own was bound to, with the floors of now: same approvers, same quorum.
    async fn asked(self, tx: &mut Tx, grant: Grant, first: Request) -> Result<Outcome<Extended>, Stop> {
        let now = tx.now();
        let when = When { from: Some(grant.ends), length: self.length };
        within_reach(&grant, &when, &first.rule, now)?;
        let asked = Ask {
            user: grant.user.clone(),
            host: grant.host.clone(),
            login: grant.login.clone(),
            channels: grant.channels.clone(),
            when,
            reason: self.reason,
            ticket: first.asked.ticket,
            extends: Some(grant.id.clone()),
        };
        if let Some(pending) = tx.pending_extension(&grant.id).await? {
            let filed = same_or_refused(pending.request, &asked)?;
            return Ok(Outcome::Same(Extended { grant, filed: Some(filed) }));
        }
        self.caps.request(tx, &self.user).await?;
        let request = Request::file(tx.free_request_id(self.requests).await?, asked, first.rule, now);
        let reason = tx.keep_text(request.asked.reason.as_str(), &self.salt).await?;
        let kept = tx.file_request(&request, &reason).await?;
        let filed = filed(&request, reason)?;
        let told = |request| Some(Filed { request, attached: false });
        if request.rule.quorum() > 0 {
            return Ok(Outcome::Changed(Extended { grant, filed: told(request) }, filed));
        }
        let (approved, after) = request.grant_at_once(Makes::Later(grant.clone()), now)?;
        tx.extend_grant(&grant, &after).await?;
        tx.move_request(&kept, &approved).await?;
        let event = extended(&grant, &after, &approved, None);
        Ok(Outcome::Both(Extended { grant: after, filed: told(approved) }, [filed, event]))
    }
}

/// The event of a grant that ends later because `request` was approved.
pub(super) fn extended(before: &Grant, after: &Grant, request: &Request, note: Option<Commitment>) -> Event {
    Event::GrantExtended {
        grant: after.id.clone(),
        before_us: before.ends,
        ends_us: after.ends,
        request: Some(request.id.clone()),
        approvals: request.approvals().len() as u64,
        reason: None,
        note,
        signature: last_signature(request),
    }
}

/// An extension gives no more than a new grant would: at most the rule's longest, counted from now.
fn within_reach(grant: &Grant, when: &When, rule: &BoundRule, now: Timestamp) -> Result<(), Refusal> {
    let furthest = grant.furthest(rule, now);
    if when.until().is_some_and(|until| until <= furthest) {
        return Ok(());
    }
    let left = furthest.since(grant.ends);
    let refusal = Refusal::new("too-long", format!("rule {} gives at most {} from now on: until {furthest}", rule.id, rule.max_duration));
    Err(match left.as_seconds() {
        0 => refusal.hint("ask again when less of it is left"),
        seconds => refusal.hint(format!("ssh jit-bastion extend {} --for {} --reason WHY", grant.id, Span::seconds(seconds))),
    })
}
