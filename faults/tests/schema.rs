//! The JSON Schema that is kept in the tree is the one that plans have.

use serde_json::Value;
use std::time::Duration;
use windtunnel_faults::{Kinds, Topology, json_schema, plan};

#[test]
fn the_kept_schema_is_current() {
    let kept = include_str!("../schema/plan.schema.json");
    let update = "run `cargo xtask schema > faults/schema/plan.schema.json`";
    assert!(kept == json_schema(), "faults/schema/plan.schema.json is not what plans are like any more: {update}");
}

/// Every field of the JSON of these plans is one that the schema knows, and every class of faults is in it.
#[test]
fn the_schema_knows_every_field_that_is_written() {
    let schema: Value = serde_json::from_str(&json_schema()).expect("JSON");
    let topology = Topology::new().group("kv", 5);
    let mut fields = 0;
    for seed in 0..500 {
        let faults = plan().kinds(Kinds::ALL).after_marks(["msg-10"]);
        let plan = faults.draw(seed, &topology, Duration::from_secs(10));
        let json: Value = serde_json::from_str(&plan.to_json()).expect("JSON");
        for fault in json["faults"].as_array().expect("a list") {
            let properties = &schema["$defs"]["Fault"]["properties"];
            for (field, value) in fault.as_object().expect("a map") {
                let reference = properties[field]["$ref"].as_str().expect("a definition");
                let class = &schema["$defs"][reference.trim_start_matches("#/$defs/")];
                for inner in value.as_object().into_iter().flatten() {
                    assert!(class["properties"][inner.0].is_object(), "{field}.{} is not in the schema", inner.0);
                    fields += 1;
                }
            }
        }
    }
    assert!(fields > 1_000, "{fields} fields are few");
}
