//! A connection string as text again, for another node: everything but the password, which that
//! node has in its own passfile.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Conninfo, Server, SslMode, TargetSession};

impl Conninfo {
    /// Keywords and values that mean the same, without the password.
    #[must_use]
    pub fn without_password(&self) -> String {
        let mut text = String::new();
        let mut put = |keyword: &str, value: &str| {
            let space = if text.is_empty() { "" } else { " " };
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            // Writing to a text cannot fail.
            let _ = write!(text, "{space}{keyword}='{value}'");
        };
        let list = |part: fn(&Server) -> String| {
            let parts: Vec<String> = self.servers.iter().map(part).collect();
            parts.join(",")
        };
        put("host", &list(|server| server.host.clone()));
        let address = |server: &Server| server.hostaddr.map_or(String::new(), |a| a.to_string());
        if self.servers.iter().any(|server| server.hostaddr.is_some()) {
            put("hostaddr", &list(address));
        }
        put("port", &list(|server| server.port.to_string()));
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref()
                .map(|path| path.to_string_lossy().into_owned())
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().to_string());
        let given = [
            // Another node's account may have another default.
            ("user", Some(self.user_name())),
            ("dbname", Some(self.database())),
            ("passfile", path(&self.passfile)),
            ("application_name", self.application_name.clone()),
            ("options", self.options.clone()),
            ("sslmode", Some(sslmode(self.sslmode).to_owned())),
            ("sslrootcert", path(&self.sslrootcert)),
            ("sslcert", path(&self.sslcert)),
            ("sslkey", path(&self.sslkey)),
            ("connect_timeout", seconds(self.connect_timeout)),
            ("keepalives", (!self.keepalives.on).then(|| "0".to_owned())),
            ("keepalives_idle", seconds(self.keepalives.idle)),
            ("keepalives_interval", seconds(self.keepalives.interval)),
            (
                "keepalives_count",
                self.keepalives.count.map(|count| count.to_string()),
            ),
            (
                "tcp_user_timeout",
                self.tcp_user_timeout
                    .map(|time| time.as_millis().to_string()),
            ),
            ("target_session_attrs", Some(target(self.target).to_owned())),
        ];
        for (keyword, value) in given {
            if let Some(value) = value {
                put(keyword, &value);
            }
        }
        text
    }
}

fn sslmode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Allow => "allow",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

fn target(target: TargetSession) -> &'static str {
    match target {
        TargetSession::Any => "any",
        TargetSession::ReadWrite => "read-write",
        TargetSession::ReadOnly => "read-only",
        TargetSession::Primary => "primary",
        TargetSession::Standby => "standby",
        TargetSession::PreferStandby => "prefer-standby",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::conninfo::Secret;

    #[test]
    fn what_is_written_means_the_same_and_holds_no_password() {
        for text in [
            "host=node3 port=5439 dbname=postgres user=postgres password=geheim",
            "host=a,b hostaddr=10.0.0.1,10.0.0.2 port=1,2 dbname='a b' user='o\\'k' password=geheim",
            "postgresql://u:geheim@[::1]:5433/d?sslmode=verify-full&sslrootcert=/r.crt",
            "host=/run/pg user=u dbname=d options='-c x=1' keepalives=0 tcp_user_timeout=1500 \
             connect_timeout=3 keepalives_idle=1 keepalives_interval=2 keepalives_count=3 \
             target_session_attrs=read-write passfile=/p sslcert=/c sslkey=/k sslmode=disable \
             application_name=x password='it\\'s geheim'",
        ] {
            let Ok(info) = text.parse::<Conninfo>() else {
                panic!("{text}")
            };
            let written = info.without_password();
            assert!(!written.contains("geheim"), "{written}");
            let mut again: Conninfo = written.parse().unwrap();
            assert_eq!(again.password, None);
            again.password = Some(Secret::new(info.password.as_ref().unwrap().expose()));
            assert_eq!(again, info, "{written}");
        }
        let bare: Conninfo = "host=h".parse().unwrap();
        let again: Conninfo = bare.without_password().parse().unwrap();
        assert_eq!(
            (again.user, again.dbname),
            (Some(bare.user_name()), Some(bare.database()))
        );
    }
}
