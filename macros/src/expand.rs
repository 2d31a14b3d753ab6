//! The generated test.

use crate::options::{Options, Worlds, optional, read};
use crate::{drawn, misuse};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, FnArg, ItemFn, Path, ReturnType, parse_quote, parse2};

/// Which of the two attributes was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `#[chaos_test]`, alone or above `#[rstest]`.
    ChaosTest,
    /// `#[windtunnel::test]`, alone or below `#[rstest]`.
    Test,
}

/// Expands either attribute. On error the function is emitted as well, so that an editor's completion inside it
/// goes on working.
pub(crate) fn attribute(options: TokenStream, item: TokenStream, spelling: Spelling) -> TokenStream {
    let function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let message = "`#[chaos_test]` goes on an `async fn`";
            return with_item(&Error::new(error.span(), message), &item);
        }
    };
    let tokens = options.clone();
    let parsed = Options::parse(options);
    let checked = misuse::check(&function, spelling, parsed.as_ref().ok());
    let parsed = match (parsed, checked) {
        (Ok(parsed), Ok(())) => parsed,
        (Ok(_), Err(error)) | (Err(error), Ok(())) => return with_item(&error, &kept(function)),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            return with_item(&error, &kept(function));
        }
    };
    if misuse::has_rstest(&function) { above_rstest(function, &parsed, &tokens) } else { test(function, &parsed) }
}

