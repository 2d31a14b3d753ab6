//! The command that replays a case: it selects exactly one test, with the same build.

use crate::definition::TestDefinition;
use std::path::Path;

/// How the test was started, as far as it decides the command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invocation {
    /// `NEXTEST_BINARY_ID` and `NEXTEST_TEST_NAME` (nextest 0.9.116 and later).
    pub(crate) nextest: Option<(String, String)>,
    /// The directory below `target/`: `debug`, `release`, or a profile's name.
    pub(crate) profile: Option<String>,
    /// The source file of the test, for the target's name.
    pub(crate) file: String,
}

impl Invocation {
    pub(crate) fn of_this_process(file: &str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let nextest = variable("NEXTEST_BINARY_ID").zip(variable("NEXTEST_TEST_NAME"));
        let executable = std::env::current_exe().ok();
        Self { nextest, profile: executable.as_deref().and_then(profile), file: file.to_owned() }
    }
}

/// `target/<profile>/deps/<binary>`: how cargo lays out test binaries.
fn profile(executable: &Path) -> Option<String> {
    let deps = executable.parent()?;
    let profile = deps.parent()?.file_name()?.to_str()?;
    (deps.file_name()? == "deps").then(|| profile.to_owned())
}

/// The command, with the variable that says which case.
pub(crate) fn replay(definition: &TestDefinition, invocation: &Invocation, assignment: &str) -> String {
    let profile = |named: &str| match invocation.profile.as_deref() {
        None | Some("debug") => String::new(),
        Some("release") => " --release".to_owned(),
        Some(name) => format!(" {named} {name}"),
    };
    if let Some((binary, test)) = &invocation.nextest {
        let profile = profile("--cargo-profile");
        return format!("{assignment} cargo nextest run{profile} -E 'binary_id(={binary}) & test(={test})'");
    }
    let package = definition.package.map_or_else(String::new, |package| format!(" -p {package}"));
    let target = target(definition, &invocation.file).map_or_else(String::new, |target| format!(" --test {target}"));
    format!("{assignment} cargo test{}{package}{target} -- --exact {}", profile("--profile"), definition.name())
}

/// The integration test's name. A crate's name has underscores where the target's has hyphens, so the file is asked: it
/// is `tests/name.rs` or `tests/name/main.rs`, unless the manifest says otherwise.
fn target(definition: &TestDefinition, file: &str) -> Option<String> {
    let crate_name = definition.crate_name.filter(|_| definition.integration_test)?;
    let file = Path::new(file);
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    let candidates = [stem(file), file.parent().and_then(stem)];
    let matches = |name: &String| name.replace('-', "_") == crate_name;
    Some(candidates.into_iter().flatten().find(matches).unwrap_or_else(|| crate_name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::World;

    fn definition(integration_test: bool) -> TestDefinition {
        TestDefinition {
            world: World::Sim,
            in_both_worlds: false,
            path: "crash_safety::linearizable::case_2",
            package: Some("kv"),
            crate_name: Some(if integration_test { "crash_safety" } else { "kv" }),
            integration_test,
            faults: None,
            plan: None,
            cases: None,
            seed: None,
            virtual_timeout: None,
            wall_timeout: None,
            start: None,
            expect_failure: None,
        }
    }

    #[test]
    fn each_way_of_running_has_its_command() {
        let cargo = |file: &str, profile: &str| Invocation {
            nextest: None,
            profile: Some(profile.to_owned()),
            file: file.to_owned(),
        };
        let nextest = Invocation {
            nextest: Some(("kv::crash-safety".to_owned(), "linearizable::case_2".to_owned())),
            ..cargo("tests/crash-safety.rs", "release")
        };
        let commands = [
            replay(&definition(true), &nextest, "CHAOS_SEED=0x5f1d"),
            replay(&definition(true), &cargo("kv/tests/crash-safety.rs", "debug"), "CHAOS_SEED=0x5f1d"),
            replay(&definition(true), &cargo("kv/tests/crash-safety/main.rs", "bench"), "CHAOS_SEED=0x5f1d"),
            replay(&definition(true), &cargo("kv/tests/crash-safety/disk.rs", "release"), "CHAOS_SEED=calm:0x1"),
            replay(&definition(false), &cargo("kv/src/lib.rs", "debug"), "CHAOS_SEED=0x5f1d"),
        ];
        insta::assert_snapshot!(commands.join("\n"), @r"
        CHAOS_SEED=0x5f1d cargo nextest run --release -E 'binary_id(=kv::crash-safety) & test(=linearizable::case_2)'
        CHAOS_SEED=0x5f1d cargo test -p kv --test crash-safety -- --exact linearizable::case_2
        CHAOS_SEED=0x5f1d cargo test --profile bench -p kv --test crash-safety -- --exact linearizable::case_2
        CHAOS_SEED=calm:0x1 cargo test --release -p kv --test crash-safety -- --exact linearizable::case_2
        CHAOS_SEED=0x5f1d cargo test -p kv -- --exact linearizable::case_2
        ");
    }

    #[test]
    fn the_profile_is_read_off_the_binarys_place() {
        let of = |path: &str| profile(Path::new(path));
        assert_eq!(of("/w/target/debug/deps/kv-0123"), Some("debug".to_owned()));
        assert_eq!(of("/w/target/x86_64-unknown-linux-gnu/release/deps/kv-0123"), Some("release".to_owned()));
        assert_eq!(of("/tmp/kv"), None);
    }
}
