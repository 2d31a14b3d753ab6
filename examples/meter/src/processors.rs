//! What a process gets of the processors.

use crate::done::Done;
use std::fs;
use std::hint::black_box;
use std::num::NonZero;
use std::thread;

/// Multiplications in a round.
const ROUND: u64 = 20_000;

/// Works on all processors at once.
pub(crate) fn work(rounds: u64) -> Done {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(move || (0..rounds * ROUND).fold(1_u64, |product, x| black_box(product.wrapping_mul(x | 1))));
        }
    });
    Done::all(ticks().unwrap_or_default())
}

/// What this process has had of the processors so far, in ticks of a hundredth of a second: `utime` and `stime` of
/// proc_pid_stat(5), the fields 14 and 15.
fn ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, and may have anything in it.
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

#[test]
fn work_takes_time_of_processors() {
    let before = ticks().expect("there is /proc");
    let worked = (0..1000).map(|_| work(20).amount).find(|ticks| *ticks > before + 1);
    assert!(worked.is_some(), "more than {before} ticks");
}
