//! The policy in force: reloads, what they cut, what they leave, and floors over what was filed before.

use super::*;
use crate::access::channels::Channels;

impl World {
    /// Writes a policy and reloads it.
    pub(super) async fn reload(&self, text: &str) -> Result<Arc<Policy>, Error> {
        std::fs::write(self.dir.path().join("policy.toml"), text).unwrap();
        self.broker.load_policy(&Actor::System).await
    }

    async fn text_of(&self, commitment: &str) -> String {
        self.broker.reader().text(commitment).await.unwrap().unwrap()
    }
}

fn with(more: &str) -> String {
    format!("{POLICY}\n{more}")
}

fn field(event: &str, name: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(event).unwrap();
    value["data"][name].clone()
}

#[tokio::test]
async fn a_reload_says_who_gains_and_who_loses() {
    let world = World::new().await;
    let wider =
        POLICY.replace("hosts = [\"lab\"]", "hosts = [\"lab\", \"secret\"]").replace("do = [\"revoke\", \"kill\"]", "do = [\"revoke\"]");
    world.reload(&wider).await.unwrap();
    let event = world.last_event().await;
    assert!(event.contains("policy-loaded"), "{event}");
    let data = |name: &str| field(&event, name);
    assert_eq!((data("gain").as_u64(), data("lose").as_u64(), data("change").as_u64()), (Some(2), Some(1), Some(0)), "{event}");
    let diff = world.text_of(data("diff").as_str().unwrap()).await;
    assert!(diff.starts_with("+ alice, anna: shell as root on secret: up to 1h, granted at once\n- dave: may kill on "), "{diff}");
    // The log's digest leads to the text.
    let digest = data("policy").as_str().unwrap().to_owned();
    assert_eq!(world.broker.reader().policy(&digest).await.unwrap().as_deref(), Some(wider.as_str()));
    // The same again changes nothing for anybody; a new process knows what was in force.
    world.reload(&wider).await.unwrap();
    assert!(field(&world.last_event().await, "diff").is_null());
    let (again, _) = process(world.dir.path(), &world.clock, 5, true).await;
    again.load_policy(&Actor::System).await.unwrap();
    assert!(field(&world.last_event().await, "diff").is_null());
}

#[tokio::test]
async fn a_wrong_policy_keeps_the_one_before() {
    let world = World::new().await;
    let before = world.broker.policy().digest();
    let failing = with("[[test]]\ngiven = { user = \"alice\", host = \"lab\", login = \"guest\" }\nexpect = { decision = \"grant\" }\n");
    for (wrong, says) in [
        ("nonsense", "policy.toml:1:"),
        (failing.as_str(), "test failed: expected grant, got refuse"),
        ("[[require]]\nmfa = \"5m\"\n", "unknown field `mfa`"),
        (
            "[[allow]]\nid = \"a\"\nwho = [\"*\"]\nhosts = [\"*\"]\nlogins = [\"*\"]\nchannels = [\"*\"]\nmax-duration = \"1h\"\napprove = { by = [\"user:bob\"], quorum = 2 }\n",
            "can never be reached",
        ),
    ] {
        let refusal = refused(world.reload(wrong).await);
        assert!(refusal.message.contains(says), "{refusal}");
        assert_eq!(world.broker.policy().digest(), before);
        let event = world.last_event().await;
        assert!(event.contains("policy-refused"), "{event}");
        assert!(world.text_of(field(&event, "error").as_str().unwrap()).await.contains(says));
    }
    assert!(world.ask("alice", "phi-db", Some("postgres")).await.is_ok());
}

#[tokio::test]
async fn a_deny_cuts_and_a_floor_does_not() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    world.reload(&with("[[require]]\nmax-duration = \"5m\"\nrequire-cert = true\nidle = \"10m\"\n")).await.unwrap();
    assert_eq!(open.cutoff.reason(), None, "floors say how a right is obtained and how a visit goes");
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "certificate-needed");
    world.reload(&with("[[deny]]\nid = \"x\"\nhosts = [\"phi-db\"]\nchannels = [\"exec\"]\nbecause = \"x\"\n")).await.unwrap();
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    world.leave(open, Ending::Revoked).await;
    world.reload(&with("[[require]]\nidle = \"10m\"\nrecord-input = true\n")).await.unwrap();
    let open = world.enter("postgres").await;
    assert_eq!((open.idle, open.record_input), (Some(Span::minutes(10)), true));
    world.leave(open, Ending::Left).await;
}

#[tokio::test]
async fn an_approval_is_judged_by_the_denies_and_floors_of_now() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    for (more, code, says) in [
        ("[[deny]]\nid = \"x\"\nhosts = [\"phi-db\"]\nchannels = [\"sftp-read\"]\nbecause = \"not now\"\n", "denied", "not now"),
        ("[[require]]\nticket = true\n", "no-ticket", "ask with --ticket ID"),
        ("[[require]]\nreason = { min-length = 30 }\n", "short-reason", "at least 30 characters"),
        ("[[require]]\nid = \"short\"\nmax-duration = \"20m\"\n", "too-long", "longer than the 20m that rule dba-phi gives now"),
    ] {
        world.reload(&with(more)).await.unwrap();
        let refusal = refused(world.yes("bob", &request).await);
        assert!(refusal.code == code && refusal.to_string().contains(says), "{refusal}");
    }
    // What an approver leaves of it is what counts.
    world.reload(&with("[[require]]\nchannels = [\"sftp-read\"]\nticket = true\n[[require]]\nmax-duration = \"20m\"\n")).await.unwrap();
    let shell: Channels = "shell".parse().unwrap();
    let less = Yes { length: Some(Span::minutes(20)), channels: Some(shell.clone()), ..Yes::default() };
    let grant = world.broker.approve(&world.who("bob").await, &request.id, less).await.unwrap().grant.unwrap();
    assert_eq!((grant.channels, grant.ends.since(grant.begins)), (shell, Span::minutes(20)));
}

