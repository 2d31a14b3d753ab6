//! When a fault begins: at a time, after a mark, or at an event.

use crate::duration::{self, Shown};
use crate::error::ParseError;
use crate::text::{Cursor, Read, quote, text_form};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// When a fault begins.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::Start;
///
/// assert_eq!("3.877s".parse::<Start>()?, Start::At(Duration::from_millis(3877)));
/// assert_eq!("at event 1204".parse::<Start>()?, Start::AtEvent(1204));
/// let marked = Start::AfterMark { mark: "msg-10".into(), offset: Duration::from_millis(5) };
/// assert_eq!(marked.to_string(), r#"at mark "msg-10" + 5ms"#);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// This long after the storm began, in virtual time.
    At(Duration),
    /// When the test or a service passes a mark for the first time (`cx.mark("msg-10")`), or this much later. A fault
    /// whose mark is never passed never begins.
    AfterMark {
        /// The mark's name.
        mark: String,
        /// How much later; zero unless given.
        offset: Duration,
    },
    /// As soon as the case's event of this number has happened. Only one and the same run has the same events: another
    /// seed, or another build, has others. Sweeps over all moments of a run are made of these.
    AtEvent(u64),
}

impl Display for Start {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "{}", Shown(*time)),
            Self::AfterMark { mark, offset } => {
                write!(f, "at mark {}", quote(mark))?;
                if offset.is_zero() { Ok(()) } else { write!(f, " + {}", Shown(*offset)) }
            }
            Self::AtEvent(number) => write!(f, "at event {number}"),
        }
    }
}

impl Read for Start {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        if cursor.accept("at") {
            if cursor.accept("event") {
                return cursor.parse("the event's number, such as `1204`", |word| word.parse().ok()).map(Self::AtEvent);
            }
            cursor.require("mark")?;
            let mark = cursor.quoted("the mark's name")?;
            let offset = if cursor.eat("+") { cursor.duration()? } else { Duration::ZERO };
            return Ok(Self::AfterMark { mark, offset });
        }
        if !cursor.peek().starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let expected = format!("when it begins: {}, or `at mark \"…\"`", duration::LOOKS_LIKE);
            return Err(cursor.expected(&expected));
        }
        cursor.duration().map(Self::At)
    }
}

text_form!(
    Start,
    "Start",
    "A length of time since the storm began, `at mark \"…\"` with an optional `+ 5ms`, or `at event` and a number.",
    ["3.877s", "at mark \"msg-10\" + 5ms", "at event 1204"]
);
