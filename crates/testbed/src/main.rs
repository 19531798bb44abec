//! `cargo testbed`: a real cluster on one machine, from the command line.

fn main() -> std::process::ExitCode {
    pha_testbed::cli::run()
}
