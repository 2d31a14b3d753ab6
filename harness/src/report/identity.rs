//! What makes two failures the same bug, as one line of text.
//!
//! Shrinking keeps a smaller plan only if the failure stays the same, and a regression is saved once. So what changes
//! from run to run must not count: numbers, addresses, quoted values, which member of a group it was. What tells bugs
//! apart must: the class, the group, the place, the words.

use super::failure::{Death, Failure, FailureKind};
use super::lines::Log;

/// The same bug gives the same text: `panicked on test at tests/kv.rs:41:5: read # where # was written`.
pub(crate) fn identity(failure: &Failure, log: &Log) -> String {
    let of_class = |class: &str| class.to_owned();
    match &failure.kind {
        FailureKind::Panicked { host, message, location } => {
            let place = location.as_ref().map(ToString::to_string);
            line("panicked", host, place.as_deref(), &words(message))
        }
        FailureKind::Error { text } => line("returned an error", "", None, &words(text)),
        FailureKind::Unsteady { text } => line("steady state broken", "", None, &words(text)),
        FailureKind::NotRecovered { text } => line("not recovered", "", None, &words(text)),
        FailureKind::Exited { host, code } => ended(host, &format!("exit code {code}"), log),
        FailureKind::Killed { host, signal } => ended(host, &format!("signal {signal}"), log),
        FailureKind::Refused { host, call, .. } => line("refused", host, None, call),
        FailureKind::Deadlock => of_class("deadlock"),
        FailureKind::Livelock => of_class("livelock"),
        FailureKind::VirtualTimeout { .. } => of_class("virtual timeout"),
        FailureKind::WallTimeout { .. } => of_class("wall timeout"),
        FailureKind::Died { how, last_words } => {
            let how = match how {
                Death::Signal(signal) => format!("died by signal {signal}"),
                Death::Code(code) => format!("died with exit code {code}"),
            };
            line(&how, "", None, &words(last_words))
        }
        FailureKind::Vanished => of_class("ended early"),
        FailureKind::Impossible { reason } => line("impossible", "", None, &words(reason)),
        FailureKind::Nondeterministic { .. } => of_class("nondeterministic"),
        FailureKind::NeverFailed { .. } => of_class("never failed"),
    }
}

/// Whether two identities are of the same bug though the code was edited in between: lines and columns may differ.
pub(crate) fn is_same_after_edits(one: &str, other: &str) -> bool {
    one == other || without_line(one) == without_line(other)
}

/// How a host ended says less than the panic that it printed before.
fn ended(host: &str, how: &str, log: &Log) -> String {
    match log.last_panic(host) {
        Some((place, message)) => line("host ended", host, Some(&place), &words(&message)),
        None => line("host ended", host, None, how),
    }
}

fn line(class: &str, host: &str, place: Option<&str>, words: &str) -> String {
    let mut line = class.to_owned();
    if !host.is_empty() {
        line += &format!(" on {}", group(host));
    }
    if let Some(place) = place {
        line += &format!(" at {}", on_any_machine(place));
    }
    if !words.is_empty() {
        line += &format!(": {words}");
    }
    line
}

/// `kv` of `kv0`.
fn group(host: &str) -> &str {
    let group = host.trim_end_matches(|c: char| c.is_ascii_digit());
    if group.is_empty() { "#" } else { group }
}

/// A place without what differs between machines: where dependencies and the standard library lie.
fn on_any_machine(place: &str) -> &str {
    // `…/registry/src/<index>/tokio-1.52.0/src/…`, `/rustc/<commit>/library/…`.
    let behind = |marker: &str| {
        let (_, rest) = place.split_once(marker)?;
        rest.split_once('/').map(|(_, rest)| rest)
    };
    behind("/registry/src/").or_else(|| behind("/rustc/")).unwrap_or(place)
}

/// Without the first `:41:5`. Words have no digits any more, so that it can only be the place's.
fn without_line(identity: &str) -> String {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    for (begin, _) in identity.match_indices(':') {
        let line = digits(&identity[begin + 1..]);
        let Some(rest) = identity[begin + 1 + line..].strip_prefix(':') else { continue };
        let column = digits(rest);
        if line > 0 && column > 0 {
            return format!("{}{}", &identity[..begin], &rest[column..]);
        }
    }
    identity.to_owned()
}

const CHARACTERS_MAX: usize = 200;

