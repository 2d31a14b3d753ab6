//! A text that could not be read, shown with a caret under the place.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

/// A text is no plan, no fault or no part of one.
///
/// Shows the line with a caret under the offending column, what was expected there, and the nearest known word when
/// one was misspelt.
///
/// ```
/// use windtunnel_faults::Plan;
///
/// let error = "1s crahs kv1".parse::<Plan>().unwrap_err();
/// assert_eq!((error.line(), error.column()), (1, 4));
/// assert!(error.to_string().contains("did you mean `crash`?"), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    /// The whole line.
    source: String,
    line: usize,
    column: usize,
    /// Characters that the caret covers.
    width: usize,
    found: Option<String>,
    expected: String,
    reason: Option<String>,
    suggestion: Option<String>,
}

impl ParseError {
    pub(crate) fn new(text: &str, place: Range<usize>, at_end: bool, expected: &str) -> Self {
        let begin = text[..place.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[place.start..].find('\n').map_or(text.len(), |at| place.start + at);
        let found = &text[place.clone()];
        Self(Box::new(Details {
            source: text[begin..end].trim_end().to_owned(),
            line: text[..begin].matches('\n').count() + 1,
            column: text[begin..place.start].chars().count() + 1,
            width: if at_end { 1 } else { found.chars().count().max(1) },
            found: (!at_end && !found.is_empty()).then(|| found.to_owned()),
            expected: expected.to_owned(),
            reason: None,
            suggestion: None,
        }))
    }

    /// Adds why what was found does not do.
    pub(crate) fn because(mut self, reason: &str) -> Self {
        self.0.reason = Some(reason.to_owned());
        self
    }

    /// Adds the nearest of some words, when one is near.
    pub(crate) fn suggesting(mut self, word: &str, known: &[&str]) -> Self {
        self.0.suggestion = nearest(word, known.iter().copied()).map(str::to_owned);
        self
    }

    /// The line of the text, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// The column of the line, counted in characters from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// What may stand there, as a fragment of a sentence.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// The known word that is nearest to a misspelt one.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.0.suggestion.as_deref()
    }

    /// For places that show one line only, such as an error of a YAML file, which has a place of its own.
    pub(crate) fn in_one_line(&self) -> String {
        if self.0.found.as_ref() == Some(&self.0.source) {
            return self.sentence();
        }
        format!("`{}`, column {}: {}", self.0.source, self.0.column, self.sentence())
    }

    fn sentence(&self) -> String {
        let found = self.0.found.as_deref().map_or("the end".to_owned(), |found| format!("`{found}`"));
        let reason = self.0.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
        let hint = self.0.suggestion.as_deref().map_or(String::new(), |word| format!("; did you mean `{word}`?"));
        format!("expected {}, found {found}{reason}{hint}", self.0.expected)
    }
}

impl Display for ParseError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Details { source, line, column, width, .. } = &*self.0;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept, so that the caret stands below the same column whatever a tab's width.
        let indent = source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' });
        let indent = indent.collect::<String>() + &" ".repeat((column - 1).saturating_sub(source.chars().count()));
        writeln!(f, "{}", self.sentence())?;
        writeln!(f, "{margin} --> line {line}, column {column}")?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {source}")?;
        write!(f, "{margin} | {indent}{}", "^".repeat(*width))
    }
}

impl Error for ParseError {}

/// The known word that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.map(|name| (strsim::damerau_levenshtein(word, name), name));
    // One slip in three letters: less likeness is chance.
    near.filter(|(distance, name)| *distance * 3 <= name.chars().count().max(3)).min().map(|(_, name)| name)
}
