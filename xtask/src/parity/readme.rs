//! The README's table of figures: written by a run, and checked to have a row for every kind of fault.
//!
//! Figures differ from run to run, so what is checked is that none is missing.

use super::figures::{COLUMNS, NOTHING};
use crate::marked;
use anyhow::{Context, Result, ensure};
use std::path::Path;

const DOCUMENT: &str = "README.md";
/// The part that has the figures.
const FIGURES: &str = "real figures";
/// The part that has a row for every kind.
const KINDS: &str = "real faults";

/// Writes the figures, and under which conditions they were measured.
///
/// # Errors
/// The document has no place for them, figures are missing, or it cannot be read or written.
pub(super) fn write(root: &Path, figures: &str) -> Result<()> {
    let path = root.join(DOCUMENT);
    let document = std::fs::read_to_string(&path).with_context(|| format!("failed to read {DOCUMENT}"))?;
    let written = marked::replaced(&document, FIGURES, &format!("{}\n\n{figures}", conditions()?))?;
    check(&written)?;
    std::fs::write(&path, written).with_context(|| format!("failed to write {DOCUMENT}"))?;
    println!("{DOCUMENT} has these figures");
    Ok(())
}

/// Where and how it is measured.
fn conditions() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let status = read("/proc/self/status")?;
    // proc_pid_status(5): real, effective, saved and file system user.
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1));
    let whom = if user == Some("0") { "root" } else { "another user" };
    let processors = std::thread::available_parallelism().context("failed to count processors")?;
    let kernel = kernel.trim();
    Ok(format!("Measured as {whom} on Linux {kernel}, {processors} processors, in a debug build."))
}

/// Whether a table has a row for every kind of fault, with all its cells.
///
/// # Errors
/// A sentence: what is missing.
pub fn check(document: &str) -> Result<()> {
    let part = marked::part(document, FIGURES)?;
    ensure!(part.contains("Measured as "), "{FIGURES}: it is not said under which conditions they were measured");
    check_table(part, &kinds(document)?)
}

/// Whether a table has a row for each of these kinds, with all its cells.
///
/// # Errors
/// A sentence: what is missing.
pub fn check_table(table: &str, kinds: &[String]) -> Result<()> {
    let rows: Vec<Vec<&str>> = rows(table).collect();
    ensure!(rows.first().is_some_and(|head| *head == COLUMNS), "{FIGURES}: the columns are others");
    for row in &rows {
        ensure!(row.len() == COLUMNS.len(), "{FIGURES}: this row has not all cells: {}", row.join(" | "));
    }
    for kind in kinds {
        let of: Vec<_> = rows.iter().filter(|row| row[0] == format!("`{kind}`")).collect();
        let is_measured = of.iter().any(|row| row[4] != NOTHING && !row[6].is_empty());
        ensure!(is_measured, "{FIGURES}: nothing was measured of {kind} in the real world");
        let is_sure = of.iter().any(|row| row[5] != NOTHING);
        ensure!(is_sure, "{FIGURES}: it is not said how sure the figures of {kind} are");
    }
    Ok(())
}

/// Every kind of fault, by the table of what is done for each.
///
/// # Errors
/// The document has no such table.
pub fn kinds(document: &str) -> Result<Vec<String>> {
    let kinds = rows(marked::part(document, KINDS)?);
    let kinds: Vec<String> =
        kinds.filter_map(|row| Some(row[0].strip_prefix('`')?.strip_suffix('`')?.to_owned())).collect();
    ensure!(!kinds.is_empty(), "{KINDS}: no kinds");
    Ok(kinds)
}

/// The cells of a table's lines.
fn rows(part: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = part.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.map(|line| line.split(" | ").map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rows: &str) -> String {
        let head = format!("| {} |\n|{}\n", COLUMNS.join(" | "), " --- |".repeat(COLUMNS.len()));
        format!(
            "<!-- real faults: begin -->\n| `loss` | x |\n| `pause` | x |\n<!-- real faults: end -->\n\
             <!-- real figures: begin -->\nMeasured as root.\n\n{head}{rows}<!-- real figures: end -->\n"
        )
    }

    #[test]
    fn every_kind_has_a_row_with_all_cells() {
        let loss = "| `loss` | lost | 20 % | 20 % | 21 % | ± 3 % | 1 ms, 2 ms | 1 ms, 2 ms |\n";
        let pause = loss.replace("loss", "pause");
        assert!(check(&document(&format!("{loss}{pause}"))).is_ok());
        let is_missing = |rows: &str, what: &str| {
            let error = check(&document(rows)).expect_err("something is missing").to_string();
            assert!(error.contains(what), "{error}");
        };
        is_missing(loss, "nothing was measured of pause");
        is_missing(&format!("{loss}{}", pause.replace("21 %", NOTHING)), "nothing was measured of pause");
        is_missing(&format!("{loss}{}", pause.replace("± 3 %", NOTHING)), "how sure the figures of pause");
        is_missing(&format!("{loss}{}", pause.replace("| 21 % ", "")), "has not all cells");
    }
}
