//! Any of the services as a program: `workloads grpc --listen 127.0.0.1:7000`.

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let service = std::env::args().nth(1);
    match service.as_deref() {
        Some("blocking") => workloads::blocking::server_main(),
        Some("grpc") => workloads::grpc::server_main(),
        Some("http") => workloads::http::server_main(),
        Some("threads") => workloads::threads::server_main(),
        Some("tls") => workloads::tls::server_main(),
        Some("udp") => workloads::udp::server_main(),
        Some("unix") => workloads::unix::server_main(),
        unknown => bail!("expected the name of a service, not {unknown:?}; see the library's documentation"),
    }
}
