//! TCP between hosts, as programs see it through `std::net`.

mod common;
use common::{config, world, world_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::world::HostId;

/// A client host that runs a closure.
fn host(name: &str, run: impl FnOnce() + 'static) -> HostId {
    let host = control::add_host(name);
    control::start_client(host, Box::new(run)).expect("a fresh host starts");
    host
}

/// Echoes one connection at a time, for ever.
fn echo(port: u16) -> impl FnOnce() {
    move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("bind");
        loop {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut buffer = [0; 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        if stream.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    Err(error) => {
                        println!("server: {:?}", error.kind());
                        break;
                    }
                }
            }
        }
    }
}

fn settle() {
    thread::sleep(Duration::from_millis(10));
}

#[test]
fn bytes_go_there_and_back_over_the_links_latency() {
    let run = world_with(windtunnel_sim::world::Config { calm: true, ..config(1) }, || {
        host("server", echo(80));
        settle();
        let began = Instant::now();
        let mut stream = TcpStream::connect("server:80").expect("connect");
        println!("connected after {} ms", began.elapsed().as_millis());
        stream.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).unwrap();
        println!("{} after {} ms", String::from_utf8_lossy(&buffer), began.elapsed().as_millis());
        println!("{:?} -> {:?}", stream.local_addr().unwrap().ip(), stream.peer_addr().unwrap());
    });
    assert_eq!(run.output, "connected after 2 ms\nhello after 4 ms\n10.0.0.1 -> 10.0.0.2:80\n", "{run:#?}");
}

#[test]
fn nobody_listening_refuses_and_unknown_addresses_are_unreachable() {
    let run = world(1, || {
        control::add_host("idle");
        let began = Instant::now();
        for address in ["idle:80", "10.0.9.9:80", "8.8.8.8:80", "127.0.0.1:80", "[fd00::77]:1", "nosuch:1"] {
            let error = TcpStream::connect(address).expect_err(address);
            println!("{address} {:?} {:?} {}", error.kind(), error.raw_os_error(), began.elapsed().as_secs());
        }
    });
    assert_eq!(
        run.output,
        "idle:80 ConnectionRefused Some(111) 0\n10.0.9.9:80 HostUnreachable Some(113) 3\n\
         8.8.8.8:80 NetworkUnreachable Some(101) 3\n127.0.0.1:80 ConnectionRefused Some(111) 3\n\
         [fd00::77]:1 HostUnreachable Some(113) 6\nnosuch:1 Uncategorized None 6\n"
    );
}

#[test]
fn a_partition_makes_connecting_time_out_as_linux_does() {
    let run = world(1, || {
        let server = host("server", echo(80));
        settle();
        control::partition(&[server], &[HostId(0)], true);
        let began = Instant::now();
        let error = TcpStream::connect("10.0.0.2:80").expect_err("cut off");
        println!("{:?} after {} s", error.kind(), began.elapsed().as_secs());
    });
    assert_eq!(run.output, "TimedOut after 131 s\n");
}

#[test]
fn a_healed_partition_lets_the_stream_go_on() {
    let run = world(1, || {
        let server = host("server", echo(80));
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        let cut = control::partition(&[server], &[HostId(0)], true);
        stream.write_all(b"hello").unwrap();
        thread::sleep(Duration::from_secs(10));
        let began = Instant::now();
        let account = control::heal(cut);
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).unwrap();
        println!("{} {} {}", String::from_utf8_lossy(&buffer), account.affected > 3, began.elapsed().as_secs() < 14);
    });
    assert_eq!(run.output, "hello true true\n");
}

#[test]
fn a_long_partition_ends_the_stream() {
    let run = world(1, || {
        let server = host("server", echo(80));
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        control::partition(&[HostId(0)], &[server], false);
        let began = Instant::now();
        stream.write_all(b"hello").unwrap();
        let error = stream.read(&mut [0; 5]).expect_err("no answer");
        println!("{:?} after {} s", error.kind(), began.elapsed().as_secs());
        println!("{:?}", stream.read(&mut [0; 5]));
        println!("{:?}", stream.write(b"x").expect_err("broken").kind());
    });
    assert_eq!(run.output, "TimedOut after 927 s\nOk(0)\nBrokenPipe\n");
}

