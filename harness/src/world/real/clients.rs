//! Clients: threads in networks of their own, which may share what the test has.

use super::World;
use std::cell::RefCell;
use std::thread;
use windtunnel_sim::world::HostId;

thread_local! {
    /// The host that a thread belongs to. Threads that a client starts do not know; they are taken for the test's.
    static HOST: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl World {
    /// Name of the host that the calling thread belongs to.
    pub(crate) fn host_name(&self) -> String {
        HOST.with(|host| host.borrow().clone()).unwrap_or_else(|| "test".to_owned())
    }

    /// Runs this on a thread of the host's.
    pub(crate) fn start_client(&'static self, host: HostId, run: Box<dyn FnOnce() + Send>) -> Result<(), String> {
        let name = self.name(host);
        let (ready, entered) = std::sync::mpsc::channel();
        let client = move || {
            let network = self.enter_network(host);
            HOST.with(|own| *own.borrow_mut() = Some(name));
            let is_there = network.is_ok();
            // The starter waits for it.
            let _ = ready.send(network);
            if is_there {
                run();
            }
        };
        thread::Builder::new().name(self.name(host)).spawn(client).map_err(|error| error.to_string())?;
        entered.recv().unwrap_or_else(|_| Err("its thread ended at once".to_owned()))
    }
}
