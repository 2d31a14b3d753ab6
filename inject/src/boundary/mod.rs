//! What goes wrong with the calls of one's own hosts, at the boundary between program and libc.
//!
//! A host is a process executed from the test's binary, whose libc symbols are windtunnel's. It is handed a [`Page`] of
//! shared memory and goes by it (`windtunnel_sim::real_calls::install`): reads and syncs fail, writes and syncs take
//! longer. This needs no privilege and no device. And it counts there what its calls were refused, which the kernel
//! does not, so that a fault that the kernel does (a full disk, a lack of descriptors) can [account](Page::account) for
//! what it has bitten on.
//!
//! ```text
//! layout.rs   words of the page
//! page.rs     the page
//! fault.rs    a slot of it: reads and syncs that fail, writes and syncs that take longer
//! account.rs  what the kernel's faults have bitten on
//! ```

mod account;
mod fault;
mod layout;
mod page;

pub use account::{Account, Refusal};
pub use fault::CallFault;
#[doc(hidden)]
pub use layout::LAYOUT;
pub use page::{Counts, Page};
