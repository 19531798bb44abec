//! The agent's sessions are of its own making: what a role, a database or the server sets for every
//! session changes nothing of what the agent asks and writes, and gives nobody its rights.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Cluster, postgres, soon};
use pha_core::snapshot::Answer;
use pha_host::conninfo::Conninfo;
use pha_host::postgres::Postgres;
use pha_host::sql::{Purpose, Session};

fn access(cluster: &Cluster, database: &str, role: &str) -> Postgres {
    let info = Conninfo::local(cluster.dir.to_str().unwrap(), cluster.port)
        .with_dbname(database)
        .with_user(role);
    Postgres {
        info,
        user: postgres(),
    }
}

/// Whatever calls these as a superuser makes the role `owner` one.
const EVIL: &str = "
create function evil.gain() returns void language plpgsql as
    'begin if pg_catalog.current_setting(''is_superuser'') operator(pg_catalog.=) ''on'' then
        alter role owner superuser; end if; end';
create function evil.pg_is_in_recovery() returns boolean language sql as 'select evil.gain(); select false';
create function evil.now() returns timestamptz language sql as 'select evil.gain(); select clock_timestamp()';
create function evil.same(name, name) returns boolean language sql as 'select evil.gain(); select true';
create function evil.same(text, name) returns boolean language sql as 'select evil.gain(); select true';
create operator evil.= (function = evil.same, leftarg = name, rightarg = name);
create operator evil.= (function = evil.same, leftarg = text, rightarg = name);
create view evil.pg_stat_wal_receiver as select 1 as pid, 'streaming'::text as status, 99 as received_tli,
    null::text as slot_name, evil.gain()::text as g;
create view evil.pg_stat_replication as select 1 as pid, 'intruder'::text as application_name,
    evil.gain()::text as g;
create view evil.pg_database as select 't'::boolean as datistemplate, 'x'::name as datname;
";

/// A database `app` of a user without rights, who has put objects of his own before PostgreSQL's.
fn hostile(cluster: &Cluster) {
    cluster.sql("create role owner login");
    cluster.sql("create database app owner owner");
    for database in ["app", "postgres"] {
        let mut session = Session::connect(
            &access(cluster, database, "postgres").info,
            Purpose::AsSet,
            soon(),
        )
        .unwrap();
        session
            .simple("create schema evil authorization owner", soon())
            .unwrap();
        session
            .simple("set search_path = evil; set role owner", soon())
            .unwrap();
        session.simple(EVIL, soon()).unwrap();
        session.simple("reset role", soon()).unwrap();
    }
    cluster.sql("alter database app set search_path = evil, pg_catalog");
}

/// Whether this version has the setting.
fn known(cluster: &Cluster, setting: &str) -> bool {
    let sql = format!("select count(*) from pg_settings where name = '{setting}'");
    cluster.sql(&sql) == "1"
}

fn gained(cluster: &Cluster) -> bool {
    cluster.sql("set search_path = ''; select rolsuper from pg_roles where rolname = 'owner'")
        != "f"
}

#[test]
fn pg_the_owner_of_the_monitored_database_gains_nothing() {
    let cluster = Cluster::new("owner");
    cluster.start();
    hostile(&cluster);
    // In the database that the agent itself asks in, somebody may set the path of its role.
    cluster.sql("alter role postgres in database postgres set search_path = evil, pg_catalog");
    let agent = access(&cluster, "app", "postgres");
    let view = agent.view(soon()).unwrap();
    assert!(view.primary().unwrap().links.rows.is_empty());
    agent.write_barrier(soon()).unwrap();
    assert!(agent.ensure_physical_slot("slot", soon()).unwrap());
    assert!(agent.ensure_no_slot("slot", soon()).unwrap());
    // The default of monitor_sql, in the owner's own database.
    for statement in ["select now();", "select 'a'::name = 'b'::name"] {
        agent.run_monitor_sql(statement, soon()).unwrap();
    }
    assert!(
        !agent
            .connect(soon())
            .unwrap()
            .stay(std::time::Duration::from_secs(5), soon())
            .unwrap()
    );
    assert!(!gained(&cluster), "the owner is a superuser");
    // The trap is real: it works on a session that takes what the database gives.
    cluster.sql("set search_path = evil, pg_catalog; select now()");
    assert!(gained(&cluster));
}

