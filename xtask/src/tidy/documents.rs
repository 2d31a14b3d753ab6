//! Documents that have to keep up: the changelog, and what is generated.

use super::tree::File;
use super::{Finding, Rule};
use crate::{code_map, works_with};
use anyhow::Result;

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    if !text("CHANGELOG.md").lines().any(|line| line == "## [Unreleased]") {
        let message = "no section `## [Unreleased]`; https://keepachangelog.com/en/1.1.0/";
        findings.push(Finding::new(Rule::Changelog, "CHANGELOG.md", 0, message));
    }
    let sources = files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
    let map = code_map::current(text("ARCHITECTURE.md"), sources);
    findings.extend(stale(Rule::CodeMap, "ARCHITECTURE.md", text("ARCHITECTURE.md"), map, "code-map"));
    let source = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.clone());
    let table = works_with::current(text("README.md"), text("Cargo.lock"), source);
    findings.extend(stale(Rule::WorksWith, "README.md", text("README.md"), table, "works-with"));
    findings
}

/// A document that is not as it should be.
fn stale(rule: Rule, path: &str, document: &str, current: Result<String>, task: &str) -> Option<Finding> {
    match current {
        Ok(current) if current == document => None,
        Ok(_) => {
            let message = format!("the generated part is not true any more: run `cargo xtask {task}`");
            Some(Finding::new(rule, path, 0, message))
        }
        Err(error) => Some(Finding::new(rule, path, 0, format!("{error:#}"))),
    }
}
