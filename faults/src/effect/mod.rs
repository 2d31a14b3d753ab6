//! What goes wrong: one type per class of fault, by family.
//!
//! | family | file |
//! | --- | --- |
//! | network | [`network`], [`partition`], [`dns`] |
//! | time | [`time`] |
//! | storage | [`storage`] |
//! | process | [`process`] |
//!
//! Each says its own words in the one-line form; the words' order on a line is decided in `fault.rs`.

pub(crate) mod dns;
pub(crate) mod network;
pub(crate) mod partition;
pub(crate) mod process;
pub(crate) mod storage;
pub(crate) mod time;

use crate::error::ParseError;
use crate::selector::{Links, Selector};
use crate::severity::Severity;
use crate::text::{Cursor, Read};
use dns::DnsHijack;
use network::{Bandwidth, Corruption, Duplication, Latency, Loss, Reordering};
use partition::Partition;
use process::{CpuBurn, Crash, MemoryPressure, Pause, TaskLeak};
use std::fmt::{self, Display, Formatter};
use storage::{BitRot, DiskErrors, DiskFull, InodeExhaustion, IoThrottle};
use time::{ClockDrift, ClockSkew};

/// A parameter that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) field: &'static str,
    pub(crate) value: String,
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl Complaint {
    pub(crate) fn new(field: &'static str, value: impl Display, problem: &str, remedy: &str) -> Self {
        Self { field, value: value.to_string(), problem: problem.to_owned(), remedy: remedy.to_owned() }
    }
}

/// Where an effect strikes.
#[derive(Debug, Clone, Copy)]
pub enum Target<'e> {
    /// Hosts.
    Hosts(&'e Selector),
    /// Links.
    Links(&'e Links),
    /// The links between the sides of a partition.
    Cut(&'e Partition),
}

/// What every class of faults can tell of itself.
pub(crate) trait Class: Read + Display {
    fn target(&self) -> Target<'_>;
    fn selectors_mut(&mut self) -> Vec<&mut Selector>;
    /// How bad it is unless a plan says otherwise.
    fn severity(&self) -> Severity;
    /// The first parameter that makes no sense, whatever the hosts.
    fn complaint(&self) -> Option<Complaint>;
}

/// Declares the classes once: the effect, its kind and its name, in the order in which they are listed everywhere.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $name:ident $text:literal,)+) => {
        /// What goes wrong.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Effect {
            $($(#[$doc])* $class($class),)+
        }

        /// The class of a fault, by its stable name.
        ///
        /// ```
        /// use windtunnel_faults::Kind;
        ///
        /// assert_eq!(Kind::ALL.len(), 20);
        /// assert_eq!(Kind::IoThrottle.name(), "io-throttle");
        /// assert_eq!(Kind::from_name("io-throttle"), Some(Kind::IoThrottle));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $class,)+
        }

        impl Kind {
            /// Every kind, by family.
            pub const ALL: &[Self] = &[$(Self::$class),+];

            /// Its name in plans, files and messages. Names do not change.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $text,)+
                }
            }
        }

        impl Effect {
            /// Its class.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$class(_) => Kind::$class,)+
                }
            }

            pub(crate) fn read(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
                match kind {
                    $(Kind::$class => Read::read(cursor).map(Self::$class),)+
                }
            }

            /// Where it strikes.
            #[must_use]
            pub fn target(&self) -> Target<'_> {
                match self {
                    $(Self::$class(class) => class.target(),)+
                }
            }

            pub(crate) fn selectors_mut(&mut self) -> Vec<&mut Selector> {
                match self {
                    $(Self::$class(class) => class.selectors_mut(),)+
                }
            }

            pub(crate) fn severity(&self) -> Severity {
                match self {
                    $(Self::$class(class) => class.severity(),)+
                }
            }

            pub(crate) fn complaint(&self) -> Option<Complaint> {
                match self {
                    $(Self::$class(class) => class.complaint(),)+
                }
            }
        }

        impl Display for Effect {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$class(class) => write!(f, "{} {class}", Kind::$class.name()),)+
                }
            }
        }

        $(impl From<$class> for Effect {
            fn from(class: $class) -> Self {
                Self::$class(class)
            }
        })+

        /// An effect as a file spells it: the one field that has the class's name.
        #[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct FaultForm {
            /// When it begins: a length of time since the storm's beginning, or a mark.
            pub(crate) at: Option<crate::start::Start>,
            /// How long it lasts; until the storm ends when left out. For a crash: when the host starts again.
            #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
            pub(crate) lasts: Option<crate::duration::Text>,
            /// How bad it is; derived from what it is when left out.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) severity: Option<Severity>,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $name: Option<$class>,)+
        }

        impl FaultForm {
            /// Every effect that is given; there should be one.
            pub(crate) fn effects(self) -> Vec<Effect> {
                let mut effects = Vec::new();
                $(effects.extend(self.$name.map(Effect::$class));)+
                effects
            }

            pub(crate) fn set(&mut self, effect: Effect) {
                match effect {
                    $(Effect::$class(class) => self.$name = Some(class),)+
                }
            }
        }
    };
}

classes! {
    /// Hosts cannot reach each other.
    Partition partition "partition",
    /// Segments take longer.
    Latency latency "latency",
    /// Segments are lost.
    Loss loss "loss",
    /// Segments arrive twice.
    Duplication duplication "duplication",
    /// Segments overtake each other.
    Reordering reordering "reordering",
    /// Bits of segments are flipped.
    Corruption corruption "corruption",
    /// Links carry less.
    Bandwidth bandwidth "bandwidth",
    /// A name resolves to something else, late, or not at all.
    DnsHijack dns_hijack "dns-hijack",
    /// Clocks show another time.
    ClockSkew clock_skew "clock-skew",
    /// Clocks run too fast or too slow.
    ClockDrift clock_drift "clock-drift",
    /// Disks have no space left.
    DiskFull disk_full "disk-full",
    /// Disks are slow.
    IoThrottle io_throttle "io-throttle",
    /// Disks have no inodes left, so that no file can be made.
    InodeExhaustion inode_exhaustion "inode-exhaustion",
    /// Reads and syncs of disks fail.
    DiskErrors disk_errors "disk-errors",
    /// Bits of what is on disks flip.
    BitRot bit_rot "bit-rot",
    /// Processors are busy with something else.
    CpuBurn cpu_burn "cpu-burn",
    /// Memory is taken by something else, up to the OOM kill.
    MemoryPressure memory_pressure "memory-pressure",
    /// Tasks, threads or descriptors are taken and not given back.
    TaskLeak task_leak "task-leak",
    /// Hosts lose power or are killed, and start again.
    Crash crash "crash",
    /// Hosts stand still.
    Pause pause "pause",
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parts of [`Class`] that are the same for all classes that strike hosts.
macro_rules! strikes_hosts {
    () => {
        fn target(&self) -> crate::effect::Target<'_> {
            crate::effect::Target::Hosts(&self.hosts)
        }

        fn selectors_mut(&mut self) -> Vec<&mut crate::selector::Selector> {
            vec![&mut self.hosts]
        }
    };
}
pub(crate) use strikes_hosts;

/// The parts of [`Class`] that are the same for all classes that strike links.
macro_rules! strikes_links {
    () => {
        fn target(&self) -> crate::effect::Target<'_> {
            crate::effect::Target::Links(&self.links)
        }

        fn selectors_mut(&mut self) -> Vec<&mut crate::selector::Selector> {
            self.links.selectors_mut()
        }
    };
}
pub(crate) use strikes_links;
