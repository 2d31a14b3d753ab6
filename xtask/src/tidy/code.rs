//! Rust files: headers, lengths, `unsafe`, and what is unfinished.

use super::tokens::{Token, positions};
use super::tree::File;
use super::{Finding, Rule};

/// Lines of a file, tests included. Past this, a file is more than one room.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function from `fn` to its closing brace: what fits on a screen.
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn check(file: &File, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if !first.starts_with("//!") {
        let message = "no `//!` header: say what the file is for and what it must not do";
        findings.push(Finding::new(Rule::Header, &file.path, 1, message));
    }
    findings.extend(too_long(Rule::FileLength, &file.path, 0, file.text.lines().count(), FILE_LINES_MAX, "the file"));
    findings.extend(long_functions(&file.path, tokens));
    findings.extend(unsafe_code(&file.path, tokens));
    findings.extend(silenced_unsafe(&file.path, tokens));
    findings.extend(unfinished(&file.path, tokens));
    findings.extend(ignored_without_reason(&file.path, tokens));
    findings
}

fn too_long(rule: Rule, path: &str, line: usize, lines: usize, most: usize, what: &str) -> Option<Finding> {
    (lines > most).then(|| {
        let message = format!("{what} has {lines} lines, {most} are the most");
        Finding { measured: Some(lines), ..Finding::new(rule, path, line, message) }
    })
}

fn long_functions(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in positions(tokens, &["fn"]) {
        let Some(name) = tokens.get(at + 1).filter(|name| name.text != "(") else { continue };
        // The body is the first brace after the signature; a declaration without one ends with a semicolon.
        let mut next = at + 2;
        while let Some(token) = tokens.get(next).filter(|token| !matches!(token.text.as_str(), "{" | ";" | "}")) {
            next = token.closing.unwrap_or(next) + 1;
        }
        let Some(end) = tokens.get(next).and_then(|body| body.closing) else { continue };
        let (begin, lines) = (tokens[at].line, tokens[end].line - tokens[at].line + 1);
        let what = format!("`fn {}`", name.text);
        findings.extend(too_long(Rule::FunctionLength, path, begin, lines, FUNCTION_LINES_MAX, &what));
    }
    findings
}

/// Blocks, functions and implementations that are `unsafe`; not types of pointers to such functions, nor attributes.
fn unsafe_code(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let is_type = |at: usize| {
        let words = tokens[at + 1..].iter().map(|token| token.text.as_str());
        let mut words = words.filter(|word| *word != "extern" && !word.starts_with('"'));
        words.next() == Some("fn") && words.next() == Some("(")
    };
    let code = |at: &usize| tokens.get(at + 1).is_some_and(|next| next.text != "(") && !is_type(*at);
    let message = "`unsafe` outside the rooms that hold it";
    let found = positions(tokens, &["unsafe"]).filter(code);
    found.map(|at| Finding::new(Rule::Unsafe, path, tokens[at].line, message)).collect()
}

fn silenced_unsafe(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in positions(tokens, &["undocumented_unsafe_blocks"]) {
        let attribute = tokens[at..].iter().take_while(|token| token.text != "]");
        let reason = attribute.skip_while(|token| token.text != "reason").nth(2);
        if !reason.is_some_and(|reason| reason.text.starts_with("\"SAFETY: ")) {
            let message = "the lint is silenced without a reason that begins with `SAFETY: ` and argues";
            findings.push(Finding::new(Rule::SilencedUnsafe, path, tokens[at].line, message));
        }
    }
    findings
}

fn unfinished(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        for at in positions(tokens, &[name, "!"]) {
            // `lint(name) != x` is no macro.
            if tokens.get(at + 2).is_some_and(|next| next.closing.is_some()) {
                let message = format!("`{name}!` is left over");
                findings.push(Finding::new(Rule::Unfinished, path, tokens[at].line, message));
            }
        }
    }
    findings
}

/// rstest marks parameters with `#[ignore]`; those are in parentheses.
fn ignored_without_reason(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let found = positions(tokens, &["#", "[", "ignore", "]"]).filter(|at| !tokens[*at].parenthesised);
    let message = "`#[ignore]` without a reason: write `#[ignore = \"…\"]`";
    found.map(|at| Finding::new(Rule::IgnoreReason, path, tokens[at].line, message)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn found(source: &str) -> Vec<(Rule, usize)> {
        let file = File { path: "sim/src/a.rs".to_owned(), text: format!("//! A.\n{source}") };
        let tokens = read(&file.text).expect("valid");
        check(&file, &tokens).into_iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        let file = File { path: "a.rs".to_owned(), text: "use std::fmt;\n".to_owned() };
        let findings = check(&file, &read(&file.text).expect("valid"));
        assert_eq!(findings[0].rule, Rule::Header);
    }

    #[test]
    fn long_functions_are_found_inside_macros_too() {
        let body = "x();\n".repeat(69);
        assert_eq!(found(&format!("fn f(x: [u8; 2]) -> u8 {{\n{body}}}\n")), [(Rule::FunctionLength, 2)]);
        assert_eq!(found(&format!("hooks! {{ a;\nfn f() {{\n{body}}}\n}}\n")), [(Rule::FunctionLength, 3)]);
        assert_eq!(found("trait T { fn f(); fn g(); }\ntype F = fn(u8) -> u8;\n"), []);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(found(&"\n".repeat(600)), [(Rule::FileLength, 0)]);
        assert_eq!(found(&"\n".repeat(599)), []);
    }

    #[test]
    fn unsafe_code_is_found_but_not_types_or_attributes() {
        let code = "fn f() { unsafe { g() } }\nunsafe fn g() {}\nunsafe impl Sync for X {}\n";
        assert_eq!(found(code), [(Rule::Unsafe, 2), (Rule::Unsafe, 3), (Rule::Unsafe, 4)]);
        assert_eq!(found("struct P { f: unsafe extern \"C\" fn(u8), g: unsafe fn(u8) }\n#[unsafe(no_mangle)]\n"), []);
        assert_eq!(found("unsafe extern \"C\" fn g() {}\n"), [(Rule::Unsafe, 2)]);
    }

    #[test]
    fn silencing_the_unsafe_lint_needs_an_argument() {
        let silenced = |reason: &str| format!("#[expect(clippy::undocumented_unsafe_blocks{reason})]\nmod a {{}}\n");
        assert_eq!(found(&silenced(", reason = \"SAFETY: nobody else runs\"")), []);
        assert_eq!(found(&silenced(", reason = \"noise\"")), [(Rule::SilencedUnsafe, 2)]);
        assert_eq!(found(&silenced("")), [(Rule::SilencedUnsafe, 2)]);
    }

    #[test]
    fn what_is_unfinished_is_found_and_comparisons_are_not() {
        let finding = (Rule::Unfinished, 2);
        assert_eq!(found(concat!("fn f() { to", "do!() }\n")), [finding]);
        assert_eq!(found(concat!("fn f() { db", "g![1]; }\n")), [finding]);
        assert_eq!(found("fn f() { if todo != 1 {} }\n"), []);
    }

    #[test]
    fn ignored_tests_need_a_reason_and_ignored_parameters_do_not() {
        assert_eq!(found("#[test]\n#[ignore]\nfn f() {}\n"), [(Rule::IgnoreReason, 3)]);
        assert_eq!(found("#[ignore = \"needs a network\"]\nfn f(#[ignore] cx: u8) {}\n"), []);
    }
}
