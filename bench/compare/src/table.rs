//! Medians, the table, and which bars hold.

use crate::measure::{Plan, Sample, Series, Subject, Unit};
use std::fmt::Write;

/// Least, median and greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

fn spread(mut figures: Vec<f64>) -> Spread {
    figures.sort_by(f64::total_cmp);
    let (n, half) = (figures.len(), figures.len() / 2);
    let median = if n % 2 == 1 { figures[half] } else { (figures[half - 1] + figures[half]) / 2.0 };
    Spread { least: figures[0], median, greatest: figures[n - 1] }
}

fn figure(unit: Unit, sample: &Sample) -> f64 {
    let each_ns = sample.elapsed_ns as f64 / sample.count as f64;
    match unit {
        Unit::RoundTrip => each_ns / 1e3,
        Unit::Firing | Unit::Append => each_ns,
        Unit::Whole => sample.elapsed_ns as f64 / 1e6,
    }
}

fn measured(series: &Series) -> Spread {
    spread(series.samples.iter().map(|s| figure(series.unit, s)).collect())
}

fn median_of(series: &Series, field: impl Fn(&Sample) -> u64) -> f64 {
    spread(series.samples.iter().map(|s| field(s) as f64).collect()).median
}

/// Three significant digits.
fn short(value: f64) -> String {
    let digits = if value == 0.0 { 2 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 4) };
    format!("{value:.*}", digits as usize)
}

/// One row for each workload and subject.
pub fn draw(plans: &[Plan], all: &[Series]) -> String {
    let mut text = String::new();
    for plan in plans {
        let row = |cells: [&str; 6]| {
            let [who, median, range, ratio, boot, rss] = cells;
            format!("  {who:<26}{median:>10}  {range:<22}{ratio:>11}{boot:>11}{rss:>11}\n")
        };
        let _ = writeln!(text, "{} ({})", plan.title, plan.unit.name());
        text += &row(["", "median", "min – max", "× madsim", "boot ms", "RSS MiB"]);
        let of_plan = || all.iter().filter(|s| s.workload == plan.workload && !s.samples.is_empty());
        let madsim = of_plan().find(|s| s.subject == Subject::Madsim).map(|s| measured(s).median);
        for series in of_plan() {
            let Spread { least, median, greatest } = measured(series);
            let ratio = madsim.filter(|_| !series.is_smaller() && series.unit != Unit::Whole);
            let smaller = if series.is_smaller() { format!(", {} hosts", series.size) } else { String::new() };
            text += &row([
                &format!("{}{smaller}", series.subject.title()),
                &short(median),
                &format!("{} – {}", short(least), short(greatest)),
                &ratio.map_or(String::new(), |madsim| format!("{:.2}", median / madsim)),
                &short(median_of(series, |s| s.boot_ns) / 1e6),
                &short(median_of(series, |s| s.peak_rss_kib) / 1024.0),
            ]);
        }
        text.push('\n');
    }
    text
}

/// What was promised, and whether it held in this run.
pub fn bars(all: &[Series]) -> String {
    let median = |workload: &str, subject| {
        let series = all.iter().find(|s| s.workload == workload && s.subject == subject && !s.samples.is_empty());
        series.map(|s| measured(s).median)
    };
    let storm = |workload: &str| median(workload, Subject::Storm);
    let madsim = |workload: &str| median(workload, Subject::Madsim);
    let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let bars = [
        ("echo: at most 1.3 × madsim", over(storm("echo"), madsim("echo")), 1.3),
        ("50 pairs: at most 1.2 × one pair", over(storm("pairs"), storm("echo")), 1.2),
        ("timers: at most 2 × madsim per firing", over(storm("timers"), madsim("timers")), 2.0),
        ("idle: less than 50 ms after boot", storm("idle"), 50.0),
        ("16,000 unsynced: no more than 1,000", over(storm("appends-16k"), storm("appends-1k")), 1.05),
    ];
    let mut text = String::new();
    for (bar, value, limit) in bars {
        if let Some(value) = value {
            let verdict = if value <= limit { "holds" } else { "DOES NOT HOLD" };
            let _ = writeln!(text, "{bar:<42}{:>8}   {verdict}", short(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{short, spread};

    #[test]
    fn a_median_is_the_middle_or_between_the_middles() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]).median, 2.0);
        let even = spread(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((even.least, even.median, even.greatest), (1.0, 2.5, 4.0));
    }

    #[test]
    fn figures_have_three_digits() {
        let texts: Vec<String> = [0.001_234, 1.234, 12.34, 123.4, 12_345.6, 0.0].into_iter().map(short).collect();
        assert_eq!(texts, ["0.0012", "1.23", "12.3", "123", "12346", "0.00"]);
    }
}
