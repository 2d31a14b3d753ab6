//! Processors that are busy with something else.

mod common;
use common::{Run, world};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind};
use windtunnel_sim::world::{HostId, OnExit, Program};

const TEST: HostId = HostId(0);

fn fault(from_ms: u64, to_ms: u64, kind: FaultKind) -> Fault {
    let (from, to) = (Duration::from_millis(from_ms), Duration::from_millis(to_ms));
    Fault { begins: Begins::At(from), lasts: to - from, kind }
}

/// How late a hundred sleeps of a millisecond end, in microseconds: the mean and the most.
fn late_us(load: Option<f64>) -> (u64, u64) {
    let run = world(1, move || {
        let burn = load.map(|load| fault(0, 60_000, FaultKind::Burn { host: TEST, load }));
        control::begin_weather(&burn.into_iter().collect::<Vec<_>>());
        let late: Vec<u64> = (0..100)
            .map(|_| {
                let began = Instant::now();
                thread::sleep(Duration::from_millis(1));
                (began.elapsed() - Duration::from_millis(1)).as_micros() as u64
            })
            .collect();
        let bit = control::end_weather().faults.first().map_or(100, |fault| fault.bit);
        println!("{} {} {bit}", late.iter().sum::<u64>() / 100, late.iter().max().unwrap());
    });
    assert_eq!(run.outcome, "", "{run:#?}");
    let numbers: Vec<u64> = run.output.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[2], 100, "each of them waits");
    (numbers[0], numbers[1])
}

#[test]
fn whoever_is_woken_waits_for_a_turn_the_longer_the_busier_it_is() {
    let idle = late_us(None);
    assert!(idle.1 < 100, "{idle:?}");
    let half = late_us(Some(0.5));
    assert!((800..1_500).contains(&half.0) && half.1 < 2_400, "{half:?}");
    let busy = late_us(Some(0.9));
    assert!((8_000..12_500).contains(&busy.0) && busy.1 < 20_400, "{busy:?}");
}

/// Three threads that sleep and wake, for ever.
unsafe fn restless(_: usize, _: &[u8]) -> i32 {
    for _ in 0..2 {
        thread::spawn(|| {
            loop {
                thread::sleep(Duration::from_micros(300));
            }
        });
    }
    loop {
        thread::sleep(Duration::from_millis(1));
    }
}

fn in_all_weather(seed: u64) -> Run {
    world(seed, || {
        let host = control::add_host("kv");
        let program = Program {
            entry: restless,
            user: 0,
            payload: Vec::new(),
            args: vec!["kv".to_owned()],
            env: Vec::new(),
            on_exit: OnExit::Fail,
        };
        control::start(host, &program).unwrap();
        control::begin_weather(&[
            fault(0, 500, FaultKind::Burn { host, load: 0.8 }),
            fault(100, 200, FaultKind::Pause { host }),
            fault(150, 160, FaultKind::Burn { host, load: 0.99 }),
            fault(250, 300, FaultKind::Kill { host }),
            fault(350, 351, FaultKind::Pause { host }),
            fault(360, 400, FaultKind::Crash { host }),
            fault(401, 402, FaultKind::Pause { host }),
        ]);
        thread::sleep(Duration::from_secs(1));
        let faults = control::end_weather().faults;
        println!("{} {}", control::starts(host), faults.iter().all(|fault| fault.bit > 0 || fault.ended.is_some()));
    })
}

#[test]
fn pauses_and_crashes_go_together_with_it_and_repeat() {
    for seed in 0..20 {
        let run = in_all_weather(seed);
        assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", "3 true\n"), "{run:#?}");
        assert_eq!(run, in_all_weather(seed));
    }
}
