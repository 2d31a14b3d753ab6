//! What is made of measurements: values in, values out.

/// The value that this share of the others does not exceed; nothing of nothing. By nearest rank.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// How far a ratio of `trials` may lie from `probability`, for a normal deviate: 3.29 of them hold 99.9 % of all.
pub(crate) fn binomial_bound(probability: f64, trials: usize, deviates: f64) -> f64 {
    deviates * (probability * (1.0 - probability) / trials.max(1) as f64).sqrt()
}

/// The normal deviate that 99.9 % lie within.
pub(crate) const DEVIATES_999: f64 = 3.29;

/// The least probability with which so many of the trials or more succeed as often as `chance`: the lower bound, on one
/// side, of Clopper and Pearson ("The use of confidence or fiducial limits illustrated in the case of the binomial",
/// 1934).
pub(crate) fn at_least(successes: usize, trials: usize, chance: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-9 {
        let middle = f64::midpoint(low, high);
        if at_least_so_many(successes, trials, middle) < chance { low = middle } else { high = middle }
    }
    low
}

/// How likely it is that so many of the trials or more succeed.
fn at_least_so_many(successes: usize, trials: usize, probability: f64) -> f64 {
    let mut ways_ln = 0.0;
    let mut sum = 0.0;
    // From the top: all of them, all but one, and so on.
    for failures in 0..=trials - successes.min(trials) {
        if failures > 0 {
            ways_ln += ((trials - failures + 1) as f64 / failures as f64).ln();
        }
        let succeed = (trials - failures) as f64;
        sum += (ways_ln + succeed * probability.ln() + failures as f64 * (1.0 - probability).ln()).exp();
    }
    sum
}

/// The slope of a line through points, by least squares; nothing of fewer than two.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| common / spread)
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!([0.5, 0.9, 0.99, 1.0].map(|share| percentile(&values, share)), [50.0, 90.0, 99.0, 100.0].map(Some));
    assert_eq!(percentile(&[], 0.5), None);
}

#[test]
fn bounds_shrink_with_the_root_of_the_trials() {
    let one = binomial_bound(0.2, 1000, DEVIATES_999);
    assert!((one - 0.0416).abs() < 1e-4, "{one}");
    assert!((binomial_bound(0.2, 4000, DEVIATES_999) - one / 2.0).abs() < 1e-9);
}

#[test]
fn what_was_always_seen_is_likely_by_the_root_of_chance() {
    assert!((at_least(96, 96, 0.001) - 0.001_f64.powf(1.0 / 96.0)).abs() < 1e-6);
    assert!((at_least(90, 100, 0.001) - 0.775_330).abs() < 1e-6, "{}", at_least(90, 100, 0.001));
    assert!(at_least(0, 10, 0.001) < 1e-6 && at_least(0, 0, 0.001) < 1e-6);
}

#[test]
fn a_slope_is_that_of_the_line() {
    let points: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 3.0 + 0.005 * f64::from(x))).collect();
    assert!((slope(&points).expect("there are ten") - 0.005).abs() < 1e-12);
    assert_eq!(slope(&points[..1]), None);
}
