//! The block that reports a failure.
//!
//! nextest takes the last line that begins with `thread '…' panicked at` as the start of the failure and shows
//! everything from there on, the first lines in red; JUnit gets the same. So the block begins like std's own message,
//! nothing else in it begins a line so, and the sentence comes first. It is printed once, and the panic that fails the
//! test is silent.

use super::lines::Line;
use super::{grouped, seconds};
use crate::blackbox::{At, Kind};
use std::fmt::{self, Display, Formatter};

/// Longest line of a host's output that is shown whole; files have the rest.
const COLUMNS_MAX: usize = 140;

/// A failure, ready to be printed.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// The test's name.
    pub(crate) test: String,
    /// Where the failure happened, or the test stands.
    pub(crate) location: String,
    pub(crate) sentence: String,
    pub(crate) told: Told,
    /// The plan, a line for each fault.
    pub(crate) faults: Vec<String>,
    /// What was drawn for the test's parameters, a line for each.
    pub(crate) arguments: Vec<String>,
    pub(crate) hosts: Vec<HostTail>,
    /// Hosts that wrote something and are not shown.
    pub(crate) more_hosts: usize,
    /// Whole paragraphs, one per thread.
    pub(crate) stacks: Vec<String>,
    /// The command.
    pub(crate) replay: String,
    pub(crate) logs: Option<String>,
    /// Where the case is kept, or the text to be kept.
    pub(crate) saved: Option<String>,
    /// Things the reader should know about this machine or run.
    pub(crate) remarks: Vec<String>,
}

/// Facts about the case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// `case 17 of 64`, `the calm rehearsal`.
    pub(crate) found: String,
    pub(crate) seed: String,
    pub(crate) at: At,
    /// Time was real, and events have no numbers that another run has too.
    pub(crate) is_real: bool,
    /// How much smaller the plan has become.
    pub(crate) shrunk: Option<String>,
    /// Which randomness it needs.
    pub(crate) needed: Option<String>,
    /// The digest with what a second run said about it.
    pub(crate) digest: Option<String>,
}

/// The last lines of a host.
#[derive(Debug, Clone)]
pub(crate) struct HostTail {
    pub(crate) host: String,
    /// How many lines there are in all.
    pub(crate) total: usize,
    pub(crate) lines: Vec<Line>,
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Two line breaks as std's hook has none before: a captured line may be unfinished.
        writeln!(f, "\nthread '{}' panicked at {}:", self.test, self.location)?;
        self.body(f)
    }
}

impl Block {
    /// Everything below the first line: for failures that were expected.
    pub(crate) fn body(&self, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(f, "{}\n", self.sentence)?;
        let Told { found, seed, at, is_real, shrunk, needed, digest } = &self.told;
        let (event, time) = (grouped(at.event), seconds(at.now_ns));
        let moment = match is_real {
            false => format!("event {event}, after {time} of virtual time"),
            true => format!("after {time} in the real world"),
        };
        field(f, "found", &format!("{found}, seed {seed}, {moment}"))?;
        if let Some(shrunk) = shrunk {
            field(f, "shrunk", shrunk)?;
        }
        if let Some(needed) = needed {
            field(f, "needed", needed)?;
        }
        if let Some(digest) = digest {
            field(f, "digest", digest)?;
        }
        for remark in &self.remarks {
            field(f, "note", remark)?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "\n  faults")?;
            self.faults.iter().try_for_each(|fault| writeln!(f, "    {fault}"))?;
        }
        if !self.arguments.is_empty() {
            writeln!(f, "\n  arguments")?;
            self.arguments.iter().try_for_each(|argument| writeln!(f, "    {}", clipped(argument)))?;
        }
        for host in &self.hosts {
            tail(f, host)?;
        }
        if self.more_hosts > 0 {
            writeln!(f, "\n  and {} more hosts: see their files", self.more_hosts)?;
        }
        for stack in &self.stacks {
            writeln!(f, "\n{stack}")?;
        }
        writeln!(f)?;
        field(f, "replay", &self.replay)?;
        if let Some(logs) = &self.logs {
            field(f, "logs", logs)?;
        }
        if let Some(saved) = &self.saved {
            field(f, "saved", saved)?;
        }
        Ok(())
    }

    /// [`Block::body`] as a text.
    pub(crate) fn body_text(&self) -> String {
        let mut text = String::new();
        // Writing into a text cannot fail.
        let _: fmt::Result = self.body(&mut text);
        text
    }
}

