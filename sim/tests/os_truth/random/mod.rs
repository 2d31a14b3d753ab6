//! Random sequences of calls, run on both kernels.
//!
//! A sequence works on a handful of descriptors in one thread, and nothing in it blocks. Sequences run in batches, one
//! process each side; one that differs is run again alone, with more time for the network, and then shrunk: calls are
//! dropped as long as a difference remains.
//!
//! [`generator`] and [`interpreter`] are about sockets, pipes and the like; [`files`] and [`on_files`] about files.

mod files;
mod generator;
mod interpreter;
mod on_files;
mod shrink;

use crate::compare::{differing, unexplained};
use crate::differences::linux_version;
use crate::sides::{Record, Weather, in_a_world, on_the_real_kernel};
use crate::transcript::Transcript;
use generator::{Family, Source, sequence};
use std::fmt::Debug;

/// Sequences of a family that run unless `TRUTH_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 400;
/// Sequences that share a process.
const BATCH: u64 = 50;
/// What stands between them in a transcript.
const MARK: &str = "-- sequence ";
/// Time for the real network, first and when a difference is to be believed.
const SETTLE_US: [u32; 2] = [40, 3_000];

/// How many sequences to run, and from which on.
fn range() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    match number("TRUTH_SEQUENCE") {
        Some(one) => one..one + 1,
        None => 0..number("TRUTH_SEQUENCES").unwrap_or(SEQUENCES),
    }
}

/// How sequences of a kind come about, and how one runs.
struct Kind<T: 'static> {
    /// The test's name.
    name: &'static str,
    draw: fn(&mut Source) -> Vec<T>,
    run: fn(&[T], &Transcript),
}

impl<T: Copy + Debug> Kind<T> {
    /// A sequence on both sides.
    fn both(&self, ops: &[T], settle_us: u32) -> (Record, Record) {
        let script = |t: &'static Transcript| (self.run)(ops, t);
        (on_the_real_kernel(settle_us, &script), in_a_world(Weather::Calm, &script))
    }

    /// Whether a sequence differs in what the list does not explain.
    fn differs(&self, ops: &[T]) -> bool {
        let (real, world) = self.both(ops, SETTLE_US[1]);
        !unexplained(self.name, differing(&real, &world)).is_empty()
    }

    fn check(&self) {
        linux_version();
        let range = range();
        let mut from = range.start;
        while from < range.end {
            let numbers: Vec<u64> = (from..range.end.min(from + BATCH)).collect();
            from += BATCH;
            let sequences: Vec<Vec<T>> = numbers.iter().map(|n| (self.draw)(&mut Source::new(*n))).collect();
            let script = |t: &'static Transcript| {
                for ops in &sequences {
                    t.say(MARK);
                    (self.run)(ops, t);
                }
            };
            let (real, world) = (on_the_real_kernel(SETTLE_US[0], &script), in_a_world(Weather::Calm, &script));
            let (mut real_parts, mut world_parts) = (split(&real), split(&world));
            real_parts.resize_with(sequences.len(), Record::default);
            world_parts.resize_with(sequences.len(), Record::default);
            for (at, ops) in sequences.iter().enumerate() {
                let found = unexplained(self.name, differing(&real_parts[at], &world_parts[at]));
                if !found.is_empty() && std::env::var_os("TRUTH_SURVEY").is_some() {
                    println!("SURVEY {} | {} | {}", numbers[at], found[0].real, found[0].world);
                    continue;
                }
                if !found.is_empty() && self.differs(ops) {
                    self.report(numbers[at], ops);
                }
            }
        }
    }

    fn report(&self, number: u64, ops: &[T]) -> ! {
        let small = shrink::shrink(ops, |ops| self.differs(ops));
        let (real, world) = self.both(&small, SETTLE_US[1]);
        let found = unexplained(self.name, differing(&real, &world));
        let shown = crate::compare::report(self.name, Weather::Calm, &found, &real, &world);
        let list: String = small.iter().map(|op| format!("    {op:?}\n")).collect();
        panic!(
            "sequence {number} of {} calls differs, and so do these {} of them (TRUTH_SEQUENCE={number} runs it \
             alone):\n{list}{shown}",
            ops.len(),
            small.len(),
        );
    }
}

/// A transcript cut at its marks.
fn split(record: &Record) -> Vec<Record> {
    let mut parts: Vec<Record> = Vec::new();
    for line in &record.lines {
        match parts.last_mut() {
            _ if line.starts_with(MARK) => parts.push(Record::default()),
            Some(part) => part.lines.push(line.clone()),
            None => {}
        }
    }
    parts
}

macro_rules! families {
    ($($name:ident: $family:expr,)*) => { $(
        #[test]
        fn $name() {
            let name = concat!("random::", stringify!($name));
            Kind { name, draw: |source| sequence($family, source), run: interpreter::run }.check();
        }
    )* };
}

families! {
    descriptors: Family::Descriptors,
    streams: Family::Streams,
    datagrams: Family::Datagrams,
    unix: Family::Unix,
    messages: Family::Messages,
    mixed: Family::Mixed,
}

#[test]
fn files() {
    let draw = |source: &mut Source| files::sequence(files::Family::Files, source);
    Kind { name: "random::files", draw, run: on_files::run }.check();
}

#[test]
fn watches() {
    let draw = |source: &mut Source| files::sequence(files::Family::Watches, source);
    Kind { name: "random::watches", draw, run: on_files::run }.check();
}

/// The generator is a function of its seed, and does not stop at what it likes best.
#[test]
fn sequences_repeat_and_vary() {
    let of = |seed| sequence(Family::Mixed, &mut Source::new(seed));
    assert_eq!(format!("{:?}", of(7)), format!("{:?}", of(7)));
    assert_ne!(format!("{:?}", of(7)), format!("{:?}", of(8)));
}
