//! Access certificates: what they open, and everything that one of them opens nothing.

use ssh_key::Certificate;
use ssh_key::certificate::{Builder, CertType};

use super::*;
use crate::access::grant::Grant;
use crate::ca::access::{GRANT_OPTION, PRINCIPAL};

impl World {
    pub(super) async fn certificate(&self, name: &str, grant: &Grant) -> Result<Certificate, Error> {
        let proof = Proof::plain(self.key(name).clone());
        Ok(self.broker.access_certificate(&self.who(name).await, &proof, &grant.id).await?.certificate)
    }

    /// What the door says of `certificate`: its proof, or why not.
    pub(super) async fn shows(&self, certificate: &Certificate) -> Result<Proof, String> {
        match self.broker.recognise_certificate(certificate).await {
            Ok((_, proof)) => Ok(proof),
            Err(Error::Refused(refusal)) => Err(refusal.message),
            Err(fault) => panic!("{fault}"),
        }
    }

    async fn enters(&self, proof: &Proof, host: &str, hint: &str) -> Result<Admission, Error> {
        let who = self.broker.standing(proof).await.unwrap().ok_or_else(|| Refusal::new("nobody", "nobody"))?;
        self.broker.admit(&who, proof, &self.host(host).await, hint).await
    }

    /// Signed by the access CA itself, with whatever `change` makes of the right one.
    fn forged(&self, right: &Certificate, change: impl FnOnce(Forged) -> Forged) -> Certificate {
        let seeds = Keyring::generate(&mut StdRng::seed_from_u64(77)).unwrap();
        let forged = change(Forged {
            key: right.public_key().clone().into(),
            kind: CertType::User,
            principal: PRINCIPAL.into(),
            options: vec![(GRANT_OPTION.into(), right.critical_options()[GRANT_OPTION].clone())],
            serial: right.serial(),
            from: right.valid_after(),
            until: right.valid_before(),
        });
        let mut builder = Builder::new(vec![7; 32], forged.key, forged.from, forged.until).unwrap();
        builder.serial(forged.serial).unwrap().key_id("x").unwrap().cert_type(forged.kind).unwrap();
        builder.valid_principal(forged.principal).unwrap();
        for (name, value) in forged.options {
            builder.critical_option(name, value).unwrap();
        }
        builder.sign(seeds.access.private_key()).unwrap()
    }
}

struct Forged {
    key: ssh_key::PublicKey,
    kind: CertType,
    principal: String,
    options: Vec<(String, String)>,
    serial: u64,
    from: u64,
    until: u64,
}

#[tokio::test]
async fn a_certificate_opens_the_bastion_for_its_grant_alone() {
    let world = World::new().await;
    let (first, second) = (world.granted("postgres").await, world.granted("admin").await);
    let certificate = world.certificate("alice", &first).await.unwrap();
    assert_eq!(world.events(1).await, ["certificate-issued"]);
    let seconds = |t: Timestamp| u64::try_from(t.seconds()).unwrap();
    assert_eq!((certificate.valid_after(), certificate.valid_before()), (seconds(first.begins), seconds(first.ends)));
    assert_eq!(certificate.key_id(), format!("alice/{}", first.id));
    let proof = world.shows(&certificate).await.unwrap();
    assert_eq!(proof.limit(), Some(&first.id));
    // The other grant ends no earlier, but this proof does not see it; nor does naming it help.
    assert_eq!(world.enters(&proof, "phi-db", "laptop").await.unwrap().grant().id, first.id);
    assert_eq!(refused(world.enters(&proof, "phi-db", "admin").await).code, "limited");
    assert_eq!(refused(world.enters(&proof, "phi-db", &format!("admin+{}", second.id)).await).code, "limited");
    let (alice, plain) = (world.who("alice").await, Proof::plain(world.key("alice").clone()));
    for (host, seen) in [("phi-db", true), ("phi-app", false), ("secret", false)] {
        assert_eq!(world.broker.resolve_for(&alice, &proof, host, 22).await.unwrap().is_some(), seen, "{host}");
    }
    assert!(world.broker.resolve_for(&alice, &plain, "phi-app", 22).await.unwrap().is_some());
    // What either hop says limits the visit; two certificates must say the same.
    assert_eq!(plain.clone().inside(&proof).unwrap().limit(), Some(&first.id));
    assert_eq!(proof.clone().inside(&plain).unwrap().limit(), Some(&first.id));
    let other = world.shows(&world.certificate("alice", &second).await.unwrap()).await.unwrap();
    assert!(other.clone().inside(&proof).is_none() && proof.clone().inside(&proof).is_some());
    // The session's event names the certificate.
    let open = world.broker.open_session(world.enters(&proof, "phi-db", "postgres").await.unwrap(), CLIENT.parse().unwrap()).await.unwrap();
    let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
    let opened = String::from_utf8(rows.last().unwrap().bytes.clone()).unwrap();
    assert!(opened.contains(&format!("\"pass\":\"{}\"", certificate.serial())), "{opened}");
    world.leave(open, Ending::Left).await;
}

#[tokio::test]
async fn only_the_holder_gets_one_and_only_for_a_grant_with_time_left() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    assert_eq!(refused(world.certificate("anna", &grant).await).code, "no-such-id");
    assert_eq!(refused(world.certificate("dave", &grant).await).code, "no-such-id");
    world.broker.close_grant(&Actor::User("alice".parse().unwrap()), &grant.id).await.unwrap();
    assert_eq!(refused(world.certificate("alice", &grant).await).code, "already-over");
}

