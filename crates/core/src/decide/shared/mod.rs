//! Judgements that several tables share. The tables stand above them and never on each other.

pub(super) mod attributes;
pub(super) mod descent;
pub(super) mod election;
pub(super) mod ending;
pub(super) mod external;
pub(super) mod gate;
pub(super) mod give_back;
pub(super) mod halt;
pub(super) mod incarnation;
pub(super) mod kept_by_quorum;
pub(super) mod kin;
pub(super) mod launch;
pub(super) mod links;
pub(super) mod outage;
pub(super) mod ownership;
pub(super) mod quorum;
pub(super) mod standbys;
