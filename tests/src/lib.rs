//! Tests of the product as a whole; see `docs/development.md`.
//!
//! The library part is what several of them need: a private PostgreSQL, a network in
//! front of it that loses messages on demand, and clusters with what must agree in them.

pub mod agent;
pub mod cluster;
mod cluster_agree;
pub mod flaky;
pub mod manual;
pub mod pg;
pub mod schema;