#[tokio::test]
async fn whatever_ends_the_right_ends_the_certificate() {
    let world = World::new().await;
    let one = world.granted("postgres").await;
    let pass = world.certificate("alice", &one).await.unwrap();
    let proof = world.shows(&pass).await.unwrap();
    world.broker.close_grant(&Actor::User("alice".parse().unwrap()), &one.id).await.unwrap();
    assert!(world.shows(&pass).await.unwrap_err().ends_with("is closed"));
    assert!(world.broker.standing(&proof).await.unwrap().is_none(), "a connection that is open already sees it too");

    let two = world.granted("postgres").await;
    let pass = world.certificate("alice", &two).await.unwrap();
    world.broker.revoke(&local(), &two.id, note("enough")).await.unwrap();
    assert!(world.shows(&pass).await.unwrap_err().ends_with("is revoked"));

    let three = world.granted("postgres").await;
    let pass = world.certificate("alice", &three).await.unwrap();
    let proof = world.shows(&pass).await.unwrap();
    world.clock.advance(three.ends.since(world.broker.now()));
    assert!(world.shows(&pass).await.unwrap_err().ends_with("it has expired"));
    assert!(world.broker.standing(&proof).await.unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_is_worth_what_its_key_and_its_user_are() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let pass = world.certificate("alice", &grant).await.unwrap();
    let alice: User = "alice".parse().unwrap();
    world.broker.disable_user(&local(), &alice, None).await.unwrap();
    assert!(world.shows(&pass).await.unwrap_err().ends_with("not its user's any more"));
    world.broker.enable_user(&local(), &alice).await.unwrap();
    assert!(world.shows(&pass).await.is_ok());
    // The key goes, and comes back as another user's.
    let spare = PrivateKey::random(&mut StdRng::seed_from_u64(5), Algorithm::Ed25519).unwrap();
    world.broker.add_keys(&local(), &alice, vec![NewKey { key: spare.public_key().clone(), name: "spare".into() }]).await.unwrap();
    world.broker.remove_key(&local(), &alice, &super::super::people::fingerprint(world.key("alice"))).await.unwrap();
    assert!(world.shows(&pass).await.unwrap_err().ends_with("not its user's any more"));
    let again = NewKey { key: world.key("alice").clone(), name: "found".into() };
    world.broker.add_keys(&local(), &"anna".parse().unwrap(), vec![again]).await.unwrap();
    assert!(world.shows(&pass).await.unwrap_err().ends_with("not its user's any more"));
}

#[tokio::test]
async fn a_forger_with_the_authority_itself_gains_nothing() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let right = world.certificate("alice", &grant).await.unwrap();
    let again = world.forged(&right, |forged| forged);
    assert!(world.shows(&again).await.is_ok(), "the same words by the same authority count");
    let (anna, other) = (world.key("anna").clone(), world.granted("admin").await);
    let unsigned = world.forged(&right, |forged| Forged { serial: forged.serial ^ 1, ..forged });
    for (certificate, why) in [
        (unsigned, "the bastion has not signed it"),
        (world.forged(&right, |forged| Forged { key: anna, ..forged }), "the bastion has not signed it"),
        (
            world.forged(&right, |forged| Forged { options: vec![(GRANT_OPTION.into(), other.id.to_string())], ..forged }),
            "the bastion has not signed it",
        ),
        (world.forged(&right, |forged| Forged { kind: CertType::Host, ..forged }), "it is not a user certificate"),
        (
            world.forged(&right, |forged| Forged { principal: "postgres".into(), ..forged }),
            "its principals are not access@jit-bastion alone",
        ),
        (world.forged(&right, |forged| Forged { options: vec![], ..forged }), "it names no grant"),
        (world.forged(&right, |forged| Forged { until: forged.from + 1, ..forged }), "it has expired"),
        (world.forged(&right, |forged| Forged { from: forged.until - 1, ..forged }), "it is not valid yet"),
    ] {
        if why == "it has expired" {
            world.clock.advance(Span::seconds(2));
        }
        let said = world.shows(&certificate).await.unwrap_err();
        assert!(said.ends_with(why), "{said}, not {why}");
    }
    let mut options = vec![(GRANT_OPTION.to_owned(), grant.id.to_string())];
    options.push(("source-address".into(), "0.0.0.0/0".into()));
    let said = world.shows(&world.forged(&right, |forged| Forged { options, ..forged })).await.unwrap_err();
    assert!(said.ends_with("does not know: source-address"), "{said}");
    // By another authority: the one that hosts trust.
    let strange = Keyring::generate(&mut StdRng::seed_from_u64(78)).unwrap();
    let mut builder = Builder::new(vec![7; 32], right.public_key().clone(), right.valid_after(), right.valid_before()).unwrap();
    builder.serial(right.serial()).unwrap().key_id("x").unwrap().cert_type(CertType::User).unwrap().valid_principal(PRINCIPAL).unwrap();
    builder.critical_option(GRANT_OPTION, grant.id.as_str()).unwrap();
    let said = world.shows(&builder.sign(strange.access.private_key()).unwrap()).await.unwrap_err();
    assert!(said.contains("not the bastion's access CA"), "{said}");
}
