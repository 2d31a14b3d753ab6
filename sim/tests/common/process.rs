//! Running a closure in a process of its own.

/// Runs this in a process of its own, forked from this one.
#[track_caller]
pub fn in_a_process(test: impl FnOnce()) {
    // SAFETY: the child goes on with a copy of this thread, and ends here.
    unsafe {
        match libc::fork() {
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_err();
                libc::_exit(i32::from(failed));
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                assert_eq!(status, 0, "the process failed; the reason is above");
            }
        }
    }
}
