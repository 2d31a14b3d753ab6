//! services(5): the names that programs use for ports.

use libc::{SOCK_DGRAM, SOCK_STREAM, c_int};

/// Name, port, whether TCP and UDP have it: from Debian's netbase.
const SERVICES: &[(&str, u16, bool, bool)] = &[
    ("ftp", 21, true, false),
    ("ssh", 22, true, false),
    ("telnet", 23, true, false),
    ("smtp", 25, true, false),
    ("domain", 53, true, true),
    ("http", 80, true, false),
    ("pop3", 110, true, false),
    ("ntp", 123, false, true),
    ("imap2", 143, true, false),
    ("snmp", 161, true, true),
    ("ldap", 389, true, true),
    ("https", 443, true, true),
    ("syslog", 514, false, true),
    ("submission", 587, true, false),
    ("ldaps", 636, true, true),
    ("imaps", 993, true, false),
    ("mysql", 3306, true, false),
    ("postgresql", 5432, true, false),
    ("amqp", 5672, true, false),
    ("redis", 6379, true, false),
    ("http-alt", 8080, true, false),
];
/// Other names for the same.
const ALIASES: &[(&str, &str)] =
    &[("mail", "smtp"), ("www", "http"), ("imap", "imap2"), ("postgres", "postgresql"), ("webcache", "http-alt")];

/// The port of a service over a socket type.
pub(crate) fn service_port(name: &str, kind: c_int) -> Option<u16> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    let (_, port, tcp, udp) = SERVICES.iter().find(|(known, ..)| *known == name)?;
    let offered = match kind {
        SOCK_STREAM => *tcp,
        SOCK_DGRAM => *udp,
        _ => false,
    };
    offered.then_some(*port)
}

/// The service at a port.
pub(crate) fn service_name(port: u16, datagram: bool) -> Option<&'static str> {
    SERVICES.iter().find(|(_, p, tcp, udp)| *p == port && if datagram { *udp } else { *tcp }).map(|(name, ..)| *name)
}

#[cfg(test)]
mod tests {
    use super::{service_name, service_port};
    use libc::{SOCK_DGRAM, SOCK_RAW, SOCK_STREAM};

    #[test]
    fn services_know_their_protocols() {
        assert_eq!(service_port("https", SOCK_STREAM), Some(443));
        assert_eq!(service_port("http", SOCK_DGRAM), None);
        assert_eq!(service_port("www", SOCK_STREAM), Some(80));
        assert_eq!(service_port("http", SOCK_RAW), None);
        assert_eq!(service_name(53, true), Some("domain"));
        assert_eq!(service_name(123, false), None);
    }
}
