//! For this crate's tests, which are no program that could act as an account itself.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    match pha_host::account::was_asked() {
        true => std::process::ExitCode::SUCCESS,
        false => std::process::ExitCode::FAILURE,
    }
}
