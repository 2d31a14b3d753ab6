//! Weather: plans of faults that the kernel carries out by itself.

mod common;
use common::{Run, world};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind, FaultReport, LinkTrouble, Links, Spread, WeatherReport};
use windtunnel_sim::world::{HostId, HostState, OnExit};

const TEST: HostId = HostId(0);

static STARTS: AtomicU32 = AtomicU32::new(7);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn sleep_until(began: Instant, after_s: f64) {
    thread::sleep((began + seconds(after_s)).saturating_duration_since(Instant::now()));
}

/// A fault from one second of the weather to another.
fn fault(from_s: f64, to_s: f64, kind: FaultKind) -> Fault {
    Fault { begins: Begins::At(seconds(from_s)), lasts: seconds(to_s - from_s), kind }
}

fn between(from: HostId, to: HostId) -> Links {
    Links { from: vec![from], to: vec![to], both_ways: true }
}

fn partition(from: HostId, to: HostId) -> FaultKind {
    FaultKind::Links { links: between(from, to), trouble: LinkTrouble::Partition }
}

/// When a fault was in force, in seconds, and what it bit on.
fn spell(from_s: f64, to_s: f64, bit: u64) -> FaultReport {
    FaultReport { began: Some(seconds(from_s)), ended: Some(seconds(to_s)), bit, unseen: false }
}

/// A client host that runs a closure.
fn client(name: &str, run: impl FnOnce() + 'static) -> HostId {
    let host = control::add_host(name);
    control::start_client(host, Box::new(run)).expect("a fresh host starts");
    host
}

/// A host that runs a program.
fn program(name: &str, entry: unsafe fn(usize, &[u8]) -> i32, on_exit: OnExit) -> HostId {
    let host = control::add_host(name);
    control::start(host, &common::program(name, entry, on_exit)).unwrap();
    thread::sleep(Duration::from_millis(10));
    host
}

/// Counts its starts in a static, and never ends.
unsafe fn stays(_: usize, _: &[u8]) -> i32 {
    println!("start {}", STARTS.fetch_add(1, Ordering::SeqCst));
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Ends after a second and a half.
unsafe fn ends(_: usize, _: &[u8]) -> i32 {
    thread::sleep(Duration::from_millis(1500));
    0
}

/// Echoes one connection, and tells how it ended.
fn echo() -> impl FnOnce() {
    || {
        let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count]).unwrap();
        }
    }
}

/// The states of a host at some seconds of the weather.
fn states(host: HostId, began: Instant, at_s: &[f64]) -> String {
    let state = |at| {
        sleep_until(began, at);
        match control::state(host) {
            HostState::Down(_) => "down",
            HostState::Up => "up",
            HostState::Paused => "paused",
        }
    };
    at_s.iter().map(|at| state(*at)).collect::<Vec<_>>().join(" ")
}

fn assert_finished(run: &Run, output: &str) {
    assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", output), "{run:#?}");
}

#[test]
fn a_partition_stops_a_stream_at_its_time_and_lets_it_go_on_when_it_ends() {
    let run = world(1, || {
        let server = client("server", echo());
        thread::sleep(Duration::from_millis(10));
        let mut stream = TcpStream::connect("server:80").unwrap();
        control::begin_weather(&[fault(1.0, 3.5, partition(TEST, server))]);
        let began = Instant::now();
        let (mut silence, mut last) = ((Duration::ZERO, Duration::ZERO), Duration::ZERO);
        while last < seconds(6.0) {
            thread::sleep(Duration::from_millis(50));
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            let now = began.elapsed();
            if now - last > silence.1 - silence.0 {
                silence = (last, now);
            }
            last = now;
        }
        println!("silent from {:.1} s: {}", silence.0.as_secs_f64(), silence.1 > seconds(3.5));
        let report = control::end_weather();
        let bit = report.faults[0].bit;
        assert!(bit > 2, "{report:?}");
        assert_eq!(report, WeatherReport { faults: vec![spell(1.0, 3.5, bit)], ..WeatherReport::default() });
    });
    assert_finished(&run, "silent from 1.0 s: true\n");
    assert!(run.notes.contains(" test: fault 1 begins: partition between test and server for 2.5s\n"), "{run:#?}");
    assert!(run.notes.contains(" test: fault 1 ends: partition between test and server, which bit on "), "{run:#?}");
}

#[test]
fn a_crashed_host_is_started_again_with_fresh_statics_when_its_fault_ends() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        control::begin_weather(&[fault(1.0, 3.0, FaultKind::Crash { host })]);
        println!("{}", states(host, Instant::now(), &[0.9, 1.1, 2.9, 3.1]));
        let report = control::end_weather();
        let faults = vec![spell(1.0, 3.0, 1)];
        assert_eq!(report, WeatherReport { faults, left_down: vec![], restarted: vec![host] });
    });
    assert_finished(&run, "start 7\nstart 7\nup down down up\n");
    let notes: Vec<&str> = run.notes.lines().filter_map(|line| line.split_once(" kv: ")).map(|(_, n)| n).collect();
    assert_eq!(
        notes,
        ["started", "fault 1 begins: crash for 2s", "crashed", "fault 1 ends: crash", "started"],
        "{run:#?}"
    );
}

