//! A file that `export` made: whether every byte of it is as it was made, and whether the log vouches for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::learned::ended;
use super::progress::Shown;
use super::{Part, public};
use crate::access::names::{SessionId, escaped};
use crate::audit::checkpoint::NoteKey;
use crate::audit::commitment::Commitment;
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::audit::proofs::Proofs;
use crate::audit::tar::{TarError, TarReader};
use crate::cli::export::{KEYS, RECORDINGS, SIGNATURE, SUMS, TEXTS, first_line};
use crate::cli::failure::Failure;
use crate::recording::replay::{self, Recording};
use crate::recording::{Manifest, RecordError, Stretch, manifest};

/// Files up to this are looked into, and a manifest up to its own bound; longer ones are recordings, and only hashed.
const SMALL: u64 = 8 << 20;
/// And so much of them in all.
const ALL_SMALL: usize = 256 << 20;
/// No export has more files.
const MOST_FILES: usize = 200_000;
/// The most findings that are told one by one.
const MOST_FINDINGS: usize = 100;

/// What was read of the container.
#[derive(Default)]
struct Export {
    session: Option<SessionId>,
    /// Of each file: its digest.
    digests: BTreeMap<String, Digest>,
    small: BTreeMap<String, Vec<u8>>,
    mtime: Option<u64>,
    manifest: Option<Manifest>,
    places: BTreeMap<String, (u64, u64)>,
    wrong: Vec<String>,
}

/// What a file holds that was looked at: worth something if nothing was found wrong with it.
pub(in crate::cli) struct Exported {
    file: File,
    place: PathBuf,
    manifest: Option<Manifest>,
    /// Where each file stands in it: its first byte, and how many.
    places: BTreeMap<String, (u64, u64)>,
}

impl Exported {
    /// The recordings that it has; none where it holds no manifest.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// One of them, read where it stands in the file that was looked at.
    pub fn open(&self, number: u32) -> Result<Recording, RecordError> {
        let none = || RecordError::bad(&self.place, "it has no manifest");
        let manifest = self.manifest.clone().ok_or_else(none)?;
        let folder = format!("{RECORDINGS}/{}", manifest.session.folder().display());
        replay::opened(manifest, number, &self.place, |name| {
            let (from, length) = self.places.get(&format!("{folder}/{name}")).copied().unwrap_or_default();
            Ok(Stretch::of(self.file.try_clone()?, from, length))
        })
    }
}

/// Checks the file by `kept` keys, or by those that it carries.
pub(super) fn part(file: &Path, kept: Option<Vec<NoteKey>>) -> Result<(Part, Exported), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::refused("unreadable", format!("cannot read {}: {error}", file.display()), "name the file that `jit-bastion export` wrote")
    };
    let opened = File::open(file).map_err(|e| unreadable(&e))?;
    let mut export = Export::default();
    if let Err(error) = export.read(BufReader::with_capacity(256 * 1024, &opened)) {
        export.found(format!("the file itself is {error}"));
    }
    let carried = export.carried();
    let by_its_own = kept.is_none();
    let mut keys = kept.unwrap_or_else(|| carried.clone());
    if export.sums(&keys) {
        // Somebody whom we trust vouches for the older keys, too.
        keys.extend(carried.into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>());
    }
    let events = export.log(&keys);
    let recordings = export.recordings(&keys, &events);
    export.texts();
    let session = export.session.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let mut summary = format!("{session}: {recordings} recordings, {} events in the signed log", events.len());
    let key = keys.last().map(ToString::to_string);
    if let (true, Some(key)) = (by_its_own, &key) {
        summary.push_str(&format!("\n  by the key that it carries itself: compare it with the one you keep\n  {key}"));
    }
    let exported = Exported { file: opened, place: file.to_owned(), manifest: export.manifest, places: export.places };
    let findings = export.wrong.into_iter().map(|text| (text.clone(), json!({ "text": text }))).collect();
    let json =
        json!({ "file": file, "session": session, "recordings": recordings, "events": events.len(), "key": key, "own_key": by_its_own });
    Ok((Part { what: "export", summary, findings, json }, exported))
}

impl Export {
    fn found(&mut self, wrong: String) {
        match self.wrong.len() {
            n if n < MOST_FINDINGS => self.wrong.push(wrong),
            MOST_FINDINGS => self.wrong.push("and more".to_owned()),
            _ => {}
        }
    }

