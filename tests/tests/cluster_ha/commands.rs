//! The operator's commands at their edges, on a real cluster: what they refuse, run twice, started
//! by two at once, interrupted or killed in the middle, while something hangs, and Pacemaker restarted below
//! them. One cluster for all of it.

use std::thread;
use std::time::Duration;

use pha_testbed::{Output, Signal};
use pha_tests::cluster::{Bed, CLONE, PATIENCE, State, agree, must, register, say, scenario};

pub(crate) const CLS: &str = "/opt/pha4pgsql/bin/cls";
/// How long one command may take on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// Every command with arguments that are right.
const COMMANDS: [&[&str]; 18] = [
    &["status"],
    &["master"],
    &["start"],
    &["stop"],
    &["online_switch"],
    &["cleanup"],
    &["repair_slave"],
    &["rebuild_slave"],
    &["recovery_master"],
    &["standby_node", "node2"],
    &["unstandby_node", "node2"],
    &["unmanage"],
    &["manage"],
    &["restart"],
    &["setup"],
    &["config"],
    &["doctor"],
    &["history"],
];

pub(crate) fn cls(bed: &Bed, node: &str, words: &[&str]) -> Output {
    must(bed.node(node).exec(&[&[CLS], words].concat(), LONG))
}

/// Runs a command that has to end with this code, and returns everything that it said.
#[track_caller]
pub(crate) fn ends(bed: &Bed, node: &str, words: &[&str], code: i32) -> String {
    let output = cls(bed, node, words);
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, code, "cls {words:?} on {node}: {said}");
    said
}

/// What `cls_history` tells, and the events of these kinds among it, the oldest first.
#[track_caller]
pub(crate) fn history(bed: &Bed, node: &str, kinds: &[&str]) -> Vec<serde_json::Value> {
    say(&ends(bed, node, &["history"], 0));
    let text = cls(bed, node, &["history", "--json"]).text().to_string();
    let report: serde_json::Value = must(serde_json::from_str(&text));
    assert_eq!(
        (&report["version"], &report["up_to_date"]),
        (&1.into(), &true.into())
    );
    pha_tests::schema::follows_the_schema(&report, "cls_history");
    let events = report["events"].as_array().cloned().unwrap_or_default();
    let told = |event: &serde_json::Value| kinds.iter().any(|kind| event["kind"] == *kind);
    events.into_iter().filter(told).collect()
}

/// Nothing of an operation stays in the cluster's configuration.
#[track_caller]
pub(crate) fn nothing_left(bed: &Bed) {
    assert_eq!(left(bed), [] as [&str; 0]);
}

/// What of an operation is in the cluster's configuration.
fn left(bed: &Bed) -> Vec<&'static str> {
    let xml = bed.run("node1", &["cibadmin", "--query", "--scope=configuration"]);
    let traces = ["cli-prefer", "cli-ban", "pha4pgsql_operation"];
    traces.into_iter().filter(|t| xml.contains(t)).collect()
}

/// The postmasters, which stay the same while PostgreSQL notices nothing.
fn postmasters(bed: &Bed) -> [Option<i32>; 2] {
    ["node1", "node2"].map(|node| bed.node(node).postmaster_pid())
}

/// Who reigns, since when, on which timeline.
fn reign(state: &State) -> (&str, u32, u64) {
    (&state.primary, state.timeline, state.register.term)
}

#[test]
fn cluster_commands_at_their_edges() {
    let bed = Bed::replicating("commands");
    wrong_arguments(&bed);
    twice_and_two_at_once(&bed);
    something_hangs(&bed);
    a_daemon_is_lost(&bed);
    pacemaker_restarted(&bed);
    interrupted_switches(&bed);
    killed_switches(&bed);
    killed_rebuild(&bed);
    stopped_and_started(&bed);
    a_node_without_pacemaker(&bed);
    let _ = bed.verdict();
}

