//! `ocf:heartbeat:expgsql`: PostgreSQL under Pacemaker.
#![forbid(unsafe_code)]

mod app;
mod exit;
mod guard;

fn main() -> std::process::ExitCode {
    if pha_host::account::was_asked() {
        return std::process::ExitCode::SUCCESS;
    }
    exit::with(app::run())
}
