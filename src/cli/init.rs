//! Makes an installation: folders, node name, passphrase, store, keys sealed in it; and, if asked, a first config and policy.
//! Overwrites nothing: keys that are there stay, because hosts and people trust them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use ssh_key::HashAlg;
use zeroize::Zeroizing;

use super::args::Init;
use super::failure::Failure;
use super::said::{Outcome, Said};
use super::{local, open, place};
use crate::access::time::{Clock, SystemClock};
use crate::audit::checkpoint::NoteKey;
use crate::audit::event::Event;
use crate::ca::keyring::Keyring;
use crate::ca::note::NoteSigner;
use crate::config::{Config, Keys, node_name};
use crate::store::{self, CheckpointFile, Store, StoreError, Urgency};

/// A first config and policy, to be read and changed.
const FIRST_CONFIG: &str = include_str!("first/jit-bastion.toml");
const FIRST_POLICY: &str = include_str!("../../systemd/policy.toml");

/// `init`.
pub(super) fn run(init: &Init, named: Option<&Path>) -> Outcome {
    let mut made = Vec::new();
    let file = match (&init.dir, named) {
        (Some(_), Some(_)) => return Err(Failure::Usage("--dir makes a config, --config names one\nhint: keep one of them".into())),
        (Some(dir), None) => first_files(dir, &mut made)?,
        (None, named) => place::config_file(named)?,
    };
    let config = Config::load(&file)?;
    let machine = ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|file| fs::read_to_string(file).ok());
    let node = match &init.node {
        Some(name) => Node::Named(name.clone()),
        None => Node::Guessed(node_name(&machine.unwrap_or_default())),
    };
    match open::block_on(install(&config, node, &mut made))? {
        Made::Now(verifier) => Ok(told(&config, &made, &verifier)),
        Made::Joined(verifier) => Ok(joined(&config, &made, &verifier)),
        Made::Before if init.if_missing => Ok(Said::done("", json!({ "config": config.file, "made": made }))),
        Made::Before => {
            let next = format!("`jit-bastion check --config {}` looks it over", config.file.display());
            Err(Failure::refused("exists", format!("{} holds keys already, and init overwrites nothing", config.store), next))
        }
    }
}

/// What a machine is called in the log, once for ever.
#[derive(Debug)]
pub(super) enum Node {
    /// So somebody said.
    Named(String),
    /// After the machine.
    Guessed(String),
}

impl Node {
    fn name(&self) -> &str {
        match self {
            Self::Named(name) | Self::Guessed(name) => name,
        }
    }
}

/// Whether the keys are new.
#[derive(Debug)]
pub(super) enum Made {
    /// Yes; the checkpoint key in C2SP's verifier form.
    Now(String),
    /// The keys were there and this machine is new: it shares them. The checkpoint key as above, under this machine's name.
    Joined(String),
    /// All was there.
    Before,
}

fn joined(config: &Config, made: &[PathBuf], verifier: &str) -> Said {
    let shown = config.file.display();
    let mut text: String = made.iter().map(|path| format!("made {}\n", path.display())).collect();
    text.push_str(&format!(
        "\nThis machine shares the keys in {}. What proves its own log and recordings, to be kept elsewhere:\n  {verifier}\n\n\
         next\n  \
         look it over     jit-bastion check --config {shown}\n  \
         run it           jit-bastion serve --config {shown}\n",
        config.store,
    ));
    Said::done(text, json!({ "config": config.file, "made": made, "checkpoint_key": verifier }))
}

fn told(config: &Config, made: &[PathBuf], verifier: &str) -> Said {
    let shown = config.file.display();
    let mut text: String = made.iter().map(|path| format!("made {}\n", path.display())).collect();
    text.push_str(&format!(
        "\nKeep off this machine: a copy of the passphrase, and the key that proves the log and the recordings:\n  {verifier}\n\n\
         next\n  \
         read and change  {shown} and {}\n  \
         add people       jit-bastion user add alice --key alice.pub --role engineer --config {shown}\n  \
         add machines     jit-bastion host add phi-db --address 10.0.0.5 --login postgres --key phi-db.pub --config {shown}\n  \
         look it over     jit-bastion check --config {shown}\n  \
         run it           jit-bastion serve --config {shown}\n",
        config.policy.display(),
    ));
    Said::done(text, json!({ "config": config.file, "made": made, "checkpoint_key": verifier }))
}

fn first_files(dir: &Path, made: &mut Vec<PathBuf>) -> Result<PathBuf, Failure> {
    let files = [(dir.join("jit-bastion.toml"), FIRST_CONFIG), (dir.join("policy.toml"), FIRST_POLICY)];
    if let Some((there, _)) = files.iter().find(|(file, _)| file.exists()) {
        let next = format!("`jit-bastion init --config {}` makes what is missing around it", dir.join("jit-bastion.toml").display());
        return Err(Failure::refused("exists", format!("{} is there already, and init overwrites nothing", there.display()), next));
    }
    place::private_folder(dir)?;
    for (file, content) in &files {
        place::new_file(file, 0o644, content)?;
        made.push(file.clone());
    }
    Ok(dir.join("jit-bastion.toml"))
}

