//! Parameters that are drawn: `#[strategy = …]` beside them, or `strategies(name = …)` in the attribute.

use crate::misuse::{ends_with, is_chaos};
use crate::options::{Options, called};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, Meta, Pat, PatType, Path, Result, Type};

/// The strategy written beside a parameter, if there is one.
pub(crate) fn beside(parameter: &PatType) -> Result<Option<Expr>> {
    let mut strategies = parameter.attrs.iter().filter(|attribute| is_strategy(attribute));
    let Some(strategy) = strategies.next() else { return Ok(None) };
    if let Some(again) = strategies.next() {
        return Err(Error::new_spanned(again, "`#[strategy]` is given twice"));
    }
    match &strategy.meta {
        Meta::NameValue(pair) => Ok(Some(pair.value.clone())),
        _ => {
            let kind = parameter.ty.to_token_stream();
            let message = format!("`#[strategy]` needs a value: `#[strategy = any::<{kind}>()]`");
            Err(Error::new_spanned(strategy, message))
        }
    }
}

/// The strategy of a parameter, wherever it is written.
pub(crate) fn of(parameter: &PatType, options: &Options) -> Result<Option<Expr>> {
    let beside = beside(parameter)?;
    let name = name(parameter);
    let mut all = options.strategies.iter().filter(|(other, _)| name.is_some_and(|name| name == other));
    let given = all.next();
    match (beside, given, all.next()) {
        (_, _, Some((twice, _))) | (Some(_), Some((twice, _)), _) => {
            Err(Error::new_spanned(twice, format!("`{twice}` has two strategies: leave one of them out")))
        }
        (Some(strategy), None, None) => Ok(Some(strategy)),
        (None, given, None) => Ok(given.map(|(_, strategy)| strategy.clone())),
    }
}

pub(crate) fn is_strategy(attribute: &Attribute) -> bool {
    ends_with(attribute, "strategy")
}

/// The parameter's name, if it is one.
pub(crate) fn name(parameter: &PatType) -> Option<&Ident> {
    match &*parameter.pat {
        Pat::Ident(pattern) => Some(&pattern.ident),
        _ => None,
    }
}

/// The call of the user's function with all that it takes, as a closure of the test's context.
pub(crate) fn call(function: &ItemFn, options: &Options, krate: &Path, verdict: &TokenStream) -> TokenStream {
    // Hygienic: strategies are the user's expressions.
    let site = Span::mixed_site();
    let cx = Ident::new("cx", site);
    let arguments = Ident::new("arguments", site);
    let mut draws = Vec::new();
    let mut values = Vec::new();
    for (at, parameter) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(parameter) = parameter else { continue };
        match of(parameter, options) {
            Ok(Some(strategy)) => {
                let value = Ident::new(&format!("argument_{at}"), site);
                let draw = draw(parameter, &strategy, &arguments, krate);
                draws.push(quote!(let #value = #draw;));
                values.push(value);
            }
            _ => values.push(cx.clone()),
        }
    }
    let name = &function.sig.ident;
    if draws.is_empty() {
        return quote!(|#cx: #krate::Chaos| { let _ = &#cx; #verdict(#name(#(#values),*)) });
    }
    quote! {
        |#cx: #krate::Chaos| {
            let mut #arguments = #krate::__private::Arguments::of(&#cx);
            #(#draws)*
            #arguments.done();
            #verdict(#name(#(#values),*))
        }
    }
}

/// Spanned at the strategy, where the compiler then reports what is none.
fn draw(parameter: &PatType, strategy: &Expr, arguments: &Ident, krate: &Path) -> TokenStream {
    let kind = &parameter.ty;
    let name = name(parameter).map_or_else(|| parameter.pat.to_token_stream().to_string(), Ident::to_string);
    let elements = if is_list(kind) {
        quote!(::core::option::Option::Some(|list: &#kind| list.len()))
    } else {
        quote!(::core::option::Option::None)
    };
    let strategy = checked(strategy, kind, krate);
    quote!(#arguments.draw::<#kind>(#name, #elements, #strategy))
}

/// The strategy, of which the compiler says when it is none: spanned at it.
fn checked(strategy: &Expr, kind: &Type, krate: &Path) -> TokenStream {
    let strategy = typed(strategy, kind);
    let reader = Ident::new("strategy_for", strategy.span());
    let kind = quote_spanned!(strategy.span()=> ::<#kind, _>);
    called(krate, &quote!(#reader #kind), &strategy)
}

/// Constants beside the test that make the compiler check each strategy, as those of options do.
pub(crate) fn checks(function: &ItemFn, options: &Options, krate: &Path) -> TokenStream {
    let typed = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(parameter) => Some((of(parameter, options).ok()??, &parameter.ty)),
        FnArg::Receiver(_) => None,
    });
    let checks = typed.map(|(strategy, kind)| {
        let checked = checked(&strategy, kind, krate);
        quote!(const _: fn() = || { let _ = #checked; };)
    });
    checks.collect()
}

fn is_list(kind: &Type) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Vec"))
}

/// A range of numbers without a type takes the parameter's: `1..9` is one of `i32` else.
fn typed(strategy: &Expr, kind: &Type) -> Expr {
    const NUMBERS: [&str; 14] =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64"];
    let number = match kind {
        Type::Path(path) => path.path.get_ident().map(Ident::to_string),
        _ => None,
    };
    let number = number.filter(|number| NUMBERS.contains(&number.as_str()));
    match (strategy.clone(), number) {
        (Expr::Range(mut range), Some(number)) => {
            for end in [&mut range.start, &mut range.end].into_iter().flatten() {
                suffix(end, &number);
            }
            Expr::Range(range)
        }
        (other, _) => other,
    }
}

fn suffix(number: &mut Expr, kind: &str) {
    match number {
        Expr::Unary(unary) => suffix(&mut unary.expr, kind),
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) if literal.suffix().is_empty() && !kind.starts_with('f') => {
            *literal = syn::LitInt::new(&format!("{literal}{kind}"), literal.span());
        }
        Expr::Lit(ExprLit { lit: Lit::Float(literal), .. }) if literal.suffix().is_empty() && kind.starts_with('f') => {
            *literal = syn::LitFloat::new(&format!("{literal}{kind}"), literal.span());
        }
        _ => {}
    }
}

/// Moves the strategies from beside the parameters into the attribute's `strategies(…)`, and has rstest leave the
/// parameters alone: it copies them to where nobody would take the attribute away.
pub(crate) fn moved_away(function: &mut ItemFn) -> TokenStream {
    let mut moved = Vec::new();
    for input in &mut function.sig.inputs {
        let FnArg::Typed(parameter) = input else { continue };
        let strategy = beside(parameter).ok().flatten();
        if strategy.is_none() && !is_chaos(parameter) {
            continue;
        }
        if let (Some(strategy), Some(name)) = (strategy, name(parameter)) {
            moved.push(quote!(#name = #strategy));
        }
        parameter.attrs.retain(|attribute| !is_strategy(attribute));
        if !parameter.attrs.iter().any(|attribute| attribute.path().is_ident("ignore")) {
            parameter.attrs.push(syn::parse_quote!(#[ignore]));
        }
    }
    if moved.is_empty() { TokenStream::new() } else { quote!(strategies(#(#moved),*)) }
}
