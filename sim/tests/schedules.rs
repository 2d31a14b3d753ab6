//! One seed is one interleaving, and different seeds explore different ones.

mod common;
use common::world;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Three threads of four steps each; the order in which the steps happened.
fn steps() {
    let order = Arc::new(Mutex::new(String::new()));
    let threads: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let order = order.clone();
            thread::spawn(move || {
                for _ in 0..4 {
                    order.lock().unwrap().push_str(name);
                    thread::yield_now();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    print!("{}", order.lock().unwrap());
}

#[test]
fn fifty_seeds_give_more_than_forty_interleavings() {
    let orders: BTreeSet<String> = (0..50).map(|seed| world(seed, steps).output).collect();
    assert!(orders.iter().all(|order| order.len() == 12), "{orders:?}");
    assert!(orders.len() > 40, "only {} interleavings: {orders:#?}", orders.len());
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(world(seed, steps), world(seed, steps));
    }
}

/// Runs cases until one's output says `caught`; answers how many that took.
fn cases_until_caught(race: fn()) -> u64 {
    let found = (0..2000).find(|seed| world(*seed, race).output.contains("caught"));
    found.expect("2,000 cases find the race") + 1
}

fn point() {
    thread::yield_now();
}

/// Depth 1: one thread must come before another once.
fn race_of_depth_1() {
    let ready = Arc::new(AtomicU32::new(0));
    let other = ready.clone();
    let setter = thread::spawn(move || {
        point();
        other.store(1, Ordering::SeqCst);
    });
    point();
    point();
    if ready.load(Ordering::SeqCst) == 0 {
        println!("caught: used before it was set");
    }
    setter.join().unwrap();
}

/// Depth 2: a lost update needs one thread to stop between its read and its write while the other does both.
fn race_of_depth_2() {
    let counter = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let counter = counter.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    point();
                }
                let read = counter.load(Ordering::SeqCst);
                point();
                counter.store(read + 1, Ordering::SeqCst);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    if counter.load(Ordering::SeqCst) != 2 {
        println!("caught: an update was lost");
    }
}

/// Depth 3: A-B-A: a value is read, changed away and back by others, and then trusted.
fn race_of_depth_3() {
    let head = Arc::new(AtomicU32::new(1));
    let changes = Arc::new(AtomicU32::new(0));
    let (victim_head, victim_changes) = (head.clone(), changes.clone());
    let victim = thread::spawn(move || {
        for _ in 0..4 {
            point();
        }
        let (seen, before) = (victim_head.load(Ordering::SeqCst), victim_changes.load(Ordering::SeqCst));
        point();
        let swapped = victim_head.compare_exchange(seen, 9, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let after = victim_changes.load(Ordering::SeqCst);
        if seen == 1 && swapped && after == before + 2 {
            println!("caught: A-B-A");
        }
    });
    for value in [2, 1] {
        let (head, changes) = (head.clone(), changes.clone());
        thread::spawn(move || {
            point();
            point();
            let expected = if value == 2 { 1 } else { 2 };
            if head.compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                changes.fetch_add(1, Ordering::SeqCst);
            }
        })
        .join()
        .unwrap();
    }
    victim.join().unwrap();
}

#[test]
fn planted_races_of_every_depth_are_found() {
    let needed = [race_of_depth_1, race_of_depth_2, race_of_depth_3].map(|race: fn()| cases_until_caught(race));
    println!("cases needed for races of depth 1, 2, 3: {needed:?}");
}

/// The time-stamp counter, and with rdtscp the processor.
fn counter() -> (u64, u64, u32) {
    let mut processor = 7;
    // SAFETY: every x86-64 processor of this century has both.
    unsafe { (std::arch::x86_64::_rdtsc(), std::arch::x86_64::__rdtscp(&mut processor), processor) }
}

#[test]
fn the_time_stamp_counter_is_the_host_s_clock() {
    let scenario = || {
        let before = counter();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let after = counter();
        println!("{} {} {}", (after.0 - before.0) / 1_000_000, after.1 - after.0, after.2);
        println!("{before:?} {after:?}");
        // Whoever calibrates by the counter and a clock gets on.
        let (begun, mut reads) = (std::time::Instant::now(), 0);
        while begun.elapsed() < std::time::Duration::from_millis(10) {
            reads += u64::from(counter().0 > 0);
        }
        println!("{reads}");
    };
    let (one, two) = (world(1, scenario), world(1, scenario));
    assert!(one.output.starts_with("3000 0 0\n"), "{one:?}");
    assert_eq!((one.output, one.digest), (two.output, two.digest));
}

/// Waits as crossbeam's channels do when they have nothing better: by yielding until another thread has gone on.
fn spins_until_another_has_gone_on() {
    for _ in 0..50 {
        let (is_ready, count) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(0)));
        let (ready, counted) = (is_ready.clone(), count.clone());
        let other = thread::spawn(move || {
            for _ in 0..20 {
                *counted.lock().unwrap() += 1;
                drop(std::fs::metadata("/"));
            }
            ready.store(1, Ordering::SeqCst);
        });
        while is_ready.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        other.join().unwrap();
    }
    print!("done");
}

#[test]
fn who_yields_until_another_has_gone_on_sees_that_happen_soon() {
    for seed in 0..50 {
        let run = world(seed, spins_until_another_has_gone_on);
        assert_eq!((run.output.as_str(), run.outcome.as_str()), ("done", ""), "seed {seed}: {run:?}");
        // Some calls for each of the thousand steps, and not the millions of a thread that starves another.
        let events: u64 = run.digest.split(' ').nth(1).and_then(|events| events.parse().ok()).expect("a number");
        assert!(events < 50_000, "seed {seed}: {events} events");
    }
}
