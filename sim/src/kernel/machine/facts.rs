//! `/proc` and `/sys` of a host: processors, memory, uptime. Sizes agree with what `sysconf` says (`abi/env.rs`).

use super::{Who, etc};
use crate::kernel::Kernel;
use std::fmt::Write;

/// Ticks of `/proc` in a second (`USER_HZ`, asm-generic/param.h), and their length.
pub(super) const TICKS_PER_SECOND: u64 = 100;
pub(super) const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// The release that uname(2) gives, too.
pub(super) const RELEASE_LINE: &str = "6.1.0-windtunnel\n";
pub(super) const VERSION: &str = "Linux version 6.1.0-windtunnel (windtunnel@localhost) #1 SMP PREEMPT_DYNAMIC\n";

/// `/proc/meminfo` (proc(5)): what a machine of this size shows that is half idle, less what faults have taken.
pub(super) fn memory(k: &mut Kernel, who: Who) -> Vec<u8> {
    let lacks = &k.host_of(who.process).lacks;
    let (total, left) = (lacks.memory_bytes() / 1024, lacks.memory_left() / 1024);
    let part = |of: u64, share: u64| of / 1024 * share; // in 1024ths
    let rows = [
        ("MemTotal", total),
        ("MemFree", part(left, 512)),
        ("MemAvailable", part(left, 768)),
        ("Buffers", part(total, 32)),
        ("Cached", part(left, 256)),
        ("SwapCached", 0),
        ("Active", part(total, 128)),
        ("Inactive", part(total, 128)),
        ("Active(anon)", part(total, 64)),
        ("Inactive(anon)", 0),
        ("Active(file)", part(total, 64)),
        ("Inactive(file)", part(total, 128)),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", part(total, 64)),
        ("Mapped", part(total, 32)),
        ("Shmem", 0),
        ("KReclaimable", part(total, 16)),
        ("Slab", part(total, 32)),
        ("SReclaimable", part(total, 16)),
        ("SUnreclaim", part(total, 16)),
        ("KernelStack", part(total, 1)),
        ("PageTables", part(total, 1)),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", part(total, 512)),
        ("Committed_AS", part(total, 128)),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", part(total, 4)),
        ("VmallocChunk", 0),
        ("Percpu", 4096),
        ("AnonHugePages", 0),
    ];
    let mut text = String::new();
    for (name, kib) in rows {
        let _ = writeln!(text, "{:<15} {kib:>8} kB", format!("{name}:"));
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    text.into_bytes()
}

/// A limit of a control group: `max` when there is none.
fn limit(value: Option<u64>) -> Vec<u8> {
    value.map_or_else(|| b"max\n".to_vec(), |value| format!("{value}\n").into_bytes())
}

/// `memory.max` (Documentation/admin-guide/cgroup-v2.rst).
pub(super) fn memory_limit(k: &mut Kernel, who: Who) -> Vec<u8> {
    limit(k.host_of(who.process).lacks.limits.memory_bytes)
}

/// `pids.max`.
pub(super) fn thread_limit(k: &mut Kernel, who: Who) -> Vec<u8> {
    limit(k.host_of(who.process).lacks.limits.threads.map(u64::from))
}

/// Controllers of version 1: none is mounted.
pub(super) const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
    cpuset\t0\t1\t1\ncpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n";

/// The host's time since its start, in nanoseconds.
pub(super) fn uptime_ns(k: &Kernel, who: Who) -> u64 {
    let host = k.host_of(who.process);
    u64::try_from(k.now as i64 + host.beat.adds(k.now)).unwrap_or(0)
}

/// A moment of the world as ticks since the host's start.
pub(super) fn ticks_at(k: &Kernel, who: Who, now_ns: u64) -> u64 {
    let since = u64::try_from(now_ns as i64 + k.host_of(who.process).beat.adds(now_ns)).unwrap_or(0);
    since / TICK_NS
}

/// `/proc/uptime`: seconds up, and seconds idle of all processors together.
pub(super) fn uptime(k: &mut Kernel, who: Who) -> Vec<u8> {
    let hundredths = uptime_ns(k, who) / 10_000_000;
    let idle = hundredths * u64::from(k.cpus);
    format!("{}.{:02} {}.{:02}\n", hundredths / 100, hundredths % 100, idle / 100, idle % 100).into_bytes()
}

/// `/proc/loadavg`.
pub(super) fn load(k: &mut Kernel, who: Who) -> Vec<u8> {
    let process = &k.processes[who.process];
    format!("0.00 0.00 0.00 1/{} {}\n", process.threads.len(), process.next_tid - 1).into_bytes()
}

/// `/proc/cpuinfo`, without what only one machine's processor has.
pub(super) fn processors(k: &mut Kernel, _: Who) -> Vec<u8> {
    let mut text = String::new();
    for cpu in 0..k.cpus {
        let _ = writeln!(
            text,
            "processor\t: {cpu}\nvendor_id\t: windtunnel\ncpu family\t: 6\nmodel\t\t: 1\n\
             model name\t: windtunnel simulated processor\nstepping\t: 1\ncpu MHz\t\t: 2000.000\n\
             cache size\t: 32768 KB\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\n\
             cpu cores\t: {cpus}\napicid\t\t: {cpu}\nfpu\t\t: yes\n\
             flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm constant_tsc\n\
             bogomips\t: 4000.00\naddress sizes\t: 48 bits physical, 48 bits virtual\n",
            cpus = k.cpus,
        );
    }
    text.into_bytes()
}

/// `/proc/stat`: processor time, all of it idle, and when the host was booted.
pub(super) fn stat(k: &mut Kernel, who: Who) -> Vec<u8> {
    let idle = uptime_ns(k, who) / TICK_NS;
    let host = k.host_of(who.process);
    let booted = (host.wall.adds(k.now) - host.beat.adds(k.now)).div_euclid(1_000_000_000);
    let mut text = format!("cpu  0 0 0 {} 0 0 0 0 0 0\n", idle * u64::from(k.cpus));
    for cpu in 0..k.cpus {
        let _ = writeln!(text, "cpu{cpu} 0 0 0 {idle} 0 0 0 0 0 0");
    }
    let created = k.processes[who.process].next_tid;
    let _ = write!(text, "intr 0\nctxt 0\nbtime {booted}\nprocesses {created}\nprocs_running 1\nprocs_blocked 0\n");
    text.into_bytes()
}

/// `/sys/devices/system/cpu/online`: `0-3`.
pub(super) fn processor_list(k: &mut Kernel, _: Who) -> Vec<u8> {
    match k.cpus {
        0 | 1 => b"0\n".to_vec(),
        cpus => format!("0-{}\n", cpus - 1).into_bytes(),
    }
}

/// The text form of a random UUID (RFC 9562 §5.4).
fn uuid(bits: u128) -> Vec<u8> {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}\n", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into_bytes()
}

/// random(4): one for each boot. Hosts are not booted again, their programs are only started again.
pub(super) fn boot_id(k: &mut Kernel, who: Who) -> Vec<u8> {
    uuid(etc::identity(k, who, k.seed))
}

/// random(4): another one each time, from the host's own entropy.
pub(super) fn random_uuid(k: &mut Kernel, who: Who) -> Vec<u8> {
    let host = k.processes[who.process].host;
    let mut bytes = [0; 16];
    k.hosts[host].entropy.fill(&mut bytes);
    uuid(u128::from_be_bytes(bytes))
}
