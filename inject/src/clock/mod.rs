//! Clocks that show another time, or run at another speed.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `motion.rs` | what is added to a clock at which moment: steps, slews, drifts |
//! | `layout.rs` | how that is written down for whoever shows the time |
//! | `fault.rs` | a skew or a drift in force |
//! | `page.rs` | one's own hosts, whose libc hooks read a page |

mod fault;
mod layout;
mod motion;
mod page;

pub use fault::ClockFault;
pub use layout::LAYOUT;
pub use page::ClockPage;
