//! What is known of names, by whom, and who is misled.

use crate::lock::lock;
use crate::step::reached;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// What a hijack tells those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses: somebody else's, or none that anybody has.
    Addresses(Vec<IpAddr>),
    /// There is no such name (RFC 1035 §4.1.1, code 3).
    NoSuchName,
    /// The server could not find out (code 2).
    Failure,
    /// No answer comes.
    Nothing,
    /// The truth, that much later.
    Late(Duration),
}

/// The names of a world, shared by all who hold it: a change is answered with at once.
#[derive(Debug, Clone, Default)]
pub struct Zone(Arc<RwLock<BTreeMap<String, Vec<IpAddr>>>>);

impl Zone {
    /// Gives a host's name its addresses, instead of those that it had.
    pub fn set(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // IPv4 first, as in the simulated network: RFC 6724 §2.1 prefers private IPv4 to unique local IPv6.
        names.insert(folded(name), vec![v4.into(), v6.into()]);
    }

    /// There is no such name any more.
    pub fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&folded(name));
    }

    /// The addresses of a name, as it should be.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = folded(name);
        if name == "localhost" {
            return Some(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }

    /// The name of an address.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() {
            return Some("localhost".to_owned());
        }
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name.clone())
    }
}

/// Names do not depend on case (RFC 4343), nor on the dot of the root.
pub(super) fn folded(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A hijack in force.
#[derive(Debug)]
pub(super) struct Lie {
    /// Later ones have greater numbers.
    pub(super) number: u64,
    /// Who is misled: all addresses of a host.
    askers: Vec<IpAddr>,
    /// Folded; `*.internal` stands for all below `internal`.
    name: String,
    pub(super) answer: Answer,
    /// How many questions it has answered.
    pub(super) misled: AtomicU64,
}

impl Lie {
    fn concerns(&self, asker: IpAddr, name: &str) -> bool {
        let below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
        self.askers.contains(&asker) && (self.name == name || self.name.strip_prefix("*.").is_some_and(below))
    }
}

/// What a question comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolved {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Failure,
    Nothing,
}

/// Word that a question has been heard, and which hijack has answered it.
pub(super) type Heard = Option<u64>;

/// What responder and hijacks share.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) zone: Zone,
    /// In the order in which they began.
    lies: Mutex<Vec<Arc<Lie>>>,
    ever: AtomicU64,
    /// Questions that are ours, to find out what is answered. They do not count.
    probes: Mutex<HashMap<(SocketAddr, u16), Sender<Heard>>>,
}

impl Knowledge {
    /// What those who ask at this address are told of a name, and by how much later. `question` tells whether it is
    /// a probe.
    pub(super) fn resolve(&self, asker: SocketAddr, id: u16, name: &str) -> (Resolved, Duration) {
        let name = folded(name);
        // `localhost` is in everybody's own hosts file.
        let lie = (name != "localhost").then(|| self.lie(asker.ip(), &name)).flatten();
        let probe = lock(&self.probes).remove(&(asker, id));
        match (probe, &lie) {
            // Who has asked may have given up.
            (Some(probe), lie) => _ = probe.send(lie.as_ref().map(|lie| lie.number)),
            (None, Some(lie)) => _ = lie.misled.fetch_add(1, Ordering::Relaxed),
            (None, None) => {}
        }
        let truth = || self.zone.addresses(&name).map_or(Resolved::NoSuchName, Resolved::Addresses);
        match lie.as_ref().map(|lie| &lie.answer) {
            None => (truth(), Duration::ZERO),
            Some(Answer::Late(by)) => (truth(), *by),
            Some(Answer::Addresses(addresses)) => (Resolved::Addresses(addresses.clone()), Duration::ZERO),
            Some(Answer::NoSuchName) => (Resolved::NoSuchName, Duration::ZERO),
            Some(Answer::Failure) => (Resolved::Failure, Duration::ZERO),
            Some(Answer::Nothing) => (Resolved::Nothing, Duration::ZERO),
        }
    }

