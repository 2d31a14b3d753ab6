//! ioctls of block devices and of file systems on them: loop(4), ioctl(2), fs/ext4/ext4.h.

use rustix::fd::BorrowedFd;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;

/// linux/loop.h.
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_SET_STATUS_AUTOCLEAR: u32 = 4;
/// `EXT4_IOC_SHUTDOWN`, fs/ext4/ext4.h; the same number as XFS's `GOINGDOWN`.
const EXT4_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: what is only in memory is lost, committed or not.
const WITHOUT_FLUSHING: u32 = 2;

/// Answers a number, as the return value, without taking anything.
struct FreeNumber;

// SAFETY: LOOP_CTL_GET_FREE takes no argument and answers a number or an error.
unsafe impl Ioctl for FreeNumber {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// `struct loop_info64`, linux/loop.h.
#[repr(C)]
struct LoopStatus {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`, linux/loop.h.
#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    status: LoopStatus,
    reserved: [u64; 8],
}

/// The number of a loop device that is free, or was a moment ago.
///
/// # Errors
/// As loop(4).
pub fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: see `FreeNumber`.
    Ok(unsafe { ioctl(control, FreeNumber) }?)
}

/// Makes a loop device show this file, until the last user of the device is gone.
///
/// # Errors
/// `EBUSY`: somebody was faster. `EINVAL`: a kernel before Linux 5.8.
pub fn attach_loop_device(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let status = LoopStatus {
        device: 0,
        inode: 0,
        real_device: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encryption: [0; 2],
        flags: LOOP_SET_STATUS_AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        key: [0; 32],
        init: [0; 2],
    };
    let config = LoopConfig { file: file.as_raw_fd().cast_unsigned(), block_size: 0, status, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads a `struct loop_config`, which this is.
    Ok(unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }?)
}

/// Ends an ext4 file system as a power failure does: what has not reached the device never will, and every later call
/// answers `EIO`.
///
/// # Errors
/// It is no ext4 (`ENOTTY`), or this process may not.
pub fn cut_power_of_ext4(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: EXT4_IOC_SHUTDOWN reads a u32.
    Ok(unsafe { ioctl(directory, Setter::<EXT4_SHUTDOWN, u32>::new(WITHOUT_FLUSHING)) }?)
}