fn field(f: &mut impl fmt::Write, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<9}  {value}")
}

fn tail(f: &mut impl fmt::Write, tail: &HostTail) -> fmt::Result {
    let extent = match (tail.lines.len(), tail.total) {
        (shown, total) if shown < total => {
            format!(" (the last {shown} of {} lines)", grouped(total as u64))
        }
        _ => String::new(),
    };
    writeln!(f, "\n  {}{extent}", tail.host)?;
    for line in &tail.lines {
        let mark = if line.kind == Kind::Note { '*' } else { '|' };
        writeln!(f, "{:>12} {mark} {}", seconds(line.at.now_ns), clipped(&line.text))?;
    }
    Ok(())
}

/// What fits into a line, without the colours that loggers write for terminals (ECMA-48, "select graphic rendition").
fn clipped(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(COLUMNS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('m') {
            Some((codes, rest)) if codes.chars().all(|c| c.is_ascii_digit() || c == ';') => plain.push_str(rest),
            _ => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(now_ms: u64, kind: Kind, text: &str) -> Line {
        let at = At { event: now_ms, now_ns: now_ms * 1_000_000 };
        Line { at, host: "kv0".to_owned(), kind, text: text.to_owned() }
    }

    pub(crate) fn block() -> Block {
        Block {
            test: "linearizable::case_2_five".to_owned(),
            location: "kv/tests/kv.rs:41:5".to_owned(),
            sentence: "panicked: an acknowledged write was lost: expected Some(99), read Some(97)".to_owned(),
            told: Told {
                found: "case 17 of 64".to_owned(),
                seed: "0x5f1d0a2c77e091b3".to_owned(),
                is_real: false,
                at: At { event: 1204, now_ns: 5_961_000_000 },
                shrunk: Some("14 faults to 2, in 31 runs (2.2 s)".to_owned()),
                needed: Some("chance in scheduling, but not in latencies".to_owned()),
                digest: Some("9f0e2c41, equal in a second run".to_owned()),
            },
            faults: vec![
                "1.204s partition {kv0} | {kv1,kv2} for 4s  bit 12×".to_owned(),
                "3.877s crash kv0 restart after 2s          bit 1×".to_owned(),
            ],
            arguments: vec!["ops = [Put(\"x\", 99), Get(\"x\")]".to_owned(), "writers = 1".to_owned()],
            hosts: vec![
                HostTail {
                    host: "kv0".to_owned(),
                    total: 130,
                    lines: vec![
                        line(1204, Kind::Output, "\u{1b}[2m\u{1b}[32melected\u{1b}[0m leader, term 4"),
                        line(3880, Kind::Note, "crashed"),
                        line(5204, Kind::ErrorOutput, "thread 'main' panicked at src/lib.rs:1:1:"),
                    ],
                },
                HostTail { host: "kv1".to_owned(), total: 1, lines: vec![line(12, Kind::Output, &"x".repeat(150))] },
            ],
            more_hosts: 2,
            stacks: vec!["  kv0, thread main (1): epoll_wait\n      kv::serve\n        at src/lib.rs:3".to_owned()],
            replay: "CHAOS_SEED=0x5f1d0a2c77e091b3 cargo nextest run -E 'binary_id(=kv::kv) & test(=linearizable)'"
                .to_owned(),
            logs: Some("target/chaos/kv.kv/linearizable.case_2_five/ (kv0.log, kv1.log)".to_owned()),
            saved: Some("chaos-regressions/kv.kv/linearizable.toml (commit it)".to_owned()),
            remarks: vec!["replay is weaker here: address randomisation could not be switched off".to_owned()],
        }
    }

    #[test]
    fn the_block_is_what_nextest_extracts() {
        let text = block().to_string();
        insta::assert_snapshot!(text);
        // nextest-runner, reporter/error_description.rs: the *last* line of this form begins the failure.
        let headers: Vec<&str> = text.lines().filter(|line| line.starts_with("thread '")).collect();
        assert_eq!(headers, ["thread 'linearizable::case_2_five' panicked at kv/tests/kv.rs:41:5:"]);
    }

    #[test]
    fn an_expected_failure_is_shown_without_the_header() {
        assert!(!block().body_text().contains("thread 'linearizable"));
    }
}
