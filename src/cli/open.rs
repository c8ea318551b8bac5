//! Opens what an installation consists of: store, passphrase, keys, and a broker over them. Each says what to do when it cannot.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::failure::Failure;
use crate::access::time::SystemClock;
use crate::broker::{Broker, Parts, Serving, SystemChance};
use crate::ca::keyring::Keyring;
use crate::ca::secret::Passphrase;
use crate::config::Config;
use crate::serve::{self, Unsealed, settings};
use crate::session::Knife;
use crate::store::{Reader, Store, StoreError};

/// What to do without keys.
const INIT: &str = "`jit-bastion init` makes keys and store";

/// The passphrase, from where the config says.
pub(super) fn passphrase(config: &Config) -> Result<Passphrase, Failure> {
    serve::passphrase(&config.keys).map_err(|error| Failure::from_text("passphrase", &error.to_string()))
}

/// The store of this installation, which `init` has made.
pub(super) async fn store(config: &Config) -> Result<Store, Failure> {
    is_there(config)?;
    store_as(config, &config.node()?).await
}

/// The same for the log of `node`; where it is not there it is made.
pub(super) async fn store_as(config: &Config, node: &str) -> Result<Store, Failure> {
    Store::open(&config.store.secret(), node).await.map_err(|error| cannot_open(config, &error))
}

/// A file that is missing was moved or lost: an empty one in its place would only hide that.
pub(super) fn is_there(config: &Config) -> Result<(), Failure> {
    let missing = |file: &Path| {
        let next = "put it back where it was, or restore a backup; for a new installation: `jit-bastion init`";
        Failure::refused("store", format!("{} is not there", file.display()), next)
    };
    config.store.file().filter(|file| !file.exists()).map_or(Ok(()), |file| Err(missing(file)))
}

/// Reads a store that is a file from end to end, and refuses one that is damaged.
pub(super) async fn is_whole(config: &Config) -> Result<(), Failure> {
    let Some(file) = config.store.file() else { return Ok(()) };
    is_there(config)?;
    crate::store::is_whole(file).await.map_err(|error| cannot_open(config, &error))
}

/// A store that cannot be opened, with the next step that its error knows, or the usual one.
pub(super) fn cannot_open(config: &Config, error: &StoreError) -> Failure {
    let said = format!("cannot open {}: {error}", config.store);
    if said.contains("\nhint: ") {
        return Failure::from_text("store", &said);
    }
    Failure::refused("store", said, "look whether it is there and lets this account in; `jit-bastion check` tries again")
}

/// The keys that lie sealed in the store.
pub(super) async fn keyring(config: &Config, reader: &Reader) -> Result<Keyring, Failure> {
    Ok(unsealed(config, reader).await?.ring)
}

/// The keys, and the version of the sealed ring that they are.
pub(super) async fn unsealed(config: &Config, reader: &Reader) -> Result<Unsealed, Failure> {
    let sealed = reader.sealed_ring().await.context("cannot read the keys from the store")?;
    let (sealed, version) = sealed.ok_or_else(|| Failure::refused("no-keys", "the store holds no keys yet", INIT))?;
    let passphrase = passphrase(config)?;
    let opened = tokio::task::spawn_blocking(move || Keyring::open(&sealed, &passphrase)).await.context("the keys could not be opened")?;
    let ring = opened.map_err(|error| Failure::from_text("keys", &error.to_string()))?;
    Ok(Unsealed { ring, version })
}

/// A broker for one local command. It may work beside a running bastion, which sees what it changes within a second. Without keys:
/// whoever may write the store may add a user, and the running bastion signs the log.
pub(super) fn broker(config: &Config, store: Store) -> Result<Arc<Broker>, Failure> {
    broker_of(config, store, None)
}

/// A broker that knows the keys too.
pub(super) async fn broker_with_keys(config: &Config, store: Store) -> Result<Arc<Broker>, Failure> {
    let keys = keyring(config, &store.reader()).await?;
    let knife = Knife::start(Arc::new(SystemClock)).context("cannot start the knife")?;
    broker_of(config, store, Some(Serving { keys, knife }))
}

fn broker_of(config: &Config, store: Store, serving: Option<Serving>) -> Result<Arc<Broker>, Failure> {
    let parts = Parts { store, clock: Arc::new(SystemClock), chance: Arc::new(SystemChance), settings: settings(config)?, serving };
    Ok(Broker::new(parts).context("the log cannot have this name")?)
}

/// Runs `work` to its end on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(work)
}
