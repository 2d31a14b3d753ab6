//! `chaos.toml`: settings that a project keeps, by name.
//!
//! ```toml
//! [profile.ci]
//! cases = "x4"
//! time = "10m"
//! ```
//!
//! A profile says what the environment may say as well, in the same words; the environment wins.

use super::budget::{ShrinkBudget, shrink, time};
use super::{CasesSetting, CheckSetting, SaveSetting, SettingsError, cases, check, nearest, positive, save};
use crate::document::{FileError, Source, offset};
use crate::package;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_edit::{Item, Key, TableLike};

/// What a profile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Profile {
    pub(super) cases: Option<CasesSetting>,
    pub(super) time: Option<Duration>,
    pub(super) shrink: Option<ShrinkBudget>,
    pub(super) jobs: Option<NonZeroU32>,
    pub(super) check: Option<CheckSetting>,
    pub(super) save: Option<SaveSetting>,
}

const FILE: &str = "chaos.toml";
const PROFILES: &str = "profile";
const KEYS: [&str; 6] = ["cases", "time", "shrink", "jobs", "check", "save"];
/// Chosen on CI when nobody chooses.
const CI: &str = "ci";

/// The nearest `chaos.toml`, from the package's directory up to the workspace's.
pub(super) fn find(package: &Path) -> Option<PathBuf> {
    package::up_to_workspace(package).map(|directory| directory.join(FILE)).find(|path| path.is_file())
}

/// The profile that is asked for, by name or by being on CI. The whole file has to be right: a mistake in a profile
/// that only CI uses should not wait for CI.
pub(super) fn choose(name: Option<&str>, ci: bool, file: Option<&Source<'_>>) -> Result<Profile, SettingsError> {
    let no_profile = |reason: String| Err(SettingsError::NoProfile { name: name.unwrap_or(CI).to_owned(), reason });
    let Some(file) = file else {
        let sought = "there is no chaos.toml in the package's directory or above it, up to the workspace's".to_owned();
        return if name.is_some() { no_profile(sought) } else { Ok(Profile::default()) };
    };
    let profiles = profiles(file).map_err(SettingsError::File)?;
    let chosen = |name: &str| profiles.iter().find(|(other, _)| other == name).map(|(_, profile)| *profile);
    match name {
        None if ci => Ok(chosen(CI).unwrap_or_default()),
        None => Ok(Profile::default()),
        Some(name) => match chosen(name) {
            Some(profile) => Ok(profile),
            None => {
                let names: Vec<&str> = profiles.iter().map(|(name, _)| name.as_str()).collect();
                let there_are = match names.as_slice() {
                    [] => format!("{} has none; write [{PROFILES}.{name}]", file.file),
                    names => format!("{} has {}{}", file.file, names.join(", "), did_you_mean(name, names)),
                };
                no_profile(there_are)
            }
        },
    }
}

fn did_you_mean(name: &str, names: &[&str]) -> String {
    nearest(name, names).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn profiles(file: &Source<'_>) -> Result<Vec<(String, Profile)>, FileError> {
    let document = file.parse()?;
    let mut profiles = Vec::new();
    for (key, item) in entries(document.as_table()) {
        if key.get() != PROFILES {
            let message = format!("there is no `{}` here; settings stand below [{PROFILES}.NAME]", key.get());
            return Err(file.error(offset(Some(key), item), message));
        }
        for (name, item) in entries(table(file, key, item)?) {
            profiles.push((name.get().to_owned(), profile(file, table(file, name, item)?)?));
        }
    }
    Ok(profiles)
}

fn entries(table: &dyn TableLike) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(|(name, _)| table.get_key_value(name))
}

fn table<'a>(file: &Source<'_>, key: &Key, item: &'a Item) -> Result<&'a dyn TableLike, FileError> {
    let message = || format!("`{}` is no table; write [{PROFILES}.NAME] and its settings below", key.get());
    item.as_table_like().ok_or_else(|| file.error(offset(Some(key), item), message()))
}

