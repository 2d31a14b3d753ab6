//! nftables (nft(8)): tables that die with the socket that made them.
//!
//! A [`Table`] is described as a whole, made in one transaction, read back and compared with its description, and
//! removed as a whole. Nothing here touches a table that it has not made.
//!
//! `flags owner` (Linux 5.12) makes the kernel remove a table when the socket that made it is closed, be it by kill -9,
//! and refuse everybody else's changes. Where the kernel lacks it, a table lives as long as its namespace.

mod expression;
pub(crate) mod message;
pub(crate) mod queue;
mod table;
mod watch;

pub(crate) use expression::{ALIVE, NETWORK_HEADER, offset};
pub use expression::{Direction, Expression, Family};
pub use table::{Chain, Hold, Hook, Lease, Renewed, Rule, Set, Table, TableDescription, is_there, names};
pub(crate) use table::{by_the_best_hold, renew};
pub use watch::{Change, Watch};
