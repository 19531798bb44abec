//! What the database's account lays out for an operator who types what he is told to: it gains
//! nothing by it, and the operator is told what there is.

use std::time::Duration;

use pha_tests::cluster::{Bed, PATIENCE, must, scenario};

const CLS: &str = "/opt/pha4pgsql/bin/cls";
const DATA: &str = "/data/postgresql/data";

/// Directories of root's on the node's own disk: one of programs that root runs, one with a secret.
const AGENTS: &str = "/data/agents";
const ROOTS: &str = "/data/roots";

/// As root sees them: owner, mode and name of everything.
fn roots_own(bed: &Bed) -> String {
    let find = ["find", AGENTS, ROOTS, "-printf", "%U:%G %m %p\n"];
    bed.run("node2", &find)
}

fn as_account(bed: &Bed, script: &str) {
    let argv = ["sh", "-ec", script];
    must(
        bed.node("node2")
            .as_postgres(&argv, Duration::from_secs(20)),
    );
}

/// Runs a command on node2 that ends with this code, and returns everything that it said.
fn ends(bed: &Bed, words: &[&str], code: i32) -> String {
    let argv = [&[CLS], words].concat();
    let output = must(bed.node("node2").exec(&argv, Duration::from_secs(180)));
    let said = format!("{}\n{}", output.text(), output.stderr);
    assert_eq!(output.code, code, "cls {words:?}: {said}");
    assert!(!said.contains("geheim"), "{said}");
    said
}

fn forged(aside: &str, place: &str) -> String {
    format!(
        "echo '{{\"method\":\"pg_basebackup\",\"source\":\"node1\",\"aside\":[[\"{aside}\",\"{place}\"]]}}' >{DATA}.unfinished"
    )
}

/// The word by which the operator would confirm a mark, as the refusal says it.
fn word(said: &str) -> &str {
    let (_, rest) = said.split_once("--accept-mark ").expect("the word");
    rest.split_whitespace().next().unwrap()
}

/// Files that root reads, or has read for it, lead to a secret of root's: nothing of it comes to where the
/// account, or an operator of the other node, would see it.
fn names_of_roots_secret(bed: &Bed) {
    let link = |place: &str| (place.to_owned(), format!("ln -sf {ROOTS}/secret {place}"));
    let settings = format!("{DATA}/postgresql.conf");
    let include = format!("echo \"include '{ROOTS}/secret'\" >>{settings}");
    let forged = [
        link(&settings),
        (settings, include),
        link(&format!("{DATA}/PG_VERSION")),
        link(&format!("{DATA}/postmaster.pid")),
        link("/var/log/postgresql/pgsql.log"),
    ];
    let kept = "/data/postgresql/kept";
    for (place, lay) in forged {
        scenario(&format!("a secret of root's by the way of {place}: {lay}"));
        let keep = format!("rm -f {kept}; if [ -e {place} ]; then cp -p {place} {kept}; fi");
        as_account(bed, &format!("{keep}; {lay}"));
        bed.cleanup("node1");
        bed.until("the start on node2 to be refused", || {
            let text = bed.monitor_text("node1");
            let failed =
                text.contains("pgsql_start_0 on node2") || text.contains("pgsql start on node2");
            failed.then_some(()).ok_or(text)
        });
        let shown = must(bed.node("node1").exec(&[CLS, "status"], PATIENCE));
        let xml = must(bed.cib_of("node1")).xml;
        let screens = format!(
            "{}{}{xml}{}",
            shown.text(),
            shown.stderr,
            bed.monitor_text("node1")
        );
        assert!(!screens.contains("geheim"), "{screens}");
        for node in ["node1", "node2"] {
            let dirs = "/var/log /run/pha4pgsql /var/lib/pha4pgsql /var/lib/pacemaker";
            let search = format!("grep -rlE geheim --devices=skip {dirs} 2>/dev/null || true");
            assert_eq!(
                bed.run(node, &["sh", "-c", &search]).trim(),
                "",
                "{place}, on {node}"
            );
        }
        let back = format!("rm -f {place}; if [ -e {kept} ]; then mv {kept} {place}; fi");
        as_account(bed, &back);
    }
}

