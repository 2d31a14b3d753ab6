//! Hosts without programs, joined by a switch.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use windtunnel_inject::Injection as _;
use windtunnel_inject::netlink::{in_namespace, new_namespace};
use windtunnel_inject::switch::{Partition, Switch};
use windtunnel_inject::sys::{Forked, fork};

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

/// A child that holds a partition until it is killed: its number, and what the partition's table is called.
pub fn held_by_a_child(begin: impl FnOnce() -> Partition) -> (u32, String) {
    let (mut said, says) = std::io::pipe().expect("a pipe");
    match fork().expect("a process") {
        Forked::Child => {
            let mut partition = begin();
            partition.read_back().expect("in force");
            write!(&says, "{}", partition.table()).expect("a reader");
            drop(says);
            loop {
                std::thread::park();
            }
        }
        Forked::Parent(pid) => {
            drop(says);
            let mut name = String::new();
            said.read_to_string(&mut name).expect("its table's name");
            assert!(!name.is_empty(), "it has no partition");
            (pid, name)
        }
    }
}
