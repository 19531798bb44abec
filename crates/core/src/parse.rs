//! Strict readers of what PostgreSQL's and Pacemaker's tools and files say.
//!
//! Each takes the whole text and either understands it or returns an error that quotes what it did
//! not understand: nothing is guessed, and nothing is passed over that could change the meaning.

pub mod cib;
pub mod conffile;
pub mod controldata;
pub mod cpg;
pub mod history;
pub mod mounts;
pub mod server_view;
pub mod standby_names;
pub mod title;
pub mod waldump;
