#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jit_bastion_fuzz::recording::scp(bytes));
