//! Answers in the host's place: proves who is there once more, asks the broker for an `Admission`, dials the host, relays, and ends.

use std::sync::Arc;
use std::time::Duration;

use ssh_key::{Certificate, PublicKey};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::Wing;
use super::count::Counted;
use super::leg::{Leg, LegError};
use super::quota::Quota;
use super::tunnel::Tunnel;
use super::upstream::{self, DialError};
use super::visit::{self, Visit};
use crate::access::host::Host;
use crate::access::names::{HostName, User, escaped};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::broker::{self, Meant, Proof};
use crate::wire::auth::{self, AuthStep, ServerAuth};
use crate::wire::codec::WireError;
use crate::wire::entropy::SystemEntropy;
use crate::wire::keys::{HostIdentity, Shown, shown};
use crate::wire::transport::{RekeyBudget, ServerConfig, Transport};

/// Why a visit did not begin.
#[derive(Debug, Error)]
pub(super) enum Turned {
    /// The law says no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The host did not let us in.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// Something of ours broke; the log has the rest.
    #[error("{0}")]
    Fault(#[from] broker::Fault),
    /// The client went away or broke the protocol: nobody is left to be told.
    #[error("{0}")]
    Leg(#[from] LegError),
    /// No key was proven in time.
    #[error("no key was proven within the login grace")]
    Grace,
}

impl From<WireError> for Turned {
    fn from(error: WireError) -> Self {
        Self::Leg(error.into())
    }
}

impl From<broker::Error> for Turned {
    fn from(error: broker::Error) -> Self {
        match error {
            broker::Error::Refused(refusal) => Self::Refused(refusal),
            broker::Error::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// One visit, from the first byte in the tunnel to the sealed recording.
pub(crate) async fn serve<R, W>(wing: &Arc<Wing>, tunnel: Tunnel<R, W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Tunnel { mut reader, writer, host, person, proof, peer, outer, closed } = tunnel;
    let (user, place) = (person.user.clone(), host.name.clone());
    let config = match server_config(wing, &host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(host = %place, %error, "no inner host key can be shown");
            return;
        }
    };
    let leg = Leg::new(Transport::server(Arc::new(config), Box::new(SystemEntropy)), writer);
    match begin(wing, &leg, &mut reader, Outside { person: &person, proof: &proof, host: &host }).await {
        Ok(begun) => visit::go(wing, Visit { begun, client: leg, reader, peer, outer, closed }).await,
        Err(turned) => {
            tracing::info!(%user, host = %place, %peer, reason = %escaped(&turned.to_string()), "a visit did not begin");
            if let Turned::Refused(refusal) = &turned {
                wing.broker.turned_away(&person, peer, Meant::Host(&place), refusal).await;
            }
            tell(&leg, &turned).await;
        }
    }
}

/// A visit whose host has let us in and whose user is still held before USERAUTH_SUCCESS.
pub(super) struct Begun {
    pub(super) admission: broker::Admission,
    pub(super) upstream: upstream::Upstream,
    /// Counts the visit until it is over.
    pub(super) room: Counted<User>,
    /// How much of it may be recorded.
    pub(super) quota: Quota,
}

/// Who opened the outer connection, and how.
#[derive(Clone, Copy)]
struct Outside<'a> {
    person: &'a Person,
    proof: &'a Proof,
    /// Where the tunnel leads.
    host: &'a Host,
}

async fn begin<R, W>(wing: &Wing, leg: &Leg<W>, reader: &mut R, outside: Outside<'_>) -> Result<Begun, Turned>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let grace = wing.limits.login_grace.duration();
    let (person, proof, hint) = timeout(grace, prove(wing, leg, reader, outside)).await.map_err(|_| Turned::Grace)??;
    let admission = wing.broker.admit(&person, &proof, outside.host, &hint).await?;
    let room = room_for(wing, &person)?;
    can_be_kept(wing).await?;
    let quota = quota_for(wing, &person).await?;
    let _dial = dial(wing, &outside.host.name)?;
    let reached = upstream::reach(admission.host()).await?;
    let own = upstream::fresh_key();
    let certificate = wing.broker.certify(&admission, own.public_key(), reached.local).await?;
    let now = wing.clock.now();
    let upstream = upstream::enter(reached, admission.host(), admission.login(), &own, &certificate, now).await?;
    Ok(Begun { admission, upstream, room, quota })
}

/// One user must not take all the room there is.
pub(super) fn room_for(wing: &Wing, person: &Person) -> Result<Counted<User>, Refusal> {
    let most = wing.limits.sessions_per_user;
    wing.visitors.enter(person.user.clone(), most, usize::MAX).ok_or_else(|| {
        let refusal = Refusal::new("too-many-sessions", format!("you have {most} sessions, and one user may have no more"));
        refusal.hint("`ssh jit-bastion sessions --live` lists them; end one of them first")
    })
}

/// Where nothing can be kept, nothing is shown.
pub(super) async fn can_be_kept(wing: &Wing) -> Result<(), Refusal> {
    wing.archive.disk.ask(wing.archive.patience / 2).await.map_err(|trouble| {
        let refusal = Refusal::new("not-recorded", format!("sessions cannot be recorded at this moment, so none begins: {trouble}"));
        refusal.hint("tell an administrator; your grant is not touched, try again when it works")
    })
}

/// What of a new session of theirs may be recorded.
pub(super) async fn quota_for(wing: &Wing, person: &Person) -> Result<Quota, Turned> {
    let look = wing.quotas.look(&person.user);
    let before = wing.broker.recorded_today(&person.user).await?;
    Ok(wing.quotas.enter(look, before)?)
}

pub(super) fn dial(wing: &Wing, host: &HostName) -> Result<Counted<HostName>, Refusal> {
    wing.dials.enter(host.clone(), super::DIALS_OF_ONE_HOST, super::DIALS).ok_or_else(|| {
        let refusal = Refusal::new("busy", format!("too many visits to {host} begin at this moment"));
        refusal.hint("try again in a few seconds")
    })
}

/// The same user's key again, plain or under an access certificate: a tunnel that was left open on a shared machine helps nobody. Returns
/// the user as known now, what both hops prove together, and the inner user name, which is only a hint.
async fn prove<R, W>(wing: &Wing, leg: &Leg<W>, reader: &mut R, outside: Outside<'_>) -> Result<(Person, Proof, String), Turned>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut message = leg.receive(reader).await?;
    let mut auth = leg.with(|t| ServerAuth::new(t.session_id(), t.host_key().unwrap_or_default()));
    let mut wanted: Option<Refusal> = None;
    loop {
        match auth.handle(&message)? {
            AuthStep::Reply(reply) => leg.send(&reply).await?,
            AuthStep::Offered { user, algorithm, key } => {
                let known = same_user(wing, outside, &key).await?;
                let too_little = match &known {
                    Some((_, proof)) => lacks_certificate(wing, outside, proof, &user).await?,
                    None => None,
                };
                // OpenSSH offers the plain key first, and its certificate when that does not do.
                if let Some(refusal) = too_little.as_ref().filter(|_| wanted.is_none()) {
                    leg.send(&auth::banner(&format!("{refusal}\n").replace('\n', "\r\n"))).await?;
                }
                let good = known.is_some() && too_little.is_none();
                wanted = wanted.or(too_little);
                leg.send(&if good { auth::pk_ok(&algorithm, &key) } else { auth::failure(METHODS, false) }).await?;
            }
            AuthStep::Proven { user, key, .. } => match same_user(wing, outside, &key).await? {
                Some((person, proof)) => return Ok((person, proof, user)),
                None => leg.send(&auth::failure(METHODS, false)).await?,
            },
            AuthStep::Wrong { reply } => {
                sleep(WRONG_SIGNATURE).await;
                leg.send(&reply).await?;
            }
            AuthStep::KeyboardInteractive { .. } | AuthStep::Answers { .. } => leg.send(&auth::failure(METHODS, false)).await?,
        }
        // Who leaves after the plain key was too little had no certificate.
        message = leg.receive(reader).await.map_err(|gone| wanted.take().map_or_else(|| gone.into(), Turned::Refused))?;
    }
}

/// Why this proof does not do where another would: the only grants that admit want an access certificate.
async fn lacks_certificate(wing: &Wing, outside: Outside<'_>, proof: &Proof, hint: &str) -> Result<Option<Refusal>, Turned> {
    if proof.limit().is_some() {
        return Ok(None);
    }
    match wing.broker.admit(outside.person, proof, outside.host, hint).await {
        Err(broker::Error::Refused(refusal)) if refusal.code == broker::CERTIFICATE_NEEDED => Ok(Some(refusal)),
        // Whatever else is to be said is said when the key is proven.
        _ => Ok(None),
    }
}

/// The user of this key or access certificate, if it is the one of the outer connection, and of the same grant where both are certified.
async fn same_user(wing: &Wing, outside: Outside<'_>, blob: &[u8]) -> Result<Option<(Person, Proof)>, Turned> {
    let found = match shown(blob) {
        Ok(Shown::Key) => {
            let Ok(key) = PublicKey::from_bytes(blob) else { return Ok(None) };
            let known = wing.broker.recognise(&key).await.map_err(broker::Error::from)?;
            known.map(|known| (known, Proof::plain(key)))
        }
        Ok(Shown::Certificate) => certified(wing, blob).await?,
        Err(_) => None,
    };
    let found = found.filter(|(known, _)| known.user == outside.person.user);
    Ok(found.and_then(|(known, proof)| proof.inside(outside.proof).map(|proof| (known, proof))))
}

async fn certified(wing: &Wing, blob: &[u8]) -> Result<Option<(Person, Proof)>, Turned> {
    let Ok(certificate) = Certificate::from_bytes(blob) else { return Ok(None) };
    match wing.broker.recognise_certificate(&certificate).await {
        Ok(found) => Ok(Some(found)),
        Err(broker::Error::Refused(refusal)) => {
            tracing::info!(reason = %refusal.message, "an access certificate was refused");
            Ok(None)
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Says why, as a banner and as the words of the disconnect, and leaves.
pub(super) async fn tell<W: AsyncWrite + Unpin>(leg: &Leg<W>, turned: &Turned) {
    if matches!(turned, Turned::Leg(LegError::Io(_) | LegError::Closed)) {
        return;
    }
    let text = turned.to_string();
    let farewell = async {
        if leg.with(|t| t.established()) && !matches!(turned, Turned::Leg(_)) {
            leg.send(&auth::banner(&format!("{text}\n").replace('\n', "\r\n"))).await?;
        }
        leg.with(|t| t.disconnect(NO_MORE_METHODS, text.lines().next().unwrap_or_default()));
        leg.flush().await?;
        Ok::<_, LegError>(leg.shutdown().await?)
    };
    // Nobody waits for a client that does not listen.
    let _ = timeout(FAREWELL, farewell).await;
}

fn server_config(wing: &Wing, host: &Host) -> Result<ServerConfig, Turned> {
    let mut host_keys = Vec::new();
    for identity in wing.broker.inner_identities(host).map_err(broker::Error::from)? {
        if let Some(certificate) = &identity.certificate {
            host_keys.push(HostIdentity::certified(&identity.key, certificate)?);
        }
        host_keys.push(HostIdentity::plain(&identity.key)?);
    }
    Ok(ServerConfig {
        id: super::IDENTIFICATION.into(),
        host_keys,
        rekey: RekeyBudget::default(),
        ext_info: auth::server_ext_info(),
        algorithms: Default::default(),
    })
}

const METHODS: &[&str] = &["publickey"];

/// SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, RFC 4253 section 11.1.
const NO_MORE_METHODS: u32 = 14;

/// A wrong signature is no typing error; who sends one may wait.
const WRONG_SIGNATURE: Duration = Duration::from_secs(1);

const FAREWELL: Duration = Duration::from_secs(2);
