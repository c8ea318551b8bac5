//! The `[[test]]` section: asks with the answer that the administrator expects; run by `check` and before a policy is taken into use.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::judge::{Why, Wish};
use super::{Policy, PolicyError};
use crate::access::channels::Channels;
use crate::access::host::{Address, Host, parse_label};
use crate::access::names::{HostName, Login, Reason, Role, RuleId, Ticket, User, Vendor, escaped};
use crate::access::person::Person;
use crate::access::time::Span;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrial {
    given: Given,
    expect: Expect,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    user: User,
    #[serde(default)]
    roles: Vec<Role>,
    vendor: Option<Vendor>,
    host: HostName,
    labels: Option<Vec<String>>,
    login: Login,
    channels: Option<Channels>,
    #[serde(rename = "for")]
    length: Option<Span>,
    reason: Option<Reason>,
    ticket: Option<Ticket>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    decision: Decision,
    rule: Option<RuleId>,
    quorum: Option<u32>,
    because: Option<String>,
}

/// What becomes of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    /// Somebody must approve it.
    Approve,
    /// Granted at once.
    Grant,
    /// Refused.
    Refuse,
}

impl Decision {
    fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Grant => "grant",
            Self::Refuse => "refuse",
        }
    }
}

/// One test of the policy file.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    given: Given,
    expect: Expect,
    labels: Option<Vec<(String, String)>>,
    at: Range<usize>,
}

impl Trial {
    pub(super) fn read(raw: Spanned<RawTrial>, error: impl Fn(Range<usize>, String) -> PolicyError) -> Result<Self, PolicyError> {
        let at = raw.span();
        let RawTrial { given, expect } = raw.into_inner();
        let labels = given.labels.as_ref().map(|labels| labels.iter().map(|l| parse_label(l)).collect::<Result<Vec<_>, _>>());
        let labels = labels.transpose().map_err(|bad| error(at.clone(), bad.to_string()))?;
        if expect.decision == Decision::Refuse && expect.quorum.is_some() {
            return Err(error(at, "a refused ask has no quorum".into()));
        }
        if expect.decision != Decision::Refuse && expect.because.is_some() {
            return Err(error(at, "`because` is what a refusal says; this test expects none".into()));
        }
        Ok(Self { given, expect, labels, at })
    }

    /// The registered host, or one with this name, the labels given and the login asked for.
    fn host(&self, registered: Option<Host>) -> Host {
        let mut host = registered.unwrap_or_else(|| Host {
            name: self.given.host.clone(),
            aliases: vec![],
            address: Address { host: self.given.host.to_string(), port: 22 },
            trust: vec![],
            labels: std::collections::BTreeMap::new(),
            logins: vec![self.given.login.clone()],
        });
        if let Some(labels) = &self.labels {
            host.labels = labels.iter().cloned().collect();
        }
        host
    }
}

impl Policy {
    /// Runs every `[[test]]`; `host` looks a registered host up by name (a test may give `labels` for one that is not, or not yet).
    /// Returns those that fail, each with its place and what came out instead.
    pub fn run_tests(&self, host: impl Fn(&HostName) -> Option<Host>) -> Vec<PolicyError> {
        self.trials.iter().filter_map(|trial| self.fails(trial, &trial.host(host(&trial.given.host)))).collect()
    }

    /// How many `[[test]]` there are.
    pub fn test_count(&self) -> usize {
        self.trials.len()
    }

    fn fails(&self, trial: &Trial, host: &Host) -> Option<PolicyError> {
        let (given, expect) = (&trial.given, &trial.expect);
        let who = Person { user: given.user.clone(), roles: given.roles.iter().cloned().collect(), vendor: given.vendor.clone() };
        // Left out means that nothing was said of it; a ticket alone, or a reason alone, is half of what floors ask for.
        let said = given.reason.is_some() || given.ticket.is_some();
        let reason = given.reason.as_ref().map_or(usize::MAX, |reason| reason.as_str().chars().count());
        let why = said.then(|| Why { reason, ticket: given.ticket.is_some() });
        let wish = Wish { login: given.login.clone(), channels: given.channels.clone(), length: given.length, why };
        let judged = self.look(&who, Some(host), false, host.name.as_str()).and_then(|host| self.judge(&who, host, &wish));
        let (decision, rule, quorum) = match &judged {
            Ok(verdict) if verdict.rule.quorum() == 0 => (Decision::Grant, Some(verdict.rule.id.as_str()), 0),
            Ok(verdict) => (Decision::Approve, Some(verdict.rule.id.as_str()), verdict.rule.quorum()),
            Err(refusal) => (Decision::Refuse, self.refuser(&refusal.message), 0),
        };
        let because = |wanted: &String| judged.as_ref().is_err_and(|refusal| refusal.message.contains(wanted.as_str()));
        let fits = decision == expect.decision
            && expect.rule.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == rule)
            && expect.quorum.is_none_or(|wanted| wanted == quorum)
            && expect.because.as_ref().is_none_or(because);
        let got = match &judged {
            Ok(verdict) => format!("{}, rule {}, quorum {quorum}", decision.as_str(), verdict.rule.id),
            Err(refusal) => format!("{}: {}", decision.as_str(), refusal.message),
        };
        (!fits).then(|| {
            let message = format!("test failed: expected {}, got {got}", trial.expected());
            PolicyError::at(&self.source.file, &self.source.text, trial.at.clone(), message)
        })
    }

    /// The deny or floor whose words a refusal begins with.
    fn refuser(&self, message: &str) -> Option<&str> {
        let denies = self.denies.iter().map(|deny| deny.id.as_str()).find(|id| message.starts_with(&format!("rule {id} denies ")));
        denies.or_else(|| self.requires.iter().map(|floor| floor.id.as_str()).find(|id| message.contains(&format!("floor {id} "))))
    }
}

impl Trial {
    fn expected(&self) -> String {
        let rule = self.expect.rule.as_ref().map_or_else(String::new, |rule| format!(", rule {rule}"));
        let quorum = self.expect.quorum.map_or_else(String::new, |quorum| format!(", quorum {quorum}"));
        let because = self.expect.because.as_ref().map_or_else(String::new, |because| format!(", because {}", escaped(because)));
        format!("{}{rule}{quorum}{because}", self.expect.decision.as_str())
    }
}
