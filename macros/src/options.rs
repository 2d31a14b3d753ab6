//! What stands between the parentheses of `#[chaos_test(…)]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::spanned::Spanned as _;
use syn::token::Paren;
use syn::{Error, Expr, ExprLit, Ident, Lit, Path, Result, Token, parenthesized, parse_quote};

/// Every option there is, in the order in which messages list them.
const NAMES: [&str; 11] = [
    "world",
    "faults",
    "plan",
    "cases",
    "seed",
    "virtual_timeout",
    "wall_timeout",
    "start",
    "expect_failure",
    "strategies",
    "crate",
];

/// Options that the design has and this version has not, with what to do meanwhile.
const LATER: [(&str, &str); 1] = [("reaches", "assert what must have happened in the body")];

/// Options that are none because something else decides them, and what does.
const ELSEWHERE: [(&str, &str); 2] = [
    ("profile", "profiles stand in `chaos.toml`, and whoever runs the tests chooses one: `CHAOS_PROFILE=nightly`"),
    ("jobs", "whoever runs the tests decides how many cases run at once: `CHAOS_JOBS=4`"),
];

/// In which worlds a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Worlds {
    /// Only the simulated one.
    #[default]
    Sim,
    /// Only the real one.
    Real,
    /// Both: as `name::sim` and `name::real`.
    Both,
}

/// The options of one test.
#[derive(Default)]
pub(crate) struct Options {
    world: Option<Worlds>,
    pub(crate) faults: Option<Expr>,
    pub(crate) plan: Option<Expr>,
    pub(crate) cases: Option<Expr>,
    pub(crate) seed: Option<Expr>,
    pub(crate) virtual_timeout: Option<Expr>,
    pub(crate) wall_timeout: Option<Expr>,
    pub(crate) start: Option<Expr>,
    pub(crate) expect_failure: Option<Expr>,
    /// Parameters and their strategies: what `#[strategy = …]` says where it cannot stand.
    pub(crate) strategies: Vec<(Ident, Expr)>,
    krate: Option<Path>,
}

impl Options {
    /// Parses the attribute's tokens; every error found is reported, not only the first.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let mut errors: Option<Error> = None;
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                let name = Ident::parse_any(input)?;
                if let Err(error) = options.option(&name, input) {
                    match &mut errors {
                        Some(errors) => errors.combine(error),
                        None => errors = Some(error),
                    }
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        parser.parse2(tokens)?;
        if let (None, Some(faults), Some(_)) = (&errors, &options.faults, &options.plan) {
            let message = "`faults` draws plans and `plan` is one: leave one of them out";
            errors = Some(Error::new_spanned(faults, message));
        }
        errors.map_or(Ok(options), Err)
    }

    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        let text = name.unraw().to_string();
        if text == "strategies" && input.peek(Paren) {
            return self.strategies(input);
        }
        if text == "strategies" || !input.peek(Token![=]) {
            skip_value(input);
            check_name(name, &text)?;
            let example = example(&text);
            let right = if text == "strategies" { example.to_owned() } else { format!("{text} = {example}") };
            return Err(Error::new_spanned(name, format!("`{text}` needs a value: `{right}`")));
        }
        input.parse::<Token![=]>()?;
        if let Err(error) = check_name(name, &text) {
            skip_value(input);
            return Err(error);
        }
        if text == "crate" {
            let path = Path::parse_mod_style(input)?;
            return once(&mut self.krate, path, name);
        }
        let value: Expr = input.parse()?;
        if text == "world" {
            return once(&mut self.world, worlds(&value)?, name);
        }
        check_value(&text, &value)?;
        let slot = match text.as_str() {
            "faults" => &mut self.faults,
            "plan" => &mut self.plan,
            "cases" => &mut self.cases,
            "seed" => &mut self.seed,
            "virtual_timeout" => &mut self.virtual_timeout,
            "wall_timeout" => &mut self.wall_timeout,
            "start" => &mut self.start,
            "expect_failure" => &mut self.expect_failure,
            other => unreachable!("`{other}` has passed check_name"),
        };
        once(slot, value, name)
    }

    fn strategies(&mut self, input: ParseStream<'_>) -> Result<()> {
        let inside;
        parenthesized!(inside in input);
        while !inside.is_empty() {
            let name: Ident = inside.parse()?;
            inside.parse::<Token![=]>()?;
            self.strategies.push((name, inside.parse()?));
            if !inside.is_empty() {
                inside.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    /// In which worlds the test runs.
    pub(crate) fn worlds(&self) -> Worlds {
        self.world.unwrap_or_default()
    }

    /// Where the generated code finds windtunnel.
    pub(crate) fn krate(&self) -> Path {
        self.krate.clone().unwrap_or_else(|| parse_quote!(::windtunnel))
    }
}

/// `sim`, `real`, or a list of both.
fn worlds(value: &Expr) -> Result<Worlds> {
    let wrong = || Error::new_spanned(value, "a world is `sim`, `real` or both: `world = [sim, real]`");
    let world = |value: &Expr| match value {
        Expr::Path(path) if path.path.is_ident("sim") => Ok(Worlds::Sim),
        Expr::Path(path) if path.path.is_ident("real") => Ok(Worlds::Real),
        _ => Err(wrong()),
    };
    let Expr::Array(list) = value else { return world(value) };
    match list.elems.iter().map(world).collect::<Result<Vec<_>>>()?.as_slice() {
        [one] => Ok(*one),
        [one, other] if one != other => Ok(Worlds::Both),
        _ => Err(wrong()),
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &Ident) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new_spanned(name, format!("`{name}` is given twice")));
    }
    *slot = Some(value);
    Ok(())
}

