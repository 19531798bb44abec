#![allow(clippy::unwrap_used)]

use super::*;
use std::os::unix::fs::PermissionsExt;

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn short() -> Deadline {
    Deadline::after(Duration::from_millis(150))
}

#[test]
fn both_streams_and_the_status_come_back() {
    let output = sh("echo out; echo err >&2; exit 3")
        .accept(3)
        .run(soon())
        .unwrap();
    assert_eq!(
        (
            output.code,
            output.text().as_ref(),
            output.error_text().as_ref()
        ),
        (3, "out\n", "err\n")
    );
    assert!(!output.truncated);
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let nasty = "a 'b' \"c\" $(touch /tmp/x) `d`\n;|&*";
    let output = Command::new("/bin/echo")
        .arg("-n")
        .arg(nasty)
        .run(soon())
        .unwrap();
    assert_eq!(output.text(), nasty);
}

#[test]
fn a_failure_names_program_status_and_last_words_in_one_line() {
    let error = sh("echo one >&2; echo two >&2; exit 7")
        .run(soon())
        .unwrap_err();
    assert_eq!(error.status(), Some(7));
    let text = error.to_string();
    assert!(
        text.starts_with("sh -c ") && text.ends_with("ended with status 7: one / two"),
        "{text}"
    );
    assert!(!text.contains('\n'));
}

#[test]
fn a_silent_stderr_is_replaced_by_stdout() {
    let text = sh("echo the reason; exit 1")
        .run(soon())
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("status 1: the reason"), "{text}");
}

#[test]
fn secrets_are_in_no_error_and_no_debug_form() {
    let command = sh("echo hunter2 >&2; exit 1")
        .arg("hunter2")
        .secret("hunter2");
    assert!(!format!("{:?}", command.secrets).contains("hunter2"));
    let text = command.run(soon()).unwrap_err().to_string();
    assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
}

#[test]
fn an_unknown_program_is_not_found() {
    for program in ["no-such-program", "/no/such/program", "/etc/passwd"] {
        assert!(
            matches!(
                Command::new(program).run(soon()),
                Err(CommandError::NotFound { .. })
            ),
            "{program}"
        );
    }
}

