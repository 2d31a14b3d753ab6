//! What a journal keeps, whom it belongs to, and what is left alone.

mod victims;

use rustix::process::{Pid, Rlimit, prlimit};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::Error;
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::journal::{Journal, Outcome, Settings, Undo};
use windtunnel_inject::process::identity::Identity;
use windtunnel_inject::process::limit::{Lowered, Resource};
use windtunnel_inject::process::{Paused, proc};
use windtunnel_inject::recover::recover_in;

fn descriptors_of(victim: &Victim) -> Option<u64> {
    Resource::Descriptors.of(&victim.process).expect("a limit").0
}

#[test]
fn a_journal_that_is_closed_leaves_no_file_and_no_guardian() {
    let scratch = Scratch::new("closed");
    let victim = Victim::sleeping();
    let journal = scratch.journal();
    let lowered = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 7).expect("a limit");
    let guardian = journal.guardian().expect("a guardian");
    assert_eq!(proc::read(guardian, "comm").expect("its name"), "wt:guardian\n");
    assert_eq!(scratch.journal_names().len(), 1);
    drop(lowered);
    drop(journal);
    assert!(scratch.journal_names().is_empty());
    let ended = proc::Stat::of(guardian).map_or(true, |stat| stat.has_ended());
    assert!(ended, "the guardian is there still");
}

#[test]
fn of_two_limits_the_older_may_heal_first() {
    let scratch = Scratch::new("order");
    let (victim, journal) = (Victim::sleeping(), scratch.journal());
    let before = descriptors_of(&victim);
    let mut older = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 9).expect("a limit");
    let mut newer = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 7).expect("a limit");
    older.heal().expect("healed");
    assert_eq!(descriptors_of(&victim), Some(7), "the newer one is in force");
    newer.heal().expect("healed");
    assert_eq!(descriptors_of(&victim), before);
}

#[test]
fn what_somebody_else_has_set_since_is_noticed_and_stays() {
    let scratch = Scratch::new("foreign");
    let (victim, journal) = (Victim::sleeping(), scratch.journal());
    let mut lowered = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 9).expect("a limit");
    let (_, maximum) = Resource::Descriptors.of(&victim.process).expect("a limit");
    let pid = Pid::from_raw(victim.pid().cast_signed());
    prlimit(pid, rustix::process::Resource::Nofile, Rlimit { current: Some(33), maximum }).expect("somebody else's");
    let error = lowered.read_back().expect_err("changed");
    assert!(matches!(error.kind, ErrorKind::Unlike { .. }), "{error}");
    lowered.heal().expect("nothing of ours is there");
    assert_eq!(descriptors_of(&victim), Some(33));
}

#[test]
fn a_full_disk_refuses_the_fault() {
    let scratch = Scratch::new("full");
    let (victim, directory) = (Victim::sleeping(), scratch.journals());
    let settings = Settings { directory: directory.clone(), ..Settings::default() };
    let before = descriptors_of(&victim);
    // A file system of one page, in a namespace of its own, where this user can have that.
    let code = Victim::ending(|| {
        use rustix::thread::UnshareFlags;
        if windtunnel_inject::namespace::leave_for_new(UnshareFlags::NEWNS).is_err() {
            return 77;
        }
        fs::create_dir(&directory).expect("a directory");
        let options = c"size=4096,mode=700";
        rustix::mount::mount("none", &directory, "tmpfs", rustix::mount::MountFlags::empty(), options)
            .expect("mounted");
        let journal = Journal::open_with(settings).expect("a journal");
        let first = Lowered::apply(&journal, &victim.again(), Resource::Descriptors, 9).expect("space for one");
        let mut filler = fs::File::options().append(true).open(journal_file(&directory)).expect("the journal");
        filler
            .write_all(&vec![b' '; 4096 - usize::try_from(filler.metadata().expect("its size").len()).expect("small")])
            .expect("space for no more");
        let refused = Lowered::apply(&journal, &victim.again(), Resource::Descriptors, 7).expect_err("no space");
        assert!(matches!(&refused.kind, ErrorKind::Os(error) if error.raw_os_error() == Some(28)), "{refused}");
        let now = || Resource::Descriptors.of(&victim.again()).expect("a limit").0;
        assert_eq!(now(), Some(9), "nothing was done");
        drop(first);
        i32::from(now() != before)
    })
    .end();
    assert!(code == 0 || code == 77, "code {code}");
    if code == 77 {
        eprintln!("skipped: this user can have no mount namespace");
    }
}

fn journal_file(directory: &std::path::Path) -> std::path::PathBuf {
    fs::read_dir(directory).expect("journals").next().expect("one").expect("readable").path()
}

#[test]
fn a_directory_that_others_can_write_in_is_refused() {
    let scratch = Scratch::new("others");
    fs::create_dir(scratch.journals()).expect("a directory");
    fs::set_permissions(scratch.journals(), fs::Permissions::from_mode(0o777)).expect("its mode");
    let error =
        Journal::open_with(Settings { directory: scratch.journals(), ..Settings::default() }).expect_err("open");
    assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
}

