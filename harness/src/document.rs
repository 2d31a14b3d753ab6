//! TOML that people write, read so that each complaint names the line.

use thiserror::Error;
use toml_edit::{Document, Item, Key};

/// A file that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}{}: {message}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub(crate) struct FileError {
    /// As people see it.
    pub(crate) file: String,
    /// Counted from 1.
    pub(crate) line: Option<usize>,
    /// What is wrong, and what would be right.
    pub(crate) message: String,
}

/// A document together with where it comes from.
pub(crate) struct Source<'t> {
    pub(crate) file: &'t str,
    pub(crate) text: &'t str,
}

impl<'t> Source<'t> {
    /// Reads the syntax.
    pub(crate) fn parse(&self) -> Result<Document<&'t str>, FileError> {
        Document::parse(self.text).map_err(|error| {
            let conflict = self.text.lines().position(|line| line.starts_with("<<<<<<<"));
            if let Some(line) = conflict {
                let message = "a merge conflict is left in it; resolve it, usually by keeping both sides".to_owned();
                return FileError { file: self.file.to_owned(), line: Some(line + 1), message };
            }
            self.error(error.span().map(|span| span.start), format!("this is no TOML: {}", error.message().trim_end()))
        })
    }

    /// The error that something is wrong at a place of the text.
    pub(crate) fn error(&self, offset: Option<usize>, message: impl Into<String>) -> FileError {
        FileError { file: self.file.to_owned(), line: offset.map(|offset| self.line(offset)), message: message.into() }
    }

    /// The line of a place.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Where a key or its value stands.
pub(crate) fn offset(key: Option<&Key>, item: &Item) -> Option<usize> {
    key.and_then(Key::span).or_else(|| item.span()).map(|span| span.start)
}
