//! `ca ..`: the keys of the installation, how they are replaced, and under which passphrase they lie.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{CaCommand, KeyWord, Overlap};
use super::failure::Failure;
use super::said::{Outcome, Said, table};
use super::{local, open};
use crate::access::time::{Clock, Span, SystemClock, Timestamp};
use crate::audit::event::Event;
use crate::broker::Broker;
use crate::ca::keyring::Keyring;
use crate::ca::secret::Passphrase;
use crate::ca::turning::{KeyRole, KeyStage, KeyState, TurnError, Turned, fingerprint};
use crate::config::{Config, Keys};
use crate::serve::Unsealed;

/// How long a key that was replaced stays trusted, unless somebody says otherwise.
const OVERLAP: Span = Span::seconds(30 * 24 * 3600);

/// `ca ..`.
pub(super) async fn run(config: &Config, broker: &Broker, command: &CaCommand) -> Outcome {
    let Unsealed { ring, version } = open::unsealed(config, &broker.reader()).await?;
    let now = SystemClock.now();
    match command {
        CaCommand::List => Ok(list(&ring.keys(now))),
        CaCommand::Rotate { key: KeyWord::All, emergency: true, .. } => {
            let (mut ring, mut said) = (ring, Vec::new());
            for role in KeyRole::ALL {
                let (after, turned) = ring.replaced(role, now, &mut rand::rng()).map_err(refused)?;
                ring = after;
                said.push(turned);
            }
            keep(config, broker, ring, version, &said, How::Emergency).await?;
            told(broker, &said, How::Emergency).await
        }
        CaCommand::Rotate { key, overlap, emergency } => {
            let role = role(*key)?;
            let (turn, how) = match emergency {
                true => (ring.replaced(role, now, &mut rand::rng()), How::Emergency),
                false => (ring.rotated(role, now, overlap.date(now).unwrap_or(now.plus(OVERLAP)), &mut rand::rng()), How::Planned),
            };
            one(config, broker, turn, version, how).await
        }
        CaCommand::Activate { key, overlap } => {
            let turn = ring.activated(role(*key)?, now, Overlap::date(*overlap, now));
            one(config, broker, turn, version, How::Planned).await
        }
        CaCommand::Passphrase { new } => reseal(config, broker, ring, version, new).await,
    }
}

/// Why a key is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Planned,
    /// It was stolen.
    Emergency,
}

fn role(word: KeyWord) -> Result<KeyRole, Failure> {
    Ok(match word {
        KeyWord::Session => KeyRole::Session,
        KeyWord::Host => KeyRole::Host,
        KeyWord::Access => KeyRole::Access,
        KeyWord::HostKeyOuter => KeyRole::HostKeyOuter,
        KeyWord::HostKeyInner => KeyRole::HostKeyInner,
        KeyWord::Checkpoint => KeyRole::Checkpoint,
        KeyWord::All => {
            let text = "all keys are replaced together only when all were stolen\nhint: name one key, or add --emergency";
            return Err(Failure::Usage(text.into()));
        }
    })
}

fn refused(error: TurnError) -> Failure {
    Failure::from_text("keys", &error.to_string())
}

async fn one(config: &Config, broker: &Broker, turn: Result<(Keyring, Turned), TurnError>, version: i64, how: How) -> Outcome {
    let (after, turned) = turn.map_err(refused)?;
    let turned = [turned];
    keep(config, broker, after, version, &turned, how).await?;
    told(broker, &turned, how).await
}

/// Seals the ring and puts it into the store with the events of its changes, all of them or none. A bastion that runs takes it over within a second.
async fn keep(config: &Config, broker: &Broker, ring: Keyring, version: i64, turns: &[Turned], how: How) -> Result<(), Failure> {
    let passphrase = open::passphrase(config)?;
    let sealed = sealed(ring, passphrase).await?;
    let event = |turned: &Turned| Event::KeyTurned {
        key: turned.role.as_str().into(),
        stage: turned.stage.as_str().into(),
        fingerprint: fingerprint(&turned.public),
        before: fingerprint(&turned.before),
        before_until_us: turned.until,
        how: if how == How::Emergency { "emergency" } else { "planned" }.into(),
    };
    let events = turns.iter().map(event).collect();
    Ok(broker.reseal(&local::actor(), version, sealed, events, how == How::Emergency).await?)
}

async fn sealed(ring: Keyring, passphrase: Passphrase) -> Result<String, Failure> {
    let seal = move || ring.seal(&passphrase, &mut rand::rng());
    let sealed = tokio::task::spawn_blocking(seal).await.context("the keys could not be sealed")?;
    sealed.map_err(|error| Failure::from_text("keys", &error.to_string()))
}

/// `ca passphrase`.
async fn reseal(config: &Config, broker: &Broker, ring: Keyring, version: i64, new: &Path) -> Outcome {
    let passphrase = Passphrase::from_file(new).map_err(|error| Failure::from_text("passphrase", &error.to_string()))?;
    let sealed = sealed(ring, passphrase).await?;
    broker.reseal(&local::actor(), version, sealed, vec![Event::PassphraseChanged {}], false).await?;
    let place = match &config.keys {
        Keys::PassphraseFile(file) => file.display().to_string(),
        Keys::Credential(name) => format!("the credential {name}"),
    };
    let text = format!(
        "the keys are sealed under the passphrase in {0}\nnext\n  put it where the config looks: {place}; and a copy off this machine\n  jit-bastion check\nA bastion that runs goes on; it needs the new passphrase at its next start.\n",
        new.display()
    );
    Ok(Said::done(text, json!({ "sealed": true, "file": new })))
}

