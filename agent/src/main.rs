//! `ocf:heartbeat:expgsql`: PostgreSQL under Pacemaker.
#![forbid(unsafe_code)]

mod app;
mod exit;
mod guard;

fn main() -> std::process::ExitCode {
    exit::with(app::run())
}
