//! Control groups, of both versions: cgroups(7), the kernel's `admin-guide/cgroup-v1/` and `cgroup-v2.rst`.
//!
//! - `layout`: which hierarchies are mounted where, and where a process is in each
//! - `group`: [`Group`]: one group in all hierarchies: made, joined, killed, removed
//! - `limit`: [`Limited`]: a limit of a group, as an [`Injection`](crate::Injection)
//! - `v1`, `v2`: what the limits and counters are called in each version, and nothing else
//! - `freeze`: [`Frozen`]: a group that stands still
//! - `lend`: in version 2, who has controllers, and how groups share what one of them has switched on
//! - `remove`: how a group ends

mod freeze;
mod group;
mod layout;
mod lend;
mod limit;
pub(crate) mod remove;
mod v1;
mod v2;

pub use freeze::Frozen;
pub(crate) use freeze::Turns;
pub use group::{Group, join};
pub use layout::{Controller, Hierarchy, Layout, Version};
pub(crate) use limit::is_below_use;
pub use limit::{Device, Limit, Limited, Rates};
pub(crate) use remove::read_members;
