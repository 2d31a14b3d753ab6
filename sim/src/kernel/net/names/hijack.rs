//! Names that resolve to something else, late, or not at all, for those who ask on one host.

use super::super::Network;
use crate::weather::NameAnswer;
use crate::world::HostId;
use std::net::IpAddr;

/// A fault in force.
struct Hijack {
    number: u64,
    /// Who is misled.
    host: HostId,
    /// In lower case; `*.internal` stands for all below `internal`.
    name: String,
    answer: NameAnswer,
    /// How many questions it has answered.
    misled: u64,
}

impl Hijack {
    fn concerns(&self, host: HostId, name: &str) -> bool {
        let below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
        self.host == host && (self.name == name || self.name.strip_prefix("*.").is_some_and(below))
    }
}

/// The hijacks in force, in the order in which they began.
#[derive(Default)]
pub(crate) struct Hijacks {
    list: Vec<Hijack>,
    ever: u64,
}

impl Hijacks {
    /// The one that counts for a name: the last that began. `localhost` is in everybody's own hosts file.
    fn over(&mut self, asker: HostId, name: &str) -> Option<&mut Hijack> {
        if self.list.is_empty() {
            return None;
        }
        // RFC 4343: names do not depend on case.
        let asked = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut latest = self.list.iter_mut().rev().filter(|_| asked != "localhost");
        latest.find(|hijack| hijack.concerns(asker, &asked))
    }
}

/// What a resolver finds out about a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Resolved {
    /// Its addresses.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server could not find out.
    Failure,
    /// The server does not answer.
    Nothing,
}

/// How long a resolver has waited for a name server that keeps silent, whatever has interrupted it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Patience {
    /// Times that it has asked.
    pub(crate) attempts: u32,
    /// When it asks again, or gives up.
    pub(crate) until: Option<u64>,
    /// When the answer to its first question comes, if it comes late: asking again does not cast it away.
    pub(crate) told: Option<u64>,
}

impl Network {
    /// The addresses of a name, as the host that asks is told.
    pub(crate) fn resolve(&mut self, asker: HostId, name: &str) -> Resolved {
        if let Some(hijack) = self.hijacks.over(asker, name) {
            hijack.misled += 1;
            match hijack.answer {
                NameAnswer::Address(ip) => return Resolved::Addresses(vec![ip]),
                NameAnswer::Host(host) => {
                    let (v4, v6) = self.addresses_of_host(host);
                    return Resolved::Addresses(vec![IpAddr::V4(v4), IpAddr::V6(v6)]);
                }
                NameAnswer::NoSuchName => return Resolved::NoSuchName,
                NameAnswer::Failure => return Resolved::Failure,
                NameAnswer::Nothing => return Resolved::Nothing,
                NameAnswer::Late(_) => {}
            }
        }
        self.truth(name)
    }

    /// The addresses of a name.
    pub(crate) fn truth(&self, name: &str) -> Resolved {
        self.addresses_of(name).map_or(Resolved::NoSuchName, |ips| Resolved::Addresses(ips.to_vec()))
    }

    /// By how many nanoseconds the answer is late, for the host that asks.
    pub(crate) fn late_ns(&mut self, asker: HostId, name: &str) -> u64 {
        match self.hijacks.over(asker, name).map(|hijack| hijack.answer) {
            Some(NameAnswer::Late(by)) => u64::try_from(by.as_nanos()).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// Misleads those who ask for a name on a host; names the fault.
    pub(crate) fn hijack(&mut self, host: HostId, name: &str, answer: NameAnswer) -> u64 {
        self.hijacks.ever += 1;
        let number = self.hijacks.ever;
        self.hijacks.list.push(Hijack { number, host, name: name.to_ascii_lowercase(), answer, misled: 0 });
        number
    }

    /// How many questions a hijack in force has answered.
    pub(crate) fn misled(&self, number: u64) -> u64 {
        self.hijacks.list.iter().find(|hijack| hijack.number == number).map_or(0, |hijack| hijack.misled)
    }

    /// Ends a hijack.
    pub(crate) fn end_hijack(&mut self, number: u64) {
        self.hijacks.list.retain(|hijack| hijack.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::Resolved;
    use crate::kernel::net::Network;
    use crate::weather::NameAnswer;
    use crate::world::{HostId, Hush};
    use std::net::IpAddr;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    fn world() -> Network {
        let mut net = Network::new(1, Hush::Everything);
        net.add_host(A, "kv1", "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap(), true);
        net.add_host(B, "kv2", "10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap(), true);
        net
    }

    fn addresses(ips: &[&str]) -> Resolved {
        Resolved::Addresses(ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect())
    }

    #[test]
    fn a_name_is_another_host_for_one_asker_only() {
        let mut net = world();
        let hijack = net.hijack(A, "KV1", NameAnswer::Host(B));
        assert_eq!(net.resolve(A, "kv1."), addresses(&["10.0.0.2", "fd00::2"]));
        assert_eq!(net.resolve(B, "kv1"), addresses(&["10.0.0.1", "fd00::1"]));
        assert_eq!(net.misled(hijack), 1);
        net.end_hijack(hijack);
        assert_eq!(net.resolve(A, "kv1"), addresses(&["10.0.0.1", "fd00::1"]));
    }

    #[test]
    fn a_star_is_all_below_and_the_last_that_began_counts() {
        let mut net = world();
        net.hijack(A, "*.internal", NameAnswer::Address("10.9.9.9".parse().unwrap()));
        net.hijack(A, "db.internal", NameAnswer::Failure);
        assert_eq!(net.resolve(A, "a.b.internal"), addresses(&["10.9.9.9"]));
        assert_eq!(net.resolve(A, "db.internal"), Resolved::Failure);
        assert_eq!(net.resolve(A, "internal"), Resolved::NoSuchName);
        assert_eq!(net.resolve(A, "external"), Resolved::NoSuchName);
    }
}
