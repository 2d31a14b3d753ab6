//! The network (stand-in until it lands).
use super::dispatch::Kernel;
use super::{FileId, Step, Stop, ThreadId};
use crate::abi::user::{In, Out};
use crate::world::{FaultId, HostId};
pub(crate) struct Network;
pub(crate) enum NetEvent {}
pub(crate) struct Socket;
impl Socket { pub(crate) fn describe(&self) -> String { String::new() } }
impl Network { pub(crate) fn new(_: u64, _: bool) -> Network { Network } }
impl Kernel {
    pub(crate) fn net_event(&mut self, event: NetEvent) { match event {} }
    pub(crate) fn net_crash(&mut self, _: HostId) {}
    pub(crate) fn net_host_up(&mut self, _: HostId) {}
    pub(crate) fn socket_read(&mut self, _: ThreadId, _: FileId, _: &mut Out<'_>) -> Step { Err(Stop::Errno(libc::EINVAL)) }
    pub(crate) fn socket_write(&mut self, _: ThreadId, _: FileId, _: &In<'_>) -> Step { Err(Stop::Errno(libc::EINVAL)) }
    pub(crate) fn socket_available(&self, _: FileId) -> Result<usize, Stop> { Ok(0) }
    pub(crate) fn socket_readiness(&self, _: FileId) -> u32 { 0 }
    pub(crate) fn close_socket(&mut self, _: FileId) {}
    pub(crate) fn net_partition(&mut self, _: &[HostId], _: &[HostId], _: bool) -> FaultId { FaultId(0) }
    pub(crate) fn net_slow(&mut self, _: &[HostId], _: &[HostId], _: bool, _: u64, _: u64) -> FaultId { FaultId(0) }
    pub(crate) fn net_lossy(&mut self, _: &[HostId], _: &[HostId], _: bool, _: f64) -> FaultId { FaultId(0) }
    pub(crate) fn net_heal(&mut self, _: FaultId) -> u64 { 0 }
}
