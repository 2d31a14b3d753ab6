//! Whoever holds a partition may be killed at any moment, and nothing is left.

mod common;
mod network;

use network::{held_by_a_child, network};
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::netlink::in_namespace;
use windtunnel_inject::netlink::nft::{is_there, names};
use windtunnel_inject::switch::{Cut, Partition, Ways};
use windtunnel_inject::sys::{Forked, fork, wait};

#[test]
fn a_killed_holder_takes_its_partition_along() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let (holder, name) = held_by_a_child(|| {
            let cuts = [Cut { from: a.addresses.to_vec(), to: b.addresses.to_vec(), ways: Ways::Both }];
            Partition::begin(switch.ns(), &cuts).expect("a partition")
        });
        let there =
            || in_namespace(switch.ns(), || is_there(&name).expect("an answer")).expect("the switch's namespace");
        assert!(there());

        let receiver = b.run(|| UdpSocket::bind((b.addresses[0], 7)).expect("a free port"));
        let sender = a.run(|| UdpSocket::bind((a.addresses[0], 7)).expect("a free port"));
        sender.send_to(b"?", (b.addresses[0], 7)).expect("senders hear nothing");
        signal(holder, rustix::process::Signal::STOP);
        assert!(there(), "a holder that stands still holds");
        signal(holder, rustix::process::Signal::KILL);
        let killed = Instant::now();
        assert_eq!(wait(holder).expect("a child").code(), 128 + libc::SIGKILL);
        while there() {
            // The kernel removes it as it closes the socket; how soon it comes to that is the machine's matter.
            assert!(killed.elapsed() < Duration::from_secs(5), "it outlives its holder");
        }
        println!("gone {:?} after kill -9", killed.elapsed());
        sender.send_to(b"!", (b.addresses[0], 7)).expect("a way there");
        receiver.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let mut byte = [0];
        receiver.recv(&mut byte).expect("a datagram");
        assert_eq!(&byte, b"!");
    });
}

#[test]
fn a_partition_ends_while_its_holder_stands_still_and_goes_on_with_it() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let (mut said, says) = std::io::pipe().expect("a pipe");
        let (heard, mut hears) = std::io::pipe().expect("a pipe");
        let holder = match fork().expect("a process") {
            Forked::Child => {
                let cuts = [Cut { from: a.addresses.to_vec(), to: b.addresses.to_vec(), ways: Ways::Both }];
                let mut partition = Partition::begin(switch.ns(), &cuts).expect("a partition");
                let mut byte = [0];
                loop {
                    // Once for each byte: whether it has been in force all the time.
                    let report = if partition.read_back().is_ok() { b"y" } else { b"n" };
                    (&says).write_all(report).expect("a reader");
                    (&heard).read_exact(&mut byte).expect("a question");
                }
            }
            Forked::Parent(pid) => pid,
        };
        let mut report = || {
            let mut byte = [0];
            said.read_exact(&mut byte).expect("a report");
            byte == *b"y"
        };
        assert!(report());
        let receiver = b.run(|| UdpSocket::bind((b.addresses[0], 7)).expect("a free port"));
        let sender = a.run(|| UdpSocket::bind((a.addresses[0], 7)).expect("a free port"));
        receiver.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let arrives = || {
            sender.send_to(b"?", (b.addresses[0], 7)).expect("senders hear nothing");
            receiver.recv(&mut [0]).is_ok()
        };
        // Longer than the lease: it is renewed.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            assert!(!arrives(), "after {:?}", begun.elapsed());
        }
        hears.write_all(b"?").expect("a holder");
        assert!(report(), "all the time");

        signal(holder, rustix::process::Signal::STOP);
        let stopped = Instant::now();
        while !arrives() {
            assert!(stopped.elapsed() < Duration::from_secs(10), "nobody renews it");
        }
        println!("gone {:?} after SIGSTOP", stopped.elapsed());
        signal(holder, rustix::process::Signal::CONT);
        while arrives() {
            assert!(stopped.elapsed() < Duration::from_secs(20), "it is renewed again");
        }
        hears.write_all(b"?").expect("a holder");
        assert!(!report(), "it was not in force for a while");
        hears.write_all(b"?").expect("a holder");
        assert!(report(), "it is now");
        signal(holder, rustix::process::Signal::KILL);
        wait(holder).expect("a child");
    });
}

#[test]
fn a_holder_killed_at_any_step_leaves_nothing() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let cuts = [Cut { from: a.addresses.to_vec(), to: b.addresses.to_vec(), ways: Ways::Both }];
        let tables = || in_namespace(switch.ns(), || names().expect("an answer")).expect("the switch's namespace");
        for after in (0..40).map(|step| Duration::from_micros(step * 50)) {
            let holder = match fork().expect("a process") {
                Forked::Child => loop {
                    if let Ok(mut partition) = Partition::begin(switch.ns(), &cuts) {
                        let _ = partition.heal();
                    }
                },
                Forked::Parent(pid) => pid,
            };
            let begun = Instant::now();
            while begun.elapsed() < after {
                std::hint::spin_loop();
            }
            signal(holder, rustix::process::Signal::KILL);
            wait(holder).expect("a child");
            assert_eq!(tables(), [""; 0], "killed after {after:?}");
        }
    });
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    rustix::process::kill_process(pid, signal).expect("a child");
}
