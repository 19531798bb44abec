#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pha_fuzz::look("cpg", bytes));
