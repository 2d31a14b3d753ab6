//! Links that double, disorder, corrupt and narrow what travels on them.

mod common;
use common::{Run, config, world, world_with};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind, LinkTrouble, Links};
use windtunnel_sim::world::{Config, HostId};

const TEST: HostId = HostId(0);

/// A host that runs a closure.
fn client(name: &str, run: impl FnOnce() + 'static) -> HostId {
    let host = control::add_host(name);
    control::start_client(host, Box::new(run)).expect("a fresh host starts");
    thread::sleep(Duration::from_millis(10));
    host
}

/// A fault from now on, until the weather ends or for so long.
fn begin(kind: FaultKind, lasts: Duration) {
    control::begin_weather(&[Fault { begins: Begins::At(Duration::ZERO), lasts, kind }]);
    thread::sleep(Duration::from_millis(1));
}

fn to(host: HostId) -> Links {
    Links { from: vec![TEST], to: vec![host], both_ways: false }
}

fn assert_finished(run: &Run, output: &str) {
    assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", output), "{run:#?}");
}

/// Takes one connection and tells how many bytes come in each second, of so many.
fn counts_bytes(seconds: usize) -> impl FnOnce() {
    move || {
        let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
        let (mut buffer, mut counts) = (vec![0; 1 << 20], vec![0_usize; seconds]);
        // The link is narrow when the first byte comes.
        let mut began = None;
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let at = began.get_or_insert_with(Instant::now).elapsed().as_secs() as usize;
            match counts.get_mut(at) {
                Some(counted) => *counted += count,
                None => break,
            }
        }
        println!("{counts:?}");
    }
}

/// The bytes of each second through a link that is narrow for five.
fn narrow(config: Config, bytes_per_second: u64) -> Vec<usize> {
    let run = world_with(config, move || {
        let server = client("server", counts_bytes(10));
        let mut stream = TcpStream::connect("server:80").unwrap();
        begin(
            FaultKind::Links {
                links: to(server),
                trouble: LinkTrouble::Narrow { bytes_per_second, queue_bytes: None },
            },
            Duration::MAX,
        );
        while stream.write_all(&[7; 10_000]).is_ok() {}
        assert!(control::end_weather().faults[0].bit > 10);
    });
    assert_eq!(run.outcome, "", "{run:#?}");
    let counts = run.output.trim_matches(['[', ']', '\n']);
    counts.split(", ").map(|count| count.parse().expect("a number")).collect()
}

#[test]
fn a_narrow_link_carries_what_was_asked_for() {
    for (rate, config) in [
        (20_000, Config { calm: true, ..config(1) }),
        (1_000_000, Config { calm: true, ..config(1) }),
        (5_000_000, config(2)),
        (100_000, config(3)),
        (100_000, config(4)),
    ] {
        let counts = narrow(config, rate);
        let carried: usize = counts.iter().sum();
        let wanted = 10 * rate as usize;
        assert!(carried.abs_diff(wanted) * 100 <= wanted, "{carried} bytes in ten seconds at {rate}: {counts:?}");
        let steady = counts[1..].iter().all(|count| count.abs_diff(rate as usize) * 10 <= rate as usize);
        assert!(steady, "at {rate}: {counts:?}");
    }
}

#[test]
fn what_waits_for_a_narrow_link_is_not_late_when_it_is_wide_again() {
    let run = world(1, || {
        let server = client("server", counts_bytes(3));
        let mut stream = TcpStream::connect("server:80").unwrap();
        let kind = FaultKind::Links {
            links: to(server),
            trouble: LinkTrouble::Narrow { bytes_per_second: 50_000, queue_bytes: None },
        };
        begin(kind, Duration::from_secs(1));
        let began = Instant::now();
        stream.write_all(&vec![7; 2_000_000]).unwrap();
        drop(stream);
        let elapsed = began.elapsed();
        thread::sleep(Duration::from_secs(5));
        println!("{}", elapsed.as_secs());
    });
    let (counts, elapsed) = run.output.split_once(']').expect("both lines");
    let counts: Vec<usize> = counts.trim_start_matches('[').split(", ").map(|c| c.parse().expect("a number")).collect();
    // The first byte comes a little later than the link becomes narrow, so its second is a little longer, too.
    assert!(counts[1] > 1_000_000 && counts[0] + counts[1] == 2_000_000, "{counts:?}");
    assert_eq!(elapsed.trim(), "1");
}

