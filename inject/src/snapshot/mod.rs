//! What a machine looks like, as text: two of them are equal if nothing was left.
//!
//! For tests, ours and those of users: take one before, one after, and [compare](Snapshot::diff). What changes by
//! itself (counters, ids that are given anew, zombies) is left out.

mod machine;
mod netlink;

use std::collections::BTreeMap;
use std::fmt::Write;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// nftables of this network namespace: tables, chains, rules, sets and their elements.
    Nftables,
    /// Devices of this network namespace, their addresses and queueing disciplines.
    Network,
    /// Mounts of this mount namespace.
    Mounts,
    /// Cgroups of ours, and the values of the caller's own ones that faults change.
    Cgroups,
    /// Processes of ours that work.
    Processes,
    /// Namespaces that some process is in.
    Namespaces,
    /// Loop devices that are bound to a file.
    Loops,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Nftables, Self::Network, Self::Mounts, Self::Cgroups, Self::Processes, Self::Namespaces, Self::Loops];

    fn look(self) -> Vec<String> {
        match self {
            Self::Nftables => netlink::nftables(),
            Self::Network => netlink::network(),
            Self::Mounts => machine::mounts(),
            Self::Cgroups => machine::cgroups(),
            Self::Processes => machine::processes(),
            Self::Namespaces => machine::namespaces(),
            Self::Loops => machine::loops(),
        }
    }
}

/// What the machine looked like. What cannot be looked at says so in a line, so that it is equal to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeMap<Part, Vec<String>>,
}

impl Snapshot {
    /// Looks at everything. On a machine where others work, look at [some](Self::of).
    ///
    /// ```
    /// use windtunnel_inject::snapshot::{Part, Snapshot};
    ///
    /// let before = Snapshot::of(&[Part::Mounts, Part::Network]);
    /// // …inject and heal…
    /// assert_eq!(Snapshot::of(&[Part::Mounts, Part::Network]).diff(&before), "");
    /// ```
    pub fn take() -> Self {
        Self::of(&Part::ALL)
    }

    /// Looks at these.
    pub fn of(parts: &[Part]) -> Self {
        let look = |part: &Part| {
            let mut lines = part.look();
            lines.sort();
            (*part, lines)
        };
        Self { lines: parts.iter().map(look).collect() }
    }

    /// Keeps only lines that this holds for: those about one's own test.
    #[must_use]
    pub fn only(mut self, is_kept: impl Fn(Part, &str) -> bool) -> Self {
        for (part, lines) in &mut self.lines {
            lines.retain(|line| is_kept(*part, line));
        }
        self
    }

    /// What is there now and was not before (`+`), and what was before and is not now (`-`); empty if nothing changed.
    pub fn diff(&self, before: &Self) -> String {
        let mut text = String::new();
        let nothing = Vec::new();
        for part in Part::ALL {
            let now = self.lines.get(&part).unwrap_or(&nothing);
            let then = before.lines.get(&part).unwrap_or(&nothing);
            for (sign, lines) in [("+", missing_from(then, now)), ("-", missing_from(now, then))] {
                for line in lines {
                    writeln!(text, "{sign} {part:?}: {line}").expect("a string takes everything");
                }
            }
        }
        text
    }
}

/// Those of `lines` that `others` lack, as often as they lack them.
fn missing_from<'a>(others: &[String], lines: &'a [String]) -> Vec<&'a str> {
    let mut left: Vec<&String> = others.iter().collect();
    let mut missing = Vec::new();
    for line in lines {
        match left.iter().position(|other| *other == line) {
            Some(found) => drop(left.swap_remove(found)),
            None => missing.push(line.as_str()),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(lines: &[&str]) -> Snapshot {
        Snapshot { lines: BTreeMap::from([(Part::Mounts, lines.iter().map(|&line| line.to_owned()).collect())]) }
    }

    #[test]
    fn what_came_and_what_went_is_told_apart_and_duplicates_count() {
        let (before, after) = (snapshot(&["a", "b", "b"]), snapshot(&["a", "a", "b"]));
        assert_eq!(after.diff(&before), "+ Mounts: a\n- Mounts: b\n");
        assert_eq!(after.diff(&after), "");
    }
}
