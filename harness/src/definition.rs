//! What `#[chaos_test]` says about a test.

use crate::timestamp::UnixNanoseconds;
use std::time::Duration;
use windtunnel_faults::Faults;

/// How many cases a test runs when nobody says. A case of a three-host service takes 5 to 30 ms, so that a test stays
/// around one second; a nightly job sets `CHAOS_CASES=x20`.
pub(crate) const DEFAULT_CASES: u32 = 64;
/// How many cases of the real world a test runs at most when nobody asks for more: each takes as long as its storm.
pub(crate) const REAL_CASES_MAX: u32 = 3;
/// Long enough to sleep for an hour, which costs nothing; short enough that three hosts with heartbeats every 100 ms
/// reach it within about a second.
pub(crate) const DEFAULT_VIRTUAL_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Real time passes as it does: enough for a storm of a minute and what comes around it.
const DEFAULT_REAL_TIMEOUT: Duration = Duration::from_secs(300);
/// A case usually takes milliseconds; this ends endless loops.
pub(crate) const DEFAULT_WALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What hosts run in.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// The simulated kernel.
    Sim,
    /// The real one.
    Real,
}

/// A test, as the attribute describes it. The attribute's own business: its fields may change at any time.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct TestDefinition {
    /// `crate::module::function`.
    pub path: &'static str,
    /// Cargo's package.
    pub package: Option<&'static str>,
    /// The target's crate name.
    pub crate_name: Option<&'static str>,
    /// Whether it belongs to an integration test or bench.
    pub integration_test: bool,
    /// Option `world`: which of them this test is.
    pub world: World,
    /// Whether it is one of several, each in another world: the last part of its path is the world's name.
    pub in_both_worlds: bool,
    /// Option `faults`.
    pub faults: Option<Faults>,
    /// Option `plan`.
    pub plan: Option<&'static str>,
    /// Option `cases`.
    pub cases: Option<u32>,
    /// Option `seed`.
    pub seed: Option<u64>,
    /// Option `virtual_timeout`.
    pub virtual_timeout: Option<Duration>,
    /// Option `wall_timeout`.
    pub wall_timeout: Option<Duration>,
    /// Option `start`.
    pub start: Option<UnixNanoseconds>,
    /// Option `expect_failure`.
    pub expect_failure: Option<&'static str>,
}

impl TestDefinition {
    /// The test's name as libtest knows it: its path without the crate.
    pub(crate) fn name(&self) -> &'static str {
        self.path.split_once("::").map_or(self.path, |(_, name)| name)
    }

    /// What names the test, in whichever world: a plan that was found in one is tried in the other.
    pub(crate) fn path_in_any_world(&self) -> &'static str {
        match self.path.rsplit_once("::") {
            Some((path, _world)) if self.in_both_worlds => path,
            _ => self.path,
        }
    }

    /// The directory below `target/chaos` that belongs to the test's binary: package, then target.
    pub(crate) fn binary(&self) -> String {
        let package = self.package.unwrap_or("test");
        match self.crate_name {
            Some(target) if self.integration_test || target != package.replace('-', "_") => {
                format!("{package}.{target}")
            }
            _ => package.to_owned(),
        }
    }

    pub(crate) fn wall_timeout(&self) -> Duration {
        let default = match self.world {
            World::Sim => DEFAULT_WALL_TIMEOUT,
            World::Real => DEFAULT_REAL_TIMEOUT,
        };
        self.wall_timeout.unwrap_or(default)
    }

    pub(crate) fn virtual_timeout(&self) -> Duration {
        self.virtual_timeout.unwrap_or(DEFAULT_VIRTUAL_TIMEOUT)
    }
}
