//! jit-bastion: an SSH bastion that grants access just in time, records it and cuts it to the second.
//!
//! # The map
//!
//! | room | what it is | may import |
//! |---|---|---|
//! | `access` | the law: names, time, policy, requests, grants; pure | nothing of ours |
//! | `wire` | our SSH transport for the relay; sans-IO | nothing of ours |
//! | `audit` | what happened, so that tampering shows; pure | `access` |
//! | `recording` | what was seen: journal, asciicast, manifest, replay | `access` |
//! | `session` | a visit in progress: cutoff, knife, who is inside | `access` |
//! | `ca` | the authorities: session, host and access certificates; keys at rest | `access` |
//! | `config` | TOML in, `Config` out | `access` |
//! | `store` | all SQL; everyone may read, only the broker writes | `access`, `audit`, `session`, `recording` |
//! | `broker` | the acts; each change is one transaction with one audit event | all above but `config` |
//! | `verbs` | the words: parse, run against the broker, print | `access`, `session`, `recording`, `broker`, `store::Reader` |
//! | `metrics` | what is counted while it runs, as a scraper reads it | nothing |
//! | `ssh` | the SSH wing: front door on russh, inner server, upstream, relay | `access`, `session`, `recording`, `wire`, `metrics`, `broker`, `verbs` |
//! | `serve`, `cli`, `demo`, `main` | the wiring | what they wire |
//!
//! `tests/architecture.rs` holds this table, and the length of files and functions.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure real time"))]

pub mod access;
pub mod audit;
pub mod broker;
pub mod ca;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod recording;
pub mod serve;
pub mod session;
pub mod ssh;
pub mod store;
pub mod verbs;
pub mod wire;