fn with_item(error: &Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

/// The function as it was written, without the attributes that would only add errors of their own to ours.
fn kept(mut function: ItemFn) -> TokenStream {
    function.attrs.retain(|attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("allow"));
    for input in &mut function.sig.inputs {
        if let FnArg::Typed(parameter) = input {
            parameter.attrs.clear();
        }
    }
    quote!(#[allow(dead_code, unused)] #function)
}

/// `#[chaos_test]` stands above `#[rstest]`: rstest generates the tests, each under `#[windtunnel::test]` with our
/// options, and leaves our parameters alone.
fn above_rstest(mut function: ItemFn, options: &Options, tokens: &TokenStream) -> TokenStream {
    let strategies = drawn::moved_away(&mut function);
    let is_open = |last: TokenTree| !matches!(last, TokenTree::Punct(comma) if comma.as_char() == ',');
    let comma = tokens.clone().into_iter().last().is_some_and(is_open).then(|| quote!(,));
    let krate = options.krate();
    function.attrs.push(parse_quote!(#[test_attr(#krate::test(#tokens #comma #strategies))]));
    function.into_token_stream()
}

/// A test function around the user's own, which keeps its name, tokens and spans.
fn test(mut function: ItemFn, options: &Options) -> TokenStream {
    let attributes = std::mem::take(&mut function.attrs);
    // A second `#[test]` would run the body twice.
    let test_attribute =
        (!attributes.iter().any(misuse::is_builtin_test)).then(|| quote!(#[::core::prelude::v1::test]));
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let name = function.sig.ident.clone();
    let krate = options.krate();
    let call = body(&function, options, &krate);
    let strategies = drawn::checks(&function, options, &krate);
    for input in &mut function.sig.inputs {
        if let FnArg::Typed(parameter) = input {
            let is_ours = |attribute: &Attribute| attribute.path().is_ident("ignore") || drawn::is_strategy(attribute);
            parameter.attrs.retain(|attribute| !is_ours(attribute));
        }
    }
    let [world, path] = ["world", "path"].map(|name| Ident::new(name, Span::mixed_site()));
    let (described, mut checks) = definition(options, &krate, &world, &path);
    checks.extend(strategies);
    // Hygienic: strategies and options are the user's expressions.
    let [definition, body] = ["definition", "body"].map(|name| Ident::new(name, Span::mixed_site()));
    // Spanned at the function's name, where `Location::caller()` then points.
    let run = quote_spanned!(name.span()=> #krate::__private::run(#definition, #body););
    let conditions: Vec<&Attribute> = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    let checks = (!checks.is_empty()).then(|| quote!(#(#conditions)* const _: () = { #checks };));
    let whole = quote! {
        #function
        let #definition = #described;
        let #body = #call;
        #run
    };
    let one = |which: TokenStream| {
        quote! {
            #checks
            #(#attributes)*
            #test_attribute
            #visibility fn #name() {
                let #world = #krate::__private::World::#which;
                let #path = ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name));
                #whole
            }
        }
    };
    match options.worlds() {
        Worlds::Sim => one(quote!(Sim)),
        Worlds::Real => one(quote!(Real)),
        Worlds::Both => {
            let function = quote::format_ident!("__{}_in", name);
            let tests = quote!(#(#attributes)* #test_attribute);
            let module = in_each_world(&name, &function, &krate, &tests);
            quote! {
                #checks
                #(#conditions)*
                #[cfg(test)]
                fn #function(#world: #krate::__private::World, #path: &'static str) {
                    #whole
                }
                #(#conditions)*
                #[cfg(test)]
                #visibility #module
            }
        }
    }
}

/// A module with a test for each world. The user's function stays outside, where its names mean what they say.
fn in_each_world(name: &Ident, function: &Ident, krate: &Path, tests: &TokenStream) -> TokenStream {
    let test = |world: &str, which: &str| {
        let [world, which] = [world, which].map(|name| Ident::new(name, Span::call_site()));
        let path = quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#world)));
        quote! {
            #tests
            fn #world() {
                super::#function(#krate::__private::World::#which, #path);
            }
        }
    };
    let (sim, real) = (test("sim", "Sim"), test("real", "Real"));
    quote!(mod #name { #sim #real })
}

/// Calls the user's function. Spanned at its return type, so that an unusable one is reported there.
fn body(function: &ItemFn, options: &Options, krate: &Path) -> TokenStream {
    let name = &function.sig.ident;
    let span = match &function.sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, returned) => returned.span(),
    };
    let verdict = quote_spanned!(span=> #krate::__private::verdict);
    drawn::call(function, options, krate, &verdict)
}

/// The definition, and constants beside the test that make the compiler check what is written as text. They stand
/// outside the function, which exists in test builds only, so that an editor shows the error.
fn definition(options: &Options, krate: &Path, world: &Ident, path: &Ident) -> (TokenStream, TokenStream) {
    let mut checks = TokenStream::new();
    let mut checked = |value: Option<&syn::Expr>, kind: &str, reader: &str| match value {
        Some(value) => {
            let read = read(krate, reader, value);
            let kind = syn::Ident::new(kind, value.span());
            checks.extend(quote_spanned!(value.span()=> const _: #krate::__private::#kind = #read;));
            quote!(::core::option::Option::Some(#read))
        }
        None => quote!(::core::option::Option::None),
    };
    let virtual_timeout = checked(options.virtual_timeout.as_ref(), "Duration", "duration");
    let wall_timeout = checked(options.wall_timeout.as_ref(), "Duration", "duration");
    let start = checked(options.start.as_ref(), "UnixNanoseconds", "timestamp");
    let faults = match options.faults.as_ref() {
        Some(value) => {
            let read = read(krate, "faults", value);
            checks.extend(quote!(const _: fn() = || { let _ = #read; };));
            quote!(::core::option::Option::Some(#read))
        }
        None => quote!(::core::option::Option::None),
    };
    let plan = optional(options.plan.as_ref());
    let cases = optional(options.cases.as_ref());
    let seed = optional(options.seed.as_ref());
    let expect_failure = optional(options.expect_failure.as_ref());
    let both = options.worlds() == Worlds::Both;
    let definition = quote! {
        #krate::__private::TestDefinition {
            world: #world,
            in_both_worlds: #both,
            path: #path,
            package: ::core::option_env!("CARGO_PKG_NAME"),
            crate_name: ::core::option_env!("CARGO_CRATE_NAME"),
            // Cargo sets it for integration tests and benches only.
            integration_test: ::core::option_env!("CARGO_TARGET_TMPDIR").is_some(),
            faults: #faults,
            plan: #plan,
            cases: #cases,
            seed: #seed,
            virtual_timeout: #virtual_timeout,
            wall_timeout: #wall_timeout,
            start: #start,
            expect_failure: #expect_failure,
        }
    };
    (definition, checks)
}
