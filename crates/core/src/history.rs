//! What the register's history tells: who was primary, what happened, and what it cost.
//!
//! A trigger of the lock service's table keeps the row after each change ([`Entry`]). What happened is
//! derived here from entries that follow each other, so that it is told in the same way of what older
//! versions have written, as far as that goes: nothing of it is decided when the row is changed, and no
//! decision of the agent reads it.

mod derive;
mod entry;
mod event;
mod html;
mod moment;
mod words;

pub use derive::events;
pub use entry::{Before, Entry, NOTE, Operator, Reason};
pub use html::{Page, html};
pub use moment::Moment;
pub use words::Summary;

pub use event::{Cause, Event, Kind, Loss, Outage};

#[cfg(test)]
mod tests;
