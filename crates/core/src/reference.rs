//! The reference of every rule, as Markdown: `docs/rules.md` is generated from it.

use std::fmt::Write;

use crate::decide::operator::{
    COPY_RULES, DOUBTS, HAND_OVER_RULES, KNOWN_RULES, LOOKED_RULES, MANAGE_RULES, OUT_RULES,
    PLACE_RULES, RECOVERY_RULES, RESTART_RULES, ROOM_RULES, SWITCH_RULES,
};
use crate::decide::tables;
use crate::doctor;
use crate::health::HEALTH_RULES;
use crate::register::PROMOTION_RULES;

/// What stands above the tables of the operations.
const OPERATIONS: &str = "The agent's operations and the guard: in each table the first rule that applies \
    decides, and its id is in the log of the operation.";

/// What stands above the right to be primary.
const PROMOTION: &str = "What the register is asked for by `promote-ask-register`, and what `monitor` goes by for \
    the promotion score: the first rule that has something against it refuses.";

/// What stands above the preconditions of the commands.
const COMMANDS: &str = "The commands of an operator: each rule has to hold, or the command does not begin; the \
    first that does not is named, with what to type.";

/// What stands above the findings.
const FINDINGS: &str = "What a finding of `cls_status` is about (its `--json` has the id), the worst first on the \
    screen.";

/// What stands above the doctor's.
const DOCTOR: &str = "What `cls_doctor` says of a rule where all is well.";

/// Every rule with what it says, table by table.
#[must_use]
pub fn rules() -> String {
    let mut text = String::from(
        "# The rules\n\nGenerated from the tables of rules in `crates/core/src`. Each rule has an id that stays, \
         and a sentence; R0 to R15 \
         in it are the rules of the promise ([how-it-works.md](how-it-works.md)).\n",
    );
    chapter(&mut text, "Operations", OPERATIONS);
    for (name, rules) in tables() {
        table(
            &mut text,
            name,
            rules.iter().map(|rule| (rule.id, rule.says)),
        );
    }
    chapter(&mut text, "The right to be primary", PROMOTION);
    let rules = PROMOTION_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "promotion", rules);
    chapter(&mut text, "Commands", COMMANDS);
    let rules = SWITCH_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_online_switch", rules);
    let rules = HAND_OVER_RULES.iter().map(|rule| (rule.id, rule.says));
    table(
        &mut text,
        "cls_online_switch, on the old primary, where the successor is made a holder (R9)",
        rules,
    );
    let rules = RESTART_RULES.iter().map(|rule| (rule.id, rule.says));
    table(
        &mut text,
        "cls_restart (and cls_setup, where PostgreSQL is restarted)",
        rules,
    );
    let rules = OUT_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_stop, cls_standby_node", rules);
    let rules = MANAGE_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_manage", rules);
    let rules = LOOKED_RULES.iter().chain(KNOWN_RULES);
    let rules = rules.map(|rule| (rule.id, rule.says));
    table(
        &mut text,
        "cls_manage, what is awaited before the database is given back",
        rules,
    );
    let doubts = DOUBTS.iter().map(|doubt| (doubt.id, doubt.says));
    table(
        &mut text,
        "cls_manage, where Pacemaker first looks again at what runs",
        doubts,
    );
    let rules = COPY_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_repair_slave, cls_rebuild_slave", rules);
    let room = ROOM_RULES.iter().map(|rule| (rule.id, rule.says));
    let rules = PLACE_RULES.iter().map(|rule| (rule.id, rule.says));
    table(
        &mut text,
        "cls_rebuild_slave, of each place that is moved aside or copied to",
        rules.chain(room),
    );
    let rules = RECOVERY_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_recovery_master", rules);
    chapter(&mut text, "Findings", FINDINGS);
    let rules = HEALTH_RULES.iter().map(|rule| (rule.id, rule.says));
    table(&mut text, "cls_status", rules);
    chapter(&mut text, "Examination", DOCTOR);
    table(&mut text, "cls_doctor", doctor::rules());
    text
}

fn chapter(text: &mut String, title: &str, about: &str) {
    let _ = write!(text, "\n## {title}\n\n{about}\n");
}

fn table<'a>(
    text: &mut String,
    name: &str,
    rules: impl Iterator<Item = (&'a str, impl std::fmt::Display)>,
) {
    let _ = write!(
        text,
        "\n### {name}\n\n| rule | what it says |\n| --- | --- |\n"
    );
    for (id, says) in rules {
        let _ = writeln!(text, "| `{id}` | {says} |");
    }
}
