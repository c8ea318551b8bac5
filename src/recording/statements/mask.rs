//! SQL without its values: literals hold what patients are, the words around them what was done.

/// The words of a statement; each literal is `?`, each comment is gone, blanks are one. Where it cannot be told for certain where a literal
/// ends, all that follows is one `?`. Names in double quotes are words.
pub fn masked(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().min(1024));
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let (piece, after) = token(rest, out.chars().next_back());
        let blank = matches!(piece, Piece::Blank);
        let text = match piece {
            Piece::Word(word) => word,
            Piece::Value => "?",
            Piece::Blank => " ",
        };
        if !(blank && (out.is_empty() || out.ends_with(' '))) {
            // A name in quotes may hold line ends.
            out.extend(text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }));
        }
        // A token is never empty; if one were, this still comes to an end.
        rest = if after.len() < rest.len() { after } else { rest.get(c.len_utf8()..).unwrap_or_default() };
    }
    out.truncate(out.trim_end().len());
    out
}

enum Piece<'a> {
    Word(&'a str),
    Value,
    Blank,
}

/// The first token and what comes after it; `before` is the last character told.
fn token(sql: &str, before: Option<char>) -> (Piece<'_>, &str) {
    let c = sql.chars().next().unwrap_or(' ');
    let inside_word = before.is_some_and(is_word);
    match c {
        c if c.is_whitespace() => (Piece::Blank, sql.trim_start()),
        '-' if sql.starts_with("--") => (Piece::Blank, sql.split_once('\n').map_or("", |(_, after)| after)),
        '/' if sql.starts_with("/*") => (Piece::Blank, after_comment(sql)),
        '\'' => (Piece::Value, after_quotes(sql, false)),
        '"' => {
            let end = sql.get(1..).and_then(|s| s.find('"')).map_or(sql.len(), |at| at + 2);
            (Piece::Word(sql.get(..end).unwrap_or(sql)), sql.get(end..).unwrap_or(""))
        }
        '$' if !inside_word => dollar(sql),
        c if c.is_ascii_digit() && !inside_word => (Piece::Value, after_number(sql)),
        '.' if !inside_word && sql.get(1..).is_some_and(|s| s.starts_with(|d: char| d.is_ascii_digit())) => {
            (Piece::Value, after_number(sql))
        }
        c if is_word(c) => word(sql),
        c => (Piece::Word(sql.get(..c.len_utf8()).unwrap_or(sql)), sql.get(c.len_utf8()..).unwrap_or("")),
    }
}

/// A word, or a literal whose quotes have a letter before them: `E'..'`, `X'..'`, `U&'..'`.
fn word(sql: &str) -> (Piece<'_>, &str) {
    let end = sql.find(|c: char| !is_word(c)).unwrap_or(sql.len());
    let (word, after) = sql.split_at(end);
    if after.starts_with('\'') && word.len() == 1 && word.starts_with(['e', 'E', 'b', 'B', 'x', 'X', 'n', 'N']) {
        return (Piece::Value, after_quotes(after, word.eq_ignore_ascii_case("e")));
    }
    if after.starts_with("&'") && word.eq_ignore_ascii_case("u") {
        return (Piece::Value, after_quotes(after.get(1..).unwrap_or(""), false));
    }
    (Piece::Word(word), after)
}

/// What follows a literal in single quotes; `escapes` is how `E'..'` is read. A backslash in any other means one thing or another by a
/// setting that is not seen here: then nothing certain follows.
fn after_quotes(sql: &str, escapes: bool) -> &str {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => drop(chars.next()),
            '\\' => return "",
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => drop(chars.next()),
            '\'' => return sql.get(at + 1..).unwrap_or(""),
            _ => {}
        }
    }
    ""
}

/// `$1` is a word, `$tag$..$tag$` a literal.
fn dollar(sql: &str) -> (Piece<'_>, &str) {
    let inner = sql.get(1..).unwrap_or("");
    let end = inner.find(|c: char| !is_word(c)).unwrap_or(inner.len());
    let (tag, after) = inner.split_at(end);
    if tag.starts_with(|c: char| c.is_ascii_digit()) || !after.starts_with('$') {
        return (Piece::Word(sql.get(..=end).unwrap_or(sql)), after);
    }
    let mark = sql.get(..end + 2).unwrap_or(sql);
    let body = after.get(1..).unwrap_or("");
    (Piece::Value, body.split_once(mark).map_or("", |(_, after)| after))
}

fn after_number(sql: &str) -> &str {
    let end = sql.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(sql.len());
    let (number, after) = sql.split_at(end);
    let signed = number.ends_with(['e', 'E']) && after.starts_with(['+', '-']);
    if !signed {
        return after;
    }
    let digits = after.get(1..).unwrap_or("");
    digits.trim_start_matches(|c: char| c.is_ascii_digit())
}

/// What follows a comment; they nest.
fn after_comment(sql: &str) -> &str {
    let (mut depth, mut rest) = (0usize, sql);
    loop {
        match (rest.find("/*"), rest.find("*/")) {
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                rest = rest.get(open + 2..).unwrap_or("");
            }
            (_, Some(close)) => {
                rest = rest.get(close + 2..).unwrap_or("");
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return rest;
                }
            }
            _ => return "",
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_gone_and_words_stay() {
        for (sql, told) in [
            ("SELECT * FROM patients WHERE mrn = '12''3' AND age > 42;", "SELECT * FROM patients WHERE mrn = ? AND age > ?;"),
            ("select  1.5e-3,\n\t.5, 0xff, -7, t1.c2, $1, a2b", "select ?, ?, ?, -?, t1.c2, $1, a2b"),
            ("SELECT E'it\\'s', X'ff', U&'d\\0061t', n'x' , B'01'", "SELECT ?, ?, ?"),
            ("INSERT INTO t VALUES ($$John's$$, $q$a$$b$q$, 'x') -- Mrs Doe", "INSERT INTO t VALUES (?, ?, ?)"),
            ("SELECT /* a /* nested */ secret */ \"Patient 7\" FROM x", "SELECT \"Patient 7\" FROM x"),
            ("UPDATE t SET a = 'unterminated AND b = 3", "UPDATE t SET a = ?"),
            ("SELECT 'a\\' || name || ' b' FROM t", "SELECT ?"),
            ("SELECT 'ünï', ä FROM \"unterminated", "SELECT ?, ä FROM \"unterminated"),
            ("", ""),
            ("  -- only", ""),
            ("/* open", ""),
            ("SELECT E'a''b\\\\' , 'c'", "SELECT ? , ?"),
        ] {
            assert_eq!(masked(sql), told, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_told_in_bounds(sql in "(?s).{0,200}") {
            let told = masked(&sql);
            prop_assert!(told.len() <= sql.len() + 1);
            prop_assert!(!told.contains('\n'));
        }

        #[test]
        fn no_value_is_told(value in "[a-z ]{0,12}('')?[a-z -]{0,12}", number in 1000u64..) {
            let value = format!("zq{value}qz");
            for sql in [
                format!("SELECT a FROM t WHERE b = '{value}' AND c = {number} AND d = $x${value}$x$"),
                format!("/* {value} */ INSERT INTO t VALUES (E'{value}', {number}.5, '{value}') -- {value} {number}"),
            ] {
                let told = masked(&sql);
                prop_assert!(!told.contains("zq") && !told.contains(&number.to_string()), "{}", told);
            }
        }
    }
}
