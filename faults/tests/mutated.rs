//! Texts that are almost plans give an error or a valid plan, never a panic.

use std::time::Duration;
use windtunnel_faults::{self as faults, Kinds, Plan, Swarm, Topology};

/// Xorshift (Marsaglia 2003): enough chance for this, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// What grammar trips over: symbols, quotes, numbers at their bounds, several bytes, nesting.
const PIECES: [&str; 26] = [
    "{",
    "}",
    "|",
    "->",
    "<->",
    "\"",
    "\\",
    ";",
    "#",
    "\n",
    " ",
    "-",
    "+",
    "%",
    "µs",
    "ü",
    "\0",
    "at mark",
    "for",
    "99999999999999999999999s",
    "0",
    "101%",
    ".",
    "{{{{{{{{{{",
    "a minority of ",
    "\u{2028}",
];

fn mutated(text: &str, chance: &mut Chance) -> String {
    let mut letters = text.chars().collect::<Vec<_>>();
    for _ in 0..=chance.below(3) {
        let at = chance.below(letters.len() + 1);
        let end = (at + chance.below(6)).min(letters.len());
        match chance.below(4) {
            0 => drop(letters.drain(at..end)),
            1 => {
                let piece = PIECES[chance.below(PIECES.len())].chars();
                letters.splice(at..at, piece);
            }
            2 => {
                let copied = letters[at..end].to_vec();
                let to = chance.below(letters.len() + 1);
                letters.splice(to..to, copied);
            }
            _ => {
                let piece = PIECES[chance.below(PIECES.len())].chars();
                letters.splice(at..end, piece);
            }
        }
    }
    letters.into_iter().collect()
}

fn plans() -> Vec<Plan> {
    let topology = Topology::new().group("kv", 5).host("c1");
    let faults = faults::plan().kinds(Kinds::ALL).at_most(4).swarm(Swarm::Off).after_marks(["msg-10"]);
    (0..200).map(|seed| faults.draw(seed, &topology, Duration::from_secs(10))).collect()
}

/// Mutates what `write` makes of plans; whatever `read` still makes a plan of is written and read again.
fn never_panics(write: fn(&Plan) -> String, read: fn(&str) -> Option<Plan>) {
    let (mut chance, mut plans_read) = (Chance(0x5f1d_0a2c_77e0_91b3), 0);
    let texts = plans().iter().map(write).collect::<Vec<_>>();
    for round in 0..10_000 {
        let text = mutated(&texts[round % texts.len()], &mut chance);
        if let Some(plan) = read(&text) {
            plans_read += 1;
            // Validity is another question; it must only be answered.
            if plan.validate().is_ok() {
                assert_eq!(read(&write(&plan)).as_ref(), Some(&plan), "read from {text:?}");
            }
        }
    }
    // Neither everything nor nothing, or this would prove little.
    assert!((100..9_900).contains(&plans_read), "{plans_read} of 10,000 were plans");
}

#[test]
fn mutated_text_never_panics() {
    never_panics(Plan::to_string, |text| match text.parse::<Plan>() {
        Ok(plan) => Some(plan),
        Err(error) => {
            // The caret has to fit the line too.
            assert!(error.to_string().contains('^') && error.line() > 0 && error.column() > 0);
            None
        }
    });
}

#[test]
fn mutated_yaml_never_panics() {
    never_panics(Plan::to_yaml, |text| Plan::from_yaml(text).ok());
}

#[test]
fn mutated_json_never_panics() {
    never_panics(Plan::to_json, |text| Plan::from_json(text).ok());
}
