//! The JSON Schema that is kept in the tree is the one that plans have.

use windtunnel_faults::json_schema;

#[test]
fn the_kept_schema_is_current() {
    let kept = include_str!("../schema/plan.schema.json");
    let update = "run `cargo xtask schema > faults/schema/plan.schema.json`";
    assert!(kept == json_schema(), "faults/schema/plan.schema.json is not what plans are like any more: {update}");
}