#[test]
fn a_killed_host_closes_its_connections_and_is_started_again() {
    unsafe fn serves(_: usize, _: &[u8]) -> i32 {
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        let _connections: Vec<_> = listener.incoming().collect();
        0
    }
    let run = world(1, || {
        let host = program("kv", serves, OnExit::Fail);
        let mut stream = TcpStream::connect("kv:80").unwrap();
        control::begin_weather(&[fault(1.0, 3.0, FaultKind::Kill { host })]);
        let began = Instant::now();
        println!("{:?} after {} s", stream.read(&mut [0; 1]), began.elapsed().as_secs());
        println!("{:?}", TcpStream::connect("kv:80").unwrap_err().kind());
        sleep_until(began, 3.1);
        TcpStream::connect("kv:80").unwrap();
        assert_eq!(control::end_weather().restarted, [host]);
    });
    assert_finished(&run, "Ok(0) after 1 s\nConnectionRefused\n");
}

#[test]
fn a_crash_of_a_host_that_is_down_changes_nothing() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        let crash = FaultKind::Crash { host };
        let plan = [fault(1.0, 3.0, crash.clone()), fault(2.0, 6.0, crash), fault(2.5, 7.0, FaultKind::Kill { host })];
        control::begin_weather(&plan);
        println!("{}", states(host, Instant::now(), &[2.9, 3.1, 5.9, 7.1]));
        println!("{}", control::starts(host));
        assert_eq!(control::end_weather().faults, [spell(1.0, 3.0, 1), spell(2.0, 6.0, 0), spell(2.5, 7.0, 0)]);
    });
    assert_finished(&run, "start 7\nstart 7\ndown up up up\n2\n");
    assert!(run.notes.contains(" kv: fault 2 begins: crash for 4s, which changes nothing here\n"), "{run:#?}");
}

#[test]
fn a_host_that_was_restarted_by_hand_and_fell_again_is_started_when_the_last_fault_ends() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        control::begin_weather(&[
            fault(1.0, 4.0, FaultKind::Crash { host }),
            fault(3.0, 6.0, FaultKind::Kill { host }),
        ]);
        let began = Instant::now();
        sleep_until(began, 2.0);
        control::restart(host).unwrap();
        println!("{}", states(host, began, &[2.9, 3.1, 4.1, 6.1]));
        assert_eq!(control::end_weather().faults, [spell(1.0, 4.0, 1), spell(3.0, 6.0, 1)]);
    });
    assert_finished(&run, "start 7\nstart 7\nstart 7\nup down down up\n");
}

#[test]
fn pauses_overlap_and_a_crash_takes_a_pause_with_it() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        let pause = FaultKind::Pause { host };
        control::begin_weather(&[
            fault(1.0, 3.0, pause.clone()),
            fault(2.0, 5.0, pause.clone()),
            fault(6.0, 9.0, pause.clone()),
            fault(7.0, 8.0, FaultKind::Crash { host }),
            fault(7.5, 9.5, pause.clone()),
            fault(8.5, 10.0, pause),
        ]);
        println!("{}", states(host, Instant::now(), &[1.1, 2.9, 3.1, 6.1, 7.1, 8.1, 8.9, 9.1, 9.9, 10.1]));
        let bits: Vec<u64> = control::end_weather().faults.iter().map(|fault| fault.bit).collect();
        println!("{bits:?}");
    });
    assert_finished(
        &run,
        "start 7\nstart 7\npaused paused up paused down up paused paused paused up\n[1, 0, 1, 1, 0, 1]\n",
    );
}

