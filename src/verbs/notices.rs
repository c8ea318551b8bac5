//! What approvers are told without asking: once after their next verb, and on the personal page for a week.

use super::sink::Sink;
use super::table::Table;
use super::{Caller, Look};
use crate::access::names::escaped;
use crate::broker::{Broker, Notice};

/// Tells `caller` on standard error what they have not seen, and marks it. Whatever fails here fails no verb; it is in the log.
pub(super) async fn tell(broker: &Broker, caller: &Caller, sink: &mut dyn Sink) {
    let Some(person) = caller.person.as_ref().filter(|_| caller.limit().is_none()) else { return };
    let Ok(notices) = broker.notices(&person.user).await else { return };
    let new: Vec<&Notice> = notices.iter().filter(|notice| !notice.seen).collect();
    let Some(newest) = new.first() else { return };
    let mut text = String::new();
    if new.len() > MOST {
        text.push_str(&format!("notice: {} more stand on your page: ssh -t jit-bastion\n", new.len() - MOST));
    }
    for notice in new.iter().take(MOST).rev() {
        text.push_str(&format!("notice: {}: {}\n", notice.at, escaped(&notice.text)));
    }
    if sink.err(text.as_bytes()).await.is_ok() {
        let _ = broker.shown_notices(&person.user, newest.at).await;
    }
}

/// The notices of a week as the page shows them; nothing if there are none. Shown is seen.
pub(super) async fn shown(broker: &Broker, caller: &Caller, look: Look) -> Option<String> {
    let person = caller.person.as_ref()?;
    let notices = broker.notices(&person.user).await.ok()?;
    let newest = notices.first()?;
    let mut table = Table::new(["at", "notice"]);
    for notice in notices.iter().take(ON_THE_PAGE) {
        table.row([notice.at.to_string(), notice.text.clone()]);
    }
    if notices.iter().any(|notice| !notice.seen) {
        let _ = broker.shown_notices(&person.user, newest.at).await;
    }
    Some(table.print(look))
}

/// After a verb, so that its own answer is not pushed off the screen.
const MOST: usize = 5;
const ON_THE_PAGE: usize = 20;
