//! A visit in progress: opened with its journal, relayed, ended for one reason, sealed and closed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::Wing;
use super::connection::Content;
use super::egress::Egress;
use super::ground::{self, Ground};
use super::inner::{Begun, Turned};
use super::keeping::{Keeping, Sealing};
use super::leg::Leg;
use super::limited::Limited;
use super::relay::{End, Pulse, Relay, Rights, Said};
use super::reminders;
use super::tunnel::Use;
use crate::access::channels::{Channels, Kind};
use crate::access::policy::Keep;
use crate::access::size::Size;
use crate::broker::{Budget, OpenSession};
use crate::recording::{RecordError, Right, recover_one};
use crate::session::{Cutoff, Ending, Side};
use crate::wire::auth;

/// All that a visit owns.
pub(super) struct Visit<R, W> {
    pub(super) begun: Begun,
    pub(super) client: Leg<W>,
    pub(super) reader: R,
    pub(super) peer: SocketAddr,
    pub(super) outer: Use,
    pub(super) closed: watch::Receiver<bool>,
}

/// Opens the session, relays, ends it and seals it.
pub(super) async fn go<R, W>(wing: &Arc<Wing>, visit: Visit<R, W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Visit { begun, client, reader, peer, outer, closed } = visit;
    let Begun { admission, upstream, room: _room, quota } = begun;
    let channels = admission.grant().channels.clone();
    let said = upstream.said.clone();
    let mut open = match wing.broker.open_session(admission, peer).await {
        Ok(open) => open,
        Err(error) => return super::inner::tell(&client, &Turned::from(error)).await,
    };
    let rights = rights(&channels, &open);
    let keeping = match Keeping::begin(&wing.archive, &wing.clock, &open.meta, open.index, Some(quota)).await {
        Ok(keeping) => RefCell::new(Limited::new(keeping, open.keep.and_then(Keep::of_commands))),
        Err(error) => {
            let fault = wing.broker.fault(&format!("the recording of {} cannot begin: {error}", open.id));
            super::inner::tell(&client, &Turned::Fault(fault)).await;
            return finish(wing, open, Ending::RecorderFailed, None).await;
        }
    };
    let egress = open.egress.map_or_else(Egress::unlimited, |budget| Egress::of(budget.left));
    let course = async {
        let ending = relay(wing, &open, Sides { client, reader, upstream, outer, closed }, &keeping, rights, &egress, said).await;
        egress.close();
        ending
    };
    let (ending, ()) = tokio::join!(course, keep_filled(wing, &open, &egress));
    open.egress = open.egress.map(|budget| Budget { left: egress.left(), ..budget });
    seal(wing, open, keeping.into_inner().finish(), ending).await;
}

/// Seals a session's recordings and logs its end; later, where the disk does not take them now.
pub(super) async fn seal(wing: &Arc<Wing>, open: OpenSession, keeping: Keeping, ending: Ending) {
    let (sealing, quota) = keeping.seal(ending).await;
    match sealing {
        Sealing::Done(sealed) => finish(wing, open, ending, Some(*sealed)).await,
        Sealing::Later(journal) => {
            finish(wing, open, ending, None).await;
            let wing = Arc::clone(wing);
            // The next start does it where this process ends before.
            wing.clone().tasks.spawn(async move {
                seal_later(&wing, journal).await;
                drop(quota);
            });
        }
    }
}

