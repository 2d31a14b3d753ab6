//! Which interfaces and addresses a host has, as crates that speak netlink find out (as libp2p does): asked
//! of both kernels.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use windtunnel::{Chaos, chaos_test, tcp};

const PORT: u16 = 7300;
/// Nobody's (RFC 5737), and not of the network that hosts are in.
const BEYOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A socket that would also hear of changes of interfaces and addresses.
fn listener() -> Result<Socket> {
    const LINKS: u32 = 1;
    const ADDRESSES_OF_BOTH: u32 = 1 << 4 | 1 << 8;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, LINKS | ADDRESSES_OF_BOTH))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// What the kernel answers to a question: one message, or all there are.
fn ask(socket: &Socket, question: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST | flags, 1);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or(&[]);
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => found.push(inner),
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                NetlinkPayload::Error(error) => bail!(error.to_io()),
                other => bail!("unexpected: {other:?}"),
            }
        }
    }
}

fn links(socket: &Socket) -> Result<Vec<LinkMessage>> {
    let found = ask(socket, RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    Ok(found
        .into_iter()
        .filter_map(|message| if let RouteNetlinkMessage::NewLink(link) = message { Some(link) } else { None })
        .collect())
}

fn name(link: &LinkMessage) -> &str {
    link.attributes
        .iter()
        .find_map(|attribute| if let LinkAttribute::IfName(name) = attribute { Some(name.as_str()) } else { None })
        .unwrap_or_default()
}

/// Addresses of an interface.
fn addresses(socket: &Socket, index: u32) -> Result<Vec<IpAddr>> {
    let found = ask(socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    let of_it = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewAddress(address) if address.header.index == index => Some(address),
        _ => None,
    });
    let ip =
        |attribute: &AddressAttribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None };
    Ok(of_it.filter_map(|address| address.attributes.iter().find_map(ip)).collect())
}

/// The interface by which a packet leaves for an address, and its source.
fn way(socket: &Socket, to: Ipv4Addr) -> Result<(u32, Ipv4Addr)> {
    let mut question = RouteMessage::default();
    (question.header.address_family, question.header.destination_prefix_length) = (AddressFamily::Inet, 32);
    question.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(to)));
    let found = ask(socket, RouteNetlinkMessage::GetRoute(question), NLM_F_ACK)?;
    let Some(RouteNetlinkMessage::NewRoute(route)) = found.into_iter().next() else { bail!("no way to {to}") };
    let (mut device, mut source) = (None, None);
    for attribute in route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = Some(index),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(ip),
            _ => {}
        }
    }
    Ok((device.context("no device")?, source.context("no source")?))
}

/// All that there is to know on a host, which reaches another.
fn look(own: &str, other: &str) -> Result<()> {
    let (own, other) = (resolve(own)?, resolve(other)?);
    let socket = listener()?;
    let links = links(&socket)?;
    let names: Vec<_> = links.iter().map(name).collect();
    ensure!(names == ["lo", "eth0"], "{names:?}");
    let (lo, eth0) = (&links[0].header, &links[1].header);
    ensure!(lo.flags.contains(LinkFlags::Up | LinkFlags::Loopback), "{:?}", lo.flags);
    ensure!(eth0.flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Multicast), "{:?}", eth0.flags);
    ensure!(addresses(&socket, lo.index)?.contains(&Ipv4Addr::LOCALHOST.into()));
    let found = addresses(&socket, eth0.index)?;
    ensure!(found.contains(&own.into()) && found.iter().any(IpAddr::is_ipv6), "{found:?}");
    ensure!(way(&socket, other)? == (eth0.index, own));
    ensure!(way(&socket, Ipv4Addr::LOCALHOST)? == (lo.index, Ipv4Addr::LOCALHOST));
    ensure!(way(&socket, BEYOND)? == (eth0.index, own));
    println!("{found:?}, and {other} by eth0");
    // Nothing has changed, so nothing is told.
    socket.set_non_blocking(true)?;
    ensure!(socket.recv_from_full().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    Ok(())
}

fn resolve(host: &str) -> Result<Ipv4Addr> {
    let found = (host, 0).to_socket_addrs()?.map(|address| address.ip());
    let v4 = found.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    v4.into_iter().next().with_context(|| format!("{host} has no IPv4 address"))
}

/// Listens once it has seen what it should.
fn server() -> Result<()> {
    look("server", "test")?;
    for stream in TcpListener::bind(("0.0.0.0", PORT))?.incoming() {
        drop(stream?);
    }
    Ok(())
}

#[chaos_test(world = [sim, real], cases = 2)]
async fn a_host_finds_its_interfaces(cx: Chaos) -> Result<()> {
    cx.host("server").main(server).ready(tcp(PORT)).start().await?;
    cx.storm(async || tokio::task::spawn_blocking(|| look("test", "server")).await).await?
}

/// A host has a way to everywhere, so it can find out its own address by where it would send from; at its end is a
/// router that knows no further, and tells who connects.
#[chaos_test(world = [sim, real], cases = 1)]
async fn what_is_beyond_the_network_cannot_be_reached(cx: Chaos) -> Result<()> {
    let own = resolve("test")?;
    let look = move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((BEYOND, 53))?;
        ensure!(socket.local_addr()?.ip() == own, "{:?}", socket.local_addr());
        socket.send(b"?")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let heard = socket.recv(&mut [0]).expect_err("there is nobody");
        ensure!(heard.kind() == ErrorKind::WouldBlock, "{heard}");
        let refused = TcpStream::connect((BEYOND, 80)).expect_err("there is nobody");
        ensure!(refused.kind() == ErrorKind::NetworkUnreachable, "{refused}");
        Ok(())
    };
    cx.storm(async || tokio::task::spawn_blocking(look).await).await?
}
