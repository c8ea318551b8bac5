//! A tunnel of the outer connection to a port that is not SSH: bytes both ways, kept; a session like any other, with its own end.

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Wing;
use super::connection::{Connection, Content, End};
use super::count::Counted;
use super::egress::Egress;
use super::inner::{self, Turned};
use super::keeping::Keeping;
use super::quota::Quota;
use super::tap::{Lands, Way};
use super::tunnel::Use;
use super::upstream::DialError;
use super::{socket, visit};
use crate::access::host::Host;
use crate::access::names::{User, escaped};
use crate::access::opening::Opening;
use crate::access::person::Person;
use crate::broker::{Budget, OpenSession, Proof};
use crate::recording::RecordError;
use crate::session::{Cutoff, Ending, Side};

/// What somebody wants to be connected with.
pub(super) struct Wanted {
    pub(super) person: Person,
    pub(super) proof: Proof,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Where the connection comes from on the client's side, as the client says.
    pub(super) from: (String, u32),
    pub(super) peer: std::net::SocketAddr,
}

/// A connection that was let in and dialled, and is recorded from here on.
pub(super) struct Ready {
    open: OpenSession,
    keeping: RefCell<Keeping>,
    connection: RefCell<Connection>,
    host: TcpStream,
    _room: Counted<User>,
}

/// Asks the law, dials the host, opens the session and its recording. What goes wrong is told by refusing the channel.
pub(super) async fn prepare(wing: &Arc<Wing>, wanted: &Wanted) -> Result<Ready, Turned> {
    let Wanted { person, proof, host, port, from, peer } = wanted;
    let what = Opening::forward(host, host.name.as_str(), *port);
    let admission = wing.broker.admit_direct(person, proof, host, &what).await?;
    let room = inner::room_for(wing, person)?;
    inner::can_be_kept(wing).await?;
    let quota = inner::quota_for(wing, person).await?;
    let dialled = {
        let _dial = inner::dial(wing, &host.name)?;
        // The host as it was when somebody was admitted to it, not as it was found by its name before.
        reach(admission.host(), *port).await?
    };
    let open = wing.broker.open_session(admission, *peer).await?;
    let told = format!("direct forward to {}:{port}, from {}:{} on the client's side", host.name, escaped(&from.0), from.1);
    let begun = begin(wing, &open, quota, &what, &told).await;
    match begun {
        Ok((keeping, connection)) => {
            let (keeping, connection) = (RefCell::new(keeping), RefCell::new(connection));
            Ok(Ready { open, keeping, connection, host: dialled, _room: room })
        }
        Err(error) => {
            let fault = wing.broker.fault(&format!("the recording of {} cannot begin: {error}", open.id));
            visit::finish(wing, open, Ending::RecorderFailed, None).await;
            Err(fault.into())
        }
    }
}

/// Begins the recording: what is told of the connection is kept before a byte of it goes on.
async fn begin(wing: &Wing, open: &OpenSession, quota: Quota, what: &Opening, told: &str) -> Result<(Keeping, Connection), RecordError> {
    let mut keeping = Keeping::begin(&wing.archive, &wing.clock, &open.meta, open.index, Some(quota)).await?;
    let connection = Connection::begin(&mut keeping, 1, (Way::Forward, what), told, Content::of(open))?;
    connection.connected(&mut keeping)?;
    keeping.commit().await?;
    Ok((keeping, connection))
}

/// A TCP connection to that port of the host, where its sshd is registered.
async fn reach(host: &Host, port: u16) -> Result<TcpStream, DialError> {
    let name = || format!("{}:{port}", host.name);
    let unreachable = |e: std::io::Error| DialError::Port { place: name(), why: e.to_string() };
    let connect = timeout(CONNECT, TcpStream::connect((host.address.host.as_str(), port))).await;
    let stream = connect.map_err(|_| DialError::Slow { host: name(), seconds: CONNECT.as_secs() })?.map_err(unreachable)?;
    socket::prepare(&stream, DEAD_PEER).map_err(unreachable)?;
    Ok(stream)
}

/// Carries bytes until one side has left or the cut falls; then says `goodbye` to the client, seals, and closes the session. Returns what
/// has cut it, which still holds the outer connection.
pub(super) async fn carry<R, W>(
    wing: &Arc<Wing>,
    ready: Ready,
    client: (R, W),
    outer: &Use,
    closed: watch::Receiver<bool>,
    goodbye: impl Future<Output = ()>,
) -> Option<Cutoff>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Ready { mut open, keeping, connection, host, _room } = ready;
    let egress = open.egress.map_or_else(Egress::unlimited, |budget| Egress::of(budget.left));
    let cutoff = open.cutoff.clone();
    host.as_fd().try_clone_to_owned().into_iter().for_each(|socket| cutoff.hold(socket, Side::Host));
    outer.socket().into_iter().for_each(|socket| cutoff.hold(socket, Side::Outer));
    if let Some(idle) = open.idle {
        cutoff.log_off_after(idle);
    }
    let course = async {
        let both = Both { wing, open: &open, keeping: &keeping, connection: &connection, egress: &egress };
        let reader = cutoff.guard(client.0, Side::Client);
        let ended = tokio::select! {
            biased;
            why = cutoff.fell() => Err(why),
            end = both.run((reader, client.1), host, closed) => Ok(end),
        };
        egress.close();
        cutoff.release(Side::Host);
        let ending = ending(wing, &open, ended);
        match ending {
            Ending::Left | Ending::PeerGone => drop(connection.borrow().over(&mut *keeping.borrow_mut())),
            _ => connection.borrow().cut(&mut *keeping.borrow_mut()),
        }
        let cut = cutoff.reason().is_some();
        if cut && outer.is_sole() {
            // OpenSSH takes the end of a channel for success, the end of its connection never.
            outer.shut();
        } else {
            // A client that has stopped reading is not waited for.
            let _ = timeout(GOODBYE, goodbye).await;
        }
        cutoff.release(Side::Client);
        (ending, cut)
    };
    // The budget is asked of the store, which may be slow: both sides have heard the end before it is waited for.
    let ((ending, cut), ()) = tokio::join!(course, visit::keep_filled(wing, &open, &egress));
    open.egress = open.egress.map(|budget| Budget { left: egress.left(), ..budget });
    visit::seal(wing, open, keeping.into_inner(), ending).await;
    cut.then_some(cutoff)
}

