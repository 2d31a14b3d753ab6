//! Every text: widths, trailing space, and paths of the machine it was written on.

use super::tree::File;
use super::{Finding, Rule};

/// Columns of a line. Wide enough for a comment beside its code, narrow enough for two files side by side.
const WIDTH_MAX: usize = 120;

/// Directories of somebody's machine. In parts, so that this file does not find itself.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/t", "mp")];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut tests, mut output) = (false, false);
    for (line, number) in file.text.lines().zip(1..) {
        // What a program has printed is shown as it is.
        output = file.path.ends_with(".md") && if line.starts_with("```") { line == "```text" } else { output };
        // A module of tests stands at the end of its file; this is not the place to parse it.
        tests |= file.path.ends_with(".rs") && line.trim_start().starts_with("mod tests");
        let mut found = |rule, message: String| findings.push(Finding::new(rule, &file.path, number, message));
        if line.ends_with([' ', '\t']) {
            found(Rule::TrailingSpace, "white space at the end of the line".to_owned());
        }
        let columns = line.chars().count();
        if columns > WIDTH_MAX && !output && !may_be_wide(file, line) {
            found(Rule::LineWidth, format!("{columns} columns, {WIDTH_MAX} are the most"));
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(*path))
            && !(tests || file.is_test() || file.is_fixture())
        {
            found(Rule::MachinePath, format!("`{path}` is a path of some machine, not of every reader's"));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        let message = "the file does not end with exactly one line end";
        findings.push(Finding::new(Rule::TrailingSpace, &file.path, 0, message));
    }
    findings
}

/// A row of a table cannot be broken, nor can an address.
fn may_be_wide(file: &File, line: &str) -> bool {
    let table = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
    let address = line.split_whitespace().any(|word| word.contains("://") && word.chars().count() > WIDTH_MAX / 2);
    file.is_fixture() || table || address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<Rule> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn width_is_counted_in_characters_and_tables_may_be_wide() {
        assert_eq!(rules("a.rs", &format!("//{}\n", "ü".repeat(118))), []);
        assert_eq!(rules("a.rs", &format!("//{}\n", "ü".repeat(119))), [Rule::LineWidth]);
        let wide = "x".repeat(200);
        assert_eq!(rules("a.md", &format!("|{wide}\n```text\n{wide}\n```\n")), []);
        assert_eq!(rules("a.md", &format!("```rust\n{wide}\n```\n")), [Rule::LineWidth]);
    }

    #[test]
    fn trailing_space_is_found_in_lines_and_at_the_end() {
        assert_eq!(rules("a.md", "a \nb\n"), [Rule::TrailingSpace]);
        assert_eq!(rules("a.md", "a"), [Rule::TrailingSpace]);
        assert_eq!(rules("a.md", "a\n\n"), [Rule::TrailingSpace]);
    }

    #[test]
    fn machine_paths_are_for_tests_only() {
        let text = "let out = \"/tmp/out\";\n";
        assert_eq!(rules("sim/src/a.rs", text), [Rule::MachinePath]);
        assert_eq!(rules("sim/tests/a.rs", text), []);
        assert_eq!(rules("sim/src/a.rs", &format!("mod tests {{\n{text}}}\n")), []);
    }
}
