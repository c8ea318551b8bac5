//! A known user who did not get in. The asker cannot tell an unknown host from an invisible one; the log can.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use super::Broker;
use super::fault::Stop;
use crate::access::host::Host;
use crate::access::names::{Actor, HostName, User};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::audit::event::Event;
use crate::store::{Outcome, Urgency};

/// Where somebody wanted to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant<'a> {
    /// To a registered host.
    Host(&'a HostName),
    /// To what they typed, and its port.
    Typed(&'a str, u16),
}

/// For each user the begin of their minute (since boot) and how many refusals it has.
pub(super) type Tally = HashMap<User, (Duration, u32)>;

impl Broker {
    /// Logs that `who`, coming from `client`, did not get in. At most [`A_MINUTE`] a minute for a user, so that nobody fills the log with
    /// what they were refused; the log file has the rest. A fault is logged and changes nothing for the user.
    pub async fn turned_away(&self, who: &Person, client: SocketAddr, meant: Meant<'_>, refusal: &Refusal) {
        if !self.counts(&who.user) {
            return;
        }
        let host = match meant {
            Meant::Host(host) => Ok(Some(host.clone())),
            Meant::Typed(typed, port) => self.reader().find_host(typed, port).await.map(|host| host.map(|Host { name, .. }| name)),
        };
        let host = host.unwrap_or_else(|error| {
            self.fault(&error);
            None
        });
        let typed = match meant {
            // Also where it is a host's name: writing no more for one than for the other, this tells the asker nothing by its time.
            Meant::Typed(typed, _) => Some(typed.chars().take(LONGEST).collect::<String>()),
            _ => None,
        };
        let (user, salt, code) = (who.user.clone(), self.salt(), refusal.code);
        if self.store_takes_writes().is_err() {
            return;
        }
        // Not one of their acts, of which they may have used up all: it has a limit of its own.
        let told = self.store.change(Urgency::Ordinary, Actor::User(who.user.clone()), &self.clock, move |tx| {
            Box::pin(async move {
                let typed = match typed {
                    Some(typed) => Some(tx.keep_text(&typed, &salt).await?),
                    None => None,
                };
                let event = Event::SessionRefused { user, client: client.to_string(), host, typed, login: None, code: code.into() };
                Ok::<_, Stop>(Outcome::Changed((), event))
            })
        });
        if let Err(error) = self.done(told.await).await {
            self.as_fault(error);
        }
    }

    fn counts(&self, user: &User) -> bool {
        let now = self.clock.since_boot();
        let mut tally = self.turned_away.write().unwrap_or_else(PoisonError::into_inner);
        let (since, n) = tally.entry(user.clone()).or_insert((now, 0));
        if now.saturating_sub(*since) >= MINUTE {
            (*since, *n) = (now, 0);
        }
        *n += 1;
        *n <= A_MINUTE
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Enough for somebody who errs, too few to fill a disk.
const A_MINUTE: u32 = 20;
/// A name of the DNS has no more characters.
const LONGEST: usize = 253;
