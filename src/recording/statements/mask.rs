//! SQL without its values: literals hold what patients are, the words around them what was done.

/// The words of a statement; each literal is `?`, each comment is gone, blanks are one. Where it cannot be told for certain where a literal
/// ends, all that follows is hidden, and that is said. Names in double quotes are words.
///
/// Letters and blanks are what PostgreSQL's scan.l takes for them: every character beyond ASCII is a letter.
pub fn masked(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().min(1024));
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let (piece, after) = token(rest);
        let blank = matches!(piece, Piece::Blank);
        let text = match piece {
            Piece::Word(word) => word,
            Piece::Value => "?",
            Piece::Unsure => "? [rest hidden]",
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
    /// A value, perhaps with more than it behind.
    Unsure,
    Blank,
}

/// The first token and what comes after it.
fn token(sql: &str) -> (Piece<'_>, &str) {
    let c = sql.chars().next().unwrap_or(' ');
    match c {
        c if is_blank(c) => (Piece::Blank, sql.trim_start_matches(is_blank)),
        '-' if sql.starts_with("--") => (Piece::Blank, sql.split_once(['\n', '\r']).map_or("", |(_, after)| after)),
        '/' if sql.starts_with("/*") => (Piece::Blank, after_comment(sql)),
        '\'' => quotes(sql, Backslash::Either),
        '"' => {
            let end = sql.get(1..).and_then(|s| s.find('"')).map_or(sql.len(), |at| at + 2);
            (Piece::Word(sql.get(..end).unwrap_or(sql)), sql.get(end..).unwrap_or(""))
        }
        '$' => dollar(sql),
        c if c.is_ascii_digit() => (Piece::Value, after_number(sql)),
        '.' if sql.get(1..).is_some_and(|s| s.starts_with(|d: char| d.is_ascii_digit())) => (Piece::Value, after_number(sql)),
        c if is_word(c) => word(sql),
        c => (Piece::Word(sql.get(..c.len_utf8()).unwrap_or(sql)), sql.get(c.len_utf8()..).unwrap_or("")),
    }
}

/// A word, or a literal whose quotes have a letter before them: `E'..'`, `X'..'`, `U&'..'`.
fn word(sql: &str) -> (Piece<'_>, &str) {
    let end = sql.find(|c: char| !is_word(c) && c != '$').unwrap_or(sql.len());
    let (word, after) = sql.split_at(end);
    let literal = after.strip_prefix('&').filter(|_| word.eq_ignore_ascii_case("u")).unwrap_or(after);
    let backslash = match word {
        "e" | "E" => Backslash::Escapes,
        "b" | "B" | "x" | "X" => Backslash::Stands,
        "u" | "U" if literal.len() < after.len() => Backslash::Stands,
        "n" | "N" => Backslash::Either,
        _ => return (Piece::Word(word), after),
    };
    if literal.starts_with('\'') { quotes(literal, backslash) } else { (Piece::Word(word), after) }
}

/// What a backslash does in a literal.
#[derive(Clone, Copy)]
enum Backslash {
    /// A quote behind it does not end the literal: `E'..'`.
    Escapes,
    /// It does: `U&'..'`, `B'..'`, `X'..'`.
    Stands,
    /// One or the other, by a setting that is not seen here.
    Either,
}

/// A literal in single quotes and what follows it. Where it is not certain what a backslash does, nothing certain follows.
fn quotes(sql: &str, backslash: Backslash) -> (Piece<'_>, &str) {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match (c, backslash) {
            ('\\', Backslash::Escapes) => drop(chars.next()),
            ('\\', Backslash::Either) => return (Piece::Unsure, ""),
            ('\'', _) if chars.peek().is_some_and(|(_, next)| *next == '\'') => drop(chars.next()),
            ('\'', _) => return (Piece::Value, sql.get(at + 1..).unwrap_or("")),
            _ => {}
        }
    }
    (Piece::Value, "")
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

