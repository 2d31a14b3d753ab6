//! What a crash can leave of one file.

use super::{Regular, WRITEBACK_NS};
use crate::kernel::disk::choices::Enumerated;
use crate::kernel::disk::content::Content;
use std::collections::BTreeSet;

/// Every content that a crash can leave of what `make` makes.
fn states(make: impl Fn() -> Regular) -> BTreeSet<Vec<u8>> {
    let (mut choices, mut found) = (Enumerated::default(), BTreeSet::new());
    loop {
        let mut file = make();
        file.crash(1_000, &mut choices);
        let mut text = vec![0; file.content().bytes() as usize];
        file.content().read(0, &mut text);
        found.insert(text);
        if !choices.advance() {
            return found;
        }
    }
}

fn on_disk(text: &[u8]) -> Regular {
    let mut content = Content::default();
    content.write(0, text);
    Regular::durable(content)
}

fn sync(file: &mut Regular) {
    file.sync(file.mark());
}

fn set(states: &[&[u8]]) -> BTreeSet<Vec<u8>> {
    states.iter().map(|state| state.to_vec()).collect()
}

#[test]
fn what_was_synced_stays() {
    let make = || {
        let mut file = on_disk(b"old");
        file.write(0, 0, b"new and longer");
        sync(&mut file);
        file
    };
    assert_eq!(states(make), set(&[b"new and longer"]));
}

#[test]
fn a_sync_keeps_what_was_written_before_it_began() {
    let make = || {
        let mut file = on_disk(b"..");
        file.write(0, 0, b"A");
        let mark = file.mark();
        file.write(0, 1, b"B");
        file.write(0, 2, b"C");
        file.sync(mark);
        file
    };
    assert_eq!(states(make), set(&[b"A.", b"AB", b"A.\0", b"AB\0", b"ABC"]));
}

#[test]
fn a_failed_sync_forgets_no_page_that_was_written_again_meanwhile() {
    let make = || {
        let mut file = on_disk(&[b'.'; 8192]);
        file.write(0, 4094, b"lost");
        let mark = file.mark();
        file.write(0, 4098, b"B");
        file.fail_sync(mark);
        sync(&mut file);
        file
    };
    let found = states(make);
    let ends: Vec<&[u8]> = found.iter().map(|state| &state[4094..4100]).collect();
    assert_eq!(ends, [b"..stB."]);
}

#[test]
fn an_append_is_there_or_not_or_zeros() {
    let make = || {
        let mut file = on_disk(b"ab");
        file.write(0, 2, b"cd");
        file
    };
    assert_eq!(states(make), set(&[b"ab", b"abcd", b"ab\0\0"]));
}

#[test]
fn a_sector_shows_the_versions_it_had_in_order() {
    let make = || {
        let mut file = on_disk(b"....");
        file.write(0, 0, b"1");
        file.write(0, 1, b"2");
        file
    };
    assert_eq!(states(make), set(&[b"....", b"1...", b"12.."]));
}

#[test]
fn sectors_are_torn_off_each_other() {
    let make = || {
        let mut file = on_disk(&[b'.'; 1024]);
        file.write(0, 510, b"xxxx");
        file
    };
    let found = states(make);
    let ends: BTreeSet<&[u8]> = found.iter().map(|state| &state[510..514]).collect();
    assert_eq!(ends, BTreeSet::from([&b"...."[..], b"xx..", b"..xx", b"xxxx"]));
}

#[test]
fn what_follows_a_truncation_needs_it() {
    let make = || {
        let mut file = on_disk(b"old!");
        file.resize(0, 0);
        file.write(0, 0, b"new");
        file
    };
    assert_eq!(states(make), set(&[b"old!", b"", b"\0\0\0", b"new"]));
}

