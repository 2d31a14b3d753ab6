//! The network between hosts, and what is wrong with it.

use super::faults::Refusal;
use super::{World, lock};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use windtunnel_inject::dns::{Answer, Asker, Responder};
use windtunnel_inject::shape::{Endpoint, Shaper, Spread as Spreading, Trouble};
use windtunnel_inject::switch::{Cut, GATEWAY_V4, Partition, PortId, Switch, Ways};
use windtunnel_inject::{Injection, Result, shape};
use windtunnel_sim::weather::{Fault, FaultKind, LinkTrouble, Links, NameAnswer, Spread};
use windtunnel_sim::world::{HostId, addresses};

/// A world's network.
pub(super) struct Network {
    seed: u64,
    switch: Mutex<Switch>,
    names: Responder,
    /// Started when links are first troubled: without, packets take the kernel's own way.
    shaper: OnceLock<std::result::Result<Shaper, String>>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Result<Self> {
        let switch = Switch::new()?;
        let names = Responder::start(switch.ns())?;
        Ok(Self { seed, switch: Mutex::new(switch), names, shaper: OnceLock::new() })
    }

    /// Joins a host's namespace to the network, under the host's addresses.
    pub(super) fn join(&self, host: HostId, name: &str, namespace: BorrowedFd<'_>) -> Result<PortId> {
        let (v4, v6) = addresses(host);
        self.names.zone().set(name, v4, v6);
        lock(&self.switch).join(namespace, name, v4, v6)
    }

    /// Takes a host off the network, without a word to the others.
    pub(super) fn leave(&self, port: PortId) -> Result<()> {
        lock(&self.switch).leave(port)
    }

    fn cut(&self, links: &Links) -> Result<Partition> {
        let of = |hosts: &[HostId]| hosts.iter().flat_map(|host| ips(*host)).collect();
        let ways = if links.both_ways { Ways::Both } else { Ways::One };
        let cut = Cut { from: of(&links.from), to: of(&links.to), ways };
        let switch = lock(&self.switch);
        Partition::begin(switch.ns(), &[cut])
    }

    fn shaper(&self) -> &std::result::Result<Shaper, String> {
        self.shaper.get_or_init(|| {
            let switch = lock(&self.switch);
            let namespace = switch.ns().try_clone_to_owned().map_err(|error| error.to_string())?;
            drop(switch);
            Shaper::start_in(namespace.as_fd(), self.seed).map_err(|error| error.to_string())
        })
    }

    fn shape(&self, links: &Links, trouble: Trouble) -> std::result::Result<Box<dyn Injection>, Refusal> {
        let shaper = self.shaper().as_ref().map_err(|reason| Refusal::Lacking(reason.clone()))?;
        let of = |hosts: &[HostId]| hosts.iter().map(|host| Endpoint(ips(*host).into())).collect();
        let links = shape::Links { from: of(&links.from), to: of(&links.to), both_ways: links.both_ways };
        Ok(Box::new(shaper.begin(&links, trouble)?))
    }
}

/// Files of a host that are other than the machine's: all names are asked for at the switch (resolv.conf(5),
/// nsswitch.conf(5)), and IPv4 comes first (gai.conf(5)), as in the simulated world.
pub(super) fn files_of(host: &str) -> Vec<(PathBuf, String)> {
    let resolv = format!("nameserver {GATEWAY_V4}\noptions attempts:2 timeout:5\n");
    let nsswitch = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
    vec![
        ("/etc/resolv.conf".into(), resolv),
        ("/etc/nsswitch.conf".into(), nsswitch.to_owned()),
        ("/etc/gai.conf".into(), "precedence ::ffff:0:0/96 100\n".to_owned()),
        ("/etc/hostname".into(), format!("{host}\n")),
        ("/etc/hosts".into(), "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
    ]
}

fn ips(host: HostId) -> [IpAddr; 2] {
    let (v4, v6) = addresses(host);
    [v4.into(), v6.into()]
}

impl World {
    /// Misleads a host about a name.
    pub(super) fn hijack(
        &self,
        asker: HostId,
        name: &str,
        answer: &NameAnswer,
    ) -> std::result::Result<Box<dyn Injection>, Refusal> {
        let answer = match answer {
            NameAnswer::Address(ip) => Answer::Addresses(vec![*ip]),
            NameAnswer::Host(host) => Answer::Addresses(ips(*host).into()),
            NameAnswer::NoSuchName => Answer::NoSuchName,
            NameAnswer::Failure => Answer::Failure,
            NameAnswer::Nothing => Answer::Nothing,
            NameAnswer::Late(by) => Answer::Late(*by),
        };
        let namespace = self.namespace(asker).ok_or(Refusal::NotHere("the host is down, and asks nobody"))?;
        let asker = Asker { ns: namespace.as_fd(), addresses: &ips(asker) };
        Ok(Box::new(self.network.names.hijack(&asker, name, answer)?))
    }

    /// Has what troubles links be ready before faults of a plan are due. Without a trouble it costs nobody anything.
    pub(super) fn prepare_links(&self, faults: &[Fault]) {
        let is_shaped = |fault: &Fault| match &fault.kind {
            FaultKind::Links { trouble, .. } => *trouble != LinkTrouble::Partition,
            _ => false,
        };
        if faults.iter().any(is_shaped) {
            // Whoever needs it hears why it is not there.
            let _ = self.network.shaper();
        }
    }

    pub(super) fn begin_on_links(
        &self,
        links: &Links,
        trouble: &LinkTrouble,
    ) -> std::result::Result<Box<dyn Injection>, Refusal> {
        let trouble = match trouble {
            // Once before anything else: what does not get through is not delayed either.
            LinkTrouble::Partition => return Ok(Box::new(self.network.cut(links)?)),
            LinkTrouble::Slow { latency, or, jitter, spread } => {
                Trouble::Slow { latency: *latency, or: or.clone(), jitter: *jitter, spread: spreading(*spread) }
            }
            LinkTrouble::Lossy { probability, correlation } => {
                Trouble::Lossy { probability: *probability, correlation: *correlation }
            }
            LinkTrouble::Doubling { probability } => Trouble::Doubling { probability: *probability },
            LinkTrouble::Overtaking { probability, by } => Trouble::Overtaking { probability: *probability, by: *by },
            LinkTrouble::Flipping { probability } => Trouble::Flipping { probability: *probability },
            LinkTrouble::Narrow { bytes_per_second, queue_bytes } => {
                Trouble::Narrow { bytes_per_second: *bytes_per_second, queue_bytes: *queue_bytes }
            }
        };
        self.network.shape(links, trouble)
    }
}

fn spreading(spread: Spread) -> Spreading {
    match spread {
        Spread::Uniform => Spreading::Uniform,
        Spread::Normal => Spreading::Normal,
        Spread::Exponential => Spreading::Exponential,
        Spread::Pareto => Spreading::Pareto,
    }
}
