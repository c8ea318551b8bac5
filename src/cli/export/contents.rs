//! What goes into an export.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{KEYS, RECORDINGS, TEXTS, digest_of, words};
use crate::access::names::{SessionId, escaped};
use crate::access::time::{Span, Timestamp};
use crate::audit::canonical;
use crate::audit::checkpoint::{Note, NoteKey};
use crate::audit::digest::Digest;
use crate::audit::proofs::{Proof, Proofs};
use crate::audit::tree::{NodeId, inclusion, inclusion_nodes, leaf_hash};
use crate::broker::{Broker, SessionRow};
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::recording::{Manifest, Right, manifest};
use crate::store::Reader;

/// Entries read at a time.
const PAGE: u32 = 2_000;
/// No session has more events around it.
const MOST_EVENTS: usize = 10_000;
/// Written a moment before its first event, by another clock.
const BEFORE: Span = Span::minutes(5);

/// One file of an export.
pub(super) struct Item {
    /// Below the export's folder; made of ids and kinds, never of what somebody typed.
    pub name: String,
    from: From,
}

enum From {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Item {
    fn text(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), from: From::Bytes(text.into()) }
    }

    /// Its digest; `told` hears how much was read.
    pub fn digest(&self, told: &mut dyn FnMut(u64)) -> anyhow::Result<Digest> {
        let (_, content) = self.open()?;
        Ok(digest_of(content, told).with_context(|| format!("cannot read {}", self.name))?.0)
    }

    /// Its length and content.
    pub fn open(&self) -> anyhow::Result<(u64, Box<dyn Read + '_>)> {
        Ok(match &self.from {
            From::Bytes(bytes) => (bytes.len() as u64, Box::new(Cursor::new(bytes))),
            From::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                (file.metadata().with_context(|| format!("cannot open {}", path.display()))?.len(), Box::new(file))
            }
        })
    }
}

/// A sealed session as it lies in the recordings' folder.
pub(super) struct Sealed {
    root: PathBuf,
    pub manifest: Manifest,
    bytes: Vec<u8>,
    row: Option<SessionRow>,
}

impl Sealed {
    /// When the session began, in whole seconds since 1970.
    pub fn started_s(&self) -> u64 {
        u64::try_from(self.manifest.session.started.seconds()).unwrap_or_default()
    }
}

/// The session's recordings, if they are here and as they were sealed.
pub(super) async fn sealed(config: &Config, broker: &Broker, session: &SessionId) -> Result<Sealed, Failure> {
    let row = broker.reader().session(session).await.context("the store does not answer")?;
    let logged = match &row {
        Some(row) => row.sealed.clone(),
        None => broker.reader().audit(session).await.context("the store does not answer")?.and_then(|audit| audit.sealed),
    };
    let Some((folder, digest)) = logged else {
        let next = "`jit-bastion sessions` lists them; a session is sealed when it ends";
        return Err(Failure::refused("no-recording", format!("there are no sealed recordings of {session}"), next));
    };
    let (root, below) = (config.recordings.clone(), Path::new(&folder));
    if let Some(row) = row.as_ref().filter(|row| row.node != broker.node() && !root.join(below).exists()) {
        let next = format!("run this on {}", row.node);
        return Err(Failure::refused("elsewhere", format!("the recordings of {session} lie on {}", row.node), next));
    }
    let damaged = |why: String| {
        let next = "`jit-bastion verify` names everything that was altered; a backup has what was there";
        Failure::refused("damaged", format!("the recordings of {session} are not as they were sealed: {why}"), next)
    };
    let path = root.join(below).join(manifest::NAME);
    let bytes = std::fs::read(&path).map_err(|error| damaged(format!("{}: {error}", path.display())))?;
    let read = Manifest::parse(&bytes).map_err(&damaged)?;
    read.check(&bytes, &broker.manifest_key().map_err(|fault| Failure::Fault(fault.into()))?).map_err(&damaged)?;
    if Digest::of(&bytes) != digest || read.session.session != *session || read.session.folder() != below {
        return Err(damaged(format!("{} is not the one that the log knows", path.display())));
    }
    for channel in &read.channels {
        let path = root.join(below).join(&channel.file);
        let found = File::open(&path).and_then(|file| digest_of(file, &mut |_| ()));
        match found {
            Ok((digest, length)) if Some(*digest.as_bytes()) == channel.digest() && length == channel.bytes => {}
            Ok(_) => return Err(damaged(format!("{} was changed", path.display()))),
            Err(error) => return Err(damaged(format!("{}: {error}", path.display()))),
        }
    }
    Ok(Sealed { root, manifest: read, bytes, row })
}

