//! A fault: what goes wrong, where, when and for how long; and its one-line form.

use crate::duration::Shown;
use crate::effect::{Effect, FaultForm, Kind};
use crate::error::ParseError;
use crate::severity::Severity;
use crate::start::Start;
use crate::text::{Cursor, Read, whole};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

/// One thing that goes wrong. It heals by itself.
///
/// In one line: when, what, where, how, `for` how long (a crash says `restart after`), and how bad if that differs
/// from what is derived.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::{Fault, Kind, Severity};
///
/// let fault = "3.877s crash kv1 restart after 2s".parse::<Fault>()?;
/// assert_eq!(fault.kind(), Kind::Crash);
/// assert_eq!(fault.lasts, Some(Duration::from_secs(2)));
/// assert_eq!(fault.severity(), Severity::High);
///
/// for line in [
///     "0s partition {kv0} | {kv1,kv2} for 5s",
///     "1s loss kv0->kv1 30% for 10s severity low",
///     "at mark \"msg-10\" + 5ms pause kv2 for 1s",
///     "0s clock-skew kv1 +5s",
/// ] {
///     assert_eq!(line.parse::<Fault>()?.to_string(), line);
/// }
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
///
/// In a file it is a map with one field that has the kind's name:
///
/// ```
/// let fault: windtunnel_faults::Fault = serde_json::from_str(
///     r#"{ "at": "1s", "for": "10s", "loss": { "links": "kv0->kv1", "probability": "30%" } }"#,
/// )?;
/// assert_eq!(fault.to_string(), "1s loss kv0->kv1 30% for 10s");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// When it begins.
    pub start: Start,
    /// How long it lasts; until the storm ends when `None`. For a crash: when the host starts again.
    pub lasts: Option<Duration>,
    /// What goes wrong, and where.
    pub effect: Effect,
    /// How bad it is, when a plan says so; [`severity`](Self::severity) derives it otherwise.
    pub declared_severity: Option<Severity>,
}

impl Fault {
    /// A fault that begins this long after the storm began, and lasts until it ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windtunnel_faults::{Fault, Pause, Selector};
    ///
    /// let fault = Fault::new(Duration::from_secs(1), Pause { hosts: Selector::name("kv2") });
    /// assert_eq!(fault.to_string(), "1s pause kv2");
    /// ```
    #[must_use]
    pub fn new(at: Duration, effect: impl Into<Effect>) -> Self {
        Self { start: Start::At(at), lasts: None, effect: effect.into(), declared_severity: None }
    }

    /// The same, for this long only.
    #[must_use]
    pub fn lasting(self, length: Duration) -> Self {
        Self { lasts: Some(length), ..self }
    }

    /// Its class.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.effect.kind()
    }

    /// How bad it is: as declared, or derived from what it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.declared_severity.unwrap_or_else(|| self.effect.severity())
    }

    /// When it begins, unless that depends on a mark or an event.
    #[must_use]
    pub const fn begins(&self) -> Option<Duration> {
        match self.start {
            Start::At(time) => Some(time),
            Start::AfterMark { .. } | Start::AtEvent(_) => None,
        }
    }

    /// The words before its length, which its kind decides.
    const fn length_words(kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Crash => &["restart", "after"],
            _ => &["for"],
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.start, self.effect)?;
        if let Some(length) = self.lasts {
            write!(f, " {} {}", Self::length_words(self.kind()).join(" "), Shown(length))?;
        }
        self.declared_severity.map_or(Ok(()), |severity| write!(f, " severity {severity}"))
    }
}

impl Read for Fault {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let start = Start::read(cursor)?;
        let kinds = Kind::ALL.iter().map(|kind| (kind.name(), *kind)).collect::<Vec<_>>();
        let kind = cursor.choose("a kind of fault", &kinds)?;
        let effect = Effect::read(kind, cursor)?;
        let words = Self::length_words(kind);
        let mut lasts = None;
        if cursor.accept(words[0]) {
            words[1..].iter().try_for_each(|word| cursor.require(word))?;
            lasts = Some(cursor.duration()?);
        }
        let declared_severity = if cursor.accept("severity") { Some(Severity::read(cursor)?) } else { None };
        let word = cursor.peek();
        if !word.is_empty() {
            let mut known = vec!["severity"];
            if lasts.is_none() && declared_severity.is_none() {
                known.insert(0, words[0]);
            }
            let expected = match (lasts, declared_severity) {
                (None, None) => format!("`{} …`, `severity …` or the end of the fault", words.join(" ")),
                (_, None) => "`severity …` or the end of the fault".to_owned(),
                (_, Some(_)) => "the end of the fault".to_owned(),
            };
            return Err(cursor.expected(&expected).suggesting(word, &known));
        }
        Ok(Self { start, lasts, effect, declared_severity })
    }
}

impl FromStr for Fault {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        whole(text)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = FaultForm {
            at: Some(self.start.clone()),
            lasts: self.lasts.map(crate::duration::Text),
            severity: self.declared_severity,
            ..FaultForm::default()
        };
        form.set(self.effect.clone());
        form.serialize(serializer).map_err(ser::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = FaultForm::deserialize(deserializer)?;
        let start = form.at.clone().ok_or_else(|| de::Error::missing_field("at"))?;
        let (lasts, declared_severity) = (form.lasts.map(|length| length.0), form.severity);
        let mut effects = form.effects();
        match (effects.pop(), effects.pop()) {
            (Some(effect), None) => Ok(Self { start, lasts, effect, declared_severity }),
            (None, _) => {
                let kinds = Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>();
                let message = format!("nothing goes wrong in this fault; add one of {}", kinds.join(", "));
                Err(de::Error::custom(message))
            }
            (Some(second), Some(first)) => {
                let (first, second) = (first.kind(), second.kind());
                let message = format!("a fault is of one kind, this is `{first}` and `{second}`; write two faults");
                Err(de::Error::custom(message))
            }
        }
    }
}