/// Sends datagrams that hold their number, and what else the test wants; the server tells what comes, in its words.
fn datagrams(seed: u64, kind: fn(Links) -> FaultKind, count: u32, bytes: usize, tell: fn(&mut Vec<Vec<u8>>)) -> Run {
    world(seed, move || {
        let server = client("server", move || {
            let socket = UdpSocket::bind("0.0.0.0:7").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let (mut buffer, mut received) = ([0; 2000], Vec::new());
            while let Ok(count) = socket.recv(&mut buffer) {
                received.push(buffer[..count].to_vec());
            }
            tell(&mut received);
        });
        begin(kind(to(server)), Duration::MAX);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..count {
            let mut datagram = vec![0; bytes];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            socket.send_to(&datagram, "server:7").unwrap();
            if bytes < 100 {
                thread::sleep(Duration::from_millis(20));
            }
        }
        thread::sleep(Duration::from_secs(9));
        println!("bit {}", control::end_weather().faults[0].bit);
    })
}

fn numbers(received: &[Vec<u8>]) -> Vec<u32> {
    received.iter().map(|datagram| u32::from_be_bytes(datagram[..4].try_into().unwrap())).collect()
}

#[test]
fn datagrams_that_find_a_full_queue_are_dropped() {
    let narrow = |links| FaultKind::Links {
        links,
        trouble: LinkTrouble::Narrow { bytes_per_second: 10_000, queue_bytes: Some(10_000) },
    };
    let run = datagrams(1, narrow, 50, 1000, |received| println!("{}", received.len()));
    // Ten wait; the first is on its way while the others are sent, in a millisecond or two.
    assert_finished(&run, "10\nbit 50\n");
}

#[test]
fn datagrams_arrive_twice() {
    let run = datagrams(
        1,
        |links| FaultKind::Links { links, trouble: LinkTrouble::Doubling { probability: 1.0 } },
        3,
        8,
        |received| {
            println!("{:?}", numbers(received));
        },
    );
    assert_finished(&run, "[0, 0, 1, 1, 2, 2]\nbit 3\n");
    let run = datagrams(
        1,
        |links| FaultKind::Links { links, trouble: LinkTrouble::Doubling { probability: 0.3 } },
        100,
        8,
        |received| {
            let again = numbers(received).windows(2).filter(|pair| pair[0] == pair[1]).count();
            println!("{}", received.len() == 100 + again && (15..45).contains(&again));
        },
    );
    assert!(run.output.starts_with("true\n"), "{run:#?}");
}

#[test]
fn datagrams_overtake_those_that_are_held_back() {
    let overtaking = |links| FaultKind::Links {
        links,
        trouble: LinkTrouble::Overtaking { probability: 0.3, by: Duration::from_millis(50) },
    };
    let run = datagrams(1, overtaking, 100, 8, |received| {
        let mut numbers = numbers(received);
        let disordered = !numbers.is_sorted();
        numbers.sort_unstable();
        println!("{disordered} {}", numbers == (0..100).collect::<Vec<_>>());
    });
    assert!(run.output.starts_with("true true\n"), "{run:#?}");
}

#[test]
fn a_bit_of_a_datagram_is_flipped() {
    let run = datagrams(
        1,
        |links| FaultKind::Links { links, trouble: LinkTrouble::Flipping { probability: 1.0 } },
        20,
        8,
        |received| {
            let flipped = |(number, datagram): (u32, &Vec<u8>)| {
                let mut sent = [0; 8];
                sent[..4].copy_from_slice(&number.to_be_bytes());
                datagram.iter().zip(sent).map(|(got, sent)| (got ^ sent).count_ones()).sum::<u32>()
            };
            println!("{}", received.len() == 20 && (0..).zip(&*received).map(flipped).all(|bits| bits == 1));
        },
    );
    assert_finished(&run, "true\nbit 20\n");
}

