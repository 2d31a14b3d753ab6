//! OS truth: what the simulated kernel answers is what Linux answers.
//!
//! A *script* is plain code that makes libc calls and writes down what came of each: the result, the errno, the values
//! that came out. Each script runs on the real kernel and in one or more worlds, and the transcripts are compared line
//! by line. What differs is a bug, or stands in [`differences`] with its reason; an entry there that no longer
//! occurs fails as well, so that the list stays true.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`transcript`] | writing down calls, with names for values that may legitimately differ |
//! | [`sides`] | running a script on the real kernel, alone in namespaces of its own, and in a world |
//! | [`compare`] | the comparison, and [`differences`], the list of what remains |
//! | [`calls`] | libc's calls, each writing its own line |
//! | [`matrix`] | every call on every kind of descriptor |
//! | [`directed`] | scripts with a story: epoll's modes, half-close, signals, locks… |
//! | [`random`] | random sequences of calls, shrunk when they differ |
//!
//! `TRUTH_PRINT=1` prints transcripts, `TRUTH_SEQUENCES=n` sets how many random sequences each generator runs,
//! and `TRUTH_SURVEY=1` lists the first line of each that differs rather than shrink the first of them.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod compare;
mod differences;
mod directed;
mod matrix;
mod random;
mod sides;
mod transcript;
