//! `cls`: the commands of a cluster's operator.
#![forbid(unsafe_code)]

mod app;
mod audit;
mod cluster;
mod commands;
mod disks;
mod entry;
mod error;
mod interrupt;
mod operate;
mod pages;
mod primary;
mod render;
mod site;
mod tools;
mod wait;

fn main() -> std::process::ExitCode {
    if pha_host::account::was_asked() {
        return std::process::ExitCode::SUCCESS;
    }
    entry::main(std::env::args_os())
}