fn wrong_arguments(bed: &Bed) {
    scenario("wrong arguments end with 100, and nothing is done");
    let before = bed.settle("node1", &["node2"]);
    for words in COMMANDS {
        let words = [words, &["--nonsense"]].concat();
        let said = ends(bed, "node1", &words, 100);
        assert!(said.contains("--nonsense"), "{said}");
    }
    ends(bed, "node1", &["standby_node"], 100);
    for words in [
        ["online_switch", "--to", "nobody"].as_slice(),
        &["standby_node", "nobody"],
        &["unstandby_node", "nobody"],
        &["cleanup", "--node", "nobody"],
        &["repair_slave", "--node", "nobody"],
        &["rebuild_slave", "--node", "nobody"],
        &["status", "--resource", "nobody", "--check", "--watch"],
        &["status", "--timeout", "never"],
    ] {
        ends(bed, "node1", words, 100);
    }
    ends(bed, "node1", &["start", "--resource", "nobody"], 10);
    assert_eq!(reign(&bed.settle("node1", &["node2"])), reign(&before));
}

fn twice_and_two_at_once(bed: &Bed) {
    scenario("a command that has been done already is done, and disturbs nothing");
    let before = bed.settle("node1", &["node2"]);
    let running = postmasters(bed);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    for words in [
        ["start"].as_slice(),
        &["start"],
        &["unmanage"],
        &["unmanage"],
        &["manage"],
        &["manage"],
        &["cleanup"],
        &["unstandby_node", "node2"],
        &["online_switch", "--to", "node1"],
        &["repair_slave", "--node", "node2"],
    ] {
        ends(bed, "node1", words, 0);
    }
    ends(bed, "node1", &["rebuild_slave", "--node", "node2"], 10);
    ends(bed, "node1", &["recovery_master"], 10);
    assert_eq!(postmasters(bed), running);

    scenario("two operators start the same command at the same moment");
    both(bed, &["start"], [0, 0]);
    both(bed, &["cleanup"], [0, 0]);
    // A constraint that an administrator has made himself is no command's leftover. This one changes nothing.
    let mine = "<rsc_location id=\"cli-ban-msPostgresql-on-node9\" rsc=\"msPostgresql\" node=\"node9\" score=\"-INFINITY\"/>";
    let create = ["cibadmin", "--create", "--scope=constraints", "--xml-text"];
    bed.run("node1", &[&create[..], &[mine]].concat());
    ends(bed, "node1", &["cleanup"], 0);
    let xml = bed.run("node1", &["cibadmin", "--query", "--scope=constraints"]);
    assert!(xml.contains("cli-ban-msPostgresql-on-node9"), "{xml}");
    bed.run("node1", &["cibadmin", "--delete", "--xml-text", mine]);
    both(bed, &["unmanage"], [0, 0]);
    both(bed, &["manage"], [0, 0]);
    assert_eq!(postmasters(bed), running);
    assert_eq!(
        reign(&bed.conclude(writer, "node1", &["node2"])),
        reign(&before)
    );
    let said = both(bed, &["online_switch"], [0, 10]);
    assert!(said.contains("one operation at a time"), "{said}");
    let after = bed.settle("node2", &["node1"]);
    assert_eq!(after.register.term, before.register.term + 1);
    nothing_left(bed);
    ends(bed, "node1", &["online_switch"], 0);
    bed.settle("node1", &["node2"]);
}

/// Runs a command on both nodes side by side; the codes in ascending order, and what was said.
#[track_caller]
fn both(bed: &Bed, words: &[&str], codes: [i32; 2]) -> String {
    let outputs = thread::scope(|scope| {
        ["node1", "node2"]
            .map(|node| scope.spawn(move || cls(bed, node, words)))
            .map(|thread| thread.join().expect("a command that came to its end"))
    });
    let mut ended = outputs.each_ref().map(|output| output.code);
    ended.sort_unstable();
    let said = outputs.map(|output| format!("{}\n{}", output.text(), output.stderr));
    let said = said.concat();
    assert_eq!(ended, codes, "cls {words:?} on both nodes: {said}");
    said
}

/// The status on these nodes, asked side by side while something hangs: each names it and ends by
/// itself (within five seconds, but the machine may be busy).
#[track_caller]
fn status_names(bed: &Bed, nodes: &[&str], level: &str, part: &str) {
    let outputs: Vec<Output> = thread::scope(|scope| {
        let asked: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || cls(bed, node, &["status"])))
            .collect();
        let ended = asked.into_iter().map(|thread| thread.join());
        ended.map(|output| output.expect("an end")).collect()
    });
    for (node, output) in nodes.iter().zip(outputs) {
        let took = output.elapsed.as_secs_f64();
        say(&format!("cls_status on {node} took {took:.2} s: {part}"));
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stdout.contains(part), "{}", output.stdout);
        let verdict = format!("Health: {level}");
        assert!(output.stdout.contains(&verdict), "{}", output.stdout);
        assert!(took < 15.0, "{took} s");
    }
}

