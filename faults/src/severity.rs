//! How bad a fault is.

use crate::error::ParseError;
use crate::text::{Cursor, Read, text_form};
use std::fmt::{self, Display, Formatter};

/// How bad a fault is, for people and for policies that allow only so much.
///
/// ```
/// use windtunnel_faults::Severity;
///
/// assert!(Severity::Low < Severity::High);
/// assert_eq!("medium".parse::<Severity>()?, Severity::Medium);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A service should hardly notice.
    Low,
    /// A service should cope, more slowly.
    Medium,
    /// Something is down or cut off.
    High,
}

const SEVERITIES: [(&str, Severity); 3] =
    [("low", Severity::Low), ("medium", Severity::Medium), ("high", Severity::High)];

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

impl Read for Severity {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        cursor.choose("a severity", &SEVERITIES)
    }
}

text_form!(Severity, "Severity", "How bad it is: low, medium or high.", ["low", "medium", "high"]);
