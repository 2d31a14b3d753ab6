//! Unix sockets on tokio.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::path::Path;

use anyhow::ensure;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{LINES, Names};

/// How much goes through a pair: more than its buffers hold at once.
const BULK_BYTES: usize = 1 << 20;

pub(super) async fn exchange(names: &Names) -> anyhow::Result<Vec<String>> {
    // tokio takes a leading zero byte for the abstract namespace.
    let abstract_name = format!("\0{}", names.abstract_name("tokio"));
    let mut transcript = echo("tokio abstract stream", Path::new(&abstract_name)).await?;
    if let Some(path) = names.path("tokio") {
        transcript.extend(echo("tokio path stream", &path).await?);
        std::fs::remove_file(path)?;
    }
    transcript.push(bulk_through_pair().await?);
    transcript.push(datagram_pair().await?);
    transcript.push(datagrams(&names.abstract_name("tokio-datagram")).await?);
    Ok(transcript)
}

/// Three clients at once, each with its own connection to an echo at `path`.
async fn echo(kind: &str, path: &Path) -> anyhow::Result<Vec<String>> {
    let listener = UnixListener::bind(path)?;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _client)) = listener.accept().await {
            connections.spawn(shout(stream));
        }
    });
    let mut clients = JoinSet::new();
    for id in 0..3 {
        clients.spawn(ask(id, path.to_owned()));
    }
    let mut transcript = Vec::new();
    while let Some(answers) = clients.join_next().await {
        transcript.push(format!("{kind}: {}", answers??));
    }
    servers.shutdown().await;
    Ok(transcript)
}

/// Answers each line in capitals.
async fn shout(stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        writer.write_all(format!("{}\n", line.to_uppercase()).as_bytes()).await?;
    }
    Ok(())
}

/// Sends the lines, ends its half of the connection and reads all answers.
async fn ask(id: usize, path: std::path::PathBuf) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    for line in LINES {
        stream.write_all(format!("{line} {id}\n").as_bytes()).await?;
    }
    stream.shutdown().await?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await?;
    let expected: String = LINES.iter().map(|line| format!("{} {id}\n", line.to_uppercase())).collect();
    ensure!(answers == expected, "{answers:?} instead of {expected:?}");
    Ok(answers.trim_end().replace('\n', ", "))
}

async fn bulk_through_pair() -> anyhow::Result<String> {
    let (mut near, mut far) = UnixStream::pair()?;
    let writer = tokio::spawn(async move {
        near.write_all(&vec![7; BULK_BYTES]).await?;
        near.shutdown().await
    });
    let (mut received, mut reads) = (0, 0);
    let mut buffer = vec![0; BULK_BYTES];
    loop {
        let length = far.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        ensure!(buffer[..length].iter().all(|&byte| byte == 7), "bytes changed on their way");
        (received, reads) = (received + length, reads + 1);
    }
    writer.await??;
    ensure!(received == BULK_BYTES, "{received} bytes arrived");
    Ok(format!("tokio stream pair: {received} bytes in {reads} reads"))
}

async fn datagram_pair() -> anyhow::Result<String> {
    let (near, far) = UnixDatagram::pair()?;
    let mut buffer = [0; 64];
    for line in LINES {
        near.send(line.as_bytes()).await?;
    }
    let mut lengths = Vec::new();
    for line in LINES {
        let length = far.recv(&mut buffer).await?;
        ensure!(&buffer[..length] == line.as_bytes(), "boundaries are not kept");
        lengths.push(length);
    }
    Ok(format!("tokio datagram pair: {lengths:?} bytes"))
}

/// A server with a name in the abstract namespace, and a client with one, so that it can be
/// answered.
async fn datagrams(name: &str) -> anyhow::Result<String> {
    // tokio names datagram sockets by path only, so std makes them.
    let (server_name, client_name) = (abstract_address(name)?, abstract_address(&format!("{name}-client"))?);
    let client = StdUnixDatagram::bind_addr(&client_name)?;
    let server = StdUnixDatagram::bind_addr(&server_name)?;
    client.connect_addr(&server_name)?;
    server.connect_addr(&client_name)?;
    let [client, server] = [in_tokio(client)?, in_tokio(server)?];

    let server = tokio::spawn(async move {
        let mut buffer = [0; 64];
        for _ in LINES {
            let length = server.recv(&mut buffer).await?;
            server.send(&buffer[..length].to_ascii_uppercase()).await?;
        }
        std::io::Result::Ok(())
    });
    let mut answers = Vec::new();
    let mut buffer = [0; 64];
    for line in LINES {
        client.send(line.as_bytes()).await?;
        let length = client.recv(&mut buffer).await?;
        answers.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    server.await??;
    Ok(format!("tokio abstract datagram: {}", answers.join(", ")))
}

fn abstract_address(name: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

fn in_tokio(socket: StdUnixDatagram) -> std::io::Result<UnixDatagram> {
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}
