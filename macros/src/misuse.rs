//! Attributes and signatures that cannot work, and what to write instead.

use crate::drawn;
use crate::expand::Spelling;
use crate::options::Options;
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, FnArg, Item, ItemFn, Pat, PatType, Result, Stmt, Type};

/// Checks everything that can be known from the tokens; all errors at once.
pub(crate) fn check(function: &ItemFn, spelling: Spelling, options: Option<&Options>) -> Result<()> {
    let attributes = function.attrs.iter().map(|attribute| check_attribute(attribute, function));
    // Without valid options it is not known which parameters have a strategy.
    let parameters = options.map_or_else(Vec::new, |options| check_parameters(function, spelling, options));
    let checks = attributes.chain([check_asyncness(function), check_generics(function)]).chain(parameters);
    let mut errors = checks.filter_map(Result::err);
    let Some(mut all) = errors.next() else {
        return Ok(());
    };
    errors.for_each(|error| all.combine(error));
    Err(all)
}

/// Whether rstest will expand below us and fill in the other parameters.
pub(crate) fn has_rstest(function: &ItemFn) -> bool {
    function.attrs.iter().any(|attribute| ends_with(attribute, "rstest"))
}

/// Whether the attribute is one of the spellings of the built-in `#[test]` (as tokio-macros and test-log decide it).
pub(crate) fn is_builtin_test(attribute: &Attribute) -> bool {
    let segments: Vec<String> = attribute.path().segments.iter().map(|segment| segment.ident.to_string()).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    matches!(segments[..], ["test"] | ["core" | "std", "prelude", _, "test"])
}

/// Whether this parameter is our own.
pub(crate) fn is_chaos(parameter: &PatType) -> bool {
    matches!(&*parameter.ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Chaos"))
}

pub(crate) fn ends_with(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == name)
}

fn path_text(attribute: &Attribute) -> String {
    let segments = attribute.path().segments.iter().map(|segment| segment.ident.to_string());
    segments.collect::<Vec<_>>().join("::")
}

fn check_attribute(attribute: &Attribute, function: &ItemFn) -> Result<()> {
    let text = path_text(attribute);
    let runtimes =
        ["tokio", "async_std", "smol_potat", "actix_rt", "actix_web", "futures_test", "sqlx", "turmoil", "madsim"];
    let first = text.split("::").next().unwrap_or_default();
    if ends_with(attribute, "test") && runtimes.contains(&first) {
        return Err(Error::new_spanned(
            attribute,
            format!(
                "`#[{text}]` cannot be combined with `#[chaos_test]`: both start a runtime\nhelp: delete `#[{text}]`"
            ),
        ));
    }
    if ends_with(attribute, "chaos_test") || text == "windtunnel::test" {
        return Err(Error::new_spanned(
            attribute,
            format!(
                "the function already is a `#[chaos_test]`\nhelp: delete `#[{text}]`, and write its options in the \
                 first attribute"
            ),
        ));
    }
    if text == "should_panic" {
        return Err(Error::new_spanned(
            attribute,
            "`#[should_panic]` hides which schedule failed\nhelp: use `#[chaos_test(expect_failure = \"text of the \
             failure\")]`, which also checks that the failure is found",
        ));
    }
    if text == "timeout" && has_rstest(function) {
        return Err(Error::new_spanned(
            attribute,
            "rstest's `#[timeout]` measures wall-clock time, which a simulation does not have\nhelp: use \
             `#[chaos_test(virtual_timeout = \"60s\")]` for virtual time or `wall_timeout = \"2m\"` for real time",
        ));
    }
    Ok(())
}

fn check_asyncness(function: &ItemFn) -> Result<()> {
    if function.sig.asyncness.is_some() {
        return Ok(());
    }
    Err(Error::new(
        function.sig.fn_token.span(),
        "`#[chaos_test]` needs an `async fn`: the body runs inside the simulated world\nnote: another test attribute \
         above it (`#[tokio::test]`?) may have made this function synchronous; delete that attribute, \
         `#[chaos_test]` brings its own runtime",
    ))
}

fn check_generics(function: &ItemFn) -> Result<()> {
    if function.sig.generics.params.is_empty() || has_rstest(function) {
        return Ok(());
    }
    Err(Error::new_spanned(&function.sig.generics, "a test cannot be generic: nobody would choose the parameters"))
}

