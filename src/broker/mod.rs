//! The acts. Only this room changes the world: each act is one transaction with its event, and whoever asks is looked up again in that
//! transaction, so that a role taken away a moment ago no longer counts. SSH, the verbs and the command line all come here.
//!
//! Never: a decision of its own (that is `access`), a word of SSH, a secret in an error. A [`Refusal`](crate::access::refusal::Refusal)
//! says what to do next; a [`Fault`] says only its id, and the log has the rest.

mod admit;
mod apply;
mod apply_users;
mod approve;
mod backup;
mod caps;
mod certified;
mod egress;
mod exporting;
mod extend;
mod fault;
mod floors;
mod hosts;
mod identity;
mod invites;
mod keys;
mod laws;
mod loss;
mod notices;
mod opening;
mod overseeing;
mod people;
mod proof;
mod recover;
mod redeem;
mod request;
mod rights;
mod searching;
mod turned_away;
mod user_keys;
mod users;
mod visit;
mod watch;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use rand::{CryptoRng, Rng as _};
use tokio::sync::watch as bell;

use crate::access::names::{Actor, GrantId, HostName, Login, RequestId};
use crate::access::opening::SshPorts;
use crate::access::policy::Policy;
use crate::access::time::{Clock, Span, Timestamp};
use crate::access::zone::Zone;
use crate::audit::commitment::Salt;
use crate::ca::certificate::SourceAddress;
use crate::ca::keyring::Keyring;
use crate::ca::note::NoteKeyError;
use crate::session::{Knife, Live};
use crate::store::{Act, CheckpointFile, Spool, Store, StoreError, Tx, Urgency};

pub use crate::audit::event::Showing;
pub use crate::store::{AuditRow, ChannelRow, GrantFilter, KeyRow, Notice, RequestFilter, SessionFilter, SessionRow, UserRow};
pub use admit::Admission;
pub use admit::audit::{AuditAdmission, Standing};
pub use apply::{Change, changes};
pub use apply_users::KnownUser;
pub use approve::{Decided, Yes};
pub use caps::{Caps, Waits};
pub use certified::{CERTIFICATE_NEEDED, without};
pub use egress::Budget;
pub use extend::Extended;
pub use fault::{Error, Fault};
pub use hosts::{Removed, Trusting};
pub use identity::{Identity, KnownHosts};
pub use invites::{Inviting, Offered};
pub use keys::{BARRED, Reopen};
pub use proof::{AccessPass, Proof};
pub use request::{Asking, Filed};
pub use searching::{Erased, may_search};
pub use turned_away::Meant;
pub use user_keys::NewKey;
pub use visit::{OpenSession, Recorded};

use fault::Stop;
use identity::Shown;

/// What the configuration says that the acts need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names under which clients reach the bastion: principals of the outer host certificate.
    pub names: Vec<String>,
    /// For which hosts clients are told to trust our host authority.
    pub known_hosts_pattern: String,
    /// The zone that local times are meant in.
    pub zone: Zone,
    /// Where session certificates work from; empty: the address that the connection to the host has here.
    pub source_addresses: Vec<SourceAddress>,
    /// The policy file.
    pub policy: std::path::PathBuf,
    /// The state folder; the file of checkpoints is in it.
    pub state: std::path::PathBuf,
    /// The folder under which sealed recordings lie; a session's row names its own folder below it.
    pub recordings: std::path::PathBuf,
    /// How long live sessions go on while the store does not answer.
    pub store_grace: Span,
    /// How much one user may have of anything at once.
    pub caps: Caps,
}

/// Where randomness comes from. A generator is made for one act and never kept.
pub trait Chance: Send + Sync {
    /// A generator for one act.
    fn rng(&self) -> Box<dyn CryptoRng>;
}

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn rng(&self) -> Box<dyn CryptoRng> {
        Box::new(rand::rng())
    }
}

/// What only a serving bastion has; a local verb beside it works without.
pub struct Serving {
    /// The opened keys.
    pub keys: Keyring,
    /// The started knife.
    pub knife: Knife,
}

/// What a broker is made of.
pub struct Parts {
    /// The open store.
    pub store: Store,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub chance: Arc<dyn Chance>,
    /// What the configuration says.
    pub settings: Settings,
    /// Keys and knife; none for a local verb.
    pub serving: Option<Serving>,
}

/// Who acts go through. One for a process.
pub struct Broker {
    store: Store,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    settings: Settings,
    policy: laws::InForce,
    live: Live,
    opened: Option<keys::Opened>,
    shown: RwLock<Shown>,
    turned_away: RwLock<turned_away::Tally>,
    /// Addresses of registered hosts, as the watcher last saw them.
    host_addresses: RwLock<HashSet<IpAddr>>,
    /// Where their sshds listen, as the watcher last saw them.
    ssh_ports: RwLock<SshPorts>,
    checkpoints: CheckpointFile,
    loss: loss::Loss,
    /// Rung after each act of ours, and when the watcher saw one of another process.
    changes: bell::Sender<u64>,
    /// What codes of invitations can cost.
    gate: redeem::Gate,
    in_use: caps::InUse,
}

