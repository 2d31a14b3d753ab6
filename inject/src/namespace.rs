//! Namespaces of one's own: namespaces(7), user_namespaces(7).

use crate::error::{Error, Result};
use crate::step::reached;
use rustix::thread::UnshareFlags;
use std::fs;

/// Whether the calling process may make namespaces without a user namespace first: it has `CAP_SYS_ADMIN` and
/// `CAP_NET_ADMIN` (capabilities(7)).
pub fn is_privileged() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let wanted = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Leaves these namespaces for new ones. Whoever is not [privileged](is_privileged) gets a user namespace first, in
/// which it is root; that needs a process of one thread.
///
/// A new PID namespace is for children, not for the caller (pid_namespaces(7)). In a new mount namespace nothing
/// spreads to where the mounts came from, nor from there.
///
/// # Errors
/// The kernel or its settings do not allow it: what is lacking, and the remedy.
pub fn leave_for_new(kinds: UnshareFlags) -> Result<()> {
    if !is_privileged() {
        enter_user_namespace()?;
    }
    reached("namespaces are to be left");
    unshare(kinds)?;
    reached("namespaces are left");
    if kinds.contains(UnshareFlags::NEWNS) { keep_mounts_from_spreading() } else { Ok(()) }
}

/// Leaves the mount namespace for a copy of it, from which nothing spreads.
///
/// # Errors
/// This process lacks `CAP_SYS_ADMIN` where it is.
pub(crate) fn leave_for_copy_of_mounts() -> Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    keep_mounts_from_spreading()
}

fn keep_mounts_from_spreading() -> Result<()> {
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|error| Error::os("keep mounts from spreading", error))?;
    reached("mounts do not spread");
    Ok(())
}

/// Becomes root in a new user namespace, where this user's number is 0 and nobody else has one.
pub(crate) fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    reached("the user namespace is to be left");
    unshare(UnshareFlags::NEWUSER)?;
    // user_namespaces(7): the group map of an unprivileged process needs setgroups(2) denied first.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        reached("a user is to be mapped");
        fs::write(file, text).map_err(|error| Error::os(format!("write {file}"), error))?;
    }
    reached("the user is mapped");
    Ok(())
}

fn unshare(kinds: UnshareFlags) -> Result<()> {
    // SAFETY: of these flags only CLONE_FILES could surprise others, and nobody asks for it here.
    let made = unsafe { rustix::thread::unshare_unsafe(kinds) };
    made.map_err(|error| {
        if error == rustix::io::Errno::PERM || error == rustix::io::Errno::NOSPC {
            Error::lacking(
                "make namespaces",
                format!("the kernel does not let this user have namespaces of their own ({error})"),
                "run as root, or allow user namespaces: sysctl user.max_user_namespaces, and where they exist \
                 kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0",
            )
        } else {
            Error::os("make namespaces", error)
        }
    })
}
