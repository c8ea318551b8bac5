use super::*;
use crate::store::testing;

fn seen(at: u64, text: &str) -> SeenLine {
    SeenLine { at, text: text.to_owned() }
}

fn session(n: u32) -> SessionId {
    SessionId::from_random(n)
}

/// A store with the rows that sessions hang on left out: what is sought hangs on sessions alone.
async fn store(dir: &std::path::Path) -> Store {
    store_at(&testing::url(dir).await).await
}

async fn store_at(url: &str) -> Store {
    let store = Store::open(url, "n").await.unwrap();
    for n in 1..=3_u32 {
        store.note(Timestamp::from_micros(0), move |tx| Box::pin(async move { add(tx, n).await })).await.unwrap();
    }
    store
}

async fn add(tx: &mut Tx, n: u32) -> Result<(), StoreError> {
    let (id, request, grant) = (session(n).to_string(), format!("r-00000{n}"), format!("g-00000{n}"));
    sql("INSERT INTO texts (id, salt, body) VALUES ($1, '', 'why')").bind(&request).execute(tx.conn()).await?;
    sql("INSERT INTO requests (id, user_name, host, login, channels, length, reason, rule, filed_at, lapses_at, state, version)
         VALUES ($1, 'alice', 'phi-db', 'root', 'shell', 1, $1, '{}', 0, 0, 'approved', 1)")
    .bind(&request)
    .execute(tx.conn())
    .await?;
    sql("INSERT INTO grants (id, request, user_name, host, login, channels, begins_at, ends_at, granted_at, rule, state)
         VALUES ($1, $2, 'alice', 'phi-db', 'root', 'shell', 0, 1, 0, 'r', 'ended')")
    .bind(&grant)
    .bind(&request)
    .execute(tx.conn())
    .await?;
    // The third is not sealed.
    let manifest = (n < 3).then(|| "0".repeat(64));
    sql("INSERT INTO sessions (id, node, grant_id, request, user_name, host, login, rule, client, user_key, serial, started_at, state, folder, manifest)
         VALUES ($1, 'n', $2, $3, $4, 'phi-db', 'root', 'r', '', '', '1', $5, 'ended', 'f', $6)")
    .bind(&id)
    .bind(&grant)
    .bind(&request)
    .bind(if n == 1 { "alice" } else { "bob" })
    .bind(i64::from(n) * 1000)
    .bind(manifest)
    .execute(tx.conn())
    .await?;
    Ok(())
}

const NOW: Timestamp = Timestamp::from_micros(5);

/// Writes the whole text of a session.
async fn keep(store: &Store, n: u32, pieces: Vec<(u32, Vec<SeenLine>)>) {
    let generation = store.begin_text(NOW, session(n), false).await.unwrap().unwrap();
    assert!(store.keep_text(NOW, session(n), generation, pieces).await.unwrap());
}

async fn erase(store: &Store, n: u32) -> Option<u64> {
    let erased = store.note(NOW, move |tx| Box::pin(async move { tx.erase_text(&session(n)).await })).await.unwrap();
    assert!(store.wipe_text(NOW).await.unwrap());
    erased
}

async fn found(store: &Store, text: &str, filter: &SessionFilter) -> Vec<(SessionId, u32, u64, String)> {
    let needle = Needle::parse(text).unwrap();
    let pieces = store.reader().text_pieces(&needle, filter, None, 100).await.unwrap();
    let lines = pieces.into_iter().flat_map(|piece| piece.lines.into_iter().map(move |line| (piece.session.clone(), piece.channel, line)));
    lines.filter(|(.., line)| needle.is_in(&line.text)).map(|(session, channel, line)| (session, channel, line.at, line.text)).collect()
}

#[tokio::test]
async fn what_stood_there_is_found_by_any_piece_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let first =
        vec![(1, vec![seen(7, "postgres=# SELECT  * FROM patients;"), seen(9, "100% \"of\" 'them' äÖü_\\x")]), (2, vec![seen(3, "other")])];
    keep(&store, 1, first).await;
    keep(&store, 2, vec![(1, vec![seen(1, "select 1"), seen(2, "nothing here")])]).await;
    keep(&store, 3, vec![(1, vec![seen(1, "select from a session that goes on")])]).await;
    let all = SessionFilter::default();
    let line = "postgres=# SELECT  * FROM patients;".to_owned();
    for text in ["select * from", "PATIENTS;", "s=#", "ient"] {
        assert_eq!(found(&store, text, &all).await, [(session(1), 1, 7, line.clone())], "{text}");
    }
    for text in ["100% \"of\"", "'them'", "ÄÖÜ_\\x", "% \""] {
        assert_eq!(found(&store, text, &all).await.len(), 1, "{text}");
    }
    // The newest first; what is not sealed is not found.
    let selects: Vec<SessionId> = found(&store, "select", &all).await.into_iter().map(|hit| hit.0).collect();
    assert_eq!(selects, [session(2), session(1)]);
    assert!(found(&store, "selects", &all).await.is_empty() && found(&store, "other nothing", &all).await.is_empty());
    let bob = SessionFilter { user: User::parse("bob").ok(), ..SessionFilter::default() };
    assert_eq!(found(&store, "select", &bob).await.len(), 1);
    let since = SessionFilter { since: Some(Timestamp::from_micros(1500)), ..SessionFilter::default() };
    assert_eq!(found(&store, "select", &since).await.len(), 1);

    // Written anew, and taken out.
    keep(&store, 2, vec![(1, vec![seen(1, "another text")])]).await;
    assert_eq!(found(&store, "select", &all).await.len(), 1);
    assert_eq!(found(&store, "another", &all).await.len(), 1);
    assert_eq!((erase(&store, 1).await, store.reader().text_of(&session(1)).await.unwrap()), (Some(2), 0));
    assert!(found(&store, "patients", &all).await.is_empty());
}

#[tokio::test]
async fn pages_come_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let pieces = (0..10).map(|n| (n + 1, vec![seen(0, &format!("the same line {n}"))])).collect();
    keep(&store, 1, pieces).await;
    let (needle, all) = (Needle::parse("same line").unwrap(), SessionFilter::default());
    let (mut before, mut channels) = (None, Vec::new());
    loop {
        let page = store.reader().text_pieces(&needle, &all, before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        channels.extend(page.iter().map(|piece| piece.channel));
    }
    assert_eq!(channels, (1..=10).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_erased_comes_in_again_only_where_somebody_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let text = || vec![(1, vec![seen(0, "a patient's name")])];
    let late = store.begin_text(NOW, session(1), false).await.unwrap().unwrap();
    assert!(store.keep_text(NOW, session(1), late, text()).await.unwrap());
    assert_eq!((erase(&store, 1).await, erase(&store, 1).await), (Some(1), None));
    assert_eq!(store.reader().text_erased(&session(1)).await.unwrap(), Some(NOW));
    assert!(!store.keep_text(NOW, session(1), late, text()).await.unwrap(), "a batch that comes after the erasing");
    assert_eq!(store.begin_text(NOW, session(1), false).await.unwrap(), None);
    assert_eq!(store.reader().text_of(&session(1)).await.unwrap(), 0);

    let [one, two] =
        [store.begin_text(NOW, session(1), true).await.unwrap().unwrap(), store.begin_text(NOW, session(1), true).await.unwrap().unwrap()];
    assert!(!store.keep_text(NOW, session(1), one, text()).await.unwrap(), "of two at once the later one");
    assert!(store.keep_text(NOW, session(1), two, text()).await.unwrap());
    assert_eq!((store.reader().text_of(&session(1)).await.unwrap(), store.reader().text_erased(&session(1)).await.unwrap()), (1, None));
    // What is not there yet does not come.
    assert_eq!(erase(&store, 2).await, Some(0));
    assert_eq!(store.begin_text(NOW, session(2), false).await.unwrap(), None);
}

/// Where a text stands in the store's files, as it was written.
fn lies_in(dir: &std::path::Path, text: &str) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let holds = |path: &std::path::PathBuf| std::fs::read(path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes());
    files.filter(holds).map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn nothing_of_what_was_erased_stays_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_at(&testing::sqlite(dir.path())).await;
    // The index has pieces of three characters: three that stand nowhere else.
    let (name, three) = ("Zwiebelmann", "\u{9f98}\u{9750}\u{9f49}");
    let other = |n: u32| (0..200).map(|line| seen(0, &format!("another text {n}: {}", line * 7919 + n * 104_729))).collect::<Vec<_>>();
    for n in 0..12 {
        keep(&store, 2, vec![(1, other(n))]).await;
    }
    keep(&store, 1, vec![(1, other(20)), (2, vec![seen(0, &format!("patient {name} {three}"))]), (3, other(30))]).await;
    for text in [name, three] {
        assert!(!lies_in(dir.path(), text).is_empty(), "{text} was written");
    }
    assert_eq!(erase(&store, 1).await, Some(3));
    for text in [name, three] {
        assert_eq!(lies_in(dir.path(), text), Vec::<String>::new(), "{text}");
    }
    let all = SessionFilter::default();
    assert_eq!(found(&store, "another text 11: ", &all).await.len(), 200, "the others are still found");
    // Anew in small steps, until there is nothing to do.
    assert!(!store.note(NOW, |tx| Box::pin(async move { grams::wipe(tx.conn(), false).await })).await.unwrap());
    store.close().await;
    assert!(lies_in(dir.path(), name).is_empty());
}
