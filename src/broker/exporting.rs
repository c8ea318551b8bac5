//! Evidence leaves the bastion: recordings with what proves them, or a copy of the log. Each is an event.
//!
//! Who can run a command on the bastion can read the store and the recordings anyway: the actor `local:NAME` is asked for no right, and named.
//! `to` is the user whom the file is made for, and that user needs `export` and `unmask` in the policy: nothing is covered in the file.

use std::sync::Arc;

use super::people::{place, present};
use super::visit::recorded;
use super::{Broker, Error};
use crate::access::names::{Actor, Note, SessionId, User};
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::audit::event::Event;
use crate::store::{Outcome, Urgency};

impl Broker {
    /// `by` takes the recordings of a session out, for `to` if somebody is named, and this is what for.
    pub async fn export_recordings(&self, by: &Actor, session: &SessionId, to: Option<User>, purpose: Option<Note>) -> Result<(), Error> {
        if let Actor::User(_) = by {
            let refusal = Refusal::new("local-only", "recordings are exported on the bastion's own command line");
            return Err(refusal.hint("ask an administrator for the file").into());
        }
        let (session, policy, salt, node) = (session.clone(), self.in_force(), self.salt(), self.node().to_owned());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let found = recorded(tx, &session).await?.ok_or_else(|| Refusal::no_such("session", &session))?;
                if let Some(to) = &to {
                    let person = present(tx, to).await?;
                    // Another process has it in force, and may have loaded another while the recordings were read.
                    let last = tx.last_policy(&node).await?.and_then(|text| Policy::parse(&text, "").ok());
                    let policy = last.map_or_else(|| policy.now(), Arc::new);
                    let host = place(tx, &found.host).await?;
                    if !policy.may(&person, Act::Export, &host) {
                        let refusal = Refusal::new("may-not", format!("no rule lets {to} have recordings of {} exported", found.host));
                        return Err(refusal.hint("a [[may]] rule with do = [\"export\"] gives it").into());
                    }
                    if !policy.may(&person, Act::Unmask, &host) {
                        let why = format!(
                            "no rule lets {to} see what is masked on {}, and the file has all that was typed and shown",
                            found.host
                        );
                        return Err(Refusal::new("may-not", why).hint("a [[may]] rule with do = [\"unmask\"] gives it").into());
                    }
                }
                if found.sealed.is_none() {
                    let refusal = Refusal::new("not-sealed", format!("{session} has no sealed recordings"));
                    return Err(refusal.hint("a session is sealed when it ends; what could not be sealed, the next start seals").into());
                }
                let purpose = match &purpose {
                    Some(purpose) => Some(tx.keep_text(purpose.as_str(), &salt).await?),
                    None => None,
                };
                Ok(Outcome::Changed((), Event::RecordingsExported { session, to, purpose }))
            })
        })
        .await
    }

    /// `by` takes a copy of this node's log out; it has so many entries before this event.
    pub async fn export_log(&self, by: &Actor, entries: u64) -> Result<(), Error> {
        self.tell(by, Event::LogExported { entries }).await
    }
}
