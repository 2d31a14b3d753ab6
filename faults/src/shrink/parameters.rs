//! Weaker parameters of a fault, whatever it strikes: less of it, plainer, rounder. Best first.

use super::numbers::{simpler, smaller};
use crate::effect::Effect;
use crate::effect::dns::Answer;
use crate::effect::network::{Distribution, Latency};
use crate::effect::process::{Crash, Manner, Pause, Pressure};
use crate::effect::time::{ClockDrift, ClockSkew, Correction, Onset};
use crate::quantity::{Drift, Percent, Rate, Size};
use std::time::Duration;

/// The same effect with one parameter weaker.
pub(crate) fn weaker(effect: &Effect) -> Vec<Effect> {
    match effect {
        Effect::Partition(_) | Effect::Pause(_) => Vec::new(),
        Effect::Crash(crash) => crashes(crash),
        Effect::Latency(latency) => latencies(latency),
        Effect::Loss(loss) => {
            let plain =
                vary(loss, [Percent::ZERO].into_iter().filter(|none| loss.correlation != *none), |new, none| {
                    new.correlation = none;
                });
            let rarer = vary(loss, rarer(loss.probability), |new, probability| new.probability = probability);
            [plain, rarer].concat()
        }
        Effect::Duplication(one) => vary(one, rarer(one.probability), |new, share| new.probability = share),
        Effect::Corruption(one) => vary(one, rarer(one.probability), |new, share| new.probability = share),
        Effect::Reordering(one) => {
            let rarer = vary(one, rarer(one.probability), |new, share| new.probability = share);
            [rarer, vary(one, smaller(one.by), |new, by| new.by = by)].concat()
        }
        Effect::Bandwidth(one) => {
            let plain = vary(one, one.queue.map(|_| None), |new, queue| new.queue = queue);
            [plain, vary(one, wider(one.rate), |new, rate| new.rate = rate)].concat()
        }
        Effect::DnsHijack(one) => {
            let plainest = (one.answer != Answer::NoSuchName).then_some(Answer::NoSuchName);
            let sooner = match one.answer {
                Answer::Late(by) => smaller(by).into_iter().map(Answer::Late).collect(),
                _ => Vec::new(),
            };
            vary(one, plainest.into_iter().chain(sooner), |new, answer| new.answer = answer)
        }
        Effect::ClockSkew(skew) => skews(skew),
        Effect::ClockDrift(drift) => drifts(drift),
        Effect::DiskFull(one) => {
            vary(one, (one.free != Size::default()).then_some(Size::default()), |new, free| new.free = free)
        }
        Effect::DiskErrors(one) => {
            let both = one.reads != Percent::ZERO && one.syncs != Percent::ZERO;
            let without_reads = vary(one, both.then_some(Percent::ZERO), |new, share| new.reads = share);
            let without_syncs = vary(one, both.then_some(Percent::ZERO), |new, share| new.syncs = share);
            let reads = vary(one, rarer(one.reads), |new, share| new.reads = share);
            let syncs = vary(one, rarer(one.syncs), |new, share| new.syncs = share);
            [without_reads, without_syncs, reads, syncs].concat()
        }
        Effect::BitRot(one) => vary(one, powers_of_ten(one.bits, 1), |new, bits| new.bits = bits),
        Effect::InodeExhaustion(one) => vary(one, (one.free != 0).then_some(0), |new, free| new.free = free),
        Effect::IoThrottle(one) => {
            let plain = (!one.delay.is_zero()).then_some(Duration::ZERO);
            let plain = vary(one, plain, |new, delay| new.delay = delay);
            [plain, vary(one, wider(one.rate), |new, rate| new.rate = rate)].concat()
        }
        Effect::CpuBurn(one) => vary(one, rarer(one.load), |new, load| new.load = load),
        Effect::MemoryPressure(one) => {
            let less = match one.pressure {
                Pressure::OomKill => vec![Percent::new(90)],
                Pressure::Taken(share) => rarer(share),
            };
            vary(one, less.into_iter().map(Pressure::Taken), |new, pressure| new.pressure = pressure)
        }
        Effect::TaskLeak(one) => vary(one, powers_of_ten(one.count, 1), |new, count| new.count = count),
    }
}

