//! The wiring: one function that builds everything and runs it until it is told to stop.

mod alarm;
mod scrape;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access::names::Actor;
use crate::access::time::{Clock, SystemClock};
use crate::broker::{Broker, Caps, Parts, Reopen, Serving, Settings, SystemChance};
use crate::ca::certificate::SourceAddress;
use crate::ca::keyring::Keyring;
use crate::ca::note::NoteSigner;
use crate::ca::secret::{Passphrase, SecretError};
use crate::config::{Config, Kept, Keys};
use crate::metrics::Tally;
use crate::recording::{self, Level, ManifestSigner, RecordError};
use crate::session::Knife;
use crate::ssh::{Archive, Bounds, Signers, Wing};
use crate::store::Store;

/// What a running bastion is told from outside.
pub struct Signals {
    /// Stop: end the sessions, seal what is open, return.
    pub stop: CancellationToken,
    /// Read the policy again, and say when that is done, whatever came of it.
    pub reload: mpsc::Receiver<oneshot::Sender<()>>,
}

/// Signs manifests with the checkpoint key.
pub struct Signer(pub Arc<NoteSigner>);

impl ManifestSigner for Signer {
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
        self.0.sign(bytes).map(|signature| BASE64.encode(signature)).map_err(|e| RecordError::Sign(e.to_string()))
    }

    fn public_key(&self) -> String {
        BASE64.encode(self.0.public_key())
    }
}

/// Runs the bastion: finishes what a killed one left, opens the door, calls `ready`, and comes back when it was told to stop and all
/// sessions are sealed. An error at the start means that nobody was let in.
pub async fn serve(
    config: &Config,
    store: Store,
    keys: Unsealed,
    listeners: Vec<TcpListener>,
    signals: Signals,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let knife = Knife::start(Arc::clone(&clock)).context("cannot start the thread that ends sessions")?;
    let Unsealed { ring, version } = keys;
    let serving = Some(Serving { keys: ring, knife });
    let parts =
        Parts { store: store.clone(), clock: Arc::clone(&clock), chance: Arc::new(SystemChance), settings: settings(config)?, serving };
    let broker = Broker::new(parts)?;
    broker.write_what_waited().await?;
    broker.load_policy(&Actor::System).await?;
    broker.follow_keys(version, reopen(config.keys.clone()));
    broker.take_over_log().await?;
    restore(config)?;
    let archive = archive(config, &broker, &clock)?;
    recover(&broker, &archive).await?;
    broker.started().await?;
    let limits = Bounds {
        login_grace: config.limits.login_grace,
        connections: config.limits.connections,
        connections_per_address: config.limits.connections_per_address,
        sessions_per_user: config.limits.sessions_per_user,
        terminal_rate: config.limits.terminal_rate,
        recorded_per_session: config.limits.recorded_per_session,
        recorded_per_user: config.limits.recorded_per_user,
    };
    let tally = Arc::new(Tally::default());
    let wing = Wing::new(Arc::clone(&broker), limits, archive, clock, Arc::clone(&tally));
    let beside = beside(config, &broker, &store, tally).await?;
    ready();
    let Signals { stop, mut reload } = signals;
    let reloads = async {
        while let Some(done) = reload.recv().await {
            match broker.load_policy(&Actor::System).await {
                Ok(_) => tracing::info!("the policy was read again"),
                Err(error) => tracing::error!(%error, "the policy before stays in force"),
            }
            let _ = done.send(());
        }
        std::future::pending::<()>().await;
    };
    let sessions = tokio::select! {
        sessions = wing.run(listeners, stop.clone()) => sessions.context("the door failed")?,
        () = reloads => 0,
        never = beside => match never {},
        // Whoever takes rights away must not be able to stop; if it does, nobody is let in any more.
        () = broker.watch(std::future::pending()) => anyhow::bail!("the watch over grants ended early"),
    };
    broker.stopped_serving(sessions).await?;
    store.close().await;
    Ok(())
}

