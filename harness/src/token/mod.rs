//! The token: a case as one word, which is printed by a report and pasted into `CHAOS_REPLAY`.
//!
//! ```text
//! c1_ 0…   base32 of: flags (1 byte), test, seed, build (8 bytes each), arguments if the flags say so (2 bytes of
//!          length, then the paths), plan, checksum (4 bytes)
//! ```
//!
//! `base32.rs` writes bytes as text, `words.rs` makes a plan's text short. A token of two shrunk faults has about 90
//! characters, as drawn about 110, and 50 of them are there without any. What the identity of a build is,
//! `system/build.rs` says.

mod base32;
mod words;

use crate::arguments::Paths;
use base32::Malformed;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use thiserror::Error;
use windtunnel_faults::{ParseError, Plan};
use xxhash_rust::xxh3::xxh3_64;

/// Says which version of the format follows.
const PREFIX: &str = "c1_";
/// A flag: a calm rehearsal.
const CALM: u8 = 1;
/// A flag: arguments are simpler than the seed draws them.
const ARGUMENTS: u8 = 2;
const CHECKSUM_BYTES: usize = 4;
const FIXED_BYTES: usize = 1 + 3 * 8;

/// Everything that decides a case, and the build that it is a case of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// [`test_identity`] of the test.
    pub(crate) test: u64,
    pub(crate) seed: u64,
    pub(crate) calm: bool,
    /// `system::build_identity()` of the executable.
    pub(crate) build: u64,
    pub(crate) plan: Plan,
    /// How the test's arguments became simpler than the seed draws them.
    pub(crate) arguments: Paths,
}

/// What names a test in a token. The path is that of [`crate::definition::TestDefinition`], with the crate.
pub(crate) fn test_identity(package: Option<&str>, path: &str) -> u64 {
    xxh3_64(format!("{} {path}", package.unwrap_or_default()).as_bytes())
}

/// Whether a token is of this test and this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Misfit {
    /// Nothing can be replayed.
    #[error("this token is of another test: replay it with the command that was printed with it")]
    AnotherTest,
    /// It can be replayed, but what happens may be something else.
    #[error(
        "this token was made by another build of the test: the case that follows has the same seed and the same plan, \
         but may run differently; an exact replay takes the same commit, dependencies, features, profile, compiler and \
         libc"
    )]
    AnotherBuild,
}

impl Token {
    /// Whether it is of this test and this build.
    pub(crate) fn fits(&self, test: u64, build: u64) -> Result<(), Misfit> {
        if self.test != test {
            Err(Misfit::AnotherTest)
        } else if self.build != build {
            Err(Misfit::AnotherBuild)
        } else {
            Ok(())
        }
    }

    /// Whether somebody meant this text to be a token rather than the name of a file.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        version(text.trim()).is_some()
    }

    fn body(&self) -> Vec<u8> {
        let arguments = self.arguments.to_string();
        let flags = if self.calm { CALM } else { 0 } | if arguments.is_empty() { 0 } else { ARGUMENTS };
        let mut body = vec![flags];
        for number in [self.test, self.seed, self.build] {
            body.extend(number.to_be_bytes());
        }
        if !arguments.is_empty() {
            // Fits: paths have few steps (`arguments/path.rs`).
            body.extend((arguments.len() as u16).to_be_bytes());
            body.extend(arguments.into_bytes());
        }
        body.extend(words::shorten(&self.plan.in_one_line()));
        body
    }
}

/// What stands before the body, such as `c1_`, and the body.
fn version(text: &str) -> Option<(&str, &str)> {
    let (version, body) = text.split_at(text.find('_')? + 1);
    let number = version.strip_prefix(['c', 'C'])?.strip_suffix('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !body.contains(['/', '.'])).then_some((version, body))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    (xxh3_64(body) as u32).to_be_bytes()
}

impl Display for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut bytes = self.body();
        bytes.extend(checksum(&bytes));
        write!(f, "{PREFIX}{}", base32::encode(&bytes))
    }
}

/// A text is no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TokenError {
    #[error("a token begins with `{PREFIX}`: copy the whole word after `CHAOS_REPLAY=` from the report")]
    NoToken,
    #[error(
        "the token is of a version of windtunnel that this one does not read ({0}… instead of {PREFIX}…): replay it \
         with the version that printed it, or give the report's plan and seed instead"
    )]
    OtherVersion(String),
    #[error(
        "the token is damaged or cut off: {1:?}, character {0} of it, is in no token; copy the whole word after \
         `CHAOS_REPLAY=` from the report"
    )]
    Character(usize, char),
    #[error(
        "the token is damaged or cut off: its checksum does not match; copy the whole word after `CHAOS_REPLAY=` from \
         the report"
    )]
    Damaged,
    #[error(
        "the token is whole, but of a later version of windtunnel: it has something in it that this one does not know; \
         update windtunnel to the version that printed it"
    )]
    Later,
    #[error(
        "the token is whole, but its plan has something in it that this version of windtunnel does not know; replay it \
         with the version that printed it\n{0}"
    )]
    Plan(ParseError),
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (version, body) = version(text.trim()).ok_or(TokenError::NoToken)?;
        if !version.eq_ignore_ascii_case(PREFIX) {
            return Err(TokenError::OtherVersion(version.to_owned()));
        }
        let bytes = base32::decode(body).map_err(|malformed| match malformed {
            Malformed::Character(place, character) => TokenError::Character(version.len() + place + 1, character),
            Malformed::Length => TokenError::Damaged,
        })?;
        let (body, sum) = bytes.split_last_chunk().ok_or(TokenError::Damaged)?;
        if *sum != checksum(body) {
            return Err(TokenError::Damaged);
        }
        // From here on the text is as it was printed: what cannot be read is not the reader's mistake.
        let (fixed, plan) = body.split_at_checked(FIXED_BYTES).ok_or(TokenError::Later)?;
        let number = |place: usize| {
            let bytes = fixed[1 + 8 * place..].iter().take(8);
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (flags, rest) = (fixed[0], plan);
        if flags & !(CALM | ARGUMENTS) != 0 {
            return Err(TokenError::Later);
        }
        let (arguments, plan) = if flags & ARGUMENTS == 0 { (None, rest) } else { arguments(rest)? };
        let plan = words::lengthen(plan).ok_or(TokenError::Later)?.parse().map_err(TokenError::Plan)?;
        Ok(Self {
            test: number(0),
            seed: number(1),
            calm: flags & CALM != 0,
            build: number(2),
            plan,
            arguments: arguments.unwrap_or_default(),
        })
    }
}

/// The paths at the beginning of a token's last part, and what is behind them.
fn arguments(bytes: &[u8]) -> Result<(Option<Paths>, &[u8]), TokenError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(TokenError::Later)?;
    let (text, plan) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(TokenError::Later)?;
    let paths = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(TokenError::Later)?;
    Ok((Some(paths), plan))
}

#[cfg(test)]
mod tests;
