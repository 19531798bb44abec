//! From an action to its effect. One exhaustive match; each arm bounded.

use std::path::Path;
use std::time::Duration;

use pha_core::decide::{Escalation, guard, time_to_stop};
use pha_core::lineage::{Held, Lineage, Record};
use pha_core::names::{NodeAttribute, NodeName};
use pha_core::parse::standby_names::Waits;
use pha_core::plan::{Action, Attribute, Effect, StopMode};
use pha_core::register::{Decided, PromisedAt, all_promised};
use pha_core::snapshot::{Arbiter, ChangeLock, Operation, Snapshot};
use pha_core::status::DataStatus;
use pha_core::whose;
use tracing::warn;

use crate::clock::{Deadline, since_boot};
use crate::lock_external;
use crate::node::{self, Node};
use crate::own;
use crate::pacemaker::Pacemaker;
use crate::pgconf;
use crate::pgctl::{self, Stopped};
use crate::restore;

/// How long an operation may ask for promises, at most. A node without power answers nothing, and the
/// operation has other things to do.
const ASK: Duration = Duration::from_secs(8);

/// How long one exchange with the lock service may take, at most: a service that hangs must leave
/// time for what does not need it.
const LOCK_BUDGET: Duration = Duration::from_secs(3);

/// How long it may take to see that PostgreSQL has taken up for whom commits wait.
const TAKE_UP: Duration = Duration::from_secs(3);

/// How long the cluster may take to be told how far the register has come: commits wait for it.
const TELL: Duration = Duration::from_secs(2);

/// How long the cluster may take to settle who its members are before the next monitor asks again: longer
/// than corosync's token and consensus are by default.
const SETTLE: Duration = Duration::from_secs(10);

/// How long the naming of a standby may take to come into force before the next monitor goes on.
const IN_FORCE_BUDGET: Duration = Duration::from_secs(10);

