//! Where the product lies on a node: in a directory of its own, as `install.sh` makes it, or where a
//! package of the distribution puts it.
//!
//! Both may meet in one cluster while its nodes go over to packages one after the other, so whoever looks
//! for something looks in both, and in its own first.

use std::path::{Path, PathBuf};

use crate::message;
use crate::message::Message;

/// The directory of the specification, where none is named (`pha4pgsql_dir`).
pub const DIRECTORY: &str = "/opt/pha4pgsql";

/// Where a package has the configuration.
pub const PACKAGE_CONFIGURATION: &str = "/etc/pha4pgsql";

/// Where a package has the programs.
pub const PACKAGE_PROGRAMS: &str = "/usr/sbin";

/// The one name of the configuration file.
const CONFIG: &str = "config.ini";

/// Directories that only a package writes to. Some distributions have made one of the first two.
const OF_PACKAGES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/sbin"];

/// Which of the two ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// `pha4pgsql_dir`: `bin` with the programs, and `config.ini` beside it.
    #[default]
    Directory,
    /// `/usr/sbin` and `/etc/pha4pgsql`.
    Package,
}

impl Layout {
    /// The layout that a program at this place belongs to.
    #[must_use]
    pub fn of(program: &Path) -> Self {
        let parent = program.parent();
        let of_package = |place: &str| parent == Some(Path::new(place));
        if OF_PACKAGES.into_iter().any(of_package) {
            Self::Package
        } else {
            Self::Directory
        }
    }

    /// Where it has that program; `directory` is `pha4pgsql_dir`.
    #[must_use]
    pub fn program(self, directory: &Path, name: &str) -> PathBuf {
        match self {
            Self::Directory => directory.join("bin").join(name),
            Self::Package => Path::new(PACKAGE_PROGRAMS).join(name),
        }
    }

    /// Where another node may have that program, the likelier place first.
    #[must_use]
    pub fn programs(self, directory: &Path, name: &str) -> [PathBuf; 2] {
        let other = match self {
            Self::Directory => Self::Package,
            Self::Package => Self::Directory,
        };
        [self, other].map(|layout| layout.program(directory, name))
    }

    /// What to type to have config.ini (and, without a package, the programs) put on every node.
    #[must_use]
    pub fn installer(self) -> &'static str {
        match self {
            Self::Directory => "sh install.sh",
            Self::Package => "sh /usr/share/pha4pgsql/install.sh",
        }
    }

    /// What copies the right config.ini to where another one is read.
    #[must_use]
    pub fn copies(self) -> Message {
        message!(
            "{installer}, where the right one is, copies it to every node",
            installer = self.installer()
        )
    }

    /// What to do where programs are missing on a node, or are of another version there.
    #[must_use]
    pub fn same_version(self) -> &'static str {
        match self {
            Self::Directory => "sh install.sh",
            Self::Package => "install the same package pha4pgsql there",
        }
    }
}

/// Where config.ini is looked for, in this order: the first one that exists is read; if none does, the last
/// is the one to make. `variable` is the environment's `pha4pgsql_dir`, `program` the running program.
#[must_use]
pub fn config_files(variable: Option<&Path>, program: Option<&Path>) -> Vec<PathBuf> {
    let (usual, package) = (Path::new(DIRECTORY), Path::new(PACKAGE_CONFIGURATION));
    let layout = program.map_or(Layout::Directory, Layout::of);
    let own = program.and_then(|program| program.parent()?.parent());
    // The one to make comes last too, for the message where there is none.
    let (beside, order) = match layout {
        Layout::Directory => (own, [usual, package, usual]),
        Layout::Package => (None, [package, usual, package]),
    };
    let directories = variable.into_iter().chain(beside).chain(order);
    directories.map(|place| place.join(CONFIG)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_knows_which_layout_it_is_of() {
        for (program, expected) in [
            ("/opt/pha4pgsql/bin/cls", Layout::Directory),
            ("/root/src/target/debug/cls", Layout::Directory),
            ("/usr/local/sbin/cls", Layout::Directory),
            ("/usr/sbin/cls", Layout::Package),
            ("/usr/bin/cls", Layout::Package),
            ("/sbin/cls", Layout::Package),
        ] {
            assert_eq!(Layout::of(Path::new(program)), expected, "{program}");
        }
    }

    #[test]
    fn both_places_of_a_program_are_looked_at_the_own_one_first() {
        let places = |layout: Layout| {
            let places = layout.programs(Path::new("/srv/ha"), "cls");
            places.map(|place| place.display().to_string())
        };
        let (own, package) = ("/srv/ha/bin/cls", "/usr/sbin/cls");
        assert_eq!(places(Layout::Directory), [own, package]);
        assert_eq!(places(Layout::Package), [package, own]);
    }

    #[test]
    fn config_ini_is_looked_for_in_the_own_layout_first_and_then_in_the_other() {
        let files = |variable: Option<&str>, program: Option<&str>| {
            let files = config_files(variable.map(Path::new), program.map(Path::new));
            let text = files.iter().map(|file| file.display().to_string());
            text.collect::<Vec<String>>()
        };
        let (etc, opt) = ("/etc/pha4pgsql/config.ini", "/opt/pha4pgsql/config.ini");
        assert_eq!(files(None, Some("/usr/sbin/cls")), [etc, opt, etc]);
        assert_eq!(
            files(None, Some("/srv/ha/bin/cls")),
            ["/srv/ha/config.ini", opt, etc, opt]
        );
        assert_eq!(files(None, None), [opt, etc, opt]);
        assert_eq!(
            files(Some("/x"), Some("/usr/sbin/cls")),
            ["/x/config.ini", etc, opt, etc]
        );
    }
}
