//! What the compiler says about mistakes: each file of `tests/ui` beside the message it gets.
//!
//! `TRYBUILD=overwrite cargo test -p windtunnel --test ui` writes the messages anew; read them as a user would.

#[test]
fn mistakes_are_explained_at_the_offending_tokens() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