#[test]
fn a_killed_server_closes_and_a_crashed_one_is_silent_until_it_is_back() {
    let run = world(1, || {
        let server = host("server", echo(80));
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        settle();
        control::kill(server);
        println!("killed: {:?}", stream.read(&mut [0; 5]));
        println!("{:?}", TcpStream::connect("server:80").expect_err("nobody listens").kind());

        control::start_client(server, Box::new(echo(80))).unwrap();
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        settle();
        control::crash(server);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"hello").unwrap();
        println!("crashed: {:?}", stream.read(&mut [0; 5]).expect_err("silence").kind());
        let silent = TcpStream::connect_timeout(&"10.0.0.2:80".parse().unwrap(), Duration::from_secs(3));
        println!("{:?}", silent.expect_err("silence").kind());
        control::start_client(server, Box::new(echo(80))).unwrap();
        stream.set_read_timeout(None).unwrap();
        println!("back: {:?}", stream.read(&mut [0; 5]).expect_err("reset").kind());
        TcpStream::connect("server:80").unwrap();
    });
    assert_eq!(
        run.output, "killed: Ok(0)\nConnectionRefused\ncrashed: WouldBlock\nTimedOut\nback: ConnectionReset\n",
        "{run:#?}"
    );
}

#[test]
fn half_close_ends_one_direction_only() {
    let run = world(1, || {
        host("server", || {
            let listener = TcpListener::bind("[::]:80").unwrap();
            let (mut stream, peer) = listener.accept().unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            println!("server: {all} from {}", peer.ip());
            stream.write_all(b"thanks").unwrap();
        });
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        stream.write_all(b"all of it").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        println!("{:?}", stream.write(b"more").expect_err("shut").kind());
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        println!("client: {all}");
    });
    assert_eq!(run.output, "BrokenPipe\nserver: all of it from ::ffff:10.0.0.1\nclient: thanks\n");
}

#[test]
fn unread_data_at_close_is_a_reset() {
    let run = world(1, || {
        host("server", || {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        });
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        stream.write_all(b"all of it").unwrap();
        println!("{:?}", stream.read(&mut [0; 1]).expect_err("reset").kind());
        println!("{:?}", stream.read(&mut [0; 1]));
    });
    assert_eq!(run.output, "ConnectionReset\nOk(0)\n");
}

#[test]
fn a_slow_reader_holds_the_writer_up() {
    let run = world(1, || {
        host("server", || {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            thread::sleep(Duration::from_secs(5));
            let mut total = 0;
            let mut buffer = vec![0; 100_000];
            loop {
                let count = stream.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                assert!(buffer[..count].iter().enumerate().all(|(at, b)| *b == ((total + at) % 251) as u8));
                total += count;
            }
            println!("server: {total}");
        });
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        let bytes: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
        let began = Instant::now();
        stream.write_all(&bytes).unwrap();
        println!("written: {}", began.elapsed().as_secs() >= 5);
        drop(stream);
        thread::sleep(Duration::from_secs(5));
    });
    assert_eq!(run.output, "written: true\nserver: 3000000\n", "{run:#?}");
}

#[test]
fn loss_delays_and_loses_nothing() {
    for seed in 0..10 {
        let run = world(seed, || {
            let server = host("server", echo(80));
            settle();
            let loss = control::lossy(&[server], &[HostId(0)], true, 0.3);
            let mut stream = TcpStream::connect("server:80").unwrap();
            for round in 0..50u8 {
                stream.write_all(&[round; 100]).unwrap();
                let mut buffer = [0; 100];
                stream.read_exact(&mut buffer).unwrap();
                assert_eq!(buffer, [round; 100]);
            }
            println!("{}", control::heal(loss).affected > 10);
        });
        assert_eq!(run.output, "true\n", "seed {seed}: {run:#?}");
    }
}

#[test]
fn who_writes_to_a_closed_socket_hears_of_it_even_when_the_first_reset_is_lost() {
    let run = world(1, || {
        let server = host("server", || {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
            thread::sleep(Duration::from_millis(200));
            stream.write_all(b"too late").unwrap();
            println!("{:?}", stream.read(&mut [0; 1]).map_err(|error| error.kind()));
        });
        settle();
        let stream = TcpStream::connect("server:80").unwrap();
        thread::sleep(Duration::from_millis(100));
        let loss = control::lossy(&[HostId(0)], &[server], false, 1.0);
        drop(stream);
        thread::sleep(Duration::from_secs(1));
        control::heal(loss);
        thread::sleep(Duration::from_secs(60));
    });
    assert_eq!(run.output, "Err(ConnectionReset)\n", "{run:#?}");
}

