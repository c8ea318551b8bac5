//! What is wrong with a policy file, and where: file, line, column, the line itself, a caret, and what to do.

use std::fmt;
use std::ops::Range;

use crate::access::names::escaped;

/// One error in a policy file, shown with its line and a caret under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    excerpt: String,
    carets: usize,
}

impl PolicyError {
    /// `span` is in bytes of `text`; only its first line is shown.
    pub fn at(file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let before = text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| start + at);
        let marked = text.get(start..end.min(line_end)).unwrap_or("").trim_end();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text.get(line_start..start).unwrap_or("").chars().count() + 1,
            message: message.into(),
            hint: None,
            excerpt: text.get(line_start..line_end).unwrap_or("").trim_end().to_owned(),
            carets: marked.chars().count().max(1),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The nearest place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // An administrator's own file, but still: nothing in it may drive the terminal that shows the error.
        let shown: String =
            self.excerpt.chars().map(|c| if escaped(c.encode_utf8(&mut [0; 4])).chars().eq([c]) { c } else { ' ' }).collect();
        let message = self.message.split('\n').map(escaped).collect::<Vec<_>>().join("\n");
        writeln!(f, "{}:{}:{}: {message}", self.file, self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{gutter} | {}{}", " ".repeat(self.column - 1), "^".repeat(self.carets))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let error = PolicyError::at("p.toml", "a = 1\nbé = [2]\n", 12..15, "no 2").hint("write 3");
        assert_eq!(error.to_string(), "p.toml:2:6: no 2\n  |\n2 | bé = [2]\n  |      ^^^\nhint: write 3");
        let end = PolicyError::at("p.toml", "é", 1..99, "x");
        assert_eq!((end.line, end.column), (1, 1));
        assert_eq!(PolicyError::at("p", "", 0..0, "empty").to_string(), "p:1:1: empty\n  |\n1 | \n  | ^");
    }
}
