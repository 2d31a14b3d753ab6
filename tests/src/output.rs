//! What a run printed, and what a reader finds in it.

use std::process;

/// What libtest ends with when a test failed.
pub const LIBTEST_FAILED: i32 = 101;

/// The end of a run and everything that it printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run.
    pub line: String,
    /// The exit code, or nothing after a signal.
    pub code: Option<i32>,
    /// Standard output, then standard error.
    pub text: String,
}

impl Output {
    /// What a process printed that ended so; `line` says what was run.
    #[must_use]
    pub fn of(line: &str, output: &process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = text(&output.stdout) + &text(&output.stderr);
        Self { line: line.to_owned(), code: output.status.code(), text }
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// It is another one; the whole output is shown.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "`{}` printed\n{}", self.line, self.text);
        self
    }

    /// The lines that begin a panic's report, as nextest looks for them. What a simulated host printed of its own panic
    /// stands behind a time and is none of them.
    #[must_use]
    pub fn panics(&self) -> Vec<&str> {
        let begins = |line: &&str| line.starts_with("thread '") && line.contains(" panicked at ");
        self.text.lines().map(str::trim).filter(begins).collect()
    }

    /// Asserts that this is printed somewhere.
    ///
    /// # Panics
    /// It is not; the whole output is shown.
    #[track_caller]
    pub fn says(&self, part: &str) {
        assert!(self.text.contains(part), "no {part:?} in what `{}` printed:\n{}", self.line, self.text);
    }

    /// The values of a field of the reports, such as `replay` or `digest`, in their order.
    #[must_use]
    pub fn fields(&self, name: &str) -> Vec<&str> {
        self.text.lines().filter_map(|line| field(line.trim(), name)).collect()
    }

    /// The word that repeats a failure.
    ///
    /// # Panics
    /// No report has one.
    #[track_caller]
    #[must_use]
    pub fn token(&self) -> &str {
        let replay = self.fields("replay")[0];
        let token = replay.strip_prefix("CHAOS_REPLAY=").and_then(|rest| rest.split(' ').next());
        token.expect("the report has a token")
    }

    /// The part of the output that belongs to one failed test: from its panic on, to its replay command, log files
    /// and where it is kept.
    /// Without the indent that nextest adds.
    ///
    /// # Panics
    /// There is none, or it does not end.
    #[track_caller]
    #[must_use]
    pub fn block(&self, test: &str) -> Self {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins = |line: &&str| line.trim_start().starts_with(&format!("thread '{test}' panicked at"));
        let from = lines.iter().position(begins);
        let from = from.unwrap_or_else(|| panic!("no block of {test} in what `{}` printed:\n{}", self.line, self.text));
        let indent = lines[from].len() - lines[from].trim_start().len();
        let is = |name: &'static str| move |line: &&str| field(line.trim(), name).is_some();
        let replay = lines[from..].iter().position(is("replay")).expect("a block has a replay command");
        let after = lines[from + replay + 1..].iter();
        let length = replay + 1 + after.take_while(|line| is("logs")(line) || is("saved")(line)).count();
        let text = lines[from..from + length].iter().map(|line| line.get(indent..).unwrap_or_default());
        Self { text: text.collect::<Vec<_>>().join("\n"), ..self.clone() }
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix("  ").map(str::trim)
}