/// Everything but the list of digests; and how many events are in it.
pub(super) async fn gather(broker: &Broker, sealed: &Sealed) -> anyhow::Result<(Vec<Item>, usize)> {
    let (reader, meta) = (broker.reader(), &sealed.manifest.session);
    let keys = keys(broker)?;
    let request = match &meta.right {
        Right::Grant { request, .. } => reader.request(request).await?,
        Right::Audit { .. } => None,
    };
    let since = request.as_ref().map_or(meta.started, |request| request.filed_at).minus(BEFORE);
    let logs = concerning(&reader, sealed, since).await?;
    let events = logs.values().map(BTreeMap::len).sum();
    let mut items = Vec::new();
    let folder = format!("{RECORDINGS}/{}", meta.folder().display());
    items.push(Item::text(format!("{folder}/{}", manifest::NAME), sealed.bytes.clone()));
    for channel in &sealed.manifest.channels {
        let path = sealed.root.join(meta.folder()).join(&channel.file);
        items.push(Item { name: format!("{folder}/{}", channel.file), from: From::File(path) });
    }
    for (node, entries) in &logs {
        items.extend(proven(&reader, node, entries).await?);
    }
    let texts = texts(&reader, logs.values().flat_map(BTreeMap::values)).await?;
    items.push(Item::text(TEXTS, pretty(&texts)));
    let account = json!({
        "session": sealed.row.as_ref().map(crate::verbs::session_json),
        "request": request.as_ref().map(|request| crate::verbs::request_json(request, broker.now())),
    });
    items.push(Item::text("account.json", pretty(&account)));
    if let Some(request) = &request {
        items.push(Item::text("request.txt", request.canonical_text()));
    }
    items.push(Item::text(KEYS, keys.iter().map(|key| format!("{key}\n")).collect::<String>()));
    let newest = keys.last().context("there is no checkpoint key")?;
    items.push(Item::text("checkpoint.pem", pem(newest.public())));
    let nodes: Vec<&str> = logs.keys().map(String::as_str).collect();
    items.push(Item::text("README.txt", words::readme(sealed, newest, &nodes)));
    items.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((items, events))
}

fn keys(broker: &Broker) -> anyhow::Result<Vec<NoteKey>> {
    let all = broker.manifest_key()?;
    let key = |text: &str| {
        let public: [u8; 32] = BASE64.decode(text)?.try_into().map_err(|_| anyhow::anyhow!("a key of another length"))?;
        Ok(NoteKey::new(broker.node(), public)?)
    };
    all.split(' ').map(key).collect()
}

