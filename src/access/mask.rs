//! What of a screen only who may `unmask` sees: shapes of numbers that name a patient or a person, found in linear time.
//!
//! A policy's own patterns come from an administrator, the text from a host: neither may make a search slow. So the patterns run on an
//! automaton (never on backtracking), are bounded in size, and see long lines in overlapping pieces.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use thiserror::Error;

/// A policy has no more patterns of its own.
pub const MOST: usize = 64;
/// And none is longer, in bytes.
pub const LONGEST: usize = 256;
/// A match that is longer may be missed where it crosses the end of a piece, in bytes.
pub const OVERLAP: usize = 512;
/// Long lines are searched in pieces of so many bytes.
const PIECE: usize = 4096;
/// The compiled form of a pattern is no larger, in bytes.
const COMPILED: usize = 1 << 20;
/// What begins to look like a match is looked for in so many bytes at a text's end, for patterns that match no more than this.
const TAIL: usize = 128;
/// With fewer characters it could still be anything.
const BEGUN: usize = 5;

/// A dash in its many shapes.
const SHAPES: [&str; 4] = [
    // Social security numbers: with dashes, with spaces, and bare after their name.
    r"\d{3}[-\u{2010}-\u{2015}\u{2212}]\d{2}[-\u{2010}-\u{2015}\u{2212}]\d{4}",
    r"\b\d{3} \d{2} \d{4}\b",
    r"(?i)\b(?:ssn|social security (?:number|no\.?))\s{0,3}[:#=|]?\s{0,3}(\d{9})\b",
    // Medical record numbers, after their name.
    r"(?i)\b(?:mrn|medical record (?:number|no\.?))\s{0,3}[:#=|]?\s{0,3}([a-z]{0,3}-?\d{5,12})\b",
];

/// A pattern that cannot be used, and why.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct BadPattern(String);

/// The patterns that are masked: the ones built in, and a policy's own.
pub struct Mask(Vec<Pattern>);

struct Pattern {
    whole: Regex,
    /// Where it is bounded: knows whether a text could still become a match.
    begun: Option<Begun>,
}

struct Begun {
    automaton: DFA,
    cache: Mutex<Cache>,
    /// So many characters of it are enough.
    enough: usize,
}

impl Mask {
    /// The built-in patterns and these.
    pub fn new<'p>(own: impl IntoIterator<Item = &'p str>) -> Result<Self, BadPattern> {
        let all = SHAPES.into_iter().chain(own).map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        if all.len() > SHAPES.len() + MOST {
            return Err(BadPattern(format!("more than {MOST} patterns")));
        }
        Ok(Self(all))
    }

    /// The built-in patterns alone.
    pub fn built_in() -> Self {
        #[expect(clippy::expect_used, reason = "they are ours, and a test reads them")]
        Self::new([]).expect("the built-in patterns")
    }

    /// What of a text is masked: ranges of bytes on characters' borders, in order, apart from each other. Of a pattern with a group in it,
    /// the group.
    pub fn spans(&self, text: &str) -> Vec<Range<usize>> {
        self.found(text, |pattern, piece, found| {
            found.extend(pattern.whole.captures_iter(piece).filter_map(|groups| {
                let part = if groups.group_len() > 1 { groups.get_group(1) } else { None };
                part.or_else(|| groups.get_group(0)).map(|span| span.range())
            }));
        })
    }

    /// The same with all of each match: where a text must not be cut.
    pub fn matches(&self, text: &str) -> Vec<Range<usize>> {
        self.found(text, |pattern, piece, found| found.extend(pattern.whole.find_iter(piece).map(|m| m.range())))
    }

    /// Where at its end a text could be the beginning of what is masked: a number that is being typed. At least five characters of it are
    /// there, or half of what is matched at the least; only patterns are asked that match at most 128 bytes.
    pub fn begun(&self, text: &str) -> Option<usize> {
        let tail = text.ceil_char_boundary(text.len().saturating_sub(TAIL));
        self.0.iter().filter_map(|pattern| pattern.begun.as_ref()?.at_the_end_of(text, tail)).min()
    }

    /// The text with what is masked in it as asterisks.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        covered(text, self.spans(text))
    }

    /// The same of a line that somebody may have been typing when it was kept: a number that is not whole at its end is covered too. A
    /// date is none, though three digits and two may stand in it.
    pub fn unfinished<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut spans = self.spans(text);
        let digit = |c: Option<char>| c.is_some_and(char::is_numeric);
        let inside = |at: usize| text.split_at_checked(at).is_some_and(|(a, b)| digit(a.chars().next_back()) && digit(b.chars().next()));
        spans.extend(self.begun(text).filter(|at| !inside(*at)).map(|at| at..text.len()));
        covered(text, joined(spans))
    }

    fn found(&self, text: &str, find: impl Fn(&Pattern, Input<'_>, &mut Vec<Range<usize>>)) -> Vec<Range<usize>> {
        let (mut found, mut start) = (Vec::new(), 0);
        loop {
            let end = text.floor_char_boundary(start + PIECE);
            for pattern in &self.0 {
                find(pattern, Input::new(text).range(start..end), &mut found);
            }
            if end >= text.len() {
                return joined(found);
            }
            start = text.ceil_char_boundary(end - OVERLAP);
        }
    }
}

