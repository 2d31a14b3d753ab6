//! What is done to windtunnel's own tree.
//!
//! | task | file |
//! | --- | --- |
//! | `cargo xtask test` | [`mod@test`]: everything that has to pass before a change lands |
//! | `cargo xtask tidy` | [`tidy`]: the rules of the tree, also a test |
//! | `cargo xtask demo` | [`demo`]: the two proofs in `examples/` |
//! | `cargo xtask bench` | [`mod@bench`]: measurements against peers |
//! | `cargo xtask shrinking` | [`shrinking`]: how small plans become, and in how many simulations |
//! | `cargo xtask planted` | [`planted`]: whether the bugs in `examples/pitfalls` are found, and their remedies hold |
//! | `cargo xtask parity` | [`parity`]: what each kind of fault does in both worlds, side by side |
//! | `cargo xtask code-map` | [`code_map`]: the generated part of `ARCHITECTURE.md` |
//! | `cargo xtask schema` | [`schema`]: the JSON Schema of plans |
//! | `cargo xtask works-with` | [`works_with`]: a generated part of `README.md` |
//! | `cargo xtask vm` | [`vm`]: a command, or tests, on Debian's kernel in QEMU |

pub mod bench;
pub mod code_map;
pub mod demo;
pub mod examples;
pub mod marked;
pub mod parity;
pub mod planted;
pub mod process;
pub mod schema;
pub mod shrinking;
pub mod test;
pub mod tidy;
pub mod vm;
pub mod works_with;

use std::path::{Path, PathBuf};

/// The root of the tree that this program was built from.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
