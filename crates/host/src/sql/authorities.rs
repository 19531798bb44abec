//! The certification authorities that this system trusts (`sslrootcert=system`).
//!
//! OpenSSL looks where its own build was told to. Inside the programs of a package that is a directory which
//! no distribution has, so the places that the distributions use are looked at as well. `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` say where they are on any system, and OpenSSL reads those by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslFiletype};
use openssl::x509::store::X509Lookup;

/// Files with all authorities: Debian, Alpine, Arch; RHEL, Fedora, openEuler, Kylin; SUSE; Alpine, BSD.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories with a file for each, under the hash of its name (openssl-rehash(1)).
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Where the authorities come from.
#[derive(Debug, PartialEq, Eq)]
enum Authorities {
    /// The environment, or the place that OpenSSL was built with: it has read them already.
    OpenSsl,
    /// These, of which at least one is there.
    Known(Option<PathBuf>, Option<PathBuf>),
    /// This system has none.
    Nowhere,
}

/// Has OpenSSL trust them. `false`: this system has none where any distribution would.
///
/// # Errors
/// A file of them is not what it should be.
pub(super) fn trust(builder: &mut SslContextBuilder) -> Result<bool, ErrorStack> {
    let root = Path::new("/");
    match place(root, &built_in(openssl::version::dir()), |name| {
        std::env::var_os(name)
    }) {
        Authorities::OpenSsl => {}
        Authorities::Known(file, directory) => {
            if let Some(file) = file {
                builder.set_ca_file(file)?;
            }
            if let Some(directory) = directory.as_deref().and_then(Path::to_str) {
                let lookup = builder
                    .cert_store_mut()
                    .add_lookup(X509Lookup::hash_dir())?;
                lookup.add_dir(directory, SslFiletype::PEM)?;
            }
        }
        Authorities::Nowhere => return Ok(false),
    }
    Ok(true)
}

/// The directory of `OPENSSLDIR: "/usr/lib/ssl"`, as OpenSSL says it.
fn built_in(said: &str) -> PathBuf {
    let mut parts = said.split('"');
    parts.nth(1).unwrap_or_default().into()
}

/// `root` is what the distributions' places lie below.
fn place(root: &Path, built_in: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Authorities {
    let given = |name| variable(name).is_some_and(|value| !value.is_empty());
    let own = is_bundle(&built_in.join("cert.pem")) || is_hashed(&built_in.join("certs"));
    if given("SSL_CERT_FILE") || given("SSL_CERT_DIR") || own {
        return Authorities::OpenSsl;
    }
    let below = |place: &str| root.join(place.trim_start_matches('/'));
    let file = FILES
        .iter()
        .map(|place| below(place))
        .find(|file| is_bundle(file));
    let mut directories = DIRECTORIES.iter().map(|place| below(place));
    let directory = directories.find(|directory| is_hashed(directory));
    match (file, directory) {
        (None, None) => Authorities::Nowhere,
        (file, directory) => Authorities::Known(file, directory),
    }
}

/// An empty file is no bundle: some images have one in the place of the package.
fn is_bundle(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|stat| stat.is_file() && stat.len() > 0)
}

fn is_hashed(directory: &Path) -> bool {
    let named = |name: &str| {
        name.split_once('.').is_some_and(|(hash, number)| {
            let hex = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let Ok(mut entries) = directory.read_dir() else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(named)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let name = format!("pha-authorities-{name}-{}", std::process::id());
            let tree = Self(std::env::temp_dir().join(name));
            std::fs::create_dir_all(&tree.0).unwrap();
            tree
        }

        fn with(self, file: &str, text: &str) -> Self {
            let file = self.0.join(file.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
            self
        }

        fn place(&self, variable: Option<&str>) -> Authorities {
            let vendored = self.0.join("usr/local/ssl");
            place(&self.0, &vendored, |name| {
                (Some(name) == variable).then(|| "/somewhere".into())
            })
        }

        fn known(&self, file: Option<&str>, directory: Option<&str>) -> Authorities {
            let below = |place: &str| self.0.join(place.trim_start_matches('/'));
            Authorities::Known(file.map(below), directory.map(below))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_bundle_of_each_distribution_is_found() {
        for (number, file) in FILES.iter().enumerate() {
            let tree = Tree::new(&format!("file{number}")).with(file, "authorities");
            assert_eq!(tree.place(None), tree.known(Some(file), None));
        }
        for (number, directory) in DIRECTORIES.iter().enumerate() {
            let tree = Tree::new(&format!("dir{number}"));
            let tree = tree.with(&format!("{directory}/0a1b2c3d.0"), "an authority");
            assert_eq!(tree.place(None), tree.known(None, Some(directory)));
        }
    }

    #[test]
    fn what_is_empty_or_has_no_hashes_is_none() {
        let tree = Tree::new("none")
            .with("/etc/ssl/cert.pem", "")
            .with("/etc/ssl/certs/README", "no authority")
            .with("/etc/ssl/certs/authority.pem", "not under its hash");
        assert_eq!(tree.place(None), Authorities::Nowhere);
    }

    #[test]
    fn the_environment_and_the_place_of_the_build_come_first() {
        let tree = Tree::new("first").with(FILES[1], "authorities");
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            assert_eq!(tree.place(Some(variable)), Authorities::OpenSsl);
        }
        let tree = tree.with("/usr/local/ssl/certs/0a1b2c3d.0", "an authority");
        assert_eq!(tree.place(None), Authorities::OpenSsl);
        let said = built_in("OPENSSLDIR: \"/usr/local/ssl\"");
        assert_eq!(said, Path::new("/usr/local/ssl"));
        // What the OpenSSL of this build says has that form.
        assert!(built_in(openssl::version::dir()).is_absolute());
    }
}
