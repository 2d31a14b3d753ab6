//! Which cases a test runs: a calm rehearsal, then one case per seed.

use crate::definition::{DEFAULT_CASES, REAL_CASES_MAX, TestDefinition, World};
use crate::settings::{CasesSetting, SeedSetting, Settings, seed_text};
use std::hash::{BuildHasher as _, RandomState};
use xxhash_rust::xxh3::xxh3_64;

/// One case of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    /// 0 is the rehearsal, 1 the first case proper.
    pub(crate) number: u32,
    pub(crate) seed: u64,
    pub(crate) calm: bool,
}

/// The cases of one run of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cases {
    /// Whether a calm rehearsal comes first.
    pub(crate) rehearsal: bool,
    /// Whether the only case is a rehearsal asked for by `CHAOS_SEED=calm:…`.
    pub(crate) only_calm: bool,
    /// Seed of the rehearsal: a test's own, because plans are drawn for the hosts and the time that it shows, and the
    /// plan of a seed must be the same in every run.
    pub(crate) rehearsal_seed: u64,
    /// Seed of the first case; the others follow one by one.
    pub(crate) base: u64,
    /// How many cases run, the rehearsal not counted.
    pub(crate) count: u32,
    /// All cases have the same seed: they differ in their plans.
    pub(crate) one_seed: bool,
}

/// Where a base seed comes from when nobody gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// On CI, the same test draws the same seeds every time, so that a pull request does not turn red for somebody
    /// else's bug.
    pub(crate) ci: bool,
    /// `NEXTEST_STRESS_CURRENT`, or a number that differs each time at a desk.
    pub(crate) draw: u64,
}

impl Surroundings {
    pub(crate) fn of_this_process() -> Self {
        let set = |name: &str| {
            std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
        };
        let ci = set("CI");
        let stress = std::env::var("NEXTEST_STRESS_CURRENT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        // A fresh `RandomState` is keyed by the system's entropy.
        let draw = if ci { stress } else { RandomState::new().hash_one(std::process::id()) };
        Self { ci, draw }
    }

    fn base(self, definition: &TestDefinition) -> u64 {
        if self.ci {
            // Spread by a multiple of 2^32 so that runs of a stress test do not overlap.
            own_seed(definition).wrapping_add(self.draw << 32)
        } else {
            self.draw
        }
    }
}

/// A seed that belongs to the test: the same whenever and wherever it runs.
fn own_seed(definition: &TestDefinition) -> u64 {
    let package = definition.package.unwrap_or_default();
    xxh3_64(format!("{package} {}", definition.path).as_bytes())
}

impl Cases {
    /// Decides what runs. The environment wins over the attribute. One seed without a number of cases is an exact
    /// replay: that case and nothing else.
    pub(crate) fn of(definition: &TestDefinition, settings: &Settings, surroundings: Surroundings) -> Self {
        let attribute = match definition.world {
            World::Sim => definition.cases.unwrap_or(DEFAULT_CASES),
            World::Real => definition.cases.unwrap_or(REAL_CASES_MAX).min(REAL_CASES_MAX),
        };
        // A profile's number is for simulated cases, which take milliseconds.
        let is_pinned = definition.seed.is_some() || definition.plan.is_some() || definition.world == World::Real;
        let asked = settings.cases.filter(|_| !(settings.cases_by_profile && is_pinned)).map(|cases| match cases {
            CasesSetting::Exactly(cases) => cases.get(),
            CasesSetting::Times(factor) => attribute.saturating_mul(factor.get()),
        });
        let rehearsal_seed = own_seed(definition);
        let one_seed = settings.sweep.is_some();
        let pinned = |base, only_calm| Self { rehearsal: false, only_calm, rehearsal_seed, base, count: 1, one_seed };
        let from = |base, count| Self { rehearsal: true, only_calm: false, rehearsal_seed, base, count, one_seed };
        match (settings.seed, definition.seed) {
            (Some(SeedSetting::One { seed, calm: true }), _) => pinned(seed, true),
            (Some(SeedSetting::One { seed, calm: false }), _) => match asked {
                Some(count) => from(seed, count),
                None => pinned(seed, false),
            },
            // Fits: a range is at most 2^32 - 1 long.
            (Some(SeedSetting::Range { first, last }), _) => {
                let length = (last - first + 1) as u32;
                from(first, asked.map_or(length, |asked| asked.min(length)))
            }
            (None, Some(seed)) => match asked.or(definition.cases) {
                Some(count) => from(seed, count),
                None => pinned(seed, false),
            },
            (None, None) => from(surroundings.base(definition), asked.unwrap_or(attribute)),
        }
    }

    /// The case of this number, 0 being the rehearsal.
    pub(crate) fn case(&self, number: u32) -> Case {
        if number == 0 {
            return self.rehearsal();
        }
        let offset = if self.one_seed { 0 } else { u64::from(number - 1) };
        Case { number, seed: self.base.wrapping_add(offset), calm: self.only_calm }
    }

    /// The calm rehearsal.
    pub(crate) fn rehearsal(&self) -> Case {
        Case { number: 0, seed: self.rehearsal_seed, calm: true }
    }

