//! The carrier: one kernel thread that runs every simulated thread of a world.
//!
//! - `switch`: the context switch, in assembly;
//! - `lent`: what a simulated thread keeps where its own code can reach it;
//! - `lend`: how a genuine pthread becomes a simulated one, and how it is freed;
//! - `heap`: what `malloc` gives to each image;
//! - `tcache`: one cache of libc's own malloc for all of them;
//! - `environment`: each process's `environ`;
//! - `image`: a fresh copy of the executable for each start of a host;
//! - `text`: its code in huge pages, once there are many;
//! - `real`: the real libc and kernel.
//!
//! This room and `abi` hold all `unsafe` of the crate. It must not know what a call means: that is `kernel`'s.

pub(crate) mod environment;
pub(crate) mod guard;
pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod lend;
pub(crate) mod lent;
pub(crate) mod outside;
pub(crate) mod real;
pub(crate) mod switch;
mod tcache;
mod text;
