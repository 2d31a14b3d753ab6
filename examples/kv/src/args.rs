//! The command line.

use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Where a replica listens, and where a peer is sought that names no port.
pub(crate) const DEFAULT_PORT: u16 = 8080;

/// One replica of a replicated key-value service.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// This replica's number; each replica of a cluster has its own.
    #[arg(long)]
    pub(crate) id: u32,

    /// The address to serve on.
    #[arg(long, default_value_t = format!("0.0.0.0:{DEFAULT_PORT}"))]
    pub(crate) listen: String,

    /// The other replicas: `host`, or `host:port`, separated by commas.
    #[arg(long, default_value = "")]
    pub(crate) peers: Peers,

    /// When a write is acknowledged.
    #[arg(long, value_enum, default_value_t = WriteConcern::Majority)]
    pub(crate) write_concern: WriteConcern,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WriteConcern {
    /// When this replica has it. A crash of this replica may lose it.
    Local,
    /// When a majority of the replicas has it.
    Majority,
}

/// The peers' addresses, each with its port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) Vec<String>);

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split(',').map(str::trim).filter(|peer| !peer.is_empty());
        named.map(with_port).collect::<Result<_, _>>().map(Self)
    }
}

/// `kv1` becomes `kv1:8080`. An IPv6 address is written in brackets: `[::1]`, `[::1]:9000`.
fn with_port(peer: &str) -> Result<String, String> {
    let after_address = match peer.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or_else(|| format!("{peer}: the bracket is not closed"))?.1,
        None => peer.find(':').map_or("", |colon| &peer[colon..]),
    };
    if after_address.is_empty() {
        return Ok(format!("{peer}:{DEFAULT_PORT}"));
    }
    match after_address.strip_prefix(':').map(u16::from_str) {
        Some(Ok(_)) => Ok(peer.to_owned()),
        _ => Err(format!("{peer}: expected `host` or `host:port`, and IPv6 addresses in brackets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(text: &str) -> Vec<String> {
        text.parse::<Peers>().expect("valid peers").0
    }

    #[test]
    fn a_peer_without_a_port_is_sought_at_the_default_one() {
        assert_eq!(peers("kv1,kv2:9000"), ["kv1:8080", "kv2:9000"]);
        assert_eq!(peers("[::1],[fe80::1]:9000"), ["[::1]:8080", "[fe80::1]:9000"]);
    }

    #[test]
    fn no_peers_is_a_cluster_of_one() {
        assert_eq!(peers(""), [""; 0]);
        assert_eq!(peers(" , "), [""; 0]);
    }

    #[test]
    fn a_malformed_peer_is_refused_by_name() {
        for malformed in ["kv1:http", "::1", "[::1", "kv1:70000", "kv1:"] {
            let refusal = malformed.parse::<Peers>().expect_err("malformed");
            assert!(refusal.contains(malformed), "{refusal}");
        }
    }

    #[test]
    fn the_command_line_reads_as_documented() {
        let args = Args::parse_from(["kv", "--id", "2", "--peers", "a,b", "--write-concern", "local"]);
        assert_eq!((args.id, args.listen.as_str(), args.peers.0.len()), (2, "0.0.0.0:8080", 2));
        assert_eq!(args.write_concern, WriteConcern::Local);
    }
}
