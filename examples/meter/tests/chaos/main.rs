//! What a plan asks for, and what a client measures of it in either world: every kind of fault, by probes of its own.
//!
//! Each test prints what it measured as lines of JSON, for `cargo xtask parity` to set side by side, and judges it by
//! generous bounds: that the machine is busy must not fail it.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `links`, `packets`, `clocks`, `storage`, `lacks`, `crashes` | the probes, by family |
//! | `schedule` | every kind, one after the other, without probes |
//! | `plan`, `watch`, `figures`, `rows` | what is made of them: when a fault was in force, how strong it was, how sure that is |
//! | `stream`, `turns` | asking the meter: once a millisecond, or when it has answered |

mod clocks;
mod crashes;
mod figures;
mod lacks;
mod links;
mod packets;
mod plan;
mod rows;
mod schedule;
mod storage;
mod stream;
mod turns;
mod watch;
