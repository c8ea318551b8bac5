//! `approve`, `deny`: an approver's yes or no.

use super::parse::ApproveWords;
use super::request::counts_no_more;
use super::show::outcome;
use super::sink::{INPUT_AT_MOST, Sink};
use super::{Answer, Caller, json};
use crate::access::names::{Note, RequestId};
use crate::access::refusal::Refusal;
use crate::access::signature::Signature;
use crate::broker::{Broker, Decided, Error, Yes};

/// `approve ID ..`
pub(super) async fn approve(broker: &Broker, caller: &Caller, words: &ApproveWords, sink: &mut dyn Sink) -> Result<Answer, Error> {
    let person = caller.human("approve", "ID")?;
    let id = &words.id;
    let yes = Yes {
        note: words.note.clone(),
        length: words.length,
        channels: words.channels.clone(),
        signature: signature(words.signature.as_deref(), sink).await?,
        digest: words.digest.clone(),
    };
    let Decided { request, grant, lost } = broker.approve(person, id, yes).await?;
    let now = broker.now();
    let ask = &request.asked;
    let human = match &grant {
        Some(grant) if ask.extends.is_some() => {
            format!("{id} approved, {}: {} as {} on {} until {} now\n", grant.id, grant.user, grant.login, grant.host, grant.ends)
        }
        Some(grant) => {
            let begins = if grant.begins > now { format!(" from {}", grant.begins) } else { String::new() };
            let (id, user, login, host) = (&grant.id, &grant.user, &grant.login, &grant.host);
            format!("{} approved, {id}: {user} as {login} on {host}{begins} until {} ({})\n", request.id, grant.ends, grant.channels)
        }
        None => {
            let mut text = format!("{}; {} as {} on {}\n", outcome(&request, now), ask.user, ask.login, ask.host);
            text.push_str(&counts_no_more(&lost));
            text
        }
    };
    Ok(Answer::done(human, json::request(&request, now)))
}

/// The signature that was given: in a word, or on standard input.
async fn signature(given: Option<&str>, sink: &mut dyn Sink) -> Result<Option<Signature>, Refusal> {
    let text = match given {
        None => return Ok(None),
        Some("-") => {
            let input = sink.input(INPUT_AT_MOST).await;
            let none = |e| Refusal::new("bad-signature", format!("no signature came on standard input: {e}"));
            let bytes = input.map_err(|e| none(e).hint("ssh jit-bastion approve ID --signature - < FILE.sig"))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Some(word) => word.to_owned(),
    };
    let parsed = Signature::parse(&text).map_err(|e| {
        Refusal::new("bad-signature", e.to_string()).hint("`ssh jit-bastion show ID --text` prints the text that is to be signed")
    })?;
    Ok(Some(parsed))
}

/// `deny ID --note TEXT`
pub(super) async fn deny(broker: &Broker, caller: &Caller, id: &RequestId, note: &Note) -> Result<Answer, Error> {
    let person = caller.human("deny", "ID --note WHY")?;
    let request = broker.deny(person, id, note.clone()).await?;
    Ok(Answer::done(format!("{id} denied\n"), json::request(&request, broker.now())))
}
