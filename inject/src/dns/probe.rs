//! A question of ours, asked on a host, to see what those who ask there are told.

use super::zone::{Answer, Heard, Knowledge};
use crate::netlink::in_namespace;
use crate::switch::GATEWAY_V4;
use crate::{Error, Result};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a question may take to reach the server, which is on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it is quiet where no answer is to come, or not soon, before that is taken to be so. An answer that does
/// come takes well under a millisecond.
const QUIET: Duration = Duration::from_millis(20);

/// What came of a question.
#[derive(Debug)]
pub(super) struct Told {
    /// Which hijack decided on the answer.
    pub(super) by: Heard,
    /// The answer, and when after the question, if one came.
    answer: Option<(Message, Duration)>,
}

impl Told {
    /// Whether it is what was asked for.
    pub(super) fn is(&self, wanted: &Answer, what: &str) -> Result<()> {
        let code = self.answer.as_ref().map(|(message, _)| message.metadata.response_code);
        let right = match wanted {
            Answer::Addresses(addresses) => {
                code == Some(ResponseCode::NoError) && self.addresses() == of_kind(addresses, kind(wanted))
            }
            Answer::NoSuchName => code == Some(ResponseCode::NXDomain),
            Answer::Failure => code == Some(ResponseCode::ServFail),
            Answer::Nothing => code.is_none(),
            Answer::Late(by) => self.answer.as_ref().is_none_or(|(_, after)| after >= by),
        };
        if right {
            return Ok(());
        }
        let found = match &self.answer {
            None => "no answer".to_owned(),
            Some((_, after)) => format!("{code:?} {:?} after {after:?}", self.addresses()),
        };
        Err(Error::unlike(what, format!("{wanted:?}"), found))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let answers = self.answer.as_ref().map(|(message, _)| message.answers.as_slice()).unwrap_or_default();
        let address = |data: &RData| match data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        };
        answers.iter().filter_map(|record| address(&record.data)).collect()
    }
}

/// Asks for a name on a host. `expected` says for which kind of address, and whether to wait for an answer.
///
/// # Errors
/// The host is off the network, or the server does not hear it.
pub(super) fn ask(host: BorrowedFd<'_>, known: &Knowledge, name: &Name, expected: &Answer) -> Result<Told> {
    let what = format!("ask for the name {name}");
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind(expected)));
    let os = |error: io::Error| match error.kind() {
        // It is off the network, as a machine that has no power.
        io::ErrorKind::NetworkUnreachable => Error::gone(&what),
        _ => Error::os(&what, error),
    };
    let bytes = query.to_vec().map_err(|error| os(io::Error::other(error.to_string())))?;
    let socket = in_namespace(host, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((GATEWAY_V4, 53))?;
        Ok(socket)
    })?
    .map_err(os)?;
    let (from, id) = (socket.local_addr().map_err(os)?, query.metadata.id);
    let (heard, hears) = channel();
    known.expect(from, id, heard);
    let asked = Instant::now();
    let told = (|| {
        socket.send(&bytes).map_err(os)?;
        let by = hears.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected => {
                os(io::Error::new(io::ErrorKind::TimedOut, "the name server does not hear the host"))
            }
        })?;
        let wait = match expected {
            Answer::Nothing => QUIET,
            Answer::Late(by) => QUIET.max(by.saturating_add(QUIET).min(2 * QUIET)),
            Answer::Addresses(_) | Answer::NoSuchName | Answer::Failure => PATIENCE,
        };
        let answer = receive(&socket, id, wait).map_err(os)?;
        Ok(Told { by, answer: answer.map(|message| (message, asked.elapsed())) })
    })();
    known.expect_no_more(from, id);
    told
}

/// The answer, if one comes in time.
fn receive(socket: &UdpSocket, id: u16, wait: Duration) -> io::Result<Option<Message>> {
    socket.set_read_timeout(Some(wait))?;
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            let message = Message::from_vec(&buffer[..length]).map_err(|error| io::Error::other(error.to_string()))?;
            Ok((message.metadata.id == id).then_some(message))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of which kind an answer has addresses.
fn kind(answer: &Answer) -> RecordType {
    match answer {
        Answer::Addresses(addresses) if addresses.iter().all(IpAddr::is_ipv6) => RecordType::AAAA,
        _ => RecordType::A,
    }
}

fn of_kind(addresses: &[IpAddr], kind: RecordType) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|address| address.is_ipv6() == (kind == RecordType::AAAA)).collect()
}
