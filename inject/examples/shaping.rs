//! How exact the traffic shaper is on this machine, in namespaces of its own: `cargo run --release --example shaping`.

#[path = "../tests/shape_net/mod.rs"]
mod shape_net;

use rustix::thread::UnshareFlags;
use shape_net::{Net, is_plausible, quantile};
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::shape::{Shaper, Spread, Trouble};

fn main() -> windtunnel_inject::Result<()> {
    leave_for_new(UnshareFlags::NEWNET | UnshareFlags::NEWNS)?;
    let net = Net::new();
    let shaper = net.shaper(7);
    report_latency("none", &net, 1_000);
    for (name, latency_ms, jitter_ms) in [("0 ms", 0, 0), ("10 ms", 10, 0), ("50 ms", 50, 0), ("100±20 ms", 80, 40)] {
        let slow = Trouble::Slow {
            latency: Duration::from_millis(latency_ms),
            or: Vec::new(),
            jitter: Duration::from_millis(jitter_ms),
            spread: Spread::Uniform,
        };
        let mut slow = shaper.begin(&net.there(), slow)?;
        report_latency(name, &net, 1_000);
        slow.heal()?;
    }
    for probability in [0.01, 0.3] {
        let mut lossy = shaper.begin(&net.there(), Trouble::Lossy { probability, correlation: 0.0 })?;
        let arrived = net.send(net.b.addresses[0], &vec![vec![0; 100]; 10_000]).len();
        let (lost, bit) = (10_000 - arrived, lossy.bit()?);
        let plausible = is_plausible(bit as usize, 10_000, probability);
        println!("loss of {probability}: {lost} of 10000, {bit} by the shaper, within 99.9 %: {plausible}");
        lossy.heal()?;
    }
    for queue_bytes in [64 << 10, 1_500_000] {
        let narrow = Trouble::Narrow { bytes_per_second: 1 << 20, queue_bytes: Some(queue_bytes) };
        let mut narrow = shaper.begin(&net.there(), narrow)?;
        let took = net.stream(net.b.addresses[0], 5 << 20).as_secs_f64();
        println!("5 MiB of TCP at 1 MiB/s, {queue_bytes} bytes of queue: {took:.3} s, {:.4} MiB/s", 5.0 / took);
        narrow.heal()?;
    }
    report_throughput("past the queue", &net);
    let lossless = Trouble::Lossy { probability: 0.0, correlation: 0.0 };
    let mut nothing = shaper.begin(&net.there(), lossless)?;
    report_throughput("through the queue", &net);
    nothing.heal()?;
    report_control(&net, &shaper)?;
    println!("overruns: {}", shaper.overruns());
    Ok(())
}

fn report_latency(name: &str, net: &Net, count: usize) {
    let times = net.ping(net.b.addresses[0], count, Duration::from_millis(2));
    let lost = times.iter().filter(|time| time.is_none()).count();
    let [min, p50, p99, max] = [0.0, 0.5, 0.99, 1.0].map(|q| quantile(&times, q).as_secs_f64() * 1_000.0);
    println!("{name}: round trips min {min:.3}, p50 {p50:.3}, p99 {p99:.3}, max {max:.3} ms; {lost} lost");
}

fn report_throughput(name: &str, net: &Net) {
    let bytes = 200 << 20;
    let took = net.stream(net.b.addresses[0], bytes).as_secs_f64();
    let segments = bytes as f64 / 1_448.0;
    let (mib, packets) = (bytes as f64 / took / f64::from(1 << 20), segments / took);
    println!("{name}: 200 MiB of TCP at {mib:.0} MiB/s, {packets:.0} segments/s");
}

fn report_control(net: &Net, shaper: &Shaper) -> windtunnel_inject::Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..50 {
        let start = Instant::now();
        let mut partition = shaper.begin(&net.there(), Trouble::Partition)?;
        partition.read_back()?;
        times[0].push(Some(start.elapsed()));
        let start = Instant::now();
        partition.heal()?;
        times[1].push(Some(start.elapsed()));
    }
    for (name, times) in ["begun and read back", "healed and read back"].iter().zip(&times) {
        println!("{name} in p50 {:?}, max {:?}", quantile(times, 0.5), quantile(times, 1.0));
    }
    Ok(())
}