/// The session is over and its end is logged, but the disk did not take its recordings. Tries until it does, or until the journal is gone.
async fn seal_later(wing: &Wing, journal: PathBuf) {
    loop {
        sleep(AGAIN).await;
        if wing.archive.disk.ask(AGAIN).await.is_err() {
            continue;
        }
        let (archive, of_thread) = (Arc::clone(&wing.archive), journal.clone());
        let work = spawn_blocking(move || {
            let there = of_thread.exists();
            (there, recover_one(of_thread, &archive.recordings, &*(archive.signer)()))
        });
        let sealed = match work.await {
            Ok((false, _)) => return tracing::error!(journal = %journal.display(), "a journal is gone, and nothing was sealed from it"),
            Ok((true, Some(found))) => found.sealed,
            // While the seal that was given up still hangs in the disk, it holds the journal.
            Ok((true, None)) | Err(_) => continue,
        };
        let logged = match &sealed {
            Ok(sealed) => wing.broker.sealed_later(sealed).await.map_err(|fault| fault.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match logged {
            Ok(()) => return tracing::info!(journal = %journal.display(), "a recording is sealed after all"),
            Err(error) => tracing::error!(journal = %journal.display(), error, "a recording is still not sealed; it is tried again"),
        }
    }
}

struct Sides<R, W> {
    client: Leg<W>,
    reader: R,
    upstream: super::upstream::Upstream,
    outer: Use,
    closed: watch::Receiver<bool>,
}

/// From USERAUTH_SUCCESS to the last word.
async fn relay<R, W>(
    wing: &Wing,
    open: &OpenSession,
    sides: Sides<R, W>,
    keeping: &RefCell<Limited<Keeping>>,
    rights: Rights,
    egress: &Egress,
    said: Vec<String>,
) -> Ending
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Sides { client, reader, mut upstream, outer, mut closed } = sides;
    let cutoff = open.cutoff.clone();
    cutoff.hold(upstream.socket, Side::Host);
    outer.socket().into_iter().for_each(|socket| cutoff.hold(socket, Side::Outer));
    let mut reader = cutoff.guard(reader, Side::Client);
    let (ground, mut tunnels) = Ground::of(wing, open);
    let relay = Relay::new((&client, &upstream.leg), keeping, (rights, &ground), pulse(open), egress).throttled(wing.terminal_rate());
    let course = async {
        for text in said {
            client.send(&auth::banner(&text)).await?;
        }
        client.send(&auth::banner(&welcome(open))).await?;
        client.send(&auth::success()).await?;
        Ok::<_, super::leg::LegError>(relay.run(&mut reader, &mut upstream.reader).await)
    };
    let ended = tokio::select! {
        biased;
        why = cutoff.fell() => Err(why),
        never = reminders::remind(&relay, open, &*wing.clock) => match never {},
        never = ground::tell(wing, open, &mut tunnels) => match never {},
        end = course => Ok(end.unwrap_or(End::ClientLeft)),
    };
    ground::tell_rest(wing, open, tunnels);
    let (ending, why) = match ended.map(|end| itself(wing, open, end)) {
        Err(ending) => (ending, Why::of(ending)),
        Ok((ending @ (Ending::RecorderFailed | Ending::OverBudget), why)) => why.unless_first(&cutoff, ending),
        Ok((ending, why)) => {
            relay.part(&why.words).await;
            return ending;
        }
    };
    relay.end_host(TO_HOST).await;
    cutoff.release(Side::Host);
    relay.close_accounts();
    let words = farewell(open, &why);
    if relay.end_channels(&words, TO_CLIENT).await == Said::All {
        // It leaves by itself when its channels are closed.
        let _ = timeout(TO_READ, closed.wait_for(|closed| *closed)).await;
    }
    relay.disconnect(&words, TO_DISCONNECT).await;
    cutoff.release(Side::Client);
    drop(relay);
    drop(client);
    await_close(&outer, &mut closed).await;
    cutoff.release(Side::Outer);
    ending
}

/// Takes more of the grant's budget whenever the session's share runs low.
pub(super) async fn keep_filled(wing: &Wing, open: &OpenSession, egress: &Egress) {
    if let (Right::Grant { grant, .. }, Some(budget)) = (&open.meta.right, open.egress) {
        egress.keep_filled(|| wing.broker.more_egress(grant, budget.limit)).await;
    }
}

/// What keeps this session from being logged off, which begins now where the rule says so.
fn pulse(open: &OpenSession) -> Pulse<'_> {
    match open.idle {
        Some(idle) => {
            open.cutoff.log_off_after(idle);
            Pulse::of(&open.cutoff, open.idle_commands)
        }
        None => Pulse::none(),
    }
}

/// The session ends by the bastion's own will; where something else came first, that is why.
pub(super) fn cut(cutoff: &Cutoff, ending: Ending) -> Ending {
    cutoff.cut(ending);
    cutoff.reason().unwrap_or(ending)
}

/// Why a session ends, for whoever is still there, and what they can do next; left out: ask for more.
struct Why {
    words: String,
    next: Option<&'static str>,
}

impl Why {
    fn of(ending: Ending) -> Self {
        let next = (ending == Ending::RecorderFailed).then_some("your grant is not touched; tell an administrator");
        Self { words: ending.sentence().to_owned(), next }
    }

    /// The bastion ends it, for this; where something else came first, for that.
    fn unless_first(self, cutoff: &Cutoff, ending: Ending) -> (Ending, Self) {
        match cut(cutoff, ending) {
            first if first == ending => (ending, self),
            first => (first, Self::of(first)),
        }
    }

    fn words(words: impl Into<String>) -> Self {
        Self { words: words.into(), next: None }
    }
}

