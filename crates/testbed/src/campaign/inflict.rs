//! A step of the plan, done to the cluster and undone again.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::begun::{Begun, COMMAND, type_later};
use super::dialogue;
use super::fault::{Command, Fault, Operation, Party, Process, Refusal, Step, Who};
use super::intrude;
use super::stage::{Claim, Event, LOCK, OPERATOR, REBUILD, Stage};
use crate::error::{Error, Result};
use crate::fabric::Loss;
use crate::lock::Breakage;
use crate::node::{Node, PGDATA};
use crate::procfs::{self, ProcessId};
use crate::traced::Held;
use crate::writer::now_us;

/// How long an operator looks at a node without power before deciding: the lease is over by then.
const DOUBT: Duration = Duration::from_secs(4);
/// Between two looks for an operation of the agent, which takes longer than that.
const GLANCE: Duration = Duration::from_millis(20);

/// Waits for the step's time, does it, waits for its end, and undoes it. What cannot be done, since
/// an earlier step is in the way, is part of the record and no error.
pub(super) fn perform(stage: &Stage<'_>, step: &Step, round: Instant) {
    sleep_until(round + Duration::from_millis(step.at_ms));
    let begin = now_us();
    let record = |what: String, done: bool| {
        stage.record(Event {
            step: step.number,
            kind: step.fault.kind(),
            what,
            begin,
            end: now_us(),
            done,
        });
    };
    let begun = match start(stage, step, round) {
        Ok(begun) => begun,
        Err(error) => return record(error.to_string(), false),
    };
    sleep_until(round + Duration::from_millis(step.at_ms + step.for_ms));
    let seconds = |since: u64| Duration::from_micros(now_us() - since).as_secs_f64();
    let lasted = seconds(begin);
    let undone = (begun.undo)();
    drop(begun.claims);
    record(
        match undone {
            Ok(said) => format!("{} for {lasted:.1} s{said}", begun.what),
            Err(error) => format!("{} for {lasted:.1} s; its end: {error}", begun.what),
        },
        true,
    );
}

/// The plan's times are the point here, not a condition.
fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}

