//! The short personal page: `ssh jit-bastion` with a terminal and no command. Never a shell.

use super::request::{Side, queue, table as requests_table};
use super::rights::table as grants_table;
use super::text::Tone;
use super::{Caller, invites, limited, notices, read, whereto};
use crate::access::grant::GrantState;
use crate::access::person::Person;
use crate::broker::{Broker, Error, GrantFilter};

/// Who I am, my open grants, the requests that wait for me and for others, and how to ask.
pub async fn page(broker: &Broker, caller: &Caller) -> Result<String, Error> {
    if let Some(grant) = caller.limited_to(broker).await? {
        return limited::page(broker, caller, &grant).await;
    }
    let now = broker.now();
    let look = caller.look;
    let title = |text: &str| format!("\n{}\n", look.paint(Tone::Strong, text));
    let mut out = whereto::whoami(broker, caller).human;
    let grants = open_grants(broker, caller.person.as_ref()).await?;
    out.push_str(&title("my grants"));
    if grants.is_empty() {
        out.push_str("none; ask with: ssh jit-bastion request HOST --reason WHY\n");
    } else {
        out.push_str(&grants_table(&grants, now).print(look));
        if let Some(grant) = grants.iter().find(|grant| grant.state(now) == GrantState::Active) {
            out.push_str(&format!("go in with: ssh -J jit-bastion {}@{}\n", grant.login, grant.host));
        }
    }
    let mine = queue(broker, caller, true, Side::Mine).await?;
    if !mine.is_empty() {
        out.push_str(&title("my requests"));
        out.push_str(&requests_table(&mine, now).print(look));
    }
    let for_me = queue(broker, caller, true, Side::ForMe).await?;
    if !for_me.is_empty() {
        out.push_str(&title("waits for me"));
        out.push_str(&requests_table(&for_me, now).print(look));
        out.push_str("read with: ssh jit-bastion show ID; say: approve ID, or deny ID --note WHY\n");
    }
    if let Some(keys) = invites::waiting(broker, caller).await? {
        out.push_str(&title("keys to confirm"));
        out.push_str(&keys);
    }
    if let Some(notices) = notices::shown(broker, caller, look).await {
        out.push_str(&title("news"));
        out.push_str(&notices);
    }
    out.push_str("\nwhere I may ask to go: ssh jit-bastion hosts; all words: ssh jit-bastion help\n");
    Ok(out)
}

async fn open_grants(broker: &Broker, person: Option<&Person>) -> Result<Vec<crate::access::grant::Grant>, Error> {
    let Some(person) = person else { return Ok(vec![]) };
    let filter = GrantFilter { user: Some(person.user.clone()), open_at: Some(broker.now()), ..GrantFilter::default() };
    read(broker, broker.reader().grants(&filter).await)
}
