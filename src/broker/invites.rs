//! Inviting: an administrator hands out a code, somebody proves a key under it, and an administrator or the named sponsor confirms that
//! the key is theirs. Until then it opens nothing.

use rand::Rng as _;

use super::fault::Stop;
use super::hosts::exists;
use super::people::present;
use super::user_keys::{NewKey, keep_key};
use super::users::{in_time, told};
use super::{Broker, Error};
use crate::access::invite::{Invite, InviteCode, InviteState, KeyOffer};
use crate::access::names::{Actor, InviteId, Note, User};
use crate::access::person::{Account, Person};
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::access::time::{Span, Timestamp};
use crate::audit::event::{Event, list};
use crate::ca::code;
use crate::store::{Outcome, Tx, Urgency};

/// Whom somebody invites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inviting {
    /// The user; with roles, firm and end only where they are new.
    pub account: Account,
    /// Who may confirm beside the administrators.
    pub sponsor: Option<User>,
    /// How long the code counts.
    pub length: Span,
}

impl Broker {
    /// Invites somebody: a new user, who is known from here on and for whom nothing opens yet, or a known one who brings one more key.
    /// The code is told here and never again.
    pub async fn invite(&self, by: &Actor, inviting: Inviting) -> Result<(Invite, InviteCode), Error> {
        let Inviting { account, sponsor, length } = inviting;
        within(length)?;
        let now = self.now();
        in_time(&account, now)?;
        let code = self.free_code().await?;
        let mut salt = [0; code::SALT];
        self.chance.rng().fill_bytes(&mut salt);
        let (secret, sealed) = (code.clone(), salt);
        let hash = tokio::task::spawn_blocking(move || code::seal(secret.secret(), sealed)).await;
        let hash = hash.map_err(|e| self.fault(&e))?.map_err(|e| self.fault(&e))?;
        let invite = Invite {
            id: code.id().clone(),
            user: account.user.clone(),
            sponsor,
            made_at: now,
            ends_at: now.plus(length),
            attempts: 0,
            state: InviteState::Open,
            offer: None,
        };
        let (policy, actor) = (self.in_force(), by.clone());
        let invite = self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let event = invited(tx, &policy, &actor, &account, &invite).await?;
                if !tx.add_invite(&invite, &hash, &actor).await? {
                    return Err(crate::store::StoreError::Ids.into());
                }
                Ok(Outcome::Changed(invite, event))
            })
        });
        Ok((invite.await?, code))
    }

    async fn free_code(&self) -> Result<InviteCode, Error> {
        for id in self.ids(InviteId::from_random) {
            if self.reader().invite(&id).await.map_err(|e| self.fault(&e))?.is_none() {
                let mut rng = self.chance.rng();
                let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                return Ok(InviteCode::from_random(id, random));
            }
        }
        Err(self.fault("no free id was drawn for an invitation").into())
    }

    /// The invitation of `user` that waits for a key or for its confirmation, if one does.
    pub async fn invite_of(&self, user: &User) -> Result<Option<Invite>, Error> {
        let now = self.now();
        let invite = self.reader().invite_of(user).await.map_err(|e| self.fault(&e))?;
        Ok(invite.filter(|invite| invite.goes_on(now)))
    }

    /// The invitations whose key waits for a confirmation that `who` may give; all of them on the bastion's own command line.
    pub async fn to_confirm(&self, who: Option<&Person>) -> Result<Vec<Invite>, Error> {
        let (now, policy) = (self.now(), self.policy());
        let mut offered = self.reader().offered().await.map_err(|e| self.fault(&e))?;
        offered.retain(|invite| invite.waits(now).is_some() && who.is_none_or(|who| may_confirm(&policy, who, invite).is_ok()));
        Ok(offered)
    }

    /// The invitation of `user` is worth nothing any more, and neither is a key that was offered with it.
    pub async fn withdraw_invite(&self, by: &Actor, user: &User) -> Result<(), Error> {
        let user = user.clone();
        self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let now = tx.now();
                let invite = tx.invite_of(&user).await?.filter(|invite| invite.goes_on(now)).ok_or_else(|| none_goes_on(&user))?;
                tx.settle_invite(&invite.id, InviteState::Withdrawn).await?;
                Ok(Outcome::Changed((), Event::InviteWithdrawn { invite: invite.id, user }))
            })
        })
        .await
    }

    /// The key that was offered for `user` is theirs from here on; its fingerprint. Whoever confirms names it, as its owner read it to them:
    /// without it they are told what was offered, and nothing is confirmed.
    pub async fn confirm_invite(&self, by: &Actor, user: &User, fingerprint: Option<&str>) -> Result<String, Error> {
        let (user, named, policy, actor) = (user.clone(), fingerprint.map(str::to_owned), self.in_force(), by.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let (invite, offer) = waiting(tx, &policy, &actor, &user).await?;
                compared(&actor, &user, &offer, named.as_deref())?;
                let key = offer.authorized_key.parse().map_err(|e| crate::store::StoreError::row("invites", invite.id.as_str(), e))?;
                let key = keep_key(tx, &user, &NewKey { key, name: "invited".into() }).await?;
                tx.settle_invite(&invite.id, InviteState::Confirmed).await?;
                let row = super::users::known(tx, &user).await?;
                let told = told(tx, &policy, &actor, &row.account, &format!("{actor} confirmed the key {key} of {user}")).await?;
                tx.tell(&user, &format!("{actor} confirmed your key {key}")).await?;
                Ok(Outcome::Changed(key.clone(), Event::InviteConfirmed { invite: invite.id, user, key, told }))
            })
        })
        .await
    }

    /// The key that was offered for `user` is not theirs.
    pub async fn refuse_invite(&self, by: &Actor, user: &User, note: Option<Note>) -> Result<String, Error> {
        let (user, policy, actor, salt) = (user.clone(), self.in_force(), by.clone(), self.salt());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let (invite, offer) = waiting(tx, &policy, &actor, &user).await?;
                let note = match note {
                    Some(note) => Some(tx.keep_text(note.as_str(), &salt).await?),
                    None => None,
                };
                tx.settle_invite(&invite.id, InviteState::Refused).await?;
                let key = offer.fingerprint;
                Ok(Outcome::Changed(key.clone(), Event::InviteRefused { invite: invite.id, user, key, note }))
            })
        })
        .await
    }
}

