//! What hosts answer, and what administrators write about them.

use jit_bastion::access::host::sheet;
use jit_bastion::ssh::inspect::report;

/// For the list of all targets.
pub const ALL: &[super::Target] = &[("host_answer", host_answer), ("hosts_file", hosts_file)];

/// What a host answers to the one script that is run there is read or refused; a key that stands there is counted once.
pub fn host_answer(bytes: &[u8]) {
    let whole = [&b"jit-bastion-audit 1\n@ keys root /root/.ssh/authorized_keys\n"[..], bytes].concat();
    for answer in [bytes, &whole] {
        if let Ok(report) = report::parse(answer) {
            let lines = answer.split(|byte| *byte == b'\n').count() as u64;
            assert!(report.standing() <= lines);
        }
    }
}

/// A file of hosts is read, and comes back as it was printed; or is refused with a place.
pub fn hosts_file(bytes: &[u8]) {
    match sheet::parse(&String::from_utf8_lossy(bytes), "hosts.toml") {
        Ok(hosts) => assert_eq!(sheet::parse(&sheet::print(&hosts), "again").ok(), Some(hosts)),
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && error.to_string().contains('^')),
    }
}
