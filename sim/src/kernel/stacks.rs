//! Where threads stand, for reports: of a world that is stuck, of a program's fault, and of this kernel itself.

use super::dispatch::Kernel;
use super::event::What;
use super::thread::ThreadId;
use crate::world::{EventLine, KERNEL, ThreadStack};

impl Kernel {
    /// A thread's stack has been captured.
    pub(crate) fn report_stack(&mut self, thread: ThreadId, frames: &[usize]) {
        let frames: Vec<u64> = frames.iter().map(|address| self.portable(*address)).collect();
        let waits_for = std::mem::take(&mut self.reported_wait);
        let t = &self.threads[thread];
        let host = self.host_of(t.process).name.clone();
        let (name, tid) = (t.name.clone(), t.tid as u32);
        let stack = ThreadStack { host: &host, thread: &name, tid, waits_for: &waits_for, frames: &frames };
        self.sink.stack(&stack);
    }

    /// Tells where this kernel stands itself, when it was interrupted and will not go on. Allocates nothing: what it
    /// was interrupted in may be `malloc`.
    pub(crate) fn report_own_stack(&mut self, frames: &[usize]) {
        let mut portable = [0; 128];
        for (to, address) in portable.iter_mut().zip(frames) {
            *to = self.portable(*address);
        }
        let frames = &portable[..frames.len().min(portable.len())];
        let waits_for = "stands in windtunnel itself: please report this";
        let host = KERNEL;
        self.sink.stack(&ThreadStack { host, thread: "", tid: 0, waits_for, frames });
    }

    /// A code address as reports carry it: an offset with bit 63 set when it lies in an image.
    pub(crate) fn portable(&self, address: usize) -> u64 {
        let offset = self.original.offset_in_original(address).or_else(|| {
            let (base, ..) = crate::carrier::image::find(address)?;
            Some(address - base)
        });
        offset.map_or(address as u64, |offset| offset as u64 | 1 << 63)
    }

    /// A program committed a fault: its stack goes to the report before its process ends.
    pub(crate) fn report_fault(&mut self, thread: ThreadId, signal: i32, address: usize, frames: &[usize]) {
        self.report_stack(thread, frames);
        let at = self.position();
        let t = &self.threads[thread];
        let host = self.host_of(t.process).name.clone();
        let what = if self.near_stack_end(thread, address) {
            format!("thread `{}` has overflowed its stack", t.name)
        } else {
            format!("thread `{}` was killed by signal {signal} at address {address:#x}", t.name)
        };
        self.sink.note(at, &host, &what);
    }

    /// Whether an address lies in the guard below a thread's stack: no mapping, or one without access.
    fn near_stack_end(&self, thread: ThreadId, address: usize) -> bool {
        let top = self.threads[thread].lent.pthread() as usize;
        let bounds = crate::abi::stack_bounds(top);
        bounds.is_some_and(|(low, _)| (low.saturating_sub(1 << 16)..low + 4096).contains(&address))
    }

    /// Tells the reader of a recorded run of an event.
    pub(super) fn describe_event(&mut self, who: u32, what: What, value: i64, extra: u64) {
        let (host, tid) = match self.running.and_then(|t| self.threads.get(t)) {
            Some(thread) if thread.serial == who && who != 0 => {
                (self.host_of(thread.process).name.clone(), thread.tid as u32)
            }
            _ => (String::new(), 0),
        };
        let at = self.position();
        let detail = format!("= {value} #{extra:016x}");
        self.sink.event(&EventLine { at, host: &host, tid, what: what.name(), detail: &detail });
    }

    /// Host and thread name of whoever runs, for signs of life.
    pub(crate) fn names_of_running(&self) -> (String, String) {
        match self.running.and_then(|t| self.threads.get(t)) {
            Some(thread) => (self.host_of(thread.process).name.clone(), thread.name.clone()),
            None => (String::new(), String::new()),
        }
    }
}