fn start<'s>(stage: &'s Stage<'_>, step: &Step, round: Instant) -> Result<Begun<'s>> {
    let end = round + Duration::from_millis(step.at_ms + step.for_ms);
    match &step.fault {
        Fault::PowerCut(who) => power_cut(stage, &[*who], false),
        Fault::PowerCutAll => {
            let others = stage.cluster.databases().len().saturating_sub(1);
            let others = (0..u8::try_from(others).unwrap_or(0)).map(Who::Standby);
            let all: Vec<Who> = std::iter::once(Who::Primary).chain(others).collect();
            power_cut(stage, &all, false)
        }
        Fault::PowerCutWithLock(who) => power_cut(stage, &[*who], true),
        Fault::Reboot(who) => reboot(stage, *who),
        Fault::Freeze(who) => freeze(stage, *who),
        Fault::Kill(who, process) => kill(stage, *who, *process),
        Fault::Stop(who, process) => stop(stage, *who, *process),
        Fault::KillAgent(who, operation) => kill_agent(stage, *who, *operation, end),
        Fault::StopAgent(who, operation) => stop_agent(stage, *who, *operation, end),
        Fault::Cut { a, b, one_way } => lose(stage, step.number, *a, *b, 100, *one_way),
        Fault::CutPort { a, b, port } => cut_port(stage, step.number, *a, *b, *port),
        Fault::Lose { a, b, percent } => lose(stage, step.number, *a, *b, *percent, false),
        Fault::Isolate(who) => isolate(stage, step.number, *who),
        Fault::Delay(who, milliseconds) => delay(stage, *who, *milliseconds),
        Fault::Clock(who, ahead) => clock(stage, *who, *ahead),
        Fault::LinkDown(who) => link_down(stage, *who),
        Fault::FillDisk(who) => fill_disk(stage, *who),
        Fault::LockStop => {
            let claim = stage.claim(LOCK)?;
            let service = stage.cluster.lock_service()?;
            service.stop()?;
            Ok(Begun::silent("", move || service.start()).having([claim]))
        }
        Fault::LockFreeze => {
            let claim = stage.claim(LOCK)?;
            let service = stage.cluster.lock_service()?;
            service.freeze()?;
            Ok(Begun::silent("", move || service.thaw()).having([claim]))
        }
        Fault::LockPowerCut => power_cut(stage, &[], true),
        Fault::LockBreak(refusal) => {
            let claim = stage.claim(LOCK)?;
            let (service, how) = (stage.cluster.lock_service()?, breakage(*refusal));
            service.break_with_errors(how)?;
            Ok(Begun::silent("", move || service.repair(how)).having([claim]))
        }
        Fault::LockFillDisk => {
            let claim = stage.claim(LOCK)?;
            let service = stage.cluster.lock_service()?;
            service.fill_disk()?;
            Ok(Begun::silent("", move || service.free_disk()).having([claim]))
        }
        Fault::LockClock(ahead) => {
            let claim = stage.claim(LOCK)?;
            let service = stage.cluster.lock_service()?;
            service.node().set_clock(*ahead)?;
            let right = move || service.node().set_clock(0);
            Ok(Begun::silent(&format!("{ahead:+} s"), right).having([claim]))
        }
        Fault::LockRestore => Err(Error::Asked("played after the round".to_owned())),
        Fault::Switch(who) => command(stage, *who, &["online_switch"]),
        Fault::Cleanup(who) => command(stage, *who, &["cleanup"]),
        Fault::Repair(who) => command(stage, *who, &["repair_slave"]),
        Fault::StopAll(who) => stop_all(stage, *who),
        Fault::Standby(who) => standby(stage, *who),
        Fault::Rebuild(who) => rebuild(stage, *who),
        Fault::Unmanage(who) => unmanage(stage, *who),
        Fault::KillCommand {
            who,
            command,
            after_ms,
        } => kill_command(stage, *who, *command, Duration::from_millis(*after_ms)),
        Fault::Receiver { on, called } => intrude::receiver(stage, *on, *called),
        Fault::Copy(who) => intrude::copy(stage, *who),
        Fault::HangAgent(who, operation) => hang_agent(stage, *who, *operation, end),
        Fault::Promote(who) => intrude::promote(stage, *who),
        Fault::Recovery { who, off: None } => recovery(stage, *who, &[]),
        Fault::Recovery {
            who,
            off: Some(victim),
        } => recovery_beside(stage, *who, *victim),
        Fault::Setting(who, setting) => intrude::setting(stage, *who, *setting),
        Fault::Session(timeout) => {
            intrude::session(stage, step.number, Duration::from_millis((*timeout).into()))
        }
        Fault::ForeignHistory => intrude::foreign_history(stage),
    }
}

pub(super) fn breakage(refusal: Refusal) -> Breakage {
    match refusal {
        Refusal::Login => Breakage::Login,
        Refusal::Table => Breakage::TableGone,
        Refusal::ReadOnly => Breakage::ReadOnly,
    }
}

// ---- machines --------------------------------------------------------------------------------

/// The machine, claimed, if it has power.
fn machine<'s>(stage: &'s Stage<'_>, who: Who) -> Result<(Node, Claim<'s>)> {
    let node = stage.node(who)?;
    let claim = stage.claim(node.name())?;
    Ok((node, claim))
}

fn power_cut<'s>(stage: &'s Stage<'_>, who: &[Who], with_lock: bool) -> Result<Begun<'s>> {
    let (mut names, mut claims) = (Vec::new(), Vec::new());
    for who in who {
        let (node, claim) = machine(stage, *who)?;
        names.push(node.name().to_owned());
        claims.push(claim);
    }
    if with_lock {
        claims.push(stage.claim(LOCK)?);
        names.push(stage.port(Party::Lock)?);
    }
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.cluster.power_cut_all(&words)?;
    let what = words.join(", ");
    let boot_all = move || {
        let failures: Vec<String> = std::thread::scope(|scope| {
            let boots: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(|| stage.boot(name)))
                .collect();
            let outcomes = boots.into_iter().filter_map(|boot| boot.join().ok());
            outcomes
                .filter_map(|outcome| outcome.err().map(|error| error.to_string()))
                .collect()
        });
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Error::Asked(failures.join("; ")))
        }
    };
    Ok(Begun::silent(&what, boot_all).having(claims))
}

