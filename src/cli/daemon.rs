//! Runs the bastion until it is told to stop.
