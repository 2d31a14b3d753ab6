//! A name that means something else to those who ask for it on one host.

use super::probe::{self, Told};
use super::zone::{Answer, Knowledge, Lie};
use crate::step::reached;
use crate::{Error, Injection, Result};
use hickory_proto::rr::Name;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Whose questions are answered falsely.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The host's network namespace, in which it is asked to see what is answered. It is kept alive by that.
    pub ns: BorrowedFd<'a>,
    /// All its addresses.
    pub addresses: &'a [IpAddr],
}

/// A hijacked name.
#[derive(Debug)]
pub struct Hijack {
    known: Arc<Knowledge>,
    lie: Arc<Lie>,
    /// The host's.
    ns: OwnedFd,
    /// A name that it is about.
    asked: Name,
    healed: bool,
}

impl Hijack {
    pub(super) fn begin(known: Arc<Knowledge>, asker: &Asker<'_>, name: &str, answer: Answer) -> Result<Self> {
        let what = format!("hijack the name {name}");
        // For all names below, one that nobody has.
        let asked = name.strip_prefix("*.").map_or_else(|| name.to_owned(), |rest| format!("windtunnel-probe.{rest}"));
        let asked = Name::from_ascii(asked.strip_suffix('.').unwrap_or(&asked).to_owned() + ".")
            .map_err(|error| Error::unlike(&what, "a name as RFC 1035 has it", error.to_string()))?;
        let ns = asker.ns.try_clone_to_owned().map_err(|error| Error::os(&what, error))?;
        reached("a name is to be hijacked");
        let lie = known.begin(asker.addresses.to_vec(), name, answer);
        Ok(Self { known, lie, ns, asked, healed: false })
    }

    fn what(&self) -> String {
        format!("have the name {} answered falsely", self.asked)
    }
}

impl Injection for Hijack {
    fn mechanism(&self) -> &'static str {
        "name server in the switch"
    }

    /// Asks for the name on the host, as a program there would, and looks at what comes.
    fn read_back(&mut self) -> Result<()> {
        let told = probe::ask(self.ns.as_fd(), &self.known, &self.asked, &self.lie.answer)?;
        match told.by {
            // One that began later may count instead.
            Some(number) if number > self.lie.number => Ok(()),
            Some(number) if number == self.lie.number => told.is(&self.lie.answer, &self.what()),
            _ => Err(Error::unlike(self.what(), format!("{:?}", self.lie.answer), "the truth")),
        }
    }

    fn bit(&mut self) -> Result<u64> {
        Ok(self.lie.misled.load(Ordering::Relaxed))
    }

    fn heal(&mut self) -> Result<()> {
        if self.healed {
            return Ok(());
        }
        self.known.end(self.lie.number);
        self.healed = true;
        // That nothing comes is no proof; that the server has heard it and who has answered is.
        match probe::ask(self.ns.as_fd(), &self.known, &self.asked, &Answer::Late(Duration::ZERO)) {
            Ok(Told { by: Some(number), .. }) if number == self.lie.number => {
                Err(Error::unlike(self.what(), "the truth", format!("{:?}", self.lie.answer)))
            }
            // The host has left the network, or the server has ended: nobody is misled.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Hijack {
    fn drop(&mut self) {
        self.known.end(self.lie.number);
    }
}
