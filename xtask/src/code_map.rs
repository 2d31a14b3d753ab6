//! The code map of `ARCHITECTURE.md`: the first sentence of every file, so that the map cannot grow old.

use crate::marked;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The rooms that are mapped file by file.
const ROOMS: [&str; 6] = ["faults/src/", "sim/src/", "inject/src/", "macros/src/", "harness/src/", "cli/src/"];
const DOCUMENT: &str = "ARCHITECTURE.md";

/// `ARCHITECTURE.md` as it should be, given what it is and the tree's files.
///
/// # Errors
/// It has no place for the map, or a file has no header.
pub fn current<'a>(document: &str, files: impl Iterator<Item = (&'a str, &'a str)>) -> Result<String> {
    let mut rooms: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    let rust = files.filter(|(path, _)| path.ends_with(".rs") && ROOMS.iter().any(|room| path.starts_with(room)));
    for (path, text) in rust {
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        let sentence = first_sentence(text).with_context(|| format!("{path} has no `//!` header"))?;
        rooms.entry(directory).or_default().push((file, sentence));
    }
    let mut map = String::new();
    for (directory, mut files) in rooms {
        // A room's own description first.
        files.sort_by_key(|(file, _)| (!matches!(*file, "lib.rs" | "mod.rs"), *file));
        write!(map, "#### `{directory}`\n\n| file | what it is for |\n| --- | --- |\n")?;
        for (file, sentence) in files {
            writeln!(map, "| `{file}` | {sentence} |")?;
        }
        map.push('\n');
    }
    marked::replaced(document, "code map", &map)
}

/// Writes the map.
///
/// # Errors
/// A file cannot be read or written, or has no header.
pub fn write(root: &Path) -> Result<()> {
    let files = crate::tidy::sources(root)?;
    let document =
        std::fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("failed to read {DOCUMENT}"))?;
    let current = current(&document, files.iter().map(|(path, text)| (path.as_str(), text.as_str())))?;
    if current == document {
        println!("{DOCUMENT} is up to date");
        return Ok(());
    }
    std::fs::write(root.join(DOCUMENT), current).with_context(|| format!("failed to write {DOCUMENT}"))?;
    println!("{DOCUMENT} is written");
    Ok(())
}

/// The first sentence of a file's header, fit for a table's cell.
fn first_sentence(text: &str) -> Result<String> {
    let header = text.lines().skip_while(|line| line.trim().is_empty()).map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = header.map(str::trim).take_while(|line| !line.is_empty()).collect();
    if paragraph.is_empty() {
        bail!("no header");
    }
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.split_once(". ").map_or(paragraph.as_str(), |(first, _)| first);
    Ok(without_links(sentence).replace('|', "\\|").trim_end_matches(['.', ':']).to_owned())
}

/// Links of the documentation, `` [`Clock`] `` and `` [`Clock`](crate::Clock) ``, lead nowhere from here.
fn without_links(sentence: &str) -> String {
    let mut parts = sentence.split("`]");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let target = part.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        plain.push('`');
        plain.push_str(target.map_or(part, |(_, after)| after));
    }
    plain.replace("[`", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "# A\n\n<!-- code map: begin -->\n<!-- code map: end -->\n";

    #[test]
    fn the_map_lists_files_by_room_with_their_first_sentence() {
        let files = [
            ("sim/src/clock.rs", "//! Time, as [`Clock`] and [`Hour`](crate::Hour)\n//! tell it. More.\n"),
            ("sim/src/lib.rs", "//! A kernel.\n\nuse std::fmt;\n"),
            ("examples/kv/src/lib.rs", "//! A service.\n"),
        ];
        let written = current(EMPTY, files.into_iter()).expect("all have headers");
        let expected = "#### `sim/src`\n\n| file | what it is for |\n| --- | --- |\n\
                        | `lib.rs` | A kernel |\n| `clock.rs` | Time, as `Clock` and `Hour` tell it |\n";
        assert!(written.contains(expected), "{written}");
        assert!(!written.contains("A service"));
    }

    #[test]
    fn a_file_without_a_header_is_named() {
        let error = current(EMPTY, [("sim/src/a.rs", "use std::fmt;\n")].into_iter()).expect_err("no header");
        assert!(error.to_string().contains("sim/src/a.rs"), "{error}");
    }
}
