//! `cert GRANT`, and what a connection that such a certificate opened may say: it sees its grant alone.

use serde_json::json;

use super::parse::{Shown, Verb};
use super::rights::table;
use super::{Answer, Caller, read, whereto};
use crate::access::grant::Grant;
use crate::access::names::GrantId;
use crate::access::refusal::Refusal;
use crate::broker::{AccessPass, Broker, Error, Proof, without};

impl Caller {
    /// The one grant that this connection may see, if an access certificate opened it.
    pub(super) fn limit(&self) -> Option<&GrantId> {
        self.proof.as_ref().and_then(Proof::limit)
    }

    /// May this connection see what belongs to `grant`?
    pub(super) fn sees(&self, grant: &GrantId) -> bool {
        self.limit().is_none_or(|limit| limit == grant)
    }

    /// The grant of a limited connection, to be shown or asked for its host.
    pub(super) async fn limited_to(&self, broker: &Broker) -> Result<Option<Grant>, Error> {
        let Some(limit) = self.limit() else { return Ok(None) };
        let grant = read(broker, broker.reader().grant(limit).await)?;
        grant.map(Some).ok_or_else(|| Refusal::no_such("grant", limit).into())
    }
}

/// Refuses what a limited connection may not say. A verb that is not named here is refused: a new one is not for certificates unless
/// somebody has thought about it.
pub(super) async fn gate(broker: &Broker, caller: &Caller, verb: &Verb) -> Result<(), Error> {
    let Some(grant) = caller.limited_to(broker).await? else { return Ok(()) };
    let fits = match verb {
        Verb::Whoami | Verb::Hosts | Verb::KnownHosts { .. } | Verb::Grants | Verb::Sessions { .. } | Verb::Recordings(_) => true,
        Verb::Show(words) => match &words.id {
            Shown::Request(id) => *id == grant.request,
            // Its grant is looked at where it is shown.
            Shown::Session(_) => true,
        },
        Verb::Close { id } | Verb::Cert { grant: id } => *id == grant.id,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let id = &grant.id;
    let refusal = Refusal::new("limited", format!("an access certificate opened this connection, and it sees {id} alone"));
    Err(refusal.hint(without(id)).into())
}

/// The page of a limited connection.
pub(super) async fn page(broker: &Broker, caller: &Caller, grant: &Grant) -> Result<String, Error> {
    let mut out = whereto::whoami(broker, caller).human;
    out.push('\n');
    out.push_str(&table(std::slice::from_ref(grant), broker.now()).print(caller.look));
    out.push_str(&format!("go in with: ssh -J jit-bastion {}@{}\n", grant.login, grant.host));
    Ok(out)
}

/// `cert GRANT`: one line, ready for `id_ed25519-cert.pub`.
pub(super) async fn cert(broker: &Broker, caller: &Caller, id: &GrantId) -> Result<Answer, Error> {
    let person = caller.human("cert", &format!("{id} > ~/.ssh/id_ed25519-cert.pub"))?;
    let proof = caller.proof.as_ref().ok_or_else(|| Refusal::new("ssh-only", "cert exists only over SSH, where a key proves who"))?;
    let AccessPass { certificate, grant } = broker.access_certificate(person, proof, id).await?;
    let line = read(broker, certificate.to_openssh())?;
    let json = json!({
        "certificate": line.trim_end(),
        "serial": certificate.serial().to_string(),
        "key_id": certificate.key_id(),
        "grant": grant.id.as_str(),
        "begins": grant.begins.to_string(),
        "ends": grant.ends.to_string(),
    });
    Ok(Answer::done(format!("{}\n", line.trim_end()), json))
}
