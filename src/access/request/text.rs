//! The exact text that an approver says yes to.

use sha2::{Digest, Sha256};

use super::Request;
use crate::access::channels::Channels;
use crate::access::names::{Ticket, escaped};
use crate::access::policy::{Statements, hex};
use crate::access::signature::NAMESPACE;
use crate::access::time::Span;

impl Request {
    /// What is asked, version 1: one `key: value` a line in this order, each line ended by a line feed, values escaped so that no text can
    /// forge a line (`\\` is a backslash). `extends` and `until` stand there only where more time of a grant is asked for: `from` is the
    /// end that it had then; `egress`, `keep`, `statements` and `direct` only where the
    /// rule that bound has them. Never changes for a request, whatever becomes of it.
    pub fn canonical_text(&self) -> String {
        self.approval_text(None, None)
    }

    /// What an approver signs: the canonical text, and after it what they shorten (`approved-for`) and narrow (`approved-channels`), if
    /// they do.
    pub fn approval_text(&self, length: Option<Span>, channels: Option<&Channels>) -> String {
        let ask = &self.asked;
        let from = ask.when.from.map_or_else(|| "when approved".into(), |from| from.to_string());
        let more_time = ask.extends.as_ref().zip(ask.when.until()).map(|(grant, until)| (grant.to_string(), until.to_string()));
        let mut lines = vec![
            ("request", self.id.to_string()),
            ("user", ask.user.to_string()),
            ("host", ask.host.to_string()),
            ("login", ask.login.to_string()),
            ("channels", ask.channels.to_string()),
            ("from", from),
            ("for", ask.when.length.to_string()),
            ("reason", ask.reason.to_string()),
            ("ticket", ask.ticket.as_ref().map_or("", Ticket::as_str).to_owned()),
            ("rule", self.rule.id.to_string()),
            ("policy", self.rule.policy.clone()),
            ("filed", self.filed_at.to_string()),
        ];
        if let Some((grant, until)) = more_time {
            lines.extend([("extends", grant), ("until", until)]);
        }
        lines.extend(self.rule.egress_filed.map(|egress| ("egress", egress.to_string())));
        lines.extend(self.rule.keep.map(|keep| ("keep", keep.to_string())));
        lines.extend((self.rule.statements == Statements::Whole).then(|| ("statements", "whole".to_owned())));
        lines.extend(self.rule.direct.then(|| ("direct", "true".to_owned())));
        lines.extend(length.map(|length| ("approved-for", length.to_string())));
        lines.extend(channels.map(|channels| ("approved-channels", channels.to_string())));
        let mut text = String::from("jit-bastion approval 1\n");
        for (key, value) in lines {
            text.push_str(key);
            text.push_str(": ");
            text.push_str(&escaped(&value.replace('\\', "\\\\")));
            text.push('\n');
        }
        text
    }

    /// SHA-256 of [`Request::canonical_text`], in hex.
    pub fn digest(&self) -> String {
        sha256(&self.canonical_text())
    }

    /// Is `digest` that of the canonical text, or of the text with what the approver shortens and narrows?
    pub fn is_digest(&self, digest: &str, length: Option<Span>, channels: Option<&Channels>) -> bool {
        [self.digest(), sha256(&self.approval_text(length, channels))].iter().any(|right| right.eq_ignore_ascii_case(digest))
    }

    /// The line that signs and approves, as somebody would type it.
    pub fn signing_command(&self, length: Option<Span>, channels: Option<&Channels>) -> String {
        let length = length.map_or_else(String::new, |length| format!(" --for {length}"));
        let channels = channels.map_or_else(String::new, |channels| format!(" --channels {channels}"));
        let (id, less) = (&self.id, format!("{length}{channels}"));
        format!(
            "ssh jit-bastion show {id} --text{less} | ssh-keygen -Y sign -n {NAMESPACE} -f KEY | ssh jit-bastion approve {id}{less} --signature -"
        )
    }
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