#[test]
fn pg_no_default_of_a_role_a_database_or_the_server_reaches_the_agents_questions() {
    let primary = Cluster::new("defaults");
    let standby = Cluster::copy_of("defaults-standby", &primary);
    standby.follow(&primary);
    primary.start();
    standby.start();
    primary.sql("create role weak");
    if known(&primary, "idle_session_timeout") {
        primary.sql("alter system set idle_session_timeout = 500");
    }
    for change in [
        "alter system set default_transaction_isolation = 'serializable'",
        "alter system set default_transaction_read_only = on",
        "alter system set statement_timeout = 1",
        "alter system set synchronous_standby_names = 'nobody'",
        "alter system set datestyle = 'German'",
        "alter role postgres set row_security = off",
        "alter database postgres set transform_null_equals = on",
        "alter role postgres set local_preload_libraries = 'not_there'; \
         alter role postgres set role = weak",
    ] {
        primary.sql(change);
    }
    let settings = std::fs::read(primary.ctl.pgdata.join("postgresql.auto.conf")).unwrap();
    std::fs::write(standby.ctl.pgdata.join("postgresql.auto.conf"), settings).unwrap();
    let agents = [&primary, &standby].map(|cluster| access(cluster, "postgres", "postgres"));
    for (cluster, agent) in [&primary, &standby].into_iter().zip(&agents) {
        // The connection that shows the settings is one that they do not reach.
        cluster.ctl.reload().unwrap();
        let until = soon();
        loop {
            let mut session = agent.connect(soon()).unwrap();
            let seen = session
                .simple("show synchronous_standby_names", soon())
                .unwrap();
            if seen == [[Some("nobody".to_owned())]] {
                break;
            }
            assert!(!until.expired());
        }
        assert!(matches!(
            agent.ask(None, soon()),
            Answer::Primary(_) | Answer::Standby(_)
        ));
        let mut session = agent.connect(soon()).unwrap();
        session
            .stay(std::time::Duration::from_secs(5), soon())
            .unwrap();
        let seen = "select current_user, current_setting('transaction_isolation'), \
                    current_setting('search_path'), current_setting('statement_timeout'), \
                    current_setting('datestyle'), current_setting('row_security'), \
                    coalesce(current_setting('idle_session_timeout', true), '0'), current_setting('transform_null_equals')";
        let expected = [
            "postgres",
            "read committed",
            "",
            "5s",
            "ISO, YMD",
            "on",
            "0",
            "off",
        ];
        let rows = session.simple(seen, soon()).unwrap();
        assert_eq!(rows, [expected.map(|value| Some(value.to_owned()))]);
    }
    // Nobody is there for whom a commit could wait.
    agents[0].write_barrier(soon()).unwrap();
    agents[0].ensure_physical_slot("slot", soon()).unwrap();
    agents[0].ensure_no_slot("slot", soon()).unwrap();
    assert!(agents[1].view(soon()).unwrap().standby().is_some());
}

#[test]
fn pg_questions_go_to_the_database_postgres_and_elsewhere_only_where_it_is_shut() {
    let cluster = Cluster::new("database");
    std::fs::write(
        cluster.ctl.pgdata.join("pg_hba.conf"),
        "local all postgres trust\nlocal app watcher trust\n",
    )
    .unwrap();
    cluster.start();
    cluster.sql("create role watcher login in role pg_monitor");
    cluster.sql("create database app");
    let place = |session: &mut Session| {
        let rows = session.simple("select current_database()", soon()).unwrap();
        rows[0][0].clone().unwrap()
    };
    let mut there = access(&cluster, "app", "postgres").connect(soon()).unwrap();
    assert_eq!(place(&mut there), "postgres");
    let watcher = access(&cluster, "app", "watcher");
    assert_eq!(place(&mut watcher.connect(soon()).unwrap()), "app");
    assert!(matches!(watcher.ask(None, soon()), Answer::Primary(_)));
    // A template is copied, and so that it can be, nobody stays there.
    let limit = std::time::Duration::from_secs(5);
    let stays = |session: &mut Session| !session.stay(limit, soon()).unwrap();
    assert!(stays(&mut there));
    cluster.sql("alter database app is_template on");
    let mut in_template = watcher.connect(soon()).unwrap();
    assert!(!stays(&mut in_template));
    drop((there, in_template));
    // monitor_sql is looked at where it is said to run, and a template is no such place.
    let probe = "create table public.seen()";
    access(&cluster, "app", "postgres")
        .run_monitor_sql(probe, soon())
        .unwrap();
    access(&cluster, "template1", "postgres")
        .run_monitor_sql(probe, soon())
        .unwrap();
    assert_eq!(cluster.sql("select to_regclass('public.seen')"), "seen");
    cluster.sql("create database copied");
}

/// Of version 17 and newer.
#[test]
fn pg_a_trigger_that_fails_in_every_session_keeps_the_agent_from_nothing() {
    let cluster = Cluster::new("login");
    cluster.start();
    if !known(&cluster, "event_triggers") {
        return;
    }
    cluster.sql(
        "create function public.note() returns event_trigger language plpgsql as \
         'begin insert into logins values (current_user); end'",
    );
    cluster.sql("create event trigger note on login execute function public.note()");
    let client = access(&cluster, "postgres", "postgres").connect_for(Purpose::AsSet, soon());
    assert!(client.is_err(), "the trigger fails");
    let agent = access(&cluster, "postgres", "postgres");
    assert!(matches!(
        agent.ask(None, soon()),
        Answer::Primary(_) | Answer::Standby(_)
    ));
    agent.write_barrier(soon()).unwrap();
}
