//! What the kernel refused, and what to do about it.

use std::fmt::{self, Display, Formatter};
use std::io;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Something could not be done on this kernel, or with this privilege.
#[derive(Debug)]
pub struct Error {
    /// What was being done, to be read after "failed to".
    pub what: String,
    /// Why it did not work.
    pub kind: ErrorKind,
}

/// Why something did not work.
#[derive(Debug)]
pub enum ErrorKind {
    /// The kernel answered this.
    Os(io::Error),
    /// The machine lacks something: what, and what would help.
    Lacking {
        /// What is not there.
        missing: String,
        /// What would help.
        remedy: String,
    },
    /// What is in force is not what was asked for.
    Unlike {
        /// What was asked for.
        wanted: String,
        /// What the kernel says.
        found: String,
    },
    /// What it was about is gone: a process that ended, a namespace without processes.
    TargetGone,
}

impl Error {
    /// The kernel refused to do this.
    pub fn os(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self { what: what.into(), kind: ErrorKind::Os(error.into()) }
    }

    /// The machine cannot do this.
    pub fn lacking(what: impl Into<String>, missing: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), kind: ErrorKind::Lacking { missing: missing.into(), remedy: remedy.into() } }
    }

    /// Read back, it is not what was asked for.
    pub fn unlike(what: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), kind: ErrorKind::Unlike { wanted: wanted.into(), found: found.into() } }
    }

    /// Whether the kernel answered with this errno.
    pub fn is_os(&self, errno: i32) -> bool {
        matches!(&self.kind, ErrorKind::Os(error) if error.raw_os_error() == Some(errno))
    }

    /// What it was about is gone.
    pub fn gone(what: impl Into<String>) -> Self {
        Self { what: what.into(), kind: ErrorKind::TargetGone }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}: ", self.what)?;
        match &self.kind {
            ErrorKind::Os(error) => write!(f, "{error}"),
            ErrorKind::Lacking { missing, remedy } => write!(f, "{missing}; {remedy}"),
            ErrorKind::Unlike { wanted, found } => write!(f, "asked for {wanted}, the kernel says {found}"),
            ErrorKind::TargetGone => f.write_str("what it was about is gone"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Os(error) => Some(error),
            _ => None,
        }
    }
}
