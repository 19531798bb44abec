//! The output of `pg_controldata`, started with `LC_ALL=C`.
//!
//! Its labels are the same in PostgreSQL 10 to 18. Before 9.6 the WAL was called otherwise.

use std::collections::HashMap;

use crate::limits::Limits;
use crate::lsn::Lsn;
use crate::quoted::quoted;
use crate::text_enum::text_enum;
use crate::timeline::{History, TimelineId, WalPosition};

text_enum! {
    /// `Database cluster state`, as `pg_control` was last written.
    State, "database cluster state" {
        /// Starting up, nothing replayed yet.
        StartingUp = "starting up",
        /// A primary that was shut down cleanly.
        ShutDown = "shut down",
        /// A standby that was shut down cleanly.
        ShutDownInRecovery = "shut down in recovery",
        /// A primary that is writing its shutdown checkpoint.
        ShuttingDown = "shutting down",
        /// Recovering from a crash.
        InCrashRecovery = "in crash recovery",
        /// A standby, or a recovery from an archive; also after a standby's crash.
        InArchiveRecovery = "in archive recovery",
        /// A primary; also after a primary's crash.
        InProduction = "in production",
    }
}

/// How the WAL is laid out, as fixed when the cluster was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalGeometry {
    /// Bytes of a segment file: a power of two from 1 MiB to 1 GiB.
    pub segment_bytes: u32,
    /// Bytes of a page: a power of two from 1 KiB to 64 KiB, nearly always 8 KiB.
    pub page_bytes: u32,
}

impl WalGeometry {
    /// What `initdb` makes unless told otherwise: 16 MiB and 8 KiB.
    pub const DEFAULT: Self = Self {
        segment_bytes: 16 << 20,
        page_bytes: 8 << 10,
    };

    /// The beginning of the segment that holds a position.
    #[must_use]
    pub fn segment_start(self, lsn: Lsn) -> Lsn {
        Lsn::new(lsn.as_u64() - lsn.as_u64() % u64::from(self.segment_bytes))
    }

    /// The name of the segment file that holds a position.
    #[must_use]
    pub fn segment_file(self, timeline: TimelineId, lsn: Lsn) -> String {
        let segment = lsn.as_u64() / u64::from(self.segment_bytes);
        let per_name = (1u64 << 32) / u64::from(self.segment_bytes);
        format!(
            "{:08X}{:08X}{:08X}",
            timeline.get(),
            segment / per_name,
            segment % per_name
        )
    }
}

/// What the agent needs of `pg_control`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlData {
    /// The state at the last write.
    pub state: State,
    /// Made by `initdb`; equal on a primary and its standbys and different everywhere else.
    pub system_identifier: u64,
    /// The latest checkpoint record; after a clean shutdown the shutdown checkpoint.
    pub checkpoint: Lsn,
    /// Where recovery would begin.
    pub redo: Lsn,
    /// The timeline of the latest checkpoint. The WAL may have gone on to a newer one.
    pub checkpoint_timeline: TimelineId,
    /// How far a standby has to replay before it is consistent; `None` on a primary.
    pub min_recovery_end: Option<WalPosition>,
    /// Whether the data are a base backup whose end has not been replayed yet.
    pub backup_in_progress: bool,
    /// The version of the file's format.
    pub pg_control_version: u32,
    /// The version of the system catalogue, different in every major version.
    pub catalog_version: u32,
    /// Size of WAL segments and pages.
    pub wal: WalGeometry,
    /// Whether data pages have checksums.
    pub checksums: bool,
    /// The setting that, without checksums, `pg_rewind` needs.
    pub wal_log_hints: bool,
    /// The limits of the primary, as its WAL said last.
    pub limits: Limits,
}

impl ControlData {
    /// Whether `pg_rewind` can work on these data.
    #[must_use]
    pub const fn can_be_rewound(&self) -> bool {
        self.checksums || self.wal_log_hints
    }

    /// Whether these data may have gone on to a timeline: it goes through their latest checkpoint and
    /// through what a standby has replayed. They have diverged from one that began before either, also
    /// where a WAL file of its number lies in `pg_wal`: a number may have been given twice (R13).
    #[must_use]
    pub fn may_be_on(&self, history: &History) -> bool {
        let checkpoint = WalPosition {
            timeline: self.checkpoint_timeline,
            lsn: self.checkpoint,
        };
        let mut known = std::iter::once(checkpoint).chain(self.min_recovery_end);
        known.all(|position| history.passes(position))
    }
}

