//! What a machine is said to offer.

use std::time::{Duration, Instant};
use windtunnel_inject::namespace::is_privileged;
use windtunnel_inject::offer::{By, Foundation, Means, Offer, Reach, Tried, Verdict};
use windtunnel_inject::snapshot::{Part, Snapshot};

/// What is there of this test's own, and what other tests do not change.
fn look() -> Snapshot {
    let parts = [Part::Nftables, Part::Network, Part::Mounts, Part::Cgroups];
    Snapshot::of(&parts).only(|part, line| part != Part::Cgroups || line.contains("doctor"))
}

fn works(offer: &Offer, foundation: Foundation) -> bool {
    let mut tried = offer.foundations.iter();
    tried.any(|Tried { what, verdict }| *what == foundation && verdict.works())
}

/// Whether groups can have every limit; without groups at all, faults are done otherwise.
fn has_all_controllers(offer: &Offer) -> bool {
    let mut tried = offer.foundations.iter();
    tried.any(|Tried { what, verdict }| match verdict {
        Verdict::Works { how } => *what == Foundation::Groups && !how.contains("without"),
        Verdict::Lacking { .. } => false,
    })
}

/// Where a real world is possible at all, the table says what trying shows. One test, for asking takes its time in a
/// kernel in a box.
#[test]
fn a_machine_is_asked_and_left_as_it_was_and_the_table_is_true() {
    let before = look();
    let begin = Instant::now();
    let offer = Offer::of_this_machine();
    println!("{:?}\n{offer:#?}", begin.elapsed());
    assert_eq!(look().diff(&before), "");
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
    for Tried { what, verdict } in &offer.foundations {
        if let Verdict::Lacking { missing, remedy } = verdict {
            assert!(!missing.is_empty() && !remedy.is_empty(), "{what:?}");
        }
    }
    if let Some(lacking) = offer.lacking().next() {
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {lacking:?}");
        println!("skipped: there is no real world here: {lacking:?}");
        return;
    }
    let (has_ext4, has_groups) = (works(&offer, Foundation::Ext4), has_all_controllers(&offer));
    let has_some_controllers = works(&offer, Foundation::Groups) && !has_groups;
    for Tried { what, verdict } in &offer.faults {
        let means = Means::of(what.kind);
        let reach = if is_privileged() { means.root } else { means.user };
        match what.by {
            Some(by) => assert!(reach.allows(by), "{what:?}, {reach:?}: {verdict:?}"),
            None => assert!(!works(&offer, Foundation::PacketQueue) || has_some_controllers, "{what:?}: {verdict:?}"),
        }
        let is_of_root = means.user != Reach::Mechanism;
        if is_privileged() && has_ext4 && has_groups && is_of_root {
            assert_eq!(what.by, Some(By::Mechanism), "{what:?}: {verdict:?}");
        }
    }
}
