//! How a text is sought: without regard to case and to how wide the gaps are, as a piece of one line.

use std::collections::BTreeSet;

/// A shorter text has no three characters to look up.
pub const SHORTEST: usize = 3;
/// And a longer one is no search.
pub const LONGEST: usize = 200;

/// Lower case, each gap one blank.
pub fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// Every three characters that follow one another in a folded text.
pub fn grams(folded: &str) -> BTreeSet<[char; 3]> {
    let (mut grams, mut last) = (BTreeSet::new(), ['\0'; 3]);
    for (n, c) in folded.chars().enumerate() {
        let [_, b, d] = last;
        last = [b, d, c];
        if n >= 2 {
            grams.insert(last);
        }
    }
    grams
}

/// At most `most` of them (and one), evenly from the whole text: a few that cover it say nearly as much as all.
pub fn some_grams(folded: &str, most: usize) -> BTreeSet<[char; 3]> {
    let chars: Vec<char> = folded.chars().collect();
    let all: Vec<[char; 3]> = chars.windows(3).filter_map(|three| three.try_into().ok()).collect();
    all.iter().step_by(all.len().div_ceil(most).max(1)).chain(all.last()).copied().collect()
}

/// A text that is sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle(String);

impl Needle {
    /// From what was typed; none if it is too short or too long to be sought.
    pub fn parse(typed: &str) -> Option<Self> {
        let text = folded(typed).trim().to_owned();
        (SHORTEST..=LONGEST).contains(&text.chars().count()).then_some(Self(text))
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does it stand in this line?
    pub fn is_in(&self, line: &str) -> bool {
        folded(line).contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_gaps_do_not_count() {
        let needle = Needle::parse(" Select  FROM\tPatients ").unwrap();
        assert_eq!(needle.as_str(), "select from patients");
        assert!(needle.is_in("=> SELECT   from patients;") && !needle.is_in("select fromage"));
        assert!(Needle::parse("GRÖSSE").unwrap().is_in("die größen: grösse"));
        for bad in ["", "ab", "  a b  ".trim_matches('x').get(..3).unwrap(), &"x".repeat(201)] {
            assert_eq!(Needle::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn whatever_stands_in_a_line_has_all_its_grams_there() {
        let line = folded("root@phi-db:~# psql -c 'select 1'");
        for from in 0..line.len() - 3 {
            for to in from + 3..=line.len() {
                assert!(grams(&line[from..to]).is_subset(&grams(&line)));
            }
        }
        assert!(grams("ab").is_empty() && grams("abc").len() == 1);
        for most in 1..40 {
            let some = some_grams(&line, most);
            assert!(some.is_subset(&grams(&line)) && (1..=most + 1).contains(&some.len()), "{most}");
        }
        assert!(some_grams("ab", 5).is_empty() && some_grams("abcd", 5) == grams("abcd"));
    }
}
