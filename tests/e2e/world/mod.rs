//! The language of the end-to-end tests: a real bastion in a folder of its own, real OpenSSH on both sides, and short words for
//! what people do: ask, approve, go in, look at what was kept.

mod bastion;
mod corpus;
pub mod cuts;
pub mod destinations;
mod disk;
mod evidence;
mod node;
mod process;
mod server;
mod ssh;
mod terminal;

pub use bastion::Bastion;
pub use disk::{Disk, Fate, Small};
pub use evidence::{Cast, files, find_id};
pub use node::{Node, database, psql};
pub use process::{LIMIT, Out, Output, Running, Stopped, cpu_seconds, descendants, pid, processes, run, wait_for, wait_for_or};
pub use server::SshServer;
pub use ssh::Ssh;
pub use terminal::Terminal;
