//! Prints the JSON Schema of plans; `cargo xtask schema` calls it.

fn main() {
    print!("{}", windtunnel_faults::json_schema());
}
