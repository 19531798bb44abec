//! libpq's `require_auth`: which ways of proving who one is a server may ask for (PostgreSQL manual,
//! "Parameter Key Words").

use std::fmt;
use std::str::FromStr;

/// A way of proving who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The password itself.
    Password,
    /// A hash of it that is as good as the password itself to who reads it.
    Md5,
    /// Kerberos.
    Gss,
    /// Windows.
    Sspi,
    /// A proof from which the password cannot be read.
    Scram,
    /// None: the server trusts, or has taken a certificate.
    None,
}

const METHODS: [(&str, Method); 6] = [
    ("password", Method::Password),
    ("md5", Method::Md5),
    ("gss", Method::Gss),
    ("sspi", Method::Sspi),
    ("scram-sha-256", Method::Scram),
    ("none", Method::None),
];

impl Method {
    /// What a server asks for with it, in words.
    #[must_use]
    pub fn described(self) -> &'static str {
        match self {
            Self::Password => "the password in clear",
            Self::Md5 => "an MD5 hash of the password",
            Self::Gss => "a Kerberos ticket",
            Self::Sspi => "an SSPI token",
            Self::Scram => "a SCRAM proof",
            Self::None => "no proof of who this is",
        }
    }
}

/// The methods that are allowed; all of them where the keyword is not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequireAuth {
    text: String,
    allowed: Option<Vec<Method>>,
}

impl RequireAuth {
    /// Whether a server may ask for this.
    #[must_use]
    pub fn allows(&self, method: Method) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&method))
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RequireAuth {
    type Err = &'static str;

    /// As libpq: a list of methods, or of methods that are not allowed, each with `!` before it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let negative = text.starts_with('!');
        let mut named = Vec::new();
        for word in text.split(',').map(str::trim) {
            let name = match (word.strip_prefix('!'), negative) {
                (Some(name), true) => name,
                (None, false) => word,
                _ => return Err("either methods, or methods with ! before each of them"),
            };
            let known = METHODS.iter().find(|(known, _)| *known == name);
            let Some((_, method)) = known else {
                return Err("a list of password, md5, gss, sspi, scram-sha-256 and none");
            };
            if named.contains(method) {
                return Err("every method once");
            }
            named.push(*method);
        }
        let all = METHODS.iter().map(|(_, method)| *method);
        let allowed = all.filter(|method| named.contains(method) != negative);
        Ok(Self {
            text: text.to_owned(),
            allowed: Some(allowed.collect()),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_libpq_reads_them() {
        let allowed = |text: &str| -> Vec<Method> {
            let read: RequireAuth = text.parse().unwrap();
            let all = METHODS.iter().map(|(_, method)| *method);
            all.filter(|method| read.allows(*method)).collect()
        };
        assert_eq!(allowed("").len(), 6);
        assert_eq!(allowed("scram-sha-256"), [Method::Scram]);
        assert_eq!(allowed("none, md5"), [Method::Md5, Method::None]);
        assert_eq!(
            allowed("!password,!md5"),
            [Method::Gss, Method::Sspi, Method::Scram, Method::None]
        );
        for text in ["scram", "!md5,none", "md5,!none", "md5,md5", ",", "!"] {
            assert!(text.parse::<RequireAuth>().is_err(), "{text}");
        }
    }
}