#[tokio::test]
async fn a_floor_that_comes_to_lie_under_what_waits_names_its_approvers() {
    let world = World::new().await;
    let floors = "[[require]]\nid = \"security\"\nhosts = [\"label:phi=yes\"]\napprove = { by = [\"role:auditor\"] }\n\
         [[require]]\nid = \"vendors\"\nwho = [\"role:vendor\"]\nhosts = [\"*\"]\napprove = { by = [\"role:admin\"] }\n";
    world.reload(&with(floors)).await.unwrap();
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let queue = async |name: &str| {
        let filter = RequestFilter { decider: Some(world.who(name).await.user), pending: true, ..RequestFilter::default() };
        world.broker.reader().requests(&filter).await.unwrap().len()
    };
    assert_eq!((queue("carol").await, queue("dave").await), (0, 0));
    let mut host = world.host("phi-db").await;
    host.labels.insert("phi".into(), "yes".into());
    world.broker.change_host(&local(), host).await.unwrap();
    assert_eq!((queue("carol").await, queue("dave").await), (1, 0), "the host's label");
    let roles = ["dba".parse().unwrap(), "vendor".parse().unwrap()].into();
    world.broker.set_roles(&local(), &request.asked.user, roles).await.unwrap();
    assert_eq!((queue("carol").await, queue("dave").await), (1, 1), "the asker's role");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_keeps_no_role_from_being_taken_away() {
    let world = World::new().await;
    let (bad, good) =
        (world.ask("anna", "phi-db", Some("admin")).await.unwrap(), world.ask("alice", "phi-db", Some("postgres")).await.unwrap());
    world.broker.store.corrupt_request(bad.id.as_str()).await;
    let floor = "[[require]]\nid = \"security\"\nhosts = [\"phi-*\"]\napprove = { by = [\"role:auditor\"] }\n";
    world.reload(&with(floor)).await.unwrap();
    world.broker.set_roles(&local(), &User::parse("mallory").unwrap(), [].into()).await.unwrap();
    assert_eq!(world.events(2).await, ["policy-loaded", "user-roles-changed"]);
    let filter = RequestFilter { decider: User::parse("carol").ok(), pending: true, ..RequestFilter::default() };
    let waits = world.broker.reader().requests(&filter).await.unwrap();
    assert_eq!(waits.iter().map(|request| &request.id).collect::<Vec<_>>(), [&good.id], "the other one has its new approver");
    // Nor does it keep others from lapsing, or anybody from asking.
    world.clock.advance(Span::minutes(31));
    world.broker.lapse_due().await.unwrap();
    assert_eq!(world.events(1).await, ["request-lapsed"]);
}

#[tokio::test]
async fn an_export_is_judged_by_the_policy_that_another_process_has_loaded_meanwhile() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    // Of two policies of one moment nobody could say which is the later.
    world.clock.advance(Span::seconds(1));
    world.reload(&with("[[may]]\nwho = [\"role:auditor\"]\ndo = [\"export\", \"unmask\"]\nhosts = [\"*\"]\n")).await.unwrap();
    let beside = world.beside().await;
    let exports = async || beside.export_recordings(&local(), &open.id, User::parse("carol").ok(), None).await;
    assert_eq!(refused(exports().await).code, "not-sealed", "carol may");
    world.clock.advance(Span::seconds(1));
    world.reload(POLICY).await.unwrap();
    assert_eq!(refused(exports().await).code, "may-not");
    world.leave(open, Ending::Left).await;
}

#[tokio::test]
async fn a_floor_that_came_since_keeps_a_sealed_sessions_text_out() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    world.leave(open, Ending::Left).await;
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert!(world.broker.may_index(&row).await.unwrap());
    world.reload(&with("[[require]]\nhosts = [\"phi-*\"]\nindex = false\n")).await.unwrap();
    assert!(!world.broker.may_index(&row).await.unwrap());
}

#[tokio::test]
async fn a_new_floor_names_approvers_for_what_waits() {
    let world = World::new().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let carol = world.who("carol").await;
    let queue = || async {
        let filter = RequestFilter { decider: Some(carol.user.clone()), pending: true, ..RequestFilter::default() };
        world.broker.reader().requests(&filter).await.unwrap().len()
    };
    assert_eq!(queue().await, 0);
    world.reload(&with("[[require]]\nid = \"security\"\nhosts = [\"phi-*\"]\napprove = { by = [\"role:auditor\"] }\n")).await.unwrap();
    assert_eq!(queue().await, 1);
    let mut waits = [request.clone()];
    world.broker.under_floors(&mut waits).await.unwrap();
    assert!(waits[0].rule.may_decide(&carol, &waits[0].asked.user).is_ok() && waits[0].digest() == request.digest());
    assert_eq!(world.broker.rule_now(&world.broker.reader(), &request).await.unwrap().quorum(), 2);
    let first = world.yes("bob", &request).await.unwrap();
    assert_eq!((first.grant.is_some(), first.request.rule.quorum()), (false, 2), "an owner alone is not enough any more");
    assert_eq!(world.yes("bert", &request).await.unwrap().grant, None, "nor are two of them");
    let last = world.yes("carol", &request).await.unwrap();
    assert!(last.grant.is_some());
    assert!(world.verify().await.findings.is_empty());
}
