//! What programs lack: memory, threads, descriptors. Limits of a host, and faults that take a part of what it has.

use super::dispatch::Kernel;
use super::file::{Descriptor, FileId, Kind};
use super::process::{Process, ProcessId, TEST};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::weather::Lack;
use crate::world::{Exit, HostId, Limits, TASK_BYTES, Usage};
use std::collections::BTreeMap;

/// What a host's program lacks.
#[derive(Default)]
pub(crate) struct Lacks {
    pub(crate) limits: Limits,
    in_force: BTreeMap<u64, Taken>,
    last: u64,
    threads_taken: u32,
    memory_taken: u64,
    /// How often something was refused.
    refused_descriptors: u64,
    refused_threads: u64,
    /// How often a program was killed because of a fault.
    killed: u64,
}

/// What one fault has taken.
enum Taken {
    Memory(u64),
    Threads(u32),
    /// Descriptors of a process, all of one file.
    Descriptors(ProcessId, FileId),
}

impl Lacks {
    /// A machine's memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.limits.memory()
    }

    /// How much of it nobody else has taken.
    pub(crate) fn memory_left(&self) -> u64 {
        self.memory_bytes().saturating_sub(self.memory_taken)
    }

    /// How many threads a program may have now.
    pub(crate) fn threads(&self) -> u32 {
        self.limits.threads_max().saturating_sub(self.threads_taken)
    }

    fn limits_memory(&self) -> bool {
        self.limits.memory_bytes.is_some() || self.memory_taken > 0
    }
}

impl Kernel {
    /// Memory of the calling thread's machine, and what of it is free: half of what faults have left.
    pub(crate) fn memory_of(&self, me: ThreadId) -> (u64, u64) {
        let lacks = &self.host_of(self.threads[me].process).lacks;
        (lacks.memory_bytes(), lacks.memory_left() / 2)
    }

    /// Tells a process's heap what its host's memory allows. Clients live in the test's memory, which has no limit.
    pub(crate) fn limit_memory(&mut self, id: HostId) {
        let Some(process) = self.hosts[id].process.and_then(|process| self.processes.get(process)) else { return };
        let lacks = &self.hosts[id].lacks;
        if let (Some(heap), Some(_)) = (process.heap, process.image) {
            heap.limit(lacks.limits_memory().then(|| usize::try_from(lacks.memory_left()).unwrap_or(usize::MAX)));
        }
    }

    /// The calling thread's process has asked for more memory than there is.
    pub(crate) fn out_of_memory(&mut self, me: ThreadId) -> Step {
        let process = self.threads[me].process;
        let host = self.processes[process].host;
        self.note_host(host, 8, "out of memory: its program is killed");
        if self.hosts[host].lacks.memory_taken > 0 && self.weather_kills_for_memory(host) {
            self.hosts[host].lacks.killed += 1;
            self.end_process(process, Exit::Signal(libc::SIGKILL));
        } else {
            self.exit_by_itself(process, Exit::Signal(libc::SIGKILL));
        }
        self.never()
    }

    /// All memory is taken: a host's program is killed at once.
    pub(crate) fn kill_for_memory(&mut self, host: HostId) {
        self.note_host(host, 8, "out of memory: its program is killed");
        self.hosts[host].lacks.killed += 1;
        if let Some(process) = self.hosts[host].process {
            self.end_process(process, Exit::Signal(libc::SIGKILL));
        }
    }

    /// Takes something that a host's program may need; answers which taking it is, and what had come of such before.
    pub(crate) fn take_away(&mut self, id: HostId, lack: Lack) -> (u64, u64) {
        let before = self.lack_bitten(id, lack);
        let taken = match lack {
            Lack::Memory { share } => {
                let bytes = (self.hosts[id].lacks.memory_bytes() as f64 * share) as u64;
                Some(self.take_memory(id, bytes))
            }
            Lack::Tasks { count } => Some(self.take_memory(id, u64::from(count) * TASK_BYTES)),
            Lack::Threads { count } => {
                let lacks = &mut self.hosts[id].lacks;
                let count = count.min(lacks.threads());
                lacks.threads_taken += count;
                Some(Taken::Threads(count))
            }
            Lack::Descriptors { count } => self.take_descriptors(id, count),
        };
        let lacks = &mut self.hosts[id].lacks;
        lacks.last += 1;
        let number = lacks.last;
        if let Some(taken) = taken {
            lacks.in_force.insert(number, taken);
        }
        self.limit_memory(id);
        (number, before)
    }

