//! Documents that have to keep up: the changelog and the code map.

use super::tree::File;
use super::{Finding, Rule};
use crate::code_map;

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    if !text("CHANGELOG.md").lines().any(|line| line == "## [Unreleased]") {
        let message = "no section `## [Unreleased]`; https://keepachangelog.com/en/1.1.0/";
        findings.push(Finding::new(Rule::Changelog, "CHANGELOG.md", 0, message));
    }
    let sources = files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
    match code_map::current(text("ARCHITECTURE.md"), sources) {
        Ok(current) if current == text("ARCHITECTURE.md") => {}
        Ok(_) => {
            let message = "the code map is not true any more: run `cargo xtask code-map`";
            findings.push(Finding::new(Rule::CodeMap, "ARCHITECTURE.md", 0, message));
        }
        Err(error) => findings.push(Finding::new(Rule::CodeMap, "ARCHITECTURE.md", 0, error.to_string())),
    }
    findings
}
