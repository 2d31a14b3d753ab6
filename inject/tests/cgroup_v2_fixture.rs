//! Version 2 of cgroups, on a tree of plain files: what is read and written where the kernel here has no controllers in
//! it. What the kernel does with it is not tested here.

mod victims;

use std::fs;
use std::path::{Path, PathBuf};
use victims::Scratch;
use windtunnel_inject::Injection;
use windtunnel_inject::cgroup::{Controller, Device, Group, Layout, Limit, Limited, Rates, Version};

struct Tree {
    scratch: Scratch,
    layout: Layout,
    group: PathBuf,
}

impl Tree {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let mount = scratch.path().join("cgroup");
        let group = mount.join("a.slice/b.scope");
        fs::create_dir_all(&group).expect("a tree");
        for directory in [&mount, &mount.join("a.slice"), &group] {
            fs::write(directory.join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("a file");
        }
        let files = [
            ("cgroup.procs", ""),
            ("cpu.max", "max 100000\n"),
            ("cpu.stat", "usage_usec 9\nnr_throttled 4\n"),
            ("io.max", "8:0 rbps=max wbps=9 riops=max wiops=max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("memory.max", "max\n"),
            ("memory.current", "8192\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("pids.max", "max\n"),
            ("pids.current", "2\n"),
            ("pids.events", "max 5\n"),
        ];
        for (file, text) in files {
            fs::write(group.join(file), text).expect("a file");
        }
        let mountinfo = format!("41 31 0:38 / {} rw,relatime - cgroup2 cgroup2 rw\n", mount.display());
        let layout = Layout::parse(&mountinfo, "0::/a.slice/b.scope\n");
        Self { scratch, layout, group }
    }

    fn existing(&self) -> Group {
        Group::existing_in(&self.scratch.journal(), self.layout.clone(), &self.group).expect("a group")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.group.join(file)).expect("a file")
    }

    /// What a limit writes into this file. Plain files keep the rest of what was there before: so it is emptied first
    /// by hand, and the value before is not what comes back.
    fn written(&self, limit: &Limit, file: &str) -> String {
        fs::write(self.group.join(file), "").expect("emptied");
        let mut limited = Limited::apply(&self.existing(), limit).expect("a limit");
        limited.read_back().expect("in force");
        assert!(limited.mechanism().starts_with("cgroup v2"), "{}", limited.mechanism());
        assert_eq!(limited.bit().expect("counted"), 0, "what was counted before does not count");
        let text = self.read(file);
        fs::write(self.group.join(file), "").expect("healed by hand");
        text
    }
}

#[test]
fn a_process_is_found_in_the_one_hierarchy_with_its_controllers() {
    let tree = Tree::new("layout");
    for controller in Controller::ALL {
        let found = tree.layout.controlling(controller).expect("a hierarchy");
        assert_eq!((found.version, found.own.as_path()), (Version::Two, tree.group.as_path()));
    }
    assert_eq!(tree.layout.sibling(&tree.group, Controller::Memory), Some(tree.group.clone()));
    assert_eq!(tree.layout.sibling(Path::new("/elsewhere"), Controller::Memory), None);
}

#[test]
fn limits_are_written_as_version_2_wants_them() {
    let tree = Tree::new("limits");
    let processors = Limit::Processors { quota_us: 20_000, period_us: 100_000 };
    assert_eq!(tree.written(&processors, "cpu.max"), "20000 100000");
    assert_eq!(tree.written(&Limit::Tasks { count: 7 }, "pids.max"), "7");
    assert_eq!(tree.written(&Limit::Memory { bytes: 9000 }, "memory.max"), "8192", "whole pages");
    let rates = Rates { write_bytes_per_s: Some(1000), read_calls_per_s: Some(5), ..Rates::default() };
    let io = Limit::Io { device: Device { major: 8, minor: 0 }, rates };
    assert_eq!(tree.written(&io, "io.max"), "8:0 rbps=max wbps=1000 riops=5 wiops=max");
}

#[test]
fn use_and_kills_are_read_from_version_2s_files() {
    let tree = Tree::new("counters");
    let group = tree.existing();
    assert_eq!(group.memory_used_bytes().expect("counted"), 8192);
    assert_eq!(group.tasks_used().expect("counted"), 2);
    assert_eq!(group.oom_kills().expect("counted"), 1);
    fs::write(tree.group.join("pids.max"), "").expect("emptied");
    let mut limited = Limited::apply(&group, &Limit::Tasks { count: 7 }).expect("a limit");
    fs::write(tree.group.join("pids.events"), "max 8\n").expect("the kernel's");
    assert_eq!(limited.bit().expect("counted"), 3);
}

#[test]
fn a_group_without_the_controller_says_what_would_help() {
    let tree = Tree::new("without");
    fs::write(tree.group.join("cgroup.controllers"), "cpu\n").expect("a file");
    let error = Limited::apply(&tree.existing(), &Limit::Tasks { count: 7 }).expect_err("no controller");
    assert!(error.to_string().contains("cgroup.subtree_control"), "{error}");
}
