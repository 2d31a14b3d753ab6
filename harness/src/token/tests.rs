//! Every token comes back, and whatever is no token is told apart.

use super::*;
use std::time::Duration;
use windtunnel_faults::{self as faults, Kinds, Topology};

fn token(plan: &str) -> Token {
    Token {
        test: test_identity(Some("kv"), "kv::linearizable"),
        seed: 0x5f1d_0a2c_77e0_91b3,
        calm: false,
        build: 0x188a_ba3d_f4e1_b58e,
        plan: plan.parse().expect("a literal of these tests"),
        arguments: Paths::default(),
    }
}

const TWO_FAULTS: &str = "1.204s partition {kv0} | {kv1,kv2} for 4s; 3.877s crash kv1 restart after 2s";

/// A body with the checksum it has to have.
fn sealed(body: &[u8]) -> String {
    let mut bytes = body.to_vec();
    bytes.extend(checksum(body));
    format!("{PREFIX}{}", base32::encode(&bytes))
}

#[test]
fn a_token_is_one_word_and_comes_back() {
    let arguments: Paths = "3s1c,,2s".parse().expect("as above");
    let with_arguments = Token { arguments: arguments.clone(), ..token(TWO_FAULTS) };
    let arguments_only = Token { arguments, calm: true, ..token("") };
    let all = [token(""), token(TWO_FAULTS), Token { calm: true, seed: 0, ..token("") }];
    for token in all.into_iter().chain([with_arguments, arguments_only]) {
        let text = token.to_string();
        assert!(text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{text}");
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(token));
    }
}

/// Printed tokens have to stay readable for as long as there is a version 1.
#[test]
fn tokens_of_version_1_are_read() {
    let printed = "c1_02p99xbx5rng1pjz3m52rxz0j6shh2nt7qte3dce64q34c1mjf4k1n9htcs8ed406cq3gdsqrf4k329jefyr1w7v";
    assert_eq!(token(TWO_FAULTS).to_string(), printed);
    assert_eq!(printed.parse(), Ok(token(TWO_FAULTS)));
}

#[test]
fn drawn_plans_come_back_and_two_faults_fit_a_line() {
    let topology = Topology::new().group("kv", 3).host("c1");
    let mut lengths = Vec::new();
    for seed in 0..400 {
        let vocabulary = faults::plan().kinds(Kinds::ALL).at_most(6);
        let marks: &[&str] = if seed % 2 == 0 { &["msg-10", "größe \"1\""] } else { &[] };
        let plan = vocabulary.after_marks(marks.iter().copied()).draw(seed, &topology, Duration::from_millis(4321));
        let token = Token { plan, ..token("") };
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        if token.plan.faults.len() == 2 && marks.is_empty() {
            lengths.push(text.len());
        }
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).expect("some plans have two faults");
    // As drawn; a shrunk plan has rounder numbers.
    assert!(*median <= 115, "{lengths:?}");
}

#[test]
fn a_token_that_was_changed_anywhere_is_damaged() {
    let text = token(TWO_FAULTS).to_string();
    for length in PREFIX.len()..text.len() {
        assert_eq!(text[..length].parse::<Token>(), Err(TokenError::Damaged), "{length}");
    }
    for place in PREFIX.len()..text.len() {
        for other in ["0", "7", "z"] {
            let mut changed = text.clone();
            changed.replace_range(place..=place, other);
            assert!(changed == text || changed.parse::<Token>() == Err(TokenError::Damaged), "{changed}");
        }
    }
    assert_eq!(format!("{text}0").parse::<Token>(), Err(TokenError::Damaged));
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let unknown_kind = [&[0; FIXED_BYTES][..], b"1s hail kv1"].concat();
    let texts = [
        "5f1d".to_owned(),
        "c2_0123".to_owned(),
        "c1_01u3".to_owned(),
        "c1_0123".to_owned(),
        sealed(&[1 << 7; FIXED_BYTES]),
        sealed(&unknown_kind),
    ];
    let error = |text: &String| text.parse::<Token>().expect_err(text).to_string();
    let misfits = [Misfit::AnotherTest, Misfit::AnotherBuild].map(|misfit| misfit.to_string());
    insta::assert_snapshot!(texts.iter().map(error).chain(misfits).collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn another_test_and_another_build_are_told_apart() {
    let token = token("");
    assert_eq!(token.fits(token.test, token.build), Ok(()));
    assert_eq!(token.fits(token.test, 1), Err(Misfit::AnotherBuild));
    assert_eq!(token.fits(1, 1), Err(Misfit::AnotherTest));
    assert_ne!(test_identity(Some("kv"), "a::b"), test_identity(None, "a::b"));
}

#[test]
fn files_are_not_taken_for_tokens() {
    for token in ["c1_0123", " C1_0\n", "c22_x", "c1_"] {
        assert!(Token::is_meant_by(token), "{token}");
    }
    for file in ["plan.yaml", "c1_plan.txt", "./c1_0123", "storm", "c_1", "cx1_1", ""] {
        assert!(!Token::is_meant_by(file), "{file}");
    }
}

/// Whatever bytes come with a right checksum: a token or an error, and a token is printed as it can be read.
#[test]
fn no_bytes_are_too_odd() {
    let mut state = 1_u64;
    for length in 0..3_000 {
        let body: Vec<u8> = (0..length % 60)
            .map(|place| {
                state = xxh3_64(&state.to_le_bytes());
                if place == 0 { (state & 1) as u8 } else { state as u8 }
            })
            .collect();
        if let Ok(token) = sealed(&body).parse::<Token>() {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}
