//! The numbers of SFTP's protocol, version 3, and its words for them (draft-ietf-secsh-filexfer-02, sections 3 to 7).

/// The word for a status code (section 7).
pub(super) fn outcome(code: u32) -> String {
    match code {
        OK => "ok".into(),
        EOF => "end of file".into(),
        2 => "no such file".into(),
        3 => "permission denied".into(),
        4 => "failure".into(),
        8 => "not supported".into(),
        code => format!("status {code}"),
    }
}

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRIBUTES: u8 = 105;
pub(super) const EXTENDED: u8 = 201;

pub(super) const OK: u32 = 0;
pub(super) const EOF: u32 = 1;

/// Flags of an open (section 6.3).
#[cfg(test)]
pub(super) const READ: u32 = 0x1;
pub(super) const WRITE: u32 = 0x2;
pub(super) const APPEND: u32 = 0x4;
pub(super) const CREATE: u32 = 0x8;
pub(super) const TRUNCATE: u32 = 0x10;
pub(super) const EXCLUSIVE: u32 = 0x20;

/// Requests that begin with a handle: close, read, write, fstat, fsetstat, readdir.
pub(super) const HANDLED: [u8; 6] = [4, 5, 6, 8, 10, 12];

/// Extensions that change nothing.
pub(super) const READ_ONLY: [&[u8]; 7] = [
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
    b"limits@openssh.com",
    b"expand-path@openssh.com",
    b"home-directory",
    b"users-groups-by-id@openssh.com",
    b"fsync@openssh.com",
];
