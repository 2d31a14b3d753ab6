//! The real world: hosts are processes.

use std::time::Duration;
use windtunnel::HostState;
use windtunnel::prelude::*;

/// What a service's own `main` finds.
fn describes_itself() {
    let arguments: Vec<String> = std::env::args().collect();
    println!("{arguments:?} {:?}", std::env::var("COLOUR"));
    std::thread::sleep(Duration::from_secs(3600));
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn a_host_is_a_process_of_its_own(cx: Chaos) -> Result<()> {
    let kv = cx
        .hosts("kv", 2)
        .main(describes_itself)
        .args(|h| ["--id".into(), h.index().to_string()])
        .env("COLOUR", "green")
        .start()
        .await?;
    println!("in the middle");
    tokio::time::sleep(Duration::from_millis(200)).await;
    kv[0].kill();
    assert_eq!(kv[0].state(), HostState::Down);
    kv[0].restart().await?;
    assert_eq!(kv[0].state(), HostState::Up);
    Ok(())
}
