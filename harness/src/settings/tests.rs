//! What the environment may say, and what is said when it says something else.

use super::*;

fn parse(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::parse(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(parse(&[("PATH", "/bin"), ("CHAOS_LOG", "")]), Ok(Settings::default()));
}

#[test]
fn each_variable_is_read() {
    let settings = parse(&[
        ("CHAOS_SEED", "0x5f1d"),
        ("CHAOS_JOBS", "4"),
        ("CHAOS_LOG", "kv0,c*"),
        ("CHAOS_DEBUG", "1"),
        ("CHAOS_OUT", "/tmp/out"),
        ("CHAOS_PERTURB", "1204"),
        ("CHAOS_EVENTS", "1"),
    ])
    .expect("all are valid");
    assert_eq!(settings.seed, Some(SeedSetting::One { seed: 0x5f1d, calm: false }));
    assert_eq!(settings.jobs, NonZeroU32::new(4));
    assert!(settings.events);
    assert!(settings.debug && settings.log.shows("kv0") && settings.log.shows("c12") && !settings.log.shows("kv1"));
    assert_eq!((settings.out, settings.perturb), (Some(PathBuf::from("/tmp/out")), Some(1204)));
}

#[test]
fn each_variable_of_a_search_is_read() {
    let settings = parse(&[
        ("CHAOS_CASES", "x10"),
        ("CHAOS_TIME", "10m"),
        ("CHAOS_SHRINK", "500"),
        ("CHAOS_SAVE", "never"),
        ("CHAOS_CHECK", "determinism"),
        ("CHAOS_PROFILE", "nightly"),
    ])
    .expect("all are valid");
    assert_eq!(settings.cases, NonZeroU32::new(10).map(CasesSetting::Times));
    assert_eq!((settings.time, settings.save), (Some(Duration::from_secs(600)), Some(SaveSetting::Never)));
    assert_eq!(settings.shrink.runs, 500);
    assert_eq!((settings.check, settings.profile.as_deref()), (Some(CheckSetting::Determinism), Some("nightly")));
}

#[test]
fn an_unknown_variable_lists_the_valid_ones() {
    let error = parse(&[("CHAOS_SEEDS", "1")]).expect_err("there is no such variable");
    insta::assert_snapshot!(error);
}

#[test]
fn a_malformed_value_says_what_would_be_right() {
    for (name, value) in [
        ("CHAOS_CASES", "many"),
        ("CHAOS_CASES", "0"),
        ("CHAOS_JOBS", "-1"),
        ("CHAOS_LOG", "kv 0"),
        ("CHAOS_DEBUG", "yes"),
        ("CHAOS_PERTURB", "soon"),
        ("CHAOS_SEED", "9-1"),
        ("CHAOS_DEBUG", "1"),
        ("CHAOS_EVENTS", "1"),
        ("CHAOS_REPLAY", "c1_0"),
        ("CHAOS_TIME", "soon"),
        ("CHAOS_TIME", "0s"),
        ("CHAOS_SHRINK", "some"),
        ("CHAOS_SAVE", "sometimes"),
        ("CHAOS_CHECK", "all"),
    ] {
        let error = parse(&[(name, value)]).expect_err(name).to_string();
        assert!(error.starts_with(&format!("{name}=`{value}` is not understood: ")), "{error}");
    }
}

fn with_profile(variables: &[(&str, &str)], text: &str) -> Result<Settings, SettingsError> {
    parse(variables)?.with_profile(Some(&Source { file: "chaos.toml", text }))
}

const CI: &str = "[profile.ci]\ncases = 500\ncheck = 'determinism'\nsave = 'always'\njobs = 4\n";

fn token() -> String {
    let plan = "1s crash kv1".parse().expect("a literal of this test");
    crate::token::Token { test: 1, seed: 2, calm: false, build: 3, plan, arguments: Default::default() }.to_string()
}

#[test]
fn the_environment_wins_over_the_profile() {
    let settings = with_profile(&[("CI", "true"), ("CHAOS_JOBS", "2"), ("CHAOS_CHECK", "default")], CI);
    let settings = settings.expect("both are right");
    assert_eq!((settings.cases, settings.cases_by_profile), (Some(CasesSetting::Exactly(hundreds(5))), true));
    assert_eq!((settings.jobs, settings.check), (NonZeroU32::new(2), Some(CheckSetting::Default)));
    assert_eq!(settings.save, Some(SaveSetting::Always));
    let own = with_profile(&[("CHAOS_PROFILE", "ci"), ("CHAOS_CASES", "300")], CI).expect("both are right");
    assert_eq!((own.cases, own.cases_by_profile), (Some(CasesSetting::Exactly(hundreds(3))), false));
    for ci in ["0", "false", ""] {
        assert_eq!(with_profile(&[("CI", ci)], CI), Ok(Settings::default()));
    }
}

fn hundreds(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number * 100).expect("tests ask for some")
}