/// The same with another value of one field, for each value.
fn vary<C: Clone + Into<Effect>, V>(
    class: &C,
    values: impl IntoIterator<Item = V>,
    set: impl Fn(&mut C, V),
) -> Vec<Effect> {
    let with = |value| {
        let mut new = class.clone();
        set(&mut new, value);
        new.into()
    };
    values.into_iter().map(with).collect()
}

fn latencies(latency: &Latency) -> Vec<Effect> {
    let plain = (!latency.jitter.is_zero() && !latency.delay.is_zero()).then_some(Duration::ZERO);
    let plain = vary(latency, plain, |new, jitter| {
        new.jitter = jitter;
        new.distribution = Distribution::Uniform;
    });
    let each: Vec<_> = if latency.or.is_empty() { Vec::new() } else { [&[latency.delay], &latency.or[..]].concat() };
    let one = vary(latency, each, |new, delay| (new.delay, new.or) = (delay, Vec::new()));
    let steadier = vary(latency, smaller(latency.jitter), |new, jitter| new.jitter = jitter);
    [one, plain, steadier, vary(latency, smaller(latency.delay), |new, delay| new.delay = delay)].concat()
}

fn crashes(Crash { hosts, manner }: &Crash) -> Vec<Effect> {
    let kill = Crash { hosts: hosts.clone(), manner: Manner::Kill };
    let pause = Effect::from(Pause { hosts: hosts.clone() });
    match manner {
        Manner::PowerLoss => vec![pause, kill.into()],
        Manner::Kill => vec![pause],
    }
}

fn skews(skew: &ClockSkew) -> Vec<Effect> {
    let plain = vary(skew, (skew.onset != Onset::Step).then_some(Onset::Step), |new, onset| new.onset = onset);
    let nearer = smaller(skew.offset.magnitude()).into_iter().map(|size| skew.offset.with_magnitude(size));
    [plain, vary(skew, nearer, |new, offset| new.offset = offset)].concat()
}

fn drifts(drift: &ClockDrift) -> Vec<Effect> {
    let plain = (drift.correction != Correction::Slew).then_some(Correction::Slew);
    let plain = vary(drift, plain, |new, correction| new.correction = correction);
    let (size, sign) = (drift.rate.as_ppm().unsigned_abs(), drift.rate.as_ppm().signum());
    // As large, with one digit or two.
    let leading = 10_u32.pow(size.checked_ilog10().unwrap_or(0));
    let second = (leading / 10).max(1);
    let rates = powers_of_ten(size, 100).into_iter().chain([size / leading * leading, size / second * second]);
    let slower = rates.filter(|new| *new < size).map(|new| Drift::ppm(new as i32 * sign));
    [plain, vary(drift, slower, |new, rate| new.rate = rate)].concat()
}

/// A tenth, half, or rounded to tens: few values, because what chance decides is not much plainer for being rarer.
fn rarer(share: Percent) -> Vec<Percent> {
    let ppm = u128::from(share.ppm());
    let steps = [10_000, 100_000, 500_000].into_iter().filter(|step| *step < ppm);
    let values = simpler(ppm, steps.chain([ppm / 100_000 * 100_000, ppm / 10_000 * 10_000]));
    let shares = values.into_iter().filter(|value| *value > 0);
    shares.filter_map(|value| Percent::from_ppm(u32::try_from(value).ok()?)).collect()
}

/// Plainer rates that let more through: what is hardly felt, what is slow, or the next power of two.
fn wider(rate: Rate) -> Vec<Rate> {
    let most = 64 << 20;
    let next = rate.0.as_bytes().checked_next_power_of_two().unwrap_or(most);
    let plainer = [most, 1 << 20, next].into_iter().filter(|bytes| *bytes > rate.0.as_bytes() && *bytes <= most);
    plainer.map(|bytes| Rate(Size::bytes(bytes))).collect()
}

/// Powers of ten from a least one on, below a value.
fn powers_of_ten(value: u32, least: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(least), |power| power.checked_mul(10));
    powers.take_while(|power| *power < value).collect()
}
