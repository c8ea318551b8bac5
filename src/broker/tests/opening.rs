//! What a live session may open, and who goes straight to a port.

use super::*;
use crate::access::channels::Channels;
use crate::access::opening::Opening;
use crate::access::policy::Wish;

impl World {
    /// A policy in which the rule for phi-db has these lines as well.
    async fn policy_with(&self, lines: &str, rest: &str) {
        let text = POLICY.replace("channels = [\"shell\", \"exec\", \"sftp-read\"]", lines);
        std::fs::write(self.dir.path().join("policy.toml"), format!("{text}\n{rest}")).unwrap();
        self.broker.load_policy(&Actor::System).await.unwrap();
    }

    async fn straight(&self, port: u16) -> Result<Admission, Error> {
        let (who, host) = (self.who("alice").await, self.host("phi-db").await);
        let what = Opening::forward(&host, "phi-db", port);
        self.broker.admit_direct(&who, &Proof::plain(self.key("alice").clone()), &host, &what).await
    }
}

const FORWARDS: &str = "channels = [\"shell\", \"forward:5432\", \"reverse:8080\"]";
const DIRECT: &str = "channels = [\"shell\", \"forward:5432\", \"reverse:8080\"]\ndirect = true";

#[tokio::test]
async fn each_open_is_judged_by_the_grant_and_the_denies_of_that_moment() {
    let world = World::new().await;
    world.policy_with(FORWARDS, "").await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let may = |what: &Opening| world.broker.may_open(&open, what).map_err(|refusal| refusal.to_string());
    let forward = |to: &str, port| Opening::forward(&open.host, to, port);
    assert_eq!(may(&forward("localhost", 5432)), Ok(()));
    assert_eq!(may(&Opening::reverse("localhost", 8080)), Ok(()));
    let asks = |kind: &str| {
        format!("{kind} is not in your grant\nhint: ssh jit-bastion request phi-db --login postgres --channels shell,forward:")
    };
    assert!(may(&forward("localhost", 80)).is_err_and(|words| words.starts_with(&asks("forward:80"))));
    assert!(
        may(&forward("a b\u{1b}", 80))
            .is_err_and(|words| words.starts_with("forward:a b\\u{1b}:80 is not in your grant\nhint: `ssh jit-bastion explain"))
    );
    assert!(may(&Opening::agent()).is_err() && may(&Opening::reverse("0.0.0.0", 8080)).is_err());
    // narrowed, and given back
    world.broker.live().regrant(&open.id, &"shell".parse::<Channels>().unwrap());
    assert!(may(&forward("localhost", 5432)).is_err());
    world.broker.live().regrant(&open.id, &"shell,forward:*".parse::<Channels>().unwrap());
    assert_eq!(may(&forward("elsewhere", 5432)), Ok(()));
    assert!(may(&forward("phi-db", 22)).is_err_and(|words| words.contains("go through the bastion")));
    // what the store says wins at the next look
    world.broker.look(&mut Default::default()).await.unwrap();
    assert!(may(&forward("elsewhere", 5432)).is_err() && may(&forward("127.1", 5432)).is_ok());
    // a deny of this moment counts before anybody has cut
    std::fs::write(
        world.dir.path().join("policy.toml"),
        format!(
            "{}\n[[deny]]\nid = \"no\"\nchannels = [\"forward:5432\"]\nbecause = \"not now\"\n",
            POLICY.replace("channels = [\"shell\", \"exec\", \"sftp-read\"]", FORWARDS)
        ),
    )
    .unwrap();
    world.broker.load_policy(&Actor::System).await.unwrap();
    assert!(may(&forward("localhost", 5432)).is_err());
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test]
async fn another_spelling_of_a_forward_dodges_no_floor_and_no_deny() {
    let world = World::new().await;
    let allow = "channels = [\"*\"]";
    let floor = "[[require]]\nid = \"two\"\nchannels = [\"forward:5432\"]\napprove = { by = [\"role:owner\"], quorum = 2 }\n";
    world.policy_with(allow, floor).await;
    for (spelled, quorum) in [("forward:5432", 2), ("forward:localhost:5432", 2), ("forward:PHI-db:5432", 2), ("forward:127.1:80", 1)] {
        let wish = Wish { channels: Some(spelled.parse().unwrap()), ..Wish::of("postgres".parse().unwrap()) };
        let verdict = world.broker.policy().judge(&world.who("alice").await, &world.host("phi-db").await, &wish).unwrap();
        assert_eq!(verdict.rule.quorum(), quorum, "{spelled}");
    }
    world.policy_with(allow, "").await;
    let ask = Asking { channels: Some("forward:localhost:5432".parse().unwrap()), ..asking("phi-db", Some("postgres")) };
    let request = world.broker.request(&world.who("alice").await, ask).await.unwrap().request;
    world.yes("bob", &request).await.unwrap();
    let open = world.enter("postgres").await;
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), None);
    world.policy_with(allow, "[[deny]]\nid = \"no\"\nchannels = [\"forward:5432\"]\nbecause = \"not now\"\n").await;
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    world.leave(open, Ending::Revoked).await;
}

#[tokio::test]
async fn who_goes_straight_to_a_port_has_a_rule_that_says_so() {
    let world = World::new().await;
    assert_eq!(refused(world.straight(5432).await).code, "not-direct");
    world.policy_with(FORWARDS, "").await;
    world.granted("postgres").await;
    assert_eq!(refused(world.straight(5432).await).code, "not-direct", "the rule does not say it");
    world.policy_with(DIRECT, "").await;
    assert_eq!(refused(world.straight(5432).await).code, "not-direct", "it did not say it when it was asked for");
    world.granted("admin").await;
    let admission = world.straight(5432).await.unwrap();
    assert_eq!(admission.login().as_str(), "admin");
    for port in [22, 5433] {
        assert!(world.straight(port).await.is_err(), "{port}");
    }
    let open = world.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap();
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), None);
    world.broker.opened().unwrap().bar(Some("stolen".to_owned()));
    assert_eq!(refused(world.straight(5432).await).code, "keys");
    world.broker.opened().unwrap().bar(None);
    assert!(world.straight(5432).await.is_ok());
    world.policy_with(FORWARDS, "").await;
    world.broker.look(&mut Default::default()).await.unwrap();
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked), "no rule says it any more");
    assert_eq!(refused(world.straight(5432).await).code, "not-direct");
    world.leave(open, Ending::Revoked).await;
}
