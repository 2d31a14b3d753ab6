//! What a fault of the kernel's has bitten on, as the calls of a host saw it.
//!
//! The kernel does not count calls that it refuses for want of space, inodes, descriptors or threads; what it does tell
//! (blocks that changed hands, a limit that was reached) says less.

use super::page::{Counts, Page};
use crate::Injection;
use crate::error::Result;
use std::sync::Arc;

/// What a fault has calls be refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Space or inodes: `ENOSPC`, `EDQUOT`.
    Space,
    /// Descriptors: `EMFILE`.
    Descriptors,
    /// Threads and processes: `EAGAIN`.
    Tasks,
}

impl Refusal {
    fn of(self, counts: Counts) -> u64 {
        match self {
            Self::Space => counts.no_space + counts.over_quota,
            Self::Descriptors => counts.no_descriptor,
            Self::Tasks => counts.no_task,
        }
    }
}

/// Refusals that a host's calls have met from a moment on.
#[derive(Debug)]
pub struct Account {
    page: Arc<Page>,
    refusal: Refusal,
    before: u64,
    /// What had been refused when it was closed.
    closed: Option<u64>,
}

impl Page {
    /// Counts refusals from now on: to be asked for before a fault is begun.
    pub fn account(self: &Arc<Self>, refusal: Refusal) -> Account {
        Account { page: Arc::clone(self), refusal, before: refusal.of(self.counts()), closed: None }
    }
}

impl Account {
    /// The same fault, which has bitten at least as often as calls were refused. Faults that overlap and refuse for the
    /// same reason all count the same call.
    pub fn of(self, fault: Box<dyn Injection>) -> Box<dyn Injection> {
        Box::new(Accounted { fault, account: self })
    }

    fn refused(&self) -> u64 {
        self.closed.unwrap_or_else(|| self.refusal.of(self.page.counts()).saturating_sub(self.before))
    }
}

struct Accounted {
    fault: Box<dyn Injection>,
    account: Account,
}

impl Injection for Accounted {
    fn mechanism(&self) -> &'static str {
        self.fault.mechanism()
    }

    fn read_back(&mut self) -> Result<()> {
        self.fault.read_back()
    }

    fn bit(&mut self) -> Result<u64> {
        Ok(self.fault.bit()?.max(self.account.refused()))
    }

    fn heal(&mut self) -> Result<()> {
        self.fault.heal()?;
        self.account.closed = Some(self.account.refused());
        Ok(())
    }
}
