//! Holds the map in the doc comment of `src/lib.rs`: who may import whom, how long files and functions may be, and which
//! words stay in which room. It reads the source as text; strings, comments and test modules do not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and what it may import of ours. A room that is not named here wires things and may import anything.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("access", &[]),
    ("wire", &[]),
    ("audit", &["access"]),
    ("recording", &["access"]),
    ("session", &["access"]),
    ("ca", &["access"]),
    ("config", &["access"]),
    ("store", &["access", "audit", "session", "recording"]),
    ("broker", &["access", "audit", "session", "recording", "ca", "store"]),
    ("verbs", &["access", "session", "recording", "broker", "store::Reader"]),
    ("metrics", &[]),
    ("ssh", &["access", "session", "recording", "wire", "metrics", "broker", "verbs"]),
];
/// Who wires: no table row of their own.
const WIRES: [&str; 5] = ["lib", "main", "serve", "cli", "demo"];
/// A word, and the start of the paths where it may stand.
const WORDS: [(&str, &[&str]); 2] = [("russh", &["ssh/outer", "ssh/peek", "ssh/tunnel"]), ("sqlx", &["store"])];
/// A room that stays pure, and the crates it never names.
const PURE: [(&str, &[&str]); 3] =
    [("access", &["tokio", "sqlx", "russh", "axum"]), ("wire", &["tokio", "sqlx", "russh"]), ("audit", &["tokio", "sqlx", "russh"])];
const NO_FILE_IS_CALLED: [&str; 7] = ["common", "util", "helpers", "types", "models", "manager", "service"];
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;
const MAIN_LINES: usize = 60;

#[test]
fn the_house_stands_as_its_map_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 5, "the source is found under {}", root.display());
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").with_extension("").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("readable source"))
    };
    let sources: Vec<(String, String)> = files.iter().map(read).collect();
    let only_tests: BTreeSet<String> = sources.iter().flat_map(|(name, text)| test_files(name, text)).collect();
    let product = sources.iter().filter(|(name, _)| !only_tests.contains(name.trim_end_matches("/mod")));
    let complaints: Vec<String> = product.flat_map(|(name, text)| complaints(name, text)).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of source") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => walk(&path, files),
            false if path.extension().is_some_and(|e| e == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
}

/// The files that `name` declares with `#[cfg(test)] mod tests;`: they are no part of the product.
fn test_files(name: &str, text: &str) -> Vec<String> {
    let folder = match name.rsplit_once('/') {
        Some((folder, "mod")) => folder.to_string(),
        _ if ["lib", "main"].contains(&name) => String::new(),
        _ => name.to_string(),
    };
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let line = rest.lines().next()?.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.map(|module| format!("{folder}/{module}").trim_start_matches('/').to_string()).collect()
}

/// Everything wrong with the file `name` (its path below `src`, without `.rs`).
fn complaints(name: &str, text: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('/').filter(|p| *p != "mod").collect();
    let room = parts[0];
    let mut found = Vec::new();
    let code = without_tests(&bare(text));
    let lines = code.lines().count();
    let limit = if name == "main" { MAIN_LINES } else { FILE_LINES };
    if lines > limit {
        found.push(format!("{name}: {lines} lines without tests, the limit is {limit}"));
    }
    if let Some(bad) = parts.iter().find(|p| NO_FILE_IS_CALLED.contains(*p)) {
        found.push(format!("{name}: `{bad}` is no noun of the trade"));
    }
    for (function, length) in functions(&code).into_iter().filter(|f| f.1 > FUNCTION_LINES) {
        found.push(format!("{name}: fn {function} has {length} lines, the limit is {FUNCTION_LINES}"));
    }
    for (word, homes) in WORDS {
        if has_word(&code, word) && !homes.iter().any(|home| name.starts_with(home)) {
            found.push(format!("{name}: names `{word}`, which lives in {homes:?}"));
        }
    }
    for word in PURE.iter().filter(|p| p.0 == room).flat_map(|p| p.1).filter(|w| has_word(&code, w)) {
        found.push(format!("{name}: names `{word}`, and {room} is pure"));
    }
    match MAY_IMPORT.iter().find(|row| row.0 == room) {
        Some((_, allowed)) => {
            for import in imports(&code, parts.len()).into_iter().filter(|i| !permitted(i, room, allowed)) {
                found.push(format!("{name}: imports {import}, and {room} may import {allowed:?}"));
            }
        }
        None if WIRES.contains(&room) => {}
        None => found.push(format!("{name}: `{room}` is no room of the map")),
    }
    found
}

fn permitted(import: &str, room: &str, allowed: &[&str]) -> bool {
    let below = |of: &str| import == of || import.strip_prefix(of).is_some_and(|rest| rest.starts_with("::"));
    below(room) || allowed.iter().any(|a| below(a))
}

/// The code without comments and with empty strings; the same number of lines, so that they can be counted.
fn bare(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string(rest),
            '"' => string_end(rest),
            '\'' => char_end(rest),
            _ => 0,
        };
        if skip == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.push_str(if c == '/' { "" } else { "''" });
            out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
            rest = &rest[skip..];
        }
    }
    out
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if !rest[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len())
}

fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// The length of a char literal; 0 for a lifetime.
fn char_end(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Cuts off the test module that stands last.
fn without_tests(code: &str) -> String {
    let Some(at) = code.rfind("#[cfg(test)]\nmod ") else { return code.to_string() };
    let tail = &code[at..];
    let closed = tail.find('{').and_then(|open| block_end(&tail[open..]).map(|end| open + end));
    match closed {
        Some(end) if tail[end..].trim().is_empty() => code[..at].to_string(),
        _ => code.to_string(),
    }
}

/// Where the block that begins with `{` ends, just behind its `}`.
fn block_end(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Every named function with a body, and its length in lines.
fn functions(code: &str) -> Vec<(String, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(is_name));
    let measure = |(at, _): (usize, &str)| {
        let rest = &code[at..];
        let name: String = rest[3..].chars().take_while(|c| is_name(*c)).collect();
        let open = rest.find(['{', ';']).filter(|open| rest[*open..].starts_with('{'))?;
        let end = open + block_end(&rest[open..])?;
        (!name.is_empty()).then(|| (name, rest[..end].lines().count()))
    };
    starts.filter_map(measure).collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name))
}

/// What a file names of the crate, as `room` or `room::Thing`; `depth` modules lie between it and the crate.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let up = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for root in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            if !code[..at].ends_with("$") && !code[..at].ends_with("::") {
                paths(&code[at + root.len()..], "", 2, &mut found);
            }
        }
    }
    found.into_iter().filter(|path| !path.starts_with("super")).collect()
}

/// Reads one path or one `{..}` of paths, `levels` names deep.
fn paths(code: &str, before: &str, levels: usize, found: &mut BTreeSet<String>) {
    if let Some(group) = code.strip_prefix('{') {
        let group = block_end(code).map_or(group, |end| &code[1..end - 1]);
        let mut depth = 0_i32;
        let parts = group.split(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        return parts.map(str::trim).filter(|p| !p.is_empty()).for_each(|part| paths(part, before, levels, found));
    }
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = if before.is_empty() { name.clone() } else { format!("{before}::{name}") };
    match code[name.len()..].strip_prefix("::") {
        Some(rest) if levels > 1 => paths(rest, &path, levels - 1, found),
        _ => _ = found.insert(path),
    }
}

#[test]
fn the_reader_sees_violations_and_only_those() {
    let wrong: [(&str, &str, &str); 12] = [
        ("access/grant", "use crate::store::Store;", "imports store::Store"),
        ("session/live", "use crate::{access::time::Clock, recording::{Journal}};", "imports recording"),
        ("verbs/show", "use crate::store::{Reader, Store};", "imports store::Store"),
        ("broker/admit", "fn f() { crate::ssh::serve() }", "imports ssh::serve"),
        ("ssh/relay", "use super::super::audit::Event;", "imports audit::Event"),
        ("ca/mod", "use super::store::Reader;", "imports store::Reader"),
        ("wire/packet", "use tokio::net::TcpStream;", "wire is pure"),
        ("broker/mod", "use sqlx::Row;", "names `sqlx`"),
        ("ssh/relay", "fn f() -> russh::Error { todo() }", "names `russh`"),
        ("ssh/helpers", "", "no noun"),
        ("plumbing/pipe", "", "no room"),
        ("store/mod", "#[cfg(test)]\nmod tests { }\nuse crate::broker::Broker;", "imports broker::Broker"),
    ];
    for (name, code, complaint) in wrong {
        let found = complaints(name, code);
        assert!(found.iter().any(|c| c.contains(complaint)), "{name}: {code}: {found:?}");
    }
    let right = [
        ("verbs/show", "use crate::store::Reader;\nuse crate::access::names::{User, Login};"),
        (
            "wire/mod",
            "//! no tokio, no russh\npub mod codec; const A: &str = \"crate::store tokio\"; fn f<'a>(c: char) -> bool { c == '{' }",
        ),
        ("store/mod", "use sqlx::Row;\nuse crate::access::names::User;\n#[cfg(test)]\nmod tests { use crate::broker::Broker; }"),
        ("ssh/outer", "use russh::server;\nuse crate::broker::{self, Broker};"),
        ("serve", "use crate::{store, broker, ssh};"),
    ];
    for (name, code) in right {
        assert_eq!(complaints(name, code), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn files_of_tests_are_known_by_their_declaration() {
    assert_eq!(test_files("ssh/relay/mod", "mod table;\n#[cfg(test)]\nmod simulation;\n"), ["ssh/relay/simulation"]);
    assert_eq!(test_files("wire/kex", "#[cfg(test)]\npub(crate) mod keygen;\n"), ["wire/kex/keygen"]);
    assert_eq!(test_files("lib", "#[cfg(test)]\nmod a;\n#[cfg(test)]\nmod b { }"), ["a"]);
}

#[test]
fn lengths_are_counted_without_tests_and_comments_keep_their_lines() {
    let long = format!("fn long() {{\n{}}}\n", "    let s = r#\"}\"#; // }\n".repeat(60));
    assert_eq!(functions(&bare(&long)), [("long".to_string(), 62)]);
    assert!(complaints("access/grant", &long).iter().any(|c| c.contains("fn long has 62 lines")));
    assert!(complaints("access/grant", &"// a line\n".repeat(401)).iter().any(|c| c.contains("401 lines")));
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "// a line\n".repeat(399), "// a test\n".repeat(300));
    assert_eq!(complaints("access/grant", &tested), Vec::<String>::new());
}