fn something_hangs(bed: &Bed) {
    let before = bed.settle("node1", &["node2"]);
    let output = cls(bed, "node1", &["status"]);
    say(&format!(
        "cls_status of a healthy cluster: {:?}",
        output.elapsed
    ));
    assert!(
        output.stdout.contains("Health: healthy"),
        "{}",
        output.stdout
    );

    scenario("the lock service hangs: the status says so");
    let lock = must(bed.lock_service());
    must(lock.freeze());
    let nodes = ["node1", "node2"];
    status_names(bed, &nodes, "warning", "lock service unreachable");
    for (node, word) in [
        ("node1", "nobody could take over"),
        ("node2", "could stand still"),
    ] {
        let said = ends(bed, "node1", &["standby_node", node], 10);
        assert!(said.contains(word) && said.contains("--force"), "{said}");
    }
    let check = cls(bed, "node2", &["status", "--check"]);
    assert_eq!(check.code, 1, "{}", check.stdout);
    must(lock.thaw());

    scenario("the primary's PostgreSQL hangs: the status says so, here and from the other node");
    let server = |signal| {
        let node = bed.node("node1");
        node.kill(|process| process.comm == "postgres", signal)
    };
    // After three monitors without an answer the agent acts, and a loaded machine is not faster.
    ends(bed, "node1", &["unmanage"], 0);
    assert!(server(Signal::STOP) > 0);
    status_names(
        bed,
        &nodes,
        "critical",
        "PostgreSQL on node1 does not answer",
    );
    assert!(server(Signal::CONT) > 0);
    ends(bed, "node1", &["manage"], 0);
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));

    scenario("Pacemaker hangs on this node: the status says so");
    let based = |signal| bed.node("node2").kill_program("pacemaker-based", signal);
    assert!(based(Signal::STOP) > 0);
    let output = cls(bed, "node2", &["status"]);
    assert!(based(Signal::CONT) > 0);
    assert_eq!(output.code, 11, "{}", output.stdout);
    assert!(output.stderr.contains("cibadmin"), "{}", output.stderr);
    assert!(output.elapsed < Duration::from_secs(15), "{output:?}");

    scenario("the other node hangs: the status names it");
    must(bed.node("node2").freeze());
    bed.until("a status that names node2", || {
        let output = cls(bed, "node1", &["status"]);
        assert!(output.elapsed < Duration::from_secs(15), "{output:?}");
        let named = "node2 is not in the cluster: switched off, or cut off";
        if output.stdout.contains(named) {
            Ok(())
        } else {
            Err(output.stdout)
        }
    });
    must(bed.node("node2").thaw());
    // When the parts of a cluster meet, Pacemaker may see no score of the primary for a moment, and
    // move the role.
    must(bed.wait_for_members(PATIENCE));
    let idle = ["crm_resource", "--wait", "--timeout", "120"];
    must(bed.node("node1").run(&idle, PATIENCE));
    let state = bed.until("a primary and a standby", || {
        let state = agree(bed)?;
        match state.standbys.len() {
            1 => Ok(state),
            _ => Err(format!("{state:?}")),
        }
    });
    if state.primary != "node1" {
        ends(bed, "node1", &["online_switch", "--to", "node1"], 0);
    }
    bed.settle("node1", &["node2"]);
}

/// Ends Pacemaker's attribute manager in a moment in which `pacemakerd` cannot ask corosync: it has no file left to
/// ask with.
fn lose_attrd(bed: &Bed, node: &str) {
    const LOSE: &str = "launcher=$(pidof pacemakerd) && log=/var/log/pacemaker/pacemaker.log && \
        said() { grep -c 'Not respawning pacemaker-attrd' $log; } && before=$(said || true) && \
        prlimit --pid $launcher --nofile=4: && kill -KILL $(pidof pacemaker-attrd) && \
        while test \"$(said)\" = \"$before\"; do :; done; prlimit --pid $launcher --nofile=1024:";
    must(
        bed.node(node)
            .run(&["timeout", "20", "sh", "-c", LOSE], PATIENCE),
    );
}

