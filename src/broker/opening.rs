//! What a session wants to open while it goes on. Asked in the middle of the relay, so nothing here waits.

use std::sync::PoisonError;

use super::{Broker, OpenSession};
use crate::access::channels::Channels;
use crate::access::host::Host;
use crate::access::names::{Actor, SessionId, escaped};
use crate::access::opening::Opening;
use crate::access::policy::Policy;
use crate::access::refusal::Refusal;
use crate::audit::event::Event;
use crate::store::{Outcome, Urgency};

impl Broker {
    /// May this session open `what` at this moment: its grant gives it, no deny of now takes it, and it does not lead around the bastion.
    pub fn may_open(&self, open: &OpenSession, what: &Opening) -> Result<(), Refusal> {
        let Some(live) = self.live.get(&open.id) else {
            return Err(Refusal::new("session-over", format!("{} is over", open.id)).hint("begin another session"));
        };
        granted(&self.policy(), open, &live.channels, what)?;
        self.leads_past_ssh(&open.host, what)
    }

    /// No forward leads to the SSH port of a registered host.
    pub(super) fn leads_past_ssh(&self, host: &Host, what: &Opening) -> Result<(), Refusal> {
        if what.leads_to_ssh(host, &self.ssh_ports.read().unwrap_or_else(PoisonError::into_inner)) {
            let refusal = Refusal::new("ssh-port", "that is the SSH port of a registered host, and no session goes there unseen");
            return Err(refusal.hint("go through the bastion: ssh -J jit-bastion HOST"));
        }
        Ok(())
    }

    /// A stream of this session began as SSH does: the log says so. A fault is logged and changes nothing for the session.
    pub async fn tunnelled(&self, session: &SessionId, channel: u32, kind: &str) {
        let event = Event::SessionTunnelled { session: session.clone(), channel: channel.into(), kind: kind.to_owned() };
        let told = self.act(Urgency::Ordinary, Actor::System, move |_| Box::pin(async move { Ok(Outcome::Changed((), event)) }));
        if let Err(error) = told.await {
            self.as_fault(error);
        }
    }
}

fn granted(policy: &Policy, open: &OpenSession, channels: &Channels, what: &Opening) -> Result<(), Refusal> {
    let (host, login) = (&open.host, &open.meta.login);
    if what.granted_by(channels) {
        return policy.denies_now(&open.person, host, login, &what.all());
    }
    let kind = escaped(&what.kind().to_string());
    let refusal = Refusal::new("not-granted", format!("{kind} is not in your grant"));
    // A command that cannot be typed helps nobody.
    match kind.parse::<Channels>() {
        Ok(more) if !more.is_empty() => {
            let named: Channels = channels.iter().chain(more.iter()).cloned().collect();
            Err(refusal.hint(format!("ssh jit-bastion request {} --login {login} --channels {named} --reason WHY", host.name)))
        }
        _ => Err(refusal.hint(format!("`ssh jit-bastion explain {}` says what can be asked for there", host.name))),
    }
}