#[test]
fn a_host_that_ended_by_itself_is_not_started_by_a_fault_that_did_not_fell_it() {
    let run = world(1, || {
        let host = program("kv", ends, OnExit::Ignore);
        control::begin_weather(&[
            fault(1.0, 1.2, FaultKind::Pause { host }),
            fault(2.0, 3.0, FaultKind::Crash { host }),
        ]);
        println!("{}", states(host, Instant::now(), &[1.3, 1.9, 3.1]));
        let report = control::end_weather();
        println!("{} {:?} {:?}", control::starts(host), report.left_down, report.restarted);
        assert_eq!(report.faults, [spell(1.0, 1.2, 1), spell(2.0, 3.0, 0)]);
    });
    assert_finished(&run, "up down down\n1 [] []\n");
}

#[test]
fn a_restart_by_hand_undoes_a_fault_for_good() {
    let run = world(1, || {
        let [kept, ended] = [("kept", OnExit::Fail), ("ended", OnExit::Ignore)]
            .map(|(name, on_exit)| program(name, if name == "kept" { stays } else { ends }, on_exit));
        let crashes = [kept, ended].map(|host| fault(1.0, 5.0, FaultKind::Crash { host }));
        control::begin_weather(&crashes);
        let began = Instant::now();
        sleep_until(began, 2.0);
        [kept, ended].iter().for_each(|host| control::restart(*host).unwrap());
        println!("{}; {}", states(kept, began, &[2.1, 5.1]), states(ended, began, &[5.2]));
        assert_eq!((control::starts(kept), control::starts(ended)), (2, 2));
        let faults = vec![spell(1.0, 5.0, 1); 2];
        assert_eq!(control::end_weather(), WeatherReport { faults, left_down: vec![], restarted: vec![] });
    });
    assert_finished(&run, "start 7\nstart 7\nup up; down\n");
}

#[test]
fn a_host_stays_felled_although_the_backoff_of_an_earlier_end_is_over() {
    let run = world(1, || {
        let host = program("kv", ends, OnExit::Restart { backoff: seconds(3.0) });
        let began = Instant::now();
        sleep_until(began, 2.0);
        control::restart(host).unwrap();
        control::begin_weather(&[fault(1.0, 4.0, FaultKind::Kill { host })]);
        println!("{}", states(host, Instant::now(), &[0.9, 1.1, 3.9, 4.1]));
    });
    assert_finished(&run, "up down down up\n");
}

#[test]
fn a_label_begins_its_fault_the_first_time() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        let after = |s| Begins::Mark { label: "loaded".into(), after: seconds(s) };
        let pause = FaultKind::Pause { host };
        control::mark("loaded");
        control::begin_weather(&[
            Fault { begins: after(0.5), lasts: seconds(1.0), kind: pause.clone() },
            Fault {
                begins: Begins::Mark { label: "never".into(), after: Duration::ZERO },
                lasts: seconds(1.0),
                kind: pause,
            },
            Fault { begins: after(0.0), lasts: seconds(0.25), kind: FaultKind::Crash { host } },
        ]);
        let began = Instant::now();
        println!("{}", states(host, began, &[1.0]));
        control::mark("loaded");
        println!("{}", states(host, began, &[1.1, 1.4, 1.7]));
        control::mark("loaded");
        println!("{}", states(host, began, &[2.4, 2.6, 4.0]));
        let report = control::end_weather();
        println!("{} {:?}", control::starts(host), report.faults[1]);
        let ms: Vec<u128> = report.faults.iter().filter_map(|f| f.began).map(|at| at.as_millis()).collect();
        println!("{ms:?}");
    });
    let never = "FaultReport { began: None, ended: None, bit: 0, unseen: false }";
    let expected = format!("start 7\nup\nstart 7\ndown up paused\npaused up up\n2 {never}\n[1500, 1000]\n");
    assert_finished(&run, &expected);
}

