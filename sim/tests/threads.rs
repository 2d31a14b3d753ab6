//! Simulated threads are genuine in every respect that a program can see, and one seed is one interleaving.

mod common;
use common::world;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn spawned_threads_share_channels_and_are_joined() {
    let run = world(1, || {
        let (tx, rx) = mpsc::channel();
        let handles: Vec<_> = (0..4)
            .map(|i| {
                let tx = tx.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(10 * (4 - i)));
                    tx.send(i).expect("the receiver lives");
                    i * 2
                })
            })
            .collect();
        drop(tx);
        println!("received {:?}", rx.iter().collect::<Vec<_>>());
        println!("returned {:?}", handles.into_iter().map(|h| h.join().unwrap()).collect::<Vec<_>>());
    });
    assert_eq!(run.output, "received [3, 2, 1, 0]\nreturned [0, 2, 4, 6]\n");
}

#[test]
fn a_virtual_hour_takes_no_time() {
    let run = world(1, || {
        let began = Instant::now();
        thread::sleep(Duration::from_secs(3600));
        println!("{}", began.elapsed().as_secs());
    });
    assert_eq!(run.output, "3600\n");
}

#[test]
fn panics_stay_in_their_thread() {
    let run = world(1, || {
        let result = thread::spawn(|| panic!("on purpose")).join();
        println!("{}", result.is_err());
    });
    assert!(run.output.ends_with("true\n"), "{}", run.output);
}

#[test]
fn thread_local_destructors_run_inside_the_world() {
    struct Tell(&'static str);
    impl Drop for Tell {
        fn drop(&mut self) {
            println!("dropped {}", self.0);
        }
    }
    thread_local!(static TELL: Tell = const { Tell("by its thread") });
    let run = world(1, || {
        thread::spawn(|| TELL.with(|_| println!("used"))).join().unwrap();
        println!("joined");
    });
    assert_eq!(run.output, "used\ndropped by its thread\njoined\n");
}
