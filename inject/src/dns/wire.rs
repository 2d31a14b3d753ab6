//! A message in, a message out: pure, but for what it looks up.

use super::zone::{Knowledge, Resolved};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An answer is good for the question at hand only (RFC 1035 §3.2.1): what it is may change at any moment.
const TTL_S: u32 = 0;
/// Header, without which there is no question at all (RFC 1035 §4.1.1).
const HEADER_BYTES: usize = 12;
/// The bit that tells a response from a query.
const RESPONSE: u8 = 0x80;

/// An answer to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The message.
    pub(super) bytes: Vec<u8>,
    /// By how much it is late.
    pub(super) late: Duration,
}

/// The answer to a message; none for what is not a question at all, or is to get none.
pub(super) fn answer(known: &Knowledge, asker: SocketAddr, message: &[u8]) -> Option<Reply> {
    let header = message.get(..HEADER_BYTES)?;
    if header[2] & RESPONSE != 0 {
        return None;
    }
    let query = match Message::from_vec(message) {
        // RFC 9619: a query has exactly one question.
        Ok(query) if query.metadata.op_code != OpCode::Query || query.queries.len() == 1 => query,
        _ => {
            let id = u16::from_be_bytes([header[0], header[1]]);
            return encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr), Duration::ZERO);
        }
    };
    let (id, op_code) = (query.metadata.id, query.metadata.op_code);
    if op_code != OpCode::Query {
        return encode(&Message::error_msg(id, op_code, ResponseCode::NotImp), Duration::ZERO);
    }
    let question = query.queries.into_iter().next()?;
    let mut reply = Message::new(id, MessageType::Response, op_code);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if query.edns.is_some() {
        // RFC 6891 §7: who uses it is answered with it. 1232 bytes fit in any packet.
        reply.edns = Some(Edns::new());
    }
    let (name, kind) = (question.name().clone(), question.query_type());
    let internet = question.query_class() == DNSClass::IN;
    reply.add_query(question);
    let (found, late) = records(known, asker, id, &name, kind);
    match found {
        Found::Records(records) if internet => {
            reply.add_answers(records.into_iter().map(|record| Record::from_rdata(name.clone(), TTL_S, record)));
        }
        Found::Records(_) => {}
        Found::Code(code) => reply.metadata.response_code = code,
        Found::Silence => return None,
    }
    encode(&reply, late)
}

enum Found {
    Records(Vec<RData>),
    Code(ResponseCode),
    Silence,
}

/// The records of a question, and by how much they are late.
fn records(known: &Knowledge, asker: SocketAddr, id: u16, name: &Name, kind: RecordType) -> (Found, Duration) {
    if let Some(address) = reversed(name) {
        let found = match known.zone.name_of(address).and_then(|name| Name::from_ascii(name + ".").ok()) {
            Some(name) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                Found::Records(vec![RData::PTR(PTR(name))])
            }
            Some(_) => Found::Records(Vec::new()),
            None => Found::Code(ResponseCode::NXDomain),
        };
        return (found, Duration::ZERO);
    }
    let (resolved, late) = known.resolve(asker, id, &name.to_ascii());
    let record = |address: IpAddr| match address {
        IpAddr::V4(ip) if matches!(kind, RecordType::A | RecordType::ANY) => Some(RData::A(A(ip))),
        IpAddr::V6(ip) if matches!(kind, RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(ip))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    let found = match resolved {
        Resolved::Addresses(addresses) => Found::Records(addresses.into_iter().filter_map(record).collect()),
        Resolved::NoSuchName => Found::Code(ResponseCode::NXDomain),
        Resolved::Failure => Found::Code(ResponseCode::ServFail),
        Resolved::Nothing => Found::Silence,
    };
    (found, late)
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 §3.5, RFC 3596 §2.5).
fn reversed(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// Nothing but answers of ours is encoded, which are short; one that cannot be is none.
fn encode(message: &Message, late: Duration) -> Option<Reply> {
    message.to_vec().ok().map(|bytes| Reply { bytes, late })
}

#[cfg(test)]
mod tests {
    use super::super::zone::Knowledge;
    use super::{Reply, answer};
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};

    const ASKER: &str = "10.0.0.7:1234";

    fn ask(name: &str, kind: RecordType) -> Message {
        let known = Knowledge::default();
        known.zone.set("kv1", "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let Reply { bytes, late } =
            answer(&known, ASKER.parse().unwrap(), &query.to_vec().unwrap()).expect("an answer");
        assert!(late.is_zero());
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!((reply.metadata.id, reply.queries.len()), (query.metadata.id, 1));
        reply
    }

    fn content(reply: &Message) -> Vec<String> {
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.iter().all(|record| record.ttl == 0));
        reply.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn both_families_are_answered() {
        assert_eq!(content(&ask("kv1.", RecordType::A)), ["10.0.0.1"]);
        assert_eq!(content(&ask("KV1.", RecordType::AAAA)), ["fd00::1"]);
        assert_eq!(content(&ask("kv1.", RecordType::ANY)), ["10.0.0.1", "fd00::1"]);
    }

    #[test]
    fn unknown_names_and_types_differ() {
        assert_eq!(ask("kv2.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(content(&ask("kv1.", RecordType::MX)), [""; 0]);
    }

    #[test]
    fn addresses_have_names() {
        assert_eq!(content(&ask("1.0.0.10.in-addr.arpa.", RecordType::PTR)), ["kv1."]);
        let v6 = format!("1.{}0.0.d.f.ip6.arpa.", "0.".repeat(27));
        assert_eq!(content(&ask(&v6, RecordType::PTR)), ["kv1."]);
        let other = ask("2.0.0.10.in-addr.arpa.", RecordType::PTR);
        assert_eq!(other.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn what_is_no_question_is_not_answered_as_one() {
        let known = Knowledge::default();
        let asker = ASKER.parse().unwrap();
        assert_eq!(answer(&known, asker, &[0; 11]), None);
        assert_eq!(answer(&known, asker, &[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]), None, "a response");
        let code = |message: &[u8]| {
            let reply = answer(&known, asker, message).expect("an answer");
            Message::from_vec(&reply.bytes).unwrap().metadata.response_code
        };
        assert_eq!(code(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 70]), ResponseCode::FormErr);
        assert_eq!(code(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ResponseCode::FormErr, "no question");
        assert_eq!(code(&[0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ResponseCode::NotImp, "a status request");
    }
}
