//! What people read when a plan is wrong.

use windtunnel_faults::{Fault, Links, Partition, Plan, Selector, Topology};

fn error(text: &str) -> String {
    match text.parse::<Plan>() {
        Ok(plan) => panic!("{text} is a plan: {plan}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_misspelt_kind_suggests_the_nearest() {
    insta::assert_snapshot!(error("3.877s crahs kv1 restart after 2s"), @r"
    expected a kind of fault, found `crahs`; did you mean `crash`?
      --> line 1, column 8
      |
    1 | 3.877s crahs kv1 restart after 2s
      |        ^^^^^
    ");
    insta::assert_snapshot!(error("0s partition {kv0} | {kv1}\n1s losss kv0->kv1 30%  # comment"), @r"
    expected a kind of fault, found `losss`; did you mean `loss`?
      --> line 2, column 4
      |
    2 | 1s losss kv0->kv1 30%  # comment
      |    ^^^^^
    ");
}

#[test]
fn a_missing_or_senseless_time_says_what_one_looks_like() {
    insta::assert_snapshot!(error("crash kv1"), @r#"
    expected when it begins: a length of time such as `1.5s`, `200ms` or `1h 30m`, or `at mark "…"`, found `crash`
      --> line 1, column 1
      |
    1 | crash kv1
      | ^^^^^
    "#);
    insta::assert_snapshot!(error("1.5 crash kv1"), @r"
    expected a length of time such as `1.5s`, `200ms` or `1h 30m`, found `1.5`: a unit is missing
      --> line 1, column 1
      |
    1 | 1.5 crash kv1
      | ^^^
    ");
    insta::assert_snapshot!(error("1s pause kv1 for a while"), @r"
    expected a length of time such as `1.5s`, `200ms` or `1h 30m`, found `a`: a number is missing
      --> line 1, column 18
      |
    1 | 1s pause kv1 for a while
      |                  ^
    ");
    insta::assert_snapshot!(error("at mark msg-10 pause kv1"), @r"
    expected the mark's name in quotes, found `msg-10`
      --> line 1, column 9
      |
    1 | at mark msg-10 pause kv1
      |         ^^^^^^
    ");
    insta::assert_snapshot!(error("at mark \"msg-10 pause kv1"), @r#"
    expected the mark's name, with a second quote on the same line, found `"`
      --> line 1, column 9
      |
    1 | at mark "msg-10 pause kv1
      |         ^
    "#);
}

#[test]
fn a_wrong_word_shows_what_may_stand_there() {
    insta::assert_snapshot!(error("1s pause kv1 fro 2s"), @r"
    expected `for …`, `severity …` or the end of the fault, found `fro`; did you mean `for`?
      --> line 1, column 14
      |
    1 | 1s pause kv1 fro 2s
      |              ^^^
    ");
    insta::assert_snapshot!(error("1s crash kv1 for 2s"), @r"
    expected `restart after …`, `severity …` or the end of the fault, found `for`
      --> line 1, column 14
      |
    1 | 1s crash kv1 for 2s
      |              ^^^
    ");
    insta::assert_snapshot!(error("1s crash kv1 restart 2s"), @r"
    expected `after`, found `2s`
      --> line 1, column 22
      |
    1 | 1s crash kv1 restart 2s
      |                      ^^
    ");
    insta::assert_snapshot!(error("1s pause kv1 for 2s severity hihg"), @r"
    expected a severity, found `hihg`; did you mean `high`?
      --> line 1, column 30
      |
    1 | 1s pause kv1 for 2s severity hihg
      |                              ^^^^
    ");
    insta::assert_snapshot!(error("1s pause kv1 for 2s now"), @r"
    expected `severity …` or the end of the fault, found `now`
      --> line 1, column 21
      |
    1 | 1s pause kv1 for 2s now
      |                     ^^^
    ");
    insta::assert_snapshot!(error("1s task-leak kv1 100 sockets"), @r"
    expected what leaks: `tasks`, `threads` or `descriptors`, found `sockets`
      --> line 1, column 22
      |
    1 | 1s task-leak kv1 100 sockets
      |                      ^^^^^^^
    ");
}

#[test]
fn wrong_targets_show_what_one_looks_like() {
    insta::assert_snapshot!(error("1s partition {kv0}"), @r"
    expected `|` or `->` and the other side of the partition, found the end
      --> line 1, column 19
      |
    1 | 1s partition {kv0}
      |                   ^
    ");
    insta::assert_snapshot!(error("1s partition {kv0 | kv1"), @r"
    expected `,` or `}`, found `|`
      --> line 1, column 19
      |
    1 | 1s partition {kv0 | kv1
      |                   ^
    ");
    insta::assert_snapshot!(error("1s pause {}"), @r"
    expected hosts: a name, a pattern such as `kv*`, `role:…`, `a minority of …` or `{…}`, found `}`
      --> line 1, column 11
      |
    1 | 1s pause {}
      |           ^
    ");
    insta::assert_snapshot!(error("1s pause role:"), @r"
    expected hosts: a name, a pattern such as `kv*`, `role:…`, `a minority of …` or `{…}`, found `role:`
      --> line 1, column 10
      |
    1 | 1s pause role:
      |          ^^^^^
    ");
}

#[test]
fn wrong_parameters_show_what_one_looks_like() {
    insta::assert_snapshot!(error("1s loss kv0->kv1 130%"), @r"
    expected a share from `0%` to at most `100%`, such as `30%` or `0.05%`, found `130%`
      --> line 1, column 18
      |
    1 | 1s loss kv0->kv1 130%
      |                  ^^^^
    ");
    insta::assert_snapshot!(error("1s loss kv0-> 30%"), @r"
    expected hosts: a name, a pattern such as `kv*`, `role:…`, `a minority of …` or `{…}`, found `30%`
      --> line 1, column 15
      |
    1 | 1s loss kv0-> 30%
      |               ^^^
    ");
    insta::assert_snapshot!(error("1s clock-skew kv0 5s"), @r"
    expected `+` or `-` and a length of time, such as `+5s` or `-200ms`, found `5s`
      --> line 1, column 19
      |
    1 | 1s clock-skew kv0 5s
      |                   ^^
    ");
    insta::assert_snapshot!(error("1s bandwidth kv0 1Mbit"), @r"
    expected a size per second, such as `1MiB/s` or `64KiB/s`, found `1Mbit`
      --> line 1, column 18
      |
    1 | 1s bandwidth kv0 1Mbit
      |                  ^^^^^
    ");
    insta::assert_snapshot!(error("1s memory-pressure kv0 oom"), @r"
    expected the share of memory that is taken, such as `90%`, or `oom-kill`, found `oom`
      --> line 1, column 24
      |
    1 | 1s memory-pressure kv0 oom
      |                        ^^^
    ");
    insta::assert_snapshot!(error("1s dns-hijack kv0 db answers nxdomain"), @r"
    expected the name that is asked for in quotes, found `db`
      --> line 1, column 19
      |
    1 | 1s dns-hijack kv0 db answers nxdomain
      |                   ^^
    ");
}

#[test]
fn the_caret_counts_characters_and_keeps_tabs() {
    insta::assert_snapshot!(error("0s pause kv0;\tat mark \"grüße\" puase kv1"), @r#"
    expected a kind of fault, found `puase`; did you mean `pause`?
      --> line 1, column 31
      |
    1 | 0s pause kv0;	at mark "grüße" puase kv1
      |              	                ^^^^^
    "#);
}

fn problems(text: &str) -> String {
    let plan = text.parse::<Plan>().expect("readable");
    let topology = Topology::new().group("kv", 3).host("client");
    plan.validate_for(&topology).expect_err("not valid").to_string()
}

#[test]
fn what_makes_no_sense_names_field_value_and_remedy() {
    let senseless = "
        1s pause kv1 for 0s
        1s loss kv0->kv1 0%
        1s loss kv0->kv1 5% correlation 100%
        1s latency kv0->kv1 0s
        1s latency kv0->kv1 5ms pareto
        1s latency kv0->kv1 5ms or 7ms jitter 1ms
        1s bandwidth kv0 0B/s
        1s reordering kv0 5% by 0s
        1s clock-skew kv0 +0s
        1s clock-drift kv0 +600000ppm
        1s cpu-burn kv0 100%
        1s memory-pressure kv0 100%
        1s task-leak kv0 0 threads
        1s io-throttle kv0 0B/s
        1s dns-hijack kv0 \"no name\" answers nothing
        1s partition {kv0,kv1} | {kv1,kv2}
        at mark \"\" pause kv0
    ";
    insta::assert_snapshot!(problems(senseless));
}

#[test]
fn what_does_not_exist_comes_with_what_does() {
    let unknown = "
        1s pause kv7
        1s pause cleint
        1s pause role:vk
        1s pause db*
        1s loss kv0->kv0 5%
        1s partition {kv0} | kv*
        1s partition ring kv*
        1s dns-hijack kv0 \"kv1\" answers kv9
    ";
    insta::assert_snapshot!(problems(unknown));
}

#[test]
fn what_was_built_rather_than_read_is_checked_too() {
    let pause = |hosts| Fault::new(std::time::Duration::ZERO, windtunnel_faults::Pause { hosts });
    let plan = Plan::new([
        pause(Selector::Set(Vec::new())),
        pause(Selector::name("kv 0")),
        pause(Selector::Glob("kv0".to_owned())),
        Fault::new(std::time::Duration::ZERO, Partition::Sides(vec![Selector::name("kv0")])),
    ]);
    insta::assert_snapshot!(plan.validate().expect_err("not valid"));
}

#[test]
fn files_say_where_they_are_wrong() {
    let yaml = |text: &str| Plan::from_yaml(text).expect_err("no plan").to_string();
    let json = |text: &str| Plan::from_json(text).expect_err("no plan").to_string();
    let messages = [
        yaml("faults:\n  - at: 1s\n    pause: { hosts: kv1, why: fun }\n"),
        yaml("faults:\n  - at: 1s\n    loss: { links: kv0->kv1, probability: 130% }\n"),
        yaml("faults:\n  - at: 1s\n    loss: { links: kv0=>kv1, probability: 30% }\n"),
        yaml("faults:\n  - at: 1s\n    for: 1s\n"),
        yaml("faults:\n  - pause: { hosts: kv1 }\n"),
        json(r#"{ "faults": [{ "at": "1s", "puase": { "hosts": "kv1" } }] }"#),
        json(r#"{ "faults": [{ "at": "1s", "pause": { "hosts": "kv1" }, "crash": { "hosts": "kv1" } }] }"#),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn parts_point_at_their_own_text() {
    insta::assert_snapshot!("kv0 - kv1".parse::<Links>().expect_err("no links"), @r"
    expected nothing more, found `-`
      --> line 1, column 5
      |
    1 | kv0 - kv1
      |     ^
    ");
    insta::assert_snapshot!("a minority kv*".parse::<Selector>().expect_err("no hosts"), @r"
    expected `of`, found `kv*`
      --> line 1, column 12
      |
    1 | a minority kv*
      |            ^^^
    ");
}
