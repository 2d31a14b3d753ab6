//! Which descriptor table a number belongs to.
//!
//! A host's program has a table of its own. Clients are part of the test's program: they share its statics and whatever a
//! closure captured, and with these go numbers of descriptors (tokio, for one, keeps the pipe on which it hears of signals
//! in a static). So all of them use one table, as the threads of a process do, and only the console is each client's own.
//! What a client opened is closed when it ends, as if the table were its own.

use super::dispatch::Kernel;
use super::file::{Descriptor, FileId};
use super::process::{ProcessId, TEST};
use super::thread::ThreadId;
use super::{Step, Stop};
use libc::{EBADF, c_int};

/// Numbers below this are the console's.
const CONSOLE: c_int = 3;

impl Kernel {
    /// The process whose table holds a number.
    #[inline]
    fn table_of(&self, process: ProcessId, fd: c_int) -> ProcessId {
        if self.processes[process].image.is_some() || (0..CONSOLE).contains(&fd) {
            return process;
        }
        self.hosts[TEST].process.unwrap_or(process)
    }

    /// What a number stands for in a process.
    #[inline]
    pub(crate) fn descriptor(&self, process: ProcessId, fd: c_int) -> Option<Descriptor> {
        self.processes[self.table_of(process, fd)].descriptors.get(fd)
    }

    /// The entry itself, to change its flag.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn descriptor_mut(&mut self, process: ProcessId, fd: c_int) -> Result<&mut Descriptor, Stop> {
        let table = self.table_of(process, fd);
        self.processes[table].descriptors.get_mut(fd).ok_or(Stop::Errno(EBADF))
    }

    /// Gives a file the lowest free number not below `least`. The reference is the caller's to count.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn install(
        &mut self,
        process: ProcessId,
        file: FileId,
        close_on_exec: bool,
        least: usize,
    ) -> Result<c_int, Stop> {
        let limit = self.processes[process].descriptor_limit;
        let table = self.table_of(process, CONSOLE);
        let least = if table == process { least } else { least.max(CONSOLE as usize) };
        let entry = Descriptor { file, close_on_exec, opener: process };
        self.processes[table].descriptors.install(entry, least, limit)
    }

    /// Gives a file this number; answers what had it before.
    pub(crate) fn put_descriptor(
        &mut self,
        process: ProcessId,
        fd: c_int,
        file: FileId,
        close_on_exec: bool,
    ) -> Result<Option<Descriptor>, Stop> {
        let index = usize::try_from(fd).ok().filter(|index| *index < self.processes[process].descriptor_limit);
        let index = index.ok_or(Stop::Errno(EBADF))?;
        let table = self.table_of(process, fd);
        let entry = Descriptor { file, close_on_exec, opener: process };
        Ok(self.processes[table].descriptors.put(index, entry))
    }

    /// close(2).
    pub(crate) fn close(&mut self, me: ThreadId, fd: c_int) -> Step {
        self.close_in(self.threads[me].process, fd)
    }

    fn close_in(&mut self, process: ProcessId, fd: c_int) -> Step {
        let table = self.table_of(process, fd);
        let descriptor = self.processes[table].descriptors.take(fd).ok_or(EBADF)?;
        self.release_file(descriptor.file);
        Ok(0)
    }

    /// Whether a process can open nothing more.
    pub(crate) fn is_out_of_descriptors(&self, process: ProcessId) -> bool {
        let table = self.table_of(process, CONSOLE);
        self.processes[table].descriptors.is_full(self.processes[process].descriptor_limit)
    }

    /// The numbers that a process may use, in order.
    pub(crate) fn open_descriptors(&self, process: ProcessId) -> Vec<c_int> {
        let own = self.processes[process].descriptors.open();
        let table = self.table_of(process, CONSOLE);
        if table == process {
            return own.collect();
        }
        own.chain(self.processes[table].descriptors.open().filter(|fd| *fd >= CONSOLE)).collect()
    }

    /// Closes what a process that ends has opened.
    pub(crate) fn close_descriptors(&mut self, process: ProcessId) {
        let is_its_own = |k: &Kernel, fd: c_int| {
            let table = k.table_of(process, fd);
            table == process || k.descriptor(process, fd).is_some_and(|entry| entry.opener == process)
        };
        for fd in self.open_descriptors(process) {
            if is_its_own(self, fd) {
                // Cannot fail: it is open.
                let _: Step = self.close_in(process, fd);
            }
        }
    }
}
