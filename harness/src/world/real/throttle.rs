//! A host's disk that is held to a rate, by a rule of the host's control group for the device beneath the disk.

use super::lock;
use std::sync::{Arc, Mutex};
use windtunnel_inject::cgroup::{Device, Group, Limit, Limited, Rates};
use windtunnel_inject::{Injection, Result};

/// A rate that is in force, on whatever device the disk is. Whoever has a [`Rule`] of it can only move it.
pub(super) struct Throttle(Arc<Rule>);

/// What is to be told of another device.
pub(super) struct Rule {
    group: Arc<Group>,
    rates: Rates,
    now: Mutex<Now>,
}

struct Now {
    device: Device,
    limited: Limited,
    /// What it has bitten on while the disk was on devices that it has left.
    bit_before: u64,
    is_healed: bool,
}

impl Throttle {
    pub(super) fn begin(group: Arc<Group>, device: Device, rates: Rates) -> Result<Self> {
        let limited = Limited::apply(&group, &Limit::Io { device, rates })?;
        let now = Mutex::new(Now { device, limited, bit_before: 0, is_healed: false });
        Ok(Self(Arc::new(Rule { group, rates, now })))
    }

    pub(super) fn rule(&self) -> &Arc<Rule> {
        &self.0
    }
}

impl Rule {
    /// After a loss of power the disk is on another device: what was set for the one that it has left goes.
    pub(super) fn follow(&self, device: Device) -> Result<()> {
        let mut now = lock(&self.now);
        if now.is_healed || now.device == device {
            return Ok(());
        }
        now.bit_before += now.limited.bit()?;
        now.limited.heal()?;
        now.limited = Limited::apply(&self.group, &Limit::Io { device, rates: self.rates })?;
        now.device = device;
        Ok(())
    }
}

impl Injection for Throttle {
    fn mechanism(&self) -> &'static str {
        lock(&self.0.now).limited.mechanism()
    }

    fn read_back(&mut self) -> Result<()> {
        lock(&self.0.now).limited.read_back()
    }

    fn bit(&mut self) -> Result<u64> {
        let mut now = lock(&self.0.now);
        Ok(now.bit_before + now.limited.bit()?)
    }

    fn heal(&mut self) -> Result<()> {
        let mut now = lock(&self.0.now);
        now.is_healed = true;
        now.limited.heal()
    }
}
