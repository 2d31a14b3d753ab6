//! The README's table of real faults is the one that the code goes by.
//!
//! `UPDATE_README=1 cargo test -p windtunnel-tests --test real_faults` writes it.

use std::fs;
use windtunnel_inject::offer;
use windtunnel_tests::tree;
use xtask::marked;

#[test]
fn the_readme_says_what_is_done_for_each_kind_of_fault() {
    let path = tree().join("README.md");
    let document = fs::read_to_string(&path).expect("there is a README");
    let updated = marked::replaced(&document, "real faults", &offer::table()).expect("it has a place for the table");
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, updated).expect("the README can be written");
        return;
    }
    let command = "UPDATE_README=1 cargo test -p windtunnel-tests --test real_faults";
    assert!(updated == document, "the table of real faults is not true any more: run {command}");
}
