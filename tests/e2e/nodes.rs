//! Two bastions on one PostgreSQL, and two that must not be one.

use std::fs;
use std::time::{Duration, Instant};

use crate::world::{Bastion, LIMIT, Node, Out, Output, Running, database, find_id, psql, run, wait_for_or};

/// Both, on a database of their own.
fn two() -> (Bastion, Node, String) {
    let store = database();
    let first = Bastion::start_on(&store);
    let mut second = Node::beside(&first, &store);
    second.begin();
    (first, second, store)
}

/// How long until `running` has ended.
fn ends(running: &mut Running) -> Duration {
    let began = Instant::now();
    wait_for_or(LIMIT, || running.ended().then_some(()), || "an end".into());
    began.elapsed()
}

/// Asked and awaited on the first, approved on the second, entered through the first, revoked on the second: how long the two took to be
/// known on the first.
fn there_and_back(first: &Bastion, second: &Node) -> (Duration, Duration) {
    let mut asking =
        Running::start(&mut first.ssh().command(&["request phi-db --for 10m --wait --reason look after ticket 4711"]), Out::Collect);
    let request = wait_for_or(
        LIMIT,
        || {
            let pending = second.ssh().by("bob").run("requests --pending --json").expect(0);
            find_id(&serde_json::from_slice(&pending.stdout).expect("JSON"), "r-")
        },
        || asking.told(),
    );
    let decided = second.ssh().by("bob").run(&format!("approve {request} --json")).expect(0);
    let opened = ends(&mut asking);
    let grant = find_id(&serde_json::from_slice(&decided.stdout).expect("JSON"), "g-").expect("a grant");
    let mut inside = Running::start(&mut first.ssh().jump("phi-db").command(&["while :; do echo tick; sleep 0.02; done"]), Out::Collect);
    inside.until("tick");
    second.ssh().by("dave").run(&format!("revoke {grant} --note enough")).expect(0);
    let cut = ends(&mut inside);
    inside.until_error("revoked");
    (opened, cut)
}

/// Within a second in one of three: two noisy cores decide nothing.
fn within_a_second(first: &Bastion, second: &Node) {
    let mut took = Vec::new();
    for _ in 0..3 {
        let (opened, cut) = there_and_back(first, second);
        took.push((opened, cut));
        if opened.max(cut) < Duration::from_secs(1) {
            break;
        }
    }
    println!("opened and cut after {took:?}");
    assert!(took.iter().any(|(opened, cut)| *opened.max(cut) < Duration::from_secs(1)), "{took:?}");
}

#[test]
fn approved_on_one_and_revoked_on_one_counts_on_the_other_within_a_second() {
    let (first, second, store) = two();
    within_a_second(&first, &second);
    // The same while all that the bastions say to each other is lost.
    let lose = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jit-bastion listen' AND datname = current_database()";
    let deaf =
        format!("DO $$ BEGIN LOOP PERFORM 1 FROM ({lose}) l; PERFORM pg_stat_clear_snapshot(); PERFORM pg_sleep(0.01); END LOOP; END $$");
    let losing = Running::start(&mut psql(&store, &deaf), Out::Collect);
    within_a_second(&first, &second);
    drop(losing);
    for verified in [first.local(&["verify"]), second.local(&["verify"])] {
        verified.expect(0);
    }
}

#[test]
fn a_second_bastion_on_one_file_is_refused_and_local_commands_work_beside_it() {
    let first = Bastion::start();
    let file = first.dir().join("state").join("jit-bastion.db");
    let second = Node::beside(&first, &format!("sqlite:{}", file.display()));
    let refused = second.local(&["serve"]).expect(1);
    assert!(refused.stderr.contains("a bastion serves on") && refused.stderr.contains("hint: stop it first"), "{}", refused.told());
    let grant = first.grant("alice", "phi-db", "10m");
    assert!(second.local(&["grants"]).expect(0).text().contains(&grant));
    second.local(&["revoke", &grant, "--note", "from beside"]).expect(0);
    first.ssh().jump("phi-db").run("true").expect(255);
}

/// `check` with another store.
fn check_on(bastion: &Bastion, config: &str, store: &str) -> Output {
    let state = bastion.dir().join("state");
    let other = bastion.aside("other.toml");
    let text = config.replace("state = \"state\"", &format!("state = \"{}\"\nstore = \"{store}\"", state.display()));
    fs::write(&other, text).expect("a config");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
    run(command.arg("check").arg("--config").arg(&other), b"")
}

#[test]
fn a_server_elsewhere_proves_who_it_is_or_hears_nothing() {
    let first = Bastion::start();
    let config = fs::read_to_string(first.dir().join("jit-bastion.toml")).expect("a config");
    let store = database();
    let data = run(&mut psql(&store, "SHOW data_directory"), b"").expect(0).text();
    let ca = std::path::Path::new(data.trim()).with_file_name("ca.pem");
    let stranger = first.aside("stranger.pem");
    let key = first.aside("stranger.key");
    let mut made = std::process::Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test CA", "-out"]);
    run(made.arg(&stranger).arg("-keyout").arg(&key), b"").expect(0);
    let by = |place: &str, ca: &std::path::Path| {
        format!("{}?sslmode=verify-full&sslrootcert={}", store.replace("127.0.0.1", place), ca.display())
    };
    let said = |out: Output| format!("{}{}", out.text(), out.stderr);
    // An empty database that answers: `check` says what to do next, which is to make the store.
    let reached = said(check_on(&first, &config, &by("localhost", &ca)).expect(1));
    assert!(!reached.contains("certificate") && reached.contains("jit-bastion init"), "{reached}");
    for (url, why) in [(by("localhost", &stranger), "another CA"), (by("127.0.0.1", &ca), "another name")] {
        let said = said(check_on(&first, &config, &url).expect(1));
        assert!(said.contains("certificate") && said.contains("hint: ") && !said.contains("secret@"), "{why}: {said}");
    }
}

