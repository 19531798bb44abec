//! The agent's own settings, as a real server reads them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::Duration;

use common::Cluster;
use pha_core::link_name::LinkName;
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::parse::standby_names::{NOBODY, Waits};
use pha_host::files::Change;
use pha_host::own;
use pha_host::pgconf::{self, PgConfError, Settings};

fn me() -> NodeName {
    NodeName::new("standby").unwrap()
}

fn params(cluster: &Cluster, further: &[(&str, &str)]) -> Params {
    let tmpdir = cluster.dir.join("own").display().to_string();
    let port = cluster.port.to_string();
    let own = [
        ("rep_mode", "sync"),
        ("node_list", "primary standby"),
        ("master_ip", "127.0.0.1"),
        ("repuser", "postgres"),
        ("tmpdir", tmpdir.as_str()),
        ("pgport", port.as_str()),
    ];
    Params::parse(own.into_iter().chain(further.iter().copied()))
        .unwrap()
        .0
}

/// The file for the names.
fn in_memory(cluster: &Cluster) -> PathBuf {
    std::env::temp_dir()
        .join("pha-names")
        .join(format!("{}.conf", cluster.port))
}

fn ensure(cluster: &Cluster, params: &Params, settings: &Settings) -> Result<Change, PgConfError> {
    pgconf::ensure(&cluster.ctl, params, &me(), &in_memory(cluster), settings)
}

fn settings(standby: bool, name: Option<&str>) -> Settings {
    Settings {
        restore_command: None,
        upstream: None,
        standby,
        plain_name: standby.then(|| LinkName::plain(&me())),
        names: name.map_or(Waits::ForNobody, |name| Waits::For(name.to_owned())),
    }
}

#[test]
fn pg_what_is_written_is_what_the_server_shows() {
    let cluster = Cluster::new("conf");
    let nasty = "cp '/a b/%f' \"%p\" \\ $(id) # ; `id`";
    let params = params(
        &cluster,
        &[
            ("restore_command", nasty),
            ("replication_slot_name", "slot"),
            (
                "primary_conninfo_opt",
                "sslmode=disable passfile='/a b/it\\'s'",
            ),
        ],
    );
    let standby = settings(true, None);
    assert_eq!(ensure(&cluster, &params, &standby).unwrap(), Change::Made);
    assert_eq!(
        ensure(&cluster, &params, &standby).unwrap(),
        Change::AlreadySo
    );
    assert!(cluster.ctl.pgdata.join("standby.signal").exists());
    let own = std::fs::metadata(pgconf::own_file(&params)).unwrap();
    assert_eq!(
        (own.uid(), own.permissions().mode() & 0o777),
        (cluster.ctl.user.uid(), 0o600)
    );

    // From another standby it receives for moments only, without a slot there.
    let lent = Settings {
        upstream: Some("third".parse().unwrap()),
        ..settings(true, None)
    };
    let place = in_memory(&cluster);
    let own = lent.render(&params, &me(), &place, true).unwrap().own;
    let shows = |text: &str| own.contains(text);
    assert!(shows("third") && !shows("127.0.0.1"), "{own}");
    assert!(!shows("primary_slot_name"), "{own}");

    // As a primary: everything is read, nothing of it acts.
    let primary = settings(false, Some("node-2"));
    assert_eq!(ensure(&cluster, &params, &primary).unwrap(), Change::Made);
    assert!(!cluster.ctl.pgdata.join("standby.signal").exists());
    cluster.start();
    assert_eq!(cluster.sql("show restore_command"), nasty);
    assert_eq!(cluster.sql("show synchronous_standby_names"), "\"node-2\"");
    // What a restart of the machine leaves.
    assert!(own::ensure_absent(&in_memory(&cluster)).unwrap().made());
    cluster.sql("select pg_reload_conf()");
    let nobody = Waits::For(NOBODY.to_owned()).to_string();
    cluster.until("show synchronous_standby_names", &nobody);
    assert!(ensure(&cluster, &params, &primary).unwrap().made());
    cluster.sql("select pg_reload_conf()");
    cluster.until("show synchronous_standby_names", "\"node-2\"");
    assert_eq!(cluster.sql("show primary_slot_name"), "slot_standby");
    assert_eq!(cluster.sql("show recovery_target_timeline"), "latest");
    assert_eq!(cluster.sql("show restart_after_crash"), "off");
    let conninfo = cluster.sql("show primary_conninfo");
    assert!(
        // A name is in the settings of a standby alone, and only where it is the plain one.
        !conninfo.contains("application_name") && conninfo.contains("passfile='/a b/it\\'s'"),
        "{conninfo}"
    );
    assert_eq!(
        cluster.sql("select count(*) from pg_file_settings where error is not null"),
        "0"
    );
}