fn reboot<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let (node, claim) = machine(stage, who)?;
    let name = node.name().to_owned();
    stage.alone(&name, || {
        // A shutdown that hangs ends with the power, as on any machine.
        let stopped = stage.cluster.stop_pacemaker(&name, Duration::from_secs(30));
        node.power_cut().map(|()| stopped.is_ok())
    })?;
    Ok(Begun::silent(&name.clone(), move || stage.boot(&name)).having([claim]))
}

fn freeze<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let (node, claim) = machine(stage, who)?;
    node.freeze()?;
    let name = node.name().to_owned();
    let thaw = move || if node.is_on() { node.thaw() } else { Ok(()) };
    Ok(Begun::silent(&name, thaw).having([claim]))
}

// ---- processes -------------------------------------------------------------------------------

fn signal(node: &Node, process: Process, signal: Signal) -> usize {
    if process == Process::Postmaster {
        return usize::from(node.kill_postmaster(signal));
    }
    if process == Process::Guard {
        let guards = node.operations("guard");
        guards
            .iter()
            .for_each(|guard| procfs::signal_pid(guard.pid, signal));
        return guards.len();
    }
    if process.of_database() {
        return node.kill_server_process(process.name(), signal);
    }
    // The kernel keeps the first 15 characters of a process's name.
    let comm: String = process.name().chars().take(15).collect();
    node.kill_named(&comm, signal)
}

fn kill<'s>(stage: &'s Stage<'_>, who: Who, process: Process) -> Result<Begun<'s>> {
    let node = stage.node(who)?;
    struck(&node, process, Signal::KILL)?;
    let name = node.name().to_owned();
    let restart = move || {
        if process.of_database() {
            return Ok(());
        }
        stage.start_daemons(&node)
    };
    Ok(Begun::silent(&name, restart))
}

fn stop<'s>(stage: &'s Stage<'_>, who: Who, process: Process) -> Result<Begun<'s>> {
    let node = stage.node(who)?;
    struck(&node, process, Signal::STOP)?;
    let name = node.name().to_owned();
    let go_on = move || {
        if process.of_database() {
            go_on_database(&node);
            return Ok(());
        }
        signal(&node, process, Signal::CONT);
        stage.start_daemons(&node)
    };
    Ok(Begun::silent(&name, go_on))
}

/// Lets every process of PostgreSQL go on: the one that was stopped may have another title by now.
pub(super) fn go_on_database(node: &Node) {
    for process in node.processes() {
        if process.comm == "postgres" && procfs::state(process.pid) == Some('T') {
            procfs::signal_pid(process.pid, Signal::CONT);
        }
    }
}

fn struck(node: &Node, process: Process, with: Signal) -> Result<()> {
    match signal(node, process, with) {
        0 => Err(Error::Asked(format!(
            "no {} runs on {}",
            process.name(),
            node.name()
        ))),
        _ => Ok(()),
    }
}

/// The first operation of this kind that runs on the node before `end` and can be caught by `take`. Not what
/// it has started: that goes on, as after a crash of the agent.
fn catch<T>(
    stage: &Stage<'_>,
    who: Who,
    operation: Operation,
    end: Instant,
    take: impl Fn(&[ProcessId]) -> Option<T>,
) -> Result<(Node, T)> {
    let node = stage.node(who)?;
    let name = operation.name();
    loop {
        let found: Vec<ProcessId> = node
            .operations(name)
            .into_iter()
            .filter_map(|process| ProcessId::of(process.pid))
            .collect();
        let found = (!found.is_empty()).then_some(found);
        if let Some(caught) = found.and_then(|found| take(&found)) {
            return Ok((node, caught));
        }
        if Instant::now() >= end {
            let node = node.name();
            return Err(Error::Asked(format!(
                "no {name} of the agent ran on {node}"
            )));
        }
        std::thread::sleep(GLANCE);
    }
}

