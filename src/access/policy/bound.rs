//! The rule that bound a request, with the floors that lay under it: how many humans it takes, who they can be, what it demands.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::keep::{Keep, Statements};
use super::selector::Who;
use crate::access::names::{RuleId, User};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::size::Size;
use crate::access::time::Span;

/// Who decides, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvers {
    /// Any of these.
    pub by: Vec<Who>,
    /// So many different humans, at least 1.
    pub quorum: u32,
}

impl Approvers {
    fn speak_of(&self, who: &Person) -> bool {
        self.by.iter().any(|by| by.matches(who))
    }

    fn same_group(&self, other: &Self) -> bool {
        self.by.iter().collect::<BTreeSet<_>>() == other.by.iter().collect::<BTreeSet<_>>()
    }
}

/// More time without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfExtend {
    /// At most so much each time.
    pub length: Span,
    /// So many times, at least 1.
    pub times: u32,
}

/// A floor that wants approvals of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The floor's name in refusals and explanations.
    pub id: RuleId,
    /// At least one different human of these, and so many humans in all.
    pub approve: Approvers,
}

/// The one allow that covers a request, as it stood when the request was filed, tightened by the floors of that moment. Kept with the
/// request, so that a later policy does not change what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundRule {
    /// The rule's id.
    pub id: RuleId,
    /// The rule as it was written.
    pub text: String,
    /// SHA-256 of the whole policy file, in hex.
    pub policy: String,
    /// The rule's own approvers. None and no floors: granted at once. Ask [`BoundRule::quorum`], which knows the floors too.
    pub approve: Option<Approvers>,
    /// The longest grant.
    pub max_duration: Span,
    /// The length when none was asked for.
    pub default_duration: Span,
    /// A request that nobody answers ends after this.
    pub lapse: Span,
    /// A session without a sign of life ends after this (HIPAA 45 CFR 164.312(a)(2)(iii), automatic logoff).
    #[serde(default)]
    pub idle: Option<Span>,
    /// Also while a command runs: otherwise nobody is idle as long as one does.
    #[serde(default)]
    pub idle_commands: bool,
    /// What is typed is recorded too.
    #[serde(default)]
    pub record_input: bool,
    /// What stands on the screen is kept out of the index that `recordings --text` looks into.
    #[serde(default)]
    pub unindexed: bool,
    /// How the holder extends a grant by themselves; none: an extension is approved like a request.
    #[serde(default)]
    pub extend: Option<SelfExtend>,
    /// An approval must carry a signature by the approver's key.
    #[serde(default)]
    pub signed: bool,
    /// Visits need an access certificate for this grant.
    #[serde(default)]
    pub require_cert: bool,
    /// So many bytes may go towards the client, over all sessions of a grant.
    #[serde(default)]
    pub egress: Option<Size>,
    /// The same when it was filed: what the approval text says, whatever floors have come since.
    #[serde(default)]
    pub egress_filed: Option<Size>,
    /// How much is kept of commands and forwards; none: commands whole, of forwards no content.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// How statements to a database are told.
    #[serde(default)]
    pub statements: Statements,
    /// Forwards straight through the outer connection to the host's ports.
    #[serde(default)]
    pub direct: bool,
    /// The fewest characters of a reason.
    #[serde(default)]
    pub reason_min_length: Option<u32>,
    /// A ticket must be named.
    #[serde(default)]
    pub ticket: bool,
    /// The floors that want approvals of their own.
    #[serde(default)]
    pub floors: Vec<Floor>,
}

impl BoundRule {
    /// How many different humans must say yes; 0 means granted at once. The largest quorum of rule and floors, and never fewer than the
    /// rule's own approvers and one human for each further group that a floor names.
    pub fn quorum(&self) -> u32 {
        let largest = self.sets().map(|approve| approve.quorum).max().unwrap_or(0);
        largest.max(u32::try_from(self.slots().len()).unwrap_or(u32::MAX))
    }

    /// May `who` decide about a request of `asker` under this rule? Nobody decides about their own.
    pub fn may_decide(&self, who: &Person, asker: &User) -> Result<(), Refusal> {
        if who.user == *asker {
            return Err(Refusal::new("own-request", "nobody decides about their own request")
                .hint(format!("these can: {}; `withdraw` takes it back", self.approver_words_for(who))));
        }
        match self.sets().any(|approve| approve.speak_of(who)) {
            true => Ok(()),
            false => Err(Refusal::new("not-approver", format!("rule {} does not name you as an approver", self.id))
                .hint(format!("these can: {}", self.approver_words_for(who)))),
        }
    }

