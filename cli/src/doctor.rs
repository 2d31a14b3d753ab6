//! What this machine offers, for people.

use std::fmt::Write as _;
use windtunnel_inject::offer::{By, Means, Offer, Reach, Tried, Verdict};

/// Columns of what is asked about; the longest is `ext4 on a loop device`.
const NAME: usize = 22;
/// Columns of the answer.
const ANSWER: usize = 5;

/// The offer as a table.
pub(crate) fn tell(offer: &Offer) -> String {
    let who = match (offer.user, offer.is_privileged) {
        (0, true) => "root".to_owned(),
        (0, false) => "root without CAP_SYS_ADMIN or CAP_NET_ADMIN".to_owned(),
        (user, true) => format!("user {user}, who may make namespaces"),
        (user, false) => format!("user {user}"),
    };
    let mut text = format!("{}, {}, as {who}\n\nA real world is made of\n", offer.kernel, offer.processor);
    let serves = |verdict: &Verdict, serves: &str| match verdict.works() {
        true => Vec::new(),
        false => vec![format!("for {serves}")],
    };
    for Tried { what, verdict } in &offer.foundations {
        row(&mut text, what.name(), verdict, serves(verdict, what.serves()));
    }
    text.push_str("\nIts faults\n");
    for Tried { what, verdict } in &offer.faults {
        let means = Means::of(what.kind);
        // The other is as good, where it is a matter of the kernel.
        let is_weaker = what.by == Some(By::Fallback) && means.user != Reach::Mechanism;
        let instead = match is_weaker {
            true => vec![format!("instead of {}", means.mechanism), format!("which takes {}", means.takes)],
            false => Vec::new(),
        };
        row(&mut text, what.kind.name(), verdict, instead);
    }
    text.push_str("\nA simulated world takes\n");
    for Tried { what, verdict } in &offer.simulation {
        row(&mut text, what.name(), verdict, serves(verdict, what.serves()));
    }
    let works = offer.faults.iter().filter(|tried| tried.verdict.works()).count();
    // Writing to a text cannot fail.
    let _ = match lacking(offer) {
        Some(lacking) => writeln!(text, "\nThere is no real world here: without {lacking}"),
        None => {
            writeln!(text, "\nA real world is possible here, with {works} of {} kinds of faults", offer.faults.len())
        }
    };
    text
}

/// The names of what is lacking for a real world.
pub(crate) fn lacking(offer: &Offer) -> Option<String> {
    let names: Vec<&str> = offer.lacking().map(|tried| tried.what.name()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A line, and below it what else there is to say.
fn row(text: &mut String, name: &str, verdict: &Verdict, mut more: Vec<String>) {
    let (answer, what) = match verdict {
        Verdict::Works { how } => ("yes", how),
        Verdict::Lacking { missing, remedy } => {
            more.push(format!("remedy: {remedy}"));
            ("no", missing)
        }
    };
    let mut line = |name: &str, answer: &str, what: &str| {
        // Backquotes are the README's. Writing to a text cannot fail.
        let _ = writeln!(text, "  {name:NAME$} {answer:ANSWER$} {}", what.replace('`', ""));
    };
    line(name, answer, what);
    more.iter().for_each(|more| line("", "", more));
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_faults::Kind;
    use windtunnel_inject::offer::{Class, Foundation, Simulation};

    fn lacks(missing: &str, remedy: &str) -> Verdict {
        Verdict::Lacking { missing: missing.to_owned(), remedy: remedy.to_owned() }
    }

    fn works(how: &str) -> Verdict {
        Verdict::Works { how: how.to_owned() }
    }

    /// Of a machine that is nobody's.
    fn offer() -> Offer {
        let fault = |kind, by: Option<By>, verdict| Tried { what: Class { kind, by }, verdict };
        let full = Means::of(Kind::DiskFull).text(By::Fallback);
        Offer {
            kernel: "Linux 6.1.0".to_owned(),
            processor: "x86_64".to_owned(),
            user: 1000,
            is_privileged: false,
            foundations: vec![
                Tried { what: Foundation::Namespaces, verdict: works("network, mount, PID, UTS, IPC") },
                Tried { what: Foundation::Groups, verdict: lacks("it is somebody else's (EACCES)", "run as root") },
            ],
            faults: vec![
                fault(Kind::DiskFull, Some(By::Fallback), works(full)),
                fault(Kind::IoThrottle, None, lacks("there is no device", "run as root")),
            ],
            simulation: vec![Tried {
                what: Simulation::Addresses,
                verdict: lacks("failed to switch address randomisation off: EPERM", "ask somebody"),
            }],
        }
    }

    #[test]
    fn what_works_what_does_not_and_what_would_help() {
        insta::assert_snapshot!(tell(&offer()), @r"
        Linux 6.1.0, x86_64, as user 1000

        A real world is made of
          namespaces             yes   network, mount, PID, UTS, IPC
          control groups         no    it is somebody else's (EACCES)
                                       for limits and faults of a host as a whole
                                       remedy: run as root

        Its faults
          disk-full              yes   a smaller size of the tmpfs
                                       instead of a file without a name on the disk of ext4
                                       which takes root, and a loop device
          io-throttle            no    there is no device
                                       remedy: run as root

        A simulated world takes
          fixed addresses        no    failed to switch address randomisation off: EPERM
                                       for replays of programs that depend on addresses
                                       remedy: ask somebody

        A real world is possible here, with 1 of 2 kinds of faults
        ");
    }

    #[test]
    fn what_is_required_is_named_when_it_is_lacking() {
        let mut offer = offer();
        assert_eq!(lacking(&offer), None);
        offer.foundations[0].verdict = lacks("the kernel does not let this user", "run as root");
        assert_eq!(lacking(&offer).as_deref(), Some("namespaces"));
        assert!(tell(&offer).ends_with("There is no real world here: without namespaces\n"));
    }
}