#[test]
fn a_bastion_on_postgresql_over_tls_comes_back_from_its_backup() {
    let store = database();
    let data = run(&mut psql(&store, "SHOW data_directory"), b"").expect(0).text();
    let ca = std::path::Path::new(data.trim()).with_file_name("ca.pem");
    let over_tls = |store: &str| format!("{}?sslmode=verify-full&sslrootcert={}", store.replace("127.0.0.1", "localhost"), ca.display());
    let mut bastion = Bastion::start_on(&over_tls(&store));
    let tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND NOT ssl AND pid <> pg_backend_pid()";
    assert_eq!(run(&mut psql(&store, tls), b"").expect(0).text().trim(), "0", "every connection of ours is encrypted");
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("echo before").expect(0);
    bastion.settled();
    let backup = bastion.aside("backup");
    let dir = backup.display().to_string();
    bastion.local(&["backup", &dir, "--recordings"]).expect(0);
    bastion.stop();

    // Machine and server are gone; the page says what to do.
    let (server, name) = store.rsplit_once('/').expect("a URL");
    run(&mut psql(&format!("{server}/postgres"), &format!("DROP DATABASE {name}")), b"").expect(0);
    run(&mut psql(&format!("{server}/postgres"), &format!("CREATE DATABASE {name}")), b"").expect(0);
    let ruins = bastion.aside("ruins");
    fs::create_dir(&ruins).expect("a folder");
    for lost in ["state", "recordings", "policy.toml", "jit-bastion.toml"] {
        fs::rename(bastion.dir().join(lost), ruins.join(lost)).expect("moved");
    }
    let page = fs::read_to_string(backup.join("RESTORE.txt")).expect("the page");
    for line in page.lines().filter_map(|line| line.strip_prefix("     ")) {
        let line = line.replace("NEW-AND-EMPTY-DATABASE", &store);
        run(std::process::Command::new("sh").args(["-c", &line]).current_dir(&backup), b"").expect(0);
    }
    bastion.begin();
    assert!(bastion.verb("alice", "grants").expect(0).text().contains(&grant));
    bastion.ssh().jump("phi-db").run("echo after").expect(0);
    bastion.settled();
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn check_says_what_is_wrong_with_a_server_and_never_the_password() {
    let first = Bastion::start();
    let file = first.dir().join("jit-bastion.toml");
    let config = fs::read_to_string(&file).expect("a config");
    let store = database();
    let checked = |store: &str| check_on(&first, &config, store);
    for (bad, words) in [
        (store.replace(":secret@", ":hunter2@"), "password authentication failed"),
        (format!("{store}_missing"), "does not exist"),
        ("postgres://jit:hunter2@127.0.0.1:1/jit".to_owned(), "refused"),
        ("postgres://jit:hunter2@db.hospital.example/jit".to_owned(), "sslmode=verify-full"),
    ] {
        let out = checked(&bad).expect(1);
        let said = format!("{}{}", out.text(), out.stderr);
        assert!(said.contains(words) && said.contains("hint: "), "{words}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("secret@"), "{said}");
    }
}

#[test]
fn keys_replaced_on_one_count_on_the_other() {
    let (first, second, _) = two();
    first.grant("alice", "phi-db", "1h");
    first.grant("alice", "phi-app", "1h");
    let through_second = |words: &str| second.ssh().jump("phi-db").run(words);
    through_second("true").expect(0);
    // By plan: told on both before it signs on either.
    first.local(&["ca", "rotate", "session"]).expect(0);
    first.set_up("phi-db");
    second.local(&["ca", "activate", "session"]).expect(0);
    // This host has not been told of the next key: that it refuses shows which one signs.
    for ssh in [first.ssh(), second.ssh()] {
        let refused = || ssh.clone().jump("phi-app").run("true").stderr.contains("refused the certificate").then_some(());
        wait_for_or(LIMIT, refused, || "both to sign with the next key".into());
    }
    through_second("true").expect(0);
    // After a theft: at once, on both.
    second.local(&["ca", "rotate", "host", "--emergency"]).expect(0);
    first.known_hosts(&first.local(&["known-hosts"]).expect(0).text());
    for ssh in [first.ssh(), second.ssh()] {
        let shown = || (ssh.run("whoami").code == Some(0) && ssh.clone().jump("phi-db").run("true").code == Some(0)).then_some(());
        wait_for_or(LIMIT, shown, || "the new host CA at both hops".into());
    }
    let log = fs::read_to_string(first.dir().join("bastion.log")).expect("a log");
    assert!(log.matches("the keys in the store were taken over").count() >= 1, "{log}");
}
