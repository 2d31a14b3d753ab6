//! Some of the `workloads`, with mimalloc for a global allocator: as many services take one, in the crate's root.

use anyhow::Result;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// hyper.
pub fn http() -> Result<()> {
    workloads::http::server_main()
}

/// tokio's multi-thread runtime with blocking work.
pub fn blocking() -> Result<()> {
    workloads::blocking::server_main()
}

/// std threads.
pub fn threads() -> Result<()> {
    workloads::threads::server_main()
}
