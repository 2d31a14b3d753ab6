use windtunnel::prelude::*;

async fn a_host_captures(cx: Chaos) {
    let port = 8080;
    let _ = cx.host("kv").main(|| println!("listening on {port}"));
    let _ = cx.host("kv").run(|id: u32| println!("{id} listening on {port}"), 1);
}

async fn serve(_: std::net::TcpListener) {}

async fn arguments_are_no_bytes(cx: Chaos) {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let _ = cx.host("kv").run(serve, listener);
}

async fn no_hosts(cx: Chaos) {
    let _ = cx.partition(1, 2);
}

fn main() {}
