//! Files that are written, read, changed by people and changed again.

use super::file::updated;
use super::*;
use crate::arguments::Paths;
use crate::document::Source;
use crate::settings::SaveSetting;
use std::fs;
use tempfile::TempDir;

const SHOWN: &str = "chaos-regressions/kv/linearizable.toml";

fn entry(identity: &str, seed: u64, plan: &str) -> Entry {
    Entry {
        fails: "panicked: an acknowledged write was lost (x: expected Some(99), read \"97\\\")".to_owned(),
        identity: Some(identity.to_owned()),
        seed,
        calm: false,
        plan: plan.parse().expect("a literal of these tests"),
        arguments: Paths::default(),
        digest: Some(0x9f0e_2c41),
        found: "windtunnel 0.1.0, debug".to_owned(),
    }
}

const LOST: &str = "panicked on test at tests/kv.rs:41:5: an acknowledged write was lost";
const TWO_FAULTS: &str =
    "1.204s partition {kv0} | {kv1,kv2} for 4s; at mark \"msg-10 \\\"\" crash kv1 restart after 2s";

fn add(text: &str, entry: &Entry, dodged: &[Entry]) -> Option<String> {
    updated(&Source { file: SHOWN, text }, "kv::linearizable", entry, dodged).expect("the text is right")
}

fn read(text: &str) -> Vec<Entry> {
    super::file::entries(&Source { file: SHOWN, text }).expect("the text is right")
}

/// A package's directory that is gone when the test is.
struct Package(TempDir);

impl Package {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("the system's directory for temporary files is writable"))
    }

    fn regressions(&self) -> Regressions {
        Regressions::below(self.0.path(), "kv", "linearizable::case_1", "kv::linearizable::case_1")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("chaos-regressions/kv")).expect("it was made");
        entries.map(|entry| entry.expect("as above").file_name().to_string_lossy().into_owned()).collect()
    }
}

#[test]
fn what_is_written_can_be_read() {
    let entries = [
        entry(LOST, 0x5f1d_0a2c_77e0_91b3, TWO_FAULTS),
        entry("deadlock", 1, "1s crash kv1"),
        Entry { calm: true, ..entry("livelock", u64::MAX, "") },
        Entry { arguments: "3s1c,,2s".parse().expect("as above"), ..entry("virtual timeout", 3, "") },
        Entry {
            fails: String::new(),
            identity: None,
            digest: None,
            found: String::new(),
            ..entry("", 4, "1s crash a")
        },
    ];
    let text = entries.iter().fold(String::new(), |text, entry| add(&text, entry, &[]).expect("it is new"));
    assert_eq!(read(&text), entries);
    insta::assert_snapshot!(text);
}

#[test]
fn what_people_wrote_stays() {
    let by_people = "\
# Ours.

[notes]
owner = 'kv team'   # ask them

[[found]] # the famous one
fails='x'
issue = 17
seed = '7' # lucky
plan = '''
# leader
1s crash kv0
2s crash kv1 restart after 1s
'''
identity = 'deadlock' # so far";
    let added = add(by_people, &entry(LOST, 1, "1s crash kv1"), &[]).expect("it is new");
    assert!(added.starts_with(by_people) && read(&added).len() == 2, "{added}");
    let smaller = add(&added, &entry("deadlock", 8, "3s crash kv0"), &[]).expect("it has fewer faults");
    insta::assert_snapshot!(smaller);
}

#[test]
fn a_failure_is_kept_once() {
    let text = add("", &entry(LOST, 1, "1s crash kv1; 2s crash kv2"), &[]).expect("it is new");
    for (known, what) in [
        (entry(LOST, 2, "1s crash kv0; 9s crash kv2"), "as many faults"),
        (entry(LOST, 2, TWO_FAULTS), "as many faults"),
        (entry("deadlock", 1, "1s crash kv1; 2s crash kv2"), "the same case"),
    ] {
        assert_eq!(add(&text, &known, &[]), None, "{what}");
    }
    let replaced = add(&text, &entry(LOST, 2, "1s crash kv1"), &[]).expect("it has fewer faults");
    assert_eq!(read(&replaced), [entry(LOST, 2, "1s crash kv1")]);
    let old = read(&text);
    let dodged = add(&text, &entry(LOST, 2, TWO_FAULTS), &old).expect("the old one does not fail any more");
    assert_eq!(read(&dodged), [entry(LOST, 2, TWO_FAULTS)]);
    let others = add(&text, &entry("deadlock", 2, "1s crash kv1"), &[]).expect("it is another bug");
    assert_eq!(read(&others).len(), 2);
}

