//! The generated parts of documents, which stand between two comments.

use anyhow::{Context, Result};

/// The document with the part named `name` replaced, and nothing else.
///
/// # Errors
/// The document has no such part.
pub fn replaced(document: &str, name: &str, part: &str) -> Result<String> {
    let (before, after) = around(document, name)?;
    Ok(format!("{before}\n\n{}\n\n{after}", part.trim()))
}

/// The part named `name`.
///
/// # Errors
/// The document has no such part.
pub fn part<'a>(document: &'a str, name: &str) -> Result<&'a str> {
    let (before, after) = around(document, name)?;
    Ok(&document[before.len()..document.len() - after.len()])
}

/// What stands before the part (its first marker included) and after it.
fn around<'a>(document: &'a str, name: &str) -> Result<(&'a str, &'a str)> {
    let (begin, end) = (format!("<!-- {name}: begin"), format!("<!-- {name}: end -->"));
    let missing = || format!("the document has no part between `{begin} … -->` and `{end}`");
    let from = document.find(&begin).with_context(missing)?;
    let from = from + document[from..].find("-->").with_context(missing)? + "-->".len();
    let to = from + document[from..].find(&end).with_context(missing)?;
    Ok((&document[..from], &document[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "a\n<!-- map: begin; by a machine -->\nold\n<!-- map: end -->\nb\n";

    #[test]
    fn only_the_part_is_replaced_and_a_second_time_changes_nothing() {
        let once = replaced(DOCUMENT, "map", "new\n").expect("it has the part");
        assert_eq!(once, "a\n<!-- map: begin; by a machine -->\n\nnew\n\n<!-- map: end -->\nb\n");
        assert_eq!(replaced(&once, "map", "new").expect("it has the part"), once);
        assert_eq!(part(&once, "map").expect("it has the part"), "\n\nnew\n\n");
    }

    #[test]
    fn a_missing_part_is_an_error() {
        assert!(replaced(DOCUMENT, "table", "").is_err());
        assert!(replaced("<!-- map: begin -->", "map", "").is_err());
    }
}
