//! The command line of a service: `--name value` pairs, each with a default.

use anyhow::Context;

/// The value that follows `flag` on the command line, or `default`.
///
/// # Errors
///
/// When the flag ends the command line.
pub(crate) fn value_of(flag: &str, default: &str) -> anyhow::Result<String> {
    value_among(std::env::args(), flag, default)
}

fn value_among(mut args: impl Iterator<Item = String>, flag: &str, default: &str) -> anyhow::Result<String> {
    match args.find(|arg| arg == flag) {
        Some(_) => args.next().with_context(|| format!("{flag} needs a value")),
        None => Ok(default.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(args: &str) -> anyhow::Result<String> {
        value_among(args.split(' ').map(str::to_owned), "--listen", "0.0.0.0:1")
    }

    #[test]
    fn a_flag_takes_the_word_after_it() {
        assert_eq!(value("workloads udp --other x --listen here:2").expect("present"), "here:2");
        assert_eq!(value("workloads udp").expect("default"), "0.0.0.0:1");
        assert!(value("workloads --listen").is_err());
    }
}