    /// The first number that runs.
    pub(crate) fn first(&self) -> u32 {
        u32::from(!self.rehearsal)
    }

    /// The line that is printed before anything can go wrong.
    pub(crate) fn announcement(&self, test: &str) -> String {
        let seed = seed_text(self.base, self.only_calm);
        if self.one_seed {
            return format!("chaos: {test}, a sweep of seed {seed} (CHAOS_SEED={seed})");
        }
        let cases = match self.count {
            1 => "one case, seed".to_owned(),
            count => format!("{count} cases from seed"),
        };
        format!(
            "chaos: {test}, {cases} {seed} (CHAOS_SEED={seed}{})",
            match self.count {
                1 if !self.rehearsal => String::new(),
                count => format!(" CHAOS_CASES={count}"),
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const DESK: Surroundings = Surroundings { ci: false, draw: 77 };

    /// The test's own seed: the hash of its package and path.
    const OWN: u64 = xxhash_rust::const_xxh3::xxh3_64(b"kv kv::tests::linearizable");

    fn definition() -> TestDefinition {
        TestDefinition {
            world: World::Sim,
            in_both_worlds: false,
            path: "kv::tests::linearizable",
            package: Some("kv"),
            crate_name: Some("kv"),
            integration_test: false,
            faults: None,
            plan: None,
            cases: None,
            seed: None,
            virtual_timeout: None,
            wall_timeout: None,
            start: None,
            expect_failure: None,
        }
    }

    fn seed(text: &str) -> Settings {
        Settings { seed: Some(SeedSetting::parse(text).expect("a literal of this test")), ..Settings::default() }
    }

    #[test]
    fn a_test_rehearses_and_then_counts_up_from_the_base_seed() {
        let cases = Cases::of(&definition(), &Settings::default(), DESK);
        assert_eq!(
            cases,
            Cases {
                rehearsal: true,
                only_calm: false,
                rehearsal_seed: OWN,
                base: 77,
                count: DEFAULT_CASES,
                one_seed: false
            }
        );
        assert_eq!(cases.first(), 0);
        assert_eq!(cases.case(0), Case { number: 0, seed: OWN, calm: true });
        assert_eq!(cases.case(1), Case { number: 1, seed: 77, calm: false });
        assert_eq!(cases.case(64), Case { number: 64, seed: 140, calm: false });
    }

    #[test]
    fn the_seed_of_a_failing_case_is_an_exact_replay() {
        let cases = Cases::of(&definition(), &seed("0x5f1d"), DESK);
        assert_eq!(
            cases,
            Cases { rehearsal: false, only_calm: false, rehearsal_seed: OWN, base: 0x5f1d, count: 1, one_seed: false }
        );
        assert_eq!(cases.case(cases.first()), Case { number: 1, seed: 0x5f1d, calm: false });
        let calm = Cases::of(&definition(), &seed("calm:7"), DESK);
        assert_eq!(calm.case(calm.first()), Case { number: 1, seed: 7, calm: true });
    }

    #[test]
    fn the_environment_wins_over_the_attribute() {
        let pinned = TestDefinition { seed: Some(1), cases: Some(10), ..definition() };
        assert_eq!(Cases::of(&pinned, &Settings::default(), DESK).count, 10);
        assert_eq!(
            Cases::of(&pinned, &seed("9-12"), DESK),
            Cases { rehearsal: true, only_calm: false, rehearsal_seed: OWN, base: 9, count: 4, one_seed: false }
        );
        let ten_times = Settings { cases: NonZeroU32::new(10).map(CasesSetting::Times), ..Settings::default() };
        assert_eq!(Cases::of(&pinned, &ten_times, DESK).count, 100);
    }

    #[test]
    fn a_pinned_seed_is_one_case() {
        let pinned = TestDefinition { seed: Some(1), ..definition() };
        assert_eq!(
            Cases::of(&pinned, &Settings::default(), DESK),
            Cases { rehearsal: false, only_calm: false, rehearsal_seed: OWN, base: 1, count: 1, one_seed: false }
        );
    }

    #[test]
    fn on_ci_a_test_draws_the_same_seeds_every_time() {
        let ci = |draw| Cases::of(&definition(), &Settings::default(), Surroundings { ci: true, draw }).base;
        assert_eq!(ci(0), ci(0));
        assert_eq!(ci(1), ci(0).wrapping_add(1 << 32));
    }

    #[test]
    fn the_announcement_can_be_pasted() {
        let line =
            |settings: &Settings| Cases::of(&definition(), settings, DESK).announcement("kv::tests::linearizable");
        insta::assert_snapshot!(
            [line(&Settings::default()), line(&seed("0x5f1d")), line(&seed("calm:1"))].join("\n"),
            @r"
        chaos: kv::tests::linearizable, 64 cases from seed 0x4d (CHAOS_SEED=0x4d CHAOS_CASES=64)
        chaos: kv::tests::linearizable, one case, seed 0x5f1d (CHAOS_SEED=0x5f1d)
        chaos: kv::tests::linearizable, one case, seed calm:0x1 (CHAOS_SEED=calm:0x1)
        "
        );
    }
}
