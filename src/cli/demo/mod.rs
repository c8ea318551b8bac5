//! `demo`: a complete world on loopback, made in one folder and run until it is stopped.

mod files;
mod key;
mod machine;
