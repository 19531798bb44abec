//! Whose something is that lies in PostgreSQL's configuration or in its data: what the agent and the commands may
//! take over or replace, and what they leave to who has made it.

use crate::lineage::{Held, Lineage, Record};
use crate::link_name::LinkName;
use crate::names::NodeName;
use crate::plan::StandbySettings;

/// The setting that only the agent may make: a commit must not wait for, nor do without, another standby than the one
/// that the cluster knows.
pub const NAMES: &str = "synchronous_standby_names";

/// Where a setting stands in the order in which the server reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In a file that is read before the agent's own, which then holds.
    Before,
    /// In what is read after it (`postgresql.auto.conf`).
    After,
}

/// Whether a setting of somebody else's is one that the agent has to make. An empty value says nothing where the
/// agent's own comes after it.
#[must_use]
pub fn is_foreign(name: &str, value: &str, stands: Stands) -> bool {
    name == NAMES && (stands == Stands::After || !value.trim().is_empty())
}

/// Whether a word on the server's command line (`start_opt`) makes that setting: it is stronger than any file.
#[must_use]
pub fn is_foreign_word(word: &str) -> bool {
    word.contains(NAMES)
}

/// The configuration files in a data directory that belong to the node and not to the data: a copy would overwrite
/// them with those of its source.
pub const NODE_FILES: [&str; 4] = [
    "postgresql.conf",
    "pg_hba.conf",
    "pg_ident.conf",
    "postgresql.auto.conf",
];

/// Whether one of [`NODE_FILES`] is kept for the time of a copy. A link leads out of the directory, where a copy
/// overwrites nothing.
#[must_use]
pub fn is_kept(is_link: bool) -> bool {
    !is_link
}

/// Whether the node's files are kept as they are in the data directory now. What an interrupted copy has kept stays:
/// what is in the directory by then may be the source's already.
#[must_use]
pub fn may_be_kept_anew(interrupted: bool, kept: bool) -> bool {
    !(interrupted && kept)
}

/// What a node keeps about the data that were copied (R13): the timelines that the source's row names. None where
/// those or the database are not known, and then nothing that was kept about the data before holds of these.
#[must_use]
pub fn of_copied(lineage: Option<Lineage>, system: Option<u64>) -> Option<Record> {
    lineage.zip(system).map(|(lineage, system)| Record {
        system,
        lineage,
        held: Held::Copied,
    })
}

/// The name of a standby's link that may lie in a file: an incarnation lies in none that somebody might copy (R11).
#[must_use]
pub fn in_file(name: &LinkName) -> Option<&LinkName> {
    (!name.is_incarnation()).then_some(name)
}

/// Why a server cannot be made to receive from another standby by a reload; none where it can, or is not to.
#[must_use]
pub fn not_by_reload(upstream: Option<&NodeName>, version: &str, reloads: bool) -> Option<String> {
    let from = upstream.filter(|_| !reloads)?;
    Some(format!(
        "PostgreSQL {version} would have to be restarted to receive from {from}"
    ))
}

/// Whether settings of a standby may be changed where that cannot be marked. What receives from another node must be
/// put back even after a kill. A standby that is opened now shows by its names that it was, and a directory that takes
/// no mark is no reason for an outage.
#[must_use]
pub fn goes_unmarked(wanted: &StandbySettings<'_>) -> bool {
    wanted.upstream.is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parse::standby_names::Waits;

    #[test]
    fn only_the_agents_own_setting_is_refused() {
        for (name, value, stands, foreign) in [
            (NAMES, "*", Stands::Before, true),
            (NAMES, "*", Stands::After, true),
            (NAMES, " ", Stands::Before, false),
            (NAMES, "", Stands::After, true),
            ("synchronous_commit", "off", Stands::After, false),
        ] {
            let seen = is_foreign(name, value, stands);
            assert_eq!(seen, foreign, "{name} {value} {stands:?}");
        }
        assert!(is_foreign_word("-csynchronous_standby_names=x"));
        assert!(!is_foreign_word("-cwork_mem=4MB"));
    }

    #[test]
    fn what_an_interrupted_copy_has_kept_is_not_kept_anew() {
        assert!(!may_be_kept_anew(true, true));
        for (interrupted, kept) in [(true, false), (false, true), (false, false)] {
            assert!(may_be_kept_anew(interrupted, kept));
        }
        assert!(is_kept(false));
        assert!(!is_kept(true));
    }

    #[test]
    fn nothing_is_kept_about_a_copy_of_which_not_all_is_known() {
        let lineage = Lineage::new(vec![]);
        let known = of_copied(Some(lineage.clone()), Some(7)).unwrap();
        assert_eq!((known.system, known.held), (7, Held::Copied));
        assert_eq!(of_copied(Some(lineage), None), None);
        assert_eq!(of_copied(None, Some(7)), None);
    }

    #[test]
    fn what_receives_from_another_standby_can_be_put_back() {
        let other: NodeName = "node2".parse().unwrap();
        let name: LinkName = "node1".parse().unwrap();
        let mut wanted = StandbySettings {
            name: &name,
            names: Waits::ForNobody,
            upstream: None,
        };
        assert!(goes_unmarked(&wanted));
        wanted.upstream = Some(&other);
        assert!(!goes_unmarked(&wanted));
        assert!(not_by_reload(Some(&other), "12", false).is_some());
        assert!(not_by_reload(Some(&other), "13", true).is_none());
        assert!(not_by_reload(None, "12", false).is_none());
    }
}