fn a_daemon_is_lost(bed: &Bed) {
    scenario(
        "Pacemaker does not start a daemon again: every node's status says so, and the order mends it",
    );
    let before = bed.settle("node1", &["node2"]);
    let running = postmasters(bed);
    let order =
        |node: &str| format!("on {node}: pkill -KILL -x pacemakerd; systemctl start pacemaker");
    let found = |node: &str| {
        let part = format!("Pacemaker runs on {node} without pacemaker-attrd");
        status_names(bed, &["node1", "node2"], "warning", &part);
        let said = ends(bed, "node1", &["status"], 0);
        assert!(said.contains(&order(node)), "{said}");
        // There its tools do nothing, and say that they did.
        let said = ends(bed, node, &["cleanup"], 10);
        assert!(said.contains(&order(node)), "{said}");
        // In an emergency there is something else to type.
        let said = ends(bed, node, &["stop"], 10);
        assert!(
            said.contains("where PostgreSQL has to stop at once: cls_stop on node"),
            "{said}"
        );
        assert!(said.contains("runuser -u postgres -- "), "{said}");
    };
    lose_attrd(bed, "node2");
    found("node2");
    must(bed.replace_pacemakerd("node2"));
    bed.settle("node1", &["node2"]);
    lose_attrd(bed, "node1");
    found("node1");
    ends(bed, "node1", &["unmanage"], 0);
    must(bed.replace_pacemakerd("node1"));
    ends(bed, "node1", &["manage"], 0);
    assert_eq!(reign(&bed.settle("node1", &["node2"])), reign(&before));
    assert_eq!(postmasters(bed), running);
    ends(bed, "node1", &["cleanup"], 0);
}

/// The primary's node lacks a daemon, and the database has to stop: by what the refusal there says to type.
#[test]
fn cluster_stops_in_an_emergency() {
    let bed = &Bed::replicating("emergency");
    scenario(
        "Pacemaker lacks a daemon beside the primary, and the database is stopped all the same",
    );
    let before = bed.settle("node1", &["node2"]);
    lose_attrd(bed, "node1");
    let part = "Pacemaker runs on node1 without pacemaker-attrd";
    status_names(bed, &["node1"], "warning", part);
    let said = ends(bed, "node1", &["stop"], 10);
    let (_, by_hand) = must(said.split_once("goes on here then: ").ok_or("no command"));
    let by_hand = by_hand.lines().next().unwrap_or_default();
    assert!(by_hand.starts_with("runuser -u postgres -- /") && by_hand.ends_with(" -m fast stop"));
    // The one that is whole is heard there too.
    ends(bed, "node2", &["stop"], 0);
    assert_eq!(postmasters(bed), [None, None]);
    must(bed.replace_pacemakerd("node1"));
    status_names(bed, &["node1"], "critical", "the database");
    assert_eq!(postmasters(bed), [None, None], "the order stands");
    ends(bed, "node1", &["start"], 0);
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline);
}

/// Lines of the writers' logs that begin with one of these letters.
fn logged(bed: &Bed, letters: &[char]) -> usize {
    let directory = bed.directory().join("acknowledged");
    let files = must(std::fs::read_dir(directory));
    let texts = files.map(|file| must(std::fs::read_to_string(must(file).path())));
    texts
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with(letters))
                .count()
        })
        .sum()
}