/// A message's first line, with `#` for each value.
fn words(message: &str) -> String {
    let first = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut rest = first;
    let mut words = String::new();
    while let Some(next) = rest.chars().next() {
        let before = words.chars().next_back();
        let (value, length) = token(rest, next, before);
        match value {
            true => words.push('#'),
            false => words.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    // A list of three values and one of two are alike.
    while words.contains("#, #") {
        words = words.replace("#, #", "#");
    }
    words.chars().take(CHARACTERS_MAX).collect()
}

/// What a text begins with: whether it is a value, and its length.
fn token(text: &str, next: char, before: Option<char>) -> (bool, usize) {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    match next {
        '"' | '\'' if !before.is_some_and(in_word) => match closing_quote(text, next) {
            Some(end) => (true, end),
            None => (false, 1),
        },
        '-' | '+' if !before.is_some_and(in_word) => match number(&text[1..]) {
            0 => (false, 1),
            length => (true, 1 + length),
        },
        _ if next.is_ascii_digit() => (true, number(text).max(hexadecimal(text))),
        _ if in_word(next) => match hexadecimal(text) {
            0 => (false, text.find(|c: char| !in_word(c) || c.is_ascii_digit()).unwrap_or(text.len())),
            length => (true, length),
        },
        _ => (false, next.len_utf8()),
    }
}

/// The length of a quoted value. An apostrophe within a word quotes nothing.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => {
                let after = text[at + 1..].chars().next();
                if quote == '"' || !after.is_some_and(char::is_alphanumeric) {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The length of a number at the beginning, with fraction, separators and the unit that `Duration`'s `Debug` writes.
fn number(text: &str) -> usize {
    let digit_at = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let mut length = 0;
    while digit_at(length)
        || length > 0 && matches!(text.as_bytes().get(length), Some(b'.' | b'_')) && digit_at(length + 1)
    {
        length += 1;
    }
    let ends = |unit: &&str| !text[length + unit.len()..].starts_with(char::is_alphanumeric);
    let unit = |unit: &&&str| text[length..].starts_with(**unit) && ends(unit);
    length + if length > 0 { ["ns", "µs", "ms", "s"].iter().find(unit).map_or(0, |unit| unit.len()) } else { 0 }
}

/// The length of a hexadecimal value at the beginning: `0x…`, or a whole word of at least four hexadecimal digits that
/// has a decimal one in it, or of at least eight.
fn hexadecimal(text: &str) -> usize {
    let (prefix, digits) = text.strip_prefix("0x").map_or((0, text), |digits| (2, digits));
    let length = digits.find(|c: char| !(c.is_ascii_hexdigit() || prefix > 0 && c == '_')).unwrap_or(digits.len());
    if prefix > 0 {
        return if length > 0 { prefix + length } else { 0 };
    }
    let is_word = !digits[length..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let has_digit = digits[..length].bytes().any(|byte| byte.is_ascii_digit());
    if is_word && (length >= 8 || length >= 4 && has_digit) { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blackbox::{At, Kind, Location, Record};
    use crate::report::Difference;
    use std::time::Duration;

    fn of(kind: FailureKind, log: &Log) -> String {
        identity(&Failure { kind, at: At::default(), stacks: Vec::new() }, log)
    }

    fn panicked(host: &str, message: &str, line: u32) -> String {
        let location = Location { file: "tests/kv.rs".into(), line, column: 5 };
        let (host, message) = (host.to_owned(), message.to_owned());
        of(FailureKind::Panicked { host, message, location: Some(location) }, &Log::default())
    }

    fn log(host: &str, printed: &str) -> Log {
        let record = Record {
            at: At::default(),
            kind: Kind::ErrorOutput,
            host: host.to_owned(),
            bytes: printed.as_bytes().to_vec(),
        };
        Log::new(&[record], 0)
    }

    #[test]
    fn every_kind_of_failure_has_an_identity() {
        let quiet = Log::default();
        let host = |name: &str| name.to_owned();
        let text = |text: &str| text.to_owned();
        let difference = Difference { at: At::default(), recorded: text("a"), seen: text("b") };
        let printed = "\nthread 'main' (17) panicked at src/lib.rs:3:5:\nno quorum: 1 of 3 at \"10.0.0.1\"\n";
        let lines = [
            panicked("test", "assertion `left == right` failed: x was lost\n  left: Some(97)\n right: Some(99)", 41),
            of(FailureKind::Panicked { host: host("c12"), message: text("gone"), location: None }, &quiet),
            of(FailureKind::Error { text: text("connection reset\n  caused by: errno 104") }, &quiet),
            of(FailureKind::Unsteady { text: text("2 of 3 answered after 1.5s") }, &quiet),
            of(FailureKind::NotRecovered { text: text("kv1 was not ready within 30s") }, &quiet),
            of(FailureKind::Exited { host: host("kv2"), code: 101 }, &log("kv2", printed)),
            of(FailureKind::Exited { host: host("kv2"), code: 3 }, &log("kv1", printed)),
            of(FailureKind::Killed { host: host("7"), signal: 6 }, &quiet),
            of(FailureKind::Refused { host: host("kv0"), call: text("io_uring_setup"), remedy: text("…") }, &quiet),
            of(FailureKind::Deadlock, &quiet),
            of(FailureKind::Livelock, &quiet),
            of(FailureKind::VirtualTimeout { limit: Duration::from_secs(7200) }, &quiet),
            of(FailureKind::WallTimeout { limit: Duration::from_secs(60), running: (host("kv0"), host("t")) }, &quiet),
            of(FailureKind::Died { how: Death::Signal(6), last_words: text("\nmalloc(): bad 0x7f03") }, &quiet),
            of(FailureKind::Died { how: Death::Code(7), last_words: String::new() }, &quiet),
            of(FailureKind::Vanished, &quiet),
            of(FailureKind::Impossible { reason: text("no memory: 12 bytes") }, &quiet),
            of(FailureKind::Nondeterministic { first: Some(difference) }, &quiet),
            of(FailureKind::NeverFailed { expected: text("lost"), cases: 64 }, &quiet),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r#"
        panicked on test at tests/kv.rs:41:5: assertion `left == right` failed: x was lost
        panicked on c: gone
        returned an error: connection reset
        steady state broken: # of # answered after #
        not recovered: kv# was not ready within #
        host ended on kv at src/lib.rs:3:5: no quorum: # of # at #
        host ended on kv: exit code 3
        host ended on #: signal 6
        refused on kv: io_uring_setup
        deadlock
        livelock
        virtual timeout
        wall timeout
        died by signal 6: malloc(): bad #
        died with exit code 7
        ended early
        impossible: no memory: # bytes
        nondeterministic
        never failed
        "#);
    }

    #[test]
    fn values_do_not_count() {
        let messages = [
            "read Some(97) instead of 99 after 3.877s",
            "took -5ms, 1_000 tries, 12.5µs; kv1 and kv2 disagree",
            "version 0x7f03_aa00 of 9f0e2c41 (deadbeef) at 127.0.0.1:8080",
            "no key \"a \\\"b\\\"\" in 'x', though it's there and isn't 'y z'",
            "lists [1, 2, 3], [\"a\", \"b\"], [] differ in a cafe",
            "größe 5 µ",
            "a lone ' and \" stay",
        ];
        insta::assert_snapshot!(messages.map(words).join("\n"), @r#"
        read Some(#) instead of # after #
        took # tries, #; kv# and kv# disagree
        version # of # (#) at #:#
        no key # in #, though it's there and isn't #
        lists [#], [#], [] differ in a cafe
        größe # µ
        a lone ' and " stay
        "#);
        assert_eq!(panicked("test", "read 1, not 2", 41), panicked("test", "read 30, not 0xff", 41));
        assert_eq!(panicked("c1", "lost", 41), panicked("c22", "lost", 41));
    }

    #[test]
    fn what_tells_bugs_apart_counts() {
        let one = panicked("test", "x was lost", 41);
        let error = of(FailureKind::Error { text: "x was lost".to_owned() }, &Log::default());
        let others =
            [panicked("test", "x was lost", 42), panicked("c1", "x was lost", 41), panicked("test", "y", 41), error];
        assert!(others.iter().all(|other| *other != one), "{one}, {others:?}");
    }

    #[test]
    fn an_edit_above_does_not_make_another_bug() {
        let one = panicked("test", "x was lost", 41);
        assert!(is_same_after_edits(&one, &panicked("test", "x was lost", 1042)));
        assert!(!is_same_after_edits(&one, &panicked("test", "y was lost", 41)));
        assert!(is_same_after_edits("deadlock", "deadlock") && !is_same_after_edits("deadlock", "livelock"));
    }

    #[test]
    fn places_are_the_same_on_every_machine() {
        let of = |path: &str| on_any_machine(path).to_owned();
        assert_eq!(of("/c/registry/src/index-1949cf8c/tokio-1.52.0/src/lib.rs:1:2"), "tokio-1.52.0/src/lib.rs:1:2");
        assert_eq!(of("/rustc/59807616/library/core/src/option.rs:1:2"), "library/core/src/option.rs:1:2");
        assert_eq!(of("kv/src/lib.rs:1:2"), "kv/src/lib.rs:1:2");
    }

    #[test]
    fn any_message_has_an_identity() {
        for message in ["", "\n \n", "0x", "0xg", "-", "'", "\"\\", "1.", "1._", "µs", "é\"é", "5µ", "'é'x"] {
            assert!(words(message).len() <= message.len() + 1, "{message:?}");
        }
        let pieces = ["0x", "9", "f", "'", "\"", "\\", "é", "µs", "-", ".", "_", ", ", "g", "ms", " "];
        for number in 0..15_usize.pow(4) {
            let message: String = (0..4).map(|place| pieces[number / 15_usize.pow(place) % 15]).collect();
            let once = words(&message);
            assert!(once.chars().all(|c| !c.is_ascii_digit()), "{message:?} became {once:?}");
        }
        assert_eq!(words(&"word ".repeat(100)).chars().count(), CHARACTERS_MAX);
    }
}
