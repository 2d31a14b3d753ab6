//! Clocks of hosts: by the page that their libc goes by, or if they run a command by the vDSO of its processes.

use super::World;
use super::faults::Refusal;
use super::hosts::Pages;
use rustix::process::Signal;
use std::sync::Arc;
use std::time::Duration;
use windtunnel_inject::clock::{ClockFault, ForeignClocks};
use windtunnel_inject::keeper::{Begins, Child, Start};
use windtunnel_inject::{Error, Injection, Target};
use windtunnel_sim::world::HostId;

/// How long clocks of commands go on being wrong when this process stands still.
const LEASE: Duration = Duration::from_secs(3);

/// What shows a host's programs the time. Both outlast a start: a host that is started again is as wrong.
enum Clocks {
    /// Of a program that is a function.
    Page(Arc<Pages>),
    /// Of a command.
    Foreign(Arc<ForeignClocks>),
}

impl World {
    /// Sets a host's wall clock off.
    pub(super) fn skew(&self, host: HostId, by_ns: i64, slewed: bool) -> Result<Box<dyn Injection>, Refusal> {
        self.move_clocks(host, |clocks| match clocks {
            Clocks::Page(pages) => pages.clocks.skew(by_ns, slewed),
            Clocks::Foreign(clocks) => clocks.skew(by_ns, slewed),
        })
    }

    /// Makes a host's clocks run faster, or slower: of a command the wall clock only.
    pub(super) fn drift(&self, host: HostId, ppm: i64, stepped: bool) -> Result<Box<dyn Injection>, Refusal> {
        self.move_clocks(host, |clocks| match clocks {
            Clocks::Page(pages) => pages.clocks.drift(ppm, stepped),
            Clocks::Foreign(clocks) => clocks.drift(ppm, stepped),
        })
    }

    fn move_clocks(
        &self,
        host: HostId,
        change: impl FnOnce(&Clocks) -> Result<ClockFault, Error>,
    ) -> Result<Box<dyn Injection>, Refusal> {
        Ok(Box::new(change(&self.clocks_of(host)?)?))
    }

    fn clocks_of(&self, host: HostId) -> Result<Clocks, Refusal> {
        if let Some(pages) = self.pages(host) {
            return Ok(Clocks::Page(pages));
        }
        let make = || ForeignClocks::new(&self.journal, LEASE);
        let clocks = self.foreign_clocks(host, make)?.ok_or(Refusal::NotHere("it has no program"))?;
        // Another start may have been followed meanwhile.
        let mut followed = None;
        while let Some(child) = self.child(host).filter(|child| Some(child.process().pid) != followed) {
            clocks.follow(&target(&child))?;
            followed = Some(child.process().pid);
        }
        Ok(Clocks::Foreign(clocks))
    }
}

/// How a command is to begin: when these are wrong, not before they are its own.
pub(super) fn begins(clocks: Option<&ForeignClocks>) -> Begins {
    if clocks.is_some_and(ForeignClocks::are_wrong) { Begins::Stopped } else { Begins::AtOnce }
}

/// Has a command that was started like this go on, with these clocks.
pub(super) fn begin(clocks: Option<&ForeignClocks>, start: &Start, child: &Child) {
    if start.begins == Begins::Stopped {
        if let Some(clocks) = clocks {
            follow(clocks, child);
        }
        // It may have been killed a moment ago.
        let _ = child.signal(Signal::CONT);
    }
}

/// Has a command have these clocks. That it cannot, reading them back says.
pub(super) fn follow(clocks: &ForeignClocks, child: &Child) {
    let _ = clocks.follow(&target(child));
}

/// The program, and all that descend from it.
fn target(child: &Child) -> Target {
    Target::Process(child.process().clone())
}
