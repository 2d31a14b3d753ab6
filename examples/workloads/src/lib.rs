//! Small services, each of one kind that real programs are made of, and a client for each.
//!
//! A module's `server_main` is a program of its own: it takes its arguments from the command line
//! and shares nothing with its client. The module's `client` drives the server and returns a
//! transcript of all it saw, in the order in which it saw it, with a
//! [`fingerprint`](fingerprint::fingerprint) of what decides a run besides its input: clocks,
//! entropy, hash order, `select!` order; the server's too. Two runs that give equal transcripts
//! were equal in all of that.
//!
//! | module | what it is made of |
//! | --- | --- |
//! | [`grpc`] | tonic, unary and server streaming |
//! | [`tls`] | reqwest with default features, tokio-rustls |
//! | [`http`] | hyper, many connections at once |
//! | [`blocking`] | tokio's multi-thread runtime with `spawn_blocking` and `block_in_place` |
//! | [`threads`] | std threads, channels, mutexes, condition variables, `std::net` |
//! | [`tokens`] | JSON Web Tokens that expire, over axum |
//! | [`udp`] | UDP on tokio and on std |
//! | [`unix`] | Unix stream and datagram sockets on tokio and on std, abstract and in the file system |

pub mod blocking;
pub mod fingerprint;
pub mod grpc;
pub mod http;
pub mod threads;
pub mod tls;
pub mod tokens;
pub mod udp;
pub mod unix;

mod args;
mod dial;
mod interrupted;
