//! The words of a command line, as they come over SSH: one string, from which ssh has dropped the caller's quotes.

use thiserror::Error;

/// Longer command lines are refused before they are looked at, in bytes.
const LONGEST: usize = 32 * 1024;
/// More words than any verb has use for.
const MOST: usize = 4096;

/// Options that take every word up to the next `--option`, so that nobody has to quote twice.
const FREE_TEXT: [&str; 3] = ["--reason", "--note", "--because"];

/// A command line that is too long.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the command line is longer than 32 KiB or {MOST} words")]
pub struct TooLong;

/// Splits as a POSIX shell would, without expanding anything: blanks separate, `'..'` is literal, `".."` lets `\` quote `" \ $` and the
/// backtick, `\` outside quotes the next character. A quote that is never closed is an ordinary character (`--reason it's down`).
pub fn split(line: &str) -> Result<Vec<String>, TooLong> {
    if line.len() > LONGEST {
        return Err(TooLong);
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(next) => word.get_or_insert_default().push(next),
                None => word.get_or_insert_default().push('\\'),
            },
            '\'' | '"' => match quoted(c, rest.as_str()) {
                Some((inside, after)) => {
                    word.get_or_insert_default().push_str(&inside);
                    rest = after.chars();
                }
                None => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
        if words.len() > MOST {
            return Err(TooLong);
        }
    }
    words.extend(word);
    Ok(words)
}

/// What stands up to the closing `quote`, and what follows it.
fn quoted(quote: char, text: &str) -> Option<(String, &str)> {
    if quote == '\'' {
        let (inside, after) = text.split_once('\'')?;
        return Some((inside.to_owned(), after));
    }
    let mut inside = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return Some((inside, rest.as_str())),
            '\\' => match rest.next()? {
                '\n' => {}
                next if "\"\\$`".contains(next) => inside.push(next),
                next => inside.extend(['\\', next]),
            },
            c => inside.push(c),
        }
    }
    None
}

/// Joins the words of each free text to one argument, `--reason=all of it`; the other words stay as they are.
pub fn gather(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let (mut open, mut verb) = (false, None);
    for word in words {
        if is_option(&word) {
            let name = word.split('=').next().unwrap_or(&word);
            // Of `show` it is a word of its own.
            open = FREE_TEXT.contains(&name) || (name == "--text" && verb.as_deref() == Some("recordings"));
            out.push(word);
        } else if let Some(text) = out.last_mut().filter(|_| open) {
            // The first word follows the option's name with "=", the others follow with a blank.
            text.push(if text.contains('=') { ' ' } else { '=' });
            text.push_str(&word);
        } else {
            verb.get_or_insert_with(|| word.clone());
            out.push(word);
        }
    }
    out
}

fn is_option(word: &str) -> bool {
    word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn splits_as_a_shell_would() {
        for (line, expected) in [
            ("", vec![]),
            ("  a  b\tc\n", vec!["a", "b", "c"]),
            ("'a b' c", vec!["a b", "c"]),
            (r#""a \" b" c"#, vec!["a \" b", "c"]),
            (r#""a\b""#, vec!["a\\b"]),
            (r"a\ b", vec!["a b"]),
            (r"a\", vec!["a\\"]),
            ("''", vec![""]),
            ("a''b", vec!["ab"]),
            (r#"a"b c"'d e'"#, vec!["ab cd e"]),
            ("$HOME `id` *", vec!["$HOME", "`id`", "*"]),
            ("it's down", vec!["it's", "down"]),
            ("say \"no", vec!["say", "\"no"]),
            ("a\\\nb", vec!["ab"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(split(&"a".repeat(LONGEST + 1)), Err(TooLong));
        assert_eq!(split(&"a ".repeat(MOST + 2)), Err(TooLong));
    }

    #[test]
    fn free_text_runs_to_the_next_option() {
        for (line, expected) in [
            ("request phi-db --reason fix the index --for 1h", vec!["request", "phi-db", "--reason=fix the index", "--for", "1h"]),
            ("request --reason=fix the index --wait phi-db", vec!["request", "--reason=fix the index", "--wait", "phi-db"]),
            ("deny r-1 --note no -- never -v", vec!["deny", "r-1", "--note=no -- never -v"]),
            ("a --because it is over --for 1h", vec!["a", "--because=it is over", "--for", "1h"]),
            ("a --note no --because so --reason why not", vec!["a", "--note=no", "--because=so", "--reason=why not"]),
            ("a --reason", vec!["a", "--reason"]),
            ("a --reason --json", vec!["a", "--reason", "--json"]),
            ("a --reason x=y z", vec!["a", "--reason=x=y z"]),
            ("--for 1h b", vec!["--for", "1h", "b"]),
            ("recordings --text select from x --host a", vec!["recordings", "--text=select from x", "--host", "a"]),
            ("show --text r-1", vec!["show", "--text", "r-1"]),
        ] {
            assert_eq!(gather(words(line)), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_splits_and_what_is_quoted_stays(line in ".{0,200}", word in "[^']{0,20}") {
            let _ = split(&line);
            proptest::prop_assert_eq!(split(&format!("'{word}'")).ok(), Some(vec![word]));
        }
    }
}
