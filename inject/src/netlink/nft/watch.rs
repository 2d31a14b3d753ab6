//! The kernel's own notifications of changes to tables: what somebody else does is noticed at once.

use crate::Result;
use crate::netlink::Socket;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetElementMessage, SetMessage, TableAttribute, TableMessage,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::os::fd::{AsFd, BorrowedFd};

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 7;

/// Hears of every change to nftables in one network namespace. Its descriptor is readable when there is one (poll(2)).
#[derive(Debug)]
pub struct Watch(Socket);

/// Something that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something of this table was made.
    Made(String),
    /// Something of this table, or all of it, was removed.
    Removed(String),
    /// More than there was room to be told of: it has to be looked at anew.
    Unknown,
}

impl Watch {
    /// Begins to listen, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no nftables.
    pub fn new() -> Result<Self> {
        let mut socket = Socket::open(NETLINK_NETFILTER)?;
        socket.join(GROUP)?;
        Ok(Self(socket))
    }

    /// What has changed since, without waiting.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn changes(&mut self) -> Result<Vec<Change>> {
        let Some(told) = self.0.told::<NetfilterMessage>()? else { return Ok(vec![Change::Unknown]) };
        Ok(told.into_iter().filter_map(super::message::inner).filter_map(change).collect())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn change(message: NfTablesMessage) -> Option<Change> {
    let table = match &message {
        NfTablesMessage::NewTable(TableMessage { attributes })
        | NfTablesMessage::DeleteTable(TableMessage { attributes }) => {
            attributes.iter().find_map(|a| if let TableAttribute::Name(name) = a { Some(name) } else { None })
        }
        NfTablesMessage::NewChain(ChainMessage { attributes })
        | NfTablesMessage::DeleteChain(ChainMessage { attributes }) => {
            attributes.iter().find_map(|a| if let ChainAttribute::Table(name) = a { Some(name) } else { None })
        }
        NfTablesMessage::NewRule(RuleMessage { attributes })
        | NfTablesMessage::DeleteRule(RuleMessage { attributes }) => {
            attributes.iter().find_map(|a| if let RuleAttribute::Table(name) = a { Some(name) } else { None })
        }
        NfTablesMessage::NewSet(SetMessage { attributes }) | NfTablesMessage::DeleteSet(SetMessage { attributes }) => {
            attributes.iter().find_map(|a| if let SetAttribute::Table(name) = a { Some(name) } else { None })
        }
        NfTablesMessage::NewSetElement(SetElementMessage { attributes })
        | NfTablesMessage::DeleteSetElement(SetElementMessage { attributes }) => {
            attributes.iter().find_map(|a| if let SetElementList::Table(name) = a { Some(name) } else { None })
        }
        // The generation, which goes with each of the above; objects and flow tables, which no fault has.
        _ => None,
    }?;
    let removed = matches!(
        message,
        NfTablesMessage::DeleteTable(_)
            | NfTablesMessage::DeleteChain(_)
            | NfTablesMessage::DeleteRule(_)
            | NfTablesMessage::DeleteSet(_)
            | NfTablesMessage::DeleteSetElement(_)
    );
    Some(if removed { Change::Removed(table.clone()) } else { Change::Made(table.clone()) })
}
