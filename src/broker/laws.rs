//! The policy in force: read, tried against its own tests, swapped. A wrong one never replaces a right one.

use std::sync::{Arc, PoisonError};

use super::{Broker, Error};
use crate::access::names::Actor;
use crate::access::policy::Policy;
use crate::access::refusal::Refusal;
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::store::{Outcome, Urgency};

impl Broker {
    /// Reads the policy file and puts it in force, at the start and at each reload; live sessions that it does not give any more fall. A wrong one is refused with file, line and caret, and
    /// the one before stays. Either is an event.
    pub async fn load_policy(&self, by: &Actor) -> Result<Arc<Policy>, Error> {
        let (policy, text) = self.read_policy().await?;
        let digest = Digest::of(text.as_bytes());
        match policy {
            Ok(policy) => {
                let rules = policy.allows().len() as u64;
                self.tell(by, Event::PolicyLoaded { policy: digest, rules }).await?;
                let policy = Arc::new(policy);
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&policy);
                self.ring();
                self.cut_now().await;
                Ok(policy)
            }
            Err(error) => {
                let (said, salt) = (error.clone(), self.salt());
                self.act(Urgency::Ordinary, by.clone(), move |tx| {
                    Box::pin(async move {
                        let error = tx.keep_text(&said, &salt).await?;
                        Ok(Outcome::Changed((), Event::PolicyRefused { policy: digest, error }))
                    })
                })
                .await?;
                Err(Refusal::new("policy", error).hint("the policy before stays in force; mend the file and reload").into())
            }
        }
    }

    /// Reads the policy file for a process that only looks: no event, and a local verb beside a running bastion judges by the same file.
    pub async fn adopt_policy(&self) -> Result<Arc<Policy>, Error> {
        let (policy, _) = self.read_policy().await?;
        let policy = Arc::new(policy.map_err(|error| Refusal::new("policy", error))?);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&policy);
        Ok(policy)
    }

    /// The policy or what is wrong with it, and its text.
    async fn read_policy(&self) -> Result<(Result<Policy, String>, String), Error> {
        let path = &self.settings.policy;
        let unreadable = |e: std::io::Error| {
            let refusal = Refusal::new("policy", format!("cannot read {}: {e}", path.display()));
            refusal.hint("the policy before stays in force; without one nothing is allowed")
        };
        let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
        let hosts = self.reader().hosts().await.map_err(|e| self.store_fault(&e))?;
        let policy = match Policy::parse(&text, &path.display().to_string()) {
            Ok(policy) => {
                let failed = policy.run_tests(|name| hosts.iter().find(|host| host.name == *name).cloned());
                if failed.is_empty() { Ok(policy) } else { Err(failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")) }
            }
            Err(error) => Err(error.to_string()),
        };
        Ok((policy, text))
    }

    /// An event that changes nothing else.
    pub(super) async fn tell(&self, by: &Actor, event: Event) -> Result<(), Error> {
        self.act(Urgency::Ordinary, by.clone(), move |_| Box::pin(async move { Ok(Outcome::Changed((), event)) })).await
    }
}