/// Sends a signal to all of them.
fn signalled(processes: &[ProcessId], signal: Signal) -> Vec<ProcessId> {
    processes.iter().for_each(|process| process.signal(signal));
    processes.to_vec()
}

fn kill_agent<'s>(
    stage: &'s Stage<'_>,
    who: Who,
    operation: Operation,
    end: Instant,
) -> Result<Begun<'s>> {
    let kill = |found: &[ProcessId]| Some(signalled(found, Signal::KILL));
    let (node, _) = catch(stage, who, operation, end, kill)?;
    Ok(Begun::silent(node.name(), || Ok(())))
}

fn stop_agent<'s>(
    stage: &'s Stage<'_>,
    who: Who,
    operation: Operation,
    end: Instant,
) -> Result<Begun<'s>> {
    let stop = |found: &[ProcessId]| Some(signalled(found, Signal::STOP));
    let (node, caught) = catch(stage, who, operation, end, stop)?;
    let go_on = move || {
        signalled(&caught, Signal::CONT);
        Ok(())
    };
    Ok(Begun::silent(node.name(), go_on))
}

/// Pacemaker starts another executor at once, which knows nothing of what the dead one has started.
fn hang_agent<'s>(
    stage: &'s Stage<'_>,
    who: Who,
    operation: Operation,
    end: Instant,
) -> Result<Begun<'s>> {
    let (node, mut held) = catch(stage, who, operation, end, Held::take)?;
    let name = node.name().to_owned();
    let what = match signal(&node, Process::Execd, Signal::KILL) {
        0 => format!("{name}, which has no pacemaker-execd"),
        _ => format!("{name}, its pacemaker-execd killed,"),
    };
    let go_on = move || {
        let said = match held.go_on() {
            true => "; it went on",
            false => "; it was dead by then",
        };
        stage.start_daemons(&node).map(|()| said.to_owned())
    };
    Ok(Begun::new(&what, go_on))
}

// ---- the network -----------------------------------------------------------------------------

fn loss(from: &str, to: &str, percent: u8) -> Loss {
    Loss {
        from: from.to_owned(),
        to: to.to_owned(),
        percent,
        service: None,
    }
}

fn cut_port<'s>(
    stage: &'s Stage<'_>,
    step: u32,
    a: Party,
    b: Party,
    port: u16,
) -> Result<Begun<'s>> {
    let (a, b) = (stage.port(a)?, stage.port(b)?);
    let losses = [(&a, &b), (&b, &a)].map(|(from, to)| Loss {
        service: Some(port),
        ..loss(from, to, 100)
    });
    stage.lose(step, losses.to_vec())?;
    let undo = move || stage.find_again(step);
    Ok(Begun::silent(&format!("{a} and {b}"), undo))
}

fn lose<'s>(
    stage: &'s Stage<'_>,
    step: u32,
    a: Party,
    b: Party,
    percent: u8,
    one_way: bool,
) -> Result<Begun<'s>> {
    let (a, b) = (stage.port(a)?, stage.port(b)?);
    let mut losses = vec![loss(&a, &b, percent)];
    if !one_way {
        losses.push(loss(&b, &a, percent));
    }
    stage.lose(step, losses)?;
    let arrow = if one_way { "to" } else { "and" };
    let share = match percent {
        100 => String::new(),
        percent => format!(", {percent} %"),
    };
    let undo = move || stage.find_again(step);
    Ok(Begun::silent(&format!("{a} {arrow} {b}{share}"), undo))
}

