//! Which rule would apply, and why each of the others does not.

use super::judge::{Ground, Wish};
use super::rules::{Allow, Unmet, listed};
use super::{Policy, Verdict};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::RuleId;
use crate::access::person::Person;
use crate::access::refusal::Refusal;

/// Everything that the policy has to say about one wish.
#[derive(Debug, Clone)]
pub struct Explained {
    /// What it comes to.
    pub verdict: Result<Verdict, Refusal>,
    /// The allows that speak of the host, in file order.
    pub rules: Vec<Saying>,
    /// The floors that lie under the wish.
    pub floors: Vec<Saying>,
    /// The denies that speak of person, host and login; they apply where they take one of the kinds.
    pub denies: Vec<Saying>,
    /// The command that would ask for this, or for the nearest that passes.
    pub command: Option<String>,
}

/// One rule's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// Which rule.
    pub id: RuleId,
    /// It binds, lies under, or takes something.
    pub applies: bool,
    /// What it gives, demands or takes; or why it does not apply.
    pub words: String,
}

impl Policy {
    /// Explains a wish on a host that is visible to `who` (see [`Policy::look`]).
    pub fn explain(&self, who: &Person, host: &Host, wish: &Wish) -> Explained {
        let ground = self.ground(who, host, &wish.login);
        let verdict = self.judge(who, host, wish);
        let bound = verdict.as_ref().ok().map(|verdict| &verdict.rule.id);
        let about: Vec<&Allow> = self.allows.iter().filter(|allow| allow.speaks_of(host)).collect();
        let rules = about.iter().map(|allow| rule(allow, &ground, who, host, wish, bound)).collect();
        // Of the kinds that are wished for; where none was named, of those that come, or that could.
        let kinds = match (&wish.channels, &verdict) {
            (Some(named), _) => named.clone(),
            (None, Ok(verdict)) => verdict.channels.clone(),
            (None, Err(_)) => self
                .allows_for(who, host, &wish.login)
                .iter()
                .flat_map(|a| a.channels.channels().iter().cloned().collect::<Vec<Kind>>())
                .collect(),
        };
        let given = self
            .allows_for(who, host, &wish.login)
            .iter()
            .flat_map(|a| a.channels.channels().iter().cloned().collect::<Vec<Kind>>())
            .collect();
        let named = wish.channels.as_ref().unwrap_or(&given);
        Explained {
            rules,
            floors: floors(&ground, &kinds, wish),
            denies: denies(&ground, named),
            command: self.passing(who, host, wish).map(|command| command.to_string()),
            verdict,
        }
    }
}

fn rule(allow: &Allow, ground: &Ground<'_>, who: &Person, host: &Host, wish: &Wish, bound: Option<&RuleId>) -> Saying {
    let applies = bound == Some(&allow.id);
    let words = match ground.covered(allow, wish) {
        // Whom else it names is no outsider's concern.
        _ if !allow.speaks_to(who) && who.vendor.is_some() => "not for you".to_owned(),
        _ if !allow.speaks_to(who) => format!("not for you: it speaks to {}", listed(&allow.who)),
        _ if !allow.gives_login(&wish.login) => format!("not as {}: it gives {}", wish.login, listed(&allow.logins)),
        Some(_) if applies => "covers it and comes first: it binds".to_owned(),
        Some(_) if host.logins.contains(&wish.login) => "covers it too, but an earlier rule binds".to_owned(),
        Some(_) => format!("covers it, but {} has no login {}", host.name, wish.login),
        None => short(allow, ground, wish),
    };
    Saying { id: allow.id.clone(), applies, words }
}

/// Why a rule for this person and login does not cover the whole wish.
fn short(allow: &Allow, ground: &Ground<'_>, wish: &Wish) -> String {
    let asked = wish.channels.clone().unwrap_or_else(|| allow.channels.channels());
    let beyond = asked.only(|kind| !allow.channels.covers(kind));
    if !beyond.is_empty() {
        return format!("does not give {beyond}");
    }
    if let Some((deny, kind)) = ground.first_hit(&asked) {
        return format!("{} denies {kind}", deny.id);
    }
    if let Some(length) = wish.length.filter(|length| *length > allow.max_duration) {
        return format!("gives {} at most, not {length}", allow.max_duration);
    }
    match ground.first_unmet(&asked, wish.length, wish.why) {
        Some((floor, Unmet::TooLong(max))) => format!("floor {} leaves {max} of it", floor.id),
        Some((floor, Unmet::Reason(least))) => format!("floor {} wants a reason of {least} characters", floor.id),
        Some((floor, Unmet::Ticket)) => format!("floor {} wants a ticket", floor.id),
        None => "does not cover it".to_owned(),
    }
}

fn floors(ground: &Ground<'_>, kinds: &Channels, wish: &Wish) -> Vec<Saying> {
    let under = ground.floors_under(kinds).into_iter();
    under
        .map(|floor| {
            let met = floor.unmet(wish.length, wish.why).is_none();
            let demands = floor.demands().join("; ");
            Saying { id: floor.id.clone(), applies: true, words: if met { demands } else { format!("{demands} (not met)") } }
        })
        .collect()
}

fn denies(ground: &Ground<'_>, kinds: &Channels) -> Vec<Saying> {
    let said = |deny: &&super::Deny| {
        let taken = kinds.only(|kind| deny.scope.hits(ground.host, kind));
        let applies = !taken.is_empty();
        let words = if applies { format!("takes {taken}: {}", deny.because) } else { format!("takes nothing of this: {}", deny.because) };
        Saying { id: deny.id.clone(), applies, words }
    };
    ground.denies.iter().map(said).collect()
}
