//! What a machine is said to offer.

use std::sync::LazyLock;
use std::time::{Duration, Instant};
use windtunnel_inject::namespace::is_privileged;
use windtunnel_inject::offer::{By, Foundation, Means, Offer, Reach, Tried, Verdict};
use windtunnel_inject::snapshot::{Part, Snapshot};

/// What is there of this test's own, and what other tests do not change.
fn look() -> Snapshot {
    let parts = [Part::Nftables, Part::Network, Part::Mounts, Part::Cgroups];
    Snapshot::of(&parts).only(|part, line| part != Part::Cgroups || line.contains("doctor"))
}

/// Asks once for all tests: what it took, the answer, and what is there afterwards that was not before, or the reverse.
static ASKED: LazyLock<(Duration, Offer, String)> = LazyLock::new(|| {
    let before = look();
    let begin = Instant::now();
    let offer = Offer::of_this_machine();
    println!("{:?}\n{offer:#?}", begin.elapsed());
    (begin.elapsed(), offer, look().diff(&before))
});

fn works(offer: &Offer, foundation: Foundation) -> bool {
    let mut tried = offer.foundations.iter();
    tried.any(|Tried { what, verdict }| *what == foundation && verdict.works())
}

#[test]
fn a_machine_is_asked_in_seconds_and_left_as_it_was() {
    let (took, _, left) = &*ASKED;
    assert!(*took < Duration::from_secs(120), "{took:?}");
    assert_eq!(left, "");
}

/// Where a real world is possible at all, the table says what trying shows.
#[test]
fn the_table_is_true_here() {
    let (_, offer, _) = &*ASKED;
    if let Some(lacking) = offer.lacking().next() {
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {lacking:?}");
        println!("skipped: there is no real world here: {lacking:?}");
        return;
    }
    let (has_ext4, has_groups) = (works(offer, Foundation::Ext4), works(offer, Foundation::Groups));
    for Tried { what, verdict } in &offer.faults {
        let means = Means::of(what.kind);
        let reach = if is_privileged() { means.root } else { means.user };
        match what.by {
            Some(by) => assert!(reach.allows(by), "{what:?}, {reach:?}: {verdict:?}"),
            None => assert!(!works(offer, Foundation::PacketQueue), "{what:?}: {verdict:?}"),
        }
        let is_of_root = means.user != Reach::Mechanism;
        if is_privileged() && has_ext4 && has_groups && is_of_root {
            assert_eq!(what.by, Some(By::Mechanism), "{what:?}: {verdict:?}");
        }
    }
}

#[test]
fn whoever_has_no_real_world_is_told_a_remedy() {
    for Tried { what, verdict } in &ASKED.1.foundations {
        if let Verdict::Lacking { missing, remedy } = verdict {
            assert!(!missing.is_empty() && !remedy.is_empty(), "{what:?}");
        }
    }
}
