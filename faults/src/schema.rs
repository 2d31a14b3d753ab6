//! The JSON Schema of plans, for editors and for other languages.

use crate::effect::{FaultForm, Kind};
use crate::fault::Fault;
use crate::plan::Plan;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};
use std::borrow::Cow;

impl JsonSchema for Fault {
    fn schema_name() -> Cow<'static, str> {
        "Fault".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = FaultForm::json_schema(generator);
        let kinds = Kind::ALL.iter().map(|kind| json!({ "required": [kind.name()] })).collect::<Vec<_>>();
        schema.insert("required".to_owned(), json!(["at"]));
        // Exactly one: a fault is of one kind.
        schema.insert("oneOf".to_owned(), Value::Array(kinds));
        let text = "One thing that goes wrong: when it begins, how long it lasts, and one field of the kind's name.";
        schema.insert("description".to_owned(), text.into());
        schema
    }
}

/// What schemars makes of Rust's documentation and of `Option`, for readers who know neither: descriptions are the
/// first paragraph, and a field that may be left out may not be `null`.
fn for_other_languages(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            }
            let either = map.get("anyOf").and_then(Value::as_array);
            if let Some([Value::Object(some), null]) = either.map(Vec::as_slice)
                && *null == json!({ "type": "null" })
            {
                let some = some.clone();
                map.remove("anyOf");
                map.extend(some);
            }
            map.values_mut().for_each(for_other_languages);
        }
        Value::Array(values) => values.iter_mut().for_each(for_other_languages),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The JSON Schema of [`Plan`] in the 2020-12 dialect, as `cargo xtask schema` prints it.
///
/// ```
/// let schema = windtunnel_faults::json_schema();
/// assert!(schema.starts_with("{\n") && schema.contains("\"io-throttle\""));
/// ```
#[must_use]
pub fn json_schema() -> String {
    let mut schema = schemars::schema_for!(Plan).to_value();
    for_other_languages(&mut schema);
    // A schema is JSON already.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
