//! The wiring: one function that builds everything and runs it until it is told to stop.

mod alarm;
mod scrape;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access::names::Actor;
use crate::access::time::{Clock, SystemClock};
use crate::broker::{Broker, Parts, Serving, Settings, SystemChance};
use crate::ca::certificate::SourceAddress;
use crate::ca::keyring::Keyring;
use crate::ca::note::NoteSigner;
use crate::config::Config;
use crate::metrics::Tally;
use crate::recording::{self, ManifestSigner, RecordError};
use crate::session::Knife;
use crate::ssh::{Archive, Bounds, Wing};
use crate::store::Store;

/// What a running bastion is told from outside.
pub struct Signals {
    /// Stop: end the sessions, seal what is open, return.
    pub stop: CancellationToken,
    /// Read the policy again, and say when that is done, whatever came of it.
    pub reload: mpsc::Receiver<oneshot::Sender<()>>,
}

/// Signs manifests with the checkpoint key.
pub struct Signer(pub NoteSigner);

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
    keys: Keyring,
    listeners: Vec<TcpListener>,
    signals: Signals,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let knife = Knife::start(Arc::clone(&clock)).context("cannot start the thread that ends sessions")?;
    let signer = Arc::new(Signer(keys.note_signer(store.node())?));
    let serving = Some(Serving { keys, knife });
    let parts =
        Parts { store: store.clone(), clock: Arc::clone(&clock), chance: Arc::new(SystemChance), settings: settings(config)?, serving };
    let broker = Broker::new(parts)?;
    broker.write_what_waited().await?;
    broker.load_policy(&Actor::System).await?;
    let archive = Archive { journals: config.state.join("journal"), recordings: config.recordings.clone(), signer };
    recover(&broker, &archive).await?;
    broker.started().await?;
    let limits = Bounds {
        login_grace: config.limits.login_grace,
        connections: config.limits.connections,
        connections_per_address: config.limits.connections_per_address,
        sessions_per_user: config.limits.sessions_per_user,
    };
    let tally = Arc::new(Tally::default());
    let wing = Wing::new(Arc::clone(&broker), limits, archive, clock, Arc::clone(&tally));
    let beside = beside(config, &broker, &store, tally)?;
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
fn beside(
    config: &Config,
    broker: &Arc<Broker>,
    store: &Store,
    tally: Arc<Tally>,
) -> anyhow::Result<impl Future<Output = Infallible> + use<>> {
    let scrape = scrape::Scrape::new(Arc::clone(broker), tally, config.recordings.clone());
    let listener = match config.metrics {
        Some(address) => Some(listen(address).with_context(|| format!("cannot listen at {address} for metrics"))?),
        None => None,
    };
    let (store, command) = (store.clone(), config.alarm.clone());
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
                Some(command) => alarm::watch(&store, command).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(metrics, alarms);
        std::future::pending().await
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
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
    })
}

/// Seals what a killed bastion left behind, and says so in the log.
async fn recover(broker: &Broker, archive: &Archive) -> anyhow::Result<()> {
    let (journals, recordings, signer) = (archive.journals.clone(), archive.recordings.clone(), Arc::clone(&archive.signer));
    let found = tokio::task::spawn_blocking(move || recording::recover(&journals, &recordings, signer.as_ref())).await?;
    let found = found.context("cannot look at the journals that are left")?;
    if !found.is_empty() {
        tracing::warn!(sessions = found.len(), "sessions were left by a bastion that did not stop");
    }
    Ok(broker.recover(found).await?)
}
