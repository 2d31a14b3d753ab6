//! Clocks that show another time, or run at another speed.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `motion.rs` | what is added to a clock at which moment: steps, slews, drifts |
//! | `layout.rs` | how that is written down for whoever shows the time |
//! | `fault.rs` | a skew or a drift in force |
//! | `page.rs` | one's own hosts, whose libc hooks read a page |
//! | `crowd.rs` | all processes of a program or a container that is none of ours |
//! | `lease.rs` | what keeps their clocks wrong |
//! | `stub.rs` | what is put into such a process, and taken away |
//! | `threads.rs` | stopping its threads, and lending one |
//! | `vdso.rs` | finding one's way in it |

mod crowd;
mod fault;
mod layout;
mod lease;
mod motion;
mod page;
mod stub;
mod threads;
mod vdso;

pub use crowd::ForeignClocks;
pub use fault::ClockFault;
pub use layout::LAYOUT;
pub use page::ClockPage;
pub use stub::{Undo, Written};
