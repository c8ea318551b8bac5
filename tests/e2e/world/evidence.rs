//! What the bastion kept: events in its store, recordings in its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use serde_json::Value;

use super::bastion::Bastion;
use super::node::psql;
use super::process::{run, wait_for};

/// The first id with this prefix, anywhere in a JSON answer.
pub fn find_id(value: &Value, prefix: &str) -> Option<String> {
    match value {
        Value::String(text) if text.len() == prefix.len() + 6 && text.starts_with(prefix) => Some(text.clone()),
        Value::Array(all) => all.iter().find_map(|v| find_id(v, prefix)),
        Value::Object(all) => all.get("id").and_then(|v| find_id(v, prefix)).or_else(|| all.values().find_map(|v| find_id(v, prefix))),
        _ => None,
    }
}

/// One sealed recording, read as asciicast v2.
#[derive(Debug, Clone)]
pub struct Cast {
    pub file: PathBuf,
    pub header: Value,
    /// Time in seconds, code, data.
    pub events: Vec<(f64, String, String)>,
}

impl Cast {
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut lines =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", file.display())));
        let header = lines.next().expect("a header");
        assert_eq!(header["version"], 2, "{}", file.display());
        let events: Vec<_> = lines
            .map(|event| {
                let part = |at: usize| event[at].as_str().expect("a string").to_string();
                (event[0].as_f64().expect("a time"), part(1), part(2))
            })
            .collect();
        assert!(events.windows(2).all(|two| two[0].0 <= two[1].0), "time never goes back in {}", file.display());
        Self { file: file.to_owned(), header, events }
    }

    /// `x_jit` of the header.
    pub fn about(&self, key: &str) -> String {
        self.header["x_jit"][key].as_str().unwrap_or_default().to_string()
    }

    /// What a player shows.
    pub fn shown(&self) -> String {
        self.events.iter().filter(|e| e.1 == "o").map(|e| e.2.as_str()).collect()
    }

    /// The exact bytes to the client's standard output, restored as recordings/README.md says.
    pub fn out(&self) -> Vec<u8> {
        self.restored().0
    }

    /// The same of its standard error.
    pub fn err(&self) -> Vec<u8> {
        self.restored().1
    }

    /// The same of what the client sent.
    pub fn input(&self) -> Vec<u8> {
        self.restored().2
    }

    fn restored(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), Vec::new());
        let plain = self.about("newline") == "crlf";
        let (mut exact, mut is_err, mut is_remark) = (None, false, false);
        for (_, code, data) in &self.events {
            match code.as_str() {
                "b" => exact = Some(unbase64(data)),
                "e" => {
                    is_err = true;
                    exact = (!data.is_empty()).then(|| unbase64(data));
                }
                "j" => is_remark = true,
                "o" if std::mem::take(&mut is_remark) => {}
                "o" => {
                    let text = || if plain { data.replace("\r\n", "\n") } else { data.clone() }.into_bytes();
                    let to = if std::mem::take(&mut is_err) { &mut err } else { &mut out };
                    to.extend(exact.take().unwrap_or_else(text));
                }
                "i" => input.extend(exact.take().unwrap_or_else(|| data.clone().into_bytes())),
                _ => {}
            }
        }
        (out, err, input)
    }
}

impl Bastion {
    /// Every event of the log, oldest first, as it was stored.
    pub fn events(&self) -> Vec<Value> {
        let config = fs::read_to_string(self.dir().join("jit-bastion.toml")).expect("a config");
        if let Some(url) = config.lines().find_map(|line| line.strip_prefix("store = \"postgres")) {
            let url = format!("postgres{}", url.trim_end_matches('"'));
            let output = run(&mut psql(&url, "SELECT convert_from(body, 'UTF8') FROM events ORDER BY seq"), b"").expect(0);
            return output.text().lines().map(|line| serde_json::from_str(line).expect("canonical JSON")).collect();
        }
        let script = "import sqlite3,sys\nd=sqlite3.connect('file:'+sys.argv[1]+'?mode=ro',uri=True)\nfor (e,) in d.execute('SELECT body FROM events ORDER BY seq'): print(e if isinstance(e,str) else e.decode())";
        let store = files(&self.dir(), "db").into_iter().next().expect("a store");
        let output = run(Command::new("/usr/bin/python3").args(["-c", script]).arg(store), b"").expect(0);
        output.text().lines().map(|line| serde_json::from_str(line).expect("canonical JSON")).collect()
    }

    /// Waits for an event of this name about `id` (any, if empty).
    #[track_caller]
    pub fn event(&self, name: &str, id: &str) -> Value {
        let is_it = |e: &Value| e.to_string().contains(&format!("\"{name}\"")) && e.to_string().contains(id);
        wait_for(&format!("the event {name} {id}"), || self.events().into_iter().find(is_it))
    }

    /// The ids of all sessions so far, oldest first.
    pub fn sessions(&self) -> Vec<String> {
        let opened = self.events().into_iter().filter(|e| e.to_string().contains("\"session-opened\""));
        opened.filter_map(|e| find_id(&e, "s-")).collect()
    }

    /// Waits until no session is open and every one is sealed.
    #[track_caller]
    pub fn settled(&self) {
        wait_for("all sessions to be sealed", || {
            let events = self.events();
            let count = |name: &str| events.iter().filter(|e| e.to_string().contains(&format!("\"{name}\""))).count();
            (count("session-opened") == count("session-closed") + count("session-recovered")).then_some(())
        });
    }

    /// The sealed recordings of a session, in the order of their channels.
    pub fn casts(&self, session: &str) -> Vec<Cast> {
        let mut found = files(&self.dir().join("recordings"), "cast");
        found.retain(|f| f.parent().is_some_and(|p| p.ends_with(session)));
        found.sort();
        found.iter().map(|f| Cast::read(f)).collect()
    }

    /// All sealed recordings.
    pub fn cast_files(&self) -> Vec<PathBuf> {
        files(&self.dir().join("recordings"), "cast")
    }
}

/// All files below `dir` with this ending.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|e| e.path());
    let all = paths.flat_map(|p| if p.is_dir() { files(&p, ending) } else { vec![p] });
    all.filter(|p| p.extension().is_some_and(|e| e == ending)).collect()
}

/// Bytes from base64, as private events carry them.
fn unbase64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}
