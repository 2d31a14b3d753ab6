//! How many files a host's disk takes.

use windtunnel::prelude::*;

/// Makes so many, and says when it has.
fn makes_files() {
    let count: u32 = std::env::var("COUNT").expect("it is set").parse().expect("a number");
    std::fs::create_dir("/var/lib/files").expect("a directory");
    for number in 0..count {
        std::fs::File::create(format!("/var/lib/files/{number}")).expect("a file");
    }
    let listener = std::net::TcpListener::bind("0.0.0.0:7").expect("a port");
    listener.incoming().for_each(drop);
}

async fn makes(cx: &Chaos, count: u32) -> Result<()> {
    let host = cx.host("makes").main(makes_files).env("COUNT", count.to_string()).ready(tcp(7)).ready_within("60s");
    host.start().await?;
    Ok(())
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn a_host_can_have_many_files(cx: Chaos) -> Result<()> {
    makes(&cx, 10_000).await
}

#[chaos_test(world = [sim, real], cases = 1, plan = "1h inode-exhaustion makes for 1s")]
async fn a_host_whose_inodes_will_be_taken_can_have_many_files(cx: Chaos) -> Result<()> {
    makes(&cx, 3_000).await?;
    cx.storm(async || {}).await;
    Ok(())
}
