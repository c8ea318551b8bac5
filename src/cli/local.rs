//! Who sits at the bastion's own keyboard.

use crate::access::names::Actor;

/// `local:NAME`, the Unix account that runs this process; its number where it has no name.
pub(super) fn actor() -> Actor {
    Actor::Local(account().unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()))
}

/// The name of the Unix account that runs this process.
pub(super) fn account() -> Option<String> {
    name_of(rustix::process::getuid().as_raw(), &std::fs::read_to_string("/etc/passwd").ok()?)
}

/// The name of account `uid` in the text of `/etc/passwd`. Directories are not asked: the log then has the number, which is as certain.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\npg:x:104:110::/var/lib/pg:/bin/sh\n";
        assert_eq!(name_of(104, passwd).as_deref(), Some("pg"));
        assert_eq!(name_of(110, passwd), None);
    }
}
