//! The verbs of `ssh jit-bastion ..` at the bastion's own keyboard: the same parser, the same broker, the actor `local:NAME`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::failure::{Failure, USAGE};
use super::said::{Outcome, Said, look};
use super::{handed, local, open, place};
use crate::verbs::{self, Caller, Door, Happening, Sink, Usage, Verb, Waiting};

/// Reads `words` and does what they say. `named` and `json` stood before them.
pub(super) fn run(mut words: Vec<String>, named: Option<&Path>, json: bool) -> Outcome {
    let named = take_config(&mut words)?.or_else(|| named.map(Path::to_owned));
    if json {
        words.push("--json".to_owned());
    }
    let look = look();
    let parsed = match verbs::from_words(words, Door::Local, look.columns) {
        Ok(parsed) => parsed,
        Err(Usage::Help(text)) => return Ok(Said::done(text, serde_json::Value::Null)),
        Err(wrong @ Usage::Wrong { .. }) => return wrong_usage(&wrong),
    };
    if let Verb::Replay(words) = &parsed.verb {
        // Neither needs an installation.
        return match (&words.exported.export, &words.id) {
            (None, Some(id)) => Err(verbs::only_by_key(id).into()),
            (Some(file), _) => handed::play(file, words, look, parsed.json),
            (None, None) => Err(Failure::Usage("replay names no recording and no file".into())),
        };
    }
    let config = place::config(named.as_deref())?;
    let rows = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_row);
    let caller = Caller { actor: local::actor(), person: None, proof: None, look, rows: rows.filter(|rows| *rows > 0) };
    open::block_on(async {
        let store = open::store(&config).await?;
        // Only these lines come from the keys; everything else works without the passphrase.
        let broker = match parsed.verb {
            Verb::KnownHosts { .. } => open::broker_with_keys(&config, store.clone()).await?,
            _ => open::broker(&config, store.clone())?,
        };
        if let Err(wrong) = broker.adopt_policy_in_force().await {
            // Reading, closing, revoking and killing must work beside a policy file that is half edited.
            eprintln!("warning: no policy is in force: {wrong}");
        }
        let status = verbs::run(&broker, &caller, &parsed, &mut Here).await;
        store.close().await;
        Ok(Said::nothing(status))
    })
}

fn wrong_usage(wrong: &Usage) -> Outcome {
    match wrong {
        Usage::Wrong { line, .. } => Err(Failure::Usage(line.clone())),
        Usage::Help(text) => Ok(Said { text: text.clone(), json: serde_json::Value::Null, status: USAGE }),
    }
}

/// Takes `--config FILE` out of the words, wherever it stands: the verbs do not know it.
fn take_config(words: &mut Vec<String>) -> Result<Option<PathBuf>, Failure> {
    if let Some(at) = words.iter().position(|word| word.starts_with("--config=")) {
        let word = words.remove(at);
        return Ok(word.strip_prefix("--config=").map(PathBuf::from));
    }
    let Some(at) = words.iter().position(|word| word == "--config") else { return Ok(None) };
    words.remove(at);
    if at < words.len() { Ok(Some(words.remove(at).into())) } else { Err(Failure::Usage("--config names no file".into())) }
}

/// Standard output and standard error of this process.
pub(super) struct Here;

impl Sink for Here {
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        Box::pin(async move { io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()) })
    }

    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        Box::pin(async move { io::stderr().lock().write_all(bytes) })
    }

    fn input(&mut self, most: usize) -> Waiting<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let mut input = Vec::new();
            let most_and_one = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
            io::stdin().lock().take(most_and_one).read_to_end(&mut input)?;
            verbs::sink::within(most, input)
        })
    }

    /// Ctrl-C ends this process, and nothing of ours needs to be told.
    fn closed(&mut self) -> Waiting<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// What needs a terminal is asked over SSH.
    fn happening(&mut self) -> Waiting<'_, Happening> {
        Box::pin(std::future::ready(Happening::Ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_may_stand_anywhere() {
        for line in ["--config a.toml grants", "grants --config a.toml", "grants --config=a.toml"] {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(take_config(&mut words).ok().flatten(), Some("a.toml".into()), "{line}");
            assert_eq!(words, ["grants"], "{line}");
        }
        assert!(take_config(&mut vec!["grants".into(), "--config".into()]).is_err());
        assert!(take_config(&mut vec!["grants".into()]).is_ok_and(|none| none.is_none()));
    }
}
