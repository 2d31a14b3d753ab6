//! The one shape of a fault on the real kernel.

use crate::Result;

/// A fault that has been applied.
///
/// Applying is the constructor's business: when it returns, the fault is in force. Dropping an injection heals it as
/// far as that can be done without anybody to tell; [`heal`](Self::heal) says whether it worked.
pub trait Injection: Send {
    /// How it is done, in a few words: `nft owner table`, `NFQUEUE`, `cgroup v1 memory limit`.
    fn mechanism(&self) -> &'static str;

    /// Asks the kernel whether the fault is in force as it was asked for.
    ///
    /// # Errors
    /// The kernel does not say, or [what it says](crate::error::ErrorKind::Unlike) is something else: somebody has
    /// changed it.
    fn read_back(&mut self) -> Result<()>;

    /// How much it has bitten on since it was applied: packets dropped or delayed, calls refused, periods throttled…
    ///
    /// # Errors
    /// The kernel does not say.
    fn bit(&mut self) -> Result<u64>;

    /// Ends it, and asks the kernel whether it is gone. Healing what is healed, or whose target is gone, does nothing.
    ///
    /// # Errors
    /// It is still there.
    fn heal(&mut self) -> Result<()>;
}