/// Makes what is missing of the installation that `config` describes; adds to `made` what it made.
pub(super) async fn install(config: &Config, node: Node, made: &mut Vec<PathBuf>) -> Result<Made, Failure> {
    for folder in [&config.state, &config.recordings] {
        if !folder.is_dir() {
            place::private_folder(folder)?;
            made.push(folder.clone());
        }
    }
    let is_new = !config.node_file().exists();
    let name = if is_new { node.name().to_owned() } else { config.node()? };
    if matches!(&node, Node::Named(asked) if *asked != name) {
        let message = format!("this machine's name is {name} already, and a log keeps its name");
        return Err(Failure::refused("named", message, "leave --node out"));
    }
    let store = open::store_as(config, &name).await?;
    let done = keys(config, &store, is_new.then_some(&node), made).await;
    store.close().await;
    done
}

async fn keys(config: &Config, store: &Store, new: Option<&Node>, made: &mut Vec<PathBuf>) -> Result<Made, Failure> {
    let there = store.reader().sealed_keys().await.context("cannot read the store")?.is_some();
    match (there, new) {
        (true, Some(node)) => join(config, store, node, made).await,
        (true, None) => Ok(Made::Before),
        (false, _) => first(config, store, new.is_some(), made).await,
    }
}

/// The first machine of an installation makes its keys.
async fn first(config: &Config, store: &Store, new: bool, made: &mut Vec<PathBuf>) -> Result<Made, Failure> {
    if let Keys::PassphraseFile(file) = &config.keys
        && !file.exists()
    {
        let passphrase = Zeroizing::new(format!("{}\n", BASE64.encode(Zeroizing::new(rand::random::<[u8; 32]>()))));
        place::new_file(file, 0o600, &passphrase)?;
        made.push(file.clone());
    }
    let passphrase = open::passphrase(config)?;
    let make = move || -> anyhow::Result<(Keyring, String)> {
        let ring = Keyring::generate(&mut rand::rng())?;
        let sealed = ring.seal(&passphrase, &mut rand::rng())?;
        Ok((ring, sealed))
    };
    let (ring, sealed) = tokio::task::spawn_blocking(make).await.context("the keys could not be made")??;
    if new {
        keep_name(config, store)?;
    }
    let signer = ring.note_signer(store.node()).context("the log cannot have this name")?;
    let now = SystemClock.now();
    let event = initialised(&ring, &signer);
    let kept = store.change(Urgency::Ordinary, local::actor(), now, move |tx| {
        Box::pin(async move {
            tx.keep_sealed_keys(&sealed).await?;
            Ok::<_, StoreError>(store::Outcome::Changed((), event))
        })
    });
    kept.await.context("the keys could not be kept")?;
    let verifier = keep_verifier(config, &signer, made)?;
    checkpoint(config, store, &signer).await?;
    Ok(Made::Now(verifier))
}

/// A further machine shares the keys that are in the store: it must know their passphrase, and makes none.
async fn join(config: &Config, store: &Store, node: &Node, made: &mut Vec<PathBuf>) -> Result<Made, Failure> {
    if let Keys::PassphraseFile(file) = &config.keys
        && !file.exists()
    {
        let message = format!("{} holds the keys of this installation already, and {} is not there", config.store, file.display());
        let next = "copy the passphrase from the machine that made them (mode 600), then run init again";
        return Err(Failure::refused("no-passphrase", message, next));
    }
    let ring = open::keyring(config, &store.reader()).await?;
    let known = store.reader().head().await.context("cannot read the store")?.is_some();
    if let (true, Node::Guessed(name)) = (known, node) {
        let message = format!("the store has the log of a machine named {name} already");
        let next = format!("--node NAME gives this one another name; if it is that machine, set up again, --node {name} says so");
        return Err(Failure::refused("name-taken", message, next));
    }
    keep_name(config, store)?;
    let signer = ring.note_signer(store.node()).context("the log cannot have this name")?;
    Ok(Made::Joined(keep_verifier(config, &signer, made)?))
}

fn keep_name(config: &Config, store: &Store) -> anyhow::Result<()> {
    place::new_file(&config.node_file(), 0o644, &format!("{}\n", store.node()))
}

/// Writes the key that proves this machine's log beside the state.
fn keep_verifier(config: &Config, signer: &NoteSigner, made: &mut Vec<PathBuf>) -> anyhow::Result<String> {
    let verifier = signer.verifier();
    let file = config.state.join("checkpoint.pub");
    let _ = fs::remove_file(&file);
    place::new_file(&file, 0o644, &format!("{verifier}\n"))?;
    made.push(file);
    Ok(verifier)
}

/// Signs the log's head as it is now.
async fn checkpoint(config: &Config, store: &Store, signer: &NoteSigner) -> anyhow::Result<()> {
    let key = NoteKey::new(signer.name(), *signer.public_key())?;
    let file = CheckpointFile::in_folder(&config.state);
    store
        .checkpoint(SystemClock.now(), &file, |head| head.sign(&key, |bytes| signer.sign(bytes)))
        .await
        .context("the log could not be signed")?;
    Ok(())
}

fn initialised(ring: &Keyring, signer: &NoteSigner) -> Event {
    let print = |key: &ssh_key::PublicKey| key.fingerprint(HashAlg::Sha256).to_string();
    Event::Initialised {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        checkpoint_key: signer.verifier(),
        outer_host_key: print(ring.outer_host_key.public_key()),
        inner_host_key: print(ring.inner_host_key.public_key()),
        session_ca: print(ring.sessions.public_key()),
        host_ca: print(ring.hosts.public_key()),
        access_ca: print(ring.access.public_key()),
    }
}
