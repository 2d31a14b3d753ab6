//! Names that resolve to something else, late, or not at all.

use super::{Class, Complaint, strikes_hosts};
use crate::duration::Shown;
use crate::error::ParseError;
use crate::selector::{Selector, is_name};
use crate::severity::Severity;
use crate::text::{Cursor, Read, quote, text_form};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;

/// A name resolves to something else, late, or not at all, for those who ask: `kv* "db.internal" answers kv2`.
///
/// ```
/// use windtunnel_faults::{Answer, DnsHijack, Selector};
///
/// let hijack =
///     DnsHijack { hosts: Selector::all(), name: "db.internal".into(), answer: Answer::NoSuchName };
/// assert_eq!(hijack.to_string(), r#"* "db.internal" answers nxdomain"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsHijack {
    /// Who is misled.
    pub hosts: Selector,
    /// Which name; `*.internal` stands for all below `internal`.
    pub name: String,
    /// What they are told.
    pub answer: Answer,
}

/// What a resolver says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// This address.
    Address(IpAddr),
    /// The addresses of this host.
    Host(String),
    /// `nxdomain`: there is no such name (RFC 1035 §4.1.1, code 3).
    NoSuchName,
    /// `servfail`: the server could not find out (code 2).
    Failure,
    /// `nothing`: the query runs into its timeout.
    Nothing,
    /// `after 3s`: the truth, that much later. resolv.conf(5) has libc wait for ten seconds in all.
    Late(Duration),
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Host(name) => f.write_str(name),
            Self::NoSuchName => f.write_str("nxdomain"),
            Self::Failure => f.write_str("servfail"),
            Self::Nothing => f.write_str("nothing"),
            Self::Late(by) => write!(f, "after {}", Shown(*by)),
        }
    }
}

impl Read for Answer {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        if cursor.accept("after") {
            return cursor.duration().map(Self::Late);
        }
        let expected = "an address, a host's name, `nxdomain`, `servfail`, `nothing` or `after` a time";
        cursor.parse(expected, |word| match word {
            "nxdomain" => Some(Self::NoSuchName),
            "servfail" => Some(Self::Failure),
            "nothing" => Some(Self::Nothing),
            other => other.parse().map(Self::Address).ok().or_else(|| is_name(word).then(|| Self::Host(other.into()))),
        })
    }
}

text_form!(
    Answer,
    "Answer",
    "What a resolver says: an address, a host's name, nxdomain, servfail, nothing, or the truth after a time.",
    ["10.0.0.9", "kv2", "nxdomain", "after 3s"]
);

impl Display for DnsHijack {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} answers {}", self.hosts, quote(&self.name), self.answer)
    }
}

impl Read for DnsHijack {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let name = cursor.quoted("the name that is asked for")?;
        cursor.require("answers")?;
        Ok(Self { hosts, name, answer: Answer::read(cursor)? })
    }
}

impl Class for DnsHijack {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        let labels = self.name.strip_prefix("*.").unwrap_or(&self.name);
        let is_domain = |label: &str| {
            // RFC 1035 §2.3.4: labels have at most 63 octets; underscores are not host names, but are asked for.
            let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            !label.is_empty() && label.len() <= 63 && letters
        };
        if self.name.len() > 253 || !labels.split('.').all(is_domain) {
            let remedy = "write one such as `db`, `db.internal` or `*.internal`";
            return Some(Complaint::new("name", &self.name, "it is no domain name", remedy));
        }
        match &self.answer {
            Answer::Host(host) if !reads_back(host) => {
                let remedy = "write the name of a host, an address, `nxdomain`, `servfail`, `nothing` or `after 3s`";
                Some(Complaint::new("answer", host, "it is no host's name", remedy))
            }
            Answer::Late(Duration::ZERO) => {
                Some(Complaint::new("answer", "after 0s", "nothing would be late", "write a time above zero"))
            }
            _ => None,
        }
    }
}

/// Whether a host's name is read as one, and not as another answer.
fn reads_back(host: &str) -> bool {
    crate::text::whole::<Answer>(host).is_ok_and(|answer| answer == Answer::Host(host.to_owned()))
}
