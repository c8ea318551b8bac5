//! The law: who may ask for what, who decides, and when a right ends.
//!
//! This room decides and never waits: no await, no SQL, no SSH, no clock of its own. Time is given to it.

pub mod names;
pub mod time;
