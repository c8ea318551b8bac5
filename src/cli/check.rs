//! Looks an installation over before it is run: config, policy with its tests, keys, store, folders, limits of the system.

use std::path::Path;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::failure::{Failure, REFUSED};
use super::policy::{Known, in_vain};
use super::said::{Outcome, Said};
use super::{open, place};
use crate::access::policy::Policy;
use crate::access::time::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::Store;

/// File descriptors of one session: client, host, knife's duplicates, journal, casts.
const FILES_PER_SESSION: u64 = 8;
/// Fewer sessions at once than this are worth a word.
const FEW_SESSIONS: u64 = 100;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    Warning,
    Wrong,
}

impl Grade {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// What was looked at, in order.
#[derive(Debug, Default)]
struct Findings(Vec<(Grade, &'static str, String)>);

impl Findings {
    fn good(&mut self, what: &'static str, said: impl Into<String>) {
        self.0.push((Grade::Good, what, said.into()));
    }

    fn warn(&mut self, what: &'static str, said: impl Into<String>) {
        self.0.push((Grade::Warning, what, said.into()));
    }

    fn wrong(&mut self, what: &'static str, said: impl Into<String>) {
        self.0.push((Grade::Wrong, what, said.into()));
    }

    fn said(self) -> Said {
        let wrong = self.0.iter().any(|(grade, ..)| *grade == Grade::Wrong);
        let mut text = String::new();
        for (grade, what, said) in &self.0 {
            let said = said.replace('\n', "\n    ");
            text.push_str(&format!("{:<8} {what}: {said}\n", grade.as_str()));
        }
        let list: Vec<Value> =
            self.0.iter().map(|(grade, what, said)| json!({ "result": grade.as_str(), "what": what, "message": said })).collect();
        Said { text, json: json!({ "ok": !wrong, "findings": list }), status: if wrong { REFUSED } else { 0 } }
    }
}

/// `check`: 0 if it can run, 1 if something is wrong.
pub(super) fn run(named: Option<&Path>) -> Outcome {
    let file = place::config_file(named)?;
    let mut found = Findings::default();
    match Config::load(&file) {
        Ok(config) => open::block_on(look(&config, &mut found))?,
        Err(wrong) => found.wrong("config", wrong.to_string()),
    }
    Ok(found.said())
}

async fn look(config: &Config, found: &mut Findings) -> Result<(), Failure> {
    found.good("config", config.file.display().to_string());
    for warning in &config.warnings {
        found.warn("config", warning.as_str());
    }
    if config.known_hosts_pattern.split(',').any(|pattern| pattern == "*") {
        found.warn(
            "known-hosts-pattern",
            "`*` lets the bastion's host CA speak for any host that people visit\nhint: name the bastion and the hosts behind it, as \"jit-bastion,phi-*\"",
        );
    }
    let known = match store(config, found).await {
        Some(store) => {
            keys(config, &store, found).await;
            if let Ok(Some(database)) = store.open_to_everybody().await {
                let said = format!("every role of the server may connect to {database}, and hold the locks that writers wait for");
                found.warn(
                    "store",
                    format!("{said}\nhint: REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, then GRANT it to the bastion's role"),
                );
            }
            let (reader, now) = (store.reader(), SystemClock.now());
            let (users, hosts) = (reader.users(now).await.unwrap_or_default(), reader.hosts().await.unwrap_or_default());
            store.close().await;
            Known { people: users.into_iter().filter(|user| user.in_force(now)).map(|user| user.person).collect(), hosts }
        }
        None => Known::default(),
    };
    policy(config, &known, found);
    for (what, folder) in [("state", &config.state), ("recordings", &config.recordings)] {
        writable(what, folder, found);
    }
    beside(config, found);
    open_files(found);
    Ok(())
}

/// The page of metrics and the program for alarms, where there are any.
fn beside(config: &Config, found: &mut Findings) {
    if let Some(address) = config.metrics.filter(|address| !address.ip().is_loopback()) {
        found.warn("metrics", format!("{address} can be read by others\nhint: listen on loopback, or let a firewall choose who scrapes"));
    }
    if let Some(program) = config.alarm.as_ref().and_then(|command| command.first()) {
        match rustix::fs::access(Path::new(program), rustix::fs::Access::EXEC_OK) {
            Ok(()) => found.good("alarm", program.as_str()),
            Err(why) => {
                found.wrong("alarm", format!("{program} cannot be run: {why}\nhint: name a program that the bastion's account may run"))
            }
        }
    }
}

/// Opens the store if it is there; `check` makes nothing.
async fn store(config: &Config, found: &mut Findings) -> Option<Store> {
    let opened = match open::is_whole(config).await {
        Ok(()) => open::store(config).await,
        Err(failure) => Err(failure),
    };
    match opened {
        Ok(store) => {
            found.good("store", config.store.to_string());
            Some(store)
        }
        Err(failure) => {
            found.wrong("store", failure.text().trim_start_matches("error: "));
            None
        }
    }
}

async fn keys(config: &Config, store: &Store, found: &mut Findings) {
    match open::keyring(config, &store.reader()).await {
        Ok(_) => found.good("keys", "they open with the passphrase"),
        Err(failure) => found.wrong("keys", failure.text().trim_start_matches("error: ")),
    }
}

fn policy(config: &Config, known: &Known, found: &mut Findings) {
    let file = config.policy.display().to_string();
    let text = match std::fs::read_to_string(&config.policy) {
        Ok(text) => text,
        Err(error) => {
            return found.wrong("policy", format!("cannot read {file}: {error}\nhint: `policy` in {} names it", config.file.display()));
        }
    };
    let policy = match Policy::parse(&text, &file) {
        Ok(policy) => policy,
        Err(error) => return found.wrong("policy", error.to_string()),
    };
    let failed = policy.run_tests(|name| known.hosts.iter().find(|host| host.name == *name).cloned());
    for error in &failed {
        found.wrong("policy", error.to_string());
    }
    for vain in policy.unreached(&known.people, &known.hosts) {
        match vain.never {
            true => found.wrong("policy", in_vain(&vain)),
            false => found.warn("policy", in_vain(&vain)),
        }
    }
    if failed.is_empty() {
        found.good("policy", format!("{file}, {} tests passed", policy.test_count()));
    }
}

fn writable(what: &'static str, folder: &Path, found: &mut Findings) {
    let shown = folder.display();
    if !folder.is_dir() {
        return found.wrong(what, format!("{shown} is not a folder\nhint: `jit-bastion init` makes it"));
    }
    let probe = folder.join(format!(".check-{}", std::process::id()));
    let tried = place::new_file(&probe, 0o600, "").and_then(|()| Ok(std::fs::remove_file(&probe)?));
    match tried {
        Ok(()) => found.good(what, shown.to_string()),
        Err(error) => {
            found.wrong(what, format!("{shown} cannot be written: {error:#}\nhint: it must belong to the account that runs `serve`"))
        }
    }
}

/// `serve` raises the soft limit to the hard one, so the hard one counts.
fn open_files(found: &mut Findings) {
    let Some(most) = getrlimit(Resource::Nofile).maximum else {
        return found.good("open files", "unlimited");
    };
    let sessions = most / FILES_PER_SESSION;
    let said = format!("{most}, enough for about {sessions} sessions at once");
    if sessions < FEW_SESSIONS {
        found.warn("open files", format!("{said}\nhint: raise `ulimit -Hn`, or LimitNOFILE= in the unit"));
    } else {
        found.good("open files", said);
    }
}
