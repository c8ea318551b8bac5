//! Invitations: a code, shown once, with which somebody who is not known yet brings the key that they will be known by.

use std::fmt;

use zeroize::Zeroizing;

use super::names::{InviteId, User, crockford};
use super::time::{Span, Timestamp};

/// `inv-7k2m9q-xxxx-xxxx-xxxx-xxxx`: an id that anybody may read, and 80 bits that nobody else knows, in Crockford's base32. Reads any
/// case, O as 0, I and L as 1. Zeroized; not to be printed but by [`InviteCode::reveal`].
#[derive(Clone)]
pub struct InviteCode {
    id: InviteId,
    secret: Zeroizing<String>,
}

impl InviteCode {
    /// Reads a code; none where the text is no such code at all.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != LENGTH || !text.get(..4)?.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let mut parts = text.get(4..)?.split('-');
        let id = InviteId::parse(&format!("i-{}", parts.next()?)).ok()?;
        let mut secret = Zeroizing::new(String::with_capacity(SECRET));
        let mut groups = 0;
        for group in parts {
            if group.len() != GROUP {
                return None;
            }
            for c in group.chars() {
                secret.push(crockford(c)?);
            }
            groups += 1;
        }
        (groups * GROUP == SECRET).then_some(Self { id, secret })
    }

    /// A code of `id` from 80 random bits; the others of `random` are not used.
    pub fn from_random(id: InviteId, random: u128) -> Self {
        let digit = |at: usize| char::from_digit(u32::try_from(random >> (5 * at) & 31).unwrap_or(0), 32);
        // Digits of base 32 up to v become Crockford's, which leave out i, l, o and u.
        let secret: String = (0..SECRET).filter_map(digit).map(from_hex32).collect();
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// Which invitation.
    pub fn id(&self) -> &InviteId {
        &self.id
    }

    /// What proves it.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The code as it is typed: for the one time that it is shown.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        text.push_str(self.id.as_str().get(2..).unwrap_or_default());
        for (at, c) in self.secret.chars().enumerate() {
            if at % GROUP == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }
}

/// A digit of base 32 as `char::from_digit` writes it, as Crockford writes it.
fn from_hex32(digit: char) -> char {
    match digit {
        '0'..='9' | 'a'..='h' => digit,
        'i' | 'j' => (u8::try_from(digit).unwrap_or(b'0') + 1).into(),
        'k' | 'l' => (u8::try_from(digit).unwrap_or(b'0') + 2).into(),
        'm'..='q' => (u8::try_from(digit).unwrap_or(b'0') + 3).into(),
        _ => (u8::try_from(digit).unwrap_or(b'0') + 4).into(),
    }
}

/// An invitation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its id, which its code begins with.
    pub id: InviteId,
    /// Whom it is for.
    pub user: User,
    /// Who may confirm beside the administrators.
    pub sponsor: Option<User>,
    /// Since when.
    pub made_at: Timestamp,
    /// The code opens nothing from here on.
    pub ends_at: Timestamp,
    /// Wrong codes that were tried.
    pub attempts: u32,
    /// What became of it.
    pub state: InviteState,
    /// The key that was offered with it.
    pub offer: Option<KeyOffer>,
}

/// A key that was proven under an invitation's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOffer {
    /// `SHA256:..`, as OpenSSH prints it.
    pub fingerprint: String,
    /// The key as authorized_keys writes it, without a comment.
    pub authorized_key: String,
    /// When.
    pub at: Timestamp,
    /// From where: `ADDRESS:PORT`.
    pub client: String,
}

impl Invite {
    /// Does its code still count at `now`?
    pub fn takes_code(&self, now: Timestamp) -> bool {
        self.state == InviteState::Open && now < self.ends_at && self.attempts < ATTEMPTS
    }

    /// The key that waits to be confirmed at `now`.
    pub fn waits(&self, now: Timestamp) -> Option<&KeyOffer> {
        self.offer.as_ref().filter(|offer| self.state == InviteState::Offered && now < offer.at.plus(CONFIRMED_WITHIN))
    }

    /// Does it stand in the way of another for the same user at `now`?
    pub fn goes_on(&self, now: Timestamp) -> bool {
        self.takes_code(now) || self.waits(now).is_some()
    }
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteState {
    /// It waits for a key.
    Open,
    /// A key was offered, and waits for a confirmation.
    Offered,
    /// The key is its user's.
    Confirmed,
    /// The key was not its user's.
    Refused,
    /// It was taken back.
    Withdrawn,
    /// Nobody used or confirmed it in time.
    Lapsed,
    /// Too many wrong codes were tried.
    Barred,
}

impl InviteState {
    const ALL: [Self; 7] = [Self::Open, Self::Offered, Self::Confirmed, Self::Refused, Self::Withdrawn, Self::Lapsed, Self::Barred];

    /// Its word: `open offered confirmed refused withdrawn lapsed barred`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Offered => "offered",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Barred => "barred",
        }
    }

    /// Reads its word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for InviteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const PREFIX: &str = "inv-";
/// Characters of the secret part: 5 bits each.
const SECRET: usize = 16;
const GROUP: usize = 4;
const LENGTH: usize = PREFIX.len() + 6 + SECRET / GROUP * (GROUP + 1);

/// Wrong codes that an invitation takes: 80 bits are not guessed in five, and somebody who errs has some.
pub const ATTEMPTS: u32 = 5;
/// An offered key that nobody confirms is worth nothing after this.
pub const CONFIRMED_WITHIN: Span = Span::minutes(7 * 24 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InviteId {
        InviteId::parse("i-7k2m9q").unwrap()
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code = InviteCode::from_random(id(), u128::MAX);
        assert_eq!(*code.reveal(), "inv-7k2m9q-zzzz-zzzz-zzzz-zzzz");
        let code = InviteCode::from_random(id(), 0x0123_4567_89ab_cdef_0123);
        let shown = code.reveal();
        let typed = shown.to_uppercase().replace('0', "O").replace('1', "L");
        for text in [shown.as_str(), &typed] {
            let read = InviteCode::parse(text).unwrap();
            assert_eq!((read.id(), read.secret()), (&id(), code.secret()), "{text}");
        }
        for bad in [
            "",
            "inv-",
            "alice",
            "inv-7k2m9q",
            "inv-7k2m9q-zzzz-zzzz-zzzz",
            "inv-7k2m9q-zzzz-zzzz-zzzz-zzzzz",
            "inv-7k2m9q-zzzz-zzzz-zzz-zzzzz",
            "inv-7k2m9u-zzzz-zzzz-zzzz-zzzz",
            "inv-7k2m9q-zzzz-zzzz-zzzz-zzzu",
            "inv-7k2m9q-zzzz-zzzz-zzzz-zz\u{e9}",
        ] {
            assert!(InviteCode::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_digit_has_a_letter_of_its_own() {
        let letters: String = (0..32).filter_map(|n| char::from_digit(n, 32)).map(from_hex32).collect();
        assert_eq!(letters, "0123456789abcdefghjkmnpqrstvwxyz");
    }

    proptest::proptest! {
        #[test]
        fn any_code_reads_back(random: u128, n in 0_u32..0x4000_0000) {
            let code = InviteCode::from_random(InviteId::from_random(n), random);
            let read = InviteCode::parse(&code.reveal()).unwrap();
            proptest::prop_assert_eq!((read.id(), read.secret()), (code.id(), code.secret()));
        }

        #[test]
        fn any_text_is_answered(text in "(inv-)?.{0,40}") {
            let _ = InviteCode::parse(&text);
        }
    }
}
