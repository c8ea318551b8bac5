//! The SSH wing: the front door on russh, the inner server and the client towards the host on `wire`, and the relay
//! between them. It never decides who may do what (the broker does), and never lets a byte pass that was not kept first.

pub mod peek;
