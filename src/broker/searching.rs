//! The text of recordings: who seeks in it, how it comes into the index, how it goes out again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::people::actor;
use super::{Broker, Error, Fault};
use crate::access::names::{Actor, Note, SessionId};
use crate::access::person::Person;
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::audit::event::Event;
use crate::recording::text::{SeenLine, TextReader};
use crate::store::{Outcome, PIECE, SessionFilter, SessionRow, Urgency};

/// May they seek in recordings at all?
pub fn may_search(policy: &Policy, person: &Person) -> Result<(), Refusal> {
    let missing = [Act::Recordings, Act::Replay].into_iter().find(|act| !policy.may_somewhere(person, *act));
    missing.map_or(Ok(()), |act| Err(Refusal::may_not(act.sentence(), None)))
}

/// Lines of one channel.
type Piece = (u32, Vec<SeenLine>);

/// What [`Broker::erase_text`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Pieces of text that are out of the index.
    pub pieces: u64,
    /// Nothing of them stays in SQLite's files. False: they lie in its write-ahead log, because somebody reads without end.
    pub wiped: bool,
}

impl Broker {
    /// `by` has sought a text in the recordings that fit, and so many lines will be shown: may they, and the event that says so, before the
    /// first of them is. To find is to read: it takes the right to play recordings, somewhere; on which hosts, the reader of the index looks.
    pub async fn search_recordings(
        &self,
        by: &Actor,
        text: &str,
        filter: &SessionFilter,
        lines: u64,
        purpose: Option<Note>,
    ) -> Result<(), Error> {
        let (who, text, policy, salt) = (by.clone(), text.to_owned(), self.in_force(), self.salt());
        let (user, host, login) = (filter.user.clone(), filter.host.clone(), filter.login.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                if let Some(person) = actor(tx, &who).await? {
                    may_search(&policy, &person)?;
                }
                let text = tx.keep_text(&text, &salt).await?;
                let purpose = match &purpose {
                    Some(purpose) => Some(tx.keep_text(purpose.as_str(), &salt).await?),
                    None => None,
                };
                Ok(Outcome::Changed((), Event::RecordingsSearched { text, user, host, login, lines: Some(lines), purpose }))
            })
        })
        .await
    }

    /// `by` takes the text of a session out of the index, because somebody must not find it there, and lets none in again; its recordings
    /// stay.
    pub async fn erase_text(&self, by: &Actor, session: &SessionId, why: Note) -> Result<Erased, Error> {
        let (session, salt) = (session.clone(), self.salt());
        let erased = self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if tx.session(&session).await?.is_none() {
                    return Err(Refusal::no_such("session", &session).into());
                }
                let Some(pieces) = tx.erase_text(&session).await? else {
                    let refusal = Refusal::new("no-text", format!("the text of {session} was erased already"));
                    return Err(refusal.hint(format!("`jit-bastion index build --session {session}` makes it again")).into());
                };
                let note = tx.keep_text(why.as_str(), &salt).await?;
                Ok(Outcome::Changed(pieces, Event::TextErased { session, pieces, note }))
            })
        });
        let erased = erased.await;
        // Also where it was erased already: that one may have broken off here.
        let wiped = self.store.wipe_text(self.now()).await.map_err(|e| self.store_fault(&e))?;
        erased.map(|pieces| Erased { pieces, wiped })
    }

    /// May what stood on this session's screens be kept for search, by the rule that bound it and the floors under it now?
    pub async fn may_index(&self, row: &SessionRow) -> Result<bool, Fault> {
        let reader = self.reader();
        let Some(request) = reader.request(&row.request).await.map_err(|e| self.store_fault(&e))? else { return Ok(false) };
        Ok(!self.rule_now(&reader, &request).await?.unindexed)
    }

    /// Puts lines of a session into the index in place of what is there; how many pieces. They come piece by piece; each batch is a change of
    /// its own, so that nobody's write waits long. None where the text was erased, before (unless it is to be written `again`) or meanwhile,
    /// or where somebody else began to write it.
    pub async fn index_text(
        &self,
        session: &SessionId,
        again: bool,
        mut lines: impl FnMut() -> io::Result<Option<(u32, SeenLine)>>,
    ) -> Result<Option<u64>, Fault> {
        let begun = self.store.begin_text(self.now(), session.clone(), again).await.map_err(|e| self.store_fault(&e))?;
        let Some(generation) = begun else { return Ok(None) };
        let (mut pieces, mut open, mut count) = (Vec::new(), BTreeMap::new(), 0);
        loop {
            let line = lines().map_err(|error| self.fault(&format!("the text of {session} cannot be read: {error}")))?;
            let over = line.is_none();
            match line {
                Some((channel, line)) => pieces.extend(grown(&mut open, channel, line)),
                None => pieces.extend(std::mem::take(&mut open).into_iter().map(|(channel, (_, lines))| (channel, lines))),
            }
            if pieces.len() >= BATCH || over && !pieces.is_empty() {
                let batch = std::mem::take(&mut pieces);
                count += batch.len() as u64;
                let kept = self.store.keep_text(self.now(), session.clone(), generation, batch).await;
                if !kept.map_err(|e| self.store_fault(&e))? {
                    return Ok(None);
                }
            }
            if over {
                return Ok(Some(count));
            }
        }
    }

    /// Brings the text of sealed sessions from beside their journals into the index. Never comes back; a fault is logged and tried again.
    pub(super) async fn keep_texts(&self) {
        let mut changes = self.changes();
        loop {
            // A change of any kind, or after a while anyway.
            let pause = if self.index_waiting().await.is_ok() { PAUSE } else { AGAIN };
            let _ = timeout(AGAIN, changes.changed()).await;
            changes.mark_unchanged();
            sleep(pause).await;
        }
    }

    /// Indexes what waits of sessions that are sealed; how many. One that cannot be read stays, is a fault, and keeps no other waiting.
    pub async fn index_waiting(&self) -> Result<usize, Fault> {
        if self.store_lost().is_some() {
            return Ok(0);
        }
        let (mut done, mut failed) = (0, None);
        for (session, path) in waiting(&self.settings.state.join("journal")) {
            match self.index_file(&session, &path).await {
                Ok(true) => done += 1,
                Ok(false) => {}
                Err(fault) if fault.is_store_lost() => return Err(fault),
                Err(fault) => failed = Some(fault),
            }
        }
        failed.map_or(Ok(done), Err)
    }

    /// Indexes the file with a session's text and removes it, if the session is sealed; only removes it where the text may not be kept any
    /// more.
    async fn index_file(&self, session: &SessionId, path: &Path) -> Result<bool, Fault> {
        let row = self.reader().session(session).await.map_err(|e| self.store_fault(&e))?;
        let Some(row) = row.filter(|row| row.sealed.is_some()) else { return Ok(false) };
        if self.may_index(&row).await? {
            let opened = TextReader::open(path).map_err(|error| self.fault(&format!("cannot read {}: {error}", path.display())));
            let mut reader = opened?;
            self.index_text(session, false, || Ok(reader.next_line()?.map(|line| (line.channel, line.line)))).await?;
        }
        std::fs::remove_file(path).map_err(|error| self.fault(&format!("cannot remove {}: {error}", path.display())))?;
        Ok(true)
    }
}

/// Adds a line to its channel's piece; the piece, if it is full.
fn grown(open: &mut BTreeMap<u32, (usize, Vec<SeenLine>)>, channel: u32, line: SeenLine) -> Option<Piece> {
    let (bytes, lines) = open.entry(channel).or_default();
    *bytes += line.text.len() + 1;
    lines.push(line);
    if *bytes < PIECE { None } else { open.remove(&channel).map(|(_, lines)| (channel, lines)) }
}

/// The texts that lie beside journals. A folder that cannot be read has none: journals lie there too, and others will say so.
fn waiting(journals: &Path) -> Vec<(SessionId, PathBuf)> {
    let entries = std::fs::read_dir(journals).into_iter().flatten().flatten().map(|entry| entry.path());
    let text = |path: PathBuf| {
        let id = path.file_stem().and_then(|stem| SessionId::parse(stem.to_str()?).ok())?;
        path.extension().is_some_and(|e| e == "text").then_some((id, path))
    };
    let mut found: Vec<_> = entries.filter_map(text).collect();
    found.sort();
    found
}

/// Pieces that are written in one change.
const BATCH: usize = 48;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// Without a change, and after a look that failed.
const AGAIN: Duration = Duration::from_secs(10);
