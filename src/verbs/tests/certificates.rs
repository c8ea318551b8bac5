//! Connections that an access certificate opened.

use super::*;

#[tokio::test]
async fn a_connection_by_certificate_sees_its_grant_alone() {
    let world = world().await;
    let (request, grant) = world.grant().await;
    let made = world.json("alice", &format!("cert {grant}")).await;
    let line = made["certificate"].as_str().unwrap();
    assert!(line.starts_with("ssh-ed25519-cert-v01@openssh.com AAAA") && line.ends_with(&format!(" alice/{grant}")), "{line}");
    let printed = world.say("alice", &format!("cert {grant}")).await;
    assert_eq!((printed.status, printed.out.lines().count()), (0, 1), "{printed:?}");
    assert_eq!(world.say("local", &format!("cert {grant}")).await.status, 1);
    // A second grant of hers, on another host, and one of somebody else's requests to decide.
    let filed = world.json("alice", "request phi-app --reason fix the other").await;
    let other_request = filed["request"].as_str().unwrap().to_owned();
    world.json("bob", &format!("approve {other_request}")).await;
    let certificate = ssh_key::Certificate::from_openssh(line).unwrap();
    let (person, proof) = world.broker.recognise_certificate(&certificate).await.unwrap();
    let actor = Actor::User(person.user.clone());
    let caller = Caller { actor, person: Some(person), proof: Some(proof), look: Look::default(), rows: None };
    let say = async |line: &str| {
        let mut sink = Collected::default();
        let status = run(&world.broker, &caller, &from_line(line, None).unwrap(), &mut sink).await;
        (status, String::from_utf8([sink.out, sink.err].concat()).unwrap())
    };
    for (line, has, not) in [
        ("whoami", grant.as_str(), "nothing"),
        ("grants", grant.as_str(), "phi-app"),
        ("hosts", "phi-db", "phi-app"),
        ("known-hosts", "@cert-authority", "nothing"),
        (&format!("show {request}"), "phi-db", "phi-app"),
        ("sessions", "no sessions", "phi-app"),
        (&format!("cert {grant}"), "ssh-ed25519-cert-v01", "nothing"),
    ] {
        let (status, text) = say(line).await;
        assert!(status == 0 && text.contains(has) && !text.contains(not), "{line}: {status} {text}");
    }
    for line in [
        &format!("show {other_request}"),
        "requests",
        "request phi-app --reason another one",
        &format!("approve {other_request}"),
        &format!("deny {other_request} --note no"),
        &format!("withdraw {other_request}"),
        "replay s-7k2m9q",
        "watch s-7k2m9q --because x",
        "kill s-7k2m9q --note no",
        &format!("revoke {grant} --note no"),
        "close g-7k2m9q",
        "cert g-7k2m9q",
    ] {
        let (status, text) = say(line).await;
        assert!(status == 1 && text.contains(&format!("it sees {grant} alone")) && text.contains("hint: "), "{line}: {status} {text}");
    }
    let page = page::page(&world.broker, &caller).await.unwrap();
    assert!(page.contains(&grant) && !page.contains("phi-app"), "{page}");
    assert_eq!(say(&format!("close {grant}")).await.0, 0);
    assert!(world.broker.recognise_certificate(&certificate).await.is_err());
}
