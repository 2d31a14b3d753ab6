//! What programs see of files: those outside, read-only, and those that describe their machine.

mod common;
use common::world;
use std::fs;
use std::path::Path;

#[test]
fn outside_files_can_be_read() {
    let run = world(1, || {
        let text = fs::read_to_string("Cargo.toml").expect("the package's manifest");
        println!("{}", text.lines().nth(1).unwrap());
        let found = fs::metadata("Cargo.toml").unwrap();
        println!("{} {}", found.is_file(), found.len() == text.len() as u64);
        println!("{:?}", fs::read("no such file").map_err(|e| e.kind()));
        println!("{}", std::env::current_dir().unwrap().display());
        println!("{:?}", fs::canonicalize("src/../Cargo.toml"));
        println!("{}", fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap().len() == text.len());
    });
    assert_eq!(
        run.output,
        "name = \"windtunnel-sim\"\ntrue true\nErr(NotFound)\n/workspace/sim\nOk(\"/workspace/sim/Cargo.toml\")\ntrue\n"
    );
    assert_eq!(run.outcome, "");
}

#[test]
fn directories_are_listed_in_order() {
    let run = world(1, || {
        let names: Vec<_> = fs::read_dir(".").unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        println!("{names:?}");
    });
    assert_eq!(run.output, "[\"Cargo.toml\", \"src\", \"tests\"]\n");
}

#[test]
fn writing_is_refused_with_a_remedy() {
    let run = world(1, || {
        println!("before");
        let _ = fs::write("new.txt", "text");
        println!("after");
    });
    assert_eq!(run.output, "before\n");
    assert!(
        run.outcome.contains("open(\\\"new.txt\\\")") && run.outcome.contains("hosts have no disk yet"),
        "{}",
        run.outcome
    );
    assert!(!Path::new("new.txt").exists());
}

#[test]
fn proc_describes_the_host() {
    let run = world(1, || {
        for path in [
            "/proc/self/status",
            "/proc/self/stat",
            "/proc/cpuinfo",
            "/proc/meminfo",
            "/etc/hosts",
            "/etc/hostname",
            "/proc/uptime",
            "/proc/self/limits",
            "/proc/sys/kernel/random/uuid",
            "/proc/self/cmdline",
            "/proc/stat",
        ] {
            println!("{path}: {}", fs::read_to_string(path).unwrap_or_else(|e| e.to_string()));
        }
        println!("{:?} {:?}", std::env::current_exe(), std::thread::available_parallelism());
        println!(
            "{:?}",
            fs::read_dir("/proc/self/fd")
                .unwrap()
                .map(|e| fs::read_link(e.unwrap().path()).map_err(|e| e.kind()))
                .collect::<Vec<_>>()
        );
        println!("{:?}", fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
    });
    println!("{}", run.output);
    println!("{} {}", run.outcome, run.notes);
}