#[test]
fn the_end_of_the_weather_heals_at_once_cancels_the_rest_and_leaves_the_fallen_to_the_caller() {
    let run = world(1, || {
        let hosts = ["a", "b", "c", "d"].map(|name| program(name, stays, OnExit::Fail));
        let echo = client("echo", echo());
        thread::sleep(Duration::from_millis(10));
        let long = |kind| Fault { begins: Begins::At(seconds(1.0)), lasts: Duration::MAX, kind };
        control::begin_weather(&[
            long(FaultKind::Crash { host: hosts[0] }),
            fault(1.0, 9.0, FaultKind::Kill { host: hosts[1] }),
            fault(1.0, 9.0, FaultKind::Pause { host: hosts[2] }),
            long(partition(TEST, echo)),
            fault(5.0, 9.0, FaultKind::Crash { host: hosts[3] }),
            fault(1.0, 2.0, FaultKind::Crash { host: hosts[3] }),
        ]);
        thread::sleep(seconds(3.0));
        let report = control::end_weather();
        let began = Instant::now();
        TcpStream::connect("echo:80").unwrap();
        println!("connected at once: {}", began.elapsed() < seconds(0.1));
        println!("{:?}", hosts.map(|host| control::state(host) == HostState::Up));
        println!("{:?} {:?}", report.left_down == hosts[..2], report.restarted == hosts[3..]);
        println!("{:?}", report.faults.iter().map(|fault| (fault.began, fault.bit)).collect::<Vec<_>>());
        assert!(report.faults.iter().all(|f| f.ended.is_none_or(|at| at == seconds(2.0) || at >= seconds(3.0))));
        report.left_down.iter().for_each(|host| control::restart(*host).unwrap());
        thread::sleep(seconds(10.0));
        println!("{:?}", hosts.map(|host| control::state(host) == HostState::Up));
        println!("{:?}", control::end_weather());
    });
    let tail = run.output.trim_start_matches("start 7\n").replace("start 7\n", "");
    assert_eq!(
        tail,
        "connected at once: true\n[false, false, true, true]\ntrue true\n\
         [(Some(1s), 1), (Some(1s), 1), (Some(1s), 1), (Some(1s), 0), (None, 0), (Some(1s), 1)]\n\
         [true, true, true, true]\nWeatherReport { faults: [], left_down: [], restarted: [] }\n",
        "{run:#?}"
    );
}

#[test]
fn a_world_that_ends_in_its_weather_still_accounts_for_it() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        let other = control::add_host("other");
        control::begin_weather(&[
            fault(1.0, 2.0, FaultKind::Crash { host }),
            fault(1.0, 5.0, partition(TEST, other)),
            fault(3.0, 5.0, FaultKind::Kill { host }),
            fault(6.0, 7.0, FaultKind::Pause { host }),
        ]);
        thread::sleep(seconds(1.5));
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "other:9").unwrap();
        thread::sleep(seconds(2.0));
        println!("{:?}", control::weather_so_far());
    });
    let report = run.weather.trim_start_matches("WeatherReport ");
    assert_finished(&run, &format!("start 7\nstart 7\nSome(WeatherReport {report})\n"));
    let account = WeatherReport {
        faults: vec![
            spell(1.0, 2.0, 1),
            FaultReport { ended: None, ..spell(1.0, 0.0, 1) },
            FaultReport { ended: None, ..spell(3.0, 0.0, 1) },
            FaultReport::default(),
        ],
        left_down: vec![HostId(1)],
        restarted: vec![HostId(1)],
    };
    assert_eq!(run.weather, format!("{account:?}"));
}

#[test]
fn what_ended_weather_had_ahead_keeps_nobody_waiting() {
    let run = world(1, || {
        let host = control::add_host("a");
        control::begin_weather(&[fault(3600.0, 7200.0, FaultKind::Crash { host })]);
        control::end_weather();
        thread::park();
    });
    let ended_at_ns: u64 = run.digest.split(' ').nth(2).unwrap().parse().unwrap();
    assert_eq!(run.outcome, "Deadlock");
    assert!(ended_at_ns < 1_000_000_000, "{run:#?}");
}