#[test]
fn what_a_truncation_left_is_overwritten_without_it() {
    let make = || {
        let mut file = on_disk(&[b'A'; 8192]);
        file.resize(0, 4096);
        file.write(0, 0, b"B");
        file
    };
    let found = states(make);
    let seen: BTreeSet<(usize, u8)> = found.iter().map(|state| (state.len(), state[0])).collect();
    assert_eq!(seen, BTreeSet::from([(8192, b'A'), (8192, b'B'), (4096, b'A'), (4096, b'B')]));
    assert!(found.iter().all(|state| state[1..].iter().all(|byte| *byte == b'A')), "the old tail is there, or not");
}

#[test]
fn a_write_across_the_end_of_a_truncation_needs_it_for_what_lies_behind() {
    let make = || {
        let mut file = on_disk(&[b'A'; 8192]);
        file.resize(0, 4096);
        file.write(0, 4095, b"BB");
        file.clear(0, 4095, 2);
        file
    };
    let found = states(make);
    let ends: BTreeSet<&[u8]> = found.iter().map(|state| &state[4095..]).filter(|end| end.len() == 4097).collect();
    let tails: BTreeSet<&[u8]> = ends.iter().map(|end| &end[1..]).collect();
    assert_eq!(tails, BTreeSet::from([&[b'A'; 4096][..]]));
    assert_eq!(ends.iter().map(|end| end[0]).collect::<BTreeSet<_>>(), BTreeSet::from([b'A', b'B', 0]));
}

#[test]
fn what_was_cut_off_never_comes_back() {
    let make = || {
        let mut file = on_disk(b"secret");
        file.resize(0, 2);
        file.resize(0, 6);
        file
    };
    assert_eq!(states(make), set(&[b"secret", b"se", b"se\0\0\0\0"]));
}

#[test]
fn what_is_old_has_been_written_back() {
    let mut file = on_disk(b"");
    file.write(0, 0, b"old");
    file.write(WRITEBACK_NS, 3, b"new");
    let mut none = Enumerated::default();
    file.crash(WRITEBACK_NS, &mut none);
    let mut text = [0; 8];
    assert_eq!(file.content().read(0, &mut text), 3);
    assert_eq!(&text[..3], b"old");
}

#[test]
fn a_failed_sync_loses_pages_that_the_next_one_does_not_write() {
    let make = || {
        let mut file = on_disk(b"....");
        file.write(0, 0, b"lost");
        file.fail_sync(file.mark());
        sync(&mut file);
        file
    };
    assert_eq!(states(make), set(&[b"...."]));
    let again = || {
        let mut file = make();
        file.write(0, 0, b"L");
        sync(&mut file);
        file
    };
    assert_eq!(states(again), set(&[b"Lost"]), "the page is written whole");
}

#[test]
fn a_failed_sync_undoes_no_truncation() {
    let make = || {
        let mut file = on_disk(&[b'x'; 9000]);
        file.resize(0, 0);
        file.write(0, 0, &[b'y'; 20_000]);
        file.fail_sync(file.mark());
        file
    };
    let sizes_and_zeros: BTreeSet<(usize, bool)> =
        states(make).iter().map(|state| (state.len(), state.iter().all(|byte| *byte == 0))).collect();
    assert_eq!(sizes_and_zeros, BTreeSet::from([(9000, false), (0, true), (20_000, true)]));
    let synced = || {
        let mut file = make();
        sync(&mut file);
        file
    };
    assert_eq!(states(synced), set(&[&[0; 20_000]]));
}

#[test]
fn a_failed_sync_undoes_no_hole_and_keeps_no_write_beside_it() {
    let make = || {
        let mut file = on_disk(b"......");
        file.write(0, 0, b"lost");
        file.clear(0, 4, 1);
        file.fail_sync(file.mark());
        sync(&mut file);
        file
    };
    assert_eq!(states(make), set(&[b"....\0."]));
}

#[test]
fn a_sync_after_a_truncation_does_not_bring_back_what_was_cut_off() {
    let mut file = on_disk(&[b'x'; 9000]);
    file.resize(0, 10);
    file.resize(0, 9000);
    sync(&mut file);
    let mut text = vec![1; 9000];
    file.crash(1, &mut Enumerated::default());
    file.content().read(0, &mut text);
    assert_eq!(text, [&[b'x'; 10][..], &[0; 8990]].concat());
}
