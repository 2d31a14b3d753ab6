//! The exceptions, each with its reason.
//!
//! A limit is a ratchet: it says how long the longest is today, and has to be lowered when that gets shorter. An
//! exception that nothing needs any more has to go.

use super::{Finding, Rule};

/// A place where a rule does not hold.
pub(crate) struct Allowed {
    pub(crate) rule: Rule,
    /// A file, or a directory when it ends with `/`.
    pub(crate) path: &'static str,
    /// For rules with a limit: the greatest value there.
    pub(crate) limit: Option<usize>,
    pub(crate) reason: &'static str,
}

const fn place(rule: Rule, path: &'static str, reason: &'static str) -> Allowed {
    Allowed { rule, path, limit: None, reason }
}

pub(crate) const ALLOWED: &[Allowed] = &[
    place(Rule::Unsafe, "sim/src/abi/", "it implements C's interface"),
    place(Rule::Unsafe, "sim/src/carrier/", "it switches stacks and maps images"),
    place(Rule::Unsafe, "sim/src/worker.rs", "a raw fork, before any world exists"),
    place(Rule::Unsafe, "inject/src/sys/", "system calls that have no safe wrapper elsewhere"),
    place(Rule::Unsafe, "harness/src/system/", "the system, wrapped for the rest of the harness"),
    place(Rule::Unsafe, "cli/src/leaks.rs", "its test makes a system call of its own, to be found"),
    place(Rule::Unsafe, "sim/tests/", "tests make the calls that C programs make"),
    place(Rule::Unsafe, "tests/tests/real_clocks.rs", "it reads the machine's clocks past every libc"),
    place(Rule::Unsafe, "bench/tunnel/", "the simulated kernel's own interface, beneath the harness"),
    place(Rule::Unsafe, "bench/workloads/", "a system call that no simulator intercepts"),
    place(Rule::Unsafe, "inject/src/namespace.rs", "unshare(2), which rustix leaves to its callers to judge"),
    place(Rule::MachinePath, "inject/src/disk/", "what of the machine hosts see, and what not"),
    place(Rule::MachinePath, "inject/src/journal/directory.rs", "where a journal is when nothing better is there"),
    place(Rule::MachinePath, "sim/src/kernel/machine/", "paths of simulated hosts"),
    place(Rule::MachinePath, "xtask/src/vm/second.sh", "where the box has its own disk"),
    place(Rule::UnorderedMap, "sim/src/kernel/futex.rs", "looked up by address, never iterated; own hasher, no chance"),
    place(Rule::UnorderedMap, "sim/src/kernel/net/link/", "looked up by pair, never iterated; own hasher, no chance"),
];

impl Allowed {
    fn covers(&self, finding: &Finding) -> bool {
        let here = finding.path == self.path || (self.path.ends_with('/') && finding.path.starts_with(self.path));
        self.rule == finding.rule && here && self.limit.is_none_or(|limit| finding.measured <= Some(limit))
    }
}

/// Drops what is allowed, and adds exceptions that are no longer needed as they stand.
pub(crate) fn apply(findings: Vec<Finding>, allowed: &[Allowed]) -> Vec<Finding> {
    let stale = allowed.iter().filter_map(|allowed| stale(allowed, &findings)).collect::<Vec<_>>();
    let left = findings.into_iter().filter(|finding| !allowed.iter().any(|allowed| allowed.covers(finding)));
    left.chain(stale).collect()
}

fn stale(allowed: &Allowed, findings: &[Finding]) -> Option<Finding> {
    let covered = findings.iter().filter(|finding| allowed.covers(finding));
    let message = match (covered.map(|finding| finding.measured).max(), allowed.limit) {
        (None, _) => "no longer needed: remove it".to_owned(),
        (Some(Some(greatest)), Some(limit)) if greatest < limit => format!("lower its limit to {greatest}"),
        _ => return None,
    };
    let message = format!("the exception from {:?} ({}) in {}: {message}", allowed.rule, allowed.reason, file!());
    Some(Finding::new(allowed.rule, allowed.path, 0, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(lines: usize) -> Finding {
        Finding { measured: Some(lines), ..Finding::new(Rule::FileLength, "a.rs", 0, "long") }
    }

    const LONG_ALLOWED: Allowed = Allowed { rule: Rule::FileLength, path: "a.rs", limit: Some(700), reason: "a table" };

    #[test]
    fn a_limit_is_a_ratchet() {
        assert_eq!(apply(vec![long(700)], &[LONG_ALLOWED]), []);
        assert!(apply(vec![long(701)], &[LONG_ALLOWED]).contains(&long(701)));
        let lowered = apply(vec![long(650)], &[LONG_ALLOWED]);
        assert!(lowered[0].message.ends_with("lower its limit to 650"), "{lowered:?}");
        let removed = apply(vec![], &[LONG_ALLOWED]);
        assert!(removed[0].message.ends_with("remove it"), "{removed:?}");
    }

    #[test]
    fn a_directory_covers_what_is_below_it() {
        let allowed = [place(Rule::Unsafe, "sim/src/abi/", "C")];
        let finding = |path| Finding::new(Rule::Unsafe, path, 1, "unsafe");
        let left = apply(vec![finding("sim/src/abi/io.rs"), finding("sim/src/abilities.rs")], &allowed);
        assert_eq!(left, [finding("sim/src/abilities.rs")]);
    }
}
