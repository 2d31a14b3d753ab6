//! The directory that the files are in, and when it is on the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// How a closed or open segment is named, and a snapshot.
const SEGMENT: &str = "segment";
const SNAPSHOT: &str = "snapshot";
/// A snapshot that is being written.
const TEMPORARY: &str = "tmp";

/// A directory with numbered files.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
}

/// What is in it, each in ascending order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) segments: Vec<u64>,
    /// Each has what all segments with smaller numbers had.
    pub(crate) snapshots: Vec<u64>,
    /// Snapshots that were never finished.
    pub(crate) unfinished: Vec<PathBuf>,
}

impl Directory {
    /// Opens it, and makes it when it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        // Whether or not it was there: who made it may have been killed before it was synced (fsync(2): a file's
        // entry in its directory takes a sync of that directory).
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
        }
        Ok(Self { path: path.to_owned(), handle: File::open(path)? })
    }

    /// Brings what was made, renamed and removed in it to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    pub(crate) fn contents(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            match (number, path.extension().and_then(|extension| extension.to_str())) {
                (Some(number), Some(SEGMENT)) => contents.segments.push(number),
                (Some(number), Some(SNAPSHOT)) => contents.snapshots.push(number),
                (Some(_), Some(TEMPORARY)) => contents.unfinished.push(path),
                _ => {} // somebody else's
            }
        }
        contents.segments.sort_unstable();
        contents.snapshots.sort_unstable();
        contents.unfinished.sort_unstable();
        Ok(contents)
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.file(number, SEGMENT)
    }

    pub(crate) fn snapshot(&self, number: u64) -> PathBuf {
        self.file(number, SNAPSHOT)
    }

    pub(crate) fn unfinished_snapshot(&self, number: u64) -> PathBuf {
        self.file(number, TEMPORARY)
    }

    fn file(&self, number: u64, extension: &str) -> PathBuf {
        self.path.join(format!("{number:08}.{extension}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_and_ordered() {
        let scratch = tempfile::tempdir().expect("the directory for temporary files is writable");
        let directory = Directory::open(&scratch.path().join("a/b")).expect("made");
        let paths =
            [directory.segment(10), directory.segment(9), directory.snapshot(9), directory.unfinished_snapshot(8)];
        for path in &paths {
            File::create(path).expect("made");
        }
        File::create(scratch.path().join("a/b/lost+found")).expect("made");
        let unfinished = vec![paths[3].clone()];
        let expected = Contents { segments: vec![9, 10], snapshots: vec![9], unfinished };
        assert_eq!(directory.contents().expect("read"), expected);
    }
}
