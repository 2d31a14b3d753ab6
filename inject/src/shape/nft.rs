//! A conversation with nf_tables: transactions and listings. The kernel answers before send(2) returns, so nothing here
//! waits.

use crate::error::{Error, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// `NFNL_SUBSYS_NFTABLES`, which a transaction names (`nfnetlink_rcv_skb_batch`, `net/netfilter/nfnetlink.c`).
const NF_TABLES: u16 = 10;

/// A socket of its own. A table with the owner flag is the socket's, and goes with it.
pub(super) struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    /// With the nf_tables of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self> {
        let failed = |error| Error::os("talk to nf_tables", error);
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Does all of this or, if the kernel refuses any of it, nothing.
    pub(super) fn transact(&mut self, steps: Vec<NfTablesMessage>) -> rustix::io::Result<()> {
        let mut bytes = Vec::new();
        let first = self.sequence + 1;
        let any = |inner: NetfilterMessageInner, family, resource| {
            NetfilterMessage::new(NetfilterHeader::new(family, 0, resource), inner)
        };
        let unspecified = NetfilterProtoFamily::Unspec;
        self.append(&mut bytes, NLM_F_REQUEST, any(ControlMessage::BatchBegin.into(), unspecified, NF_TABLES));
        for step in steps {
            let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
            self.append(&mut bytes, flags, any(step.into(), NetfilterProtoFamily::Inet, 0));
        }
        self.append(&mut bytes, NLM_F_REQUEST, any(ControlMessage::BatchEnd.into(), unspecified, NF_TABLES));
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let mut result = Ok(());
        self.answers(|header, payload| {
            if let NetlinkPayload::Error(error) = payload
                && header.sequence_number >= first
                && let Some(code) = error.code
            {
                result = result.and(Err(Errno::from_raw_os_error(-code.get())));
            }
        })?;
        result
    }

    /// Lists what a request for a listing asks for.
    pub(super) fn list(&mut self, request: NfTablesMessage) -> rustix::io::Result<Vec<NfTablesMessage>> {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
        let mut bytes = Vec::new();
        self.append(&mut bytes, NLM_F_REQUEST | NLM_F_DUMP, NetfilterMessage::new(header, request));
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let (mut listed, mut result, sequence) = (Vec::new(), Ok(()), self.sequence);
        self.answers(|header, payload| match payload {
            _ if header.sequence_number != sequence => {}
            NetlinkPayload::InnerMessage(message) => {
                if let NetfilterMessageInner::NfTables(message) = message.inner {
                    listed.push(message);
                }
            }
            NetlinkPayload::Error(error) => {
                if let Some(code) = error.code {
                    result = Err(Errno::from_raw_os_error(-code.get()));
                }
            }
            _ => {}
        })?;
        result.map(|()| listed)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, flags: u16, message: NetfilterMessage) {
        self.sequence += 1;
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }

    /// Reads whatever has been answered.
    fn answers(
        &mut self,
        mut each: impl FnMut(NetlinkHeader, NetlinkPayload<NetfilterMessage>),
    ) -> rustix::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &buffer[..length];
            while let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(rest) {
                let taken = (message.header.length as usize).next_multiple_of(4);
                each(message.header, message.payload);
                rest = rest.get(taken..).unwrap_or_default();
                if taken == 0 || rest.is_empty() {
                    break;
                }
            }
        }
    }
}