    fn take_memory(&mut self, id: HostId, bytes: u64) -> Taken {
        self.hosts[id].lacks.memory_taken += bytes;
        Taken::Memory(bytes)
    }

    /// Opens as many descriptors as the limit allows, as a leak would: the lowest free numbers.
    fn take_descriptors(&mut self, id: HostId, count: u32) -> Option<Taken> {
        let process = self.hosts[id].process?;
        let table = self.processes.get(process)?.table;
        let file = self.new_file(process, Kind::Null, libc::O_RDONLY);
        self.files[file].references = 1; // the fault's own
        for _ in 0..count {
            let entry = Descriptor { file, close_on_exec: true };
            if self.tables[table].install(entry, 0).is_err() {
                break;
            }
            self.files[file].references += 1;
        }
        Some(Taken::Descriptors(process, file))
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&mut self, id: HostId, number: u64) {
        let lacks = &mut self.hosts[id].lacks;
        match lacks.in_force.remove(&number) {
            Some(Taken::Memory(bytes)) => lacks.memory_taken -= bytes,
            Some(Taken::Threads(count)) => lacks.threads_taken -= count,
            Some(Taken::Descriptors(process, file)) => {
                if let Some(table) = self.processes.get(process).map(|process| process.table) {
                    for fd in self.tables[table].open().collect::<Vec<_>>() {
                        if self.tables[table].get(fd).is_some_and(|entry| entry.file == file) {
                            self.tables[table].take(fd);
                            self.release_file(file);
                        }
                    }
                }
                self.release_file(file);
            }
            None => {}
        }
        self.limit_memory(id);
    }

    /// How often a lack has bitten on a host so far.
    pub(crate) fn lack_bitten(&self, id: HostId, lack: Lack) -> u64 {
        let lacks = &self.hosts[id].lacks;
        match lack {
            Lack::Memory { .. } | Lack::Tasks { .. } => lacks.killed,
            Lack::Threads { .. } => lacks.refused_threads,
            Lack::Descriptors { .. } => lacks.refused_descriptors,
        }
    }

    /// A descriptor was refused.
    pub(crate) fn note_refused_descriptor(&mut self, me: ThreadId) {
        let host = self.host_id(me);
        self.hosts[host].lacks.refused_descriptors += 1;
    }

    /// Whether a process may have one more thread.
    ///
    /// # Errors
    /// `EAGAIN` (pthread_create(3)).
    pub(crate) fn check_threads(&mut self, process: ProcessId) -> Result<(), Stop> {
        let (host, threads) = (self.processes[process].host, self.processes[process].threads.len());
        let lacks = &mut self.hosts[host].lacks;
        if threads < lacks.threads() as usize {
            return Ok(());
        }
        lacks.refused_threads += 1;
        Err(Stop::Errno(libc::EAGAIN))
    }

    /// What a host's program has.
    pub(crate) fn usage(&self, id: HostId) -> Usage {
        let Some(process) = self.process_on(id) else { return Usage::default() };
        Usage {
            descriptors: self.open_on(id, process).count() as u32,
            threads: process.threads.len() as u32,
            memory_bytes: process.heap.map_or(0, |heap| heap.taken() as u64),
        }
    }

    /// What a host's program has open, by number, in words.
    pub(crate) fn open_files(&self, id: HostId) -> Vec<(i32, String)> {
        let Some(process) = self.process_on(id) else { return Vec::new() };
        self.open_on(id, process).map(|(fd, file)| (fd, self.describe_file(file))).collect()
    }

    fn process_on(&self, id: HostId) -> Option<&Process> {
        self.hosts[id].process.and_then(|process| self.processes.get(process))
    }

    /// The open descriptors of a host's program.
    fn open_on(&self, id: HostId, process: &Process) -> impl Iterator<Item = (i32, FileId)> {
        let table = &self.tables[process.table];
        // Clients share the test's descriptors.
        let shared = process.image.is_none() && id != TEST;
        let own = move |file: FileId| {
            !shared || self.processes.get(self.files[file].owner).is_some_and(|owner| owner.host == id)
        };
        let files = table.open().filter_map(|fd| Some((fd, table.get(fd)?.file)));
        files.filter(move |(_, file)| own(*file))
    }
}
