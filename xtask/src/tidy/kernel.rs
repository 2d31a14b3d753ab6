//! The simulated kernel: nothing in it may depend on the real world or on chance.

use super::tokens::{Token, positions};
use super::tree::File;
use super::{Finding, Rule};

const ROOM: &str = "sim/src/kernel/";

/// Paths that lead out of the simulation, and what to use instead.
const REAL_WORLD: [(&[&str], &str); 4] = [
    (&["Instant", ":", ":", "now"], "the kernel has a clock of its own"),
    (&["SystemTime", ":", ":", "now"], "the kernel has a clock of its own"),
    (&["std", ":", ":", "thread"], "the kernel is one thread; simulated ones are its data"),
    (&["std", ":", ":", "process"], "the kernel starts and ends no process; the carrier does"),
];

pub(crate) fn check(file: &File, tokens: &[Token]) -> Vec<Finding> {
    if !file.path.starts_with(ROOM) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut found = |rule, at: usize, message: String| {
        findings.push(Finding::new(rule, &file.path, tokens[at].line, message));
    };
    for (path, instead) in REAL_WORLD {
        for at in positions(tokens, path) {
            found(Rule::RealWorld, at, format!("`{}`: {instead}", path.concat()));
        }
    }
    for name in ["HashMap", "HashSet"] {
        // One finding for a file that imports the type and names it ten times.
        if let Some(at) = positions(tokens, &[name]).next() {
            let message = format!(
                "`{name}`: its order is chance; use `BTreeMap`, a slab, or list the file as one that looks up only"
            );
            found(Rule::UnorderedMap, at, message);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<Rule> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file, &read(text).expect("valid")).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn the_kernel_reads_no_real_clock_and_starts_no_thread() {
        let text = "fn f() { Instant::now(); std::time::SystemTime::now(); std::thread::spawn(g); }\n";
        assert_eq!(rules("sim/src/kernel/clock.rs", text), [Rule::RealWorld; 3]);
        assert_eq!(rules("sim/src/carrier/real.rs", text), []);
    }

    #[test]
    fn unordered_maps_are_found_once_a_file() {
        let text = "use std::collections::HashMap;\nstruct A { a: HashMap<u8, u8>, b: HashSet<u8> }\n";
        assert_eq!(rules("sim/src/kernel/a.rs", text), [Rule::UnorderedMap; 2]);
    }
}
