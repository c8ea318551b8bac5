//! The policy in force: read, tried against its own tests, swapped. A wrong one never replaces a right one.

use std::sync::{Arc, PoisonError, RwLock};

use super::fault::Stop;
use super::{Broker, Error};
use crate::access::names::Actor;
use crate::access::person::Person;
use crate::access::policy::{Difference, Direction, Policy};
use crate::access::refusal::Refusal;
use crate::audit::commitment::Salt;
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::store::{Outcome, StoreError, Tx, Urgency};

/// The policy in force, whichever that is when it is asked for.
#[derive(Clone)]
pub(super) struct InForce(Arc<RwLock<Arc<Policy>>>);

impl InForce {
    /// The one that allows nothing.
    pub(super) fn nothing() -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Policy::empty()))))
    }

    pub(super) fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, policy: Arc<Policy>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }
}

impl Broker {
    /// Reads the policy file and puts it in force, at the start and at each reload; live sessions that it does not give any more fall.
    /// The event says how many users gain and lose by it, and keeps the whole difference as a text. A wrong one is refused with file,
    /// line and caret, and the one before stays; that is an event too.
    pub async fn load_policy(&self, by: &Actor) -> Result<Arc<Policy>, Error> {
        let (policy, text) = self.read_policy().await?;
        match policy {
            Ok(policy) => {
                let policy = Arc::new(policy);
                self.take(by, &policy).await?;
                self.rights_changed().await;
                Ok(policy)
            }
            Err(error) => {
                let (said, salt, digest) = (error.clone(), self.salt(), Digest::of(text.as_bytes()));
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

    /// Keeps the policy and what it changes, and puts it in force: whatever stands behind this act in the queue is judged by it.
    async fn take(&self, by: &Actor, policy: &Arc<Policy>) -> Result<(), Error> {
        self.store_takes_writes()?;
        let (difference, node, salt) = (self.difference(policy).await?, self.node().to_owned(), self.salt());
        let (new, in_force) = (Arc::clone(policy), self.in_force());
        let policy = Arc::clone(policy);
        let taken = self.store.change_then(
            Urgency::Ordinary,
            by.clone(),
            &self.clock,
            move |tx| Box::pin(taken(tx, new, difference, node, salt)),
            move || in_force.set(policy),
        );
        self.done(taken.await).await
    }

    /// What `policy` changes for the users and hosts that there are, after the one in force; in a new process, after the last one that
    /// this node had in force.
    async fn difference(&self, policy: &Arc<Policy>) -> Result<Difference, Error> {
        let (reader, now) = (self.reader(), self.now());
        let read = async { Ok::<_, StoreError>((reader.users(now).await?, reader.hosts().await?, reader.last_policy().await?)) };
        let (users, hosts, last) = read.await.map_err(|e| self.fault(&e))?;
        let people: Vec<Person> = users.into_iter().filter(|user| user.in_force(now)).map(|user| user.person).collect();
        let before = match self.policy() {
            none if none.text().is_empty() => Arc::new(last.and_then(|text| Policy::parse(&text, "").ok()).unwrap_or_else(Policy::empty)),
            policy => policy,
        };
        let policy = Arc::clone(policy);
        let compared = tokio::task::spawn_blocking(move || policy.compared_with(&before, &people, &hosts)).await;
        Ok(compared.map_err(|e| self.fault(&e))?)
    }

    /// Reads the policy file for a process that only looks: no event, and a local verb beside a running bastion judges by the same file.
    pub async fn adopt_policy(&self) -> Result<Arc<Policy>, Error> {
        let (policy, _) = self.read_policy().await?;
        let policy = Arc::new(policy.map_err(|error| Refusal::new("policy", error))?);
        self.policy.set(Arc::clone(&policy));
        Ok(policy)
    }

    /// The policy that this node had in force last, for an act at the keyboard: a file that was changed and not loaded says nothing yet.
    /// Where none was ever in force, the file's.
    pub async fn adopt_policy_in_force(&self) -> Result<(), Error> {
        let last = self.reader().last_policy().await.map_err(|e| self.fault(&e))?;
        match last.and_then(|text| Policy::parse(&text, "(in force)").ok()) {
            Some(policy) => self.policy.set(Arc::new(policy)),
            None => drop(self.adopt_policy().await?),
        }
        Ok(())
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

async fn taken(tx: &mut Tx, policy: Arc<Policy>, difference: Difference, node: String, salt: Salt) -> Result<Outcome<()>, Stop> {
    tx.keep_policy(&node, &policy.digest(), policy.text()).await?;
    let diff = match difference.changes.is_empty() {
        true => None,
        false => Some(tx.keep_text(&shortened(&difference.to_string()), &salt).await?),
    };
    let users = |direction| difference.users(direction) as u64;
    let event = Event::PolicyLoaded {
        policy: Digest::of(policy.text().as_bytes()),
        rules: policy.allows().len() as u64,
        gain: users(Direction::Gains),
        lose: users(Direction::Loses),
        change: users(Direction::Changes),
        diff,
    };
    Ok(Outcome::Changed((), event))
}

/// Not more than a person would read; the policies themselves are kept whole.
fn shortened(text: &str) -> String {
    let mut lines = text.lines();
    let mut kept: String = lines.by_ref().take(LINES).map(|line| format!("{line}\n")).collect();
    match lines.count() {
        0 => {}
        more => kept.push_str(&format!("and {more} more\n")),
    }
    kept
}

const LINES: usize = 500;
