//! One failing case that was found and is to be replayed: what a file keeps of it.

use crate::arguments::{PathError, Paths};
use crate::document::{FileError, Source, offset};
use crate::settings::{SeedSetting, seed_text};
use toml_edit::{Item, Table, Value};
use windtunnel_faults::Plan;

/// A failing case. Written by hand, it needs no more than a seed and a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The failure's first line; empty when nobody wrote it.
    pub(crate) fails: String,
    /// `report::identity` of the failure.
    pub(crate) identity: Option<String>,
    pub(crate) seed: u64,
    pub(crate) calm: bool,
    pub(crate) plan: Plan,
    /// How the test's arguments became simpler than the seed draws them.
    pub(crate) arguments: Paths,
    /// Of the run that failed.
    pub(crate) digest: Option<u128>,
    /// With what it was found: free text.
    pub(crate) found: String,
}

/// What is known of an entry. Other keys are people's own, and kept.
const KEYS: [&str; 7] = ["fails", "identity", "seed", "plan", "arguments", "digest", "found"];

/// What a file calls its entries: `[[found]]`.
pub(super) const ENTRIES: &str = "found";

/// What [`Entry::found`] says of an entry that this build writes.
pub(crate) fn found_with() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("windtunnel {}, {profile}", env!("CARGO_PKG_VERSION"))
}

impl Entry {
    /// Its keys and values, in the order in which they are written.
    pub(super) fn values(&self) -> Vec<(&'static str, Value)> {
        let plan = if self.plan.faults.is_empty() { String::new() } else { format!("{}\n", self.plan) };
        let mut values = Vec::new();
        if let Some(first_line) = self.fails.lines().next() {
            values.push(("fails", Value::from(first_line)));
        }
        if let Some(identity) = &self.identity {
            values.push(("identity", Value::from(identity.as_str())));
        }
        values.push(("seed", Value::from(seed_text(self.seed, self.calm))));
        values.push(("plan", Value::from(plan)));
        if !self.arguments.is_empty() {
            values.push(("arguments", Value::from(self.arguments.to_string())));
        }
        if let Some(digest) = self.digest {
            values.push(("digest", Value::from(format!("{digest:032x}"))));
        }
        if !self.found.is_empty() {
            values.push(("found", Value::from(self.found.as_str())));
        }
        values
    }

    /// The entry as a file has it.
    pub(super) fn text(&self) -> String {
        let lines = self.values().into_iter().map(|(key, value)| format!("{key:<8} = {value}\n"));
        format!("[[{ENTRIES}]]\n{}", lines.collect::<String>())
    }

    pub(super) fn read(table: &Table, source: &Source<'_>) -> Result<Self, FileError> {
        let reader = Reader { table, source };
        near_miss(table, &KEYS, source)?;
        let (seed, calm) = reader.required("seed", reader.seed()?)?;
        Ok(Self {
            fails: reader.text("fails")?.unwrap_or_default().to_owned(),
            identity: reader.text("identity")?.map(str::to_owned),
            seed,
            calm,
            plan: reader.required("plan", reader.plan()?)?,
            arguments: reader.arguments()?.unwrap_or_default(),
            digest: reader.digest()?,
            found: reader.text("found")?.unwrap_or_default().to_owned(),
        })
    }
}

/// Refuses a key that was probably meant to be another.
pub(super) fn near_miss(table: &Table, known: &[&str], source: &Source<'_>) -> Result<(), FileError> {
    for (name, item) in table {
        if !known.contains(&name)
            && let Some(meant) = crate::settings::nearest(name, known)
        {
            let place = table.get_key_value(name).and_then(|(key, item)| offset(Some(key), item));
            let place = place.or_else(|| item.span().map(|span| span.start));
            return Err(source.error(place, format!("there is no `{name}` here; did you mean `{meant}`?")));
        }
    }
    Ok(())
}

/// Reads the values of one entry.
struct Reader<'a> {
    table: &'a Table,
    source: &'a Source<'a>,
}

impl<'a> Reader<'a> {
    fn item(&self, key: &str) -> Option<(Option<usize>, &'a Item)> {
        let (name, item) = self.table.get_key_value(key)?;
        Some((offset(Some(name), item), item))
    }

    fn error(&self, key: &str, message: String) -> FileError {
        self.source.error(self.item(key).and_then(|(place, _)| place), message)
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, FileError> {
        let message =
            || format!("this entry has no `{key}`, without which it cannot be replayed; add it, or delete the entry");
        value.ok_or_else(|| self.source.error(self.table.span().map(|span| span.start), message()))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, FileError> {
        let Some((_, item)) = self.item(key) else { return Ok(None) };
        let wrong = || self.error(key, format!("`{key}` is {}; it takes a text in quotes", kind(item)));
        item.as_str().map(Some).ok_or_else(wrong)
    }

    fn seed(&self) -> Result<Option<(u64, bool)>, FileError> {
        let Some(text) = self.text("seed")? else { return Ok(None) };
        match SeedSetting::parse(text) {
            Ok(SeedSetting::One { seed, calm }) => Ok(Some((seed, calm))),
            _ => Err(self.error("seed", format!("`{text}` is no seed; it takes one such as \"0x5f1d\""))),
        }
    }

    fn digest(&self) -> Result<Option<u128>, FileError> {
        let Some(text) = self.text("digest")? else { return Ok(None) };
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        let message = || format!("`{text}` is no digest; it takes 32 hexadecimal digits, or delete the line");
        digest.map(Some).ok_or_else(|| self.error("digest", message()))
    }

    fn arguments(&self) -> Result<Option<Paths>, FileError> {
        let Some(text) = self.text("arguments")? else { return Ok(None) };
        let message = |error| format!("{error}; delete the line to have them as the seed draws them");
        text.parse().map(Some).map_err(|error: PathError| self.error("arguments", message(error)))
    }

    fn plan(&self) -> Result<Option<Plan>, FileError> {
        let Some(text) = self.text("plan")? else { return Ok(None) };
        let remedy = "correct it, or delete the entry";
        let plan: Plan = text.parse().map_err(|error: windtunnel_faults::ParseError| {
            let message = format!("the plan is not understood; {remedy}\n{error}");
            FileError { line: self.line_of_plan(error.line()), ..self.error("plan", message) }
        })?;
        plan.validate().map_err(|error| self.error("plan", format!("the plan makes no sense; {remedy}\n{error}")))?;
        Ok(Some(plan))
    }

    /// The file's line of a line of the plan, both counted from 1.
    fn line_of_plan(&self, line: usize) -> Option<usize> {
        let begin = self.table.get("plan")?.span()?.start;
        // The line break right after the quotes is not part of the text.
        let opening = self.source.text.get(begin..)?.trim_start_matches(['"', '\'']);
        let below = usize::from(opening.starts_with(['\n', '\r']));
        Some(self.source.line(begin) + below + line - 1)
    }
}

/// What stands where a text should.
fn kind(item: &Item) -> &'static str {
    match item.type_name() {
        "integer" | "float" => "a number",
        "boolean" => "true or false",
        "array" | "array of tables" => "a list",
        "datetime" => "a date",
        _ => "a table",
    }
}