fn pacemaker_restarted(bed: &Bed) {
    scenario("unmanaged, corosync and Pacemaker are restarted below a writer: it notices nothing");
    let before = bed.settle("node1", &["node2"]);
    let running = postmasters(bed);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    // U: outcome unknown, N: no connection, S: connected.
    let troubles = logged(bed, &['U', 'N', 'S']);
    ends(bed, "node1", &["unmanage"], 0);
    let said = ends(bed, "node2", &["status"], 0);
    assert!(said.contains("cls_manage"), "{said}");
    // What Pacemaker would do some day is not ordered now.
    for words in [
        ["stop"].as_slice(),
        &["stop", "--force"],
        &["standby_node", "node2", "--force"],
        &["unstandby_node", "node2"],
        &["start"],
        &["restart"],
    ] {
        let said = ends(bed, "node1", words, 10);
        assert!(said.contains("cls_manage"), "{said}");
    }
    let clone = ["crm_resource", "--resource", CLONE, "--meta"];
    let stopped = [
        "--set-parameter",
        "target-role",
        "--parameter-value",
        "Stopped",
    ];
    bed.run("node1", &[clone.as_slice(), &stopped].concat());
    let said = ends(bed, "node1", &["manage"], 10);
    assert!(said.contains("Pacemaker would stop it"), "{said}");
    let said = ends(bed, "node1", &["start"], 1);
    assert!(said.contains("is taken back"), "{said}");
    for node in ["node1", "node2"] {
        must(bed.stop_pacemaker(node, PATIENCE));
    }
    must(writer.wait_for(100, PATIENCE));
    assert_eq!(postmasters(bed), running);
    for node in ["node1", "node2"] {
        must(bed.start_pacemaker(node));
    }
    must(bed.wait_for_members(PATIENCE));
    ends(bed, "node2", &["manage"], 0);
    must(writer.wait_for(100, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
    assert_eq!(postmasters(bed), running);
    assert_eq!(
        logged(bed, &['U', 'N', 'S']),
        troubles,
        "the writer noticed"
    );
    for node in ["node1", "node2"] {
        assert_eq!(bed.fail_count("node1", node), "0", "{node}");
    }
}

/// Starts a switch and presses Ctrl-C when `moment` has come; what the command said.
fn interrupted(bed: &Bed, what: &str, moment: impl Fn() -> Result<(), String>) -> String {
    let output = thread::scope(|scope| {
        let command = scope.spawn(|| cls(bed, "node1", &["online_switch"]));
        bed.until(what, &moment);
        assert_eq!(bed.node("node1").kill_program("cls", Signal::INT), 1);
        command.join().expect("a command that came to its end")
    });
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, 1, "{said}");
    assert!(said.contains("interrupted"), "{said}");
    nothing_left(bed);
    said
}

/// Before the old primary has been stopped, Ctrl-C leaves everything as it was. Later the new one is
/// promoted or the old one again, whichever Pacemaker has begun with.
fn interrupted_switches(bed: &Bed) {
    scenario("Ctrl-C just after a switch has begun: everything as before");
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let said = interrupted(bed, "the beginning of a switch", || {
        let xml = bed.cib().map_err(|error| error.to_string())?.xml;
        let begun = xml.contains("cli-prefer");
        begun
            .then_some(())
            .ok_or_else(|| "no constraint".to_owned())
    });
    assert!(said.contains("node1 is the primary"), "{said}");
    must(writer.wait_for(50, PATIENCE));
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline);

    scenario("Ctrl-C when the old primary has been stopped: whoever is primary then is named");
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    let running = bed.node("node1").postmaster_pid();
    let said = interrupted(bed, "the old primary stopped", || {
        // It is started as a standby a moment later.
        let now = bed.node("node1").postmaster_pid();
        (now != running)
            .then_some(())
            .ok_or_else(|| format!("postmaster {now:?}"))
    });
    must(writer.wait_for(50, PATIENCE));
    must(writer.stop());
    let state = bed.until("a primary with its standby", || match agree(bed) {
        Ok(state) if state.standbys.len() == 1 => Ok(state),
        other => Err(format!("{other:?}")),
    });
    let now = format!("{} is the primary", state.primary);
    assert!(said.contains(&now), "{now}: {said}");
    let _ = bed.verdict();
    if state.primary != "node1" {
        ends(bed, "node1", &["online_switch"], 0);
    }
}

/// Starts a command on a node and kills it with SIGKILL when `moment` has come.
pub(crate) fn killed(bed: &Bed, node: &str, words: &[&str], moment: &dyn Fn() -> bool) {
    thread::scope(|scope| {
        let command = scope.spawn(|| cls(bed, node, words));
        while !moment() {
            if command.is_finished() {
                let ended = command.join().expect("the end of a command");
                panic!("cls {words:?} has ended by itself: {ended:?}");
            }
        }
        assert_eq!(bed.node(node).kill_program("cls", Signal::KILL), 1);
        let output = command.join().expect("the end of a command");
        assert_ne!(output.code, 0, "{}", output.stderr);
    });
}

