//! What selectors, links and partitions strike.

use windtunnel_faults::{Fault, Kind, Links, Partition, Plan, ResolveError, Selector, Struck, Topology};

fn topology() -> Topology {
    Topology::new().group("kv", 5).group("db", 2).host("c1")
}

fn hosts(text: &str) -> String {
    let topology = topology();
    let hosts = text.parse::<Selector>().expect("a selector").resolve(&topology).expect("hosts");
    hosts.into_iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn cut(text: &str) -> Vec<String> {
    let topology = topology();
    let links = text.parse::<Partition>().expect("a partition").resolve(&topology).expect("links");
    links.iter().map(ToString::to_string).collect()
}

#[test]
fn selectors_strike_hosts_in_the_topology_s_order() {
    assert_eq!(hosts("kv3"), "kv3");
    assert_eq!(hosts("{c1,kv3,kv3,kv0}"), "kv0 kv3 c1");
    assert_eq!(hosts("*"), "kv0 kv1 kv2 kv3 kv4 db0 db1 c1");
    assert_eq!(hosts("?b*"), "db0 db1");
    assert_eq!(hosts("*1"), "kv1 db1 c1");
    assert_eq!(hosts("role:db"), "db0 db1");
    assert_eq!(hosts("a minority of kv*"), "kv0 kv1");
    assert_eq!(hosts("a majority of role:kv"), "kv0 kv1 kv2");
    assert_eq!(hosts("a minority of role:db"), "db0");
    assert_eq!(hosts("a minority of c1"), "c1");
    assert_eq!(hosts("{a minority of kv*,{db1,c1}}"), "kv0 kv1 db1 c1");
}

#[test]
fn a_pattern_does_not_strike_what_is_a_part_of_the_test() {
    let topology = Topology::new().group("kv", 4).client("test").client("c1");
    let struck = |fault: &str| -> Result<String, String> {
        let plan: Plan = fault.parse().expect("a plan");
        plan.validate_for(&topology).map_err(|error| error.to_string())?;
        match plan.faults[0].resolve(&topology).expect("hosts") {
            Struck::Hosts(hosts) => Ok(hosts.into_iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" ")),
            Struck::Links(links) => Ok(links.len().to_string()),
        }
    };
    assert_eq!(struck("0s clock-skew * +1h for 1s").as_deref(), Ok("kv0 kv1 kv2 kv3"));
    assert_eq!(struck("0s pause a minority of * for 1s").as_deref(), Ok("kv0"));
    // Links of the test's own hosts may fail.
    assert_eq!(struck("0s loss * 30% for 1s").as_deref(), Ok("30"));
    for meant in ["test", "c*", "{kv0,test}"] {
        let refused = struck(&format!("0s clock-skew {meant} +1h for 1s")).expect_err("a part of the test");
        assert!(refused.contains("runs a part of the test, of which only the links can fail"), "{refused}");
    }
    let unknown = struck("0s pause kv9 for 1s").expect_err("there is none");
    assert!(unknown.contains("kv3") && unknown.contains("test"), "{unknown}");
}

#[test]
fn hosts_may_be_called_like_words_of_the_grammar() {
    let topology =
        ["a", "ring", "for", "restart", "role", "by"].iter().fold(Topology::new(), |all, name| all.host(name));
    let lines = "
        0s pause a
        0s pause for for 1s
        0s crash restart restart after 1s
        0s crash by by kill
        0s partition ring | role
        0s partition ring->a
        0s partition ring {a,ring,for,by}
        0s loss a<->ring 5%
    ";
    let plan = lines.parse::<Plan>().expect("readable");
    plan.validate_for(&topology).expect("valid");
    assert_eq!(plan.to_string().parse::<Plan>().as_ref(), Ok(&plan));
    assert_eq!(plan.faults.len(), 8);
}

#[test]
fn partitions_cut_what_they_say_and_nothing_else() {
    assert_eq!(cut("kv0 | {kv1,c1}"), ["c1->kv0", "kv0->c1", "kv0->kv1", "kv1->kv0"]);
    assert_eq!(cut("{kv0} -> {kv1,c1}"), ["kv0->c1", "kv0->kv1"]);
    assert_eq!(cut("kv0 | kv1 | kv2").len(), 6);
    assert_eq!(cut("{kv0} | {kv2} bridged by kv1"), ["kv0->kv2", "kv2->kv0"]);
}