/// Checks whom, makes a new user known, and frees the place of an invitation whose time is over; the event.
async fn invited(tx: &mut Tx, policy: &Policy, by: &Actor, account: &Account, invite: &Invite) -> Result<Event, Stop> {
    let (user, now) = (&account.user, tx.now());
    if let Some(sponsor) = &invite.sponsor {
        sponsors(tx, sponsor, user).await?;
    }
    let known = tx.user(user).await?;
    let described = !account.roles.is_empty() || account.vendor.is_some() || account.until.is_some();
    let effective = match known {
        Some(_) if described => {
            let hint = format!("leave --role, --vendor and --until out to invite {user} to bring one more key");
            return Err(exists("user", user.as_str()).hint(hint).into());
        }
        Some(row) if !row.in_force(now) => {
            let refusal = Refusal::new("not-in-force", format!("{user} is disabled, or their contract is over"));
            return Err(refusal.hint(format!("`jit-bastion user enable {user}`, or `user contract {user} --until T`, first")).into());
        }
        Some(row) => row.account,
        None => {
            tx.add_user(account).await?;
            account.clone()
        }
    };
    if let Some(other) = tx.invite_of(user).await? {
        if other.goes_on(now) {
            let refusal = Refusal::new("exists", format!("{user} is invited already, {}", other.id));
            return Err(refusal.hint(format!("`jit-bastion user invite {user} --withdraw` takes it back")).into());
        }
        tx.settle_invite(&other.id, InviteState::Lapsed).await?;
    }
    let told = told(tx, policy, by, &effective, &format!("{by} invited {user} to bring a key")).await?;
    Ok(Event::UserInvited {
        invite: invite.id.clone(),
        user: user.clone(),
        roles: list(&account.roles),
        vendor: account.vendor.as_ref().map(ToString::to_string),
        until_us: account.until,
        sponsor: invite.sponsor.clone(),
        ends_us: invite.ends_at,
        told,
    })
}