    /// The hijack that counts for a name: the last that began.
    fn lie(&self, asker: IpAddr, name: &str) -> Option<Arc<Lie>> {
        let lies = lock(&self.lies);
        lies.iter().rev().find(|lie| lie.concerns(asker, name)).cloned()
    }

    /// Misleads those who ask for a name at one of these addresses.
    pub(super) fn begin(&self, askers: Vec<IpAddr>, name: &str, answer: Answer) -> Arc<Lie> {
        let mut lies = lock(&self.lies);
        let number = self.ever.fetch_add(1, Ordering::Relaxed) + 1;
        let lie = Arc::new(Lie { number, askers, name: folded(name), answer, misled: AtomicU64::new(0) });
        lies.push(Arc::clone(&lie));
        reached("a name is hijacked");
        lie
    }

    /// Ends a hijack.
    pub(super) fn end(&self, number: u64) {
        reached("a name's hijack is to end");
        lock(&self.lies).retain(|lie| lie.number != number);
        reached("a name's hijack has ended");
    }

    /// The next question with this number from this address is ours.
    pub(super) fn expect(&self, from: SocketAddr, id: u16, heard: Sender<Heard>) {
        lock(&self.probes).insert((from, id), heard);
    }

    /// It is not any more.
    pub(super) fn expect_no_more(&self, from: SocketAddr, id: u16) {
        lock(&self.probes).remove(&(from, id));
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Knowledge, Resolved};
    use std::net::{IpAddr, SocketAddr};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    const A: &str = "10.0.0.1:5353";
    const B: &str = "10.0.0.2:5353";

    fn world() -> Knowledge {
        let known = Knowledge::default();
        known.zone.set("kv1", "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        known.zone.set("kv2", "10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap());
        known
    }

    fn addresses(ips: &[&str]) -> Resolved {
        Resolved::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn told(known: &Knowledge, asker: &str, name: &str) -> Resolved {
        known.resolve(asker.parse::<SocketAddr>().unwrap(), 1, name).0
    }

    fn askers(of: &str) -> Vec<IpAddr> {
        vec![of.parse::<SocketAddr>().unwrap().ip()]
    }

    #[test]
    fn a_name_is_another_host_for_one_asker_only() {
        let known = world();
        let other = known.zone.addresses("kv2").unwrap();
        let lie = known.begin(askers(A), "KV1", Answer::Addresses(other));
        assert_eq!(told(&known, A, "kv1."), addresses(&["10.0.0.2", "fd00::2"]));
        assert_eq!(told(&known, B, "kv1"), addresses(&["10.0.0.1", "fd00::1"]));
        assert_eq!(lie.misled.load(Ordering::Relaxed), 1);
        known.end(lie.number);
        assert_eq!(told(&known, A, "kv1"), addresses(&["10.0.0.1", "fd00::1"]));
    }

    #[test]
    fn a_star_is_all_below_and_the_last_that_began_counts() {
        let known = world();
        known.begin(askers(A), "*.internal", Answer::Addresses(vec!["10.9.9.9".parse().unwrap()]));
        known.begin(askers(A), "db.internal", Answer::Failure);
        assert_eq!(told(&known, A, "a.b.internal"), addresses(&["10.9.9.9"]));
        assert_eq!(told(&known, A, "db.internal"), Resolved::Failure);
        assert_eq!(told(&known, A, "internal"), Resolved::NoSuchName);
        assert_eq!(told(&known, A, "external"), Resolved::NoSuchName);
    }

    #[test]
    fn a_probe_is_told_who_answers_and_does_not_count() {
        let known = world();
        let late = Duration::from_secs(1);
        let lie = known.begin(askers(A), "kv1", Answer::Late(late));
        let (heard, hears) = std::sync::mpsc::channel();
        known.expect(A.parse().unwrap(), 7, heard);
        assert_eq!(known.resolve(A.parse().unwrap(), 7, "kv1").1, late);
        assert_eq!(hears.recv().unwrap(), Some(lie.number));
        assert_eq!(lie.misled.load(Ordering::Relaxed), 0);
        known.resolve(A.parse().unwrap(), 7, "kv1");
        assert_eq!(lie.misled.load(Ordering::Relaxed), 1, "only the one");
    }
}
