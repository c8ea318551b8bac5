//! `user apply`.

use std::path::Path;

use crate::access::person::Held;
use crate::access::person::sheet;
use crate::access::zone::Zone;
use crate::broker::{Broker, KnownUser};
use crate::cli::difference::{Difference, Fields, file_text};
use crate::cli::failure::Failure;
use crate::cli::local;
use crate::cli::said::{Outcome, Said};

/// Makes users what `file` says; with `dry` only says what would change.
pub(super) async fn apply(broker: &Broker, file: &Path, zone: &Zone, dry: bool, prune: bool) -> Outcome {
    let named = if file == Path::new("-") { "(standard input)".to_owned() } else { file.display().to_string() };
    let users = sheet::parse(&file_text(file)?, &named, zone).map_err(|wrong| Failure::from_text("users-file", &wrong.to_string()))?;
    let applied = broker.apply_users(&local::actor(), users, prune, dry).await?;
    let mut difference = Difference::new("user");
    for change in &applied {
        let name = change.after.as_ref().or(change.before.as_ref()).map(|user| user.account.user.to_string()).unwrap_or_default();
        difference.step(name, change.before.as_ref().map(fields), change.after.as_ref().map(fields));
    }
    Ok(Said::done(difference.text(!dry), difference.json(!dry)))
}

fn fields(user: &KnownUser) -> Fields {
    let account = &user.account;
    let key = |(fingerprint, name): (&String, &String)| match name.is_empty() {
        true => fingerprint.clone(),
        false => format!("{fingerprint} ({})", crate::access::names::escaped(name)),
    };
    vec![
        ("vendor", account.vendor.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("until", account.until.map(|until| until.to_string()).unwrap_or_default()),
        ("roles", account.roles.iter().map(Held::to_string).collect::<Vec<_>>().join(", ")),
        ("keys", user.keys.iter().map(key).collect::<Vec<_>>().join(", ")),
        ("disabled", if user.disabled { "yes".to_owned() } else { String::new() }),
    ]
}