/// How a relay that ended by itself is told: the session's ending, and why.
fn itself(wing: &Wing, open: &OpenSession, end: End) -> (Ending, Why) {
    match end {
        End::ClientLeft => (Ending::Left, Why::words("")),
        End::HostLeft(Some(text)) => (Ending::Left, Why::words(text)),
        End::HostLeft(None) => (Ending::PeerGone, Why::words("the host closed the connection without a word")),
        End::Client(_) | End::Host(_) | End::Files(_) => {
            tracing::warn!(session = %open.id, reason = %end, "a session was broken off");
            (Ending::PeerGone, Why::words(end.to_string()))
        }
        End::OverBudget => {
            let whole = open.egress.map_or_else(String::new, |budget| format!(" of {}", budget.limit));
            (Ending::OverBudget, Why::words(format!("the byte budget{whole} of {} is used up", open.meta.right.under())))
        }
        End::Recorder(RecordError::Enough(most)) => {
            let words = format!("of a command no more than {} may be kept, and this one went on", Size::bytes(most));
            (Ending::OverBudget, Why::words(words))
        }
        End::Recorder(RecordError::Quota(reached)) => {
            tracing::info!(session = %open.id, reason = reached.words, "a session ends");
            (Ending::OverBudget, Why { words: reached.words, next: Some(reached.next) })
        }
        End::Recorder(error) => {
            wing.broker.fault(&format!("{} was not recorded: {error}", open.id));
            (Ending::RecorderFailed, Why::of(Ending::RecorderFailed))
        }
    }
}

/// The outer connection falls too if nothing else lives on it, or if its peer does not acknowledge the end of the tunnel.
pub(super) async fn await_close(outer: &Use, closed: &mut watch::Receiver<bool>) {
    let patience = if outer.is_sole() { ALONE } else { SHARED };
    let acknowledged = timeout(patience, closed.wait_for(|closed| *closed)).await;
    if acknowledged.is_err() || outer.is_sole() {
        outer.shut();
    }
}

pub(super) async fn finish(wing: &Arc<Wing>, open: OpenSession, ending: Ending, sealed: Option<crate::recording::SealedSession>) {
    let id = open.id.clone();
    open.cutoff.close();
    let late = open.cutoff.late();
    if let Err(fault) = wing.broker.close_session(open, ending, sealed, late).await {
        tracing::error!(session = %id, %fault, "the end of a session could not be written; the next start does it");
    }
}

fn rights(channels: &Channels, open: &OpenSession) -> Rights {
    let has = |kind: &Kind| channels.covers(kind);
    Rights {
        shell: has(&Kind::Shell),
        exec: has(&Kind::Exec),
        reads: has(&Kind::SftpRead),
        writes: has(&Kind::SftpWrite),
        record_input: open.record_input,
        content: Content::of(open),
    }
}

fn welcome(open: &OpenSession) -> String {
    let meta = &open.meta;
    let budget = open.egress.map_or_else(String::new, |budget| format!("; at most {} to you over all its sessions", budget.limit));
    let content = Content::of(open).words();
    let keep = open.keep.filter(|keep| keep.of_commands().is_some()).map_or_else(String::new, |keep| format!("; {keep}"));
    format!(
        "jit-bastion: {} on {} as {}, {} until {}{budget}; this session ({}) is recorded{content}{keep}
",
        meta.right.who(),
        meta.host,
        meta.login,
        meta.right.under(),
        open.ends,
        open.id
    )
}

fn farewell(open: &OpenSession, why: &Why) -> String {
    match why.next {
        Some(next) => format!("{} ({}); {next}", why.words, open.id),
        None => format!("{} ({}); `ssh jit-bastion request {}` asks for more", why.words, open.id, open.meta.host),
    }
}

/// Between two tries to seal what the disk did not take.
const AGAIN: Duration = Duration::from_secs(2);

/// For TERM, KILL and a goodbye towards the host; then its socket is shut.
const TO_HOST: Duration = Duration::from_millis(30);

/// For the last words towards the client: these three together stay within its grace (700 ms).
const TO_CLIENT: Duration = Duration::from_millis(300);

/// For the client to show them.
const TO_READ: Duration = Duration::from_millis(250);

/// For the disconnect.
const TO_DISCONNECT: Duration = Duration::from_millis(100);

/// For an outer connection that this visit had for itself to close by itself.
const ALONE: Duration = Duration::from_millis(250);

/// For a client with other sessions on the same connection to acknowledge the end of this one.
const SHARED: Duration = Duration::from_secs(10);
