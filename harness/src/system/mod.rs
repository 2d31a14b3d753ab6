//! What the system gives, wrapped: the only place of this crate with `unsafe` in it.
//!
//! ```text
//! memory.rs      memory shared between processes
//! exec.rs        executing this binary again, at fixed addresses
//! processes.rs   signalling and waiting
//! descriptors.rs reading and writing without allocating; files without names
//! executable.rs  where the executable lies
//! build.rs       which build it is
//! entry.rs       functions named by their address
//! start.rs       processes that are hosts of a real world
//! ```

mod build;
mod descriptors;
mod entry;
mod exec;
mod executable;
mod memory;
mod processes;
mod start;

pub(crate) use build::build_identity;
pub(crate) use descriptors::{become_descriptor, read_byte, readable, unnamed_file, write_whole};
pub(crate) use entry::{Caller, Entry};
pub(crate) use exec::{Arguments, ExecPlan, Executed};
pub(crate) use executable::{Executable, loaded_libraries};
pub(crate) use memory::{Mapping, Region};
pub(crate) use processes::{End, reap, signal, wait_for_end};
pub(crate) use start::HostProgram;
