//! At the bastion's own keyboard: what `local:NAME` may, and what only a proven key says.

use super::*;

#[tokio::test]
async fn somebody_there_reads_and_takes_away() {
    let world = world().await;
    let (request, grant) = world.grant().await;
    let session = world.visit().await;
    for (line, has) in [
        ("whoami", "local:root"),
        ("hosts", "web"),
        ("requests", &request),
        (&format!("show {request}"), &grant),
        ("grants", &grant),
        ("sessions", &session),
        ("recordings", &session),
        ("known-hosts", "@cert-authority phi-* "),
    ] {
        let said = world.say("local", line).await;
        assert!(said.status == 0 && said.out.contains(has), "{line}: {said:?}");
    }
    let last = async || {
        let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
        String::from_utf8(rows.last().unwrap().bytes.clone()).unwrap()
    };
    for (verb, ending, event) in [("kill", Ending::Killed, "session-killed"), ("revoke", Ending::Revoked, "grant-revoked")] {
        let open = world.enter().await;
        let id = if verb == "kill" { open.id.to_string() } else { grant.clone() };
        assert_eq!(world.say("local", &format!("{verb} {id} --note x")).await.status, 0);
        assert_eq!(open.cutoff.reason(), Some(ending));
        let told = last().await;
        assert!(told.contains("\"actor\":\"local:root\"") && told.contains(event), "{told}");
    }
}

#[tokio::test]
async fn what_a_key_must_prove_is_said_over_ssh_alone() {
    let world = world().await;
    let (_, grant) = world.grant().await;
    let session = world.visit().await;
    let waits = world.json("alice", "request phi-app --reason x").await["request"].as_str().unwrap().to_owned();
    for line in [
        "request phi-app --reason x",
        &format!("approve {waits}"),
        &format!("deny {waits} --note no"),
        &format!("withdraw {waits}"),
        &format!("extend {grant} --for 10m --reason x"),
        &format!("cert {grant}"),
        &format!("replay {session}.1 --because x"),
    ] {
        let said = world.say("local", line).await;
        let verb = line.split(' ').next().unwrap();
        assert!(
            said.err
                .replace("ssh -t ", "ssh ")
                .starts_with(&format!("{verb} exists only over SSH, where a key proves who\nhint: ssh jit-bastion {verb} ")),
            "{said:?}"
        );
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{line}");
        assert_eq!(world.json("local", line).await["error"]["code"], "ssh-only", "{line}");
    }
    assert_eq!(world.json("alice", &format!("show {waits}")).await["state"], "pending", "nothing of it was done");
}