/// A stream loses nothing, gets nothing twice, and keeps its order, whatever becomes of its segments.
#[test]
fn a_stream_stays_what_it_is() {
    let kinds: [fn(Links) -> FaultKind; 4] = [
        |links| FaultKind::Links { links, trouble: LinkTrouble::Doubling { probability: 0.5 } },
        |links| FaultKind::Links {
            links,
            trouble: LinkTrouble::Overtaking { probability: 0.3, by: Duration::from_millis(40) },
        },
        |links| FaultKind::Links { links, trouble: LinkTrouble::Flipping { probability: 0.2 } },
        |links| FaultKind::Links {
            links,
            trouble: LinkTrouble::Narrow { bytes_per_second: 200_000, queue_bytes: Some(1_000) },
        },
    ];
    for (at, seed) in (0..kinds.len()).flat_map(|at| [1, 2, 3].map(|seed| (at, seed))) {
        let kind = kinds[at];
        let go = || {
            world(seed, move || {
                let server = client("server", || {
                    let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
                    let mut received = Vec::new();
                    stream.read_to_end(&mut received).unwrap();
                    let intact = received.iter().zip(0_u32..).all(|(byte, at)| *byte == (at % 251) as u8);
                    println!("{} {intact}", received.len());
                });
                let mut stream = TcpStream::connect("server:80").unwrap();
                let links = Links { both_ways: true, ..to(server) };
                begin(kind(links), Duration::MAX);
                let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
                bytes.chunks(7_000).for_each(|chunk| stream.write_all(chunk).unwrap());
                drop(stream);
                thread::sleep(Duration::from_secs(60));
                println!("{}", control::end_weather().faults[0].bit > 0);
            })
        };
        let run = go();
        // What comes a second time makes no difference to it.
        assert_finished(&run, &format!("300000 true\n{}\n", at > 0));
        assert_eq!(run, go());
    }
}

#[test]
fn nothing_waits_for_a_narrow_link_that_is_wide_again() {
    let run = world(1, || {
        let server = client("server", || {
            let socket = UdpSocket::bind("0.0.0.0:7").unwrap();
            socket.recv(&mut [0; 2000]).unwrap();
            println!("a datagram");
        });
        let streamed = client("streamed", counts_bytes(10));
        let mut stream = TcpStream::connect("streamed:80").unwrap();
        let links = Links { from: vec![TEST], to: vec![server, streamed], both_ways: false };
        // A segment would take 24 minutes.
        begin(
            FaultKind::Links { links, trouble: LinkTrouble::Narrow { bytes_per_second: 1, queue_bytes: None } },
            Duration::from_secs(2),
        );
        let began = Instant::now();
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[0; 1000], "server:7").unwrap();
        stream.write_all(&[7; 100_000]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        println!("{}", began.elapsed().as_secs());
    });
    assert_finished(&run, "a datagram\n[100000, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n2\n");
}

#[test]
fn streams_share_a_narrow_link() {
    let run = world(2, || {
        let server = client("server", || {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            let readers = (0..3).map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                thread::spawn(move || {
                    let began = Instant::now();
                    let mut count = 0;
                    while let Ok(more @ 1..) = stream.read(&mut [0; 4096]) {
                        count += more;
                    }
                    println!("{count} bytes in {} s", (began.elapsed().as_secs_f64() + 0.5) as u64);
                })
            });
            readers.collect::<Vec<_>>().into_iter().for_each(|reader| reader.join().unwrap());
        });
        let connect = || TcpStream::connect("server:80").unwrap();
        let [one, two, mut small] = [connect(), connect(), connect()];
        begin(
            FaultKind::Links {
                links: to(server),
                trouble: LinkTrouble::Narrow { bytes_per_second: 10_000, queue_bytes: None },
            },
            Duration::MAX,
        );
        let writers = [one, two].map(|mut stream| thread::spawn(move || stream.write_all(&[7; 50_000]).unwrap()));
        // A byte now and then is not starved by those who send much.
        small.set_nodelay(true).unwrap();
        for _ in 0..4 {
            thread::sleep(Duration::from_secs(1));
            small.write_all(&[1]).unwrap();
        }
        drop(small);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        thread::sleep(Duration::from_secs(15));
    });
    assert_finished(&run, "4 bytes in 4 s\n50000 bytes in 10 s\n50000 bytes in 10 s\n");
}