/// What follows a comment; they nest. However deep, each character is looked at once.
fn after_comment(sql: &str) -> &str {
    let (mut depth, mut rest) = (0usize, sql);
    while let Some(at) = rest.find(['/', '*']) {
        let here = rest.get(at..).unwrap_or("");
        let marks = if here.starts_with("/*") {
            depth += 1;
            2
        } else if here.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            1
        };
        rest = here.get(marks..).unwrap_or("");
        if depth == 0 {
            return rest;
        }
    }
    ""
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
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
            ("SELECT E'it\\'s', X'ff', U&'d\\0061t', n'x' , B'01'", "SELECT ?, ?, ?, ? , ?"),
            ("INSERT INTO t VALUES ($$John's$$, $q$a$$b$q$, 'x') -- Mrs Doe", "INSERT INTO t VALUES (?, ?, ?)"),
            ("SELECT /* a /* nested */ secret */ \"Patient 7\" FROM x", "SELECT \"Patient 7\" FROM x"),
            ("UPDATE t SET a = 'unterminated AND b = 3", "UPDATE t SET a = ?"),
            ("SELECT 'a\\' || name || ' b' FROM t", "SELECT ? [rest hidden]"),
            ("SELECT n'a\\', b", "SELECT ? [rest hidden]"),
            ("SELECT u&'a\\', X'\\', u & 'x', u", "SELECT ?, ?, u & ?, u"),
            ("SELECT $€$John Smith$€$", "SELECT ?"),
            ("SELECT $\u{a0}$John Smith$\u{a0}$, a\u{a0}b", "SELECT ?, a b"),
            ("SELECT $1$a$John Smith$a$", "SELECT $1?"),
            // a name may hold dollars: no literal begins there
            ("SELECT 1 AS a$b$ ; DROP TABLE t; SELECT x$$, 'y'", "SELECT ? AS a$b$ ; DROP TABLE t; SELECT x$$, ?"),
            ("--x\rDELETE FROM t", "DELETE FROM t"),
            ("--x\r\nDELETE\x0bFROM\x0ct", "DELETE FROM t"),
            ("/* a **/ b /*/* c */*/ d /*/ e */ f", "b d f"),
            ("a /* b /* c */ d", "a"),
            ("SELECT 'ünï', ä FROM \"unterminated", "SELECT ?, ä FROM \"unterminated"),
            ("", ""),
            ("  -- only", ""),
            ("/* open", ""),
            ("SELECT E'a''b\\\\' , 'c'", "SELECT ? , ?"),
        ] {
            assert_eq!(masked(sql), told, "{sql}");
        }
    }

    /// Each opening that is looked for to the far end again would make hours of it.
    #[test]
    fn comments_in_comments_take_no_longer_than_their_length() {
        let begun = std::time::Instant::now();
        assert_eq!(masked(&"/* ".repeat(300_000)), "");
        assert_eq!(masked(&format!("{}{} x", "/* ".repeat(150_000), " */".repeat(150_000))), "x");
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_is_told_in_bounds(sql in "(?s).{0,200}") {
            let told = masked(&sql);
            prop_assert!(told.len() <= sql.len() + " [rest hidden]".len() + 1);
            prop_assert!(!told.contains('\n'));
        }

        #[test]
        fn no_value_is_told(value in "[a-z ]{0,12}('')?[a-z -]{0,12}", number in 1000u64..) {
            let value = format!("zq{value}qz");
            for sql in [
                format!("SELECT a FROM t WHERE b = '{value}' AND c = {number} AND d = $x${value}$x$ OR $ü\u{a0}${value}$ü\u{a0}$"),
                format!("/* {value} */ INSERT INTO t VALUES (E'{value}', {number}.5, '{value}') -- {value} {number}"),
            ] {
                let told = masked(&sql);
                prop_assert!(!told.contains("zq") && !told.contains(&number.to_string()), "{}", told);
            }
        }
    }
}
