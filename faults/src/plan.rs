//! A plan: a list of faults, as text, JSON and YAML.

use crate::error::ParseError;
use crate::fault::Fault;
use crate::text::{Cursor, Read, statements};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use thiserror::Error;

/// What goes wrong in a case. Any sub-list of a valid plan is a valid plan.
///
/// As text, a fault on each line or between `;`, with comments from `#` to the end of the line:
///
/// ```
/// use windtunnel_faults::Plan;
///
/// let plan = "
///     0s      partition {kv0} | {kv1,kv2} for 5s   # isolates the leader
///     3.877s  crash kv1 restart after 2s
/// "
/// .parse::<Plan>()?;
/// assert_eq!(plan.faults.len(), 2);
/// assert_eq!(plan.to_string(), "0s partition {kv0} | {kv1,kv2} for 5s\n3.877s crash kv1 restart after 2s");
/// assert_eq!(plan.in_one_line().parse::<Plan>()?, plan);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
///
/// As YAML or JSON, where unknown fields are refused:
///
/// ```
/// use windtunnel_faults::Plan;
///
/// let plan = Plan::from_yaml(
///     "
/// faults:
///   - at: 3.877s
///     for: 2s
///     crash: { hosts: kv1, manner: kill }
/// ",
/// )?;
/// assert_eq!(plan.to_string(), "3.877s crash kv1 by kill restart after 2s");
/// assert_eq!(Plan::from_json(&plan.to_json())?, plan);
/// # Ok::<(), windtunnel_faults::FormatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The faults. Their order says nothing, except which of two that begin at once comes first.
    pub faults: Vec<Fault>,
}

/// A file is no plan. Says where, and what would be right.
///
/// ```
/// use windtunnel_faults::Plan;
///
/// let error = Plan::from_json(r#"{ "faults": [{ "at": "1s", "for": "soon", "pause": { "hosts": "kv1" } }] }"#);
/// let message = error.unwrap_err().to_string();
/// assert!(message.contains("`soon` is not a length of time"), "{message}");
/// ```
#[derive(Debug, Error)]
#[error("the {language} is not a plan: {message}")]
pub struct FormatError {
    language: &'static str,
    message: String,
}

impl Plan {
    /// A plan of these faults.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect() }
    }

    /// The text with `; ` between the faults.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        self.lines("; ")
    }

    fn lines(&self, separator: &str) -> String {
        self.faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(separator)
    }

    /// The same plan in the order in which its faults begin, those after marks last. Faults that begin at once keep
    /// their order.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.faults.sort_by(|one, other| one.start.cmp(&other.start));
        self
    }

    /// What names the plan: equal for plans that do the same, to remember results by.
    ///
    /// ```
    /// use windtunnel_faults::Plan;
    ///
    /// let one = "1s pause kv1 for 1s; 2s pause kv2 for 1s".parse::<Plan>()?;
    /// let other = "2s  pause kv2 for 1000ms\n1s pause kv1 for 1s".parse::<Plan>()?;
    /// assert_eq!(one.canonical_bytes(), other.canonical_bytes());
    /// # Ok::<(), windtunnel_faults::ParseError>(())
    /// ```
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        self.clone().in_order().in_one_line().into_bytes()
    }

    /// Reads YAML.
    ///
    /// # Errors
    /// It is no YAML, has unknown fields, or values that make no sense; says where.
    pub fn from_yaml(yaml: &str) -> Result<Self, FormatError> {
        let error = |error: serde_saphyr::Error| FormatError { language: "YAML", message: error.to_string() };
        serde_saphyr::from_str(yaml).map_err(error)
    }

    /// Writes YAML, which reads back as the same plan.
    ///
    /// ```
    /// use windtunnel_faults::Plan;
    ///
    /// let plan = "1s loss kv0->kv1 30% for 10s".parse::<Plan>()?;
    /// let yaml = "faults:\n- at: 1s\n  for: 10s\n  loss:\n    links: kv0->kv1\n    probability: 30%\n";
    /// assert_eq!(plan.to_yaml(), yaml);
    /// # Ok::<(), windtunnel_faults::ParseError>(())
    /// ```
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // A plan is maps, lists and texts, all of which YAML has.
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// It is no JSON, has unknown fields, or values that make no sense; says where.
    pub fn from_json(json: &str) -> Result<Self, FormatError> {
        let error = |error: serde_json::Error| FormatError { language: "JSON", message: error.to_string() };
        serde_json::from_str(json).map_err(error)
    }

    /// Writes JSON, which reads back as the same plan.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A plan is maps with texts as keys, lists and texts, all of which JSON has.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines("\n"))
    }
}

impl FromStr for Plan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fault = |range| {
            let mut cursor = Cursor::within(text, range);
            let fault = Fault::read(&mut cursor)?;
            cursor.finish().map(|()| fault)
        };
        statements(text).into_iter().map(fault).collect::<Result<_, _>>().map(|faults| Self { faults })
    }
}

impl FromIterator<Fault> for Plan {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self::new(faults)
    }
}