/// The entries of all logs that name the session, its grant, its request, or a request for more time of the grant.
async fn concerning(reader: &Reader, sealed: &Sealed, since: Timestamp) -> anyhow::Result<BTreeMap<String, BTreeMap<u64, Vec<u8>>>> {
    let meta = &sealed.manifest.session;
    let mut wanted = BTreeSet::from([meta.session.to_string()]);
    if let Right::Grant { grant, request, .. } = &meta.right {
        wanted.extend([grant.to_string(), request.to_string()]);
    }
    let (mut logs, mut found) = (BTreeMap::new(), 0);
    for (node, first) in reader.logs_since(since).await? {
        let head = reader.last_checkpoint_of(&node).await?.and_then(|note| size_of(&note)).unwrap_or(0);
        let (mut from, mut entries) = (first, BTreeMap::new());
        loop {
            let page = reader.entries_of(&node, from, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            from = last.saturating_add(1);
            for (seq, bytes) in page.into_iter().filter(|(seq, _)| *seq < head) {
                let Ok(value) = canonical::parse(&bytes) else { continue };
                if value.get("data").is_some_and(|data| names(data, &wanted)) {
                    wanted.extend(value.get("data").and_then(|data| data.get("request")).and_then(Value::as_str).map(str::to_owned));
                    entries.insert(seq, bytes);
                    found += 1;
                }
            }
            if found > MOST_EVENTS {
                bail!("more than {MOST_EVENTS} events name {} or its grant", meta.session);
            }
        }
        if !entries.is_empty() {
            logs.insert(node, entries);
        }
    }
    Ok(logs)
}

/// How many entries a signed head is over.
fn size_of(note: &str) -> Option<u64> {
    Note::parse(note).ok()?.unverified().lines().nth(1)?.parse().ok()
}

fn names(data: &Value, wanted: &BTreeSet<String>) -> bool {
    match data {
        Value::String(text) => wanted.contains(text),
        Value::Object(members) => members.values().any(|member| names(member, wanted)),
        Value::Array(items) => items.iter().any(|item| names(item, wanted)),
        _ => false,
    }
}

/// The entries of one log, the head over them, and the proofs.
async fn proven(reader: &Reader, node: &str, entries: &BTreeMap<u64, Vec<u8>>) -> anyhow::Result<Vec<Item>> {
    let note = reader.last_checkpoint_of(node).await?.with_context(|| format!("no head of {node} is signed"))?;
    let size = size_of(&note).context("a signed head that cannot be read")?;
    let mut ids: BTreeSet<NodeId> = crate::audit::tree::root_nodes(size).into_iter().collect();
    for seq in entries.keys() {
        ids.extend(inclusion_nodes(*seq, size)?);
    }
    let rows = reader.tree_rows(node, &ids).await?;
    let mut proofs = Vec::with_capacity(entries.len());
    for (seq, bytes) in entries {
        proofs.push(Proof { seq: *seq, leaf: leaf_hash(bytes), path: inclusion(*seq, size, &rows)? });
    }
    let root = crate::audit::tree::root_at(size, &rows)?;
    let proofs = Proofs { origin: node.to_owned(), size, root, entries: proofs };
    let mut items = vec![
        Item::text(format!("log/{node}/checkpoint"), note),
        Item::text(format!("log/{node}/proofs.json"), pretty(&serde_json::to_value(&proofs)?)),
    ];
    items.extend(entries.iter().map(|(seq, bytes)| Item::text(format!("log/{node}/{seq:08}.json"), bytes.clone())));
    Ok(items)
}

/// What people typed, as far as it is kept, with the salt that proves it: `{commitment: {salt, text}}`.
async fn texts(reader: &Reader, entries: impl Iterator<Item = &Vec<u8>>) -> anyhow::Result<Value> {
    let mut texts = serde_json::Map::new();
    for bytes in entries {
        let Ok(value) = canonical::parse(bytes) else { continue };
        let members = value.get("data").and_then(Value::as_object).into_iter().flat_map(|data| data.values());
        for id in members.filter_map(Value::as_str).filter(|text| text.parse::<Digest>().is_ok()) {
            if let Some((salt, text)) = reader.committed(id).await? {
                texts.insert(id.to_owned(), json!({ "salt": salt, "text": text }));
            }
        }
    }
    Ok(Value::Object(texts))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// RFC 8410: the public key as other programs read it.
fn pem(public: &[u8; 32]) -> String {
    let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], public].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der))
}

/// One line of the account in the README.
pub(super) fn line(sealed: &Sealed) -> String {
    let meta = &sealed.manifest.session;
    let ending = escaped(&sealed.manifest.ending);
    format!("{} on {} as {}, from {}, {}; ended: {ending}", meta.right.who(), meta.host, meta.login, meta.started, meta.right.under())
}