#[test]
fn a_profile_does_not_turn_a_replay_into_a_search() {
    for variable in [("CHAOS_SEED", "7".to_owned()), ("CHAOS_REPLAY", token()), ("CHAOS_REPLAY", "a.toml".to_owned())] {
        let settings = with_profile(&[("CI", "1"), (variable.0, &variable.1)], CI).expect("both are right");
        assert_eq!((settings.cases, settings.jobs), (None, NonZeroU32::new(4)), "{variable:?}");
    }
    let plan = with_profile(&[("CI", "1"), ("CHAOS_REPLAY", "storm.txt")], CI).expect("a plan has no seed");
    assert!(plan.cases.is_some());
    let debugged = with_profile(&[("CI", "1"), ("CHAOS_SEED", "7"), ("CHAOS_DEBUG", "1")], CI).expect("both are right");
    assert_eq!(debugged.check, None);
}

#[test]
fn a_replay_is_a_token_or_a_file() {
    let replay = |value: &str| parse(&[("CHAOS_REPLAY", value)]).map(|settings| settings.replay);
    assert!(matches!(replay(&token()), Ok(Some(Replay::Token(token))) if token.seed == 2));
    assert_eq!(replay("kv/storm.yaml"), Ok(Some(Replay::File(PathBuf::from("kv/storm.yaml")))));
    let error = replay(&token()[..40]).expect_err("it is cut off").to_string();
    assert!(error.contains("the token is damaged or cut off"), "{error}");
}

#[test]
fn a_shrinking_budget_is_time_or_runs() {
    let budget = |value: &str| parse(&[("CHAOS_SHRINK", value)]).expect(value).shrink;
    let minute = Duration::from_secs(60);
    assert_eq!(Settings::default().shrink, ShrinkBudget { time: minute, runs: 500 });
    assert_eq!(budget("1m"), ShrinkBudget { time: minute, runs: usize::MAX });
    assert!(budget("80").runs == 80 && budget("80").time > minute * 60 * 24);
    assert_eq!([budget("0"), budget("off")].map(|budget| budget.runs), [0, 0]);
    // Whoever adds a limit to the time does not overflow it.
    let _: std::time::Instant = std::time::Instant::now() + budget("100d").time.max(budget("80").time);
    let ci = "[profile.ci]\nshrink = 7\n";
    let of_ci = |variables: &[(&str, &str)]| with_profile(variables, ci).expect("both are right").shrink.runs;
    assert_eq!([of_ci(&[("CI", "1")]), of_ci(&[("CI", "1"), ("CHAOS_SHRINK", "9")]), of_ci(&[])], [7, 9, 500]);
}

#[test]
fn contradictions_say_what_to_drop() {
    let token = token();
    let both = [
        [("CHAOS_REPLAY", token.as_str()), ("CHAOS_SEED", "1")],
        [("CHAOS_REPLAY", "kv.toml"), ("CHAOS_SEED", "1")],
        [("CHAOS_REPLAY", &token), ("CHAOS_CASES", "x10")],
        [("CHAOS_REPLAY", "kv.toml"), ("CHAOS_CASES", "1")],
    ];
    let three = [
        [("CHAOS_SEED", "1"), ("CHAOS_DEBUG", "1"), ("CHAOS_CASES", "1")],
        [("CHAOS_SEED", "1"), ("CHAOS_EVENTS", "1"), ("CHAOS_CASES", "2")],
        [("CHAOS_REPLAY", &token), ("CHAOS_DEBUG", "1"), ("CHAOS_CHECK", "determinism")],
    ];
    let both = both.iter().map(|variables| parse(variables));
    let errors = both.chain(three.iter().map(|variables| parse(variables)));
    let errors: Vec<String> = errors.map(|settings| settings.expect_err("a contradiction").to_string()).collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_plan_goes_with_a_seed_and_a_token_with_one_case() {
    let token = token();
    for variables in [
        [("CHAOS_REPLAY", "storm.txt"), ("CHAOS_SEED", "1"), ("CHAOS_DEBUG", "1")],
        [("CHAOS_REPLAY", "storm.txt"), ("CHAOS_SEED", "1-9"), ("CHAOS_CASES", "5")],
        [("CHAOS_REPLAY", &token), ("CHAOS_CASES", "1"), ("CHAOS_SHRINK", "60s")],
        [("CHAOS_REPLAY", &token), ("CHAOS_DEBUG", "1"), ("CHAOS_EVENTS", "1")],
    ] {
        assert!(parse(&variables).is_ok(), "{variables:?}");
    }
}

#[test]
fn settings_are_found_above_the_package() {
    let root = tempfile::tempdir().expect("the system's directory for temporary files is writable");
    let package = root.path().join("crates/kv");
    std::fs::create_dir_all(&package).expect("it is a directory of ours");
    std::fs::write(root.path().join("Cargo.lock"), "").expect("as above");
    std::fs::write(root.path().join("chaos.toml"), CI).expect("as above");
    let of_workspace = parse(&[("CI", "1")]).and_then(|settings| settings.with_file(&package));
    std::fs::write(package.join("chaos.toml"), "[profile.ci]\njobs = 'many'\n").expect("as above");
    let of_package = parse(&[]).and_then(|settings| settings.with_file(&package));
    assert_eq!(of_workspace.expect("it is right").jobs, NonZeroU32::new(4));
    let error = of_package.expect_err("it is wrong").to_string();
    assert_eq!(error, "crates/kv/chaos.toml, line 2: `jobs`: it takes a number from 1");
}