impl Broker {
    /// A broker with the policy that allows nothing; [`Broker::load_policy`] comes next. Refused only where the node's name cannot be
    /// the name of a log.
    pub fn new(parts: Parts) -> Result<Arc<Self>, NoteKeyError> {
        let Parts { store, clock, chance, settings, serving } = parts;
        let opened = serving.map(|serving| keys::Opened::new(serving, store.node())).transpose()?;
        let checkpoints = CheckpointFile::in_folder(&settings.state);
        let loss = loss::Loss::new(Spool::in_folder(&settings.state));
        Ok(Arc::new(Self {
            store,
            clock,
            chance,
            settings,
            policy: laws::InForce::nothing(),
            live: Live::new(),
            opened,
            shown: RwLock::default(),
            turned_away: RwLock::default(),
            host_addresses: RwLock::default(),
            ssh_ports: RwLock::default(),
            checkpoints,
            loss,
            changes: bell::Sender::new(0),
            gate: redeem::Gate::default(),
            in_use: caps::InUse::default(),
        }))
    }

    /// Reads the store.
    pub fn reader(&self) -> crate::store::Reader {
        self.store.reader()
    }

    /// Who is inside on this node.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Now, by that clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.now()
    }

    /// For an act, which asks in its own turn what is in force.
    fn in_force(&self) -> laws::InForce {
        self.policy.clone()
    }

    /// The node's name: its log's origin.
    pub fn node(&self) -> &str {
        self.store.node()
    }

    /// What the configuration says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Rings whenever something has changed, here or in another process. A hint: look at the store, then wait again.
    pub fn changes(&self) -> bell::Receiver<u64> {
        self.changes.subscribe()
    }

    /// One act: its transaction, its event, and the hint afterwards. Time is read when its turn has come; policy it reads by
    /// [`Broker::in_force`] in its turn.
    async fn act<T, F>(&self, urgency: Urgency, by: Actor, act: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Act<'t, T, Stop> + Send + 'static,
    {
        self.store_takes_writes()?;
        let place = match (urgency, &by) {
            (Urgency::Ordinary, Actor::User(user)) => self.may_act(user).map(|()| None)?,
            (_, Actor::User(user)) => self.in_use.urgent(user).await,
            _ => None,
        };
        let done = self.store.change(urgency, by, &self.clock, move |tx| {
            let act = act(tx);
            Box::pin(async move {
                // It goes with the act, which stays in the queue also when nobody waits for its answer any more.
                let _place = place;
                act.await
            })
        });
        let done = done.await;
        self.done(done).await
    }

    /// What came of an act: where it changed something, it is told; where the store did not answer, it is lost.
    async fn done<T>(&self, done: Result<T, Stop>) -> Result<T, Error> {
        if done.is_ok() {
            // A refusal changes nothing: whoever is refused in a loop wakes nobody.
            self.ring();
        }
        match done {
            Err(Stop::Store(error)) if error.is_loss() => Err(self.lose(&error, false).await.into()),
            done => done.map_err(|stop| self.stopped(stop)),
        }
    }

    /// An act that reads before it writes: done anew where somebody else's change came between, so that who decides at the same moment as
    /// another neither loses their word nor is told half of what happened.
    async fn act_anew<T, F>(&self, urgency: Urgency, by: Actor, make: impl Fn() -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Act<'t, T, Stop> + Send + 'static,
    {
        for _ in 1..TRIES {
            match self.act(urgency, by.clone(), make()).await {
                Err(Error::Refused(refusal)) if refusal.code == fault::OVERTAKEN => {}
                done => return done,
            }
        }
        self.act(urgency, by, make()).await
    }

    fn ring(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn stopped(&self, stop: Stop) -> Error {
        match stop {
            Stop::Refused(refusal) => Error::Refused(refusal),
            Stop::Store(StoreError::Moved(what)) => Error::Refused(fault::overtaken(&what)),
            Stop::Store(error) => Error::Fault(self.fault(&error)),
        }
    }

    fn salt(&self) -> Salt {
        let mut salt = Salt::default();
        self.chance.rng().fill_bytes(&mut salt);
        salt
    }

    /// A few ids to choose a free one from.
    fn ids<I>(&self, make: impl Fn(u32) -> I) -> Vec<I> {
        let mut rng = self.chance.rng();
        (0..DRAWS).map(|_| make(rng.next_u32())).collect()
    }

    fn request_ids(&self) -> Vec<RequestId> {
        self.ids(RequestId::from_random)
    }

    fn grant_ids(&self) -> Vec<GrantId> {
        self.ids(GrantId::from_random)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("node", &self.store.node()).finish_non_exhaustive()
    }
}

/// The command that asks for a visit, as somebody would type it.
fn request_command(host: &HostName, login: &Login, length: Span) -> String {
    format!("ssh jit-bastion request {host} --login {login} --for {length} --reason WHY")
}

/// Each try is overtaken only by a change that came through.
const TRIES: usize = 8;

/// With a million ids taken of 2^30, eight draws all fail once in 10^24.
const DRAWS: usize = 8;

#[cfg(test)]
mod tests;
