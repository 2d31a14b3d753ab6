//! What services have taken in a storm and not given back.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display, Formatter};
use windtunnel_sim::world::{HostId, Usage};

/// Of what is open, so much is told of a host: the rest is of the same kinds.
const TOLD: usize = 8;

/// What a service had when the first storm began.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) name: String,
    pub(crate) host: HostId,
    pub(crate) usage: Usage,
}

/// Services that have more descriptors or threads than when the storm began: what [`Chaos::no_leaks`] finds.
///
/// Its text names each, by how much, and what it has open, the latest first.
///
/// [`Chaos::no_leaks`]: crate::Chaos::no_leaks
#[derive(Clone, PartialEq, Eq)]
pub struct Leaks {
    hosts: Vec<Leak>,
}

#[derive(Clone, PartialEq, Eq)]
struct Leak {
    host: String,
    before: Usage,
    now: Usage,
    /// What is open, the latest first, and how many of each.
    open: Vec<(String, usize)>,
}

impl Leaks {
    /// Compares what services have now with what they had. Who was down then, or is now, cannot be compared.
    ///
    /// # Errors
    /// Who has more.
    pub(crate) fn since(before: &[Before]) -> Result<(), Leaks> {
        let hosts = before.iter().filter_map(Leak::of).collect::<Vec<_>>();
        if hosts.is_empty() { Ok(()) } else { Err(Leaks { hosts }) }
    }
}

impl Leak {
    fn of(Before { name, host, usage: before }: &Before) -> Option<Leak> {
        let now = crate::world::usage(*host);
        let more = now.descriptors > before.descriptors || now.threads > before.threads;
        (more && before.threads > 0).then(|| {
            let files = crate::world::open_files(*host);
            Leak { host: name.clone(), before: *before, now, open: counted(files.into_iter().map(|(_, file)| file)) }
        })
    }
}

/// Equal ones together, those with the highest numbers first: what leaks is opened late.
fn counted(files: impl DoubleEndedIterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for file in files.rev() {
        let count = counts.entry(file.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            order.push(file);
        }
    }
    order.into_iter().map(|file| (file.clone(), counts[&file])).collect()
}

impl Display for Leak {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Leak { host, before, now, open } = self;
        let grown = [("descriptors", before.descriptors, now.descriptors), ("threads", before.threads, now.threads)];
        let grown: Vec<_> = grown
            .into_iter()
            .filter(|(_, before, now)| now > before)
            .map(|(what, before, now)| format!("{now} {what}, {before} when the storm began"))
            .collect();
        write!(f, "{host} has {}", grown.join("; "))?;
        if now.descriptors > before.descriptors {
            for (file, count) in open.iter().take(TOLD) {
                write!(f, "\n    {count} × {file}")?;
            }
            let rest: usize = open.iter().skip(TOLD).map(|(_, count)| count).sum();
            if rest > 0 {
                write!(f, "\n    and {rest} more")?;
            }
        }
        Ok(())
    }
}

impl Display for Leaks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, leak) in self.hosts.iter().enumerate() {
            write!(f, "{}{leak}", if index > 0 { "\n  " } else { "" })?;
        }
        Ok(())
    }
}

/// As its text: `eventually!` prints errors so.
impl Debug for Leaks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl std::error::Error for Leaks {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_counted_and_the_latest_comes_first() {
        let files = ["the console", "the console", "a pipe", "a timerfd", "a pipe"].map(str::to_owned);
        let counted = counted(files.into_iter());
        let expected = [("a pipe", 2), ("a timerfd", 1), ("the console", 2)];
        assert_eq!(counted, expected.map(|(file, count)| (file.to_owned(), count)));
    }

    #[test]
    fn only_what_has_grown_is_told() {
        let usage = |descriptors, threads| Usage { descriptors, threads, memory_bytes: 0 };
        let open = vec![("a pipe".to_owned(), 4)];
        let leak = |now| Leak { host: "kv0".to_owned(), before: usage(3, 2), now, open: open.clone() };
        let hosts = vec![leak(usage(7, 2)), leak(usage(3, 9))];
        let expected = "kv0 has 7 descriptors, 3 when the storm began\n    4 × a pipe\n  \
                        kv0 has 9 threads, 2 when the storm began";
        assert_eq!(Leaks { hosts }.to_string(), expected);
    }
}
