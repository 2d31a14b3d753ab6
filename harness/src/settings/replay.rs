//! `CHAOS_REPLAY`: a token, or a file.

use crate::token::{Token, TokenError};
use std::path::PathBuf;

/// `CHAOS_REPLAY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replay {
    /// One case, with everything that decides it.
    Token(Token),
    /// A regression file or a plan: `regressions::read_replay` reads it, and says so if it does not exist.
    File(PathBuf),
}

impl Replay {
    /// What looks like a token is one, even if a file is called so: the file is `./c1_…`. Hence nothing depends on what
    /// lies in the current directory.
    pub(super) fn parse(text: &str) -> Result<Self, TokenError> {
        if Token::is_meant_by(text) { text.parse().map(Self::Token) } else { Ok(Self::File(PathBuf::from(text))) }
    }

    /// Whether it names seeds itself, which a plan does not.
    pub(crate) fn has_seeds(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::File(path) => path.extension().is_some_and(|extension| extension == "toml"),
        }
    }
}
