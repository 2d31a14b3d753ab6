//! What the replay of a saved case says about its bug.

use super::entry::Entry;
use crate::report::is_same_after_edits;
use std::fmt::{self, Display, Formatter};

/// What happened when an entry was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Identity and first line of the failure, when it failed.
    pub(crate) failure: Option<(String, String)>,
    pub(crate) digest: Option<u128>,
    /// Its arguments could be drawn.
    pub(crate) drawn: bool,
}

/// Whether the bug is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same failure in the very same run.
    FailsExactly,
    /// The same failure; the code, or what it is built with, has changed since.
    StillFails,
    /// Something else goes wrong, or nobody wrote down what did: its first line.
    FailsOtherwise { saved: String, now: String },
    /// The run that failed, equal in every event, passes: what judges it is not part of the digest.
    PassesEqually,
    /// It passes on another path.
    Dodged,
    /// Its arguments are those of other parameters.
    Undrawable,
}

/// Judges the replay of an entry, with its own seed and plan.
pub(crate) fn judge(entry: &Entry, replayed: &Replayed) -> Verdict {
    let equal = entry.digest.is_some() && entry.digest == replayed.digest;
    match &replayed.failure {
        None if !replayed.drawn => Verdict::Undrawable,
        None if equal => Verdict::PassesEqually,
        None => Verdict::Dodged,
        Some((identity, first_line)) => match &entry.identity {
            Some(saved) if is_same_after_edits(saved, identity) && equal => Verdict::FailsExactly,
            Some(saved) if is_same_after_edits(saved, identity) => Verdict::StillFails,
            _ => Verdict::FailsOtherwise { saved: entry.fails.clone(), now: first_line.clone() },
        },
    }
}

impl Verdict {
    /// Whether the test has to fail.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Dodged | Self::PassesEqually | Self::Undrawable)
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailsExactly => f.write_str("a saved case still fails, exactly as it did when it was found"),
            Self::StillFails => f.write_str(
                "a saved case still fails in the same way, though on another path (the code or the build has changed \
                 since it was found)",
            ),
            Self::FailsOtherwise { saved, now } if saved.is_empty() => write!(f, "a saved case fails: {now}"),
            Self::FailsOtherwise { saved, now } => {
                write!(f, "a saved case fails in another way: {now}\n  it was saved for: {saved}")
            }
            Self::PassesEqually => f.write_str(
                "a saved case passes, though its run is equal to the one that failed, event for event: what judges it \
                 has changed, not what it judges. If the assertion was wrong, delete the entry; if not, the test \
                 depends on something that the simulated world does not cover",
            ),
            Self::Undrawable => f.write_str(
                "a saved case cannot be run: its `arguments` do not fit what the test draws any more. Delete that line \
                 to have them as the seed draws them, or the entry",
            ),
            Self::Dodged => f.write_str(
                "a saved case passes, but on another path than when it failed: the bug is fixed, or merely dodged. \
                 Run more seeds around it (CHAOS_REPLAY with the plan in a file, and CHAOS_CASES=1000) before you \
                 delete the entry",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: Option<u128>) -> Entry {
        Entry {
            fails: "panicked: x was lost".to_owned(),
            identity: Some("panicked on test at tests/kv.rs:41:5: x was lost".to_owned()),
            seed: 1,
            calm: false,
            plan: "1s crash kv1".parse().expect("a literal of this test"),
            arguments: Default::default(),
            digest,
            found: String::new(),
        }
    }

    fn failing(identity: &str, digest: u128) -> Replayed {
        let first_line = "deadlock: nobody can ever run again".to_owned();
        Replayed { failure: Some((identity.to_owned(), first_line)), digest: Some(digest), drawn: true }
    }

    #[test]
    fn each_outcome_has_its_verdict_and_sentence() {
        let same = "panicked on test at tests/kv.rs:52:5: x was lost";
        let passing = |digest| Replayed { failure: None, digest: Some(digest), drawn: true };
        let by_hand = Entry { identity: None, fails: String::new(), ..entry(None) };
        let verdicts = [
            judge(&entry(Some(7)), &failing(same, 7)),
            judge(&entry(Some(7)), &failing(same, 8)),
            judge(&entry(Some(7)), &failing("deadlock", 7)),
            judge(&by_hand, &failing("deadlock", 7)),
            judge(&entry(Some(7)), &passing(7)),
            judge(&entry(Some(7)), &passing(8)),
        ];
        assert_eq!(verdicts.each_ref().map(Verdict::is_failure), [true, true, true, true, false, false]);
        insta::assert_snapshot!(verdicts.map(|verdict| verdict.to_string()).join("\n\n"));
    }

    #[test]
    fn without_digests_nothing_is_said_to_be_equal() {
        assert_eq!(judge(&entry(None), &Replayed { failure: None, digest: None, drawn: true }), Verdict::Dodged);
        let undrawable = Replayed { failure: None, digest: None, drawn: false };
        assert_eq!(judge(&entry(None), &undrawable), Verdict::Undrawable);
    }
}
