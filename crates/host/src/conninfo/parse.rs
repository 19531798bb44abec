//! libpq's two syntaxes, and the meaning of the keywords.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pha_core::quoted::{printable, quoted};
use pha_core::secret::Secret;

use super::fields::{Binding, Conninfo, SslMode, TargetSession, TlsVersion};
use super::server::{Server, default_server};

/// A connection string that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// The text does not follow the syntax.
    #[error(
        "connection string: {0}; write it like \"host=node3 port=5432 dbname=postgres user=postgres\""
    )]
    Syntax(String),
    /// A keyword that libpq does not know either.
    #[error(
        "connection string: unknown keyword {}; allowed are {list}", quoted(.0),
        list = KEYWORDS.join(" ")
    )]
    UnknownKeyword(String),
    /// A keyword of libpq's that this program does not offer.
    #[error("connection string: the keyword {0:?} is not supported here; leave it out")]
    Unsupported(String),
    /// A value that the keyword does not allow.
    #[error("connection string: {keyword} has a wrong value; {expected} is expected")]
    Value {
        /// The keyword.
        keyword: String,
        /// What is allowed.
        expected: &'static str,
    },
}

/// Keywords and values in the order in which they were given; a later one wins.
pub(super) type Settings = Vec<(String, String)>;

/// The keywords that have an effect here.
pub(super) const KEYWORDS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "connect_timeout",
    "application_name",
    "fallback_application_name",
    "options",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslcrldir",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "channel_binding",
    "require_auth",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "client_encoding",
    "gssencmode",
];

/// libpq's other keywords: refused rather than ignored, because leaving out what somebody asked
/// for would weaken it unseen.
const UNSUPPORTED: &[&str] = &[
    "service",
    "servicefile",
    "replication",
    "sslpassword",
    "sslsni",
    "sslcompression",
    "sslcertmode",
    "sslnegotiation",
    "sslkeylogfile",
    "requirepeer",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "load_balance_hosts",
    "min_protocol_version",
    "max_protocol_version",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "scram_client_key",
    "scram_server_key",
];

fn syntax(text: impl Into<String>) -> ConninfoError {
    // It names the keyword before, which is whatever was read as one.
    ConninfoError::Syntax(printable(&text.into(), 300))
}

/// Whether the text is a URI.
pub(super) fn is_uri(text: &str) -> bool {
    text.starts_with("postgresql://") || text.starts_with("postgres://")
}

/// Reads `keyword = value` pairs. Errors name the keyword before, never a value: an unquoted
/// password with a blank in it would otherwise be quoted in half.
pub(super) fn keywords(text: &str) -> Result<Settings, ConninfoError> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let after = settings.last().map_or_else(
            || "at the beginning".to_owned(),
            |(k, _)| format!("after the value of {k}"),
        );
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let keyword = &rest[..end];
        rest = rest[end..]
            .trim_start()
            .strip_prefix('=')
            .ok_or_else(|| syntax(format!("a word without = {after}")))?
            .trim_start();
        if keyword.is_empty() {
            return Err(syntax(format!("= without a keyword {after}")));
        }
        let (value, tail) = value(keyword, rest)?;
        settings.push((keyword.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(settings)
}

fn value<'a>(keyword: &str, text: &'a str) -> Result<(String, &'a str), ConninfoError> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let body = quoted.unwrap_or(text);
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted.is_some() {
        return Err(syntax(format!(
            "the quoted value of {keyword} does not end"
        )));
    }
    Ok((value, ""))
}

/// Reads `postgresql://user:password@host:port,host:port/dbname?keyword=value&…`.
pub(super) fn uri(text: &str) -> Result<Settings, ConninfoError> {
    let mut settings = Settings::new();
    let body = text.split_once("://").map_or(text, |(_, body)| body);
    let (body, query) = body.split_once('?').unwrap_or((body, ""));
    let (authority, path) = body.split_once('/').unwrap_or((body, ""));
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            push(&mut settings, "user", user)?;
            push(&mut settings, "password", password)?;
            hosts
        }
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for part in hosts.split(',') {
        let (name, port) = host_and_port(part)?;
        names.push(decoded(name)?);
        ports.push(port);
    }
    if names.iter().any(|name| !name.is_empty()) {
        settings.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        settings.push(("port".to_owned(), ports.join(",")));
    }
    push(&mut settings, "dbname", path)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair
            .split_once('=')
            .ok_or_else(|| syntax("a parameter after ? without ="))?;
        // The spelling of JDBC, which libpq accepts in URIs as well.
        if (keyword, value) == ("ssl", "true") {
            settings.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            settings.push((decoded(keyword)?, decoded(value)?));
        }
    }
    Ok(settings)
}

fn push(settings: &mut Settings, keyword: &str, value: &str) -> Result<(), ConninfoError> {
    if !value.is_empty() {
        settings.push((keyword.to_owned(), decoded(value)?));
    }
    Ok(())
}

