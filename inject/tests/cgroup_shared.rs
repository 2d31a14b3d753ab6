//! Groups of several makers: those of a world are in the world's, and what one has switched on above it stays on while
//! another needs it.

mod victims;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::Injection;
use windtunnel_inject::cgroup::{Controller, Group, Layout, Limit, Limited, Version, join};
use windtunnel_inject::error::Result;
use windtunnel_inject::journal::Journal;

/// What it gives to the groups below, in version 2.
fn given(directory: &Path) -> String {
    fs::read_to_string(directory.join("cgroup.subtree_control")).expect("a group").trim().to_owned()
}

#[test]
fn groups_that_a_member_makes_are_in_its_group_limited_and_gone_with_it() {
    let scratch = Scratch::new("nested");
    let journal = scratch.journal();
    let made = Group::make_for_groups(&journal, "outer");
    let Some(outer) = victims::made(made) else { return };
    let directories: Vec<PathBuf> = outer.directories().map(Path::to_owned).collect();

    // Two of them as two worlds would: each ends without tidying up.
    let (mut read, write) = std::io::pipe().expect("a pipe");
    for name in ["one", "two"] {
        let mut member = Victim::ending_with(&[write.as_fd()], || {
            let inner = || -> Result<String> {
                join(&outer.entrances())?;
                let group = Group::make(&Journal::of_world()?, name)?;
                let limited = Limited::apply(&group, &Limit::Tasks { count: 50 })?;
                let places = group.directories().map(|directory| format!("{}\n", directory.display())).collect();
                std::mem::forget((group, limited));
                Ok(places)
            };
            let places = inner().unwrap_or_else(|error| format!("failed to be limited: {error}\n"));
            i32::from((&write).write_all(places.as_bytes()).is_err())
        });
        assert_eq!(member.end(), 0);
    }
    drop(write);
    let mut places = String::new();
    read.read_to_string(&mut places).expect("text");
    let inner: Vec<&Path> = places.lines().map(Path::new).collect();
    assert_eq!(inner.len(), 2 * directories.len(), "{places}");
    for place in &inner {
        assert!(place.is_dir(), "{}", place.display());
        assert!(directories.iter().any(|outer| place.starts_with(outer)), "{} is not in it", place.display());
    }
    outer.remove().expect("removed");
    assert!(!inner.iter().any(|place| place.exists()) && !directories.iter().any(|directory| directory.exists()));
}

#[test]
fn what_is_switched_on_for_a_group_stays_on_until_the_last_of_ours_has_gone() {
    let scratch = Scratch::new("shared");
    let layout = Layout::of(std::process::id()).expect("this process");
    let Some(two) = layout.two() else { return eprintln!("here is no version 2, in which groups share") };
    if layout.controlling(Controller::Pids).is_none_or(|hierarchy| hierarchy.version == Version::One) {
        return eprintln!("version 2 has no controllers here");
    }
    // Where this test may make a group, there may be another one, of which nobody has switched on anything.
    let Some(place) = victims::made(Group::make_for_groups(&scratch.journal(), "place")) else { return };
    let place =
        place.directories().find(|directory| directory.starts_with(&two.mount)).expect("it is in it").to_owned();
    let (nothing, leaf) = (place.join("nothing"), place.join("nothing/leaf"));
    fs::create_dir_all(&leaf).expect("a group");
    let victims = [Victim::sleeping(), Victim::sleeping()];
    for victim in &victims {
        fs::write(leaf.join("cgroup.procs"), victim.pid().to_string()).expect("a member");
    }
    assert_eq!(given(&nothing), "");

    let journal = scratch.journal();
    let around = |victim: &Victim| Group::around(&journal, &victim.process).expect("a group around it");
    let (first, second) = (around(&victims[0]), around(&victims[1]));
    for group in [&first, &second] {
        assert!(group.directories().any(|directory| directory.parent() == Some(&nothing)), "{group:?}");
    }
    let on = given(&nothing);
    assert!(on.contains("pids") && on.contains("memory"), "{on}");
    let mut limited = Limited::apply(&second, &Limit::Tasks { count: 50 }).expect("a limit");
    first.remove().expect("the first goes");
    assert_eq!(given(&nothing), on);
    limited.read_back().expect("the other's limit holds");
    // Who comes now needs what is there for the other only.
    let third = around(&victims[0]);
    limited.heal().expect("healed");
    second.remove().expect("the second goes");
    assert_eq!(given(&nothing), on);
    third.remove().expect("the last goes");
    assert_eq!(given(&nothing), "");

    // What somebody else had switched on stays on.
    fs::write(nothing.join("cgroup.subtree_control"), "+pids").expect("by somebody else");
    around(&victims[0]).remove().expect("it comes and goes");
    assert_eq!(given(&nothing), "pids");
    for mut victim in victims {
        victim.process.kill().expect("killed");
        victim.end();
    }
    holds_within(Duration::from_secs(5), "nobody is in it", || fs::remove_dir(&leaf).is_ok());
    fs::remove_dir(&nothing).expect("it is empty");
}
