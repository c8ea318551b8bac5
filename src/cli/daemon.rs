//! Runs the bastion until it is told to stop: listens, tells systemd, raises the limit of open files.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use super::notify::{self, State};
use super::said::{Outcome, Said};
use super::{open, place};
use crate::config::Config;
use crate::serve::{self, Signals};

/// Connections that the kernel holds for us while we accept others.
const BACKLOG: u32 = 1024;
/// What is logged unless RUST_LOG says otherwise.
const LOGGED: &str = "info,russh=warn,sqlx=warn";

/// `serve`.
pub(super) fn run(named: Option<&Path>) -> Outcome {
    log(None)?;
    let config = place::config(named)?;
    raise_open_files();
    runtime()?.block_on(until_stopped(&config, &config.listen, || notify::tell(State::Ready)))?;
    Ok(Said::nothing(0))
}

/// Serves at `door` until SIGTERM or SIGINT, reads the policy again at SIGHUP; calls `ready` when the door is open.
pub(super) async fn until_stopped(config: &Config, door: &[SocketAddr], ready: impl FnOnce()) -> Result<(), Failure> {
    let _only = only_one(config)?;
    open::is_whole(config).await?;
    let store = open::store(config).await?;
    let mut hold = store.hold().await.map_err(|error| Failure::from_text("running", &error.to_string()))?;
    let keys = open::unsealed(config, &store.reader()).await?;
    // After the locks: of two with one config, the second is told that the first serves, not that a port is in use.
    let listening = listen(door)?;
    let (reloads, reload) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let told = told(stop.clone(), reloads)?;
    let alone = async {
        let stop = stop.clone();
        hold.taken().await;
        tracing::error!("another bastion serves under this node's name; this one stops");
        stop.cancel();
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        served = serve::serve(config, store, keys, listening, Signals { stop: stop.clone(), reload }, ready) => served?,
        never = told => match never {},
        never = alone => match never {},
    }
    if hold.is_taken() {
        let next = "look which one it is: each machine has a name of its own, chosen by `jit-bastion init --node NAME`";
        return Err(Failure::refused("taken", "another bastion serves under this node's name", next));
    }
    Ok(())
}

/// Two that serve one state folder would each take the other's sessions for a dead one's.
fn only_one(config: &Config) -> Result<File, Failure> {
    let path = config.state.join("serving");
    let file =
        File::create(&path).with_context(|| format!("cannot write {}\nhint: `jit-bastion init` makes the folder", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::refused(
            "running",
            format!("a bastion serves {} already", config.state.display()),
            "stop it first, or give this one a state folder of its own",
        )
    })?;
    Ok(file)
}

/// Passes the signals of the system on, for ever. A second SIGTERM does nothing more: sealing takes a moment.
fn told(stop: CancellationToken, reloads: mpsc::Sender<oneshot::Sender<()>>) -> Result<impl Future<Output = Infallible>, Failure> {
    let catch = |kind| signal(kind).context("cannot catch signals");
    let (mut term, mut int, mut hup) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?, catch(SignalKind::hangup())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {
                    reload(&reloads).await;
                    continue;
                }
            }
            notify::tell(State::Stopping);
            stop.cancel();
        }
    })
}

async fn reload(reloads: &mpsc::Sender<oneshot::Sender<()>>) {
    notify::tell(State::Reloading);
    let (done, read) = oneshot::channel();
    if reloads.send(done).await.is_ok() {
        let _ = read.await;
    }
    notify::tell(State::Ready);
}

/// Threads enough for a machine of any size; each connection lives on one of them.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?)
}

/// Logs to `file`, else to standard error: for people on a terminal, as journald expects it elsewhere.
pub(super) fn log(file: Option<&Path>) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let set = match file {
        Some(file) => {
            let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
            let opened = opened.with_context(|| format!("cannot write {}", file.display()))?;
            lines.with_ansi(false).with_writer(opened).try_init()
        }
        None if std::env::var_os("JOURNAL_STREAM").is_some() => lines.with_ansi(false).without_time().with_writer(io::stderr).try_init(),
        None => lines.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).try_init(),
    };
    set.map_err(|error| Failure::Fault(anyhow::anyhow!("the log cannot be set up: {error}")))
}

/// Listens at every address, or says which one cannot be had.
fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let at = |address: &SocketAddr| {
        bind(*address).map_err(|error| Failure::refused("address", format!("cannot listen at {address}: {error}"), hint(*address)))
    };
    addresses.iter().map(at).collect()
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        // `[::]:22` beside `0.0.0.0:22` would otherwise be "in use".
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

fn hint(address: SocketAddr) -> &'static str {
    if address.port() < 1024 {
        "ports below 1024 need CAP_NET_BIND_SERVICE (the unit in systemd/ has it), and the machine's own sshd may have this one"
    } else {
        "another program may have this port; `ss -ltnp` lists who listens"
    }
}

/// The soft limit of open files up to the hard one; a session needs about eight.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
