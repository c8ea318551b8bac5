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
    let store = Store::open(&testing::url(dir).await, "n").await.unwrap();
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
    let now = Timestamp::from_micros(5);
    let first =
        vec![(1, vec![seen(7, "postgres=# SELECT  * FROM patients;"), seen(9, "100% \"of\" 'them' äÖü_\\x")]), (2, vec![seen(3, "other")])];
    store.keep_text(now, session(1), true, first).await.unwrap();
    store.keep_text(now, session(2), true, vec![(1, vec![seen(1, "select 1"), seen(2, "nothing here")])]).await.unwrap();
    store.keep_text(now, session(3), true, vec![(1, vec![seen(1, "select from a session that goes on")])]).await.unwrap();
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
    store.keep_text(now, session(2), true, vec![(1, vec![seen(1, "another text")])]).await.unwrap();
    assert_eq!(found(&store, "select", &all).await.len(), 1);
    assert_eq!(found(&store, "another", &all).await.len(), 1);
    let dropped = store
        .note(now, |tx| {
            Box::pin(async move {
                let n = tx.drop_text(&session(1)).await?;
                tx.wipe_text().await?;
                Ok(n)
            })
        })
        .await
        .unwrap();
    assert_eq!((dropped, store.reader().text_of(&session(1)).await.unwrap()), (2, 0));
    assert!(found(&store, "patients", &all).await.is_empty());
}

#[tokio::test]
async fn pages_come_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let pieces = (0..10).map(|n| (n + 1, vec![seen(0, &format!("the same line {n}"))])).collect();
    store.keep_text(Timestamp::from_micros(5), session(1), true, pieces).await.unwrap();
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
