//! `cargo testbed package`: programs that run on systems older than this one, and packages of them.
//!
//! One build serves every distribution: it needs glibc 2.17 or newer (2012) and nothing else, with OpenSSL,
//! libssh2 and zlib inside. Where which file goes is a list ([`contents`]), from which the .deb and the .rpm
//! are made; the tarball has `install.sh` and the programs beside it.

mod contents;
pub(crate) mod elf;
mod formats;
mod inside;
#[cfg(test)]
mod scripts;
mod site;
pub(crate) mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cargo::{cargo, stream, workspace};
use crate::error::{Error, Result};
use crate::packages;
use crate::progress::{Progress, say};
use crate::run::Run;

use formats::Built;
use site::{Arch, GLIBC, PROGRAMS, Site};

/// How long a build may take, OpenSSL with it, on a slow machine.
const BUILD: Duration = Duration::from_secs(6000);
/// What to make.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For this machine; may be given more than once
    #[arg(long, value_enum, default_value = "x86-64")]
    arch: Vec<Arch>,
    /// Where to put the packages [default: target/package]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Who answers for the packages
    #[arg(
        long,
        default_value = "The pha4pgsql maintainers <maintainers@pha4pgsql.invalid>"
    )]
    maintainer: String,
    /// Pack what the last build has left, as it is
    #[arg(long)]
    no_build: bool,
    /// Unpack the packages with the distributions' own tools, compare, and run what is in them
    #[arg(long)]
    check: bool,
}

/// Makes them.
pub(crate) fn run(options: &Options) -> Result<u8> {
    let progress = Progress::on_stderr();
    packages::ensure_to_package(&progress, options.check)?;
    let site = Site::new(options, &progress)?;
    let mut files = Vec::new();
    for arch in &options.arch {
        let programs = programs(&site.source, *arch);
        if !options.no_build {
            build(&site, *arch, &progress)?;
        }
        let needs = elf::examine(&programs)?;
        let inside = inside::collect(&site, *arch)?;
        let built = Built {
            arch: *arch,
            programs,
            inside,
        };
        let mut new = vec![formats::tarball(&site, &built)?];
        new.extend(formats::packages(&site, &built)?);
        if options.check {
            let _step = progress.step("unpacking and comparing");
            formats::check(&site, &built, &new)?;
        }
        say(&report(&needs, &new)?);
        files.extend(new);
    }
    let sums = formats::sums(&site, &files)?;
    say(&format!("{}", sums.display()));
    Ok(0)
}

impl Site {
    fn new(options: &Options, progress: &Progress) -> Result<Site> {
        let source = workspace();
        let target = target(&source);
        let output = options.output.clone().unwrap_or(target.join("package"));
        // Only what is made below it is thrown away: the directory may be somebody's.
        let made = target.join("package-made");
        match std::fs::remove_dir_all(&made) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &made)(error));
            }
            _ => {}
        }
        for directory in [&output, &made] {
            std::fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
        }
        let text = source.display().to_string();
        let git = ["git", "-C", &text, "log", "-1", "--format=%ct"];
        Ok(Site {
            epoch: Run::host(&git).ok()?.text().to_owned(),
            output: output
                .canonicalize()
                .map_err(Error::io("look at", &output))?,
            made,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            maintainer: options.maintainer.clone(),
            tools: tools::ensure(&target, progress)?,
            source,
        })
    }
}

fn target(source: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source.join("target"), PathBuf::from)
}

/// The directory of all builds that run elsewhere too.
fn portable(source: &Path) -> PathBuf {
    target(source).join("portable")
}

/// Where the programs are, once they are built.
fn programs(source: &Path, arch: Arch) -> PathBuf {
    portable(source).join(arch.triple()).join("release")
}

/// Builds the programs.
fn build(site: &Site, arch: Arch, progress: &Progress) -> Result<()> {
    let triple = arch.triple();
    let _step = progress.step(&format!("cargo zigbuild for {triple}, glibc {GLIBC}"));
    let asked = format!("{triple}.{GLIBC}");
    let mut words = vec!["zigbuild", "--release", "--locked", "--target", &asked];
    words.extend(["--features", "pha-host/portable", "--package", "pha-host"]);
    for program in &PROGRAMS {
        words.extend(["--package", program]);
    }
    let mut command = cargo(&words);
    command
        .env("PATH", site.path())
        .env("LIBZ_SYS_STATIC", "1")
        .env("CARGO_TARGET_DIR", portable(&site.source));
    match stream(command, BUILD, |_| {})? {
        0 => Ok(()),
        code => Err(Error::Asked(format!(
            "cargo {} ended with status {code}; its messages are above. The standard library for another machine: rustup target add {triple}",
            words.join(" ")
        ))),
    }
}

/// What the programs need, and how large everything is.
fn report(needs: &[elf::Needs], files: &[PathBuf]) -> Result<String> {
    let mut lines = Vec::new();
    for one in needs {
        lines.push(format!(
            "{:10} {:>9} bytes  glibc {}  {}",
            one.program,
            one.size,
            one.glibc,
            one.libraries.join(" ")
        ));
    }
    for file in files {
        let size = file.metadata().map_err(Error::io("look at", file))?.len();
        lines.push(format!("{:>20} bytes  {}", size, file.display()));
    }
    Ok(lines.join("\n"))
}

/// Where the package for Debian on this machine is, once it is made.
pub(crate) fn of_debian() -> PathBuf {
    let arch = match std::env::consts::ARCH {
        "aarch64" => Arch::Arm,
        _ => Arch::X86,
    };
    let name = formats::debian_name(env!("CARGO_PKG_VERSION"), arch);
    target(&workspace()).join("package").join(name)
}
