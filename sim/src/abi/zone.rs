//! The zone of local time: tzset(3), localtime(3), mktime(3), strftime(3).
//!
//! libc keeps the zone in statics, which all hosts share, and where `TZ` is not set it reads the machine's
//! `/etc/localtime` by calls of its own. So the zone is set anew before each function that uses it: to the calling
//! program's `TZ`, or to UTC, which is what a simulated machine's `/etc/localtime` is. Data of a named zone
//! (`TZ=Europe/Berlin`) are the machine's, as those that programs read themselves.

use super::hooks;
use crate::carrier::environment::variable;
use crate::carrier::real;
use libc::{c_char, time_t, tm};
use std::ffi::c_void;
use std::ptr;

/// Calls this in the program's own zone.
///
/// # Safety
/// As the libc functions that `genuine` calls.
unsafe fn in_own_zone<R>(genuine: impl FnOnce() -> R) -> R {
    // SAFETY: `environ` is the running program's, nobody else runs before it is put back, and libc only reads it here.
    unsafe {
        let environ = variable();
        let own = *environ;
        let mut utc = [c"TZ=UTC0".as_ptr().cast_mut(), ptr::null_mut()];
        if real::getenv(c"TZ".as_ptr()).is_null() {
            *environ = utc.as_mut_ptr();
        }
        // localtime_r(3) need not look at `TZ`, and glibc's does so the first time only.
        real::tzset();
        // The others do so once more.
        let answer = genuine();
        *environ = own;
        answer
    }
}

hooks! {
    zone;

    fn tzset() {
        in_own_zone(|| ());
    }
    fn localtime(time: *const time_t) -> *mut tm {
        in_own_zone(|| real::localtime(time))
    }
    fn localtime_r(time: *const time_t, out: *mut tm) -> *mut tm {
        in_own_zone(|| real::localtime_r(time, out))
    }
    fn ctime(time: *const time_t) -> *mut c_char {
        in_own_zone(|| real::ctime(time))
    }
    fn ctime_r(time: *const time_t, out: *mut c_char) -> *mut c_char {
        in_own_zone(|| real::ctime_r(time, out))
    }
    @also(timelocal)
    fn mktime(time: *mut tm) -> time_t {
        in_own_zone(|| real::mktime(time))
    }
    fn strftime(out: *mut c_char, bytes: usize, format: *const c_char, time: *const tm) -> usize {
        in_own_zone(|| real::strftime(out, bytes, format, time))
    }
    fn strftime_l(
        out: *mut c_char, bytes: usize, format: *const c_char, time: *const tm, locale: *mut c_void
    ) -> usize {
        in_own_zone(|| real::strftime_l(out, bytes, format, time, locale))
    }
}
