//! Commands of the test to its world.

use super::dispatch::Kernel;
use super::event::What;
use super::thread::{State, ThreadId};
use super::{Step, Stop};
use crate::world::HostId;

impl Kernel {
    /// sched_yield(2): everybody else who can run gets a chance first, as the scheduler likes.
    pub(crate) fn yield_now(&mut self, me: ThreadId) -> Step {
        let thread = &mut self.threads[me];
        if thread.progress.begun {
            return Ok(0);
        }
        thread.progress.begun = true;
        thread.state = State::Ready;
        thread.priority = self.sched.yielded_priority();
        self.make_eligible(me);
        Err(Stop::Block)
    }

    /// SIGTERM, as a service manager sends it. A program without a handler ends.
    pub(crate) fn terminate_host(&mut self, id: HostId) {
        if let Some(process) = self.hosts[id].process {
            self.hosts[id].asked_to_stop = true;
            self.note_host(id, 8, "asked to stop");
            self.signal_process(process, libc::SIGTERM);
        }
    }

    /// Whether the test has asked the host's program to stop.
    pub(crate) fn asked_to_stop(&self, id: HostId) -> bool {
        self.hosts[id].asked_to_stop
    }

    /// A label of the test's.
    pub(crate) fn mark(&mut self, me: ThreadId, label: &str) {
        let serial = self.threads[me].serial;
        self.record(serial, What::Mark, 0, xxhash_rust::xxh3::xxh3_64(label.as_bytes()));
        let at = self.position();
        let host = self.host_of(self.threads[me].process).name.clone();
        self.sink.note(at, &host, label);
        self.weather_marked(label);
    }
}
