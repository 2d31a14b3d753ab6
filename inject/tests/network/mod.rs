//! Hosts without programs, joined by a switch.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::netlink::{in_namespace, new_namespace};
use windtunnel_inject::switch::Switch;

/// A host: nothing but its namespace.
pub struct Host {
    pub ns: OwnedFd,
    /// IPv4, IPv6.
    pub addresses: [IpAddr; 2],
}

impl Host {
    /// Runs this as a program of the host would, on a thread of its own.
    pub fn run<R: Send>(&self, program: impl FnOnce() -> R + Send) -> R {
        in_namespace(self.ns.as_fd(), program).expect("the host's namespace")
    }
}

/// Makes a network of so many hosts, `kv1` at 10.0.0.1 and fd00::1 the first.
pub fn network<const HOSTS: usize>() -> (Switch, [Host; HOSTS]) {
    let mut switch = Switch::new().expect("a switch");
    let hosts = std::array::from_fn(|index| {
        let number = u8::try_from(index + 1).expect("few hosts");
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, number), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()));
        let ns = new_namespace().expect("a namespace");
        switch.join(ns.as_fd(), &format!("kv{number}"), v4, v6).expect("a port");
        Host { ns, addresses: [v4.into(), v6.into()] }
    });
    (switch, hosts)
}

/// Begins a fault, reads it back and heals it, some times over: it has to be in force, and gone, within 100 ms. Once at
/// least, as a machine that is busy with other tests may take any one of them longer.
pub fn is_in_force_and_gone_at_once<F: Injection>(mut begin: impl FnMut() -> F) {
    let at_once = Duration::from_millis(100);
    let rounds: [_; 7] = std::array::from_fn(|_| {
        let asked = Instant::now();
        let mut fault = begin();
        fault.read_back().expect("in force");
        let in_force = asked.elapsed();
        let asked = Instant::now();
        fault.heal().expect("gone");
        (in_force, asked.elapsed())
    });
    let [mut in_force, mut gone] = [rounds.map(|(in_force, _)| in_force), rounds.map(|(_, gone)| gone)];
    in_force.sort();
    gone.sort();
    println!("in force and read back in {:?}, healed and read back in {:?} (medians of 7)", in_force[3], gone[3]);
    assert!(in_force[0] < at_once, "{in_force:?}");
    assert!(gone[0] < at_once, "{gone:?}");
}
