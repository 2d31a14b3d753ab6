//! `cargo chaos recover`, as it is run, with journals of its own: those of this machine are left alone.

use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Output};
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::process::identity::Identity;
use windtunnel_inject::process::proc::boot_id;
use windtunnel_inject::sys::{Forked, end_now, fork, wait};

/// What a child exits with when it can have no mount namespace.
const SKIPPED: i32 = 77;

/// Runs this where `/run` is empty and everybody's journals are in it.
fn with_an_empty_run(test: impl FnOnce()) {
    let Forked::Parent(pid) = fork().expect("a process") else {
        if let Err(error) = leave_for_new(UnshareFlags::NEWNS) {
            eprintln!("skipped: {error}");
            end_now(SKIPPED);
        }
        let test = || {
            rustix::mount::mount("none", "/run", "tmpfs", MountFlags::empty(), None).expect("mounted");
            fs::create_dir("/run/windtunnel").expect("a directory");
            fs::set_permissions("/run/windtunnel", fs::Permissions::from_mode(0o700)).expect("its mode");
            test();
        };
        end_now(i32::from(catch_unwind(AssertUnwindSafe(test)).is_err()));
    };
    match wait(pid).expect("a child").code() {
        0 => {}
        SKIPPED => assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here"),
        code => panic!("failed in its namespace (code {code}); the reason is above"),
    }
}

fn recover() -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-chaos"));
    let output: Output = command.args(["chaos", "recover"]).env("XDG_RUNTIME_DIR", "/run").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

/// The journal of a process that has died, with these files to be removed.
fn journal_of_a_dead_process(files: &[&Path]) {
    let Forked::Parent(pid) = fork().expect("a process") else {
        loop {
            std::thread::park();
        }
    };
    let holder = Identity::of(pid).expect("it is there");
    let process = windtunnel_inject::target::Process::open(pid).expect("it is there");
    process.kill().expect("killed");
    wait(pid).expect("a child");
    let mut lines = vec![json!({ "line": "opened", "boot_id": boot_id().expect("a boot"), "holder": holder })];
    for (path, id) in files.iter().zip(1..) {
        let found = fs::metadata(path).expect("a file");
        let undo = json!({ "undo": "remove_file", "path": path, "device": found.dev(), "inode": found.ino() });
        lines.push(json!({ "line": "change", "id": id, "undo": undo }));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write("/run/windtunnel/7-8-9-0.journal", text).expect("written");
}

#[test]
fn what_a_dead_process_left_is_undone_once() {
    with_an_empty_run(|| {
        assert_eq!(recover(), (true, "nothing is left to undo\n".to_owned()));
        let (ours, theirs) = (Path::new("/run/ours"), Path::new("/run/theirs"));
        fs::write(ours, "").expect("a file");
        fs::write(theirs, "").expect("a file");
        journal_of_a_dead_process(&[ours, theirs]);
        // Somebody puts another file in its place.
        fs::write("/run/other", "").expect("a file");
        fs::rename("/run/other", theirs).expect("renamed");
        let (is_clean, text) = recover();
        assert!(is_clean, "{text}");
        assert!(text.contains("undone  file /run/ours\n"), "{text}");
        assert!(text.contains("left    file /run/theirs: somebody has changed it since (inode "), "{text}");
        assert!(text.ends_with("1 undone, 1 left alone, 0 failed\n"), "{text}");
        assert!(!ours.exists() && theirs.exists());
        assert_eq!(recover(), (true, "nothing is left to undo\n".to_owned()));
    });
}

#[test]
fn what_cannot_be_undone_is_told_until_it_can() {
    with_an_empty_run(|| {
        let directory = Path::new("/run/directory");
        fs::create_dir(directory).expect("a directory");
        journal_of_a_dead_process(&[directory]);
        for _ in 0..2 {
            let (is_clean, text) = recover();
            assert!(!is_clean, "{text}");
            assert!(text.starts_with("failed  file /run/directory: "), "{text}");
            assert!(text.ends_with("0 undone, 0 left alone, 1 failed\n"), "{text}");
        }
    });
}
