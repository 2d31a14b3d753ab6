//! Reading the one-line form: a cursor over a text, which knows where each word stands.
//!
//! What a word means is decided where its value is defined; nothing here knows of faults.

use crate::duration::{self, LOOKS_LIKE};
use crate::error::{ParseError, nearest};
use std::ops::Range;
use std::time::Duration;

/// A place in a text, and where reading ends.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    end: usize,
}

/// Characters that end a word and stand for themselves.
const SYMBOLS: [char; 8] = ['{', '}', '|', ',', '<', '>', '"', ';'];

/// A value with a text form that can stand among others on a line.
pub(crate) trait Read: Sized {
    /// Reads the value from the front.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError>;
}

/// Reads a value that is a whole text.
pub(crate) fn whole<T: Read>(text: &str) -> Result<T, ParseError> {
    let mut cursor = Cursor::new(text);
    let value = T::read(&mut cursor)?;
    cursor.finish()?;
    Ok(value)
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0, end: text.len() }
    }

    /// One of several statements of a text; places count from the text's beginning.
    pub(crate) fn within(text: &'t str, range: Range<usize>) -> Self {
        Self { text, at: range.start, end: range.end }
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..self.end]
    }

    /// The word at the cursor, which is empty at the end and before a symbol.
    pub(crate) fn peek(&mut self) -> &'t str {
        self.skip_spaces();
        let rest = self.rest();
        let arrow = |at: usize| rest[at..].starts_with("->");
        let ends = |(at, c): &(usize, char)| c.is_whitespace() || SYMBOLS.contains(c) || arrow(*at);
        let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
        &rest[..end]
    }

    /// The word after the one at the cursor.
    pub(crate) fn peek_second(&self) -> &'t str {
        let mut ahead = self.clone();
        let first = ahead.peek().len();
        ahead.at += first;
        ahead.peek()
    }

    /// Whether another name, pattern or set of hosts begins here.
    pub(crate) fn at_selector(&mut self) -> bool {
        !self.peek().is_empty() || self.rest().starts_with('{')
    }

    /// The next word, which has to be there.
    pub(crate) fn word(&mut self, expected: &str) -> Result<&'t str, ParseError> {
        let word = self.peek();
        if word.is_empty() {
            return Err(self.expected(expected));
        }
        self.at += word.len();
        Ok(word)
    }

    /// Reads a word by a function that may refuse it.
    pub(crate) fn parse<T>(&mut self, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, ParseError> {
        let value = read(self.peek()).ok_or_else(|| self.expected(expected))?;
        self.word(expected)?;
        Ok(value)
    }

    /// Whether this word stands here; steps over it if so.
    pub(crate) fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        if found {
            self.at += word.len();
        }
        found
    }

    /// This word has to stand here.
    pub(crate) fn require(&mut self, word: &str) -> Result<(), ParseError> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// One of these words has to stand here.
    pub(crate) fn choose<T: Copy>(&mut self, what: &str, options: &[(&str, T)]) -> Result<T, ParseError> {
        let word = self.peek();
        if let Some((name, value)) = options.iter().find(|(name, _)| *name == word) {
            self.at += name.len();
            return Ok(*value);
        }
        let names = options.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        // Who misspelt one word need not read all the others.
        match nearest(word, names.iter().copied()) {
            Some(_) => Err(self.expected(what).suggesting(word, &names)),
            None => Err(self.expected(&format!("{what}: {}", listed(&names)))),
        }
    }

    /// Whether this symbol stands here; steps over it if so.
    pub(crate) fn eat(&mut self, symbol: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    /// A text in quotes, with `\"` and `\\` inside.
    pub(crate) fn quoted(&mut self, what: &str) -> Result<String, ParseError> {
        self.skip_spaces();
        let begin = self.clone();
        if !self.eat("\"") {
            return Err(self.expected(&format!("{what} in quotes")));
        }
        let mut value = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => {
                        self.at += at;
                        return Err(self.expected("`\\\"` or `\\\\`: nothing else is escaped"));
                    }
                },
                c => value.push(c),
            }
        }
        Err(begin.at_here(&format!("{what}, with a second quote on the same line")))
    }

    /// A length of time, which may have several parts.
    pub(crate) fn duration(&mut self) -> Result<Duration, ParseError> {
        self.skip_spaces();
        match duration::scan(self.rest(), duration::Extent::Beginning) {
            Ok((duration, length)) => {
                self.at += length;
                Ok(duration)
            }
            Err(problem) => Err(self.expected(LOOKS_LIKE).because(&problem.to_string())),
        }
    }

    /// Nothing may be left.
    pub(crate) fn finish(&mut self) -> Result<(), ParseError> {
        self.skip_spaces();
        if self.rest().is_empty() { Ok(()) } else { Err(self.expected("nothing more")) }
    }

    /// The error that something else stands here.
    pub(crate) fn expected(&mut self, expected: &str) -> ParseError {
        self.skip_spaces();
        self.at_here(expected)
    }

    fn at_here(&self, expected: &str) -> ParseError {
        let mut ahead = self.clone();
        let word = ahead.peek().len();
        let symbol = ahead.rest().chars().next().map_or(0, char::len_utf8);
        let length = if word > 0 { word } else { symbol };
        ParseError::new(self.text, self.at..self.at + length, self.at >= self.end, expected)
    }
}

/// Shows a text in quotes, as [`Cursor::quoted`] reads it.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `a`, `b` or `c`.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// The statements of a text: what stands between line ends and `;`, without comments and without quotes being cut.
pub(crate) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut quoted, mut comment, mut escaped) = (0, false, false, false);
    let mut close = |range: Range<usize>| {
        if !text[range.clone()].trim().is_empty() {
            found.push(range);
        }
    };
    for (at, c) in text.char_indices() {
        match c {
            '\n' => {
                if !comment {
                    close(start..at);
                }
                (start, quoted, comment, escaped) = (at + 1, false, false, false);
            }
            _ if comment => {}
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => {
                close(start..at);
                comment = true;
            }
            ';' if !quoted => {
                close(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !comment {
        close(start..text.len());
    }
    found
}

/// Gives a type with a text form its `FromStr`, `Serialize`, `Deserialize` and `JsonSchema`.
macro_rules! text_form {
    ($type:ty, $name:literal, $description:literal, [$($example:literal),+]) => {
        impl std::str::FromStr for $type {
            type Err = crate::error::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::text::whole(text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                crate::text::whole(&text).map_err(|error| serde::de::Error::custom(error.in_one_line()))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description, "examples": [$($example),+] })
            }
        }
    };
}
pub(crate) use text_form;
