//! Calls of a real process that a page says are in trouble.

#[path = "common/process.rs"]
mod process;

use process::in_a_process;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use windtunnel_sim::real_calls;

const LAYOUT: [usize; 19] = real_calls::LAYOUT;
const MAGIC: usize = LAYOUT[0];
const IN_FORCE_WORD: usize = LAYOUT[1];
const NO_SPACE_WORD: usize = LAYOUT[2];
const NO_DESCRIPTOR_WORD: usize = LAYOUT[4];
const IO_ERROR_WORD: usize = LAYOUT[5];
const SLOT: usize = LAYOUT[7];
const READS_WORD: usize = SLOT + LAYOUT[11];
const SYNCS_WORD: usize = SLOT + LAYOUT[12];
const SEED_WORD: usize = SLOT + LAYOUT[13];
const RATE_WORD: usize = SLOT + LAYOUT[14];
const DELAY_WORD: usize = SLOT + LAYOUT[15];
const BITTEN_WORD: usize = SLOT + LAYOUT[17];

const ALWAYS: u64 = u64::MAX;
const MIB: usize = 1 << 20;

/// A page as the world writes it.
struct Page {
    fd: OwnedFd,
    words: &'static [AtomicU64; 512],
}

impl Page {
    fn make() -> Page {
        // SAFETY: a new file, mapped for good.
        unsafe {
            let fd = OwnedFd::from_raw_fd(libc::memfd_create(c"calls".as_ptr(), 0));
            assert_eq!(libc::ftruncate(fd.as_raw_fd(), 4096), 0);
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let words = libc::mmap(null_mut(), 4096, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0);
            assert_ne!(words, libc::MAP_FAILED);
            let words = &*words.cast::<[AtomicU64; 512]>();
            words[0].store(MAGIC as u64, Ordering::Relaxed);
            Page { fd, words }
        }
    }

    /// Has a fault be in force, of these words.
    fn begin(&self, says: &[(usize, u64)]) {
        for (word, value) in says {
            self.words[*word].store(*value, Ordering::Relaxed);
        }
        self.words[IN_FORCE_WORD].store(1, Ordering::Release);
    }

    fn heal(&self) {
        self.words[IN_FORCE_WORD].store(0, Ordering::Release);
        for word in [READS_WORD, SYNCS_WORD, RATE_WORD, DELAY_WORD] {
            self.words[word].store(0, Ordering::Relaxed);
        }
    }

    fn word(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }
}

/// Runs this in a process of its own that goes by a page.
#[track_caller]
fn in_a_host(test: impl FnOnce(&Page)) {
    let page = Page::make();
    in_a_process(|| {
        // SAFETY: open meanwhile.
        let fd = unsafe { BorrowedFd::borrow_raw(page.fd.as_raw_fd()) };
        real_calls::install(fd).expect("a page");
        test(&page);
    });
}

/// A file without a name on the disk of the target directory.
fn file() -> File {
    let open = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(env!("CARGO_TARGET_TMPDIR"));
    open.expect("a file")
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn what_is_no_page_is_refused() {
    let page = Page::make();
    page.words[0].store(1, Ordering::Relaxed);
    // SAFETY: open meanwhile.
    let unknown = unsafe { BorrowedFd::borrow_raw(page.fd.as_raw_fd()) };
    assert_eq!(real_calls::install(unknown).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn reads_of_regular_files_fail_and_no_others() {
    in_a_host(|page| {
        let (mut pipe, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"x").expect("room");
        page.begin(&[(READS_WORD, ALWAYS)]);
        assert_eq!(errno(file().read(&mut [0])), Some(libc::EIO));
        pipe.read_exact(&mut [0]).expect("a pipe is no disk");
        std::fs::read_to_string("/proc/self/stat").expect("what the kernel makes up is on no disk");
        assert_eq!((page.word(BITTEN_WORD), page.word(IO_ERROR_WORD)), (1, 1));
        page.heal();
        assert_eq!(file().read(&mut [0]).ok(), Some(0), "it is over");
    });
}

#[test]
fn the_same_seed_fails_the_same_calls() {
    let pattern = |seed: u64| {
        let (mut told, tell) = std::io::pipe().expect("a pipe");
        in_a_host(|page| {
            let mut file = file();
            page.begin(&[(READS_WORD, ALWAYS / 2), (SEED_WORD, seed)]);
            let text: String = (0..200).map(|_| if file.read(&mut [0]).is_ok() { '.' } else { 'x' }).collect();
            (&tell).write_all(text.as_bytes()).expect("a parent");
        });
        drop(tell);
        let mut text = String::new();
        told.read_to_string(&mut text).expect("a pipe");
        text
    };
    let one = pattern(7);
    assert_eq!(one, pattern(7));
    assert_ne!(one, pattern(8));
    let failed = one.matches('x').count();
    // Of 200 at one half: beyond seven standard deviations (7.07 each) it is no chance.
    assert!((51..=149).contains(&failed), "{failed} of 200 failed");
}

#[test]
fn a_failed_sync_says_so_once_until_somebody_writes() {
    in_a_host(|page| {
        let mut file = file();
        file.write_all(b"one").expect("room");
        page.begin(&[(SYNCS_WORD, ALWAYS)]);
        assert_eq!(errno(file.sync_all()), Some(libc::EIO));
        file.sync_all().expect("the kernel takes the pages for clean");
        file.sync_data().expect("still");
        file.write_all(b"two").expect("room");
        assert_eq!(errno(file.sync_data()), Some(libc::EIO));
        page.heal();
        file.sync_all().expect("nothing was written");
        assert_eq!(page.word(BITTEN_WORD), 2);
        let directory = File::open(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        page.begin(&[(SYNCS_WORD, ALWAYS)]);
        directory.sync_all().expect("only regular files fail");
    });
}

#[test]
fn syncs_of_a_slow_disk_wait_and_go_on_when_it_is_over() {
    in_a_host(|page| {
        let mut file = file();
        page.begin(&[(DELAY_WORD, 50_000_000)]);
        let began = Instant::now();
        file.sync_all().expect("a sync");
        file.sync_all().expect("a sync");
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        assert_eq!(page.word(BITTEN_WORD), 2);
        page.heal();
        page.begin(&[(RATE_WORD, 10 * MIB as u64)]);
        let began = Instant::now();
        for _ in 0..11 {
            file.write_all(&vec![7; MIB]).expect("room");
        }
        let wrote = began.elapsed();
        // A second ahead may be in the page cache.
        assert!((Duration::from_millis(100)..Duration::from_millis(900)).contains(&wrote), "{wrote:?}");
        let (words, began) = (page.words, Instant::now());
        let healer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            words[IN_FORCE_WORD].store(0, Ordering::Release);
        });
        file.sync_data().expect("a sync");
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        healer.join().expect("a thread");
    });
}

#[test]
fn what_the_kernel_refuses_is_counted() {
    in_a_host(|page| {
        let mut full = File::options().write(true).open("/dev/full").expect("a device");
        assert_eq!(errno(full.write(b"x")), Some(libc::ENOSPC));
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 4096 };
        // SAFETY: a valid limit, and then no pointers but to room for two numbers.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
            assert_eq!(libc::dup(0), -1);
            assert_eq!(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0), -1);
            assert_eq!(libc::pipe2([0; 2].as_mut_ptr(), 0), -1);
        }
        assert_eq!(errno(File::open("/dev/null")), Some(libc::EMFILE));
        assert_eq!((page.word(NO_SPACE_WORD), page.word(NO_DESCRIPTOR_WORD)), (1, 4));
    });
}