fn host_and_port(part: &str) -> Result<(&str, &str), ConninfoError> {
    if let Some(rest) = part.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| syntax("an IPv6 address without ]"))?;
        let port = match after {
            "" => "",
            _ => after
                .strip_prefix(':')
                .ok_or_else(|| syntax("text between ] and the port"))?,
        };
        return Ok((address, port));
    }
    Ok(part.split_once(':').unwrap_or((part, "")))
}

fn decoded(text: &str) -> Result<String, ConninfoError> {
    let error = || syntax("a % that is not followed by two hexadecimal digits of a character");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|digit| char::from(digit).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or_else(error)
        };
        let (high, low) = (digit()?, digit()?);
        if (high, low) == (0, 0) {
            return Err(error());
        }
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| error())
}

fn wrong(keyword: &str, expected: &'static str) -> ConninfoError {
    ConninfoError::Value {
        keyword: keyword.to_owned(),
        expected,
    }
}

/// Gives the keywords their meaning.
pub(super) fn settings(settings: Settings) -> Result<Conninfo, ConninfoError> {
    let mut info = Conninfo::default();
    let (mut hosts, mut addresses, mut ports) = (String::new(), String::new(), String::new());
    let mut fallback_name = None;
    for (keyword, value) in settings {
        match keyword.as_str() {
            "host" => hosts = value,
            "hostaddr" => addresses = value,
            "port" => ports = value,
            "fallback_application_name" => fallback_name = text(value),
            _ => setting(&mut info, &keyword, value)?,
        }
    }
    info.servers = servers(&hosts, &addresses, &ports)?;
    info.application_name = info.application_name.or(fallback_name);
    together(&info)?;
    Ok(info)
}

fn setting(info: &mut Conninfo, keyword: &str, value: String) -> Result<(), ConninfoError> {
    match keyword {
        "dbname" => info.dbname = text(value),
        "user" => info.user = text(value),
        "password" => info.password = text(value).map(Secret::new),
        "passfile" => info.passfile = text(value).map(PathBuf::from),
        "application_name" => info.application_name = text(value),
        "options" => info.options = text(value),
        "sslrootcert" => info.sslrootcert = text(value).map(PathBuf::from),
        "sslcert" => info.sslcert = text(value).map(PathBuf::from),
        "sslkey" => info.sslkey = text(value).map(PathBuf::from),
        "sslmode" => info.sslmode = sslmode(&value)?,
        "sslcrl" => info.sslcrl = text(value).map(PathBuf::from),
        "sslcrldir" => info.sslcrldir = text(value).map(PathBuf::from),
        "ssl_min_protocol_version" => info.ssl_min = protocol(keyword, &value)?,
        "ssl_max_protocol_version" => info.ssl_max = protocol(keyword, &value)?,
        "channel_binding" => info.channel_binding = binding(&value)?,
        "require_auth" => {
            info.require_auth = value.parse().map_err(|expected| wrong(keyword, expected))?;
        }
        "target_session_attrs" => info.target = target(&value)?,
        "connect_timeout" => info.connect_timeout = seconds(keyword, &value)?,
        "keepalives_idle" => info.keepalives.idle = seconds(keyword, &value)?,
        "keepalives_interval" => info.keepalives.interval = seconds(keyword, &value)?,
        "keepalives" => info.keepalives.on = number(keyword, &value)? != 0,
        "keepalives_count" => {
            info.keepalives.count = u32::try_from(number(keyword, &value)?)
                .ok()
                .filter(|count| *count > 0);
        }
        "tcp_user_timeout" => {
            info.tcp_user_timeout = u64::try_from(number(keyword, &value)?)
                .ok()
                .filter(|time| *time > 0)
                .map(Duration::from_millis);
        }
        // Texts are always UTF-8 on this connection, and it is never encrypted by Kerberos.
        "client_encoding"
            if ["auto", "utf8", "utf-8", "unicode"].contains(&value.to_lowercase().as_str()) => {}
        "client_encoding" => return Err(wrong(keyword, "UTF8 or auto")),
        "gssencmode" if ["disable", "prefer"].contains(&value.as_str()) => {}
        "gssencmode" => return Err(wrong(keyword, "disable or prefer")),
        _ if UNSUPPORTED.contains(&keyword) => {
            return Err(ConninfoError::Unsupported(keyword.to_owned()));
        }
        _ => return Err(ConninfoError::UnknownKeyword(keyword.to_owned())),
    }
    Ok(())
}

fn text(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

fn number(keyword: &str, value: &str) -> Result<i64, ConninfoError> {
    value
        .trim()
        .parse()
        .map_err(|_| wrong(keyword, "a whole number"))
}

/// Zero, a negative number or an empty text mean no limit.
fn seconds(keyword: &str, value: &str) -> Result<Option<Duration>, ConninfoError> {
    if value.is_empty() {
        return Ok(None);
    }
    Ok(u64::try_from(number(keyword, value)?)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs))
}