#[test]
fn a_client_that_fell_is_left_to_the_caller() {
    let run = world(1, || {
        let host = client("c", || thread::sleep(seconds(60.0)));
        control::begin_weather(&[fault(1.0, 2.0, FaultKind::Crash { host })]);
        println!("{}", states(host, Instant::now(), &[0.9, 1.1, 2.1]));
        let report = control::end_weather();
        assert_eq!(
            report,
            WeatherReport { faults: vec![spell(1.0, 2.0, 1)], left_down: vec![host], restarted: vec![] }
        );
    });
    assert_finished(&run, "up down down\n");
}

#[test]
fn faults_of_links_account_for_what_they_bit_on() {
    let run = world(1, || {
        let (a, b) = (control::add_host("a"), control::add_host("b"));
        let slow = FaultKind::Links {
            links: between(TEST, a),
            trouble: LinkTrouble::Slow {
                latency: seconds(0.2),
                or: Vec::new(),
                jitter: seconds(0.1),
                spread: Spread::Uniform,
            },
        };
        control::begin_weather(&[
            fault(1.0, 2.0, partition(TEST, a)),
            fault(1.0, 2.0, partition(TEST, b)),
            fault(2.0, 3.0, slow),
            fault(
                2.0,
                3.0,
                FaultKind::Links {
                    links: between(a, TEST),
                    trouble: LinkTrouble::Lossy { probability: 1.0, correlation: 0.0 },
                },
            ),
            fault(
                2.0,
                3.0,
                FaultKind::Links {
                    links: between(TEST, b),
                    trouble: LinkTrouble::Lossy { probability: 0.0, correlation: 0.0 },
                },
            ),
        ]);
        let began = Instant::now();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for at in [1.5, 2.5] {
            sleep_until(began, at);
            (0..5).for_each(|_| assert_eq!(socket.send_to(b"x", "a:9").unwrap(), 1));
        }
        sleep_until(began, 4.0);
        println!("{:?}", control::end_weather().faults.iter().map(|fault| fault.bit).collect::<Vec<_>>());
    });
    assert_finished(&run, "[5, 0, 5, 5, 0]\n");
}

#[test]
fn weather_comes_while_a_program_only_looks_at_the_clock() {
    let run = world(1, || {
        let host = program("kv", stays, OnExit::Fail);
        control::begin_weather(&[fault(1.0, 2.0, FaultKind::Crash { host })]);
        let began = Instant::now();
        while began.elapsed() < seconds(1.5) {}
        println!("{:?}", matches!(control::state(host), HostState::Down(_)));
        while began.elapsed() < seconds(2.5) {}
        println!("{:?}", control::state(host));
    });
    assert_finished(&run, "start 7\ntrue\nstart 7\nUp\n");
}

#[test]
fn impossible_plans_are_refused_with_a_reason() {
    let run = world(1, || {
        let refusal = |plan: Vec<Fault>| {
            std::panic::set_hook(Box::new(|_| {}));
            let panic = std::panic::catch_unwind(|| control::begin_weather(&plan)).expect_err("refused");
            println!("{}", panic.downcast_ref::<String>().unwrap());
        };
        let host = control::add_host("a");
        let lossy = |probability| FaultKind::Links {
            links: between(TEST, host),
            trouble: LinkTrouble::Lossy { probability, correlation: 0.0 },
        };
        refusal(vec![fault(1.0, 2.0, FaultKind::Crash { host: TEST })]);
        refusal(vec![fault(1.0, 2.0, lossy(1.0)), fault(1.0, 2.0, lossy(f64::NAN))]);
        refusal(vec![fault(1.0, 2.0, partition(host, HostId(9)))]);
        control::begin_weather(&[]);
        refusal(vec![]);
        println!("{:?}", control::end_weather());
    });
    assert_finished(
        &run,
        "fault 1: host `test` runs the test itself; choose another host to fall or pause\n\
         fault 2: NaN is no probability; it would be from 0 to 1\n\
         fault 1: there is no host 9; add it before the weather begins\n\
         there is weather already: call `end_weather` before the next `begin_weather`\n\
         WeatherReport { faults: [], left_down: [], restarted: [] }\n",
    );
}

