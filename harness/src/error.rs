//! The error that a test body may return.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display, Formatter};

/// What a test or a client returns, for bodies that use `?` on errors of several kinds.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, shown with its causes.
///
/// ```
/// use windtunnel::{Error, Result};
///
/// fn port(text: &str) -> Result<u16> {
///     if text.is_empty() {
///         return Err(Error::msg("no port was given"));
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("").unwrap_err().to_string(), "no port was given");
/// assert_eq!(format!("{:?}", port("x").unwrap_err()), "invalid digit found in string");
/// ```
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// An error that consists of a message.
    pub fn msg(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }
}

// `Error` itself is no `std::error::Error`, as in anyhow: otherwise this would overlap with `From<T> for T`.
impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// The message and its causes, since this is what a returned error is reported with.
impl Debug for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