/// Whether the status names this, with what to type next.
fn names(bed: &Bed, node: &str, text: &str, next: &str) -> Result<(), String> {
    let said = ends(bed, node, &["status"], 0);
    let verdict = said.lines().skip_while(|line| !line.starts_with("Health:"));
    let mut lines = verdict.skip_while(|line| !line.contains(text));
    let remedy = lines.next().and_then(|_| lines.next());
    match remedy.map(str::trim) == Some(&format!("next: {next}")) {
        true => Ok(()),
        false => Err(said),
    }
}

/// The rule's findings, each with what to type next.
#[track_caller]
pub(crate) fn found(bed: &Bed, node: &str, text: &str, next: &str) {
    must(names(bed, node, text, next));
}

/// A switch that is killed is carried through by Pacemaker, for which its constraint is enough.
fn killed_switches(bed: &Bed) {
    let agent = |node: &str, operation: &str| !bed.node(node).operations(operation).is_empty();
    let wished = || bed.cib().is_ok_and(|cib| cib.xml.contains("cli-prefer"));
    let promoted = || agent("node2", "guard");
    let moments: [(&str, &dyn Fn() -> bool, bool); 4] = [
        ("its constraint is there", &wished, true),
        (
            "the old primary is being stopped",
            &|| agent("node1", "demote"),
            true,
        ),
        (
            "the new primary is being promoted",
            &|| agent("node2", "promote"),
            false,
        ),
        ("the new primary has been promoted", &promoted, false),
    ];
    for (what, moment, mended) in moments {
        scenario(&format!(
            "kill -9 of cls_online_switch when {what}: nothing is lost"
        ));
        let before = bed.settle("node1", &["node2"]);
        let writer = bed.writer();
        must(writer.wait_for(50, PATIENCE));
        killed(bed, "node1", &["online_switch"], moment);
        must(writer.wait_for(50, PATIENCE));
        let after = bed.conclude(writer, "node2", &["node1"]);
        assert_eq!(after.timeline, before.timeline + 1);
        let left_over = left(bed);
        assert!(left_over.contains(&"pha4pgsql_operation"), "{left_over:?}");
        let text = "cls_online_switch on node1 was ended";
        found(bed, "node2", text, "cls_cleanup");
        if left_over.contains(&"cli-prefer") {
            found(bed, "node1", "cli-prefer-msPostgresql", "cls_cleanup");
        }
        if mended {
            ends(bed, "node2", &["cleanup"], 0);
            nothing_left(bed);
            let said = ends(bed, "node1", &["status"], 0);
            assert!(said.contains("Health: healthy"), "{said}");
        }
        ends(bed, "node1", &["online_switch"], 0);
        bed.settle("node1", &["node2"]);
        nothing_left(bed);
    }
}

/// The copies that are being made on a node.
fn copies(bed: &Bed, node: &str) -> usize {
    let processes = bed.node(node).processes();
    let copies = processes.iter().filter(|p| p.comm == "pg_basebackup");
    copies.count()
}

