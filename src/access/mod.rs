//! The law: who may ask for what, who decides, and when a right ends.
//!
//! This room decides and never waits: no await, no SQL, no SSH, no clock of its own. Time is given to it.

pub mod channels;
pub mod date;
pub mod grant;
pub mod host;
pub mod invite;
pub mod mask;
pub mod names;
pub mod opening;
pub mod person;
pub mod policy;
pub mod refusal;
pub mod request;
pub mod sheet;
pub mod signature;
pub mod size;
pub mod time;
pub mod zone;
