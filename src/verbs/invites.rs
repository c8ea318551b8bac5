//! `confirm`, `refuse`: a key that an invited user has offered is theirs, or it is not. For the invitation's sponsor and for who may tend
//! users.

use serde_json::{Value, json};

use super::parse::{ConfirmWords, RefuseWords};
use super::table::Table;
use super::{Answer, Caller};
use crate::access::invite::Invite;
use crate::broker::{Broker, Error};

/// `confirm [NAME [FINGERPRINT]]`
pub(super) async fn confirm(broker: &Broker, caller: &Caller, words: &ConfirmWords) -> Result<Answer, Error> {
    let Some(user) = &words.user else { return list(broker, caller).await };
    let key = broker.confirm_invite(&caller.actor, user, words.fingerprint.as_deref()).await?;
    Ok(Answer::done(format!("{key} is {user}'s key from now on\n"), json!({ "user": user, "fingerprint": key, "state": "confirmed" })))
}

/// `refuse NAME ..`
pub(super) async fn refuse(broker: &Broker, caller: &Caller, words: &RefuseWords) -> Result<Answer, Error> {
    let user = &words.user;
    let key = broker.refuse_invite(&caller.actor, user, words.note.clone()).await?;
    let human = format!("{key} is not {user}'s key, and opens nothing; a new invitation brings another\n");
    Ok(Answer::done(human, json!({ "user": user, "fingerprint": key, "state": "refused" })))
}

async fn list(broker: &Broker, caller: &Caller) -> Result<Answer, Error> {
    let waiting = broker.to_confirm(caller.person.as_ref()).await?;
    let human = if waiting.is_empty() { "no key waits for you to confirm it\n".to_owned() } else { table(&waiting).print(caller.look) };
    Ok(Answer::done(human, waiting.iter().map(as_json).collect()))
}

/// The keys that wait, and how to confirm them; none for who may confirm none.
pub(super) async fn waiting(broker: &Broker, caller: &Caller) -> Result<Option<String>, Error> {
    let Some(person) = &caller.person else { return Ok(None) };
    let waiting = broker.to_confirm(Some(person)).await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let how = "let them read the fingerprint to you; if it is the same: ssh jit-bastion confirm NAME FINGERPRINT, else refuse NAME\n";
    Ok(Some(table(&waiting).print(caller.look) + how))
}

fn table(waiting: &[Invite]) -> Table {
    let mut table = Table::new(["user", "fingerprint", "offered", "from"]);
    for (invite, offer) in waiting.iter().filter_map(|invite| invite.offer.as_ref().map(|offer| (invite, offer))) {
        table.row([invite.user.to_string(), offer.fingerprint.clone(), offer.at.to_string(), offer.client.clone()]);
    }
    table
}

fn as_json(invite: &Invite) -> Value {
    let offer = invite.offer.as_ref();
    json!({
        "invite": invite.id,
        "user": invite.user,
        "sponsor": invite.sponsor,
        "fingerprint": offer.map(|offer| &offer.fingerprint),
        "offered_at": offer.map(|offer| offer.at.to_string()),
        "client": offer.map(|offer| &offer.client),
    })
}
