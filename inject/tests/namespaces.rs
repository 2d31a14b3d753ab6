//! Namespaces of one's own.

mod common;

#[test]
fn a_new_network_namespace_has_nothing_but_a_loopback() {
    common::in_namespaces(|| {
        let devices = std::fs::read_to_string("/proc/self/net/dev").expect("the namespace's devices");
        let names: Vec<_> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
        assert_eq!(names, ["lo"]);
    });
}