/// A file of millions of repeated lines, which one who may change settings makes with a script, keeps
/// nobody waiting; and what root looks through has an end.
#[test]
fn pg_a_configuration_of_any_size_is_looked_through_or_refused_in_time() {
    let cluster = Cluster::new("conf-size");
    let params = params(&cluster, &[]);
    let (pgdata, began) = (&cluster.ctl.pgdata, std::time::Instant::now());
    let write = |name: &str, text: &str| std::fs::write(pgdata.join(name), text).unwrap();
    let auto = "primary_conninfo = 'host=192.0.2.1'\n".repeat((147 << 20) / 360);
    write("postgresql.auto.conf", &format!("work_mem = '5MB'\n{auto}"));
    let settings = settings(true, None);
    let made = ensure(&cluster, &params, &settings).unwrap();
    assert_eq!(made, Change::Made);
    let left = std::fs::read_to_string(pgdata.join("postgresql.auto.conf")).unwrap();
    assert_eq!(left, "work_mem = '5MB'\n");
    // Too large to be read at all: the sentence names it.
    write("postgresql.auto.conf", &"#".repeat(17 << 20));
    let error = ensure(&cluster, &params, &settings).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("auto.conf") && error.contains("make it smaller"),
        "{error}"
    );
    write("postgresql.auto.conf", "");
    let refused = |what: &str| {
        let error = pgconf::refuse_foreign_names(&cluster.ctl, &params).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    };
    let main = std::fs::read_to_string(&cluster.ctl.config).unwrap();
    let begin =
        |line: &str| std::fs::write(&cluster.ctl.config, format!("{main}\n{line}\n")).unwrap();
    // Files that include each other without an end.
    for number in 0..20 {
        write(
            &format!("deep{number}.conf"),
            &format!("include 'deep{}.conf'\n", number + 1),
        );
    }
    begin("include 'deep0.conf'");
    refused("eleventh file");
    std::fs::create_dir(pgdata.join("many")).unwrap();
    for number in 0..1100 {
        write(&format!("many/{number}.conf"), "");
    }
    begin("include_dir 'many'");
    refused("more than 1000 files");
    std::fs::create_dir(pgdata.join("large")).unwrap();
    for number in 0..3 {
        write(&format!("large/{number}.conf"), &"#\n".repeat(6 << 20));
    }
    begin("include_dir 'large'");
    refused("32 MiB");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn pg_a_copy_made_with_its_own_conninfo_follows_the_cluster_all_the_same() {
    let primary = Cluster::new("conf-primary");
    let standby = Cluster::copy_of("conf-standby", &primary);
    primary.start();
    // What pg_basebackup -R leaves.
    let auto = standby.ctl.pgdata.join("postgresql.auto.conf");
    std::fs::write(
        &auto,
        "# Do not edit\nwork_mem = '5MB'\nprimary_conninfo = 'host=192.0.2.1 port=1'\n",
    )
    .unwrap();
    chown(&auto, Some(standby.ctl.user.uid()), None).unwrap();
    let port = primary.port.to_string();
    let params = params(&standby, &[("pgport", port.as_str())]);
    let _ = ensure(&standby, &params, &settings(true, None)).unwrap();
    assert_eq!(
        std::fs::read_to_string(&auto).unwrap(),
        "# Do not edit\nwork_mem = '5MB'\n"
    );
    standby.start();
    primary.until(
        "select application_name from pg_stat_replication where state = 'streaming'",
        "standby",
    );
}