/// A text that `pg_controldata` is not known to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlDataError {
    /// It warns, for instance that the checksum of the file is wrong.
    #[error("pg_controldata warns: {}; pg_control is damaged, restore or rebuild this data directory", quoted(.0))]
    Warning(String),
    /// A line without a label.
    #[error("pg_controldata printed {}, not a label and a value; is it started with LC_ALL=C?", quoted(.0))]
    NoLabel(String),
    /// A label twice.
    #[error("pg_controldata printed {0:?} twice")]
    Twice(String),
    /// A label that is needed.
    #[error(
        "pg_controldata printed no {0:?}; is it started with LC_ALL=C, and PostgreSQL 10 or newer?"
    )]
    Missing(&'static str),
    /// A value that cannot be.
    #[error("pg_controldata printed {label}: {}, but {expected} is expected", quoted(.value))]
    Value {
        /// The label.
        label: &'static str,
        /// The value.
        value: String,
        /// What could be understood.
        expected: &'static str,
    },
}

/// Reads the output of `LC_ALL=C pg_controldata`.
///
/// # Errors
/// [`ControlDataError`] quotes what is missing or not understood.
pub fn parse(text: &str) -> Result<ControlData, ControlDataError> {
    let fields = Fields::read(text)?;
    let end = fields.lsn("Minimum recovery ending location")?;
    let end_timeline_label = "Min recovery ending loc's timeline";
    let end_timeline = fields.number::<u32>(end_timeline_label)?;
    let min_recovery_end = match (end.is_valid(), TimelineId::new(end_timeline)) {
        (false, None) => None,
        (true, Some(timeline)) => Some(WalPosition { timeline, lsn: end }),
        _ => {
            return Err(fields.error(
                end_timeline_label,
                "a timeline exactly where there is a minimum recovery ending location",
            ));
        }
    };
    Ok(ControlData {
        state: fields.read_as("Database cluster state", "a state of PostgreSQL 10 to 18")?,
        system_identifier: fields.number("Database system identifier")?,
        checkpoint: fields.lsn("Latest checkpoint location")?,
        redo: fields.lsn("Latest checkpoint's REDO location")?,
        checkpoint_timeline: fields.read_as("Latest checkpoint's TimeLineID", "a timeline")?,
        min_recovery_end,
        backup_in_progress: fields.lsn("Backup start location")?.is_valid()
            || fields.lsn("Backup end location")?.is_valid()
            || fields.flag("End-of-backup record required", "yes", "no")?,
        pg_control_version: fields.number("pg_control version number")?,
        catalog_version: fields.number("Catalog version number")?,
        wal: WalGeometry {
            segment_bytes: fields.power_of_two("Bytes per WAL segment", 1 << 20, 1 << 30)?,
            page_bytes: fields.power_of_two("WAL block size", 1 << 10, 1 << 16)?,
        },
        checksums: fields.number::<u32>("Data page checksum version")? != 0,
        wal_log_hints: fields.flag("wal_log_hints setting", "on", "off")?,
        limits: Limits::from_values([
            fields.number("max_connections setting")?,
            fields.number("max_worker_processes setting")?,
            fields.number("max_wal_senders setting")?,
            fields.number("max_prepared_xacts setting")?,
            fields.number("max_locks_per_xact setting")?,
        ]),
    })
}

