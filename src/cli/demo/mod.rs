//! `demo`: a complete world on loopback, made in one folder and run until it is stopped. What is there already is gone on with.

mod files;
mod key;
mod machine;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

use super::args::Demo;
use super::failure::Failure;
use super::said::{Outcome, Said, out};
use super::{daemon, init, local, open, place};
use crate::access::host::{Address, Host, HostTrust};
use crate::access::names::{Login, User};
use crate::access::person::Person;
use crate::access::time::{Clock, SystemClock};
use crate::broker::{Broker, NewKey, Trusting};
use crate::ca::turning::KeyRole;
use crate::config::Config;
use machine::{Machine, Running};

/// Who is in the demo: name, role, firm.
const USERS: [(&str, &str, Option<&str>); 5] = [
    ("alice", "engineer", None),
    ("bob", "approver", None),
    ("carol", "auditor", None),
    ("dave", "administrator", None),
    ("vera", "vendor-engineer", Some("acme")),
];
const HOSTS: [&str; 2] = ["phi-db", "phi-app"];
/// Tried first.
const PORT: u16 = 2222;
/// The demo's node.
const NODE: &str = "demo";

/// `demo`.
pub(super) fn run(demo: &Demo) -> Outcome {
    place::private_folder(&demo.dir)?;
    let dir = demo.dir.canonicalize().with_context(|| format!("cannot find {}", demo.dir.display()))?;
    let _only = only_one(&dir)?;
    daemon::log(Some(&dir.join("bastion.log")))?;
    daemon::raise_open_files();
    daemon::runtime()?.block_on(world(&dir, demo.port))
}

async fn world(dir: &Path, asked: Option<u16>) -> Outcome {
    let file = dir.join("jit-bastion.toml");
    let port = port(asked, &file)?;
    files::config(&file, port)?;
    let login = own_login()?;
    files::policy(&dir.join("policy.toml"), &login)?;
    let config = Config::load(&file)?;
    init::install(&config, init::Node::Named(NODE.to_owned()), &mut Vec::new()).await?;
    let machines = HOSTS.map(|name| (name, dir.join("hosts").join(name)));
    let running = hosts_and_people(&config, dir, machines, &login).await?;
    files::ssh_config(dir, port)?;
    let door = [SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let served = daemon::until_stopped(&config, &door, || {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("jit-bastion"));
        out(&format!("{}\nready\n", files::words(dir, &program)));
    });
    let ended = served.await;
    for machine in running {
        machine.stop().await;
    }
    ended?;
    Ok(Said::nothing(0))
}

/// Holds the folder for this process alone, as long as the file is open.
fn only_one(dir: &Path) -> Result<File, Failure> {
    let lock = File::create(dir.join(".lock")).with_context(|| format!("cannot write into {}", dir.display()))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::refused("running", format!("a demo runs in {} already", dir.display()), "stop it, or name another folder with --dir DIR")
    })?;
    Ok(lock)
}

/// The port that is asked for, else the last one, else the usual one, else a free one. 0 asks for the last one or any.
fn port(asked: Option<u16>, config: &Path) -> Result<u16, Failure> {
    let named = asked.filter(|port| *port != 0);
    let usual = if asked == Some(0) { 0 } else { PORT };
    let port = machine::free_port(Some(named.or_else(|| files::last_port(config)).unwrap_or(usual)))?;
    match named {
        Some(asked) if port != asked => {
            let message = format!("port {asked} of 127.0.0.1 is taken");
            Err(Failure::refused("port-taken", message, "name another one, or leave --port out: then a free one is found"))
        }
        _ => Ok(port),
    }
}

/// Starts the hosts, and makes them and everybody known.
async fn hosts_and_people(config: &Config, dir: &Path, machines: [(&str, PathBuf); 2], login: &Login) -> Result<Vec<Running>, Failure> {
    let store = open::store(config).await?;
    let ring = open::keyring(config, &store.reader()).await?;
    let mut known = Vec::new();
    let line = |key: &ssh_key::PublicKey| key.to_openssh().context("a public key cannot be written");
    let now = SystemClock.now();
    for key in ring.trusted(KeyRole::Host, now) {
        known.push(line(&key)?);
    }
    files::known_hosts(dir, &config.known_hosts_pattern, &known)?;
    let session_ca = ring.trusted(KeyRole::Session, now).iter().map(line).collect::<Result<Vec<_>, _>>()?.join("\n");
    let broker = open::broker(config, store.clone())?;
    let mut running = Vec::new();
    for (name, folder) in machines {
        let machine = Machine::prepare(folder)?;
        machine.end_orphan()?;
        let mut host = host(name, &machine, login)?;
        let known = broker.reader().host(&host.name).await.context("cannot read the hosts")?;
        host.address.port = machine::free_port(known.as_ref().map(|known| known.address.port))?;
        running.push(machine.start(host.address.port, &session_ca).await?);
        settle(&broker, host, known.is_some()).await?;
    }
    people(&broker, &dir.join("keys")).await?;
    store.close().await;
    Ok(running)
}

/// Registers `host`, or moves it to where it is this time.
async fn settle(broker: &Broker, host: Host, known: bool) -> Result<(), Failure> {
    let by = local::actor();
    if known {
        broker.trust_host(&by, &host.name, Trusting::These(host.trust.clone())).await?;
        broker.change_host(&by, host).await?;
    } else {
        broker.add_host(&by, host).await?;
    }
    Ok(())
}

/// Makes everybody known who is not yet, with a key in `folder`.
async fn people(broker: &Broker, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, role, firm) in USERS {
        let file = folder.join(name);
        key::make(&file, name)?;
        let user: User = name.parse()?;
        if broker.reader().user(&user, broker.now()).await.context("cannot read the users")?.is_some() {
            continue;
        }
        let key = key::public(&file)?.parse().with_context(|| format!("{} is no key", file.display()))?;
        let person = Person { user, roles: [role.parse()?].into(), vendor: firm.map(str::parse).transpose()? };
        broker.add_user(&local::actor(), person, vec![NewKey { key, name: String::new() }]).await?;
    }
    Ok(())
}

/// The machine as it will be registered; the port is not known yet.
fn host(name: &str, machine: &Machine, login: &Login) -> Result<Host, Failure> {
    let trust: HostTrust = machine.public_key()?.parse()?;
    Ok(Host {
        name: name.parse()?,
        aliases: vec![],
        address: Address { host: Ipv4Addr::LOCALHOST.to_string(), port: 0 },
        trust: vec![trust],
        labels: [("phi".to_owned(), String::new())].into(),
        logins: vec![login.clone()],
    })
}

/// The account that runs the demo: an sshd that is not root's lets nobody else in.
fn own_login() -> Result<Login, Failure> {
    let account = local::account().ok_or_else(|| {
        Failure::refused("no-account", "the account that runs the demo has no name in /etc/passwd", "run it as an account that has one")
    })?;
    Ok(account.parse()?)
}
