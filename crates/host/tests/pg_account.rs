//! What the account can put into its own territory to be carried over to root: nothing is.
//!
//! Each test does what the account could do, as root sees it, and then lets the code of the agent and
//! of the commands come by.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Cluster, postgres};
use pha_core::names::NodeName;
use pha_core::params::Params;
use pha_core::parse::standby_names::Waits;
use pha_core::plan::StopMode;
use pha_host::command::{Command, CommandError};
use pha_host::own;
use pha_host::pgconf::{self, Settings};
use pha_host::pgctl::{Started, Stopped};
use pha_host::{preflight, unfinished};

/// A line that is in no error, no log and no file of the account's.
const SECRET: &str = "root:$6$secret$of-root:19000:0:99999:7:::";

/// A directory that only root can look into, with a file of such a line.
struct Roots(PathBuf);

impl Roots {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pha-roots-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let shadow = path.join("shadow");
        fs::write(&shadow, format!("{SECRET}\n")).unwrap();
        fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }

    fn shadow(&self) -> PathBuf {
        self.0.join("shadow")
    }

    /// Nothing was added, taken away or given away.
    #[track_caller]
    fn is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["shadow"]);
        for path in [self.0.clone(), self.shadow()] {
            let meta = fs::metadata(&path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (0, 0), "{}", path.display());
        }
        assert_eq!(
            fs::read_to_string(self.shadow()).unwrap(),
            format!("{SECRET}\n")
        );
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn params(cluster: &Cluster, tmpdir: &Path) -> Params {
    let text = |path: &Path| path.display().to_string();
    let (tmpdir, pgdata, pgctl) = (
        text(tmpdir),
        text(&cluster.ctl.pgdata),
        text(&cluster.ctl.program),
    );
    let port = cluster.port.to_string();
    let own = [
        ("rep_mode", "sync"),
        ("node_list", "primary standby"),
        ("master_ip", "127.0.0.1"),
        ("repuser", "postgres"),
        ("pgdata", pgdata.as_str()),
        ("pgctl", pgctl.as_str()),
        ("tmpdir", tmpdir.as_str()),
        ("pgport", port.as_str()),
    ];
    Params::parse(own).unwrap().0
}