#[test]
fn a_forked_child_cannot_use_its_parents_journal_and_undoes_nothing_of_it() {
    let scratch = Scratch::new("forked");
    let (victim, journal) = (Victim::sleeping(), scratch.journal());
    let lowered = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 9).expect("a limit");
    let code = Victim::ending(|| {
        let refused = Lowered::apply(&journal, &victim.again(), Resource::Descriptors, 7);
        i32::from(!matches!(refused, Err(Error { kind: ErrorKind::Lacking { .. }, .. })))
    })
    .end();
    assert_eq!(code, 0);
    assert_eq!(descriptors_of(&victim), Some(9));
    drop(lowered);
}

/// A journal of a process that is gone, as it would be found if the guardian had died as well.
fn left_behind(scratch: &Scratch, edit: impl Fn(String) -> String, apply: impl FnOnce(&Journal)) {
    let kept = scratch.path().join("kept");
    let mut holder = Victim::ending(|| {
        let journal = scratch.journal();
        apply(&journal);
        let guardian = windtunnel_inject::target::Process::open(journal.guardian().expect("a guardian"));
        guardian.expect("a guardian").kill().expect("killed");
        fs::copy(journal_file(&scratch.journals()), &kept).expect("copied");
        // Nothing is dropped: as if it were killed here.
        windtunnel_inject::sys::end_now(0)
    });
    assert_eq!(holder.end(), 0);
    let name = journal_file(&scratch.journals());
    fs::write(name, edit(fs::read_to_string(kept).expect("a journal"))).expect("written");
}

#[test]
fn what_is_left_when_the_guardian_died_too_is_recovered_later_and_only_once() {
    let scratch = Scratch::new("later");
    let victim = Victim::sleeping();
    let before = descriptors_of(&victim);
    left_behind(
        &scratch,
        |text| text,
        |journal| {
            std::mem::forget(Lowered::apply(journal, &victim.again(), Resource::Descriptors, 9).expect("a limit"));
            std::mem::forget(Paused::apply(journal, &victim.again()).expect("paused"));
        },
    );
    assert_eq!(descriptors_of(&victim), Some(9));
    let report = recover_in(&scratch.journals()).expect("recovered");
    assert!(report.is_clean() && report.undone.len() == 2, "{report}");
    assert!(matches!(report.undone[0].undo, Undo::Continue { .. }), "the newest first: {report}");
    assert_eq!(descriptors_of(&victim), before);
    assert!(proc::Stat::of(victim.pid()).expect("a victim").state != 'T');
    assert!(recover_in(&scratch.journals()).expect("recovered").undone.is_empty());
}

#[test]
fn another_process_with_the_same_number_is_left_alone() {
    let scratch = Scratch::new("reused");
    let victim = Victim::sleeping();
    let start = format!("\"start_ticks\":{}", Identity::of(victim.pid()).expect("a victim").start_ticks);
    let other = |text: String| text.replace(&start, "\"start_ticks\":1");
    left_behind(&scratch, other, |journal| {
        std::mem::forget(Lowered::apply(journal, &victim.again(), Resource::Descriptors, 9).expect("a limit"));
    });
    let report = recover_in(&scratch.journals()).expect("recovered");
    assert_eq!(report.undone[0].outcome, Outcome::TargetGone);
    assert_eq!(descriptors_of(&victim), Some(9), "not its business");
}

#[test]
fn what_was_in_force_before_a_boot_is_not_undone_after_it() {
    let scratch = Scratch::new("boot");
    let victim = Victim::sleeping();
    let boot = proc::boot_id().expect("a boot");
    left_behind(
        &scratch,
        |text| text.replace(&boot, "another"),
        |journal| {
            std::mem::forget(Lowered::apply(journal, &victim.again(), Resource::Descriptors, 9).expect("a limit"));
        },
    );
    let report = recover_in(&scratch.journals()).expect("recovered");
    assert_eq!(report.undone[0].outcome, Outcome::TargetGone);
    assert_eq!(descriptors_of(&victim), Some(9));
    assert!(scratch.journal_names().is_empty());
}

#[test]
fn recovering_does_not_touch_a_process_that_runs_nor_its_own() {
    let scratch = Scratch::new("alive");
    let victim = Victim::sleeping();
    let journal = scratch.journal();
    let own = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 9).expect("a limit");
    let report = recover_in(&scratch.journals()).expect("recovered");
    assert_eq!((report.in_use.len(), report.undone.len()), (1, 0), "{report}");
    let other = Victim::ending(|| {
        // The lock of this test's process holds against others, also after it has recovered itself.
        let report = recover_in(&scratch.journals()).expect("recovered");
        i32::from((report.in_use.len(), report.undone.len()) != (1, 0))
    })
    .end();
    assert_eq!(other, 0);
    assert_eq!(descriptors_of(&victim), Some(9));
    drop(own);
}

#[test]
fn a_guardian_that_was_killed_is_replaced_before_the_next_change() {
    let scratch = Scratch::new("replaced");
    let (victim, journal) = (Victim::sleeping(), scratch.journal());
    let _first = Lowered::apply(&journal, &victim.process, Resource::Descriptors, 9).expect("a limit");
    let guardian = windtunnel_inject::target::Process::open(journal.guardian().expect("one")).expect("alive");
    guardian.kill().expect("killed");
    holds_within(Duration::from_secs(2), "it ends", || !guardian.is_alive());
    let _second = Paused::apply(&journal, &victim.process).expect("paused");
    assert_ne!(journal.guardian(), Some(guardian.pid));
}
