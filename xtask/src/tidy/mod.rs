//! The rules of the tree, which a compiler does not know: `cargo xtask tidy`, and a test.
//!
//! | file | what it looks at |
//! | --- | --- |
//! | `tree` | which files there are |
//! | `text` | every text: widths, trailing space, machine paths |
//! | `tokens` | a Rust file as tokens, so that comments and strings are not mistaken for code |
//! | `code` | Rust files: lengths, headers, `unsafe`, what is unfinished |
//! | `kernel` | the simulated kernel: no real clock, no thread, no order by chance |
//! | `manifests` | crates: arrows between them, shared lints |
//! | `documents` | changelog, and the generated parts of documents |
//! | `allowed` | the exceptions, each with its reason |
//!
//! That every `unsafe` block has its `// SAFETY:` is clippy's to check (`undocumented_unsafe_blocks`); this only sees
//! to it that nobody silences clippy without giving the argument.

mod allowed;
mod code;
mod documents;
mod kernel;
mod manifests;
mod text;
mod tokens;
mod tree;

use anyhow::{Result, bail};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// A rule, by which exceptions refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    LineWidth,
    TrailingSpace,
    MachinePath,
    Header,
    FileLength,
    FunctionLength,
    Unsafe,
    SilencedUnsafe,
    Unfinished,
    IgnoreReason,
    UnorderedMap,
    RealWorld,
    Arrow,
    SharedLints,
    Changelog,
    CodeMap,
    WorksWith,
}

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    /// From the root of the tree.
    pub(crate) path: String,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// For rules with a limit: what was measured.
    pub(crate) measured: Option<usize>,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    fn new(rule: Rule, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { rule, path: path.to_owned(), line, measured: None, message: message.into() }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Looks at the whole tree and prints what breaks a rule.
///
/// # Errors
/// Something does, or the tree could not be read.
pub fn run(root: &Path) -> Result<()> {
    let findings = findings(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("one place breaks a rule of the tree"),
        count => bail!("{count} places break rules of the tree"),
    }
}

/// Everything in the tree that breaks a rule, as text.
///
/// # Errors
/// The tree could not be read.
pub fn problems(root: &Path) -> Result<Vec<String>> {
    Ok(findings(root)?.iter().map(Finding::to_string).collect())
}

/// Every source file of the tree: its path from the root, and its text.
///
/// # Errors
/// The tree could not be read.
pub fn sources(root: &Path) -> Result<Vec<(String, String)>> {
    let files = tree::texts(root)?.into_iter().filter(tree::File::is_rust);
    Ok(files.map(|file| (file.path, file.text)).collect())
}

fn findings(root: &Path) -> Result<Vec<Finding>> {
    let files = tree::texts(root)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(text::check(file));
        if file.is_rust() {
            let tokens = tokens::read(&file.text)?;
            findings.extend(code::check(file, &tokens));
            findings.extend(kernel::check(file, &tokens));
        }
    }
    findings.extend(manifests::check(&files)?);
    findings.extend(documents::check(&files));
    let mut findings = allowed::apply(findings, allowed::ALLOWED);
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}