/// Why it ended: the cut's reason, or what happened by itself.
fn ending(wing: &Wing, open: &OpenSession, ended: Result<Over, Ending>) -> Ending {
    match ended {
        Err(why) => why,
        Ok(Over::Left) => Ending::Left,
        Ok(Over::Gone) => Ending::PeerGone,
        Ok(Over::Spent) => visit::cut(&open.cutoff, Ending::OverBudget),
        Ok(Over::Unrecorded(RecordError::Quota(reached))) => {
            tracing::info!(session = %open.id, reason = reached.words, "a session ends");
            visit::cut(&open.cutoff, Ending::OverBudget)
        }
        Ok(Over::Unrecorded(error)) => {
            wing.broker.fault(&format!("{} was not recorded: {error}", open.id));
            visit::cut(&open.cutoff, Ending::RecorderFailed)
        }
    }
}

/// How it ended by itself.
enum Over {
    /// Both sides have said all.
    Left,
    /// A side broke off.
    Gone,
    /// The grant's budget is used up.
    Spent,
    Unrecorded(RecordError),
}

struct Both<'a> {
    wing: &'a Wing,
    open: &'a OpenSession,
    keeping: &'a RefCell<Keeping>,
    connection: &'a RefCell<Connection>,
    egress: &'a Egress,
}

impl Both<'_> {
    async fn run<R, W>(&self, (reader, writer): (R, W), host: TcpStream, mut closed: watch::Receiver<bool>) -> Over
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (from_host, to_host) = host.into_split();
        let left = async {
            // The client has closed its end: what it has said still goes on, for a moment.
            let _ = closed.wait_for(|closed| *closed).await;
            sleep(LINGER).await;
        };
        tokio::select! {
            both = async { tokio::try_join!(self.up(reader, to_host), self.down(from_host, writer)) } => match both {
                Ok(_) => Over::Left,
                Err(over) => over,
            },
            () = left => Over::Left,
        }
    }

    async fn up(&self, mut reader: impl AsyncRead + Unpin, mut host: impl AsyncWrite + Unpin) -> Result<(), Over> {
        let mut buffer = vec![0; PIECE];
        loop {
            let n = reader.read(&mut buffer).await.map_err(|_| Over::Gone)?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
            self.keep(End::Client, bytes).await?;
            host.write_all(bytes).await.map_err(|_| Over::Gone)?;
        }
        self.connection.borrow_mut().ended_by(End::Client);
        // It may be gone already.
        let _ = host.shutdown().await;
        Ok(())
    }

    async fn down(&self, mut host: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) -> Result<(), Over> {
        let mut buffer = vec![0; PIECE];
        loop {
            self.egress.ready().await;
            let n = host.read(&mut buffer).await.map_err(|_| Over::Gone)?;
            let passes = self.egress.spend(n);
            let Some(bytes) = buffer.get(..passes).filter(|bytes| !bytes.is_empty()) else {
                if self.egress.is_over() {
                    return Err(Over::Spent);
                }
                break;
            };
            self.keep(End::Host, bytes).await?;
            writer.write_all(bytes).await.map_err(|_| Over::Gone)?;
            if passes < n {
                return Err(Over::Spent);
            }
        }
        self.connection.borrow_mut().ended_by(End::Host);
        let _ = writer.shutdown().await;
        Ok(())
    }

    /// Comes back when it is kept.
    async fn keep(&self, from: End, bytes: &[u8]) -> Result<(), Over> {
        self.open.cutoff.touch();
        let (landing, tunnelled) = {
            let mut keeping = self.keeping.borrow_mut();
            let mut connection = self.connection.borrow_mut();
            let tunnelled = connection.carry(&mut *keeping, from, bytes).map_err(Over::Unrecorded)?;
            (keeping.commit(), tunnelled.then(|| (connection.number(), connection.way().as_str())))
        };
        if let Some((number, kind)) = tunnelled {
            let (broker, id) = (Arc::clone(&self.wing.broker), self.open.id.clone());
            self.wing.tasks.spawn(async move { broker.tunnelled(&id, number, kind).await });
        }
        landing.await.map_err(Over::Unrecorded)
    }
}

/// Read at once: what an SSH packet holds.
const PIECE: usize = 32 * 1024;

const CONNECT: Duration = Duration::from_secs(10);
/// A host that acknowledges nothing for so long is gone.
const DEAD_PEER: Duration = Duration::from_secs(60);
/// For the end of the channel to leave; within the client's grace after a cut.
const GOODBYE: Duration = Duration::from_millis(500);
/// For what was on its way when the client closed.
const LINGER: Duration = Duration::from_secs(2);
