//! Which runs there are, and running them in alternation.

use crate::build::Binaries;
use std::process::Command;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// windtunnel as it looks for bugs: seeded scheduling with preemption, jitter, rarities. Round r runs seed r.
    Storm,
    /// windtunnel in good weather.
    Calm,
    /// madsim.
    Madsim,
    /// turmoil.
    Turmoil,
}

impl Subject {
    /// All, in the order of a round.
    pub const ALL: [Subject; 4] = [Subject::Storm, Subject::Calm, Subject::Madsim, Subject::Turmoil];

    /// The package whose binary runs it.
    pub fn package(self) -> &'static str {
        match self {
            Subject::Storm | Subject::Calm => "tunnel",
            Subject::Madsim => "peer-madsim",
            Subject::Turmoil => "peer-turmoil",
        }
    }

    /// Heading of its column.
    pub fn title(self) -> &'static str {
        match self {
            Subject::Storm => "windtunnel, storm",
            Subject::Calm => "windtunnel, calm",
            Subject::Madsim => "madsim",
            Subject::Turmoil => "turmoil",
        }
    }
}

/// A workload with its sizes.
pub struct Plan {
    /// Its name, as the binaries know it.
    pub workload: &'static str,
    /// What it is, for the table.
    pub title: &'static str,
    /// Round trips or hosts.
    pub size: u64,
    /// The largest size at which turmoil ends within about 20 seconds, if that is smaller; it runs once then.
    pub turmoil_size: u64,
    /// What one count of the report is.
    pub unit: Unit,
}

/// How a figure is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds for each round trip.
    RoundTrip,
    /// Nanoseconds for each firing of a timer.
    Firing,
    /// Nanoseconds for each append to a file. The peers have no such disk.
    Append,
    /// Milliseconds altogether.
    Whole,
}

impl Unit {
    /// The unit's name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::RoundTrip => "µs / round trip",
            Unit::Firing => "ns / firing",
            Unit::Append => "ns / append",
            Unit::Whole => "ms after boot",
        }
    }
}

impl Plan {
    /// Whether the bar of another workload compares with this one.
    pub fn needed_for(&self, other: &str) -> bool {
        self.workload == "echo" && other == "pairs" || self.workload == "appends-1k" && other == "appends-16k"
    }

    fn size_for(&self, subject: Subject) -> u64 {
        if subject == Subject::Turmoil { self.turmoil_size } else { self.size }
    }
}

/// Every workload.
pub fn plans() -> Vec<Plan> {
    let plan = |workload, title, size, turmoil_size, unit| Plan { workload, title, size, turmoil_size, unit };
    vec![
        plan("echo", "echo, 1 pair", 100_000, 100_000, Unit::RoundTrip),
        plan("pairs", "echo, 50 pairs", 50_000, 50_000, Unit::RoundTrip),
        plan("timers", "2,000 hosts, tokio interval of 1 s, 10 min", 2_000, 10, Unit::Firing),
        plan("idle", "2,000 idle hosts, 1 h", 2_000, 5, Unit::Whole),
        plan("appends-1k", "appends of 100 bytes, 1,000 unsynced", 640_000, 640_000, Unit::Append),
        plan("appends-16k", "appends of 100 bytes, 16,000 unsynced", 640_000, 640_000, Unit::Append),
    ]
}

/// What one run reported.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Real time of the measured part.
    pub elapsed_ns: u64,
    /// Real time before it.
    pub boot_ns: u64,
    /// Round trips, firings or hosts.
    pub count: u64,
    /// Peak resident set of the process.
    pub peak_rss_kib: u64,
}

/// All measured runs of one subject on one workload.
pub struct Series {
    /// Which workload.
    pub workload: &'static str,
    /// Whose.
    pub subject: Subject,
    /// How its figures are given.
    pub unit: Unit,
    /// Hosts or round trips.
    pub size: u64,
    full_size: u64,
    /// One for each round.
    pub samples: Vec<Sample>,
}

impl Series {
    /// Whether it ran at a smaller size than the others.
    pub fn is_smaller(&self) -> bool {
        self.size < self.full_size
    }
}

/// Runs a workload in alternating rounds (A B C D A B C D …); the first is a warm-up and counts for nothing.
pub fn rounds(plan: &Plan, binaries: &Binaries, rounds: usize, cpu: Option<usize>) -> Vec<Series> {
    let is_peer = |subject: &Subject| matches!(subject, Subject::Madsim | Subject::Turmoil);
    let mut all: Vec<Series> = Subject::ALL
        .into_iter()
        .filter(|subject| plan.unit != Unit::Append || !is_peer(subject))
        .map(|subject| Series {
            workload: plan.workload,
            subject,
            unit: plan.unit,
            size: plan.size_for(subject),
            full_size: plan.size,
            samples: Vec::new(),
        })
        .collect();
    for round in 0..=rounds {
        for series in &mut all {
            if series.is_smaller() && round != 1 {
                continue; // slow, and compared with nobody: once is enough
            }
            eprintln!("{} round {round} of {rounds}: {}", plan.workload, series.subject.title());
            let sample = run(series, binaries, round as u64, cpu);
            if round > 0 {
                series.samples.push(sample);
            }
        }
    }
    all
}

fn run(series: &Series, binaries: &Binaries, seed: u64, cpu: Option<usize>) -> Sample {
    let binary = binaries.of(series.subject);
    let mut command = match cpu.or_else(last_cpu) {
        Some(cpu) => {
            let mut taskset = Command::new("taskset");
            taskset.arg("--cpu-list").arg(cpu.to_string()).arg(&binary);
            taskset
        }
        None => Command::new(&binary),
    };
    command.args([series.workload, &series.size.to_string(), "--seed", &seed.to_string()]);
    if series.subject == Subject::Calm {
        command.arg("--calm");
    }
    let output = command.output().unwrap_or_else(|e| panic!("{} does not start: {e}", binary.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).unwrap_or_else(|| {
        panic!("{command:?} failed ({}):\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

/// The last processor, when there are several and `taskset` can pin to it: interrupts mostly go to the first.
fn last_cpu() -> Option<usize> {
    let cpus = std::thread::available_parallelism().ok()?.get();
    let taskset = Command::new("taskset").arg("--version").output().is_ok();
    (cpus > 1 && taskset).then_some(cpus - 1)
}

fn parse(text: &str) -> Option<Sample> {
    let field = |name: &str| {
        let value = text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value?.parse().ok()
    };
    Some(Sample {
        elapsed_ns: field("elapsed_ns")?,
        boot_ns: field("boot_ns")?,
        count: field("count")?,
        peak_rss_kib: field("peak_rss_kib")?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_report_is_read() {
        let sample = parse("elapsed_ns=5 boot_ns=6 count=7 peak_rss_kib=8\n").expect("well formed");
        assert_eq!((sample.elapsed_ns, sample.boot_ns, sample.count, sample.peak_rss_kib), (5, 6, 7, 8));
    }

    #[test]
    fn a_run_that_failed_is_no_sample() {
        assert!(parse("thread 'main' panicked").is_none());
        assert!(parse("elapsed_ns=5 boot_ns=6 count=7").is_none());
    }
}