#[test]
fn a_missing_interpreter_is_not_started() {
    let dir = std::env::temp_dir().join(format!("pha-interpreter-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("script");
    std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Command::new(&path).run(soon()).unwrap_err();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error}");
}

#[test]
fn a_hanging_program_is_ended_with_its_children() {
    let marker = format!("97531.{}", std::process::id());
    let began = Instant::now();
    let error = sh(&format!("echo busy >&2; sleep {marker} & sleep {marker}"))
        .run(short())
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().ends_with("busy"), "{error}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    // A child that was killed is there until the kernel has ended it.
    while anyone_runs(&marker) {
        assert!(began.elapsed() < BOUND, "a child runs on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_that_ignores_sigterm_is_killed() {
    let began = Instant::now();
    let error = sh("trap '' TERM; while :; do sleep 0.1; done")
        .run(short())
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

#[test]
fn a_stopped_program_does_not_outlive_its_deadline() {
    let began = Instant::now();
    assert!(sh("kill -STOP $$").run(short()).unwrap_err().is_timeout());
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

#[test]
fn a_grandchild_that_keeps_the_pipes_does_not_hold_the_answer() {
    let marker = format!("60.{}", std::process::id());
    // Until it is in a session of its own it would end with the program's process group.
    let script =
        format!("setsid sleep {marker} & until grep -qx sleep /proc/$!/comm; do :; done; echo $!");
    let output = sh(&script).run(soon()).unwrap();
    assert!(
        anyone_runs(&marker),
        "the answer came no sooner than its end"
    );
    let grandchild = output.text().trim().parse().unwrap();
    let grandchild = rustix::process::Pid::from_raw(grandchild).unwrap();
    rustix::process::kill_process(grandchild, Signal::KILL).unwrap();
}

#[test]
fn much_output_is_bounded_and_does_not_block_the_program() {
    let output = sh("head -c 5000000 /dev/zero; head -c 3000000 /dev/zero >&2")
        .keep(1000)
        .run(soon())
        .unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len(), output.truncated),
        (1000, 1000, true)
    );
}

#[test]
fn the_end_of_a_long_output_can_be_kept() {
    let output = sh("seq 1 200000; echo last")
        .keep_end(100)
        .run(soon())
        .unwrap();
    assert!(output.truncated && output.stdout.len() == 100);
    assert!(
        output.text().ends_with("200000\nlast\n"),
        "{}",
        output.text()
    );
    assert!(!sh("echo last").keep_end(100).run(soon()).unwrap().truncated);
}

#[test]
fn a_program_that_prints_without_end_is_ended() {
    assert!(Command::new("yes").run(short()).unwrap_err().is_timeout());
}

#[test]
fn input_is_given_in_full_and_then_closed() {
    let input = vec![b'x'; 3_000_000];
    let output = Command::new("cat")
        .stdin_bytes(input.clone())
        .keep(4 << 20)
        .run(soon())
        .unwrap();
    assert!(output.stdout == input);
}

#[test]
fn input_that_nobody_reads_is_no_failure() {
    assert!(
        Command::new("true")
            .stdin_bytes(vec![b'x'; 3_000_000])
            .run(soon())
            .is_ok()
    );
}

#[test]
fn without_input_a_program_reads_nothing() {
    assert_eq!(Command::new("cat").run(soon()).unwrap().text(), "");
}

#[test]
fn a_signal_from_elsewhere_is_told_from_a_timeout() {
    let error = sh("kill -9 $$").run(soon()).unwrap_err();
    assert!(
        matches!(error, CommandError::Signalled { signal: 9, .. }),
        "{error}"
    );
}

#[test]
fn programs_speak_c_and_do_not_inherit_the_agents_parameters() {
    assert_eq!(sh("echo $LC_ALL").run(soon()).unwrap().text(), "C\n");
    assert!(is_parameter(OsStr::new("OCF_RESKEY_monitor_password")));
    assert!(!is_parameter(OsStr::new("OCF_RESKEY_CRM_meta_on_node")));
    assert!(!is_parameter(OsStr::new("OCF_RESOURCE_INSTANCE")));
}

#[test]
fn a_program_may_write_the_characters_of_a_locale() {
    let said = sh("echo ${LC_ALL-none} $LANG $LC_MESSAGES $LC_CTYPE")
        .character_set_of(Some("zh_CN.UTF-8".to_owned()))
        .run(soon());
    assert_eq!(said.unwrap().text(), "none C C zh_CN.UTF-8\n");
}

#[test]
fn the_search_path_honours_path_first_and_trusts_no_relative_entry() {
    let dir = std::env::temp_dir().join(format!("pha-path-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let shim = dir.join("sh");
    std::fs::write(&shim, "").unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = find(Path::new("sh"), Some(dir.as_os_str()));
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(found, Some(shim));
    for path in [None, Some(OsStr::new("")), Some(OsStr::new(".:relative"))] {
        assert_eq!(
            find(Path::new("sh"), path),
            Some(PathBuf::from("/usr/bin/sh"))
        );
    }
}

#[test]
fn an_account_is_given_no_passfile_of_another() {
    let own = User::current().unwrap();
    let file = std::env::temp_dir().join(format!("pha-passfile-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let named = |file: &Path| Some(file.as_os_str().to_owned());
    assert!(!passfile_of_another(&own, named(&file)));
    if own.is_root() {
        let nobody = User::lookup("nobody").unwrap();
        assert!(passfile_of_another(&nobody, named(&file)));
    }
    std::fs::remove_file(&file).unwrap();
    assert!(passfile_of_another(&own, named(&file)));
    assert!(!passfile_of_another(&own, None));
}

/// Without the limit none of these programs would end in this time.
const BOUND: Duration = Duration::from_secs(30);

/// Whether any process has that word among its arguments.
fn anyone_runs(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command_line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command_line
            .split(|byte| *byte == 0)
            .any(|arg| arg == word.as_bytes())
    })
}