fn killed_rebuild(bed: &Bed) {
    scenario(
        "kill -9 of cls_rebuild_slave in the middle of its copy: the half copy is not started",
    );
    let before = bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    // A standby that does not stream: it is stopped by a constraint, which outlives the command.
    must(bed.sql(
        "node2",
        "ALTER SYSTEM SET primary_conninfo = 'host=nowhere'",
    ));
    must(bed.sql("node2", "SELECT pg_reload_conf()"));
    // The commands go by what the primary says of it, which comes after its leave of the register.
    bed.until("node2 no holder any more, and said not to stream", || {
        let row = register(bed)?;
        let cib = bed.cib().map_err(|error| error.to_string())?;
        let status = cib.permanent("node2", "pgsql-data-status");
        let streams = status
            .as_deref()
            .is_none_or(|status| status.starts_with("STREAMING"));
        match row.holders.contains("node2") || streams {
            false => Ok(()),
            true => Err(format!("{row:?}, {status:?}")),
        }
    });
    // So slow that it outlasts the cleanup below, which waits for a start that is refused again. The order
    // in which a server sends its files is its file system's; backup_label alone is always the first.
    let words = ["rebuild_slave", "--keep-old", "--max-rate", "96k"];
    let half = || {
        let first = bed.node("node2").read("/data/postgresql/data/backup_label");
        copies(bed, "node2") > 0 && first.is_ok()
    };
    killed(bed, "node2", &words, &half);
    must(writer.wait_for(50, PATIENCE));
    assert_eq!(left(bed), ["cli-ban", "pha4pgsql_operation"]);
    let again = "on node2: cls_rebuild_slave --keep-old";
    found(bed, "node1", "cls_rebuild_slave on node2 was ended", again);
    found(bed, "node1", "cli-ban-msPostgresql-on-node2", "cls_cleanup");

    scenario("what cls_status names: the start of the half copy is refused, the rebuild mends it");
    // It fails anew, before or after the command has looked.
    cls(bed, "node1", &["cleanup"]);
    nothing_left(bed);
    bed.until("the start on record as failed", || {
        match bed.fail_count("node1", "node2").as_str() {
            "INFINITY" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // Pacemaker may be at work on the node for a moment longer.
    bed.until("the status naming the half copy", || {
        names(bed, "node1", "a pg_basebackup into", again)
    });
    assert_eq!(bed.server_processes("node2"), 0);
    // It goes on without the command, and must not write into the next copy.
    assert!(copies(bed, "node2") > 0);
    let said = ends(bed, "node2", &["rebuild_slave", "--keep-old"], 0);
    assert!(said.contains("has left at work"), "{said}");
    assert_eq!(copies(bed, "node2"), 0);
    let after = bed.conclude(writer, "node1", &["node2"]);
    assert_eq!(reign(&after), reign(&before));
    nothing_left(bed);
    let slots = must(bed.sql("node1", "SELECT count(*) FROM pg_replication_slots"));
    assert_eq!(slots, "0", "the slot of the copy stays");
    ends(bed, "node1", &["online_switch"], 0);
    ends(bed, "node1", &["online_switch"], 0);
    bed.settle("node1", &["node2"]);
}

fn stopped_and_started(bed: &Bed) {
    scenario("stop and start: too little time, twice, and while everything is stopped");
    let before = bed.settle("node1", &["node2"]);
    ends(bed, "node1", &["stop", "--timeout", "0.1"], 11);
    both(bed, &["stop"], [0, 0]);
    ends(bed, "node2", &["stop"], 0);
    ends(bed, "node1", &["master"], 1);
    ends(bed, "node1", &["online_switch"], 10);
    let said = ends(bed, "node1", &["status"], 0);
    assert!(said.contains("next: cls_start"), "{said}");
    ends(bed, "node1", &["status", "--check"], 2);
    ends(bed, "node2", &["start", "--timeout", "0.1"], 11);
    ends(bed, "node1", &["start"], 0);
    let after = bed.settle("node1", &["node2"]);
    assert_eq!(after.timeline, before.timeline, "the primary stays");
    ends(bed, "node1", &["online_switch", "--timeout", "0.1"], 11);
    bed.until("a primary with its standby", || match agree(bed) {
        Ok(state) if state.standbys.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    nothing_left(bed);
}

fn a_node_without_pacemaker(bed: &Bed) {
    let state = bed.until("agreement", || agree(bed));
    let primary = state.primary.as_str();
    let standby = if primary == "node1" { "node2" } else { "node1" };
    scenario("where Pacemaker does not run, every command ends with 101");
    must(bed.stop_pacemaker(standby, PATIENCE));
    for words in COMMANDS {
        // These begin with config.ini, which is not there: a precondition.
        let code = match words {
            ["setup" | "config" | "doctor"] => 10,
            _ => 101,
        };
        ends(bed, standby, words, code);
    }
    ends(bed, standby, &["status", "--check"], 3);

    scenario("a standby is missing: cls_start ends with 2 and names it, and a switch is refused");
    let said = ends(bed, primary, &["start"], 2);
    assert!(said.contains(standby), "{said}");
    let said = ends(bed, primary, &["online_switch"], 10);
    assert!(said.contains(standby), "{said}");
    ends(bed, primary, &["standby_node", primary], 10);
    ends(bed, primary, &["stop"], 0);
    let said = ends(bed, primary, &["start"], 2);
    assert!(said.contains(standby), "{said}");
    must(bed.start_pacemaker(standby));
    must(bed.wait_for_members(PATIENCE));
    ends(bed, primary, &["start"], 0);
    bed.settle(primary, &[standby]);
    let row = must(register(bed));
    assert!(row.holders.contains(standby), "{row:?}");
}
