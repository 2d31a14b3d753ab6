//! Whatever the README shows has happened: every block of code is run here, in a crate that is made of its blocks.
//!
//! `UPDATE_README=1 cargo test -p windtunnel-tests --test readme` writes the failure that it shows.

use std::fs;
use windtunnel_tests::{Output, Scratch, sh, tree};
use xtask::marked;

const README: &str = "README.md";
/// The test of the README that fails.
const FAILING: &str = "an_order_is_placed_once";

/// A fenced block.
struct Block {
    language: String,
    /// The paragraph before it.
    before: String,
    text: String,
}

impl Block {
    /// The file that the paragraph before it names first, for what is a file.
    fn file(&self) -> Option<&str> {
        let is_file = matches!(self.language.as_str(), "toml" | "rust");
        self.before.split('`').nth(1).filter(|_| is_file)
    }
}

fn readme() -> String {
    fs::read_to_string(tree().join(README)).expect("there is a README")
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut before, mut open): (String, Option<Block>) = Default::default();
    for line in document.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), before: before.clone(), text: String::new() });
            }
            (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
            (None, None) if line.is_empty() => {}
            (None, None) => before = line.to_owned(),
        }
    }
    blocks
}

/// A crate of the README's files, for one test.
fn shop(test: &str) -> Scratch {
    let blocks = blocks(&readme());
    let file = |block: &Block| Some((block.file()?.to_owned(), block.text.clone()));
    let files: Vec<_> = blocks.iter().filter_map(file).collect();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let tests = ["tests/shop.rs", "tests/drawn.rs", "tests/vocabulary.rs"];
    assert_eq!(names, ["Cargo.toml", "src/lib.rs", tests[0], tests[1], tests[2], "chaos.toml"]);
    Scratch::new(env!("CARGO_TARGET_TMPDIR"), test, &files)
}

/// What a block says is either a file of the crate, a command that a test below runs, or what one prints.
#[test]
fn no_block_is_left_out() {
    let mut commands = Vec::new();
    for block in blocks(&readme()) {
        match block.language.as_str() {
            "toml" | "rust" => assert!(block.file().is_some(), "no file is named before\n{}", block.text),
            "sh" => commands.extend(block.text.lines().map(str::to_owned)),
            "text" => assert!(block.text.contains(FAILING), "nothing prints\n{}", block.text),
            other => panic!("nothing runs a block of {other:?}:\n{}", block.text),
        }
    }
    assert_eq!(commands, ["cargo nextest run", "cargo xtask demo", "cargo xtask test"]);
    let ci = fs::read_to_string(tree().join(".ci/run")).expect("there is a script");
    assert!(ci.trim_end().ends_with("exec cargo xtask test"), "the last command is run by CI");
}

#[test]
fn the_first_test_fails_as_shown_and_the_others_pass() {
    let shop = shop("readme_failure");
    // As on CI the seeds are the same in every run, as at a desk what is found is kept.
    let output = shop.sh("CI=true CHAOS_SAVE=always cargo nextest run --no-fail-fast").ended_with(100);
    output.says("3 tests run: 2 passed, 1 failed, 0 skipped");
    let mut block = output.block(FAILING);
    // As in a checkout of one's own, wherever this one is built.
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        block.text = block.text.replace(&*target.to_string_lossy(), "target");
    }
    let shown = format!("```text\n{}\n```", block.text.trim_end());
    let document = readme();
    if std::env::var_os("UPDATE_README").is_some() {
        let updated = marked::replaced(&document, "failure", &shown).expect("it has a place for the failure");
        fs::write(tree().join(README), updated).expect("the README can be written");
        return;
    }
    // Another build is another run, so figures differ; everything else has to be as shown.
    let documented = document.split("```").find(|part| part.starts_with("text\n")).expect("a failure is shown");
    let figures = "run this test with UPDATE_README=1 if the change is meant";
    assert_eq!(without_figures(documented.trim_start_matches("text")), without_figures(&block.text), "{figures}");

    let command = block.fields("replay")[0];
    let replayed: Output = shop.sh(command).ended_with(100);
    assert_eq!(replayed.block(FAILING).fields("digest"), block.fields("digest"), "{}", replayed.text);
}

/// Every word with a digit in it becomes `#`.
fn without_figures(text: &str) -> String {
    let has_digit = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let word = |word: &str| if has_digit(word) { "#".to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The message about an unknown variable lists all there are; the README explains each.
#[test]
fn every_variable_is_explained() {
    let listed = shop("readme_variables").sh("CHAOS_NOSUCH=1 cargo test --test shop").ended_with(101);
    let is_variable = |line: &&str| line.trim_start().starts_with("CHAOS_");
    let variables = listed.text.lines().filter(is_variable).filter_map(|line| line.split_whitespace().next());
    let (mut count, readme) = (0, readme());
    for variable in variables {
        count += 1;
        assert!(readme.contains(&format!("| `{variable}` |")), "the README does not explain {variable}");
    }
    let explained = readme.lines().filter(|line| line.starts_with("| `CHAOS_")).count();
    assert_eq!(count, explained, "{}", listed.text);
}

#[test]
fn the_demo_turns_out() {
    let output = sh(tree(), "cargo xtask demo").ended_with(0);
    output.says("replays    equal, both times");
    output.says("xtask demo: all as it has to be");
}