    /// Who decides, as `reader` may read it: people of a vendor read roles and no names.
    pub fn approver_words_for(&self, reader: &Person) -> String {
        if reader.vendor.is_none() {
            return self.approver_words();
        }
        let words: BTreeSet<String> = self.named().into_iter().map(Who::for_vendors).collect();
        words.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// How many more humans must say yes at least, when `yeses` have (each as their roles are now). A human counts once, for one group; the asker
    /// and whoever may not decide count for nothing. 0: enough have spoken.
    pub fn missing(&self, asker: &User, yeses: &[Person]) -> u32 {
        let mut seen = BTreeSet::new();
        let counting: Vec<&Person> = yeses.iter().filter(|who| seen.insert(&who.user) && self.may_decide(who, asker).is_ok()).collect();
        let slots = self.slots();
        let unfilled = slots.len() - matching(&slots, &counting);
        // A quorum counts those of its own list and of the rule's, never those whom another floor names: so no floor loosens another.
        let own = |who: &&&Person| self.approve.as_ref().is_some_and(|own| own.speak_of(who));
        let counted = |approve: &Approvers| counting.iter().filter(|who| own(who) || approve.speak_of(who)).count();
        let short = self.sets().map(|approve| (approve.quorum as usize).saturating_sub(counted(approve))).max().unwrap_or(0);
        u32::try_from(unfilled.max(short)).unwrap_or(u32::MAX)
    }

    /// Everybody whom the rule and its floors name as approvers, each selector once, in their order.
    pub fn named(&self) -> Vec<&Who> {
        let mut seen = BTreeSet::new();
        self.sets().flat_map(|approve| &approve.by).filter(|who| seen.insert(*who)).collect()
    }

    /// `role:phi-owner, user:bob`; with floors of other groups `role:phi-owner + role:security`. `nobody` when it is granted at once.
    pub fn approver_words(&self) -> String {
        let words = |approve: &Approvers| approve.by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self.groups().into_iter().map(|(approve, _)| words(approve)).collect::<Vec<_>>() {
            none if none.is_empty() => "nobody".into(),
            groups => groups.join(" + "),
        }
    }

    /// Each group that must speak, with how many of it at least: the rule's own first, then those of floors that name another.
    pub fn groups(&self) -> Vec<(&Approvers, u32)> {
        let mut groups: Vec<(&Approvers, u32)> = self.approve.iter().map(|approve| (approve, approve.quorum)).collect();
        for floor in &self.floors {
            if !groups.iter().any(|(known, _)| known.same_group(&floor.approve)) {
                groups.push((&floor.approve, 1));
            }
        }
        groups
    }

    fn sets(&self) -> impl Iterator<Item = &Approvers> {
        self.approve.iter().chain(self.floors.iter().map(|floor| &floor.approve))
    }

    /// One place for each human whom a group must contribute.
    fn slots(&self) -> Vec<&Approvers> {
        let groups = self.groups().into_iter();
        groups.flat_map(|(approve, least)| std::iter::repeat_n(approve, usize::try_from(least.min(MOST_HUMANS)).unwrap_or(0))).collect()
    }
}

/// How many of the places can be filled at once, each by a human of its own (Kuhn's augmenting paths; the sets are small).
fn matching(slots: &[&Approvers], humans: &[&Person]) -> usize {
    fn place(human: usize, slots: &[&Approvers], humans: &[&Person], tried: &mut [bool], taken: &mut [Option<usize>]) -> bool {
        for (at, slot) in slots.iter().enumerate() {
            let fits = humans.get(human).is_some_and(|who| slot.speak_of(who));
            match tried.get_mut(at) {
                Some(tried) if fits && !*tried => *tried = true,
                _ => continue,
            }
            let free = match taken.get(at).copied().flatten() {
                None => true,
                Some(other) => place(other, slots, humans, tried, taken),
            };
            if free && let Some(here) = taken.get_mut(at) {
                *here = Some(human);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; slots.len()];
    (0..humans.len()).filter(|human| place(*human, slots, humans, &mut vec![false; slots.len()], &mut taken)).count()
}

/// No quorum is larger: a rule that wants more humans than this wants nobody to be let in.
pub(super) const MOST_HUMANS: u32 = 20;