/// What stands in the place of each masked character.
pub const COVER: char = '*';

fn covered(text: &str, spans: Vec<Range<usize>>) -> Cow<'_, str> {
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for Range { start, end } in spans {
        out.push_str(text.get(from..start).unwrap_or_default());
        out.extend(text.get(start..end).unwrap_or_default().chars().map(|_| COVER));
        from = end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

fn joined(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.retain(|range| !range.is_empty());
    found.sort_unstable_by_key(|range| range.start);
    found.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    found
}

impl Pattern {
    fn new(text: &str) -> Result<Self, BadPattern> {
        if text.len() > LONGEST {
            return Err(BadPattern(format!("longer than {LONGEST} bytes")));
        }
        let hir = syntax::parse(text).map_err(|error| BadPattern(first_reason(&error.to_string())))?;
        let (least, most) = (hir.properties().minimum_len(), hir.properties().maximum_len());
        if least.unwrap_or(0) == 0 {
            return Err(BadPattern("it matches where nothing stands".into()));
        }
        let config = Regex::config().nfa_size_limit(Some(COMPILED)).onepass(false).hybrid_cache_capacity(COMPILED);
        let whole = Regex::builder().configure(config).build_from_hir(&hir).map_err(|error| match error.size_limit() {
            Some(_) => BadPattern("its compiled form is larger than 1 MiB".into()),
            None => BadPattern(first_reason(&error.to_string())),
        })?;
        let begun = most.filter(|most| *most <= TAIL).and_then(|_| Begun::new(text, least.unwrap_or(0)));
        Ok(Self { whole, begun })
    }
}

/// The last line of what the parser says; the lines above draw the pattern again.
fn first_reason(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    last.trim().trim_start_matches("error: ").to_owned()
}

impl Begun {
    fn new(text: &str, least: usize) -> Option<Self> {
        let config = DFA::config().match_kind(MatchKind::All).unicode_word_boundary(true).cache_capacity(COMPILED);
        let compile = thompson::Config::new().nfa_size_limit(Some(COMPILED));
        let automaton = DFA::builder().configure(config).thompson(compile).build(text).ok()?;
        let cache = Mutex::new(automaton.create_cache());
        Some(Self { automaton, cache, enough: (least / 2).max(BEGUN) })
    }

    fn at_the_end_of(&self, text: &str, tail: usize) -> Option<usize> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let starts = text.get(tail..)?.char_indices().map(|(at, _)| tail + at);
        let long_enough = |start: &usize| text.get(*start..).is_some_and(|rest| rest.chars().nth(self.enough - 1).is_some());
        // A name alone ("social") is no number yet.
        let numbers = |start: &usize| text.get(*start..).is_some_and(|rest| rest.chars().any(char::is_numeric));
        starts.take_while(long_enough).take_while(numbers).find(|start| self.lives(&mut cache, text, *start))
    }

    /// Whether what stands from `start` to the end could go on to be a match.
    fn lives(&self, cache: &mut Cache, text: &str, start: usize) -> bool {
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        // An automaton that gives up has nothing to say.
        let Ok(mut state) = self.automaton.start_state_forward(cache, &input) else { return false };
        for byte in text.as_bytes().get(start..).unwrap_or_default() {
            match self.automaton.next_state(cache, state, *byte) {
                Ok(next) if !next.is_dead() && !next.is_quit() => state = next,
                _ => return false,
            }
        }
        true
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} patterns)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_a_person_is_masked() {
        let mask = Mask::new([r"\bPAT-\d{6}\b", r"patient: (\w+)"]).unwrap();
        for (text, shown) in [
            ("ssn 123-45-6789, ok", "ssn ***********, ok"),
            ("x123-45-6789y", "x***********y"),
            ("123\u{2011}45\u{2011}6789", "***********"),
            ("a 123 45 6789 b", "a *********** b"),
            ("SSN: 123456789.", "SSN: *********."),
            ("MRN#00123456", "MRN#********"),
            ("medical record number  A-991234", "medical record number  ********"),
            (" mrn | 1234567 ", " mrn | ******* "),
            ("PAT-123456 and patient: Smith!", "********** and patient: *****!"),
            ("2026-11-22 10:30:00 port 5432 1234567 10.0.7.4", "2026-11-22 10:30:00 port 5432 1234567 10.0.7.4"),
            ("", ""),
        ] {
            assert_eq!(mask.text(text), shown);
        }
    }

    #[test]
    fn a_number_that_is_being_typed_is_masked_before_it_is_whole() {
        let mask = Mask::new([r"\bPAT-\d{6}\b", ".*secret"]).unwrap();
        for (text, begun) in [
            ("enter 123-4", Some(6)),
            ("enter 123-", None),
            ("enter 123-45-678", Some(6)),
            ("enter 12345", None),
            ("social", None),
            ("MRN: 12", Some(0)),
            ("x PAT-12", Some(2)),
            ("ls -l /tmp", None),
            ("", None),
        ] {
            assert_eq!(mask.begun(text), begun, "{text}");
        }
    }

    #[test]
    fn a_line_that_was_being_typed_shows_nothing_of_its_number() {
        let mask = Mask::built_in();
        for (text, shown) in [
            ("ssn 123-45-678", "ssn **********"),
            ("ssn 123-4", "ssn *****"),
            ("mrn: 12", "*******"),
            ("123-45-6789 and 123-45-678", "*********** and **********"),
            ("sealed 2026-11-22", "sealed 2026-11-22"),
            ("sealed 2026-11", "sealed 2026-11"),
            ("ls -l /tmp", "ls -l /tmp"),
            ("", ""),
        ] {
            assert_eq!(mask.unfinished(text), shown, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (pattern, wrong) in [
            ("(", "unclosed group"),
            ("a*", "matches where nothing stands"),
            (r"\b", "matches where nothing stands"),
            (r"(?=x)y", "look-around"),
            (r"(a)\1", "backreferences"),
            (r"\w{200}{200}", "larger than 1 MiB"),
            (&"x".repeat(300), "longer than 256 bytes"),
        ] {
            let told = Mask::new([pattern]).unwrap_err().to_string();
            assert!(told.contains(wrong), "{pattern}: {told}");
        }
        assert!(Mask::new(std::iter::repeat_n("x1", 65)).is_err());
    }

    proptest! {
        #[test]
        fn a_number_is_found_wherever_it_stands(before in "[a-zü \u{4e16}]{0,3000}", after in "[a-z ]{0,3000}", n in "[0-9]{3}-[0-9]{2}-[0-9]{4}") {
            let mask = Mask::built_in();
            let text = format!("{before}{n}{after}");
            let shown = mask.text(&text);
            prop_assert_eq!(shown.as_ref(), format!("{before}{}{after}", "*".repeat(n.len())));
            // Typed character by character: never more than four of its characters are seen.
            for typed in 5..=n.len() {
                let so_far = format!("{before}{}", &n[..typed]);
                prop_assert_eq!(mask.begun(&so_far), Some(before.len()));
            }
        }

        #[test]
        fn any_text_is_masked(text in "(.|[0-9]{3}-?|MRN ){0,300}") {
            let mask = Mask::built_in();
            let shown = mask.text(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(mask.spans(&shown).is_empty() || mask.spans(&text).len() > 1, "{}", shown);
            mask.begun(&text);
        }
    }
}
