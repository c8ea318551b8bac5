//! The `[[test]]` section: asks with the answer that the administrator expects; run by `check` and before a policy is taken into use.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::judge::Wish;
use super::{Policy, PolicyError};
use crate::access::channels::Channels;
use crate::access::host::{Address, Host, parse_label};
use crate::access::names::{HostName, Login, Role, RuleId, User, Vendor};
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    decision: Decision,
    rule: Option<RuleId>,
    quorum: Option<u32>,
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
        let given = &trial.given;
        let who = Person { user: given.user.clone(), roles: given.roles.iter().cloned().collect(), vendor: given.vendor.clone() };
        let wish = Wish { login: given.login.clone(), channels: given.channels.clone(), length: given.length, why: None };
        let judged = self.look(&who, Some(host), false, host.name.as_str()).and_then(|host| self.judge(&who, host, &wish));
        let (decision, rule, quorum, why) = match &judged {
            Ok(verdict) if verdict.rule.quorum() == 0 => (Decision::Grant, Some(verdict.rule.id.as_str()), 0, String::new()),
            Ok(verdict) => (Decision::Approve, Some(verdict.rule.id.as_str()), verdict.rule.quorum(), String::new()),
            Err(refusal) => (
                Decision::Refuse,
                self.denies.iter().map(|d| d.id.as_str()).find(|id| refusal.message.starts_with(&format!("rule {id} denies"))),
                0,
                format!(": {}", refusal.message),
            ),
        };
        let expect = &trial.expect;
        let fits = decision == expect.decision
            && expect.rule.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == rule)
            && expect.quorum.is_none_or(|wanted| wanted == quorum);
        let by = match &judged {
            Ok(verdict) => format!(", rule {}, quorum {quorum}", verdict.rule.id),
            Err(_) => String::new(),
        };
        (!fits).then(|| {
            let message = format!("test failed: expected {}, got {}{by}{why}", trial.expected(), decision.as_str());
            PolicyError::at(&self.source.file, &self.source.text, trial.at.clone(), message)
        })
    }
}

impl Trial {
    fn expected(&self) -> String {
        let rule = self.expect.rule.as_ref().map_or_else(String::new, |rule| format!(", rule {rule}"));
        let quorum = self.expect.quorum.map_or_else(String::new, |quorum| format!(", quorum {quorum}"));
        format!("{}{rule}{quorum}", self.expect.decision.as_str())
    }
}