    fn read(&mut self, input: impl Read) -> Result<(), TarError> {
        let (mut tar, mut held, mut shown) = (TarReader::new(input), 0, Shown::new());
        while let Some((path, size)) = tar.next_file()? {
            let (folder, name) = path.split_once('/').ok_or(TarError::Form("a file outside of its folder"))?;
            let session = SessionId::parse(folder).ok().filter(|id| id.as_str() == folder).ok_or(TarError::Form("no session's folder"))?;
            if self.digests.len() >= MOST_FILES || *self.session.get_or_insert_with(|| session.clone()) != session {
                return Err(TarError::Form("files of several sessions"));
            }
            self.places.insert(name.to_owned(), (tar.place(), size));
            let most = if is_manifest(name) { manifest::MAX_LEN } else { SMALL };
            let keep = size <= most && held < ALL_SMALL && !name.ends_with(".cast");
            let (mut hash, mut chunk, mut bytes) = (Sha256::new(), vec![0; 256 * 1024], Vec::new());
            loop {
                let n = tar.read(&mut chunk)?;
                let Some(read) = chunk.get(..n).filter(|read| !read.is_empty()) else { break };
                hash.update(read);
                shown.bytes(n as u64);
                if keep {
                    bytes.extend_from_slice(read);
                }
            }
            held += bytes.len();
            if self.digests.insert(name.to_owned(), Digest::from_bytes(hash.finalize().into())).is_some() {
                return Err(TarError::Form("a file twice"));
            }
            if keep {
                self.small.insert(name.to_owned(), bytes);
            }
        }
        self.mtime = tar.mtime();
        Ok(())
    }

