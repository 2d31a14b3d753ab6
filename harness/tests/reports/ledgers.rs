//! Fixtures with a disk: a ledger that counts, and syncs before or after it says so.

use std::io::{Read as _, Write as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use windtunnel::prelude::*;

const FILE: &str = "/var/lib/ledger";

/// How many bytes the ledger holds: one for each count. What a crash has torn off reads as zeros.
fn counted() -> std::io::Result<u32> {
    let mut found = Vec::new();
    match std::fs::File::open(FILE) {
        Ok(mut file) => drop(file.read_to_end(&mut found)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found.iter().take_while(|byte| **byte == b'1').count() as u32)
}

async fn serve(syncs: bool) -> std::io::Result<()> {
    std::fs::create_dir_all("/var/lib")?;
    let mut kept = counted()?;
    let mut file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(FILE)?;
    file.set_len(kept.into())?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
    file.sync_all()?;
    std::fs::File::open("/var/lib")?.sync_all()?;
    std::fs::File::open("/var")?.sync_all()?;
    let listener = TcpListener::bind("0.0.0.0:7").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Ok(add) = stream.read_u8().await else { continue };
        if add > 0 {
            file.write_all(b"1")?;
            if syncs {
                file.sync_data()?;
            }
            kept += 1;
        }
        let _ = stream.write_u32(kept).await;
    }
}

async fn careful() -> std::io::Result<()> {
    serve(true).await
}

async fn careless() -> std::io::Result<()> {
    serve(false).await
}

async fn ask(add: u8) -> Option<u32> {
    let asked = async {
        let mut stream = TcpStream::connect("ledger:7").await?;
        stream.write_u8(add).await?;
        stream.read_u32().await
    };
    timeout(Duration::from_millis(500), asked).await.ok()?.ok()
}

async fn what_was_counted_is_there(cx: &Chaos) {
    let acknowledged = cx
        .storm(async || {
            let mut acknowledged = 0;
            for _ in 0..5 {
                let before = acknowledged;
                while acknowledged == before {
                    acknowledged += u32::from(ask(1).await.is_some());
                    sleep(Duration::from_millis(10)).await;
                }
            }
            acknowledged
        })
        .await;
    let mut found = None;
    while found.is_none() {
        found = ask(0).await;
    }
    assert!(found >= Some(acknowledged), "the ledger forgot what it had acknowledged");
}

#[chaos_test(cases = 64, faults = host::crashes())]
#[ignore = "a fixture"]
async fn syncs_first(cx: Chaos) -> Result<()> {
    cx.host("ledger").main(careful).ready(tcp(7)).start().await?;
    what_was_counted_is_there(&cx).await;
    Ok(())
}

#[chaos_test(cases = 64, faults = host::crashes())]
#[ignore = "a fixture"]
async fn never_syncs(cx: Chaos) -> Result<()> {
    cx.host("ledger").main(careless).ready(tcp(7)).start().await?;
    what_was_counted_is_there(&cx).await;
    Ok(())
}

#[chaos_test(cases = 1, seed = 1)]
#[ignore = "a fixture"]
async fn goes_through_crash_states(cx: Chaos) -> Result<()> {
    let ledger = cx.host("ledger").main(careless).ready(tcp(7)).start().await?;
    ask(1).await;
    ask(1).await;
    let mut states = ledger.crash_states();
    let mut found = Vec::new();
    while states.next() {
        ledger.restart().await?;
        found.extend(ask(0).await);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [0, 1, 2]);
    assert!(states.seen() >= 3);
    Ok(())
}

#[chaos_test(cases = 1, seed = 1)]
#[ignore = "a fixture"]
async fn lacks_memory(cx: Chaos) -> Result<()> {
    async fn grows() {
        let mut all = Vec::new();
        loop {
            all.push(vec![1u8; 1 << 20]);
            sleep(Duration::from_millis(1)).await;
        }
    }
    let host = cx.host("hungry").main(grows).memory("16MiB").start().await?;
    sleep(Duration::from_secs(1)).await;
    drop(host);
    Ok(())
}
