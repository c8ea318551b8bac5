//! Where a channel of a forward comes from and goes to: RFC 4254 section 7, and OpenSSH's PROTOCOL sections 2.4 and 4.

use super::super::codec::{Reader, WireError};
use super::{Open, port};

/// What a forwarding channel connects. Names and paths are bytes as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `direct-tcpip`: the client's side wants to be connected to `to`.
    Direct {
        /// Name or address.
        to: &'a [u8],
        /// TCP port.
        port: u16,
        /// Where the connection comes from on the client's side, as the client says.
        from: &'a [u8],
        /// Its port, as the client says.
        from_port: u32,
    },
    /// `direct-streamlocal@openssh.com`: the same to a unix socket.
    DirectPath(&'a [u8]),
    /// `forwarded-tcpip`: somebody has connected to a listener that the client asked for.
    Forwarded {
        /// The listener's address, as it was asked for.
        at: &'a [u8],
        /// The listener's port.
        port: u16,
        /// Who has connected, as the host says.
        from: &'a [u8],
        /// Their port, as the host says.
        from_port: u32,
    },
    /// `forwarded-streamlocal@openssh.com`: the same at a unix socket.
    ForwardedPath(&'a [u8]),
    /// `auth-agent@openssh.com`: the host speaks to the client's agent.
    Agent,
}

impl<'a> Open<'a> {
    /// The route of a forwarding channel; `None` for other kinds.
    pub fn route(&self) -> Result<Option<Route<'a>>, WireError> {
        let mut r = Reader::new(self.rest);
        let route = match self.kind {
            "direct-tcpip" => Route::Direct { to: r.string()?, port: port(&mut r)?, from: r.string()?, from_port: r.u32()? },
            "forwarded-tcpip" => Route::Forwarded { at: r.string()?, port: port(&mut r)?, from: r.string()?, from_port: r.u32()? },
            "direct-streamlocal@openssh.com" => {
                let path = r.string()?;
                r.string()?; // reserved
                r.u32()?; // reserved
                Route::DirectPath(path)
            }
            "forwarded-streamlocal@openssh.com" => {
                let path = r.string()?;
                r.string()?; // reserved
                Route::ForwardedPath(path)
            }
            "auth-agent@openssh.com" => Route::Agent,
            "session" => return r.end().map(|()| None),
            _ => return Ok(None),
        };
        r.end()?;
        Ok(Some(route))
    }
}

/// Where a client wants the host to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen<'a> {
    /// At an address (empty: all) and a port (0: any).
    Tcp {
        /// Name or address, as sent.
        bind: &'a [u8],
        /// TCP port.
        port: u16,
    },
    /// At a unix socket.
    Path(&'a [u8]),
}

/// A global request about a listener on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening<'a> {
    /// Begin.
    Begin(Listen<'a>),
    /// End.
    Cancel(Listen<'a>),
}

/// Takes a global request apart that is about a listener; `None` for others.
pub fn listening<'a>(name: &str, rest: &'a [u8]) -> Result<Option<Listening<'a>>, WireError> {
    let mut r = Reader::new(rest);
    let asked = match name {
        "tcpip-forward" => Listening::Begin(Listen::Tcp { bind: r.string()?, port: port(&mut r)? }),
        "cancel-tcpip-forward" => Listening::Cancel(Listen::Tcp { bind: r.string()?, port: port(&mut r)? }),
        "streamlocal-forward@openssh.com" => Listening::Begin(Listen::Path(r.string()?)),
        "cancel-streamlocal-forward@openssh.com" => Listening::Cancel(Listen::Path(r.string()?)),
        _ => return Ok(None),
    };
    r.end()?;
    Ok(Some(asked))
}

/// The port in a REQUEST_SUCCESS to a `tcpip-forward` that asked for any, RFC 4254 section 7.1.
pub fn allocated_port(payload: &[u8]) -> Option<u16> {
    let mut r = Reader::new(payload.get(1..)?);
    let found = port(&mut r).ok()?;
    r.end().ok().map(|()| found)
}
