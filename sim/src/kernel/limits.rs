//! Resource limits of processes, getrlimit(2). All are kept; the one on descriptors is enforced, and the one on threads
//! as the host has it.

use super::{Step, Stop};
use libc::{EINVAL, EPERM, RLIM_INFINITY, rlimit};

/// `RLIMIT_NOFILE` of a service on a current distribution (systemd's), and `/proc/sys/fs/nr_open`.
const DESCRIPTORS_MAX: u64 = 1024 * 1024;
/// How many there are (asm-generic/resource.h, `RLIM_NLIMITS`).
const COUNT: usize = 16;

/// A process's limits.
#[derive(Clone, Copy)]
pub(crate) struct Limits([rlimit; COUNT]);

impl Default for Limits {
    fn default() -> Limits {
        let mut list = [rlimit { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY }; COUNT];
        list[libc::RLIMIT_NOFILE as usize] = rlimit { rlim_cur: DESCRIPTORS_MAX, rlim_max: DESCRIPTORS_MAX };
        list[libc::RLIMIT_STACK as usize].rlim_cur = 8 << 20;
        list[libc::RLIMIT_CORE as usize].rlim_cur = 0;
        Limits(list)
    }
}

impl Limits {
    /// Those of a program on a host.
    pub(crate) fn of(host: &crate::world::Limits) -> Limits {
        let mut limits = Limits::default();
        let mut set = |resource: u32, most: u64| {
            limits.0[resource as usize] = rlimit { rlim_cur: most, rlim_max: most };
        };
        set(libc::RLIMIT_NOFILE, host.descriptors.map_or(DESCRIPTORS_MAX, u64::from));
        set(libc::RLIMIT_NPROC, u64::from(host.threads_max()));
        limits
    }

    /// A limit.
    ///
    /// # Errors
    /// `EINVAL` for a resource that Linux does not know.
    pub(crate) fn get(&self, resource: i32) -> Result<rlimit, Stop> {
        let index = usize::try_from(resource).map_err(|_| EINVAL)?;
        self.0.get(index).copied().ok_or(Stop::Errno(EINVAL))
    }

    /// Sets a limit: the soft one within the hard one, which only falls (setrlimit(2)).
    pub(crate) fn set(&mut self, resource: i32, new: rlimit) -> Step {
        let old = self.get(resource)?;
        if new.rlim_cur > new.rlim_max {
            return Err(Stop::Errno(EINVAL));
        }
        if new.rlim_max > old.rlim_max {
            return Err(Stop::Errno(EPERM));
        }
        self.0[resource as usize] = new;
        Ok(0)
    }

    /// Descriptors stay below this number.
    pub(crate) fn descriptors(&self) -> usize {
        self.0[libc::RLIMIT_NOFILE as usize].rlim_cur as usize
    }
}