pub(crate) fn perform(
    node: &mut Node,
    action: &Action,
    snapshot: &Snapshot,
    deadline: Deadline,
) -> Result<Effect, String> {
    let done = |result: Result<(), String>| result.map(|()| Effect::Done);
    match action {
        Action::Announce(name) => done(
            node.pacemaker
                .set_permanent(
                    &node.settings.me,
                    &node.settings.resource.attribute(NodeAttribute::Incarnation),
                    name.as_str(),
                    deadline,
                )
                .map_err(text),
        ),
        // A server that is started reads them.
        Action::WriteStandbySettings(_) => done(node.write_standby(action, None)),
        Action::OpenStandby(_) | Action::CloseStandby(_) | Action::CatchUp { .. } => {
            done(node.write_standby(action, Some(deadline)))
        }
        Action::WritePrimarySettings => done(node.write_primary(Waits::ForNobody)),
        Action::KeepRecord { lineage, held } => done(node.keep_record(lineage, *held)),
        Action::SetHistoriesAside(strays) => {
            done(node.pg.set_histories_aside(strays).map_err(text))
        }
        Action::ReserveTimelines(highest) => {
            done(node.pg.reserve_timelines(*highest).map_err(text))
        }
        Action::SetNames(waits) => done(node.set_names(waits.clone(), deadline)),
        Action::WriteNames(waits) => done(node.write_primary(waits.clone())),
        Action::TakeBarrier { waits, .. } => node.take_barrier(waits, deadline),
        Action::KeepLinks(kept) => done(node.place.keep_links(kept)),
        Action::EndLinks(links) => done(
            node.postgres
                .end_links(&node.pg, links, deadline)
                .map_err(text),
        ),
        Action::StartPostgres(name) => {
            node.place.forget_stop();
            let incarnation = name.as_ref().filter(|name| name.is_incarnation());
            // A primary is started under no name.
            let started = match name {
                Some(_) => node.pg.start_standby(incarnation, deadline),
                None => node.pg.start(None, deadline),
            };
            done(started.map(drop).map_err(text))
        }
        Action::StopPostgres(mode) => done(node.stop(*mode, snapshot, deadline)),
        Action::EndNames => done(node.end_names()),
        Action::PromotePostgres => done(node.pg.promote(deadline).map_err(text)),
        Action::EnsureSlots(slots) => done(slots.iter().try_for_each(|slot| {
            node.postgres
                .ensure_physical_slot(slot, deadline)
                .map(drop)
                .map_err(text)
        })),
        Action::DropSlots(slots) => done(slots.iter().try_for_each(|slot| {
            node.postgres
                .ensure_no_slot(slot, deadline)
                .map(drop)
                .map_err(text)
        })),
        Action::RestartReceiver(pid) => done(node.end_receiver(*pid)),
        Action::ReadDisk => {
            // What stops has more to do than to look at a disk that may be failing.
            let deadline = match snapshot.operation {
                Operation::Stop | Operation::Demote { .. } => {
                    deadline.sub_budget(deadline.left() / 3)
                }
                _ => deadline,
            };
            node.pg.look(deadline).map(Effect::Disk)
        }
        Action::ReadRegister => {
            let deadline = node.lock_deadline(deadline);
            Ok(Effect::Register(node.lock()?.read(deadline)))
        }
        Action::UpdateRegister(update) => {
            let deadline = node.lock_deadline(deadline);
            Ok(Effect::Reply(node.lock()?.update(update, deadline)))
        }
        Action::AskPromises(ask) => {
            // The guard has set its own.
            let deadline = match snapshot.operation {
                Operation::Guard(_) => deadline,
                _ => deadline.sub_budget(ASK.min(deadline.left() / 2)),
            };
            let answers = node.ask_promises(ask, deadline)?;
            if all_promised(ask, &answers)
                && let Err(error) = node.place.promised(PromisedAt {
                    term: ask.term,
                    epoch: ask.epoch,
                })
            {
                warn!("the guard does not learn of the promises: {error}");
            }
            Ok(Effect::Promises(answers))
        }
        Action::UsePromises {
            term,
            epoch,
            restart,
        } => done(
            node.memory
                .use_promises(*term, *epoch, *restart)
                .map(drop)
                .map_err(text),
        ),
        Action::WithdrawPromises(withdrawal) => {
            let deadline = match snapshot.operation {
                Operation::Guard(_) => deadline,
                _ => deadline.sub_budget(guard::WITHDRAWAL.min(deadline.left() / 4)),
            };
            done(node.withdraw_promises(withdrawal, deadline))
        }
        // The loop keeps the memory durably as soon as it has changed.
        Action::Remember(_) => Ok(Effect::Done),
        Action::LockExternal => Ok(Effect::External(lock_external::obtain(
            &node.params,
            &node.settings.me,
            &node.settings.resource.lock_owner(&node.settings.me),
            deadline,
        ))),
        Action::UnlockExternal => done(lock_external::release(
            &node.params,
            &node.settings.resource.lock_owner(&node.settings.me),
            deadline,
        )),
        Action::SetAttribute(whose, attribute) => {
            done(node.set_attribute(whose, attribute, snapshot, deadline))
        }
        Action::WriteReplInfo(info) => {
            done(node.pacemaker.set_repl_info(info, deadline).map_err(text))
        }
        Action::WriteSeen(seen) => {
            // Commits wait for it where a standby is lost, and a cluster that elects its coordinator
            // takes nothing until it has one.
            let deadline = deadline.sub_budget(TELL);
            done(node.pacemaker.set_seen(*seen, deadline).map_err(text))
        }
        Action::AskQuorum(_) => {
            // The guard has set its own.
            let deadline = match snapshot.operation {
                Operation::Guard(_) => deadline,
                _ => deadline.sub_budget(SETTLE.min(deadline.left() / 3)),
            };
            // What a primary's data status is anyhow.
            let name = node.settings.resource.attribute(NodeAttribute::DataStatus);
            let value = DataStatus::Latest.to_string();
            let asked = node
                .pacemaker
                .settled_quorum(&node.settings.me, &name, &value, deadline);
            asked.map(Effect::Quorum).map_err(text)
        }
        Action::StartAttendant => done(node.start_attendant()),
        Action::StartGuard => done(node.start_guard(deadline)),
        Action::EndGuard => done(node.end_guard(deadline)),
        Action::ReportDeath => done(
            node.pacemaker
                .look_now(&node.settings.me, deadline)
                .map_err(text),
        ),
        // The guard does it over the connection that it keeps.
        Action::AskStandbys(_) => Err("only the guard asks the standbys".to_owned()),
        Action::TakeChangeLock(within) => {
            node.changing = None;
            let who = format!("expgsql {}", snapshot.operation.word());
            let held = node.change_lock.take(&who, deadline.sub_budget(*within));
            let held = held.map_err(text)?;
            let lock = ChangeLock::got(node.change_seen, held.before);
            node.changing = Some(held);
            Ok(Effect::ChangeLock(lock))
        }
        Action::ReleaseChangeLock => {
            let held = node.changing.take();
            node.change_seen = held.map(|held| held.before.wrapping_add(1));
            Ok(Effect::Done)
        }
        Action::Confirm(decided) => done(node.confirm(*decided, deadline)),
        Action::Warn(message) => {
            warn!("{message}");
            Ok(Effect::Done)
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Node {
    fn end_receiver(&self, pid: u32) -> Result<(), String> {
        let pid = i32::try_from(pid).map_err(text)?;
        self.pg.end_receiver(pid).map_err(text)
    }

    fn lock(&mut self) -> Result<&mut crate::lock::LockService, String> {
        self.lock
            .as_mut()
            .ok_or_else(|| "no built-in lock service is configured".to_owned())
    }

    /// Asks once more for what the next effect was decided from.
    fn confirm(&mut self, decided: Decided, deadline: Deadline) -> Result<(), String> {
        let memory = self.memory.load().map_err(text)?;
        let reading = match decided.by_memory {
            true => None,
            false => {
                let deadline = self.lock_deadline(deadline);
                Some(self.lock()?.read(deadline))
            }
        };
        decided.holds(&self.settings.me, reading.as_ref(), &memory)
    }

    fn lock_deadline(&self, deadline: Deadline) -> Deadline {
        deadline.sub_budget(
            self.lock_budget
                .unwrap_or(LOCK_BUDGET.min(deadline.left() / 2)),
        )
    }

    /// Writes the settings of a standby, and has the server take them up within this time where one runs. What only
    /// a promotion has in them is marked before, and until what every standby has is read again: this process may be
    /// killed in between.
    fn write_standby(&self, action: &Action, running: Option<Deadline>) -> Result<(), String> {
        let wanted = action.standby_settings(&self.settings);
        let wanted = wanted.ok_or("no settings of a standby")?;
        if wanted.upstream.is_some() {
            let version = self.pg.data_version().map_err(text)?;
            let reloads = version.reloads_primary_conninfo();
            let why = whose::not_by_reload(wanted.upstream, &version.to_string(), reloads);
            why.map_or(Ok(()), Err)?;
        }
        let closed = wanted.is_closed(&self.settings);
        if !closed && let Err(why) = self.place.standby_is_changed() {
            if !whose::goes_unmarked(&wanted) {
                return Err(why);
            }
            warn!("that the standby's settings are changed cannot be marked: {why}");
        }
        let names = wanted.names.to_string();
        self.write_settings(&pgconf::Settings {
            standby: true,
            plain_name: whose::in_file(wanted.name).cloned(),
            names: wanted.names,
            restore_command: self.restore_through_us()?,
            upstream: wanted.upstream.cloned(),
        })?;
        if let Some(deadline) = running {
            self.reload_standby(&names, deadline)?;
        }
        if closed {
            self.place.standby_is_closed();
        }
        Ok(())
    }

    fn write_primary(&self, names: Waits) -> Result<(), String> {
        self.write_settings(&pgconf::Settings {
            standby: false,
            plain_name: None,
            names,
            restore_command: self.restore_through_us()?,
            upstream: None,
        })
    }

    fn write_settings(&self, settings: &pgconf::Settings) -> Result<(), String> {
        let me = &self.settings.me;
        pgconf::ensure(&self.pg, &self.params, me, &self.names, settings)
            .map(drop)
            .map_err(text)
    }

    fn set_names(&mut self, names: Waits, deadline: Deadline) -> Result<(), String> {
        let value = names.to_string();
        self.write_primary(names)?;
        self.told = Some(since_boot());
        let deadline = deadline.sub_budget(TAKE_UP.min(deadline.left() / 4));
        self.postgres
            .take_up_sync_names(&self.pg, &value, deadline)
            .map_err(text)
    }

    /// `restore_command`, where the administrator has one and timelines have names: what this node knows
    /// of them is written down for it first.
    fn restore_through_us(&self) -> Result<Option<String>, String> {
        let Some(command) = &self.params.restore_command else {
            return Ok(None);
        };
        if self.settings.arbiter != Arbiter::Builtin {
            return Ok(None);
        }
        let record = self.record.load().map_err(text)?;
        let plan = restore::Plan {
            command: command.clone(),
            known: record.map(|record| record.lineage).unwrap_or_default(),
        };
        let file = restore::plan_file(&self.params);
        let _ = own::ensure_directory_for(&self.pg.user, Path::new(&self.params.tmpdir), 0o755)
            .map_err(text)?;
        let written = self.pg.user.files().ensure(&file, &plan.render()?, 0o600);
        let _ = written.map_err(text)?;
        restore::setting(&file).map(Some)
    }

    fn keep_record(&self, lineage: &Lineage, held: Held) -> Result<(), String> {
        let system = pgctl::system_identifier(&self.pg.user, &self.pg.pgdata)
            .ok_or_else(|| "the control file cannot be read".to_owned())?;
        let record = Record {
            system,
            lineage: lineage.clone(),
            held,
        };
        self.record.store(&record).map_err(text)?;
        self.restore_through_us().map(drop)
    }

    /// Has a standby read its settings, and sees that it has taken them up.
    fn reload_standby(&self, names: &str, deadline: Deadline) -> Result<(), String> {
        let deadline = deadline.sub_budget(TAKE_UP.min(deadline.left() / 4));
        let taken = self.postgres.take_up_standby(&self.pg, names, deadline);
        taken.map_err(text)
    }

    fn take_barrier(&self, waits: &Waits, deadline: Deadline) -> Result<Effect, String> {
        let deadline = deadline.sub_budget(IN_FORCE_BUDGET.min(deadline.left() / 2));
        self.postgres
            .await_sync_names_in_force(&self.pg, &waits.to_string(), deadline)
            .map_err(text)?;
        let barrier = self.postgres.write_barrier(deadline).map_err(text)?;
        Ok(Effect::Barrier(barrier))
    }

    /// Stops PostgreSQL in one of the ways, within its time ([`time_to_stop`]).
    fn stop(&self, mode: StopMode, snapshot: &Snapshot, deadline: Deadline) -> Result<(), String> {
        let escalation = Escalation {
            primary: self.params.stop_escalate,
            standby: self.params.stop_escalate_in_slave,
        };
        let share = time_to_stop(mode, snapshot.standby_signal, escalation, deadline.left());
        let stopped = self.pg.stop(mode, deadline.sub_budget(share));
        match stopped.map_err(text)? {
            Stopped::WasNotRunning | Stopped::Ended => {
                // Nobody is to start it again as it was but the agent, which writes it anew.
                if let Err(error) = self.end_names() {
                    warn!("who starts PostgreSQL by hand finds commits waiting as before: {error}");
                }
                Ok(())
            }
            Stopped::StillRunning(left) => {
                let pids: Vec<String> = left
                    .iter()
                    .map(|process| process.pid().to_string())
                    .collect();
                Err(format!(
                    "PostgreSQL did not stop ({mode:?}); processes left: {}",
                    pids.join(", ")
                ))
            }
        }
    }

    fn end_names(&self) -> Result<(), String> {
        node::end_names(&self.settings.resource).map_err(text)
    }

    fn set_attribute(
        &self,
        whose: &NodeName,
        attribute: &Attribute,
        snapshot: &Snapshot,
        deadline: Deadline,
    ) -> Result<(), String> {
        let resource = &self.settings.resource;
        // Where time counts a value is set at once. A monitor, which comes again and again and
        // seldom finds anything to change, also mends what was lost.
        let recurring = matches!(snapshot.operation, Operation::Monitor { .. });
        let transient = |name: &str, value: String| {
            let set = if recurring {
                Pacemaker::restore_transient
            } else {
                Pacemaker::set_transient
            };
            set(&self.pacemaker, whose, name, &value, deadline).map_err(text)
        };
        let own = |of, value| transient(&resource.attribute(of), value);
        match attribute {
            Attribute::Status(status) => own(NodeAttribute::Status, status.to_string()),
            Attribute::Score(score) => {
                transient(&resource.promotion_attribute(), score.to_string())
            }
            Attribute::Baseline(lsn) => own(NodeAttribute::MasterBaseline, lsn.to_hex16()),
            Attribute::Receiver(status) => own(NodeAttribute::ReceiverStatus, status.clone()),
            Attribute::Guard(status) => own(NodeAttribute::Guard, status.to_string()),
            Attribute::Unfit(unfit) => {
                let said = unfit.as_ref().map(ToString::to_string);
                own(NodeAttribute::Unfit, said.unwrap_or_default())
            }
            Attribute::Flushed(flushed) => self
                .pacemaker
                .set_transient(
                    whose,
                    &resource.attribute(NodeAttribute::Flushed),
                    &flushed.to_string(),
                    deadline,
                )
                .map_err(text),
            Attribute::Position(position) => {
                own(NodeAttribute::Timeline, position.timeline.to_string())?;
                own(NodeAttribute::XlogLoc, position.lsn.to_hex16())
            }
            Attribute::DataStatus(status) => self
                .pacemaker
                .set_permanent(
                    whose,
                    &resource.attribute(NodeAttribute::DataStatus),
                    &status.to_string(),
                    deadline,
                )
                .map_err(text),
        }
    }
}