/// What runs beside the door where the config says so: the page of metrics, the alarms. Never comes back.
async fn beside(
    config: &Config,
    broker: &Arc<Broker>,
    store: &Store,
    tally: Arc<Tally>,
) -> anyhow::Result<impl Future<Output = Infallible> + use<>> {
    let scrape = scrape::Scrape::new(Arc::clone(broker), tally, config.recordings.clone());
    let listener = match config.metrics {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address} for metrics"))?),
        None => None,
    };
    let (store, command, broker) = (store.clone(), config.alarm.clone(), Arc::clone(broker));
    Ok(async move {
        let metrics = async {
            match listener {
                Some(listener) => {
                    tokio::select! { () = scrape.listen(&store) => {}, () = Arc::clone(&scrape).serve(listener) => {} }
                }
                None => std::future::pending().await,
            }
        };
        let alarms = async {
            match command {
                Some(command) => alarm::watch(&broker, command).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(metrics, alarms);
        std::future::pending().await
    })
}

/// The keys as they were opened, and which version of the sealed ring they are.
pub struct Unsealed {
    /// The keys.
    pub ring: Keyring,
    /// Counts up with each change.
    pub version: i64,
}

/// The passphrase, from where the config says.
pub fn passphrase(keys: &Keys) -> Result<Passphrase, SecretError> {
    match keys {
        Keys::PassphraseFile(file) => Passphrase::from_file(file),
        Keys::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
            Passphrase::from_credential(name, folder.as_deref().map(Path::new))
        }
    }
}

/// Opens a ring that was sealed anew, with the passphrase of that moment: it may have changed too.
fn reopen(keys: Keys) -> Reopen {
    Arc::new(move |sealed| {
        let passphrase = passphrase(&keys).map_err(|error| error.to_string())?;
        Keyring::open(sealed, &passphrase).map_err(|error| error.to_string())
    })
}

/// Who signs manifests: whoever signs the log at that moment.
fn signer(broker: &Arc<Broker>) -> anyhow::Result<Signers> {
    let (broker, first) = (Arc::clone(broker), broker.note_signer().context("the keys are not open")?);
    Ok(Arc::new(move || Arc::new(Signer(broker.note_signer().unwrap_or_else(|| Arc::clone(&first))))))
}

/// Where sessions are recorded, as the config says.
pub fn archive(config: &Config, broker: &Arc<Broker>, clock: &Arc<dyn Clock>) -> anyhow::Result<Archive> {
    let level = match config.journal {
        Kept::Process => Level::Process,
        Kept::Power => Level::Power,
    };
    let how = (level, config.limits.disk_patience.duration());
    Ok(Archive::open(config.state.join("journal"), config.recordings.clone(), signer(broker)?, how, clock)?)
}

/// What the broker needs to know of the config.
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    // Two rooms, one form: the config has checked it already.
    let sources: Result<Vec<SourceAddress>, _> = config.source_addresses.iter().map(|source| source.to_string().parse()).collect();
    Ok(Settings {
        zone: config.zone.clone(),
        names: config.names.iter().map(ToString::to_string).collect(),
        known_hosts_pattern: config.known_hosts_pattern.clone(),
        source_addresses: sources?,
        recordings: config.recordings.clone(),
        policy: config.policy.clone(),
        state: config.state.clone(),
        store_grace: config.limits.store_grace,
        caps: Caps {
            requests: config.limits.requests_per_user,
            grants: config.limits.grants_per_user,
            waits: config.limits.waits_per_user,
            acts: config.limits.acts_per_minute,
        },
    })
}

/// Puts back what a power cut took, where the level was `power`.
fn restore(config: &Config) -> anyhow::Result<()> {
    let restored = recording::restore(&config.state.join("journal")).context("cannot read what the last power cut left")?;
    if restored > 0 {
        tracing::warn!(runs = restored, "journals got back what a power cut took from them");
    }
    Ok(())
}

/// Seals what a killed bastion left behind, and says so in the log.
async fn recover(broker: &Broker, archive: &Archive) -> anyhow::Result<()> {
    let (journals, recordings, signer) = (archive.journals.clone(), archive.recordings.clone(), (archive.signer)());
    let found = tokio::task::spawn_blocking(move || recording::recover(&journals, &recordings, signer.as_ref())).await?;
    let found = found.context("cannot look at the journals that are left")?;
    if !found.is_empty() {
        tracing::warn!(sessions = found.len(), "sessions were left by a bastion that did not stop");
    }
    Ok(broker.recover(found).await?)
}