fn isolate<'s>(stage: &'s Stage<'_>, step: u32, who: Who) -> Result<Begun<'s>> {
    let name = stage.name(who)?;
    let nodes = stage.cluster.nodes().into_iter();
    let others = nodes
        .map(|node| node.name().to_owned())
        .chain([crate::layout::CLIENT.to_owned()])
        .filter(|other| *other != name);
    let losses = others
        .flat_map(|other| [loss(&name, &other, 100), loss(&other, &name, 100)])
        .collect();
    stage.lose(step, losses)?;
    Ok(Begun::silent(&name, move || stage.find_again(step)))
}

fn delay<'s>(stage: &'s Stage<'_>, who: Who, milliseconds: u32) -> Result<Begun<'s>> {
    let node = stage.node(who)?;
    let claim = stage.claim(&format!("link of {}", node.name()))?;
    let name = node.name().to_owned();
    let (time, jitter) = (
        format!("{milliseconds}ms"),
        format!("{}ms", milliseconds / 4),
    );
    stage.cluster.netem(&name, &["delay", &time, &jitter])?;
    let what = format!("{name}, {time}");
    Ok(Begun::silent(&what, move || stage.cluster.netem(&name, &[])).having([claim]))
}

fn clock<'s>(stage: &'s Stage<'_>, who: Who, ahead_s: i32) -> Result<Begun<'s>> {
    let node = stage.node(who)?;
    let claim = stage.claim(&format!("clock of {}", node.name()))?;
    node.set_clock(ahead_s)?;
    let what = format!("{}, {ahead_s:+} s", node.name());
    // A machine that starts again has the right time.
    let right = move || {
        if node.is_on() {
            node.set_clock(0)
        } else {
            Ok(())
        }
    };
    Ok(Begun::silent(&what, right).having([claim]))
}

fn link_down<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.node(who)?;
    let claim = stage.claim(&format!("link of {}", node.name()))?;
    stage.cluster.link(node.name(), false)?;
    let name = node.name().to_owned();
    let up = move || {
        // A machine without power has no port; booted again it has a fresh one, which is up.
        if node.is_on() {
            stage.cluster.link(node.name(), true)
        } else {
            Ok(())
        }
    };
    Ok(Begun::silent(&name, up).having([claim]))
}

fn fill_disk<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(&format!("disk of {}", node.name()))?;
    if node.postmaster_of(PGDATA).is_none() {
        return Err(Error::Asked(format!("{} has no PostgreSQL", node.name())));
    }
    node.fill_data_disk()?;
    let name = node.name().to_owned();
    let free = move || {
        if node.is_on() {
            node.free_data_disk()
        } else {
            Ok(())
        }
    };
    Ok(Begun::silent(&name, free).having([claim]))
}

// ---- the operator ----------------------------------------------------------------------------

/// A command whose failure, in the middle of faults, is nothing to wonder at.
fn command<'s>(stage: &'s Stage<'_>, who: Who, words: &[&str]) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let (_, said) = stage.cls(&node, words, COMMAND)?;
    Ok(Begun::new(&said, || Ok(String::new())).having([claim]))
}

fn stop_all<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let (_, said) = stage.cls(&node, &["stop"], COMMAND)?;
    let start = move || type_later(stage, &node, &["start"]);
    Ok(Begun::new(&said, start).having([claim]))
}

fn standby<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let name = node.name().to_owned();
    let (_, said) = stage.cls(&node, &["standby_node", &name], COMMAND)?;
    let back = move || type_later(stage, &node, &["unstandby_node", &name]);
    Ok(Begun::new(&said, back).having([claim]))
}

/// Typed at a terminal, and answered with what is so: `off` is what this step keeps without power.
fn recovery<'s>(stage: &'s Stage<'_>, who: Who, off: &[String]) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let said = dialogue::recovery_master(&node, off, COMMAND)?;
    Ok(Begun::new(&said, || Ok(String::new())).having([claim]))
}