#[test]
fn pg_foreign_names_are_found_with_file_and_line() {
    let cluster = Cluster::new("foreign");
    let params = params(&cluster, &[]);
    let _ = ensure(&cluster, &params, &settings(false, Some("ours"))).unwrap();
    pgconf::refuse_foreign_names(&cluster.ctl, &params).unwrap();

    // An empty value before the agent's does no harm, after it it would.
    cluster.settings("synchronous_standby_names = ''");
    pgconf::refuse_foreign_names(&cluster.ctl, &params).unwrap();
    let auto = cluster.ctl.pgdata.join("postgresql.auto.conf");
    std::fs::write(&auto, "# Do not edit\nsynchronous_standby_names = ''\n").unwrap();
    let error = pgconf::refuse_foreign_names(&cluster.ctl, &params).unwrap_err();
    assert!(
        matches!(
            error,
            PgConfError::ForeignNames {
                line: 2,
                auto: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("ALTER SYSTEM RESET"), "{error}");
    std::fs::remove_file(&auto).unwrap();

    let included = cluster.ctl.pgdata.join("conf.d");
    std::fs::create_dir(&included).unwrap();
    std::fs::write(
        included.join("b.conf"),
        "\n\n Synchronous_Standby_Names 'theirs' # x\n",
    )
    .unwrap();
    cluster.settings("include_dir 'conf.d'");
    let error = pgconf::refuse_foreign_names(&cluster.ctl, &params)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("conf.d/b.conf, line 3") && error.contains("\"theirs\""),
        "{error}"
    );

    let mut cluster = cluster;
    std::fs::remove_dir_all(&included).unwrap();
    cluster.ctl.start_opt = vec!["-c".to_owned(), "synchronous_standby_names=x".to_owned()];
    let error = pgconf::refuse_foreign_names(&cluster.ctl, &params)
        .unwrap_err()
        .to_string();
    assert!(error.contains("start_opt"), "{error}");
}

#[test]
fn pg_root_is_not_led_astray_by_links_of_the_account() {
    let cluster = Cluster::new("links");
    let params = params(&cluster, &[]);
    // tmpdir leads to a directory that only root may write to.
    let precious = std::env::temp_dir().join(format!("pha-precious-{}", std::process::id()));
    std::fs::create_dir_all(&precious).unwrap();
    std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&precious, cluster.dir.join("own")).unwrap();
    let error = ensure(&cluster, &params, &settings(true, None)).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(&precious).unwrap().collect();
    std::fs::remove_dir_all(&precious).unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[test]
fn pg_the_old_form_is_written_for_versions_before_12() {
    let cluster = Cluster::new("old");
    std::fs::write(cluster.ctl.pgdata.join("PG_VERSION"), "11\n").unwrap();
    let params = params(&cluster, &[("restore_command", "cp 'x' %p")]);
    let _ = ensure(&cluster, &params, &settings(true, None)).unwrap();
    let text = std::fs::read_to_string(cluster.ctl.pgdata.join("recovery.conf")).unwrap();
    assert!(
        text.starts_with("standby_mode = 'on'\nprimary_conninfo = 'host="),
        "{text}"
    );
    assert!(
        text.contains("\nrestore_command = 'cp ''x'' %p'\n"),
        "{text}"
    );
    assert!(!cluster.ctl.pgdata.join("standby.signal").exists());
    let _ = ensure(&cluster, &params, &settings(false, None)).unwrap();
    assert!(!cluster.ctl.pgdata.join("recovery.conf").exists());
}
