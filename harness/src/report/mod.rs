//! What people read: one block for a failure, one line for a success. The only place that knows how these look.
//!
//! ```text
//! failure.rs   what went wrong, and its first sentence
//! block.rs     the block's shape
//! identity.rs  what makes two failures the same bug
//! lines.rs     bytes of many hosts become lines with times
//! stacks.rs    addresses become functions
//! command.rs   the command that replays the case
//! arguments.rs what was drawn for parameters
//! files.rs     log files, one per host
//! ledger.rs    one line of JSON per case, for scripts
//! ```

mod arguments;
mod block;
mod command;
mod failure;
mod files;
mod identity;
mod ledger;
mod lines;
mod stacks;

pub(crate) use arguments::Argument;
pub(crate) use block::{Block, HostTail, Told};
pub(crate) use command::{Invocation, replay};
pub(crate) use failure::{Death, Difference, Failure, FailureKind, ThreadStack};
pub(crate) use files::LogDirectory;
pub(crate) use identity::identity;
pub(crate) use identity::is_same_after_edits;
pub(crate) use ledger::{Entry, Ledger};
pub(crate) use lines::{Line, LineAssembler, Log, live};
pub(crate) use stacks::Symbols;

/// Virtual time as lines show it: seconds to the millisecond.
pub(crate) fn seconds(now_ns: u64) -> String {
    format!("{:.3} s", now_ns as f64 / 1e9)
}

/// A number with separators: `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
