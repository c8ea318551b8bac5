//! `extend`: more time, at once where the rule lets its holder, else by a request.

use serde_json::json as object;

use super::parse::ExtendWords;
use super::request::filed;
use super::{Answer, Caller, json};
use crate::access::grant::Grant;
use crate::access::request::Request;
use crate::access::time::Span;
use crate::broker::{Broker, Error, Extended};

/// `extend GRANT --for D --reason TEXT`
pub(super) async fn extend(broker: &Broker, caller: &Caller, words: &ExtendWords) -> Result<Answer, Error> {
    let person = caller.human("extend", "GRANT --for D --reason WHY")?;
    let Extended { grant, filed: asked } = broker.extend_grant(person, &words.id, words.length, words.reason.clone()).await?;
    let now = broker.now();
    let human = match &asked {
        None => format!("{} extended by {}, until {}\n", grant.id, words.length, grant.ends),
        Some(asked) => {
            let mut human = filed(broker, asked, caller).await?.human;
            human.push_str(&alone(&asked.request, &grant, words.length));
            human
        }
    };
    let told = object!({
        "grant": json::grant(&grant, now),
        "request": asked.as_ref().map(|asked| json::request(&asked.request, now)),
        "attached": asked.as_ref().map(|asked| asked.attached),
    });
    Ok(Answer::done(human, told))
}

/// How much more they could have at once instead; empty where that is nothing.
fn alone(request: &Request, grant: &Grant, asked: Span) -> String {
    match request.rule.extend {
        Some(extend) if extend.length < asked && grant.by_oneself(extend.length, &request.rule).is_some() => {
            format!(
                "hint: up to {} you may take without asking: ssh jit-bastion extend {} --for {} --reason WHY\n",
                extend.length, grant.id, extend.length
            )
        }
        _ => String::new(),
    }
}
