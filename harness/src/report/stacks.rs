//! Addresses become functions: in the supervisor, which is the same binary at another address.

use super::failure::ThreadStack;
use crate::system::Executable;
use std::ffi::c_void;
use std::path::Path;
use windtunnel_sim::world::KERNEL;

/// How many frames of a thread are shown.
const FRAMES_SHOWN_MAX: usize = 8;
/// How many when none is the user's: enough to tell which runtime waits.
const MACHINERY_SHOWN_MAX: usize = 3;
/// How many threads of a stuck world are shown.
const STACKS_SHOWN_MAX: usize = 32;

/// Sources whose frames say nothing to a user: std and dependencies. Inlined functions have no path in their names, so
/// that files tell more than names do.
const MACHINERY: [&str; 3] = [STD, "/.cargo/registry/", "/.cargo/git/"];
const STD: &str = "/rustc/";
/// Windtunnel's own, when it is a part of the workspace.
const OWN: [&str; 2] = ["/harness/src/", "/sim/src/"];

/// Names what lies at addresses of the executable.
pub(crate) struct Symbols {
    executable: Executable,
}

struct Frame {
    function: String,
    place: Option<String>,
}

impl Frame {
    /// Whether it belongs to windtunnel, which every call goes through.
    fn is_own(&self) -> bool {
        let named = self.function.starts_with("windtunnel_sim::") || self.function.starts_with("windtunnel::");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::to_str);
        let below = self.place.as_deref().zip(workspace).and_then(|(place, workspace)| place.strip_prefix(workspace));
        named || below.is_some_and(|below| OWN.iter().any(|source| below.starts_with(source)))
    }

    /// Whether it belongs to a crate, rather than to std or to what has no name.
    fn is_of_a_crate(&self) -> bool {
        self.place.as_deref().is_some_and(|place| !place.contains(STD))
    }

    fn is_machinery(&self) -> bool {
        let place = self.place.as_deref();
        place.is_none_or(|place| MACHINERY.iter().any(|source| place.contains(source)))
    }
}

impl Symbols {
    pub(crate) fn of_this_process() -> Self {
        Self { executable: Executable::of_this_process() }
    }

    /// A paragraph for each thread. Of one that made a call which it should not make, `with_caller`, the crate that
    /// made it is told as well.
    pub(crate) fn paragraphs(&self, stacks: &[ThreadStack], with_caller: bool) -> Vec<String> {
        let shown = stacks.iter().take(STACKS_SHOWN_MAX).map(|stack| self.paragraph(stack, with_caller));
        let more = stacks.len().saturating_sub(STACKS_SHOWN_MAX);
        let rest = (more > 0).then(|| format!("  and {more} more threads"));
        shown.chain(rest).collect()
    }

    fn paragraph(&self, stack: &ThreadStack, with_caller: bool) -> String {
        let ThreadStack { host, thread, tid, waits_for, .. } = stack;
        let name = if thread.is_empty() { String::new() } else { format!(" {thread}") };
        let waiting = if waits_for.is_empty() { String::new() } else { format!(": {waits_for}") };
        let is_kernel = host == KERNEL;
        let mut paragraph = match is_kernel {
            true => format!("  {host}{waiting}"),
            false => format!("  {host}, thread{name} ({tid}){waiting}"),
        };
        let frames = match is_kernel {
            true => self.all(&stack.frames),
            false => self.telling(&stack.frames, with_caller),
        };
        for Frame { function, place } in frames {
            paragraph.push_str(&format!("\n      {function}"));
            if let Some(place) = place {
                paragraph.push_str(&format!("\n        at {place}"));
            }
        }
        paragraph
    }

    /// The innermost frames, whosoever they are.
    fn all(&self, addresses: &[u64]) -> Vec<Frame> {
        addresses.iter().flat_map(|frame| self.resolve(*frame)).take(FRAMES_SHOWN_MAX).collect()
    }

    fn telling(&self, addresses: &[u64], with_caller: bool) -> Vec<Frame> {
        telling(addresses.iter().flat_map(|frame| self.resolve(*frame)), with_caller)
    }

