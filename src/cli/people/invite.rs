//! `user invite`, `user confirm`, `user refuse`.

use serde_json::json;

use crate::access::date::{self, Edge};
use crate::access::names::{Note, User};
use crate::access::person::{Account, Held};
use crate::access::time::Span;
use crate::access::zone::Zone;
use crate::broker::{Broker, Inviting};
use crate::cli::args::InviteWords;
use crate::cli::failure::Failure;
use crate::cli::local;
use crate::cli::said::{Outcome, Said};

/// `user invite`.
pub(super) async fn invite(broker: &Broker, words: &InviteWords, zone: &Zone) -> Outcome {
    let by = local::actor();
    if words.withdraw {
        let user: User = words.name.parse()?;
        broker.withdraw_invite(&by, &user).await?;
        return Ok(Said::done(
            format!("the invitation of {user} is worth nothing any more\n"),
            json!({ "user": user, "state": "withdrawn" }),
        ));
    }
    let (invite, code) = broker.invite(&by, inviting(words, zone)?).await?;
    let (user, code, until) = (&invite.user, code.reveal(), invite.ends_at);
    let bastion = broker.settings().names.first().map_or("jit-bastion", String::as_str);
    let who =
        invite.sponsor.as_ref().map(|sponsor| format!("{sponsor} (ssh {bastion} confirm {user} FINGERPRINT) or ")).unwrap_or_default();
    let text = format!(
        "{user} is invited until {until}. Give them this, it is not shown again:\n\n    ssh -i KEY {code}@{bastion}\n\nIt registers the key KEY, once. The key opens nothing until {who}an administrator (jit-bastion user confirm {user} FINGERPRINT) has\ncompared its fingerprint with them.\n",
        code = code.as_str()
    );
    let json = json!({
        "invite": invite.id,
        "user": user,
        "code": code.as_str(),
        "sponsor": invite.sponsor,
        "ends_at": until.to_string(),
    });
    Ok(Said::done(text, json))
}

fn inviting(words: &InviteWords, zone: &Zone) -> Result<Inviting, Failure> {
    let mut roles: Vec<Held> = words.role.iter().map(|role| role.parse().map(Held::always)).collect::<Result<_, _>>()?;
    roles.sort();
    roles.dedup();
    let account = Account {
        user: words.name.parse()?,
        vendor: words.vendor.as_ref().map(|vendor| vendor.parse()).transpose()?,
        until: words.until.as_deref().map(|text| date::read(text, Edge::End, zone)).transpose()?,
        roles,
    };
    let length: Span = words.length.parse()?;
    Ok(Inviting { account, sponsor: words.sponsor.as_ref().map(|sponsor| sponsor.parse()).transpose()?, length })
}

/// `user confirm`.
pub(super) async fn confirm(broker: &Broker, user: &User, fingerprint: Option<&str>) -> Outcome {
    let key = broker.confirm_invite(&local::actor(), user, fingerprint).await?;
    Ok(Said::done(format!("{key} is {user}'s key from now on\n"), json!({ "user": user, "fingerprint": key, "state": "confirmed" })))
}

/// `user refuse`.
pub(super) async fn refuse(broker: &Broker, user: &User, note: Option<Note>) -> Outcome {
    let key = broker.refuse_invite(&local::actor(), user, note).await?;
    let text = format!("{key} is not {user}'s key, and opens nothing; a new invitation brings another\n");
    Ok(Said::done(text, json!({ "user": user, "fingerprint": key, "state": "refused" })))
}