/// Labels and values. New versions add labels, so unknown ones are left alone.
struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, ControlDataError> {
        let mut fields = HashMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if line.starts_with("WARNING") {
                return Err(ControlDataError::Warning(line.to_owned()));
            }
            let (label, value) = line
                .split_once(':')
                .ok_or_else(|| ControlDataError::NoLabel(line.to_owned()))?;
            if fields.insert(label, value.trim()).is_some() {
                return Err(ControlDataError::Twice(label.to_owned()));
            }
        }
        Ok(Self(fields))
    }

    fn get(&self, label: &'static str) -> Result<&'a str, ControlDataError> {
        self.0
            .get(label)
            .copied()
            .ok_or(ControlDataError::Missing(label))
    }

    fn error(&self, label: &'static str, expected: &'static str) -> ControlDataError {
        ControlDataError::Value {
            label,
            value: self.0.get(label).copied().unwrap_or_default().to_owned(),
            expected,
        }
    }

    fn read_as<T: std::str::FromStr>(
        &self,
        label: &'static str,
        expected: &'static str,
    ) -> Result<T, ControlDataError> {
        self.get(label)?
            .parse()
            .map_err(|_| self.error(label, expected))
    }

    fn lsn(&self, label: &'static str) -> Result<Lsn, ControlDataError> {
        self.read_as(label, "a WAL position like 0/70000D0")
    }

    fn number<T: std::str::FromStr>(&self, label: &'static str) -> Result<T, ControlDataError> {
        // FromStr of the integers also takes a plus sign, which pg_controldata never writes.
        if self.get(label)?.starts_with('+') {
            return Err(self.error(label, "a number"));
        }
        self.read_as(label, "a number")
    }

    fn flag(
        &self,
        label: &'static str,
        on: &'static str,
        off: &'static str,
    ) -> Result<bool, ControlDataError> {
        match self.get(label)? {
            value if value == on => Ok(true),
            value if value == off => Ok(false),
            _ => Err(self.error(label, "yes or no, on or off")),
        }
    }

    fn power_of_two(
        &self,
        label: &'static str,
        least: u32,
        most: u32,
    ) -> Result<u32, ControlDataError> {
        let number: u32 = self.number(label)?;
        if number.is_power_of_two() && (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(self.error(label, "a power of two that PostgreSQL allows"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUNNING: &str = include_str!("samples/controldata-15.txt");

    #[test]
    fn a_real_output_is_read() {
        let data = parse(RUNNING).unwrap();
        assert_eq!(data.state, State::InProduction);
        assert_eq!(data.system_identifier, 7_711_122_782_245_847_118);
        assert_eq!(data.redo, "0/1500708".parse().unwrap());
        assert_eq!(data.checkpoint_timeline, TimelineId::FIRST);
        assert_eq!(data.min_recovery_end, None);
        assert_eq!(
            (data.pg_control_version, data.catalog_version),
            (1300, 202_209_061)
        );
        assert_eq!(data.wal, WalGeometry::DEFAULT);
        assert!(!data.can_be_rewound() && !data.backup_in_progress);
    }

    #[test]
    fn every_state_is_known() {
        for state in State::ALL {
            let text = RUNNING.replace("in production", state.as_str());
            assert_eq!(parse(&text).unwrap().state, *state);
        }
    }

    #[test]
    fn a_standbys_end_of_recovery_has_a_timeline() {
        let text = RUNNING
            .replace("location:     0/0", "location:     0/70000D0")
            .replace("timeline:   0", "timeline:   3");
        let end = parse(&text).unwrap().min_recovery_end.unwrap();
        assert_eq!(
            (end.timeline.get(), end.lsn),
            (3, "0/70000D0".parse().unwrap())
        );
        let half = RUNNING.replace("timeline:   0", "timeline:   3");
        assert!(parse(&half).unwrap_err().to_string().contains("\"3\""));
    }

    #[test]
    fn unexpected_texts_are_quoted() {
        for (from, to, said) in [
            ("in production", "in Betrieb", "\"in Betrieb\""),
            ("0/1500708", "0-1500708", "\"0-1500708\""),
            ("TimeLineID:       1", "TimeLineID:       0", "\"0\""),
            ("16777216", "16777217", "\"16777217\""),
            (
                "hints setting:                off",
                "hints setting: maybe",
                "\"maybe\"",
            ),
            (
                "Database system identifier:",
                "Datenbanksystemidentifikation:",
                "Database system identifier",
            ),
            (
                "Catalog version number:",
                "pg_control version number:",
                "twice",
            ),
            (
                "pg_control version number:            1300",
                "WARNING: Calculated CRC checksum",
                "rebuild",
            ),
            (
                "pg_control version number:            1300",
                "no label here",
                "no label here",
            ),
        ] {
            let text = RUNNING.replacen(from, to, 10);
            assert_ne!(text, RUNNING, "{from}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn segment_files_are_named_as_postgresql_does() {
        let timeline = TimelineId::new(2).unwrap();
        let name = |lsn: &str| WalGeometry::DEFAULT.segment_file(timeline, lsn.parse().unwrap());
        assert_eq!(name("0/3000148"), "000000020000000000000003");
        assert_eq!(name("1/FF000000"), "0000000200000001000000FF");
        let small = WalGeometry {
            segment_bytes: 1 << 20,
            ..WalGeometry::DEFAULT
        };
        assert_eq!(
            small.segment_file(timeline, "1/FFF00000".parse().unwrap()),
            "000000020000000100000FFF"
        );
        assert_eq!(
            WalGeometry::DEFAULT.segment_start("0/3000148".parse().unwrap()),
            "0/3000000".parse().unwrap()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_damaged_output_panics(at in 0..RUNNING.len(), with in any::<String>()) {
            let mut text = RUNNING.to_owned();
            text.replace_range(at..=at, &with);
            let _ = parse(&text);
        }
    }
}
