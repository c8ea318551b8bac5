//! What a file under version control changes, as `apply` shows it: `+` is new, `-` goes, `~` changes from one line to the next.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use super::failure::Failure;

/// A thing's fields in the order in which they are shown: name and value.
pub(super) type Fields = Vec<(&'static str, String)>;

/// A file of users or hosts is smaller than this.
const LARGEST: u64 = 8 * 1024 * 1024;

/// What one `apply` changes.
pub(super) struct Difference {
    /// `user`, `host`.
    what: &'static str,
    steps: Vec<Step>,
}

struct Step {
    name: String,
    before: Option<Fields>,
    after: Option<Fields>,
}

impl Difference {
    /// Nothing yet; `what` is the word for one of the things.
    pub fn new(what: &'static str) -> Self {
        Self { what, steps: Vec::new() }
    }

    /// `name` was `before` and is `after`; none is not there.
    pub fn step(&mut self, name: impl ToString, before: Option<Fields>, after: Option<Fields>) {
        self.steps.push(Step { name: name.to_string(), before, after });
    }

    /// For a human; `landed` is false where nothing was changed yet.
    pub fn text(&self, landed: bool) -> String {
        if self.steps.is_empty() {
            return format!("every {} is as the file says; nothing to change\n", self.what);
        }
        let mut out = String::new();
        for step in &self.steps {
            step.write(self.what, &mut out);
        }
        let ending = if landed { "" } else { "nothing was changed: leave out --dry-run to apply this\n" };
        out + ending
    }

    /// For a program.
    pub fn json(&self, landed: bool) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| step.json(self.what)).collect();
        json!({ "applied": landed, "changes": steps })
    }
}

impl Step {
    fn write(&self, what: &str, out: &mut String) {
        let (sign, empty) = (self.sign(), Fields::new());
        let (before, after) = (self.before.as_ref().unwrap_or(&empty), self.after.as_ref().unwrap_or(&empty));
        let _ = writeln!(out, "{sign} {what} {}", self.name);
        if self.after.is_none() {
            return;
        }
        for (field, now) in after {
            let was = before.iter().find(|(name, _)| name == field).map(|(_, was)| was);
            match was {
                Some(was) if was == now => {}
                Some(was) => {
                    let _ = writeln!(out, "    {field}\n      - {}\n      + {}", shown(was), shown(now));
                }
                None if now.is_empty() => {}
                None => {
                    let _ = writeln!(out, "    {field} {now}");
                }
            }
        }
    }

    fn sign(&self) -> char {
        match (&self.before, &self.after) {
            (None, _) => '+',
            (Some(_), None) => '-',
            (Some(_), Some(_)) => '~',
        }
    }

    fn json(&self, what: &str) -> Value {
        let side = |fields: &Option<Fields>| -> Value {
            fields.as_ref().map_or(Value::Null, |fields| fields.iter().map(|(name, value)| (*name, json!(value))).collect())
        };
        let change = match self.sign() {
            '+' => "added",
            '-' => "removed",
            _ => "changed",
        };
        let mut json = json!({ "change": change, "before": side(&self.before), "after": side(&self.after) });
        json[what] = json!(self.name);
        json
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}

/// The text of the file `named`, or standard input for `-`.
pub(super) fn file_text(named: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if named == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(named).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
    };
    let refused = |why: String| Failure::refused("unreadable", why, "name a TOML file, or - for standard input");
    read.map_err(|error| refused(format!("cannot read {}: {error}", named.display())))?;
    if text.len() as u64 >= LARGEST { Err(refused(format!("{} is larger than {LARGEST} bytes", named.display()))) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_changes_and_nothing_else() {
        let fields = |address: &str, labels: &str| Some(vec![("address", address.to_owned()), ("labels", labels.to_owned())]);
        let mut difference = Difference::new("host");
        assert!(difference.text(true).contains("nothing to change"));
        difference.step("old", fields("a", ""), None);
        difference.step("db", fields("a", ""), fields("a", "phi"));
        difference.step("new", None, fields("b", ""));
        let text = "- host old\n~ host db\n    labels\n      - (none)\n      + phi\n+ host new\n    address b\n";
        assert_eq!(difference.text(true), text);
        assert!(difference.text(false).starts_with(text) && difference.text(false).contains("--dry-run"));
        let json = difference.json(true);
        assert_eq!((json["changes"][1]["change"].as_str(), json["changes"][1]["host"].as_str()), (Some("changed"), Some("db")));
    }
}