fn list(keys: &[KeyState]) -> Said {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    // Of a next key the date is that of the one before it.
    let until = |key: &KeyState| key.until.filter(|_| key.stage != KeyStage::Next);
    let rows = keys
        .iter()
        .map(|key| vec![key.role.to_string(), key.stage.as_str().into(), fingerprint(&key.public), time(key.since), time(until(key))]);
    let text = table(["key", "state", "fingerprint", "since", "trusted until"], rows, "there are no keys");
    let json: Value = keys
        .iter()
        .map(|key| {
            let line = key.public.to_openssh().unwrap_or_default();
            let mut words = line.split(' ').take(2);
            let line = [words.next().unwrap_or_default(), words.next().unwrap_or_default()].join(" ");
            json!({
                "key": key.role.as_str(),
                "state": key.stage.as_str(),
                "fingerprint": fingerprint(&key.public),
                "public": line,
                "since": key.since.map(|at| at.to_string()),
                "until": until(key).map(|at| at.to_string()),
            })
        })
        .collect();
    Said::done(text, json)
}

/// What was done, and what people must do now.
async fn told(broker: &Broker, turns: &[Turned], how: How) -> Outcome {
    let hosts = broker.reader().hosts().await.context("cannot read the hosts")?;
    let hosts: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    let mut text = String::new();
    let mut json = Vec::new();
    for turned in turns {
        let next = next(turned, how, &hosts);
        let (role, new, old) = (turned.role, fingerprint(&turned.public), fingerprint(&turned.before));
        text.push_str(&format!("{role}: {new} is {}\n", turned.stage.as_str()));
        text.push_str(&match turned.until {
            Some(until) => format!("{role}: {old} is trusted until {until}\n"),
            None => format!("{role}: {old} is trusted no more\n"),
        });
        text.push_str("next\n");
        next.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        json.push(json!({
            "key": role.as_str(), "state": turned.stage.as_str(), "fingerprint": new, "before": old,
            "before_until": turned.until.map(|at| at.to_string()), "next": next,
        }));
    }
    let json = if json.len() == 1 { json.remove(0) } else { Value::Array(json) };
    Ok(Said::done(text, json))
}

fn line(text: &str) -> String {
    text.to_owned()
}

/// The steps after a turn, one a line.
fn next(turned: &Turned, how: How, hosts: &[String]) -> Vec<String> {
    let role = turned.role;
    let setup =
        || hosts.iter().map(|host| format!("jit-bastion host setup {host} --stage enforce    (or trust, as it was), and put it on {host}"));
    match (role, turned.stage, how) {
        (KeyRole::Session, KeyStage::Next, _) => {
            let mut steps: Vec<String> = setup().collect();
            steps.push(line("then: jit-bastion ca activate session    (until then the old one signs)"));
            steps
        }
        (KeyRole::Session, _, How::Emergency) => {
            let mut steps = vec![line(
                "the thief can open every host that still trusts the old key; no session opens through us before a host has the new one",
            )];
            steps.extend(setup());
            steps.push(line(
                "on each host, look through its log for \"Accepted publickey\" by that CA that is not in `jit-bastion sessions`",
            ));
            steps
        }
        (KeyRole::Session, ..) => {
            vec![line("after that date, once more: jit-bastion host setup NAME --stage enforce, without the old key")]
        }
        (KeyRole::Host, KeyStage::Next, _) => vec![
            line("people put what `ssh jit-bastion known-hosts` prints now (both lines) into ~/.ssh/known_hosts"),
            line("then: jit-bastion ca activate host    (until then the old one signs)"),
        ],
        (KeyRole::Host, _, How::Emergency) => vec![
            line("the thief can pose as any host that the old line covers: people take that line out of ~/.ssh/known_hosts now"),
            line("and put in what `jit-bastion known-hosts` prints on this machine; tell them its fingerprint by another way than ssh"),
        ],
        (KeyRole::Host, ..) => vec![line("after that date people take the old line out of ~/.ssh/known_hosts")],
        (KeyRole::Access, _, How::Emergency) => {
            vec![line("certificates that the old one signed open nothing any more; who needs one: ssh jit-bastion cert GRANT")]
        }
        (KeyRole::Access, ..) => {
            vec![line("nothing: certificates that the old one signed count until that date, or until their grant's end")]
        }
        (KeyRole::HostKeyOuter | KeyRole::HostKeyInner, KeyStage::Next, _) => vec![
            line(
                "people with the plain key put what `ssh jit-bastion known-hosts --plain` prints now into ~/.ssh/known_hosts; who has the CA line need do nothing",
            ),
            format!("then: jit-bastion ca activate {role}    (until then the old one is shown)"),
        ],
        (KeyRole::HostKeyOuter | KeyRole::HostKeyInner, ..) => {
            vec![line("people with the plain key replace it by what `known-hosts --plain` prints; who has the CA line need do nothing")]
        }
        (KeyRole::Checkpoint, _, How::Emergency) => vec![
            line(
                "the log as it was when the last checkpoint left this machine is proven; compare it: jit-bastion verify --key FILE with the copies",
            ),
            line(
                "give auditors the new key (`jit-bastion ca list --json`, or the event checkpoint-key-changed) by another way; the old one must not vouch for it",
            ),
        ],
        (KeyRole::Checkpoint, ..) => {
            vec![line("nothing: the old key signs the entry that names the new one, so who keeps the old one can follow")]
        }
    }
}
