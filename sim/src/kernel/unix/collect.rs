//! Sockets that only messages refer to which nobody can receive any more: `net/unix/garbage.c`.
//!
//! A socket that travels in a message which waits in that socket's own queue, or in a ring of such queues, has no
//! descriptor and would never be closed. Linux looks for them whenever a Unix socket is closed, and so does this.

use super::UnixSocket;
use crate::kernel::FileId;
use crate::kernel::dispatch::Kernel;
use crate::kernel::file::Kind;
use crate::kernel::net::{Network, Protocol, Socket};
use std::collections::{BTreeMap, BTreeSet};

impl Kernel {
    /// Closes what nobody can reach, if any file travels at all.
    pub(crate) fn unix_collect(&mut self) {
        if self.net.unix.in_flight == 0 {
            return;
        }
        let lost = self.unix_lost();
        self.network(|net, _| lost.into_iter().for_each(|socket| net.unix_discard(socket)));
    }

    /// The sockets that no descriptor leads to, not even through messages that can be received.
    fn unix_lost(&self) -> Vec<Socket> {
        let mut travelling: BTreeMap<FileId, u32> = BTreeMap::new();
        for file in self.net.unix_sockets().flat_map(|(_, unix)| unix.files()) {
            *travelling.entry(file).or_default() += 1;
        }
        let held = |file: FileId| {
            self.files.get(file).is_some_and(|f| f.references > travelling.get(&file).copied().unwrap_or(0))
        };
        // Connections that nobody has accepted have no file: their listener holds them.
        let file_of = |socket: Socket| self.net.sockets.get(socket).and_then(|state| state.file);
        let mut reached: BTreeSet<Socket> = BTreeSet::new();
        let roots = self.net.unix_sockets().map(|(socket, _)| socket);
        let mut next: Vec<Socket> = roots.filter(|socket| file_of(*socket).is_some_and(held)).collect();
        while let Some(socket) = next.pop() {
            let Some(unix) = self.net.unix_socket(socket).filter(|_| reached.insert(socket)) else { continue };
            next.extend(unix.pending.iter().copied());
            next.extend(unix.files().filter_map(|file| match self.files.get(file)?.kind {
                Kind::Socket(socket) => Some(socket),
                _ => None,
            }));
        }
        let all = self.net.unix_sockets().map(|(socket, _)| socket);
        all.filter(|socket| file_of(*socket).is_some() && !reached.contains(socket)).collect()
    }
}

impl UnixSocket {
    /// The files in its queue.
    fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.queue.iter().flat_map(|packet| packet.rights.iter().copied())
    }
}

impl Network {
    fn unix_sockets(&self) -> impl Iterator<Item = (Socket, &UnixSocket)> {
        self.sockets.iter().filter_map(|(socket, state)| match &state.protocol {
            Protocol::Unix(unix) => Some((socket, &**unix)),
            _ => None,
        })
    }

    /// Throws away what waits in a socket that nobody can reach, and in the connections that wait for it.
    fn unix_discard(&mut self, socket: Socket) {
        let Some(unix) = self.unix_socket_mut(socket) else { return };
        let queue = std::mem::take(&mut unix.queue);
        let pending: Vec<Socket> = unix.pending.iter().copied().collect();
        queue.into_iter().for_each(|packet| self.unix_drop(packet));
        pending.into_iter().for_each(|child| self.unix_discard(child));
    }
}
