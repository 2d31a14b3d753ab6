//! Names that resolve to something else, late, or not at all, for a while.

mod common;
use common::{Run, world};
use std::net::{ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind, NameAnswer};
use windtunnel_sim::world::HostId;

const TEST: HostId = HostId(0);

fn assert_finished(run: &Run, output: &str) {
    assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", output), "{run:#?}");
}

/// `kv1` is something else for the test, for so many seconds.
fn hijack(answer: NameAnswer, seconds: u64) {
    let kind = FaultKind::Hijack { host: TEST, name: "kv1".to_owned(), answer };
    control::begin_weather(&[Fault { begins: Begins::At(Duration::ZERO), lasts: Duration::from_secs(seconds), kind }]);
    std::thread::sleep(Duration::from_millis(1));
}

/// What std resolves `kv1` to, by getaddrinfo(3), and how many seconds it takes.
fn looked_up() -> String {
    let began = Instant::now();
    let found = match ("kv1", 7).to_socket_addrs() {
        Ok(addresses) => addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    };
    format!("{found} in {} s", began.elapsed().as_secs())
}

/// What the name server says to a question for `kv1`'s IPv4 address: the code, and the address if there is one.
fn asked() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03kv1\x00\x00\x01\x00\x01";
    socket.send_to(question, "10.0.255.53:53").unwrap();
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        Ok(count) if answer[7] == 1 => format!("code {} address {:?}", answer[3] & 15, &answer[count - 4..count]),
        Ok(_) => format!("code {}", answer[3] & 15),
        Err(_) => "silence".to_owned(),
    }
}

#[test]
fn resolvers_of_both_kinds_are_misled_alike_until_it_is_over() {
    let run = world(1, || {
        control::add_host("kv1");
        let other = control::add_host("kv2");
        let answers = [
            NameAnswer::Address("10.9.9.9".parse().unwrap()),
            NameAnswer::Host(other),
            NameAnswer::NoSuchName,
            NameAnswer::Failure,
            NameAnswer::Nothing,
        ];
        for answer in answers {
            hijack(answer, 60);
            println!("{}; {}", looked_up(), asked());
            println!("bit {}", control::end_weather().faults[0].bit);
        }
        println!("{}; {}", looked_up(), asked());
    });
    let unknown = "failed to lookup address information: Name or service not known";
    let later = "failed to lookup address information: Temporary failure in name resolution";
    assert_finished(
        &run,
        &format!(
            "10.9.9.9 in 0 s; code 0 address [10, 9, 9, 9]\nbit 2\n\
             10.0.0.3 fd00::3 in 0 s; code 0 address [10, 0, 0, 3]\nbit 2\n\
             {unknown} in 0 s; code 3\nbit 2\n\
             {later} in 0 s; code 2\nbit 2\n\
             {later} in 10 s; silence\nbit 4\n\
             10.0.0.2 fd00::2 in 0 s; code 0 address [10, 0, 0, 2]\n"
        ),
    );
}

#[test]
fn a_slow_server_tells_the_truth_late_unless_nobody_waits_so_long() {
    let run = world(1, || {
        control::add_host("kv1");
        for ms in [500, 7_000, 11_000] {
            hijack(NameAnswer::Late(Duration::from_millis(ms)), 60);
            println!("{}; {}", looked_up(), asked());
            control::end_weather();
        }
    });
    let later = "failed to lookup address information: Temporary failure in name resolution";
    assert_finished(
        &run,
        &format!(
            "10.0.0.2 fd00::2 in 0 s; code 0 address [10, 0, 0, 2]\n\
             10.0.0.2 fd00::2 in 7 s; silence\n\
             {later} in 10 s; silence\n"
        ),
    );
}

#[test]
fn who_waits_for_a_silent_server_hears_the_truth_when_it_speaks_again() {
    let run = world(1, || {
        control::add_host("kv1");
        hijack(NameAnswer::Nothing, 3);
        println!("{}", looked_up());
    });
    assert_finished(&run, "10.0.0.2 fd00::2 in 5 s\n");
}

#[test]
fn an_answer_that_is_under_way_comes_although_the_server_falls_silent() {
    let run = world(1, || {
        control::add_host("kv1");
        let late = Fault {
            begins: Begins::At(Duration::ZERO),
            lasts: Duration::from_secs(60),
            kind: FaultKind::Hijack {
                host: TEST,
                name: "kv1".to_owned(),
                answer: NameAnswer::Late(Duration::from_secs(2)),
            },
        };
        let silent = Fault {
            begins: Begins::At(Duration::from_secs(1)),
            kind: FaultKind::Hijack { host: TEST, name: "kv1".to_owned(), answer: NameAnswer::Nothing },
            ..late.clone()
        };
        control::begin_weather(&[late, silent]);
        std::thread::sleep(Duration::from_millis(1));
        println!("{}", looked_up());
    });
    assert_finished(&run, "10.0.0.2 fd00::2 in 2 s\n");
}
