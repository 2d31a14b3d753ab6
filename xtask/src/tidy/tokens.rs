//! A Rust file as a flat list of tokens with their lines.
//!
//! Tokens rather than a syntax tree, because much of this tree stands inside macros (`hooks! { … }`), where a syntax
//! tree ends. Comments are gone and strings are single tokens, so a rule cannot be misled by prose.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token. Groups appear as an opening and a closing one.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// For an opening token: where its closing one stands in the list.
    pub(crate) closing: Option<usize>,
    /// Inside parentheses, where attributes belong to parameters.
    pub(crate) parenthesised: bool,
}

/// Reads a file.
pub(crate) fn read(source: &str) -> Result<Vec<Token>> {
    let stream: TokenStream = source.parse().map_err(|error| anyhow!("failed to read tokens: {error}"))?;
    let mut tokens = Vec::new();
    flatten(stream, false, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, parenthesised: bool, into: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let text = match &tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let opening = into.len();
                into.push(Token { text: open.to_owned(), line, closing: None, parenthesised });
                flatten(group.stream(), parenthesised || open == "(", into);
                into[opening].closing = Some(into.len());
                let line = group.span_close().end().line;
                into.push(Token { text: close.to_owned(), line, closing: None, parenthesised });
                continue;
            }
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Punct(punct) => punct.as_char().to_string(),
            TokenTree::Literal(literal) => literal.to_string(),
        };
        into.push(Token { text, line, closing: None, parenthesised });
    }
}

/// Where in the list these tokens stand one after the other.
pub(crate) fn positions<'a>(tokens: &'a [Token], sought: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let fits = move |window: &[Token]| window.iter().zip(sought).all(|(token, text)| token.text == *text);
    tokens.windows(sought.len()).enumerate().filter(move |(_, window)| fits(window)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let tokens = read("// a::b()\nlet s = \"a::b()\";\n\na::b();\n").expect("valid");
        let found: Vec<usize> = positions(&tokens, &["a", ":", ":", "b"]).map(|at| tokens[at].line).collect();
        assert_eq!(found, [4]);
    }

    #[test]
    fn groups_know_their_end_and_what_is_in_parentheses() {
        let tokens = read("fn f(#[a] x: u8) {\n}\n").expect("valid");
        let brace = positions(&tokens, &["{"]).next().expect("a body");
        assert_eq!(tokens[tokens[brace].closing.expect("it opens")].line, 2);
        let hash = positions(&tokens, &["#"]).next().expect("an attribute");
        assert!(tokens[hash].parenthesised && !tokens[brace].parenthesised);
    }
}