fn ensure(cluster: &Cluster, tmpdir: &Path) -> Result<(), String> {
    let settings = Settings {
        plain_name: None,
        restore_command: None,
        upstream: None,
        standby: false,
        names: Waits::ForNobody,
    };
    let me = NodeName::new("standby").unwrap();
    let names = std::env::temp_dir().join(format!("pha-names/{}.conf", cluster.port));
    let params = params(cluster, tmpdir);
    pgconf::ensure(&cluster.ctl, &params, &me, &names, &settings)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn given(path: &Path) {
    std::os::unix::fs::lchown(path, Some(postgres().uid()), Some(postgres().gid())).unwrap();
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    given(path);
}

fn link(target: &Path, path: &Path) {
    let _ = fs::remove_file(path);
    symlink(target, path).unwrap();
    given(path);
}

#[track_caller]
fn says_nothing<T: std::fmt::Debug>(what: &str, result: Result<T, impl std::fmt::Display>) {
    let error = result.expect_err(what).to_string();
    assert!(!error.contains("secret"), "{what}: {error}");
}

#[test]
fn pg_no_line_of_a_file_of_roots_is_read_or_quoted() {
    let (cluster, roots) = (Cluster::new("quoted"), Roots::new("quoted"));
    let (ctl, pgdata) = (&cluster.ctl, &cluster.ctl.pgdata);
    let params = params(&cluster, &cluster.dir.join("own"));
    // As it was found: the configuration includes the file.
    let sound = fs::read(&ctl.config).unwrap();
    for way in ["include", "include_if_exists"] {
        cluster.settings(&format!("{way} '{}'", roots.shadow().display()));
        says_nothing(way, pgconf::refuse_foreign_names(ctl, &params));
        fs::write(&ctl.config, &sound).unwrap();
    }
    let conf = cluster.dir.join("conf.d");
    fs::create_dir(&conf).unwrap();
    given(&conf);
    link(&roots.shadow(), &conf.join("a.conf"));
    cluster.settings(&format!("include_dir '{}'", conf.display()));
    says_nothing("include_dir", pgconf::refuse_foreign_names(ctl, &params));
    link(&roots.shadow(), &ctl.config);
    says_nothing("config", pgconf::refuse_foreign_names(ctl, &params));
    says_nothing("config", ensure(&cluster, &cluster.dir.join("own")));
    link(&roots.shadow(), &pgdata.join("PG_VERSION"));
    says_nothing("PG_VERSION", ctl.data_version());
    says_nothing("PG_VERSION", ctl.start(None, common::soon()));
    let wal = pgdata.join("pg_wal");
    link(&roots.shadow(), &wal.join("00000002.history"));
    says_nothing("history", ctl.history(2.try_into().unwrap()));
    link(&roots.shadow(), &pgdata.join("postmaster.pid"));
    says_nothing("postmaster.pid", ctl.postmaster());
    says_nothing("postmaster.pid", ctl.start(None, common::soon()));
    roots.is_untouched();
}

#[test]
fn pg_what_the_account_can_read_is_not_quoted_for_all_to_see_where_a_link_leads_out() {
    let cluster = Cluster::new("leads-out");
    let (ctl, pgdata) = (&cluster.ctl, &cluster.ctl.pgdata);
    let passfile = cluster.dir.join("passfile");
    fs::write(&passfile, "*:*:*:repl:a secret\n").unwrap();
    given(&passfile);
    let params = params(&cluster, &cluster.dir.join("own"));
    link(&passfile, &pgdata.join("PG_VERSION"));
    says_nothing("PG_VERSION", ctl.data_version());
    let wal = pgdata.join("pg_wal/00000002.history");
    link(&passfile, &wal);
    says_nothing("history", ctl.history(2.try_into().unwrap()));
    link(&passfile, &pgdata.join("postmaster.pid"));
    says_nothing("postmaster.pid", ctl.postmaster());
    fs::remove_file(pgdata.join("postmaster.pid")).unwrap();
    cluster.settings(&format!("include '{}'", passfile.display()));
    says_nothing("include", pgconf::refuse_foreign_names(ctl, &params));
    // The log, of which the end is quoted when a start fails.
    link(&passfile, &ctl.logfile);
    says_nothing("log", ctl.start(None, common::soon()));
    // What is the account's own and where it belongs, is.
    fs::remove_file(pgdata.join("PG_VERSION")).unwrap();
    fs::write(pgdata.join("PG_VERSION"), "fifteen\n").unwrap();
    given(&pgdata.join("PG_VERSION"));
    let error = ctl.data_version().unwrap_err().to_string();
    assert!(error.contains("fifteen"), "{error}");
}

#[test]
fn pg_a_fifo_under_any_name_keeps_nobody_waiting() {
    let cluster = Cluster::new("fifo");
    let (ctl, pgdata) = (&cluster.ctl, &cluster.ctl.pgdata);
    let params = params(&cluster, &cluster.dir.join("own"));
    let began = Instant::now();
    fifo(&pgdata.join("global/pg_control"));
    assert_eq!(pha_host::pgctl::system_identifier(&ctl.user, pgdata), None);
    let error = ctl.controldata(common::soon()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    fifo(&pgdata.join("postmaster.pid"));
    assert!(ctl.postmaster().is_err());
    assert!(ctl.processes().unwrap().is_empty());
    for name in ["PG_VERSION", "postgresql.conf", "postgresql.auto.conf"] {
        fifo(&pgdata.join(name));
        assert!(
            preflight::check(&"pgsql".parse().unwrap(), &params, common::soon()).is_err(),
            "{name}"
        );
    }
    assert!(pgconf::refuse_foreign_names(ctl, &params).is_err());
    fifo(&cluster.dir.join("log"));
    let mut mark = pgdata.clone().into_os_string();
    mark.push(".unfinished");
    fifo(Path::new(&mark));
    assert!(unfinished::beside(&ctl.user, pgdata).is_err());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn pg_the_agents_directory_is_made_by_whoever_may() {
    let (cluster, roots) = (Cluster::new("tmpdir"), Roots::new("tmpdir"));
    let uid = postgres().uid();
    // Two levels below a directory of the account's: all of it is the account's.
    ensure(&cluster, &cluster.dir.join("a/b")).unwrap();
    for path in ["a", "a/b", "a/b/rep_mode.conf"] {
        assert_eq!(fs::metadata(cluster.dir.join(path)).unwrap().uid(), uid);
    }
    // Through a link of the account's to a directory of root's: nothing of it.
    link(&roots.0, &cluster.dir.join("link"));
    for path in ["link", "link/x", "link/x/y"] {
        let error = ensure(&cluster, &cluster.dir.join(path)).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        roots.is_untouched();
    }
    // Below a directory of root's: the last one is given to the account, no other is.
    let below = roots.0.join("c");
    ensure(&cluster, &below.join("d")).unwrap();
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!((owner(&below), owner(&below.join("d"))), (0, uid));
}

#[test]
fn pg_the_configuration_that_is_kept_is_the_accounts_own() {
    let (cluster, roots) = (Cluster::new("kept"), Roots::new("kept"));
    let (user, pgdata) = (postgres(), &cluster.ctl.pgdata);
    link(&roots.shadow(), &pgdata.join("pg_ident.conf"));
    let kept = unfinished::configuration_in(&user, pgdata).unwrap();
    let names: Vec<&str> = kept.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["postgresql.conf", "pg_hba.conf", "postgresql.auto.conf"]
    );
    // A hard link, where the kernel lets the account make one: it is read as the account.
    fs::remove_file(pgdata.join("pg_ident.conf")).unwrap();
    fs::hard_link(roots.shadow(), pgdata.join("pg_ident.conf")).unwrap();
    assert!(unfinished::configuration_in(&user, pgdata).is_err());
    fs::remove_file(pgdata.join("pg_ident.conf")).unwrap();
    // A whole directory of root's, under the name of the data directory.
    link(&roots.0, &cluster.dir.join("elsewhere"));
    assert_eq!(
        unfinished::configuration_in(&user, &cluster.dir.join("elsewhere")).unwrap(),
        []
    );
    roots.is_untouched();
}

#[test]
fn pg_a_data_directory_that_is_a_link_to_another_accounts_is_refused() {
    let cluster = Cluster::new("another");
    let nobody = pha_host::user::User::lookup("nobody").unwrap();
    let other = cluster.dir.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("PG_VERSION"), "15\n").unwrap();
    chown(&other, Some(nobody.uid()), Some(nobody.gid())).unwrap();
    let params = params(&cluster, &cluster.dir.join("own"));
    preflight::check(&"pgsql".parse().unwrap(), &params, common::soon()).unwrap();
    let aside = cluster.dir.join("aside");
    fs::rename(&cluster.ctl.pgdata, &aside).unwrap();
    link(&other, &cluster.ctl.pgdata);
    let refusal = preflight::check(&"pgsql".parse().unwrap(), &params, common::soon()).unwrap_err();
    assert!(refusal.reason.contains("belongs to user id"), "{refusal:?}");
    assert_eq!(refusal.code, pha_core::ocf::OcfCode::Perm);
    fs::remove_file(&cluster.ctl.pgdata).unwrap();
    fs::rename(&aside, &cluster.ctl.pgdata).unwrap();
}

/// The database is the other account's: it is left alone whatever the link says.
#[test]
fn pg_the_server_of_another_account_behind_a_link_is_not_stopped() {
    let (ours, theirs) = (Cluster::new("ours"), Cluster::new("theirs"));
    let nobody = pha_host::user::User::lookup("nobody").unwrap();
    let owner = format!("{}:{}", nobody.uid(), nobody.gid());
    let chown = std::process::Command::new("chown")
        .args(["-R", &owner])
        .arg(&theirs.dir)
        .status();
    assert!(chown.unwrap().success());
    let mut their_ctl = theirs.ctl.clone();
    their_ctl.user = nobody;
    assert_eq!(
        their_ctl.start(None, common::soon()).unwrap(),
        Started::Ready
    );
    let aside = ours.dir.join("aside");
    fs::rename(&ours.ctl.pgdata, &aside).unwrap();
    link(&theirs.ctl.pgdata, &ours.ctl.pgdata);
    // The other account may let this one look, or not.
    for mode in [0o755, 0o700] {
        fs::set_permissions(&theirs.ctl.pgdata, fs::Permissions::from_mode(mode)).unwrap();
        for how in [StopMode::Fast, StopMode::Immediate] {
            let stopped = ours.ctl.stop(how, common::soon());
            assert!(!matches!(stopped, Ok(Stopped::Ended)), "{stopped:?}");
        }
        let killed = ours.ctl.kill_everything(common::soon());
        assert!(!matches!(killed, Ok(Stopped::Ended)), "{killed:?}");
        assert!(!matches!(ours.ctl.reload(), Ok(true)));
    }
    assert!(!their_ctl.processes().unwrap().is_empty(), "it was stopped");
    fs::remove_file(&ours.ctl.pgdata).unwrap();
    fs::rename(&aside, &ours.ctl.pgdata).unwrap();
    assert_eq!(
        their_ctl.kill_everything(common::soon()).unwrap(),
        Stopped::Ended
    );
}

#[test]
fn pg_the_account_moves_empties_and_makes_only_what_it_could_itself() {
    let (cluster, roots) = (Cluster::new("moves"), Roots::new("moves"));
    let user = postgres();
    let files = user.files();
    link(&roots.0, &cluster.dir.join("link"));
    let through = cluster.dir.join("link");
    assert!(files.clear(&through).is_err());
    assert!(files.clear(&roots.0).is_err());
    assert!(files.rename(&roots.0, &cluster.dir.join("taken")).is_err());
    assert!(files.ensure(&through.join("file"), b"x", 0o600).is_err());
    assert!(files.ensure_directory(&through.join("a/b"), 0o700).is_err());
    assert!(files.set_mode(&roots.0, 0o777).is_err());
    assert!(
        !own::ensure_directory_for(&user, &roots.0, 0o700)
            .unwrap()
            .made()
    );
    assert!(own::ensure_directory_for(&user, &through.join("a"), 0o700).is_err());
    roots.is_untouched();
    // Emptying follows no link, and nothing that is there already is renamed over.
    let full = cluster.dir.join("full");
    fs::create_dir_all(full.join("below")).unwrap();
    fs::write(full.join("below/file"), "").unwrap();
    for path in [full.clone(), full.join("below"), full.join("below/file")] {
        given(&path);
    }
    link(&roots.0, &full.join("link"));
    assert!(files.rename(&full, &cluster.ctl.pgdata).is_err());
    assert!(files.clear(&full).unwrap().made());
    assert_eq!(fs::read_dir(&full).unwrap().count(), 0);
    roots.is_untouched();
}

#[test]
fn pg_roots_directories_are_changed_by_root_alone_and_only_under_their_own_name() {
    let (cluster, roots) = (Cluster::new("roots"), Roots::new("roots"));
    let user = postgres();
    // A data directory right in a directory of root's, which the account could not rename.
    let place = roots.0.join("data");
    assert!(
        own::ensure_directory_for(&user, &place, 0o700)
            .unwrap()
            .made()
    );
    let meta = fs::metadata(&place).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o777), (user.uid(), 0o700));
    own::rename_for(&user, &place, &roots.0.join("data.old")).unwrap();
    assert!(own::rename_for(&user, &roots.0.join("data.old"), &roots.shadow()).is_err());
    let elsewhere = cluster.dir.join("data.old");
    assert!(own::rename_for(&user, &roots.0.join("data.old"), &elsewhere).is_err());
    let removed = own::remove_directory_for(&user, &roots.0.join("data.old"));
    assert!(removed.unwrap().made());
    roots.is_untouched();
}

#[test]
fn pg_root_runs_no_program_that_the_account_could_exchange() {
    let cluster = Cluster::new("programs");
    let program = cluster.dir.join("bin/program");
    fs::create_dir(cluster.dir.join("bin")).unwrap();
    fs::write(&program, "#!/bin/sh\nid -u\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Root's file in root's directory, in one of the account's: that one can be exchanged.
    let error = Command::new(&program).run(common::soon()).unwrap_err();
    assert!(matches!(error, CommandError::NotRoots { .. }), "{error}");
    assert!(error.to_string().contains("make these root's"), "{error}");
    let output = Command::new(&program)
        .run_as(&postgres())
        .run(common::soon())
        .unwrap();
    assert_eq!(output.text().trim(), postgres().uid().to_string());
    // Also where a link of root's leads to it.
    let roots = Roots::new("programs");
    symlink(&program, roots.0.join("link")).unwrap();
    let error = Command::new(roots.0.join("link")).run(common::soon());
    assert!(matches!(error, Err(CommandError::NotRoots { .. })));
}
