//! What administrators write about users, and what strangers type in place of a user name.

use jit_bastion::access::invite::InviteCode;
use jit_bastion::access::person::sheet;
use jit_bastion::access::zone::Zone;

/// For the list of all targets.
pub const ALL: &[super::Target] = &[("users_file", users_file), ("invite_code", invite_code)];

/// A file of users is read, each of them once; or is refused with a place.
pub fn users_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.clone().into_owned(), format!("[[user]]\nname = \"a\"\n{text}")] {
        match sheet::parse(&text, "users.toml", &Zone::utc()) {
            Ok(users) => {
                let names: std::collections::BTreeSet<_> = users.iter().map(|user| &user.account.user).collect();
                assert_eq!(names.len(), users.len());
            }
            Err(error) => assert!(error.line >= 1 && error.column >= 1 && error.to_string().contains('^')),
        }
    }
}

/// A code is read and reads back from how it is shown; everything else is none.
pub fn invite_code(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.clone().into_owned(), format!("inv-{text}")] {
        if let Some(code) = InviteCode::parse(&text) {
            let again = InviteCode::parse(&code.reveal()).map(|again| (again.id().clone(), again.secret().to_vec()));
            assert_eq!(again, Some((code.id().clone(), code.secret().to_vec())));
        }
    }
}
