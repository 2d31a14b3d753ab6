//! The comparison of two transcripts.

use crate::differences::{DIFFERENCES, Difference, is_of_one_user};
use crate::sides::{Record, Script, Weather, in_a_world, knows_one_user, on_the_real_kernel};
use std::fmt::Write;

/// In which weather a script's answers may not depend on the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weathers {
    /// Only in calm weather: short reads, early timers and the like would show.
    Calm,
    /// In storms, too.
    All,
}

impl Weathers {
    fn list(self) -> &'static [Weather] {
        match self {
            Weathers::Calm => &[Weather::Calm],
            Weathers::All => &[Weather::Calm, Weather::Storm(1), Weather::Storm(10), Weather::Storm(35)],
        }
    }
}

/// How long the real network gets to deliver. A difference is believed when it shows after every one of them.
const SETTLE_US: [u32; 3] = [50, 2_000, 20_000];
/// Differences that are printed.
const SHOWN_MAX: usize = 40;

/// A line that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub at: usize,
    pub real: String,
    pub world: String,
}

/// Where two transcripts differ.
pub fn differing(real: &Record, world: &Record) -> Vec<Found> {
    let missing = || "(nothing)".to_owned();
    (0..real.lines.len().max(world.lines.len()))
        .filter(|at| real.lines.get(*at) != world.lines.get(*at))
        .map(|at| Found {
            at,
            real: real.lines.get(at).cloned().unwrap_or_else(missing),
            world: world.lines.get(at).cloned().unwrap_or_else(missing),
        })
        .filter(|found| !(knows_one_user() && is_of_one_user(found)))
        .collect()
}

/// Runs a script on both sides; fails unless the differences are the listed ones, all of them.
pub fn check(name: &str, weathers: Weathers, script: Script<'_>) {
    let name = name.trim_start_matches("os_truth::");
    let mut real = on_the_real_kernel(SETTLE_US[0], script);
    if std::env::var_os("TRUTH_PRINT").is_some() {
        print(&format!("{name}, real kernel"), &real);
    }
    assert!(!real.lines.is_empty(), "{name} wrote nothing down");
    let failed = |line: &String| line.starts_with("PANICKED") || line.starts_with("ENDED");
    assert!(!real.lines.iter().any(failed), "{name} failed on the real kernel: {:#?} {}", real.lines, real.aside);
    let listed: Vec<&Difference> = DIFFERENCES.iter().filter(|d| d.scripts.contains(&name)).collect();
    for weather in weathers.list() {
        let world = in_a_world(*weather, script);
        if std::env::var_os("TRUTH_PRINT").is_some() {
            print(&format!("{name}, {weather:?}"), &world);
        }
        let mut unlisted = judge(&listed, differing(&real, &world));
        for settle_us in &SETTLE_US[1..] {
            if unlisted.is_empty() {
                break;
            }
            real = on_the_real_kernel(*settle_us, script);
            unlisted = judge(&listed, differing(&real, &world));
        }
        assert!(unlisted.is_empty(), "{}", report(name, *weather, &unlisted, &real, &world));
        if *weather == Weather::Calm {
            let all = differing(&real, &world);
            for entry in listed.iter().filter(|entry| entry.shows_here()) {
                assert!(
                    all.iter().any(|found| entry.explains(found)),
                    "{name} no longer differs in `{}`: take the entry out of differences.rs",
                    entry.call
                );
            }
        }
    }
}

/// What the list does not explain of a script's differences.
pub fn unexplained(name: &str, found: Vec<Found>) -> Vec<Found> {
    let listed: Vec<&Difference> = DIFFERENCES.iter().filter(|d| d.scripts.contains(&name)).collect();
    judge(&listed, found)
}

fn judge(listed: &[&Difference], found: Vec<Found>) -> Vec<Found> {
    found.into_iter().filter(|found| !listed.iter().any(|entry| entry.explains(found))).collect()
}

pub fn report(name: &str, weather: Weather, found: &[Found], real: &Record, world: &Record) -> String {
    let mut text = format!("{name} differs in {} lines ({weather:?})\n", found.len());
    let mut shown_to = 0;
    for difference in found.iter().take(SHOWN_MAX) {
        let from = difference.at.saturating_sub(3).max(shown_to);
        for line in real.lines.iter().take(difference.at).skip(from) {
            let _ = writeln!(text, "           {line}");
        }
        let _ = writeln!(text, "    real   {}\n    world  {}", difference.real, difference.world);
        shown_to = difference.at + 1;
    }
    if world.lines.last().is_some_and(|line| line.starts_with("ENDED")) {
        let _ = writeln!(text, "{}\n{}", world.lines.last().map_or("", String::as_str), world.aside);
    }
    text
}

fn print(title: &str, record: &Record) {
    println!("--- {title}");
    record.lines.iter().for_each(|line| println!("{line}"));
    println!("{}", record.aside);
}

/// Declares scripts, each a test of its own.
///
/// ```text
/// script! { Weathers::All; fn what_it_shows(t) { t.read(0, 8); } }
/// ```
macro_rules! script {
    ($weathers:expr; $($(#[$doc:meta])* fn $name:ident($t:ident) $body:block)*) => { $(
        $(#[$doc])*
        #[test]
        fn $name() {
            fn script($t: &'static $crate::transcript::Transcript) $body
            $crate::compare::check(concat!(module_path!(), "::", stringify!($name)), $weathers, &script);
        }
    )* };
}
pub(crate) use script;
