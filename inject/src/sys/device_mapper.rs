//! The device mapper's control device: the kernel's `include/uapi/linux/dm-ioctl.h`.

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Updater, opcode};
use std::io;

/// `struct dm_ioctl`, and after it the answer to `DM_GET_TARGET_VERSION`: a `struct dm_target_versions` with a name.
#[repr(C)]
struct Request {
    interface: [u32; 3],
    size: u32,
    answer_at: u32,
    unused: [u32; 5],
    device: u64,
    name: [u8; 128],
    identity: [u8; 129],
    padding: [u8; 7],
    next: u32,
    version: [u32; 3],
    answer: [u8; 128],
}

/// The bytes of `struct dm_ioctl` alone, which the ioctl's number contains.
const HEADER: usize = 312;
/// `DM_GET_TARGET_VERSION`, since Linux 5.5: loads the target's module if need be.
const GET_TARGET_VERSION: ioctl::Opcode = opcode::from_components(ioctl::Direction::ReadWrite, 0xfd, 17, HEADER);

/// The version of a target of the device mapper's: `flakey`, `delay`, `linear`…
///
/// # Errors
/// `ENOENT`: the kernel has no device mapper; `EINVAL`: it has no such target, or is older than 5.5; `EACCES`: only
/// root may ask.
pub fn target_version(target: &str) -> io::Result<[u32; 3]> {
    let size = u32::try_from(size_of::<Request>()).expect("some hundred bytes");
    let mut request = Request {
        // Any kernel of this major version takes it.
        interface: [4, 0, 0],
        size,
        answer_at: u32::try_from(HEADER).expect("some hundred bytes"),
        unused: [0; 5],
        device: 0,
        name: [0; 128],
        identity: [0; 129],
        padding: [0; 7],
        next: 0,
        version: [0; 3],
        answer: [0; 128],
    };
    // It ends with a zero.
    if target.len() >= request.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..target.len()].copy_from_slice(target.as_bytes());
    let control = rustix::fs::open("/dev/mapper/control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: the opcode takes a `struct dm_ioctl` whose field `size` says how many bytes there are to write to, and
    // that is the size of what is passed.
    unsafe { ioctl::ioctl(control, Updater::<GET_TARGET_VERSION, Request>::new(&mut request))? };
    Ok(request.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_follows_the_kernels_structure() {
        assert_eq!(std::mem::offset_of!(Request, next), HEADER);
        assert_eq!(std::mem::offset_of!(Request, name), 48);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let error = target_version(&"x".repeat(128)).expect_err("too long by one");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
