//! What was drawn for the parameters of a test.

/// A value, as its `Debug` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    /// The parameter's.
    pub(crate) name: String,
    pub(crate) line: String,
    /// The same in several lines.
    pub(crate) text: String,
    /// How many elements it has, if it is a list.
    pub(crate) elements: Option<u64>,
}

impl Argument {
    /// One line for the report.
    pub(crate) fn shown(&self) -> String {
        // A `Debug` of somebody's own may have line breaks.
        format!("{} = {}", self.name, self.line.replace('\n', " "))
    }

    /// The text of a file with all of them.
    pub(crate) fn file(arguments: &[Self]) -> String {
        arguments.iter().map(|argument| format!("{} = {}\n", argument.name, argument.text)).collect()
    }
}