/// Moves on to the next comma, so that the remaining options are looked at too.
fn skip_value(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        // Cannot fail: there is a token, and any token is a token tree.
        let _: Result<proc_macro2::TokenTree> = input.parse();
    }
}

fn check_name(name: &Ident, text: &str) -> Result<()> {
    if NAMES.contains(&text) {
        return Ok(());
    }
    if let Some((later, meanwhile)) = LATER.iter().find(|(later, _)| *later == text) {
        return Err(Error::new_spanned(name, format!("`{later}` is not there yet\nhelp: {meanwhile}")));
    }
    if let Some((_, who)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == text) {
        return Err(Error::new_spanned(name, format!("`{text}` is no option of a test\nhelp: {who}")));
    }
    let suggestion = nearest(text).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
    let all = NAMES.map(|name| format!("`{name}`")).join(", ");
    Err(Error::new_spanned(name, format!("unknown option `{text}`{suggestion}\nhelp: the options are {all}")))
}

fn nearest(text: &str) -> Option<&'static str> {
    // The name that this option has in other frameworks, or had in drafts.
    let known = match text {
        "timeout" | "horizon" => Some("virtual_timeout"),
        "runs" | "iterations" | "num" => Some("cases"),
        "should_panic" | "fails" => Some("expect_failure"),
        _ => None,
    };
    let close = || {
        NAMES
            .iter()
            .map(|name| (strsim::jaro_winkler(text, name), *name))
            .filter(|(similarity, _)| *similarity > 0.8)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name)
    };
    known.or_else(close)
}

fn example(name: &str) -> &'static str {
    match name {
        "world" => "[sim, real]",
        "faults" => "net::partitions() + host::crashes()",
        "plan" => "\"1s partition {kv0} | {kv1,kv2} for 5s\"",
        "cases" => "64",
        "seed" => "0x5f1d",
        "start" => "\"2027-03-28T00:59:00Z\"",
        "expect_failure" => "\"text of the failure\"",
        "strategies" => "strategies(writers = 1..=3)",
        "crate" => "::windtunnel",
        _ => "\"60s\"",
    }
}

/// Finds a literal of the wrong kind; anything but a literal is left to the type checker.
fn check_value(name: &str, value: &Expr) -> Result<()> {
    let Expr::Lit(ExprLit { lit, .. }) = value else {
        return Ok(());
    };
    let (fits, wanted) = match name {
        "cases" | "seed" => (matches!(lit, Lit::Int(_)), "a number"),
        "faults" => (false, "a vocabulary of faults"),
        _ => (matches!(lit, Lit::Str(_)), "a string"),
    };
    if fits {
        return Ok(());
    }
    let example = example(name);
    Err(Error::new_spanned(value, format!("`{name}` takes {wanted}: `{name} = {example}`")))
}

/// `Some(value)` or `None`, as tokens.
pub(crate) fn optional(value: Option<&Expr>) -> TokenStream {
    match value {
        Some(value) => quote_spanned!(value.span()=> ::core::option::Option::Some(#value)),
        None => quote_spanned!(Span::call_site()=> ::core::option::Option::None),
    }
}

/// `reader(value)`, spanned at the value, where the compiler then reports what the reader objects to.
pub(crate) fn read(krate: &Path, reader: &str, value: &Expr) -> TokenStream {
    called(krate, &Ident::new(reader, value.span()).into_token_stream(), value)
}

/// `__private::reader(value)`, spanned at the value.
pub(crate) fn called(krate: &Path, reader: &TokenStream, value: &Expr) -> TokenStream {
    let span = value.span();
    let krate = krate.to_token_stream().into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    quote_spanned!(span=> #(#krate)*::__private::#reader(#value))
}