#[test]
fn a_malformed_file_says_where_and_what_to_do() {
    let texts = [
        "[[found]\n",
        "# a\n<<<<<<< HEAD\n[[found]]\n=======\n>>>>>>> theirs\n",
        "found = 1\n",
        "[found]\nseed = '1'\n",
        "[[found]]\nplan = ''\n",
        "\n[[found]]\nseed = '1'\n",
        "[[found]]\nseed = 1\nplan = ''\n",
        "[[found]]\nseed = '1-9'\nplan = ''\n",
        "[[found]]\nseed = '1'\nplan = ''\ndigest = 'abc'\n",
        "[[found]]\nseed = '1'\nplan = '''\n1s crash kv1\n2s crahs kv2\n'''\n",
        "[[found]]\nseed = '1'\nplan = '1s loss kv1->kv2 0% for 1s'\n",
    ];
    let error = |text: &&str| match super::file::entries(&Source { file: SHOWN, text }) {
        Ok(entries) => panic!("{text}: {entries:?}"),
        Err(error) => error.to_string(),
    };
    insta::assert_snapshot!(texts.iter().map(error).collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn a_test_has_a_file_of_its_own_below_its_package() {
    let package = Package::new();
    let regressions = package.regressions();
    assert_eq!(regressions.read(), Ok(Vec::new()));
    let new = entry(LOST, 1, TWO_FAULTS);
    let shown = "chaos-regressions/kv/linearizable.case_1.toml".to_owned();
    assert_eq!(regressions.shown(), shown);
    assert_eq!(regressions.save(&new, &[], Saving::Write), Ok(Saved::Written(shown.clone())));
    assert_eq!(regressions.save(&new, &[], Saving::Write), Ok(Saved::Known(shown)));
    assert_eq!(regressions.read(), Ok(vec![new]));
    assert_eq!(package.files(), ["linearizable.case_1.toml"], "nothing is left beside it");
}

#[test]
fn what_may_not_be_written_is_printed() {
    let package = Package::new();
    let regressions = package.regressions();
    let new = entry(LOST, 1, TWO_FAULTS);
    let Ok(Saved::Printed(text)) = regressions.save(&new, &[], Saving::Print) else { panic!("it is printed") };
    assert!(!package.0.path().join("chaos-regressions").exists());
    insta::assert_snapshot!(text);
    // What lies between the scissors is a file, or the end of one.
    let inside = text.lines().filter(|line| !line.starts_with("----")).map(|line| format!("{line}\n"));
    assert_eq!(read(&inside.collect::<String>()), std::slice::from_ref(&new));
    // A tree that cannot be written, whoever runs the test: a file stands where the directory should.
    fs::write(package.0.path().join("chaos-regressions"), "").expect("it is writable");
    let answer = regressions.save(&new, &[], Saving::Write);
    assert!(
        matches!(&answer, Ok(Saved::Printed(text)) if text.contains("so that it is printed instead")),
        "{answer:?}"
    );
}

#[test]
fn on_ci_nothing_is_written_unless_that_is_asked_for() {
    let of = |setting| [false, true].map(|ci| Saving::of(setting, ci));
    assert_eq!(of(SaveSetting::Auto), [Saving::Write, Saving::Print]);
    assert_eq!(of(SaveSetting::Always), [Saving::Write, Saving::Write]);
    assert_eq!(of(SaveSetting::Never), [Saving::Print, Saving::Print]);
    assert!(found_with().starts_with("windtunnel "));
}
