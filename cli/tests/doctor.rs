//! `cargo chaos doctor`, as it is run.

use serde_json::Value;
use std::process::{Command, Output};
use windtunnel_faults::Kind;
use windtunnel_inject::offer::{Foundation, Simulation};

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-chaos"));
    command.arg("chaos").arg("doctor").args(arguments).output().expect("the doctor runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Whatever the machine is like, everything is asked about, and whether a real world is possible decides what
/// `--require real` exits with.
#[test]
fn everything_is_asked_about_and_what_is_required_decides() {
    let output = doctor(&["--require", "real"]);
    let text = text(&output);
    println!("{text}");
    let names = Foundation::ALL.iter().map(|one| one.name()).chain(Kind::ALL.iter().map(|kind| kind.name()));
    for name in names.chain(Simulation::ALL.iter().map(|one| one.name())) {
        assert!(text.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name} is not there");
    }
    let is_possible = text.lines().any(|line| line.starts_with("A real world is possible here, with "));
    assert_eq!(output.status.success(), is_possible);
    assert_eq!(!is_possible, text.contains("There is no real world here: without "));
    // Nothing that was tried has written to the terminal.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    if std::env::var_os("CHAOS_REQUIRE").is_some() {
        assert!(is_possible, "required, and not possible here");
    }
}

#[test]
fn programs_are_told_the_same_and_not_failed_unless_they_ask() {
    let output = doctor(&["--json"]);
    assert!(output.status.success());
    let offer: Value = serde_json::from_str(&text(&output)).expect("JSON");
    let names = |part: &str| -> Vec<String> {
        let all = offer[part].as_array().expect("a list");
        all.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("faults"), Kind::ALL.iter().map(|kind| kind.name().to_owned()).collect::<Vec<_>>());
    assert_eq!(names("foundations").len(), Foundation::ALL.len());
    for one in offer["faults"].as_array().expect("a list") {
        let said = match one["verdict"].as_str() {
            Some("works") => &one["how"],
            Some("lacking") => &one["remedy"],
            other => panic!("{other:?}"),
        };
        assert!(said.is_string(), "{one}");
        assert_eq!(one["verdict"] == "works", one["by"].is_string(), "{one}");
    }
}
