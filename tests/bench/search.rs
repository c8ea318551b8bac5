//! How long a search over 10,000 sessions takes, on a store that is a file. `cargo bench --bench search`; SESSIONS=N makes others.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a bench fails by panicking")]

use std::process::Command;
use std::time::{Duration, Instant};

use jit_bastion::access::names::SessionId;
use jit_bastion::access::time::Timestamp;
use jit_bastion::recording::text::{Needle, SeenLine};
use jit_bastion::store::{PIECE, SessionFilter, Store};

/// As many lines as the verb shows.
const HITS: usize = 100;
const PAGES: (u32, u32) = (48, 768);
const ROUNDS: usize = 15;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench());
}

async fn bench() {
    let sessions: u32 = std::env::var("SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("store.db");
    let url = format!("sqlite:{}", file.display());
    Store::open(&url, "n").await.expect("a store").close().await;
    let script = "import sqlite3,sys
d=sqlite3.connect(sys.argv[1])
d.execute('PRAGMA foreign_keys=OFF')
for line in sys.stdin:
    i,id=line.split()
    d.execute(\"INSERT INTO sessions (id,node,grant_id,request,user_name,host,login,rule,client,user_key,serial,started_at,state,folder,manifest) VALUES (?,'n','g','r',?,'phi-db','postgres','r','','','1',?,'ended','f','\"+'0'*64+\"')\",(id,'user-'+str(int(i)%50),int(i)*1000000))
d.commit()";
    let ids: Vec<SessionId> = (0..sessions).map(SessionId::from_random).collect();
    let rows: String = ids.iter().enumerate().map(|(n, id)| format!("{n} {id}\n")).collect();
    let list = dir.path().join("rows");
    std::fs::write(&list, rows).expect("written");
    let python = Command::new("/usr/bin/python3").args(["-c", script]).arg(&file).stdin(std::fs::File::open(&list).expect("rows")).status();
    assert!(python.expect("python").success());

    let store = Store::open(&url, "n").await.expect("a store");
    let (began, mut lines, mut bytes) = (Instant::now(), 0, 0);
    for (n, id) in ids.iter().enumerate() {
        let said = session(n as u64);
        lines += said.len();
        bytes += said.iter().map(|line| line.text.len()).sum::<usize>();
        let now = Timestamp::from_micros(0);
        let generation = store.begin_text(now, id.clone(), false).await.expect("an answer").expect("begun");
        store.keep_text(now, id.clone(), generation, pieces(said)).await.expect("kept");
    }
    let took = began.elapsed();
    let size = std::fs::metadata(&file).expect("the store").len();
    println!(
        "{sessions} sessions, {lines} lines, {} MiB of text, indexed in {:.1} s ({:.1} MiB/s); the store has {} MiB",
        bytes >> 20,
        took.as_secs_f64(),
        (bytes as f64) / took.as_secs_f64() / 1048576.0,
        size >> 20
    );
    for (what, text) in [
        ("one line of one session", "patient 0007771 discharged"),
        ("in every session", "select * from"),
        ("in a few", "permission denied"),
        ("nowhere", "no such text anywhere"),
        ("nowhere, of common parts", "postgres failed discharged"),
        ("digits", "4711 8"),
        ("three characters", "xyz"),
        ("one word, everywhere", "root"),
    ] {
        measure(&store, what, text).await;
    }
}

async fn measure(store: &Store, what: &str, text: &str) {
    let (needle, filter, mut times, mut hits) = (Needle::parse(text).expect("a text"), SessionFilter::default(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        (hits, _) = search(store, &needle, &filter).await;
        times.push(began.elapsed());
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{what:26} {text:28?} {hits:4} hits  p50 {:7.2} ms  worst {:7.2} ms", ms(times[ROUNDS / 2]), ms(times[ROUNDS - 1]));
}

/// What `recordings --text` does with the index.
async fn search(store: &Store, needle: &Needle, filter: &SessionFilter) -> (usize, usize) {
    let (reader, mut before, mut hits, mut looked, mut size) = (store.reader(), None, 0, 0, PAGES.0);
    loop {
        let page = reader.text_pieces(needle, filter, before, size).await.expect("an answer");
        size = PAGES.1.min(size * 4);
        let Some(last) = page.last() else { return (hits, looked) };
        before = Some(last.id);
        looked += page.len();
        hits += page.iter().flat_map(|piece| &piece.lines).filter(|line| needle.is_in(&line.text)).count();
        if hits >= HITS {
            return (HITS, looked);
        }
    }
}

const WORDS: [&str; 24] = [
    "admission",
    "ward",
    "insulin",
    "transfer",
    "cardiology",
    "billing",
    "lab",
    "result",
    "pending",
    "nurse",
    "sodium",
    "allergy",
    "index",
    "vacuum",
    "replica",
    "timeout",
    "socket",
    "kernel",
    "backup",
    "archive",
    "schedule",
    "import",
    "export",
    "mrn",
];

/// An hour at a database: prompts, statements, tables, logs, an editor.
fn session(n: u64) -> Vec<SeenLine> {
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |most: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % most
    };
    let mut lines = Vec::new();
    let mut at = 0;
    for step in 0..12 {
        at += 1_000_000 * (1 + next(60));
        let table = WORDS[next(24) as usize];
        lines.push(format!("postgres@phi-db:~$ psql -c 'select * from {table} where mrn = {}'", next(10_000_000)));
        for _ in 0..8 + next(20) {
            let (a, b) = (WORDS[next(24) as usize], WORDS[next(24) as usize]);
            lines.push(format!(
                " {:>8} | patient {:07} | {a:<12} | {b:<10} | 2026-{:02}-{:02} {:02}:{:02}",
                next(1_000_000),
                next(10_000_000),
                1 + next(12),
                1 + next(28),
                next(24),
                next(60)
            ));
        }
        lines.push(format!("({} rows)", next(400)));
        if step % 4 == 1 {
            for _ in 0..10 {
                lines.push(format!(
                    "Nov 22 {:02}:{:02}:{:02} phi-db postgres[{}]: {} {} failed: connection {} reset",
                    next(24),
                    next(60),
                    next(60),
                    next(32768),
                    WORDS[next(24) as usize],
                    WORDS[next(24) as usize],
                    next(9999)
                ));
            }
        }
        if next(200) == 0 {
            lines.push("bash: /etc/shadow: permission denied".to_owned());
        }
    }
    if n == 7_777 {
        lines.push("patient 0007771 discharged".to_owned());
    }
    lines.into_iter().map(|text| SeenLine { at, text }).collect()
}

fn pieces(lines: Vec<SeenLine>) -> Vec<(u32, Vec<SeenLine>)> {
    let (mut pieces, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        bytes += line.text.len() + 1;
        open.push(line);
        if bytes >= PIECE {
            pieces.push((1, std::mem::take(&mut open)));
            bytes = 0;
        }
    }
    pieces.push((1, open));
    pieces
}
