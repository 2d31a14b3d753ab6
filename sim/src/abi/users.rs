//! Who the user is: getpwuid(3), getgrgid(3) and their relatives, which inside libc would read the real `/etc/passwd`.

use super::{answer_int, hooks, look};
use crate::kernel::machine::{Account, USER_ID, accounts};
use libc::{c_char, c_int, gid_t, group, passwd, uid_t};
use std::ffi::CStr;
use std::ptr;

const NO_PASSWORD: &CStr = c"x";

/// A value whose pointers lead to constants.
struct Constant<T>(T);
// SAFETY: nothing in it is ever written.
unsafe impl<T> Sync for Constant<T> {}

const fn passwd_entry(account: &Account) -> passwd {
    passwd {
        pw_name: account.name.as_ptr().cast_mut(),
        pw_passwd: NO_PASSWORD.as_ptr().cast_mut(),
        pw_uid: account.user,
        pw_gid: account.group,
        pw_gecos: account.name.as_ptr().cast_mut(),
        pw_dir: account.home.as_ptr().cast_mut(),
        pw_shell: account.shell.as_ptr().cast_mut(),
    }
}

static NO_MEMBERS: Constant<[*mut c_char; 1]> = Constant([ptr::null_mut()]);

const fn group_entry(account: &Account) -> group {
    group {
        gr_name: account.group_name.as_ptr().cast_mut(),
        gr_passwd: NO_PASSWORD.as_ptr().cast_mut(),
        gr_gid: account.group,
        gr_mem: (&raw const NO_MEMBERS.0).cast_mut().cast(),
    }
}

const COUNT: usize = accounts().len();
static PASSWD: Constant<[passwd; COUNT]> =
    Constant([passwd_entry(&accounts()[0]), passwd_entry(&accounts()[1]), passwd_entry(&accounts()[2])]);
static GROUP: Constant<[group; COUNT]> =
    Constant([group_entry(&accounts()[0]), group_entry(&accounts()[1]), group_entry(&accounts()[2])]);

/// Which account a predicate picks.
fn which(pick: impl Fn(&Account) -> bool) -> Option<usize> {
    accounts().iter().position(pick)
}

unsafe fn named(name: *const c_char) -> impl Fn(&Account) -> bool {
    // SAFETY: the caller's string.
    move |account: &Account| unsafe { CStr::from_ptr(name) } == account.name
}

unsafe fn group_named(name: *const c_char) -> impl Fn(&Account) -> bool {
    // SAFETY: the caller's string.
    move |account: &Account| unsafe { CStr::from_ptr(name) } == account.group_name
}

fn passwd_at(at: Option<usize>) -> *mut passwd {
    at.map_or(ptr::null_mut(), |at| (&raw const PASSWD.0[at]).cast_mut())
}

fn group_at(at: Option<usize>) -> *mut group {
    at.map_or(ptr::null_mut(), |at| (&raw const GROUP.0[at]).cast_mut())
}

/// The `_r` functions answer the error itself, and leave strings in the caller's buffer; here constants serve as well,
/// but a buffer that is too small is still an error that callers rely on to try again (getpwnam_r(3)).
fn fits(account: &Account, room: usize) -> bool {
    room >= account.bytes()
}

unsafe fn give_passwd(at: Option<usize>, entry: *mut passwd, room: usize, result: *mut *mut passwd) -> c_int {
    // SAFETY: the caller's structs.
    unsafe {
        *result = ptr::null_mut();
        let Some(at) = at else { return 0 };
        if !fits(&accounts()[at], room) {
            return libc::ERANGE;
        }
        ptr::copy_nonoverlapping(&raw const PASSWD.0[at], entry, 1);
        *result = entry;
    }
    0
}

unsafe fn give_group(at: Option<usize>, entry: *mut group, room: usize, result: *mut *mut group) -> c_int {
    // SAFETY: the caller's structs.
    unsafe {
        *result = ptr::null_mut();
        let Some(at) = at else { return 0 };
        if !fits(&accounts()[at], room) {
            return libc::ERANGE;
        }
        ptr::copy_nonoverlapping(&raw const GROUP.0[at], entry, 1);
        *result = entry;
    }
    0
}

/// Moves the process's place in one of the two lists; answers where it stood.
fn cursor(list: usize, to: impl Fn(usize) -> usize) -> usize {
    look("getpwent", |k, me| {
        let cursor = &mut k.processes[k.threads[me].process].place.cursors[list];
        let before = *cursor;
        *cursor = to(before);
        Ok(before as i64)
    }) as usize
}

