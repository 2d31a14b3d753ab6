use windtunnel::prelude::*;

async fn program() -> u32 {
    1
}

async fn hosts_return_what_main_may_return(cx: Chaos) {
    let _ = cx.host("kv").main(program);
}

async fn observations(cx: Chaos) {
    eventually!(within = "30s", cx.seed());
    eventually!(cx.is_calm());
}

fn main() {}
