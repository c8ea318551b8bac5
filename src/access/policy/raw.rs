//! The policy file as TOML gives it: every key that has an effect, and no other.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::keep::{Keep, Statements};
use super::trial::RawTrial;
use crate::access::size::Size;
use crate::access::time::Span;

pub(super) type Texts = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    #[serde(default)]
    pub allow: Vec<Spanned<RawAllow>>,
    #[serde(default)]
    pub require: Vec<Spanned<RawRequire>>,
    #[serde(default)]
    pub deny: Vec<Spanned<RawDeny>>,
    #[serde(default)]
    pub may: Vec<Spanned<RawMay>>,
    #[serde(default)]
    pub test: Vec<Spanned<RawTrial>>,
    pub mask: Option<Spanned<RawMask>>,
}

impl RawPolicy {
    /// Where each table begins.
    pub fn starts(&self) -> Vec<usize> {
        let rules = self.allow.iter().map(|table| table.span().start).chain(self.require.iter().map(|table| table.span().start));
        let denies = self.deny.iter().map(|table| table.span().start).chain(self.may.iter().map(|table| table.span().start));
        let others = self.test.iter().map(|table| table.span().start).chain(self.mask.iter().map(|table| table.span().start));
        rules.chain(denies).chain(others).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawAllow {
    pub id: Spanned<String>,
    pub who: Texts,
    pub hosts: Texts,
    pub logins: Texts,
    pub channels: Texts,
    pub max_duration: Spanned<Span>,
    pub default_duration: Option<Spanned<Span>>,
    pub approve: Option<Spanned<RawApprove>>,
    pub extend: Option<Spanned<RawExtend>>,
    pub idle: Option<Spanned<Span>>,
    #[serde(default)]
    pub idle_commands: bool,
    #[serde(default)]
    pub record_input: bool,
    pub index: Option<bool>,
    #[serde(default)]
    pub require_cert: bool,
    pub egress: Option<Size>,
    pub keep: Option<Keep>,
    #[serde(default)]
    pub statements: Statements,
    #[serde(default)]
    pub direct: bool,
    pub lapse: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApprove {
    pub by: Texts,
    pub quorum: Option<Spanned<u32>>,
    #[serde(default)]
    pub signed: bool,
}

impl RawApprove {
    /// What an error about its number of humans points at.
    pub fn place(&self) -> Range<usize> {
        self.quorum.as_ref().map_or_else(|| self.by.span(), Spanned::span)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtend {
    #[serde(rename = "self")]
    pub length: Spanned<Span>,
    pub times: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawReason {
    pub min_length: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeny {
    pub id: Spanned<String>,
    pub who: Option<Texts>,
    pub hosts: Option<Texts>,
    pub logins: Option<Texts>,
    pub channels: Option<Texts>,
    pub because: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawRequire {
    pub id: Option<Spanned<String>>,
    pub who: Option<Texts>,
    pub hosts: Option<Texts>,
    pub logins: Option<Texts>,
    pub channels: Option<Texts>,
    pub reason: Option<Spanned<RawReason>>,
    #[serde(default)]
    pub ticket: bool,
    pub idle: Option<Spanned<Span>>,
    #[serde(default)]
    pub idle_commands: bool,
    pub max_duration: Option<Spanned<Span>>,
    #[serde(default)]
    pub record_input: bool,
    pub index: Option<bool>,
    #[serde(default)]
    pub require_cert: bool,
    pub egress: Option<Size>,
    pub approve: Option<Spanned<RawApprove>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMask {
    pub patterns: Texts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMay {
    pub who: Texts,
    pub r#do: Texts,
    pub hosts: Texts,
}