#[test]
fn a_segment_acknowledges_what_a_lost_acknowledgement_did_not() {
    let run = world(1, || {
        let server = host("server", || {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:80").unwrap().accept().unwrap();
            while stream.read_exact(&mut [0; 1]).is_ok() {
                thread::sleep(Duration::from_millis(10));
                stream.write_all(b"answer").unwrap(); // Nagle's algorithm holds it back while another is unacknowledged
            }
        });
        settle();
        let mut stream = TcpStream::connect("server:80").unwrap();
        stream.write_all(b"1").unwrap();
        thread::sleep(Duration::from_millis(5));
        let loss = control::lossy(&[HostId(0)], &[server], false, 1.0);
        stream.read_exact(&mut [0; 6]).unwrap();
        thread::sleep(Duration::from_millis(1));
        control::heal(loss);
        let asked = Instant::now();
        stream.write_all(b"2").unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        println!("{}", asked.elapsed() < Duration::from_millis(50));
    });
    assert_eq!(run.output, "true\n", "{run:#?}");
}

#[test]
fn datagrams_arrive_are_refused_and_are_cut() {
    let run = world(1, || {
        host("server", || {
            let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
            let mut buffer = [0; 4];
            loop {
                let (count, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..count], from).unwrap();
            }
        });
        settle();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", "server:53").unwrap();
        let mut buffer = [0; 100];
        let (count, from) = socket.recv_from(&mut buffer).unwrap();
        println!("{} from {from}", String::from_utf8_lossy(&buffer[..count]));
        socket.connect("server:54").unwrap();
        socket.send(b"x").unwrap();
        println!("{:?}", socket.recv(&mut buffer).expect_err("port unreachable").kind());
        println!("{:?}", socket.send_to(&[0; 65_508], "server:53").map_err(|e| e.raw_os_error()));
        println!("{:?}", socket.send_to(b"x", "255.255.255.255:53").map_err(|e| e.kind()));
    });
    assert_eq!(run.output, "ques from 10.0.0.2:53\nConnectionRefused\nErr(Some(90))\nErr(PermissionDenied)\n");
}

#[test]
fn datagrams_keep_their_order_in_good_weather() {
    for seed in 0..10 {
        let run = world(seed, || {
            host("server", || {
                let socket = UdpSocket::bind("0.0.0.0:80").unwrap();
                let mut numbers = Vec::new();
                for _ in 0..200 {
                    let mut number = [0];
                    socket.recv(&mut number).unwrap();
                    numbers.push(number[0]);
                }
                println!("{}", numbers.is_sorted());
            });
            settle();
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for number in 0..200 {
                socket.send_to(&[number], "server:80").unwrap();
            }
            settle();
        });
        assert_eq!(run.output, "true\n", "seed {seed}: {run:#?}");
    }
}

#[test]
fn addresses_in_use_are_refused() {
    let run = world(1, || {
        let first = TcpListener::bind("0.0.0.0:80").unwrap();
        println!("{:?}", TcpListener::bind("127.0.0.1:80").expect_err("in use").kind());
        println!("{:?}", TcpListener::bind("10.9.9.9:80").expect_err("not ours").kind());
        drop(first);
        TcpListener::bind("127.0.0.1:80").unwrap();
        let any = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        println!("{} {}", any.ip(), (32768..61000).contains(&any.port()));
    });
    assert_eq!(run.output, "AddrInUse\nAddrNotAvailable\n127.0.0.1 true\n");
}

#[test]
fn a_full_accept_queue_holds_connections_back() {
    let run = world(1, || {
        host("server", || {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            // SAFETY: a listening socket of our own.
            unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 1) };
            thread::sleep(Duration::from_secs(10));
            for _ in 0..3 {
                listener.accept().unwrap();
            }
        });
        settle();
        let connect =
            |seconds| TcpStream::connect_timeout(&"10.0.0.2:80".parse().unwrap(), Duration::from_secs(seconds));
        let held: Vec<_> = (0..2).map(|_| connect(1).unwrap()).collect();
        settle();
        println!("{:?}", connect(2).expect_err("full").kind());
        let began = Instant::now();
        connect(60).unwrap();
        println!("{} {}", began.elapsed().as_secs() >= 7, held.len());
    });
    assert_eq!(run.output, "TimedOut\ntrue 2\n");
}

#[test]
fn equal_seeds_are_equal_runs() {
    let talk = |seed| {
        world(seed, || {
            host("server", echo(80));
            settle();
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    thread::spawn(move || {
                        let mut stream = TcpStream::connect("server:80").unwrap();
                        stream.write_all(&[n; 3000]).unwrap();
                        stream.read_exact(&mut [0; 3000]).unwrap();
                    })
                })
                .collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
        })
    };
    assert_eq!(talk(3).digest, talk(3).digest);
    assert_ne!(talk(3).digest, talk(4).digest);
    assert_eq!(ErrorKind::TimedOut, ErrorKind::TimedOut);
}
