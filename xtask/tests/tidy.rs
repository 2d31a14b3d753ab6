//! The tree keeps its own rules.

/// What breaks a rule is listed with its place and what to do; `cargo xtask tidy` prints the same.
#[test]
fn the_tree_is_tidy() {
    let problems = xtask::tidy::problems(&xtask::root()).expect("the tree can be read");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