const MEMBERS: &[gid_t] = &[USER_ID];

/// Becoming who one is already works; anything else needs a privilege (setuid(2)).
fn become_user(wanted: &[u32]) -> c_int {
    let allowed = wanted.iter().all(|id| *id == USER_ID || *id == u32::MAX);
    answer_int(if allowed { 0 } else { -i64::from(libc::EPERM) })
}

hooks! {
    users;

    fn getpwuid(user: uid_t) -> *mut passwd { passwd_at(which(|a| a.user == user)) }
    fn getpwnam(name: *const c_char) -> *mut passwd { passwd_at(which(named(name))) }
    fn getpwuid_r(
        user: uid_t, entry: *mut passwd, _buffer: *mut c_char, room: usize, result: *mut *mut passwd
    ) -> c_int {
        give_passwd(which(|a| a.user == user), entry, room, result)
    }
    fn getpwnam_r(
        name: *const c_char, entry: *mut passwd, _buffer: *mut c_char, room: usize, result: *mut *mut passwd
    ) -> c_int {
        give_passwd(which(named(name)), entry, room, result)
    }
    fn setpwent() { cursor(0, |_| 0); }
    fn endpwent() { cursor(0, |_| 0); }
    fn getpwent() -> *mut passwd { passwd_at(Some(cursor(0, |at| at + 1)).filter(|at| *at < COUNT)) }

    fn getgrgid(wanted: gid_t) -> *mut group { group_at(which(|a| a.group == wanted)) }
    fn getgrnam(name: *const c_char) -> *mut group { group_at(which(group_named(name))) }
    fn getgrgid_r(
        wanted: gid_t, entry: *mut group, _buffer: *mut c_char, room: usize, result: *mut *mut group
    ) -> c_int {
        give_group(which(|a| a.group == wanted), entry, room, result)
    }
    fn getgrnam_r(
        name: *const c_char, entry: *mut group, _buffer: *mut c_char, room: usize, result: *mut *mut group
    ) -> c_int {
        give_group(which(group_named(name)), entry, room, result)
    }
    fn setgrent() { cursor(1, |_| 0); }
    fn endgrent() { cursor(1, |_| 0); }
    fn getgrent() -> *mut group { group_at(Some(cursor(1, |at| at + 1)).filter(|at| *at < COUNT)) }

    fn getlogin() -> *mut c_char { crate::kernel::machine::USER.as_ptr().cast_mut() }
    /// Answers the error itself, not -1 (getlogin(3)).
    fn getlogin_r(buffer: *mut c_char, room: usize) -> c_int {
        let name = crate::kernel::machine::USER.to_bytes_with_nul();
        if room < name.len() {
            return libc::ERANGE;
        }
        ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast(), name.len());
        0
    }

    fn getgroups(room: c_int, list: *mut gid_t) -> c_int {
        if room < 0 || room > 0 && (room as usize) < MEMBERS.len() {
            return answer_int(-i64::from(libc::EINVAL));
        }
        if room > 0 {
            ptr::copy_nonoverlapping(MEMBERS.as_ptr(), list, MEMBERS.len());
        }
        MEMBERS.len() as c_int
    }
    fn getgrouplist(_user: *const c_char, own: gid_t, list: *mut gid_t, count: *mut c_int) -> c_int {
        let room = std::mem::replace(&mut *count, 1);
        if room < 1 {
            return -1;
        }
        *list = own;
        1
    }
    fn setgroups(_count: usize, _list: *const gid_t) -> c_int { answer_int(-i64::from(libc::EPERM)) }
    fn initgroups(_user: *const c_char, _group: gid_t) -> c_int { answer_int(-i64::from(libc::EPERM)) }

    fn getresuid(real: *mut uid_t, effective: *mut uid_t, saved: *mut uid_t) -> c_int {
        (*real, *effective, *saved) = (USER_ID, USER_ID, USER_ID);
        0
    }
    fn getresgid(real: *mut gid_t, effective: *mut gid_t, saved: *mut gid_t) -> c_int {
        (*real, *effective, *saved) = (USER_ID, USER_ID, USER_ID);
        0
    }
    @also(seteuid, setgid, setegid)
    fn setuid(wanted: uid_t) -> c_int { become_user(&[wanted]) }
    @also(setregid)
    fn setreuid(real: uid_t, effective: uid_t) -> c_int { become_user(&[real, effective]) }
    @also(setresgid)
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int { become_user(&[real, effective, saved]) }
}
