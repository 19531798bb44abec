use super::*;

fn found(connections: Option<Connections>) -> Vec<(Level, String)> {
    let verdict = of_the_primary(connections, None);
    let findings = verdict.findings.into_iter();
    findings
        .map(|finding| {
            assert_eq!(finding.id, "connections");
            let remedy = finding.next().unwrap();
            assert!(remedy.starts_with("on node1: ps -C postgres"), "{remedy}");
            (finding.level, finding.said())
        })
        .collect()
}

#[test]
fn connections_are_counted_and_named_before_there_is_none() {
    let in_use = |clients| Some(Connections::InUse { clients, limit: 97 });
    assert_eq!(found(None), []);
    assert_eq!(found(in_use(87)), []);
    let text = "nearly every connection of PostgreSQL is in use: 88 of 97 on node1";
    assert_eq!(found(in_use(88)), [(Level::Warning, text.to_owned())]);
    let text = "no connection of PostgreSQL is left for clients: 99 are in use of 97 on node1";
    assert_eq!(found(in_use(99)), [(Level::Critical, text.to_owned())]);
    let text = "clients hold every connection of PostgreSQL, those for superusers too on node1";
    let none = found(Some(Connections::NoneLeft));
    assert_eq!(none, [(Level::Critical, text.to_owned())]);
}
