//! What programs read: one object or one array, field names in the words of the product, times and lengths as text.

use serde_json::{Value, json};

use super::text::risky;
use crate::access::channels::Channels;
use crate::access::grant::Grant;
use crate::access::names::Note;
use crate::access::policy::NAMELESS;
use crate::access::refusal::Refusal;
use crate::access::request::{Approval, Request, State};
use crate::access::time::Timestamp;
use crate::broker::{AuditRow, SessionRow};

/// As a text that ends in a line feed. What could drive a terminal or reorder what is read is written as `\uXXXX`, which is the same JSON.
pub fn print(value: &Value) -> String {
    let plain = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
    let mut out = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        if risky(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out + "\n"
}

/// `{"error":{"code","message","next"}}`.
pub(super) fn error(code: &str, message: &str, next: Option<&str>) -> Value {
    json!({ "error": { "code": code, "message": message, "next": next } })
}

/// A refusal.
pub(super) fn refusal(refusal: &Refusal) -> Value {
    error(refusal.code, &refusal.message, refusal.next.as_deref())
}

/// The same for people of a vendor: whoever approves is told by role and never by name.
pub(super) fn nameless(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(nameless).collect(),
        Value::Object(members) => {
            let member = |(key, value): (String, Value)| match value {
                Value::Array(named) if key == "approvers" => (key, named.into_iter().map(role_or_nobody).collect()),
                value => (key, nameless(value)),
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}

fn role_or_nobody(who: Value) -> Value {
    match who.as_str() {
        Some(named) if named.starts_with("user:") => NAMELESS.into(),
        _ => who,
    }
}

fn channels(channels: &Channels) -> Value {
    channels.iter().map(|kind| Value::String(kind.to_string())).collect()
}

fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

fn approval(yes: &Approval) -> Value {
    let signature = yes
        .signature
        .as_ref()
        .map(|signature| json!({ "key": signature.key(), "sha256": signature.digest(), "text": signature.armored() }));
    json!({
        "signature": signature,
        "by": yes.by.as_str(),
        "at": time(yes.at),
        "note": yes.note.as_ref().map(Note::as_str),
        "for": yes.length.map(|length| length.to_string()),
        "channels": yes.channels.as_ref().map(channels),
    })
}

/// A request; `state` says `lapsed` as soon as its time is over, also before the store does.
pub fn request(request: &Request, now: Timestamp) -> Value {
    let ask = &request.asked;
    let mut value = json!({
        "request": request.id.as_str(),
        "state": state(request, now),
        "user": ask.user.as_str(),
        "host": ask.host.as_str(),
        "login": ask.login.as_str(),
        "channels": channels(&ask.channels),
        "from": ask.when.from.map(time),
        "until": ask.when.until().map(time),
        "for": ask.when.length.to_string(),
        "extends": ask.extends.as_ref().map(crate::access::names::GrantId::as_str),
        "reason": ask.reason.as_str(),
        "ticket": ask.ticket.as_ref().map(crate::access::names::Ticket::as_str),
        "rule": request.rule.id.as_str(),
        "policy": request.rule.policy,
        "quorum": request.rule.quorum(),
        "signed": request.rule.signed,
        "egress": request.rule.egress.map(|egress| egress.as_bytes()),
        "keep": request.rule.keep,
        "statements": request.rule.statements,
        "direct": request.rule.direct,
        "approvers": request.rule.named().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "approvals": request.approvals().iter().map(approval).collect::<Vec<_>>(),
        "filed": time(request.filed_at),
        "lapses": time(request.lapses_at()),
        "digest": request.digest(),
    });
    match &request.state {
        State::Approved { grant, .. } => value["grant"] = Value::String(grant.to_string()),
        State::Denied { by } => value["denied"] = approval(by),
        _ => {}
    }
    value
}

/// The word for where a request stands.
pub(super) fn state(request: &Request, now: Timestamp) -> &'static str {
    match &request.state {
        State::Pending { .. } if !request.is_open(now) => State::Lapsed.as_str(),
        state => state.as_str(),
    }
}

/// A grant.
pub(super) fn grant(grant: &Grant, now: Timestamp) -> Value {
    json!({
        "grant": grant.id.as_str(),
        "state": grant.state(now).as_str(),
        "request": grant.request.as_str(),
        "user": grant.user.as_str(),
        "host": grant.host.as_str(),
        "login": grant.login.as_str(),
        "channels": channels(&grant.channels),
        "rule": grant.rule.as_str(),
        "begins": time(grant.begins),
        "ends": time(grant.ends),
        "extended": grant.extended,
        "finished_by": grant.finished.as_ref().map(|f| f.by.to_string()),
        "finished": grant.finished.as_ref().map(|f| time(f.at)),
    })
}

/// A session, with its recordings if it has ended.
pub fn session(row: &SessionRow) -> Value {
    json!({
        "session": row.id.as_str(),
        "state": if row.ended.is_some() { "ended" } else { "live" },
        "ending": row.ended.map(|(_, why)| why.as_str()),
        "user": row.user.as_str(),
        "host": row.host.as_str(),
        "login": row.login.as_str(),
        "grant": row.grant.as_str(),
        "request": row.request.as_str(),
        "rule": row.rule.as_str(),
        "client": row.client,
        "node": row.node,
        "started": time(row.started_at),
        "ended": row.ended.map(|(at, _)| time(at)),
        "late_host_ms": row.late_host_ms,
        "late_client_ms": row.late_client_ms,
        "recordings": recordings(row),
    })
}

/// The recordings of a session.
pub(super) fn recordings(row: &SessionRow) -> Vec<Value> {
    let one = |channel: &crate::broker::ChannelRow| {
        json!({
            "channel": format!("{}.{}", row.id, channel.number),
            "session": row.id.as_str(),
            "kind": channel.kind,
            "user": row.user.as_str(),
            "host": row.host.as_str(),
            "login": row.login.as_str(),
            "grant": row.grant.as_str(),
            "started": time(row.started_at),
            "seconds": channel.duration.as_secs(),
            "bytes": channel.bytes,
            "file": row.sealed.as_ref().map(|(folder, _)| format!("{folder}/{}", channel.file)),
            "sha256": channel.sha256.to_string(),
        })
    };
    row.channels.iter().map(one).collect()
}

/// The recording of `host audit`.
pub(super) fn look(row: &AuditRow) -> Value {
    json!({
        "channel": format!("{}.1", row.id),
        "session": row.id.as_str(),
        "kind": "audit",
        "auditor": row.actor.to_string(),
        "host": row.host.as_str(),
        "login": row.login.as_str(),
        "started": time(row.started_at),
        "file": row.sealed.as_ref().map(|(folder, _)| format!("{folder}/01-exec.cast")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_of_a_vendor_read_no_names_of_approvers() {
        let told = nameless(json!([{ "user": "vic", "approvers": ["role:owner", "user:bob"], "deeper": { "approvers": ["user:ann"] } }]));
        let expected = json!([{ "user": "vic", "approvers": ["role:owner", NAMELESS], "deeper": { "approvers": [NAMELESS] } }]);
        assert_eq!(told, expected);
    }

    #[test]
    fn json_cannot_drive_a_terminal_and_says_the_same() {
        let value = json!({ "reason": "a\u{1b}[2J\u{9b}b\u{202e}é\u{7f}" });
        let text = print(&value);
        assert_eq!(text, "{\"reason\":\"a\\u001b[2J\\u009bb\\u202eé\\u007f\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