async fn sponsors(tx: &mut Tx, sponsor: &User, user: &User) -> Result<(), Stop> {
    if sponsor == user {
        return Err(Refusal::new("own-key", "nobody confirms their own key").hint("name another user as the sponsor").into());
    }
    match tx.person(sponsor).await? {
        Some(_) => Ok(()),
        None => {
            let refusal = Refusal::new("no-such-user", format!("the sponsor {sponsor} is no user, or may do nothing now"));
            Err(refusal.hint("`jit-bastion user list` shows them").into())
        }
    }
}

/// The invitation of `user` and the key that waits, if `by` may confirm it. Who may not is told what they would be told if there were none.
async fn waiting(tx: &mut Tx, policy: &Policy, by: &Actor, user: &User) -> Result<(Invite, KeyOffer), Stop> {
    let none = || {
        Refusal::new("no-key-waits", format!("no key waits for you to confirm it as {user}'s"))
            .hint("an invited user brings one with `ssh CODE@jit-bastion`")
    };
    let now = tx.now();
    let invite = tx.invite_of(user).await?;
    let person = match by {
        Actor::User(who) => Some(present(tx, who).await?),
        Actor::Local(_) | Actor::System => None,
    };
    let invite = invite.ok_or_else(none)?;
    if let Some(person) = person {
        may_confirm(policy, &person, &invite).map_err(|refusal| refusal.unwrap_or_else(none))?;
    }
    let offer = invite.waits(now).cloned().ok_or_else(none)?;
    Ok((invite, offer))
}

/// May `who` confirm or refuse a key of this invitation? No: without a refusal of its own where they may not know of it.
fn may_confirm(policy: &Policy, who: &Person, invite: &Invite) -> Result<(), Option<Refusal>> {
    if who.user == invite.user {
        return Err(Some(Refusal::new("own-key", "nobody confirms their own key").hint("ask an administrator or your sponsor")));
    }
    let may = invite.sponsor.as_ref() == Some(&who.user) || policy.may_somewhere(who, Act::Users);
    if may { Ok(()) } else { Err(None) }
}

/// The fingerprint that was named is the one that was offered.
fn compared(by: &Actor, user: &User, offer: &KeyOffer, named: Option<&str>) -> Result<(), Refusal> {
    let program = if matches!(by, Actor::Local(_)) { "jit-bastion user confirm" } else { "ssh jit-bastion confirm" };
    let (given, key) = (named.map(str::trim), offer.fingerprint.as_str());
    if given.is_some_and(|given| given == key || key.strip_prefix("SHA256:") == Some(given)) {
        return Ok(());
    }
    let (code, what) = match given {
        None => ("compare", format!("{user} offered the key {key} at {} from {}", offer.at, offer.client)),
        Some(_) => ("other-key", format!("that is not the key that {user} offered, which is {key}, at {} from {}", offer.at, offer.client)),
    };
    Err(Refusal::new(code, what).hint(format!("let {user} read theirs to you; if it is the same: {program} {user} {key}")))
}

fn within(length: Span) -> Result<(), Refusal> {
    if length > LONGEST {
        return Err(Refusal::new("too-long", format!("{length} is longer than {LONGEST}, the most that a code counts")).hint("--for 24h"));
    }
    Ok(())
}

fn none_goes_on(user: &User) -> Refusal {
    Refusal::new("no-such-invite", format!("no invitation of {user} goes on")).hint(format!("`jit-bastion user show {user}` shows theirs"))
}

/// A code that lies about for longer is found.
const LONGEST: Span = Span::minutes(31 * 24 * 60);

/// What somebody offered with a code that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Whose key it will be.
    pub user: User,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Who may confirm beside the administrators.
    pub sponsor: Option<User>,
    /// Until when it can be confirmed.
    pub until: Timestamp,
}
