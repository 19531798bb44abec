//! What Pacemaker's versions call the same thing: one table, from the feature set and the schema that the
//! cluster information base names. What is read is understood in every spelling; what is written is in the
//! one that the cluster knows.

use serde::Serialize;

use crate::status::Role;

/// The words for the roles of a promotable clone's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RoleWords {
    /// `Master` and `Slave`: Pacemaker 2.0.
    Master,
    /// `Promoted` and `Unpromoted`: Pacemaker 2.1 with a schema of 3.7 or newer.
    Promoted,
}

impl RoleWords {
    /// The word for the primary.
    #[must_use]
    pub const fn promoted(self) -> &'static str {
        match self {
            Self::Master => "Master",
            Self::Promoted => "Promoted",
        }
    }

    /// The word for a standby.
    #[must_use]
    pub const fn unpromoted(self) -> &'static str {
        match self {
            Self::Master => "Slave",
            Self::Promoted => "Unpromoted",
        }
    }
}

/// What the cluster option is called that says whether nodes are fenced: since Pacemaker 3.0.2
/// `fencing-enabled`, and the other name is deprecated.
pub const FENCING: [&str; 2] = ["stonith-enabled", "fencing-enabled"];

/// The role that an attribute of the configuration names, in whichever spelling.
#[must_use]
pub fn role(text: Option<&str>) -> Option<Role> {
    // `Started` stands for an instance that no role is asked of.
    let text = text.filter(|text| *text != "Started")?;
    Role::from_any_spelling(text).ok()
}

/// What a cluster's Pacemaker understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The roles.
    pub roles: RoleWords,
    /// A colocation may have `influence` (schema 3.7 and newer, as the roles).
    pub influence: bool,
    /// The agent is told of a parameter that needs no restart (`reload-agent`, Pacemaker 2.1.0).
    pub reloads: bool,
    /// One of [`FENCING`].
    pub fencing: &'static str,
}

/// `3.10.0` as numbers.
fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

impl Dialect {
    /// From `crm_feature_set` (3.10.0 is Pacemaker 2.1.0, 3.20.5 is 3.0.2) and from `validate-with`: the schema
    /// that the configuration follows must know a word as well, which an upgraded cluster's need not. None for
    /// a schema before 3.1, which has no promotable clones.
    #[must_use]
    pub fn of(features: &str, validate_with: &str) -> Option<Self> {
        let features = version(features);
        let schema = version(validate_with.strip_prefix("pacemaker-").unwrap_or_default());
        // `none` and unnumbered schemas say nothing.
        if !schema.is_empty() && schema < vec![3, 1] {
            return None;
        }
        let known = schema.is_empty() || schema >= vec![3, 7];
        let reloads = features >= vec![3, 10];
        let new = reloads && known;
        Some(Self {
            roles: match new {
                true => RoleWords::Promoted,
                false => RoleWords::Master,
            },
            influence: new,
            reloads,
            fencing: FENCING[usize::from(features >= vec![3, 20, 5])],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_by_version() {
        for (features, schema, promoted, reloads, fencing) in [
            ("3.6.1", "pacemaker-3.5", "Master", false, "stonith-enabled"),
            ("3.16.1", "pacemaker-3.5", "Master", true, "stonith-enabled"),
            (
                "3.16.1",
                "pacemaker-3.9",
                "Promoted",
                true,
                "stonith-enabled",
            ),
            (
                "3.20.0",
                "pacemaker-4.0",
                "Promoted",
                true,
                "stonith-enabled",
            ),
            (
                "3.20.5",
                "pacemaker-4.0",
                "Promoted",
                true,
                "fencing-enabled",
            ),
            ("3.21.0", "none", "Promoted", true, "fencing-enabled"),
            ("", "", "Master", false, "stonith-enabled"),
        ] {
            let dialect = Dialect::of(features, schema);
            let seen = dialect.map(|one| (one.roles.promoted(), one.reloads, one.fencing));
            assert_eq!(
                seen,
                Some((promoted, reloads, fencing)),
                "{features} {schema}"
            );
        }
        assert_eq!(Dialect::of("3.16.1", "pacemaker-2.10"), None);
    }

    #[test]
    fn roles_are_read_in_every_spelling() {
        for (text, seen) in [
            (Some("Master"), Some(Role::Promoted)),
            (Some("Promoted"), Some(Role::Promoted)),
            (Some("Slave"), Some(Role::Unpromoted)),
            (Some("Unpromoted"), Some(Role::Unpromoted)),
            (Some("Started"), None),
            (Some("master"), None),
            (None, None),
        ] {
            assert_eq!(role(text), seen, "{text:?}");
        }
    }
}
