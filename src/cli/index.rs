//! `index`: makes the text of recordings findable, or takes it out again.

use anyhow::Context;
use serde_json::json;

use super::args::IndexCommand;
use super::failure::Failure;
use super::local;
use super::said::{Outcome, Said};
use crate::access::names::SessionId;
use crate::access::time::Timestamp;
use crate::broker::{Broker, Erased, SessionFilter, SessionRow};
use crate::config::Config;
use crate::recording::RecordError;
use crate::recording::replay::{self, Vouched};
use crate::recording::text::{SeenLine, of_recording};
use crate::store::StoreError;

/// `index ..`
pub(super) async fn run(config: &Config, broker: &Broker, command: &IndexCommand) -> Outcome {
    match command {
        IndexCommand::Build { session } => build(config, broker, session.as_ref()).await,
        IndexCommand::Erase { session, note } => {
            let Erased { pieces, wiped } = broker.erase_text(&local::actor(), session, note.clone()).await?;
            let mut text = format!("{session}: its text is out of the index ({pieces} pieces); its recordings stay\n");
            if !wiped {
                text.push_str(
                    "somebody reads the store without a pause: until then, or until the bastion stops, it lies in the store's -wal file\n",
                );
            }
            Ok(Said::done(text, json!({ "session": session.as_str(), "pieces": pieces, "wiped": wiped })))
        }
    }
}

async fn build(config: &Config, broker: &Broker, only: Option<&SessionId>) -> Outcome {
    let (mut sessions, mut pieces, mut left) = (0_u64, 0, Vec::new());
    for row in chosen(broker, only).await? {
        if row.node != broker.node() {
            left.push(format!("{}: its recordings lie on {}", row.id, row.node));
        } else if !broker.may_index(&row).await.map_err(|fault| Failure::Fault(fault.into()))? {
            left.push(format!("{}: its rule, or a floor of now, has index = false", row.id));
        } else if let Some(at) = erased_at(broker, &row, only).await? {
            left.push(format!("{}: its text was erased at {at}; `jit-bastion index build --session {}` makes it again", row.id, row.id));
        } else {
            match lines(config, broker, &row).await {
                Ok(lines) => {
                    let mut lines = lines.into_iter();
                    let made = broker.index_text(&row.id, only.is_some(), || Ok(lines.next())).await;
                    match made.map_err(|fault| Failure::Fault(fault.into()))? {
                        Some(made) => (sessions, pieces) = (sessions + 1, pieces + made),
                        None => left.push(format!("{}: somebody else erases it or makes it at this moment", row.id)),
                    }
                }
                Err(error) => left.push(format!("{}: {error:#}", row.id)),
            }
        }
    }
    let mut text = format!("{sessions} sessions, {pieces} pieces of text\n");
    left.iter().for_each(|line| text.push_str(&format!("left out: {line}\n")));
    Ok(Said::done(text, json!({ "sessions": sessions, "pieces": pieces, "left_out": left })))
}

/// When its text was erased, which nobody undoes without naming the session.
async fn erased_at(broker: &Broker, row: &SessionRow, only: Option<&SessionId>) -> Result<Option<Timestamp>, Failure> {
    if only.is_some() {
        return Ok(None);
    }
    broker.reader().text_erased(&row.id).await.map_err(unread)
}

fn unread(error: StoreError) -> Failure {
    Failure::Fault(anyhow::Error::new(error).context("the store does not answer"))
}

/// One session, or all sealed ones without text.
async fn chosen(broker: &Broker, only: Option<&SessionId>) -> Result<Vec<SessionRow>, Failure> {
    if let Some(id) = only {
        let row = broker.reader().session(id).await.map_err(unread)?.filter(|row| row.sealed.is_some());
        let none =
            || Failure::refused("no-recording", format!("there are no sealed recordings of {id}"), "`jit-bastion sessions` lists them");
        return Ok(vec![row.ok_or_else(none)?]);
    }
    let (mut all, mut filter) = (Vec::new(), SessionFilter { recorded: true, ..SessionFilter::default() });
    loop {
        let page = broker.reader().sessions(&filter).await.map_err(unread)?;
        let Some(last) = page.last() else { return Ok(all) };
        filter.until = Some(last.started_at);
        for row in page {
            if broker.reader().text_of(&row.id).await.map_err(unread)? == 0 {
                all.push(row);
            }
        }
    }
}

/// The text of all recordings of a session.
async fn lines(config: &Config, broker: &Broker, row: &SessionRow) -> anyhow::Result<Vec<(u32, SeenLine)>> {
    let (folder, manifest) = row.sealed.as_ref().context("it is not sealed")?;
    let vouched = Vouched { folder: config.recordings.join(folder), session: row.id.clone(), manifest: *manifest.as_bytes() };
    let key = broker.manifest_key()?;
    let numbers: Vec<u32> = row.channels.iter().map(|channel| channel.number).collect();
    let read = move || -> Result<Vec<(u32, SeenLine)>, RecordError> {
        let mut lines = Vec::new();
        for number in numbers {
            let recording = replay::open(&vouched, number, &key)?;
            let header = recording.header().clone();
            of_recording(&header, recording, |line| lines.push((number, line)))?;
        }
        Ok(lines)
    };
    Ok(tokio::task::spawn_blocking(read).await.context("a recording could not be read")??)
}