fn check_parameters(function: &ItemFn, spelling: Spelling, options: &Options) -> Vec<Result<()>> {
    let mut seen = false;
    let check = |parameter: &FnArg| {
        let parameter = match parameter {
            FnArg::Typed(parameter) => parameter,
            receiver => {
                return Err(Error::new_spanned(receiver, "a test is a free function: it cannot take `self`"));
            }
        };
        let drawn = drawn::of(parameter, options)?.is_some();
        if drawn {
            check_drawn(parameter, function)?;
        }
        if is_chaos(parameter) {
            let again = std::mem::replace(&mut seen, true);
            return if again { Err(Error::new_spanned(parameter, "`Chaos` is asked for twice")) } else { Ok(()) };
        }
        if drawn || has_rstest(function) { Ok(()) } else { Err(unknown_parameter(parameter, spelling)) }
    };
    let parameters: Vec<Result<()>> = function.sig.inputs.iter().map(check).collect();
    let is_parameter = |name: &syn::Ident| {
        let typed = function.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(parameter) => drawn::name(parameter),
            FnArg::Receiver(_) => None,
        });
        typed.into_iter().any(|parameter| parameter == name)
    };
    let unknown = options.strategies.iter().filter(|(name, _)| !is_parameter(name));
    let unknown = unknown.map(|(name, _)| Err(Error::new_spanned(name, format!("there is no parameter `{name}`"))));
    parameters.into_iter().chain(unknown).collect()
}

/// Attributes of a parameter by which rstest makes its value.
const RSTEST: [&str; 7] = ["case", "values", "from", "with", "future", "files", "context"];

fn check_drawn(parameter: &PatType, function: &ItemFn) -> Result<()> {
    let beside = parameter.attrs.iter().find(|attribute| drawn::is_strategy(attribute));
    if is_chaos(parameter) {
        let message = "a `Chaos` is the test's own world: it is not drawn\nhelp: delete the strategy";
        return Err(beside.map_or_else(
            || Error::new_spanned(parameter, message),
            |attribute| Error::new_spanned(attribute, message),
        ));
    }
    let name = text_of(&parameter.pat);
    let other = |attribute: &&Attribute| RSTEST.iter().any(|name| attribute.path().is_ident(name));
    if let Some(attribute) = parameter.attrs.iter().find(other) {
        let other = path_text(attribute);
        let message = format!("`{name}` is drawn, and rstest makes it too: delete `#[{other}]` or the strategy");
        return Err(Error::new_spanned(attribute, message));
    }
    if has_rstest(function) && drawn::name(parameter).is_none() {
        let message = "beside `#[rstest]` a parameter that is drawn needs a name";
        return Err(Error::new_spanned(&parameter.pat, message));
    }
    match beside {
        Some(attribute) if is_from_rstest(function) => Err(Error::new_spanned(
            attribute,
            format!(
                "rstest, above, does not know `#[strategy]`\nhelp: put `#[chaos_test]` above `#[rstest]`, or the \
                 strategy into this attribute: `#[windtunnel::test(strategies({name} = …))]`, and mark the parameter \
                 `#[ignore]`"
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether rstest has expanded above us: the user's function then stands inside, under the same name.
fn is_from_rstest(function: &ItemFn) -> bool {
    function
        .block
        .stmts
        .iter()
        .any(|statement| matches!(statement, Stmt::Item(Item::Fn(inner)) if inner.sig.ident == function.sig.ident))
}

fn text_of(pattern: &Pat) -> String {
    use quote::ToTokens as _;
    match pattern {
        Pat::Ident(name) => name.ident.to_string(),
        pattern => pattern.to_token_stream().to_string(),
    }
}

fn unknown_parameter(parameter: &PatType, spelling: Spelling) -> Error {
    use quote::ToTokens as _;
    let name = text_of(&parameter.pat);
    let kind = parameter.ty.to_token_stream().to_string();
    let place = match spelling {
        Spelling::ChaosTest => "`#[rstest]` below `#[chaos_test]`",
        Spelling::Test => "`#[rstest]` above this attribute",
    };
    Error::new_spanned(
        parameter,
        format!(
            "do not know how to make `{name}: {kind}`\nhelp: add `#[strategy = …]` to draw it for every case, {place} \
             to take it from a fixture or case, or use the type `Chaos`"
        ),
    )
}