#[test]
fn cluster_account_gains_nothing_by_what_an_operator_types() {
    let bed = Bed::replicating("account");
    bed.settle("node1", &["node2"]);
    let writer = bed.writer();
    must(writer.wait_for(50, PATIENCE));
    bed.run(
        "node2",
        &[
            "sh",
            "-ec",
            &format!(
                "install -d -m 755 {AGENTS} {ROOTS}; install -m 755 /bin/true {AGENTS}/expgsql; \
                 (umask 077; echo geheim >{ROOTS}/secret)"
            ),
        ],
    );
    let before = roots_own(&bed);
    let unchanged = || assert_eq!(roots_own(&bed), before);

    scenario("a forged mark names the agents' directory: the account dies, the operator types");
    as_account(
        &bed,
        &format!(
            "cd /data/postgresql; mkdir evil; ln -s {AGENTS} evil/pg_wal; {}; \
             kill -9 $(head -1 data/postmaster.pid)",
            forged("/data/postgresql/evil", "/data/postgresql/data2")
        ),
    );
    bed.until("the mark to be refused", || {
        let text = bed.monitor_text("node1");
        match text.contains("cls_rebuild_slave --keep-old") {
            true => Ok(()),
            false => Err(text),
        }
    });
    let text = bed.monitor_text("node1");
    assert!(text.contains("cls_rebuild_slave --keep-old"), "{text}");
    let said = ends(&bed, &["rebuild_slave", "--keep-old"], 10);
    assert!(said.contains("/data/postgresql/evil"), "{said}");
    unchanged();
    // Even one that is confirmed gives the account nothing that it has not: what is in the data directory was not
    // moved by it, and stays.
    let accepted = ["rebuild_slave", "--keep-old", "--accept-mark", word(&said)];
    let said = ends(&bed, &accepted, 10);
    assert!(said.contains("which is not empty"), "{said}");
    unchanged();

    scenario("a forged mark names a directory of root's as one to be emptied and replaced");
    as_account(
        &bed,
        &format!(
            "cd /data/postgresql; mkdir more; {}",
            forged("/data/postgresql/more", ROOTS)
        ),
    );
    let said = ends(&bed, &["rebuild_slave", "--keep-old"], 10);
    assert!(said.contains(ROOTS), "{said}");
    unchanged();
    let accepted = ["rebuild_slave", "--keep-old", "--accept-mark", word(&said)];
    let said = ends(&bed, &accepted, 1);
    assert!(said.contains("ermission denied"), "{said}");
    unchanged();
    // The operator ends it by hand: root's own mark, which the account cannot make.
    bed.run(
        "node2",
        &[
            "sh",
            "-ec",
            "rm /var/lib/pha4pgsql/copies/*; rm -r /data/postgresql/more /data/postgresql/data2",
        ],
    );

    names_of_roots_secret(&bed);

    scenario("an honest rebuild, with links to root's files for everything that it keeps");
    as_account(
        &bed,
        &format!(
            "cd /data/postgresql; ln -s {ROOTS} data.configuration; \
             ln -sf {ROOTS}/secret data/pg_ident.conf; ln -s {AGENTS} data.unfinished.old"
        ),
    );
    let said = ends(&bed, &["rebuild_slave", "--keep-old"], 0);
    assert!(said.contains("the old data are in"), "{said}");
    unchanged();
    let argv = ["sh", "-c", "grep -rl geheim /data/postgresql || true"];
    let copies = bed.run("node2", &argv);
    assert_eq!(copies.trim(), "", "root's secret was carried over");
    bed.conclude(writer, "node1", &["node2"]);
}