#[test]
fn in_a_ring_of_five_everybody_sees_another_majority() {
    let cut = cut("ring role:kv");
    for host in 0..5 {
        let reaches = |other: &usize| *other != host && !cut.contains(&format!("kv{host}->kv{other}"));
        let neighbours = (0..5).filter(reaches).collect::<Vec<_>>();
        let mut expected = vec![(host + 1) % 5, (host + 4) % 5];
        expected.sort_unstable();
        assert_eq!(neighbours, expected);
    }
}

#[test]
fn links_never_lead_from_a_host_to_itself() {
    let topology = topology();
    let links = |text: &str| text.parse::<Links>().expect("links").resolve(&topology).map(|links| links.len());
    assert_eq!(links("kv*->kv*"), Ok(20));
    assert_eq!(links("*"), Ok(56));
    assert_eq!(links("kv0"), Ok(14));
    assert_eq!(links("kv0<->kv0"), Err(ResolveError::NoLink { links: "kv0<->kv0".to_owned() }));
}

#[test]
fn every_kind_is_read_by_its_name_and_strikes_something() {
    let lines = [
        "1s partition kv0 | kv1",
        "1s latency kv0->kv1 5ms",
        "1s loss kv0 5%",
        "1s duplication kv0<->kv1 5%",
        "1s reordering kv0 5% by 1ms",
        "1s corruption kv0 5%",
        "1s bandwidth kv0 64KiB/s queue 4KiB",
        "1s dns-hijack kv0 \"*.internal\" answers 10.0.0.9",
        "1s clock-skew kv0 -1h",
        "1s clock-drift kv0 -200ppm then step",
        "1s disk-full kv0 free 4KiB",
        "1s io-throttle kv0 1MiB/s delay 5ms",
        "1s inode-exhaustion kv0 free 3",
        "1s disk-errors kv0 reads 10% syncs 50%",
        "1s bit-rot kv0 bits 3",
        "1s cpu-burn kv0 80%",
        "1s memory-pressure kv0 oom-kill",
        "1s task-leak kv0 10 tasks",
        "1s crash kv0 by kill restart after 1h 30m",
        "1s pause kv0 for 1s severity low",
    ];
    let topology = topology();
    let read = lines.map(|line| line.parse::<Fault>().unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(read.each_ref().map(Fault::kind), Kind::ALL);
    for fault in &read {
        let struck = fault.resolve(&topology).expect("something");
        match struck {
            Struck::Hosts(hosts) => assert!(!hosts.is_empty()),
            Struck::Links(links) => assert!(!links.is_empty()),
        }
        assert!(Plan::new([fault.clone()]).validate_for(&topology).is_ok(), "{fault}");
    }
}

/// YAML reads `null`, `on` and `1e3` as something else than text unless they are quoted.
#[test]
fn hosts_and_marks_may_be_called_like_values_of_yaml() {
    let names = ["null", "true", "on", "no", "y", "1", "1e3", "0x1F", "0o7", "1_000", "12-30", "2027-01-01", "1.5"];
    let marks =
        ["null", "a: b", "- a", "# no comment", "!tag", "&a", "*a", "'", "{}", "[1]", "grüße", " ", "%", "@", "`"];
    let topology = names.iter().fold(Topology::new(), |all, name| all.host(name));
    let hosts = names.iter().map(|name| format!("0s pause {name}"));
    let starts = marks.iter().map(|mark| format!("at mark \"{mark}\" pause 1"));
    let plan = hosts.chain(starts).collect::<Vec<_>>().join("\n").parse::<Plan>().expect("readable");
    plan.validate_for(&topology).expect("valid");
    assert_eq!(Plan::from_yaml(&plan.to_yaml()).expect("what was written"), plan);
    assert_eq!(Plan::from_json(&plan.to_json()).expect("what was written"), plan);
}

#[test]
fn of_many_hosts_only_some_are_listed() {
    let topology = Topology::new().group("kv", 100);
    let error = Selector::name("db").resolve(&topology).expect_err("no host");
    let listed = "there are `kv0`, `kv1`, `kv2`, `kv3`, `kv4`, `kv5`, `kv6`, `kv7` and 92 more";
    assert_eq!(error.to_string(), format!("there is no host `db`; {listed}"));
}
