//! What is done with files.

use crate::done::Done;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

const DIRECTORY: &str = "/var/lib/meter";
const BLOCK_BYTES: u64 = 4096;
const BLOCK: [u8; BLOCK_BYTES as usize] = [PATTERN; BLOCK_BYTES as usize];
const PATTERN: u8 = 0x55;

/// The files that are appended to.
pub(crate) const SYNCED: &str = "synced";
pub(crate) const UNSYNCED: &str = "unsynced";

fn path(name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(DIRECTORY)?;
    Ok(PathBuf::from(DIRECTORY).join(name))
}

/// A file to read and write, made if there is none.
fn open(name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path(name)?)
}

/// Brings names to the disk, those of files and that of their directory (fsync(2)).
fn sync_names() -> io::Result<()> {
    [DIRECTORY, "/var/lib"].into_iter().try_for_each(|directory| File::open(directory)?.sync_all())
}

/// Fills a file block by block, then removes it.
pub(crate) fn fill(most_bytes: u64) -> Done {
    let filled = path("filled").and_then(|path| {
        let mut file = File::create(&path)?;
        let done = Done::step_by_step(most_bytes, BLOCK_BYTES, || file.write_all(&BLOCK));
        drop(file);
        fs::remove_file(path)?;
        Ok(done)
    });
    filled.unwrap_or_else(|error| Done::until(0, &error))
}

/// Makes files, then removes them.
pub(crate) fn make(most: u64) -> Done {
    let mut made = Vec::new();
    let done = Done::step_by_step(most, 1, || {
        let path = path(&format!("made{}", made.len()))?;
        File::create_new(&path)?;
        made.push(path);
        Ok(())
    });
    let removed: io::Result<()> = made.into_iter().try_for_each(fs::remove_file);
    removed.map_or_else(|error| Done::until(0, &error), |()| done)
}

/// Writes over what there is in a file, and waits until it is on the disk.
pub(crate) fn write(bytes: u64) -> Done {
    Done::of(open("written").and_then(|file| {
        let content = vec![PATTERN; usize::try_from(bytes).map_err(io::Error::other)?];
        file.write_all_at(&content, 0)?;
        file.sync_data()?;
        Ok(bytes)
    }))
}

/// Reads a block, again and again; the file is made by the first who asks.
pub(crate) fn read(times: u64) -> Done {
    let file = open("read").and_then(|file| {
        file.write_all_at(&BLOCK, 0)?;
        Ok(file)
    });
    let mut block = BLOCK;
    match file {
        Ok(file) => Done::failures(times, || file.read_exact_at(&mut block, 0)),
        Err(error) => Done::until(0, &error),
    }
}

/// Writes a little and syncs it, again and again.
pub(crate) fn sync(times: u64) -> Done {
    match open("repeated") {
        Ok(file) => Done::failures(times, || {
            file.write_all_at(&BLOCK[..512], 0)?;
            file.sync_data()
        }),
        Err(error) => Done::until(0, &error),
    }
}

/// Counts bits that are not as they were written.
pub(crate) fn compare(bytes: u64) -> Done {
    let flipped = |content: &[u8]| content.iter().map(|byte| u64::from((byte ^ PATTERN).count_ones())).sum();
    Done::of(path("compared").and_then(|path| {
        if !path.exists() {
            fs::write(&path, vec![PATTERN; usize::try_from(bytes).map_err(io::Error::other)?])?;
            File::open(&path)?.sync_all()?;
            sync_names()?;
        }
        Ok(flipped(&fs::read(path)?))
    }))
}

/// Appends to both files, and syncs one of them, and its name.
pub(crate) fn append() -> Done {
    let append = |name: &str| {
        let path = path(name)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(&BLOCK)?;
        Ok::<_, io::Error>((file, is_new))
    };
    Done::of(append(UNSYNCED).and_then(|_| {
        let (file, is_new) = append(SYNCED)?;
        file.sync_all()?;
        if is_new {
            sync_names()?;
        }
        Ok(file.metadata()?.len())
    }))
}

/// The length of one of them.
pub(crate) fn length(name: &str) -> Done {
    match path(name).and_then(fs::metadata) {
        Ok(metadata) => Done::all(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Done::all(0),
        Err(error) => Done::until(0, &error),
    }
}