    /// The function at an address, with those that were inlined into it.
    fn resolve(&self, frame: u64) -> Vec<Frame> {
        // A return address points behind the call.
        let Some(address) = self.executable.to_address(frame).and_then(|address| address.checked_sub(1)) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        backtrace::resolve(std::ptr::without_provenance_mut::<c_void>(address as usize), |symbol| {
            let function = symbol.name().map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}"));
            let place = symbol.filename().map(|file| {
                let line = symbol.lineno().map_or_else(String::new, |line| format!(":{line}"));
                format!("{}{line}", file.display())
            });
            frames.push(Frame { function, place });
        });
        frames
    }
}

/// The frames that say something, `with_caller` the innermost of a crate among them; when none does, where the
/// machinery stands.
fn telling(frames: impl Iterator<Item = Frame>, with_caller: bool) -> Vec<Frame> {
    let mut caller = with_caller;
    let (mut telling, machinery): (Vec<Frame>, Vec<Frame>) =
        frames.filter(|frame| !frame.is_own()).partition(|frame| {
            let is_caller = caller && frame.is_of_a_crate();
            caller &= !is_caller;
            is_caller || !frame.is_machinery()
        });
    telling.truncate(FRAMES_SHOWN_MAX);
    if telling.is_empty() { machinery.into_iter().take(MACHINERY_SHOWN_MAX).collect() } else { telling }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_here() -> Vec<u64> {
        let executable = Executable::of_this_process();
        let mut frames = Vec::new();
        backtrace::trace(|frame| {
            frames.push(executable.to_offset(frame.ip() as u64));
            true
        });
        frames
    }

    #[test]
    fn a_stack_of_another_process_is_named() {
        let stack = ThreadStack {
            host: "kv0".to_owned(),
            thread: "main".to_owned(),
            tid: 1,
            waits_for: "epoll_wait".to_owned(),
            frames: frames_here(),
        };
        let paragraphs = Symbols::of_this_process().paragraphs(&vec![stack; STACKS_SHOWN_MAX + 3], false);
        assert!(paragraphs[0].starts_with("  kv0, thread main (1): epoll_wait\n"), "{}", paragraphs[0]);
        assert!(paragraphs[0].contains("at "), "{}", paragraphs[0]);
        assert_eq!(paragraphs.last().map(String::as_str), Some("  and 3 more threads"));
    }

    #[test]
    fn who_made_a_refused_call_is_told() {
        let stack = [
            ("windtunnel_sim::abi::socket", "/src/windtunnel/sim/src/abi/socket.rs"),
            ("std::os::fd::owned", "/rustc/1234/library/std/src/os/fd/owned.rs"),
            (
                "netlink_sys::socket::Socket::new",
                "/home/me/.cargo/registry/src/index/netlink-sys-0.9.1/src/socket.rs:30",
            ),
            ("if_watch::IfWatcher::new", "/home/me/.cargo/registry/src/index/if-watch-3.2.1/src/tokio.rs:9"),
            ("service::listen", "/home/me/service/src/listen.rs:7"),
        ];
        let frames =
            || stack.map(|(function, place)| Frame { function: function.to_owned(), place: Some(place.to_owned()) });
        let told = |with_caller| telling(frames().into_iter(), with_caller).into_iter().map(|frame| frame.function);
        assert_eq!(told(true).collect::<Vec<_>>(), ["netlink_sys::socket::Socket::new", "service::listen"]);
        assert_eq!(told(false).collect::<Vec<_>>(), ["service::listen"]);
    }

    #[test]
    fn the_kernels_own_stack_keeps_its_own_frames() {
        let (waits_for, frames) = ("stands".to_owned(), frames_here());
        let stack = ThreadStack { host: KERNEL.to_owned(), thread: String::new(), tid: 0, waits_for, frames };
        let paragraphs = Symbols::of_this_process().paragraphs(&[stack], false);
        assert!(paragraphs[0].starts_with("  the simulated kernel: stands\n"), "{}", paragraphs[0]);
        assert!(paragraphs[0].contains("stacks::tests"), "{}", paragraphs[0]);
    }

    #[test]
    fn an_address_elsewhere_has_no_name() {
        let symbols = Symbols::of_this_process();
        assert!(symbols.resolve(0x10).is_empty());
    }
}
