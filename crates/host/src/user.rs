//! Accounts of the machine.
//!
//! The agent runs as root, PostgreSQL refuses to: its programs run as the `pgdba` of the resource. How
//! something is done as an account is told in [`crate::account`].

use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User as Account, getgrouplist, getgroups};
use pha_core::hindrance::Hindrance;

/// An account: who it is, where its home is, and every group it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    groups: Vec<u32>,
}

/// Why an account could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such account.
    #[error("{}", self.hindrance())]
    Unknown {
        /// The name that was looked up.
        name: String,
    },
    /// The account data base could not be read, or the name is not one.
    #[error("looking up the user {name:?} failed: {reason}")]
    Lookup {
        /// The name that was looked up.
        name: String,
        /// What the system said.
        reason: String,
    },
}

impl UserError {
    /// The same, with what to do about it apart from it.
    #[must_use]
    pub fn hindrance(&self) -> Hindrance {
        match self {
            Self::Unknown { name } => Hindrance::new(
                format!("there is no user {name:?} on this machine"),
                "create it or correct the parameter pgdba",
            ),
            Self::Lookup { .. } => Hindrance::of(self),
        }
    }
}

/// The home of whoever this process is. Pacemaker's environment names it or not, depending on how it was
/// started.
#[must_use]
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .or_else(|| User::current().ok().map(|user| user.home))
}

impl User {
    /// Looks an account up by name, the way `login` would (through NSS, so LDAP and the like work).
    ///
    /// The supplementary groups come along because a server may need them: Debian's PostgreSQL
    /// reads its TLS key as a member of `ssl-cert`.
    pub fn lookup(name: &str) -> Result<Self, UserError> {
        let lookup = |reason: String| UserError::Lookup {
            name: name.to_owned(),
            reason,
        };
        let account = Account::from_name(name)
            .map_err(|errno| lookup(errno.desc().to_owned()))?
            .ok_or_else(|| UserError::Unknown {
                name: name.to_owned(),
            })?;
        Self::with_groups(account).map_err(|errno| lookup(errno.desc().to_owned()))
    }

    /// The account that this process runs as.
    pub fn current() -> Result<Self, UserError> {
        Self::of_id(Uid::effective().as_raw())
    }

    /// The account with that number.
    pub fn of_id(uid: u32) -> Result<Self, UserError> {
        let uid = Uid::from_raw(uid);
        let lookup = |reason: &str| UserError::Lookup {
            name: uid.to_string(),
            reason: reason.to_owned(),
        };
        let account = Account::from_uid(uid)
            .map_err(|errno| lookup(errno.desc()))?
            .ok_or_else(|| UserError::Unknown {
                name: uid.to_string(),
            })?;
        Self::with_groups(account).map_err(|errno| lookup(errno.desc()))
    }

    fn with_groups(account: Account) -> Result<Self, nix::Error> {
        // A name that came out of the account data base holds no NUL byte; the fallback is there
        // because the type says that it could.
        let groups = match std::ffi::CString::new(account.name.as_str()) {
            Ok(name) => getgrouplist(&name, account.gid)?
                .iter()
                .map(|gid| gid.as_raw())
                .collect(),
            Err(_) => vec![account.gid.as_raw()],
        };
        Ok(Self {
            name: account.name,
            uid: account.uid.as_raw(),
            gid: account.gid.as_raw(),
            home: account.dir,
            groups,
        })
    }

    /// The name of the account.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numeric user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The numeric id of the primary group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The home directory.
    pub fn home(&self) -> &std::path::Path {
        &self.home
    }

    /// Every group of the account, the primary one among them.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Whether this process already runs as that account.
    pub fn is_current(&self) -> bool {
        Uid::effective().as_raw() == self.uid
    }

    /// The account of this process where it may not ask Pacemaker, whose daemons answer root and the
    /// members of the group `haclient`. What counts are the groups that the process has: one that an
    /// administrator has added is there from the next login on.
    #[must_use]
    pub fn barred_from_pacemaker() -> Option<String> {
        let uid = Uid::effective();
        let group = Group::from_name("haclient").ok().flatten();
        let member = group.is_some_and(|group| {
            let own = getgroups().unwrap_or_default();
            Gid::effective() == group.gid || own.contains(&group.gid)
        });
        if uid.is_root() || member {
            return None;
        }
        // An account without a name is as good as any other.
        Some(Self::current().map_or_else(|_| uid.to_string(), |user| user.name))
    }

    /// Whether the account is root, as which PostgreSQL refuses to run.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn root_is_known_everywhere() {
        let root = User::lookup("root").unwrap();
        assert_eq!((root.uid(), root.gid()), (0, 0));
        assert!(root.is_root());
        assert!(root.groups().contains(&0));
    }

    #[test]
    fn an_unknown_account_is_named_in_the_error() {
        let error = User::lookup("no such user").unwrap_err();
        assert!(matches!(error, UserError::Unknown { .. }), "{error}");
        assert!(error.to_string().contains("\"no such user\""), "{error}");
    }

    #[test]
    fn a_name_with_a_nul_byte_is_an_error_and_not_a_panic() {
        assert!(User::lookup("post\0gres").is_err());
    }
}