fn profile(file: &Source<'_>, table: &dyn TableLike) -> Result<Profile, FileError> {
    let mut profile = Profile::default();
    for (key, item) in entries(table) {
        let error = |message: String| file.error(offset(Some(key), item), message);
        let key = key.get();
        // The words of the environment, where everything is text.
        let value = match item.as_integer() {
            Some(number) => number.to_string(),
            None => item.as_str().unwrap_or_default().to_owned(),
        };
        set(&mut profile, key, &value).map_err(|reason| match reason {
            Some(reason) => error(format!("`{key}`: {reason}")),
            None => {
                let hint = did_you_mean(key, &KEYS);
                error(format!("a profile has no `{key}`{hint}\nthe keys are {}", KEYS.join(", ")))
            }
        })?;
    }
    Ok(profile)
}

/// Sets a value; fails without a reason when there is no such key.
fn set(profile: &mut Profile, key: &str, value: &str) -> Result<(), Option<String>> {
    match key {
        "cases" => profile.cases = Some(cases(value)?),
        "time" => profile.time = Some(time(value)?),
        "shrink" => profile.shrink = Some(shrink(value)?),
        "jobs" => profile.jobs = Some(positive(value)?),
        "check" => profile.check = Some(check(value)?),
        "save" => profile.save = Some(save(value)?),
        _ => return Err(None),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: &str = r#"
        [profile.ci]
        cases = "x4"
        time = "10m"
        shrink = 200
        jobs = 2
        check = "determinism"
        save = "never"

        [profile]
        nightly = { cases = 1000, shrink = "off" }
    "#;

    fn chosen(name: Option<&str>, ci: bool, text: &str) -> Result<Profile, SettingsError> {
        choose(name, ci, Some(&Source { file: "kv/chaos.toml", text }))
    }

    #[test]
    fn a_profile_says_what_the_environment_may_say() {
        let ci = chosen(None, true, PROJECT).expect("it is right");
        let expected = Profile {
            cases: NonZeroU32::new(4).map(CasesSetting::Times),
            time: Some(Duration::from_secs(600)),
            shrink: shrink("200").ok(),
            jobs: NonZeroU32::new(2),
            check: Some(CheckSetting::Determinism),
            save: Some(SaveSetting::Never),
        };
        assert_eq!(ci, expected);
        let nightly = chosen(Some("nightly"), true, PROJECT).expect("it is right");
        assert_eq!((nightly.shrink, nightly.jobs), (shrink("off").ok(), None));
    }

    #[test]
    fn without_a_name_only_ci_has_a_profile_and_only_if_there_is_one() {
        assert_eq!(chosen(None, false, PROJECT), Ok(Profile::default()));
        assert_eq!(chosen(None, true, "[profile.nightly]\n"), Ok(Profile::default()));
        assert_eq!(choose(None, true, None), Ok(Profile::default()));
    }

    #[test]
    fn mistakes_name_the_line_and_what_would_be_right() {
        let problems = [
            choose(Some("nightly"), false, None),
            chosen(Some("nightly"), false, ""),
            chosen(Some("nigthly"), false, PROJECT),
            chosen(None, false, "[profile.ci]\ncase = 5\n"),
            chosen(None, false, "[profile.ci]\nseed = 5\n"),
            chosen(None, false, "[profile.ci]\n\njobs = 0\n"),
            chosen(None, false, "[profile.ci]\ncases = true\n"),
            chosen(None, false, "[profile.ci]\nsave = \"sometimes\"\n"),
            chosen(None, false, "cases = 5\n"),
            chosen(None, false, "profile = 5\n"),
            chosen(None, false, "[profile]\ncases = 5\n"),
            chosen(None, false, "[profile.ci\n"),
        ];
        let problems = problems.map(|problem| problem.expect_err("each has a mistake").to_string());
        insta::assert_snapshot!(problems.join("\n\n"));
    }
}
