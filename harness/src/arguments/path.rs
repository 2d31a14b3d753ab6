//! How an argument became simpler: steps of its value tree, which decide the value together with the seed.
//!
//! Values are made in the case and need not be serialisable, so what travels, and is kept, is the way to them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use thiserror::Error;

/// All steps of a case together. Longer ones do not fit into its orders, and nobody waits for them.
pub(crate) const STEPS_MAX: usize = 4000;
/// The longest text of [`Paths`]: `1s1c` for each two steps, and a comma for each of a thousand parameters.
pub(crate) const TEXT_BYTES_MAX: usize = 2 * STEPS_MAX + 1000;

/// A step of a value tree (`proptest::strategy::ValueTree`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// To a simpler value: taken when the one before fails.
    Simplify,
    /// Half of the way back: taken when the one before passes.
    Complicate,
}

/// The steps of one argument. Its text is the lengths of equal runs: `3s1c`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Path(Vec<Step>);

/// The path of each argument, in the order of the parameters. Its text has commas between: `3s1c,,2s`. Those that are
/// missing at the end are empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Paths(Vec<Path>);

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum PathError {
    #[error("`{0}` is no path of an argument: it is made of steps such as `3s1c`")]
    Malformed(String),
    #[error("the paths of arguments have more than {STEPS_MAX} steps")]
    TooLong,
}

impl Path {
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The path one step further.
    pub(crate) fn then(&self, step: Step) -> Self {
        Self(self.0.iter().copied().chain([step]).collect())
    }
}

impl Paths {
    /// The path of an argument.
    pub(crate) fn of(&self, argument: usize) -> Path {
        self.0.get(argument).cloned().unwrap_or_default()
    }

    /// The same paths but for that of one argument.
    pub(crate) fn with(&self, argument: usize, path: Path) -> Self {
        let mut paths = self.0.clone();
        paths.resize(paths.len().max(argument + 1), Path::default());
        paths[argument] = path;
        let used = paths.iter().rposition(|path| !path.0.is_empty()).map_or(0, |last| last + 1);
        paths.truncate(used);
        Self(paths)
    }

    /// Whether every argument is as it was drawn.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn steps(&self) -> usize {
        self.0.iter().map(|path| path.0.len()).sum()
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chunk_by(|one, other| one == other).try_for_each(|run| {
            let letter = if run[0] == Step::Simplify { 's' } else { 'c' };
            write!(f, "{}{letter}", run.len())
        })
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let malformed = || PathError::Malformed(text.to_owned());
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let letter = rest.find(['s', 'c']).ok_or_else(malformed)?;
            let count = &rest[..letter];
            let canonical = !count.starts_with('0') && count.bytes().all(|byte| byte.is_ascii_digit());
            let count: usize = count.parse().ok().filter(|_| canonical).ok_or_else(malformed)?;
            if count > STEPS_MAX - steps.len() {
                return Err(PathError::TooLong);
            }
            let step = if rest[letter..].starts_with('s') { Step::Simplify } else { Step::Complicate };
            steps.resize(steps.len() + count, step);
            rest = &rest[letter + 1..];
        }
        Ok(Self(steps))
    }
}

impl Display for Paths {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, path)| {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{path}")
        })
    }
}

impl FromStr for Paths {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut paths = Self::default();
        for (argument, text) in text.split(',').enumerate() {
            paths = paths.with(argument, text.parse()?);
        }
        if paths.steps() > STEPS_MAX { Err(PathError::TooLong) } else { Ok(paths) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest::collection::vec;
    use crate::proptest::prelude::*;

    fn paths() -> impl Strategy<Value = Paths> {
        let step = prop_oneof![Just(Step::Simplify), Just(Step::Complicate)];
        vec(vec(step, 0..20), 0..5).prop_map(|paths| {
            let mut all = Paths::default();
            for (argument, steps) in paths.into_iter().enumerate() {
                all = all.with(argument, Path(steps));
            }
            all
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn paths_are_read_as_they_were_written(paths in paths()) {
            prop_assert!(paths.to_string().len() <= TEXT_BYTES_MAX);
            prop_assert_eq!(paths.to_string().parse(), Ok(paths));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9sc,x ]{0,12}") {
            if let Ok(paths) = text.parse::<Paths>() {
                prop_assert_eq!(paths.to_string().parse(), Ok(paths));
            }
        }
    }

    #[test]
    fn the_text_is_short() {
        let mut path = Path::default();
        for step in [Step::Simplify, Step::Simplify, Step::Simplify, Step::Complicate] {
            path = path.then(step);
        }
        assert_eq!(path.to_string(), "3s1c");
        assert_eq!(Paths::default().with(2, path).to_string(), ",,3s1c");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["s", "3", "3x", "0s", "-1s", "03s", "3s 1c"] {
            assert_eq!(text.parse::<Path>(), Err(PathError::Malformed(text.to_owned())));
        }
        assert_eq!("99999999s".parse::<Paths>(), Err(PathError::TooLong));
        assert_eq!("3000s,3000s".parse::<Paths>(), Err(PathError::TooLong));
    }
}
