//! One host or several, as an argument of a fault.

use super::{Host, Hosts};

/// Hosts that a fault is about: a [`Host`], [`Hosts`], a slice of either, or a name such as `"kv0"`, `"c1"` (a client)
/// or `"test"` (the test body).
///
/// ```no_run
/// # fn example(cx: windtunnel::Chaos, kv: windtunnel::Hosts) {
/// let isolated = cx.partition(&kv[0], &kv[1..]);
/// let unreachable = cx.partition("test", ["kv1", "kv2"]);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name hosts",
    note = "hosts are named by a `Host`, `Hosts`, a name, or a slice, array or vector of these"
)]
pub trait Targets {
    /// The hosts' names.
    fn names(&self) -> Vec<String>;
}

impl Targets for Host {
    fn names(&self) -> Vec<String> {
        vec![self.name().to_owned()]
    }
}

impl Targets for Hosts {
    fn names(&self) -> Vec<String> {
        self.as_ref().names()
    }
}

impl Targets for str {
    fn names(&self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Targets for String {
    fn names(&self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<T: Targets> Targets for [T] {
    fn names(&self) -> Vec<String> {
        self.iter().flat_map(Targets::names).collect()
    }
}

impl<T: Targets, const N: usize> Targets for [T; N] {
    fn names(&self) -> Vec<String> {
        self.as_slice().names()
    }
}

impl<T: Targets> Targets for Vec<T> {
    fn names(&self) -> Vec<String> {
        self.as_slice().names()
    }
}

impl<T: Targets + ?Sized> Targets for &T {
    fn names(&self) -> Vec<String> {
        (**self).names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_in_many_ways() {
        fn names(targets: impl Targets) -> Vec<String> {
            targets.names()
        }
        assert_eq!(names("kv0"), ["kv0"]);
        assert_eq!(names(["kv0", "kv1"]), ["kv0", "kv1"]);
        assert_eq!(names(vec!["kv0".to_owned()]), ["kv0"]);
        assert_eq!(names([&["a", "b"][..], &["c"]]), ["a", "b", "c"]);
    }
}