fn sslmode(value: &str) -> Result<SslMode, ConninfoError> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" | "" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return Err(wrong(
                "sslmode",
                "disable, allow, prefer, require, verify-ca or verify-full",
            ));
        }
    })
}

fn binding(value: &str) -> Result<Binding, ConninfoError> {
    Ok(match value {
        "disable" => Binding::Disable,
        "prefer" | "" => Binding::Prefer,
        "require" => Binding::Require,
        _ => return Err(wrong("channel_binding", "disable, prefer or require")),
    })
}

/// An empty text means any.
fn protocol(keyword: &str, value: &str) -> Result<Option<TlsVersion>, ConninfoError> {
    Ok(Some(match value.to_ascii_lowercase().as_str() {
        "" => return Ok(None),
        "tlsv1" => TlsVersion::V1,
        "tlsv1.1" => TlsVersion::V1_1,
        "tlsv1.2" => TlsVersion::V1_2,
        "tlsv1.3" => TlsVersion::V1_3,
        _ => return Err(wrong(keyword, "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3")),
    }))
}

/// Refuses what would leave out, unseen, what the text asks for.
fn together(info: &Conninfo) -> Result<(), ConninfoError> {
    let needs = |condition: bool, expected: &'static str| match condition {
        true => Err(wrong("sslmode", expected)),
        false => Ok(()),
    };
    // libpq: weak verification with the system's roots would let anyone in who owns any domain.
    needs(
        info.sslrootcert.as_deref() == Some(std::path::Path::new("system"))
            && info.sslmode != SslMode::VerifyFull,
        "verify-full (because of sslrootcert=system)",
    )?;
    needs(
        (info.sslcrl.is_some() || info.sslcrldir.is_some()) && info.sslmode < SslMode::VerifyCa,
        "verify-ca or verify-full (because of sslcrl: only a certificate that is checked can be a revoked one)",
    )?;
    needs(
        info.channel_binding == Binding::Require && info.sslmode == SslMode::Disable,
        "prefer or stricter (because of channel_binding=require)",
    )?;
    if let (Some(least), Some(most)) = (info.ssl_min, info.ssl_max) {
        if least > most {
            return Err(wrong(
                "ssl_max_protocol_version",
                "a version that is not older than ssl_min_protocol_version (TLSv1.2 where it is not given)",
            ));
        }
    }
    Ok(())
}

fn target(value: &str) -> Result<TargetSession, ConninfoError> {
    Ok(match value {
        "any" | "" => TargetSession::Any,
        "read-write" => TargetSession::ReadWrite,
        "read-only" => TargetSession::ReadOnly,
        "primary" => TargetSession::Primary,
        "standby" => TargetSession::Standby,
        "prefer-standby" => TargetSession::PreferStandby,
        _ => {
            return Err(wrong(
                "target_session_attrs",
                "any, read-write, read-only, primary, standby or prefer-standby",
            ));
        }
    })
}

fn list(text: &str) -> Vec<&str> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(str::trim).collect()
}

/// The most servers of one connection string: each gets its share of an operation's time.
const MOST_SERVERS: usize = 32;

/// Pairs hosts, addresses and ports as libpq does: the lists have the same length, except that one
/// port serves all.
fn servers(hosts: &str, addresses: &str, ports: &str) -> Result<Vec<Server>, ConninfoError> {
    let (hosts, addresses, ports) = (list(hosts), list(addresses), list(ports));
    if hosts.len().max(addresses.len()) > MOST_SERVERS {
        return Err(wrong(
            "host",
            "a list of at most 32 servers (each is tried in its turn, and they share the time)",
        ));
    }
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(wrong("hostaddr", "as many addresses as there are hosts"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(wrong("port", "one port, or as many as there are hosts"));
    }
    (0..count)
        .map(|index| {
            let port = match ports.get(index).or(ports.first()).copied() {
                None | Some("") => 5432,
                Some(text) => text
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| wrong("port", "a number from 1 to 65535"))?,
            };
            let hostaddr = match addresses.get(index).copied() {
                None | Some("") => None,
                Some(text) => Some(
                    text.parse::<IpAddr>()
                        .map_err(|_| wrong("hostaddr", "an IP address"))?,
                ),
            };
            Ok(match (hosts.get(index).copied(), hostaddr) {
                (None | Some(""), None) => default_server(port),
                (None | Some(""), Some(address)) => Server {
                    host: address.to_string(),
                    hostaddr,
                    port,
                },
                (Some(host), _) => Server {
                    host: host.to_owned(),
                    hostaddr,
                    port,
                },
            })
        })
        .collect()
}
