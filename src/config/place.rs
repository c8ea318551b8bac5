//! Shows where a text is wrong: `FILE:LINE:COLUMN: what`, the line, a caret, and a hint.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use super::store::masked;
use crate::access::names::escaped;

/// The caret marks at most this much; a mistake that is longer is seen without it.
const LONGEST_MARK: usize = 80;

/// `message` (its lines after the first, `hint: ..`, come last) about `span`, bytes of `text`, which stands in `file`.
pub fn show(file: &Path, text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let (said, hint) = match message.split_once('\n') {
        Some((said, hint)) => (keyed(said), Some(hint)),
        None => (keyed(message), None),
    };
    let mut out = match span.filter(|span| text.get(..span.start).is_some()) {
        Some(span) => marked(file, text, &said, &span),
        None => format!("{}: {said}", file.display()),
    };
    if let Some(hint) = hint {
        let _ = write!(out, "\n{hint}");
    }
    out
}

/// Where the header `[name]` stands in `text`.
pub fn table(text: &str, name: &str) -> Option<Range<usize>> {
    let header = format!("[{name}]");
    let start = text.find(&header)?;
    Some(start..start + header.len())
}

/// Rust's library says "field"; who writes the file knows keys.
fn keyed(said: &str) -> String {
    said.replace("unknown field", "unknown key").replace("missing field", "missing key")
}

fn marked(file: &Path, text: &str, said: &str, span: &Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let number = before.matches('\n').count() + 1;
    let lead = text.get(line_start..span.start).unwrap_or_default();
    let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let marked = text.get(span.start..span.end).unwrap_or_default().lines().next().unwrap_or_default();
    let carets = marked.chars().count().clamp(1, LONGEST_MARK);
    let gutter = number.to_string();
    let (blank, indent) = (" ".repeat(gutter.len()), " ".repeat(escaped(lead).chars().count()));
    format!(
        "{}:{number}:{}: {said}\n{blank} |\n{gutter} | {}\n{blank} | {indent}{}",
        file.display(),
        lead.chars().count() + 1,
        escaped(&masked(line)),
        "^".repeat(carets),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_mistake() {
        let shown = show(Path::new("c.toml"), "a = 1\n  ü = 2\n", "unknown field `ü`\nhint: none", Some(8..10));
        assert_eq!(shown, "c.toml:2:3: unknown key `ü`\n  |\n2 |   ü = 2\n  |   ^\nhint: none");
    }

    #[test]
    fn a_span_beyond_the_text_is_no_trouble() {
        assert_eq!(show(Path::new("c"), "a", "x", Some(7..9)), "c: x");
        assert!(show(Path::new("c"), "a", "x", Some(1..9)).starts_with("c:1:2: x"));
    }
}
