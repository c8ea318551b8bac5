//! `show SESSION`: who was where and for how long, and what the session carried and moved, by its signed manifest. What is in the recordings is
//! not read for it: their names and numbers are what `recordings` lists too.

use std::time::Duration;

use serde_json::json;

use super::sessions::visible;
use super::table::Table;
use super::text::left;
use super::{Answer, Caller, read};
use crate::access::names::SessionId;
use crate::access::time::Span;
use crate::broker::{Broker, Error, SessionRow};
use crate::recording::files::Total;
use crate::recording::{Manifest, RecordError};

/// `show SESSION`, for whoever would find it in `sessions`.
pub(super) async fn show(broker: &Broker, caller: &Caller, id: &SessionId) -> Result<Answer, Error> {
    let row = visible(broker, caller, id).await?;
    let mut human = told(&row, broker);
    let mut value = super::json::session(&row);
    let account = match manifest(broker, &row).await? {
        Some(Ok(manifest)) => Some(manifest),
        Some(Err(bad)) => {
            let fault = broker.fault(&bad);
            human.push_str(&format!("what it carried cannot be told: {}\n", fault.message()));
            None
        }
        None => None,
    };
    if let Some(manifest) = account {
        let account = Account::of(&manifest);
        human.push_str(&account.table(&manifest).print(caller.look));
        human.push_str(&account.words());
        for (known, channel) in value["recordings"].as_array_mut().into_iter().flatten().zip(&manifest.channels) {
            (known["up"], known["down"], known["files"]) = (json!(channel.up), json!(channel.down), json!(channel.files));
        }
        value["connections"] = json!({ "count": account.connections, "up": account.up, "down": account.down });
        value["files"] = json!(account.files);
    }
    if row.sealed.is_some() {
        human.push_str(&format!("hint: ssh -t jit-bastion replay {id} --because WHY; with --files it lists what was moved\n"));
    }
    Ok(Answer::done(human, value))
}

/// The first lines: who, where, under what, when.
fn told(row: &SessionRow, broker: &Broker) -> String {
    let state = row.ended.map_or_else(|| "live".to_owned(), |(at, why)| format!("ended at {at}: {why}"));
    let end = row.ended.map_or_else(|| broker.now(), |(at, _)| at);
    let length = if end > row.started_at { left(end, row.started_at) } else { "0s".to_owned() };
    format!(
        "{} {state}\n{} on {} as {}, under {} ({}), rule {}\nfrom {} at {}, since {}, {length}\n",
        row.id, row.user, row.host, row.login, row.grant, row.request, row.rule, row.client, row.node, row.started_at
    )
}

/// Its manifest, once it is sealed and where it lies here.
async fn manifest(broker: &Broker, row: &SessionRow) -> Result<Option<Result<Manifest, RecordError>>, Error> {
    let Some((folder, digest)) = &row.sealed else { return Ok(None) };
    let (folder, digest) = (broker.settings().recordings.join(folder), *digest.as_bytes());
    if row.node != broker.node() && !folder.exists() {
        return Ok(None);
    }
    let reading = tokio::task::spawn_blocking(move || Manifest::sealed_as(&folder, &digest));
    Ok(Some(read(broker, reading.await)?))
}

/// What a session carried and moved, added up.
struct Account {
    connections: u64,
    up: u64,
    down: u64,
    files: Total,
}

impl Account {
    fn of(manifest: &Manifest) -> Self {
        let mut sum = Self { connections: 0, up: 0, down: 0, files: Total::default() };
        for channel in &manifest.channels {
            sum.files = sum.files.with(channel.files.unwrap_or_default());
            if channel.kind.is_connection() {
                sum.connections += 1;
                sum.up += channel.up.unwrap_or_default();
                sum.down += channel.down.unwrap_or_default();
            }
        }
        sum
    }

    fn table(&self, manifest: &Manifest) -> Table {
        let mut table = Table::new(["recording", "kind", "length", "up", "down", "files"]);
        let number = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
        for channel in manifest.channels.iter().take(MOST) {
            table.row([
                format!("{}.{}", manifest.session.session, channel.number),
                channel.kind.with(channel.target.as_deref()),
                Span::seconds(Duration::from_micros(channel.duration_us).as_secs()).to_string(),
                number(channel.up),
                number(channel.down),
                channel.files.map_or_else(String::new, Total::words),
            ]);
        }
        table
    }

    fn words(&self) -> String {
        let Self { connections, up, down, files } = self;
        let name = if *connections == 1 { "connection" } else { "connections" };
        format!("{connections} {name}: {up} bytes up, {down} bytes down\n{}\n", files.words())
    }
}

/// Of a session no more recordings are listed one by one.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_is_added_up() {
        let one = Total { moved: 1, read: 412, written: 0 };
        assert_eq!(one.words(), "1 file: 412 bytes read, 0 bytes written");
        assert_eq!(one.with(Total { moved: 2, read: 0, written: 7 }).words(), "3 files: 412 bytes read, 7 bytes written");
        let account = Account { connections: 2, up: 3, down: 4, files: Total::default() };
        assert_eq!(account.words(), "2 connections: 3 bytes up, 4 bytes down\n0 files: 0 bytes read, 0 bytes written\n");
    }
}
