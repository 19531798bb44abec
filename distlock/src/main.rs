//! `distlock`: the distributed lock of pha4pgsql for a person or a script.

#![forbid(unsafe_code)]

mod app;
mod exit;
#[cfg(test)]
mod page;
mod render;

fn main() -> std::process::ExitCode {
    app::run(std::env::args_os())
}
