//! The vocabulary: sets of kinds, by family, added with `+`.

use crate::effect::Kind;
use std::fmt::{self, Debug, Formatter};
use std::ops::{Add, AddAssign};

/// A set of kinds of faults: what may go wrong.
///
/// ```
/// use windtunnel_faults::{Kind, Kinds, host, net};
///
/// let kinds = net::partitions() + host::crashes();
/// assert!(kinds.contains(Kind::Crash) && !kinds.contains(Kind::Pause));
/// assert_eq!(format!("{kinds:?}"), "{partition, crash}");
/// const EVERYTHING: Kinds = Kinds::ALL;
/// assert_eq!(EVERYTHING.iter().count(), Kind::ALL.len());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kinds(u32);

const fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

impl Kinds {
    /// Nothing goes wrong.
    pub const NONE: Self = Self(0);
    /// Everything may go wrong.
    pub const ALL: Self = Self::of(Kind::ALL);

    /// These kinds.
    #[must_use]
    pub const fn of(kinds: &[Kind]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < kinds.len() {
            set |= bit(kinds[at]);
            at += 1;
        }
        Self(set)
    }

    /// Those of either set; `+` does the same, but not in a `const`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of the other set: for what a world cannot do.
    ///
    /// ```
    /// use windtunnel_faults::{Kind, disk};
    ///
    /// assert!(!disk::all().without(disk::full()).contains(Kind::DiskFull));
    /// ```
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a kind is in the set.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its kinds, in the order of [`Kind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |kind| self.contains(*kind))
    }
}

impl Add for Kinds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.and(other)
    }
}

impl AddAssign for Kinds {
    fn add_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, |set, kind| set.and(Self::of(&[kind])))
    }
}

impl Debug for Kinds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(Kind::name).collect::<Vec<_>>();
        write!(f, "{{{}}}", names.join(", "))
    }
}

/// Declares a family: a function for each kind, and `all`.
macro_rules! family {
    ($(#[$family_doc:meta])* $family:ident { $($(#[$doc:meta])* $name:ident $kind:ident,)+ }) => {
        $(#[$family_doc])*
        pub mod $family {
            use super::{Kind, Kinds};

            $($(#[$doc])* #[must_use] pub const fn $name() -> Kinds {
                Kinds::of(&[Kind::$kind])
            })+

            /// Everything of this family.
            #[must_use]
            pub const fn all() -> Kinds {
                Kinds::of(&[$(Kind::$kind),+])
            }
        }
    };
}

family! {
    /// What can go wrong between hosts.
    ///
    /// ```
    /// use windtunnel_faults::{self as faults, net};
    ///
    /// let faults = faults::plan().kinds(net::partitions() + net::losses()).at_most(6);
    /// # let _ = faults;
    /// ```
    net {
        /// Hosts that cannot reach each other: sides, one way, rings, bridges.
        partitions Partition,
        /// Segments that take longer.
        latencies Latency,
        /// Segments that are lost, one by one or in bursts.
        losses Loss,
        /// Segments that arrive twice.
        duplications Duplication,
        /// Segments that overtake each other.
        reorderings Reordering,
        /// Segments with flipped bits.
        corruptions Corruption,
        /// Links that carry less.
        bandwidths Bandwidth,
        /// Names that resolve to something else, late, or not at all.
        dns_hijacks DnsHijack,
    }
}

family! {
    /// What can go wrong with time.
    ///
    /// ```
    /// use windtunnel_faults::{Kind, clock};
    ///
    /// assert!(clock::all().contains(Kind::ClockDrift));
    /// ```
    clock {
        /// Clocks that show another time.
        skews ClockSkew,
        /// Clocks that run too fast or too slow.
        drifts ClockDrift,
    }
}

family! {
    /// What can go wrong with disks.
    ///
    /// ```
    /// use windtunnel_faults::{Kind, disk};
    ///
    /// assert!(disk::all().contains(Kind::InodeExhaustion));
    /// ```
    disk {
        /// Disks without space.
        full DiskFull,
        /// Disks that are slow to write and to sync.
        throttles IoThrottle,
        /// Disks on which no file can be made.
        inode_exhaustions InodeExhaustion,
        /// Disks that fail to read and to sync.
        errors DiskErrors,
        /// Disks on which bits flip.
        bit_rot BitRot,
    }
}

family! {
    /// What can go wrong with a host and its program.
    ///
    /// ```
    /// use windtunnel_faults::{Kind, host};
    ///
    /// assert!(host::all().contains(Kind::MemoryPressure));
    /// ```
    host {
        /// Power loss and kills, each with a restart.
        crashes Crash,
        /// Hosts that stand still for a while.
        pauses Pause,
        /// Processors that are busy with something else.
        cpu_burns CpuBurn,
        /// Memory that is taken, up to the OOM kill.
        memory_pressures MemoryPressure,
        /// Tasks, threads and descriptors that are not given back.
        task_leaks TaskLeak,
    }
}