    fn text(&self, name: &str) -> String {
        self.small.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    fn carried(&self) -> Vec<NoteKey> {
        self.text(KEYS).lines().take(100).filter_map(|line| line.parse().ok()).collect()
    }

    /// The list of digests against its signature and against every file. True if somebody whom we trust has signed it.
    fn sums(&mut self, keys: &[NoteKey]) -> bool {
        let list = self.small.get(SUMS).cloned().unwrap_or_default();
        let signature = self.small.get(SIGNATURE).cloned().unwrap_or_default();
        let signed = keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key.public()).verify(&list, &signature).is_ok());
        if !signed {
            self.found(format!("{SUMS}: it is not signed by this key"));
        }
        let mut text = String::from_utf8_lossy(&list).into_owned();
        let begin = self.session.as_ref().map(first_line).unwrap_or_default();
        match text.strip_prefix(&begin) {
            Some(rest) if !begin.is_empty() => text = rest.to_owned(),
            _ => self.found(format!("{SUMS}: it is no list of this export")),
        }
        let mut listed = BTreeMap::new();
        for line in text.lines() {
            match line.split_once("  ").and_then(|(digest, name)| Some((name.to_owned(), digest.parse::<Digest>().ok()?))) {
                Some((name, digest)) => drop(listed.insert(name, digest)),
                None => self.found(format!("{SUMS}: a line that cannot be read")),
            }
        }
        let names: Vec<String> =
            listed.keys().chain(self.digests.keys()).filter(|name| ![SUMS, SIGNATURE].contains(&name.as_str())).cloned().collect();
        for name in names.into_iter().collect::<std::collections::BTreeSet<_>>() {
            match (listed.get(&name), self.digests.get(&name)) {
                (Some(one), Some(other)) if one == other => {}
                (Some(_), Some(_)) => self.found(format!("{name}: changed since it was exported")),
                (Some(_), None) => self.found(format!("{}: missing", escaped(&name))),
                (None, _) => self.found(format!("{name}: does not belong here")),
            }
        }
        signed
    }

    /// Every log's entries against its signed head: those that are proven.
    fn log(&mut self, keys: &[NoteKey]) -> Vec<Event> {
        let mut logs: BTreeMap<String, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
        let (mut proofs, mut strange) = (BTreeMap::new(), Vec::new());
        for (path, bytes) in &self.small {
            let Some((node, name)) = path.strip_prefix("log/").and_then(|rest| rest.split_once('/')) else { continue };
            match name {
                "checkpoint" => {}
                "proofs.json" => drop(proofs.insert(node.to_owned(), Proofs::parse(bytes))),
                _ => match name.strip_suffix(".json").and_then(|number| number.parse().ok()) {
                    Some(seq) => drop(logs.entry(node.to_owned()).or_default().insert(seq, bytes.clone())),
                    None => strange.push(path.clone()),
                },
            }
        }
        let mut events = Vec::new();
        for path in strange {
            self.found(format!("{path}: does not belong here"));
        }
        for (node, entries) in logs {
            match proofs.remove(&node) {
                Some(Ok(proofs)) if proofs.origin == node => {
                    let (proven, wrong) = proofs.check(&self.text(&format!("log/{node}/checkpoint")), keys, &entries);
                    events.extend(proven.into_iter().map(|entry| entry.event));
                    wrong.into_iter().for_each(|wrong| self.found(wrong));
                }
                Some(Ok(_)) => self.found(format!("log/{node}/proofs.json: it is about another log")),
                Some(Err(why)) => self.found(format!("log/{node}/proofs.json: {}", escaped(&why))),
                None => self.found(format!("log/{node}/proofs.json: missing")),
            }
        }
        events
    }

    /// The manifest against the key and the log, the files against the manifest; how many recordings there are.
    fn recordings(&mut self, keys: &[NoteKey], events: &[Event]) -> usize {
        let folder = self.small.keys().find_map(|name| Some(name.strip_prefix(RECORDINGS)?.strip_suffix(manifest::NAME)?.to_owned()));
        let Some(folder) = folder else {
            self.found(format!("{RECORDINGS}: it has no {}", manifest::NAME));
            return 0;
        };
        let path = format!("{RECORDINGS}{folder}{}", manifest::NAME);
        let bytes = self.small.get(&path).cloned().unwrap_or_default();
        let read = match Manifest::parse(&bytes) {
            Ok(read) => read,
            Err(why) => {
                self.found(format!("{path}: not a manifest of ours: {}", escaped(&why)));
                return 0;
            }
        };
        if let Err(why) = read.check(&bytes, &public(keys)) {
            self.found(format!("{path}: not a manifest of ours: {why}"));
        }
        if Some(&read.session.session) != self.session.as_ref() || folder != format!("/{}/", read.session.folder().display()) {
            self.found(format!("{path}: it is about another session"));
        }
        if self.mtime != u64::try_from(read.session.started.seconds()).ok() {
            self.found("the times of the files are not the session's".to_owned());
        }
        for channel in &read.channels {
            let name = format!("{RECORDINGS}{folder}{}", channel.file);
            match self.digests.get(&name) {
                Some(digest) if Some(*digest.as_bytes()) == channel.digest() => {}
                Some(_) => self.found(format!("{name}: changed since it was sealed")),
                None => self.found(format!("{name}: missing")),
            }
        }
        let seal = (&read.session.session, Some(Digest::of(&bytes)));
        let logged = events.iter().any(|event| ended(event) == Some(seal));
        if !logged {
            self.found(format!("{path}: no entry of the log vouches for it"));
        }
        self.manifest.insert(read).channels.len()
    }

    /// What people typed against the commitments that it has its names from.
    fn texts(&mut self) {
        #[derive(Deserialize)]
        struct Text {
            salt: String,
            text: Option<String>,
        }
        let read: Result<BTreeMap<String, Text>, _> = serde_json::from_str(&self.text(TEXTS));
        let Ok(texts) = read else { return self.found(format!("{TEXTS}: it cannot be read")) };
        for (id, Text { salt, text }) in texts {
            let salt: Option<Vec<u8>> = (0..16).map(|n| u8::from_str_radix(salt.get(2 * n..2 * n + 2)?, 16).ok()).collect();
            let salt: Option<[u8; 16]> = salt.and_then(|salt| salt.try_into().ok());
            let stands = text.is_none_or(|text| salt.is_some_and(|salt| Commitment::make(&text, &salt).to_string() == id));
            if !stands {
                self.found(format!("{TEXTS}: a text that is not the one that was logged"));
            }
        }
    }
}

/// A session with many thousands of channels has a long one.
fn is_manifest(name: &str) -> bool {
    name.strip_prefix(RECORDINGS).and_then(|rest| rest.strip_suffix(manifest::NAME)).is_some_and(|folder| folder.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tar::TarWriter;

    #[test]
    fn a_long_manifest_is_looked_into_and_nothing_else_that_is_long() {
        let (manifest, long) = (format!("{RECORDINGS}/2026/11/22/s-7k2m9q/{}", manifest::NAME), SMALL + 1);
        let mut tar = TarWriter::new(Vec::new(), 1);
        for name in [manifest.as_str(), "account.json", "01-exec.cast"] {
            tar.file(&format!("s-7k2m9q/{name}"), long, std::io::repeat(b' ').take(long)).unwrap();
        }
        let mut export = Export::default();
        export.read(tar.finish().unwrap().as_slice()).unwrap();
        assert_eq!(
            export.small.iter().map(|(name, bytes)| (name.as_str(), bytes.len() as u64)).collect::<Vec<_>>(),
            [(manifest.as_str(), long)]
        );
        assert_eq!(export.digests.len(), 3);
        assert!(!is_manifest("texts/manifest.json") && !is_manifest(&format!("{RECORDINGS}/x")));
    }
}
