//! What decides a case, handed to it as plain memory.
//!
//! Not serialised: parsing would allocate amounts that depend on the values, and the layout of the heap is part of a case.

/// What a case shall do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Orders {
    pub(crate) seed: u64,
    pub(crate) calm: bool,
    pub(crate) start_unix_ns: u64,
    pub(crate) virtual_timeout_ns: u64,
    pub(crate) recording: RecordingMode,
    /// Print what hosts write to the process's own output at once: there is no supervisor.
    pub(crate) in_debugger: bool,
    /// Change the value of this event, for tests of the comparison.
    pub(crate) perturb: Option<u64>,
    /// Crash this host at this event, for sweeps.
    pub(crate) crash_at: Option<(String, u64)>,
    /// `RUST_LOG` for hosts and test.
    pub(crate) rust_log: Option<String>,
    /// `RUST_BACKTRACE` for hosts and test.
    pub(crate) rust_backtrace: Option<String>,
}

/// Whether the event stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RecordingMode {
    /// Only its digest.
    #[default]
    Off,
    /// Kept.
    Keep,
    /// Compared with the one kept by the run before.
    Compare,
}

/// A text of limited length with its length; `u32::MAX` for none.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawText<const BYTES: usize> {
    bytes: [u8; BYTES],
    length: u32,
}

impl<const BYTES: usize> RawText<BYTES> {
    fn new(text: Option<&str>) -> Self {
        let mut raw = Self {
            bytes: [0; BYTES],
            length: u32::MAX,
        };
        if let Some(text) = text {
            let text = super::fitting(text, BYTES);
            raw.bytes[..text.len()].copy_from_slice(text.as_bytes());
            raw.length = text.len() as u32;
        }
        raw
    }

    /// The text in a buffer of the same size whatever its length, so that it does not shift what is allocated later.
    fn get(&self) -> Option<String> {
        let mut text = String::with_capacity(BYTES);
        if self.length == u32::MAX {
            return None;
        }
        let bytes = self.bytes.get(..self.length as usize)?;
        text.push_str(std::str::from_utf8(bytes).ok()?);
        Some(text)
    }
}

/// [`Orders`] as they lie in the mapping: integers only, so that any bytes are a value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawOrders {
    seed: u64,
    start_unix_ns: u64,
    virtual_timeout_ns: u64,
    /// `u64::MAX` for none.
    perturb: u64,
    crash_at_event: u64,
    flags: u32,
    recording: u32,
    crash_at_host: RawText<60>,
    rust_log: RawText<1020>,
    rust_backtrace: RawText<12>,
}

const CALM: u32 = 1;
const IN_DEBUGGER: u32 = 2;

impl Orders {
    pub(super) fn to_raw(&self) -> RawOrders {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        RawOrders {
            seed: self.seed,
            start_unix_ns: self.start_unix_ns,
            virtual_timeout_ns: self.virtual_timeout_ns,
            perturb: self.perturb.unwrap_or(u64::MAX),
            crash_at_event: self.crash_at.as_ref().map_or(0, |(_, event)| *event),
            flags: flag(self.calm, CALM) | flag(self.in_debugger, IN_DEBUGGER),
            recording: match self.recording {
                RecordingMode::Off => 0,
                RecordingMode::Keep => 1,
                RecordingMode::Compare => 2,
            },
            crash_at_host: RawText::new(self.crash_at.as_ref().map(|(host, _)| host.as_str())),
            rust_log: RawText::new(self.rust_log.as_deref()),
            rust_backtrace: RawText::new(self.rust_backtrace.as_deref()),
        }
    }

    pub(super) fn from_raw(raw: &RawOrders) -> Self {
        Self {
            seed: raw.seed,
            calm: raw.flags & CALM != 0,
            start_unix_ns: raw.start_unix_ns,
            virtual_timeout_ns: raw.virtual_timeout_ns,
            recording: match raw.recording {
                1 => RecordingMode::Keep,
                2 => RecordingMode::Compare,
                _ => RecordingMode::Off,
            },
            in_debugger: raw.flags & IN_DEBUGGER != 0,
            perturb: (raw.perturb != u64::MAX).then_some(raw.perturb),
            crash_at: raw
                .crash_at_host
                .get()
                .map(|host| (host, raw.crash_at_event)),
            rust_log: raw.rust_log.get(),
            rust_backtrace: raw.rust_backtrace.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = Orders {
            seed: 7,
            calm: true,
            start_unix_ns: 1,
            virtual_timeout_ns: 2,
            recording: RecordingMode::Compare,
            in_debugger: true,
            perturb: Some(0),
            crash_at: Some(("kv1".to_owned(), 99)),
            rust_log: Some("kv=trace,info".to_owned()),
            rust_backtrace: Some("full".to_owned()),
        };
        assert_eq!(Orders::from_raw(&orders.to_raw()), orders);
        assert_eq!(
            Orders::from_raw(&Orders::default().to_raw()),
            Orders::default()
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let text = "ä".repeat(600);
        let orders = Orders {
            rust_log: Some(text),
            ..Orders::default()
        };
        assert_eq!(
            Orders::from_raw(&orders.to_raw()).rust_log,
            Some("ä".repeat(510))
        );
    }
}