/// The same where a node has lost its power, which it gets back at the end, after the command's.
fn recovery_beside<'s>(stage: &'s Stage<'_>, who: Who, victim: Who) -> Result<Begun<'s>> {
    // Whoever is meant, before the victim is gone.
    let desk = stage.terminal(who)?;
    let cut = power_cut(stage, &[victim], false)?;
    let off = [cut.what.clone()];
    let typed = stage.claim(OPERATOR).and_then(|claim| {
        // As long as a lease may take to end, and the election that makes it needless.
        sleep_until(Instant::now() + DOUBT);
        let said = dialogue::recovery_master(&desk, &off, COMMAND)?;
        drop(claim);
        Ok(said)
    });
    let said = match typed {
        Ok(said) => said,
        Err(error) => error.to_string(),
    };
    Ok(Begun {
        what: format!("{} without power; {said}", cut.what),
        ..cut
    })
}

/// A node that was taken out is built anew, and taken in again.
fn rebuild<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let name = node.name().to_owned();
    let (code, out) = stage.cls(&node, &["standby_node", &name], COMMAND)?;
    let said = match code {
        0 => {
            let (_, rebuilt) = stage.cls(&node, REBUILD, COMMAND)?;
            format!("{out}; cls_rebuild_slave: {rebuilt}")
        }
        _ => format!("cls_standby_node: {out}"),
    };
    let back = move || type_later(stage, &node, &["unstandby_node", &name]);
    Ok(Begun::new(&said, back).having([claim]))
}

/// What the manual has `cls_unmanage` for: Pacemaker and corosync are restarted, PostgreSQL is not.
fn unmanage<'s>(stage: &'s Stage<'_>, who: Who) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let (code, mut said) = stage.cls(&node, &["unmanage"], COMMAND)?;
    if code == 0 {
        let restarted = stage.alone(node.name(), || {
            stage.cluster.stop_pacemaker(node.name(), COMMAND)?;
            stage.cluster.start_pacemaker(node.name())
        });
        said += &restarted.map_or_else(
            |error| format!("; the restart: {error}"),
            |()| "; Pacemaker and corosync restarted".to_owned(),
        );
    }
    let manage = move || type_later(stage, &node, &["manage"]);
    Ok(Begun::new(&said, manage).having([claim]))
}

/// Nothing is undone: what is left of the command is for `cls_status` to say.
fn kill_command<'s>(
    stage: &'s Stage<'_>,
    who: Who,
    command: Command,
    after: Duration,
) -> Result<Begun<'s>> {
    let node = stage.terminal(who)?;
    let claim = stage.claim(OPERATOR)?;
    let name = node.name().to_owned();
    let before: &[&str] = match command {
        Command::Rebuild => &["standby_node", &name],
        Command::Start => &["stop"],
        Command::Manage => &["unmanage"],
        _ => &[],
    };
    if !before.is_empty() {
        let (code, said) = stage.cls(&node, before, COMMAND)?;
        if code != 0 {
            let what = format!("cls_{} before it: {said}", before.join(" "));
            return Ok(Begun::silent(&what, || Ok(())).having([claim]));
        }
    }
    let words: &[&str] = match command {
        // So slow that there is a middle of the copy.
        Command::Rebuild => &["rebuild_slave", "--keep-old", "--max-rate", "16M"],
        Command::Standby => &["standby_node", &name],
        other => &[other.name()],
    };
    let begin = Instant::now();
    let (killed, typed) = std::thread::scope(|scope| {
        let typed = scope.spawn(|| stage.cls(&node, words, COMMAND));
        sleep_until(begin + after);
        // Not what it has started: pg_basebackup goes on, as after a crash of the command.
        let killed = node.kill(|process| process.comm == "cls", Signal::KILL);
        (killed, typed.join())
    });
    let said = match typed {
        Ok(typed) => typed?.1,
        Err(_) => return Err(Error::Asked("the thread that typed panicked".to_owned())),
    };
    let when = after.as_millis();
    let what = match killed {
        0 => format!("{said}, and was not there to be killed"),
        _ => format!("{said}, killed after {when} ms"),
    };
    Ok(Begun::silent(&what, || Ok(())).having([claim]))
}
