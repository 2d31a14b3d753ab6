//! Crates: arrows between them point one way, and all share the workspace's lints.
//!
//! `faults` ← `sim`, `inject` ← `harness` ← `cli`, `examples`, `tests`. `macros` names `harness` in what it generates
//! and depends on nothing of ours.

use super::tree::File;
use super::{Finding, Rule};
use anyhow::{Context, Result};
use toml::{Table, Value};

/// What a crate may use of ours.
enum May {
    /// These.
    Only(&'static [&'static str]),
    /// Everything: it stands at the arrows' end.
    All,
}

const CRATES: [(&str, May); 16] = [
    ("windtunnel-faults", May::Only(&[])),
    ("windtunnel-macros", May::Only(&[])),
    ("windtunnel-sim", May::Only(&["windtunnel-faults"])),
    ("windtunnel-inject", May::Only(&["windtunnel-faults"])),
    ("windtunnel", May::Only(&["windtunnel-faults", "windtunnel-sim", "windtunnel-inject", "windtunnel-macros"])),
    ("cargo-chaos", May::Only(&["windtunnel-faults", "windtunnel-inject", "windtunnel"])),
    ("xtask", May::Only(&[])),
    // Services that a user recognises know nothing of us; their chaos tests do.
    ("kv", May::Only(&["windtunnel"])),
    ("ledger", May::Only(&["windtunnel"])),
    ("accounts", May::Only(&["windtunnel"])),
    ("redis-workload", May::Only(&["windtunnel"])),
    ("workloads", May::Only(&["windtunnel"])),
    ("allocator-workload", May::Only(&["windtunnel", "workloads"])),
    ("pitfalls", May::Only(&["windtunnel"])),
    ("meter", May::Only(&["windtunnel"])),
    ("windtunnel-tests", May::All),
];

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(crate) fn check(files: &[File]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && is_member(file)) {
        let manifest: Table = file.text.parse().with_context(|| format!("failed to read {}", file.path))?;
        findings.extend(arrows(file, &manifest));
        let shared = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
        if shared != Some(true) {
            let message = "the workspace's lints are not used: add `[lints]` with `workspace = true`";
            findings.push(Finding::new(Rule::SharedLints, &file.path, 0, message));
        }
    }
    Ok(findings)
}

/// `bench/` is a workspace of its own, and fixtures may look like anything.
fn is_member(file: &File) -> bool {
    !file.path.starts_with("bench/") && !file.is_fixture()
}

fn arrows(file: &File, manifest: &Table) -> Vec<Finding> {
    let finding = |message: String| Finding::new(Rule::Arrow, &file.path, 0, message);
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let Some((name, may)) = name.and_then(|name| CRATES.iter().find(|(known, _)| *known == name)) else {
        let message = format!("the crate {} is not in the table of {}", name.unwrap_or("?"), file!());
        return vec![finding(message)];
    };
    let May::Only(allowed) = may else { return Vec::new() };
    let mut findings = Vec::new();
    for table in TABLES {
        let used = manifest.get(table).and_then(Value::as_table).into_iter().flat_map(Table::keys);
        for used in used.filter(|used| CRATES.iter().any(|(ours, _)| ours == used)) {
            if !allowed.contains(&used.as_str()) {
                findings.push(finding(format!("`{name}` must not use `{used}` ({table}): arrows point one way")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let file = File { path: "a/Cargo.toml".to_owned(), text: format!("{text}\n[lints]\nworkspace = true\n") };
        let findings = check(&[file]).expect("valid");
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn arrows_point_one_way() {
        let name = |name: &str| format!("[package]\nname = \"{name}\"\n");
        assert!(
            problems(&format!("{}[dependencies]\nwindtunnel-sim.workspace = true\n", name("windtunnel"))).is_empty()
        );
        let back = problems(&format!("{}[dev-dependencies]\nwindtunnel.workspace = true\n", name("windtunnel-sim")));
        assert_eq!(back, ["`windtunnel-sim` must not use `windtunnel` (dev-dependencies): arrows point one way"]);
        assert_eq!(problems(&name("unheard-of")).len(), 1);
    }

    #[test]
    fn every_crate_shares_the_lints() {
        let file = File { path: "a/Cargo.toml".to_owned(), text: "[package]\nname = \"xtask\"\n".to_owned() };
        assert_eq!(check(&[file]).expect("valid")[0].rule, Rule::SharedLints);
    }
}
