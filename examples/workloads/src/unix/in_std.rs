//! Unix sockets on std threads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::thread;

use anyhow::ensure;

use super::{LINES, Names};
use crate::interrupted::uninterrupted;

pub(super) fn exchange(names: &Names) -> anyhow::Result<Vec<String>> {
    let address = SocketAddr::from_abstract_name(names.abstract_name("std"))?;
    let mut transcript = echo("std abstract stream", &address)?;
    if let Some(path) = names.path("std") {
        transcript.extend(echo("std path stream", &SocketAddr::from_pathname(&path)?)?);
        std::fs::remove_file(path)?;
    }
    transcript.push(pair()?);
    transcript.push(datagrams(&names.abstract_name("std-datagram"))?);
    if let Some(path) = names.path("std-datagram") {
        transcript.push(datagram_path(&path)?);
        std::fs::remove_file(path)?;
    }
    Ok(transcript)
}

/// Two clients, each on a thread, and a server with a thread for each.
fn echo(kind: &str, address: &SocketAddr) -> anyhow::Result<Vec<String>> {
    const CLIENTS: usize = 2;
    let listener = UnixListener::bind_addr(address)?;
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let accepted = listener.incoming().take(CLIENTS);
            accepted
                .map(|stream| stream.map(|stream| scope.spawn(move || shout(&stream))))
                .collect::<io::Result<Vec<_>>>()
        });
        let clients: Vec<_> = (0..CLIENTS).map(|id| scope.spawn(move || ask(id, address))).collect();
        let answers = clients.into_iter().map(|client| client.join().expect("clients return their errors"));
        let transcript: anyhow::Result<Vec<_>> = answers.map(|a| Ok(format!("{kind}: {}", a?))).collect();
        for connection in server.join().expect("the server returns its errors")? {
            connection.join().expect("connections return their errors")?;
        }
        transcript
    })
}

/// Answers each line in capitals.
fn shout(mut stream: &UnixStream) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        stream.write_all(format!("{}\n", line?.to_uppercase()).as_bytes())?;
    }
    Ok(())
}

/// Sends the lines, ends its half of the connection and reads all answers.
fn ask(id: usize, address: &SocketAddr) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect_addr(address)?;
    for line in LINES {
        stream.write_all(format!("{line} {id}\n").as_bytes())?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers)?;
    let expected: String = LINES.iter().map(|line| format!("{} {id}\n", line.to_uppercase())).collect();
    ensure!(answers == expected, "{answers:?} instead of {expected:?}");
    Ok(answers.trim_end().replace('\n', ", "))
}

/// What one end writes the other reads, until it is dropped.
fn pair() -> anyhow::Result<String> {
    let (mut near, mut far) = UnixStream::pair()?;
    let writer = thread::spawn(move || near.write_all(LINES.concat().as_bytes()));
    let mut received = String::new();
    far.read_to_string(&mut received)?;
    writer.join().expect("the writer returns its errors")?;
    ensure!(received == LINES.concat(), "{received:?}");
    Ok(format!("std stream pair: {received}"))
}

/// A server that answers whoever sends, by the sender's address.
fn datagrams(name: &str) -> anyhow::Result<String> {
    let server_address = SocketAddr::from_abstract_name(name)?;
    let server = UnixDatagram::bind_addr(&server_address)?;
    let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{name}-client"))?)?;
    let server = thread::spawn(move || {
        let mut buffer = [0; 64];
        for _ in LINES {
            let (length, sender) = uninterrupted(|| server.recv_from(&mut buffer))?;
            let answer = buffer[..length].to_ascii_uppercase();
            uninterrupted(|| server.send_to_addr(&answer, &sender))?;
        }
        io::Result::Ok(())
    });
    let mut answers = Vec::new();
    let mut buffer = [0; 64];
    for line in LINES {
        uninterrupted(|| client.send_to_addr(line.as_bytes(), &server_address))?;
        let length = uninterrupted(|| client.recv(&mut buffer))?;
        answers.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    server.join().expect("the server returns its errors")?;
    Ok(format!("std abstract datagram: {}", answers.join(", ")))
}

/// From a socket without a name to one in the file system.
fn datagram_path(path: &std::path::Path) -> anyhow::Result<String> {
    let server = UnixDatagram::bind(path)?;
    let client = UnixDatagram::unbound()?;
    uninterrupted(|| client.send_to(b"over a path", path))?;
    let mut buffer = [0; 64];
    let (length, sender) = uninterrupted(|| server.recv_from(&mut buffer))?;
    ensure!(sender.is_unnamed(), "the client has no name, but is called {sender:?}");
    Ok(format!("std path datagram: {}", String::from_utf8_lossy(&buffer[..length])))
}
