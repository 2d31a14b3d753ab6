//! [mini-redis](https://docs.rs/mini-redis) as it is on the registry: [`server_main`] runs its
//! server, [`workload::run`] its clients. Neither knows anything of what may happen to the network
//! or to the server; the clients write down what they saw, and [`history`] says whether that can
//! be.

pub mod history;
pub mod workload;

mod server;

pub use server::server_main;