/// Host faults at whole seconds, so that many coincide; checks what the report says when the weather ends.
fn random_weather(seed: u64, ends_at_s: f64) -> Run {
    world(seed, move || {
        let hosts = ["a", "b"].map(|name| program(name, stays, OnExit::Fail));
        let draw = |below| control::random_u64("plan") % below;
        let plan: Vec<Fault> = (0..draw(12))
            .map(|_| {
                let (from, length) = (draw(8) as f64, draw(5) as f64);
                let host = hosts[draw(2) as usize];
                let kinds = [FaultKind::Crash { host }, FaultKind::Kill { host }, FaultKind::Pause { host }];
                fault(from, from + length, kinds[draw(3) as usize].clone())
            })
            .collect();
        control::begin_weather(&plan);
        thread::sleep(seconds(ends_at_s));
        let report = control::end_weather();
        for host in hosts {
            let expected = if report.left_down.contains(&host) { "down" } else { "up" };
            assert_eq!(states(host, Instant::now(), &[0.0]), expected, "{plan:#?} {report:#?}");
        }
        for (fault, told) in plan.iter().zip(&report.faults) {
            let Begins::At(begins) = fault.begins else { unreachable!("all begin at a time") };
            // A fault at zero begins when the call that begins the weather has taken its time.
            let expected = (begins <= seconds(ends_at_s)).then_some(begins.as_millis());
            assert_eq!(told.began.map(|at| at.as_millis()), expected, "{plan:#?} {report:#?}");
        }
        println!("left down: {}", report.left_down.len());
    })
}

#[test]
fn any_plan_ends_with_every_host_running_or_accounted_for() {
    let mut left_down = 0;
    for seed in 0..40 {
        let whole = random_weather(seed, 12.5);
        assert!(whole.outcome.is_empty() && whole.output.ends_with("left down: 0\n"), "seed {seed}: {whole:#?}");
        let cut_short = random_weather(seed, 4.5);
        assert!(cut_short.outcome.is_empty(), "seed {seed}: {cut_short:#?}");
        left_down += usize::from(!cut_short.output.ends_with("left down: 0\n"));
    }
    assert!(left_down > 5, "{left_down} of 40 cut short while a host was down");
}

/// Sends numbered datagrams to two hosts through loss; each tells which arrived.
fn through_loss(lossy: [bool; 2]) -> Run {
    world(5, move || {
        let hosts = ["a", "b"].map(|name| {
            client(name, move || {
                let socket = UdpSocket::bind("0.0.0.0:9").unwrap();
                loop {
                    let mut number = [0];
                    socket.recv(&mut number).unwrap();
                    println!("{name} {}", number[0]);
                }
            })
        });
        thread::sleep(Duration::from_millis(10));
        let kind = |host| FaultKind::Links {
            links: between(TEST, host),
            trouble: LinkTrouble::Lossy { probability: 0.5, correlation: 0.0 },
        };
        let plan = hosts.iter().zip(lossy).filter(|(_, lossy)| *lossy).map(|(host, _)| fault(0.5, 60.0, kind(*host)));
        control::begin_weather(&plan.collect::<Vec<_>>());
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..100 {
            thread::sleep(Duration::from_millis(20));
            socket.send_to(&[number], "a:9").unwrap();
            socket.send_to(&[number], "b:9").unwrap();
        }
        thread::sleep(Duration::from_millis(20));
        control::end_weather();
    })
}

#[test]
fn removing_a_fault_changes_nothing_of_what_another_drops() {
    let arrived = |run: &Run, host: char| -> Vec<String> {
        run.output.lines().filter(|line| line.starts_with(host)).map(str::to_owned).collect()
    };
    let (both, only_b) = (through_loss([true, true]), through_loss([false, true]));
    assert_eq!(arrived(&only_b, 'a').len(), 100);
    assert!((30..70).contains(&arrived(&both, 'a').len()), "{both:#?}");
    assert!((30..80).contains(&arrived(&both, 'b').len()), "{both:#?}");
    assert_eq!(arrived(&both, 'b'), arrived(&only_b, 'b'));
}

#[test]
fn equal_weather_makes_equal_runs_and_every_fault_is_in_the_digest() {
    assert_eq!(through_loss([true, true]), through_loss([true, true]));
    let vain = |faults: usize| {
        world(1, move || {
            let host = control::add_host("a");
            control::begin_weather(&vec![fault(1.0, 2.0, FaultKind::Crash { host }); faults]);
            thread::sleep(seconds(3.0));
        })
    };
    assert_ne!(vain(1).digest.split(' ').next(), vain(2).digest.split(' ').next());
    assert_eq!(vain(2), vain(2));
}
