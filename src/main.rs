//! The exit code, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    jit_bastion::cli::main(std::env::args_os())
}
