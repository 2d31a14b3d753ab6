//! What a crash can leave of a whole disk: every state, by going through all choices.

use super::choices::Enumerated;
use super::{Attributes, Directory, Disk, Drawn, Entry, InodeId, Regular, Syncs, What};
use crate::kernel::entropy::{Purpose, Stream};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn attributes() -> Attributes {
    Attributes { mode: 0o755, owner: 1000, group: 1000, read_ns: 0, written_ns: 0, changed_ns: 0, made_ns: 0 }
}

fn empty() -> Disk {
    Disk::new(attributes(), Syncs::Kept)
}

fn make(disk: &mut Disk, what: What, directory: InodeId, name: &str) -> InodeId {
    let inode = disk.make(what, attributes());
    disk.link(0, directory, name.as_bytes(), inode);
    inode
}

fn file(disk: &mut Disk, directory: InodeId, name: &str, text: &str) -> InodeId {
    let inode = make(disk, What::Regular(Regular::default()), directory, name);
    write(disk, inode, 0, text);
    inode
}

fn directory(disk: &mut Disk, above: InodeId, name: &str) -> InodeId {
    make(disk, What::Directory(Directory::empty()), above, name)
}

fn write(disk: &mut Disk, inode: InodeId, offset: u64, text: &str) {
    disk.change(inode, |regular| regular.write(0, offset, text.as_bytes())).expect("a file of this test");
}

fn sync(disk: &mut Disk, inode: InodeId) {
    disk.sync(inode, disk.mark(inode), true);
}

/// Everything on a disk, as `path=content` and `path/`.
fn tree(disk: &Disk) -> String {
    fn walk(disk: &Disk, here: InodeId, path: &str, out: &mut Vec<String>) {
        for (name, entry) in &disk.inode(here).directory().expect("a directory").current {
            let Entry::Inode(inode) = entry else { continue };
            let path = format!("{path}{}", String::from_utf8_lossy(name));
            match &disk.inode(*inode).what {
                What::Directory(_) => {
                    out.push(format!("{path}/"));
                    walk(disk, *inode, &format!("{path}/"), out);
                }
                What::Regular(regular) => {
                    let mut text = vec![0; regular.content().bytes() as usize];
                    regular.content().read(0, &mut text);
                    out.push(format!("{path}={}", String::from_utf8_lossy(&text).replace('\0', "0")));
                }
                What::Link(_) | What::Socket(_) => out.push(path),
            }
        }
    }
    let mut out = Vec::new();
    walk(disk, disk.root(), "", &mut out);
    out.join(" ")
}

/// Every state that a crash can leave of what `make` makes.
fn states(make: impl Fn() -> Disk) -> BTreeSet<String> {
    let (mut choices, mut found) = (Enumerated::default(), BTreeSet::new());
    loop {
        let mut disk = make();
        disk.crash(0, &[], &mut choices);
        found.insert(tree(&disk));
        if !choices.advance() {
            return found;
        }
    }
}

fn set(states: &[&str]) -> BTreeSet<String> {
    states.iter().map(|state| (*state).to_owned()).collect()
}

#[test]
fn a_name_needs_a_sync_of_its_own() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let inode = file(&mut disk, root, "a", "x");
        sync(&mut disk, inode);
        disk
    };
    assert_eq!(states(made), set(&["", "a=x"]));
    let synced = || {
        let mut disk = made();
        let root = disk.root();
        sync(&mut disk, root);
        disk
    };
    assert_eq!(states(synced), set(&["a=x"]));
}

#[test]
fn a_file_replaced_by_rename_is_old_or_new() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let old = file(&mut disk, root, "a", "old");
        sync(&mut disk, old);
        sync(&mut disk, root);
        let new = file(&mut disk, root, "a.tmp", "new");
        sync(&mut disk, new);
        disk.rename(0, (root, b"a.tmp"), (root, b"a"));
        disk
    };
    assert_eq!(states(made), set(&["a=old", "a=old a.tmp=new", "a=new"]));
}

#[test]
fn a_replacement_that_was_not_synced_may_be_empty() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let old = file(&mut disk, root, "a", "o");
        sync(&mut disk, old);
        sync(&mut disk, root);
        file(&mut disk, root, "t", "n");
        disk.rename(0, (root, b"t"), (root, b"a"));
        sync(&mut disk, root);
        disk
    };
    assert_eq!(states(made), set(&["a=", "a=0", "a=n"]));
}

#[test]
fn what_is_in_a_directory_that_is_lost_is_lost() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let inner = directory(&mut disk, root, "d");
        let inode = file(&mut disk, inner, "a", "x");
        sync(&mut disk, inode);
        sync(&mut disk, inner);
        disk
    };
    assert_eq!(states(made), set(&["", "d/ d/a=x"]));
}

#[test]
fn unlinked_files_come_back_when_the_unlinking_is_lost() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let inode = file(&mut disk, root, "a", "x");
        sync(&mut disk, inode);
        sync(&mut disk, root);
        disk.unlink(0, root, b"a");
        disk
    };
    assert_eq!(states(made), set(&["", "a=x"]));
}

#[test]
fn a_sync_of_a_directory_takes_what_a_rename_out_of_another_needs() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let (one, other) = (directory(&mut disk, root, "1"), directory(&mut disk, root, "2"));
        sync(&mut disk, root);
        let inode = file(&mut disk, one, "a", "x");
        sync(&mut disk, inode);
        disk.rename(0, (one, b"a"), (other, b"b"));
        sync(&mut disk, other);
        disk
    };
    assert_eq!(states(made), set(&["1/ 2/ 2/b=x"]));
}

#[test]
fn no_crash_tears_a_tree_off_its_root() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        let x = directory(&mut disk, root, "x");
        let y = directory(&mut disk, x, "y");
        sync(&mut disk, root);
        sync(&mut disk, x);
        disk.rename(0, (x, b"y"), (root, b"y"));
        disk.rename(0, (root, b"x"), (y, b"x"));
        disk
    };
    assert_eq!(states(made), set(&["x/ x/y/", "x/ y/", "y/ y/x/"]));
}

/// A disk with `d/`, `e/` and `d/f` on it, and these three.
fn settled() -> (Disk, [InodeId; 3]) {
    let mut disk = empty();
    let root = disk.root();
    let (d, e) = (directory(&mut disk, root, "d"), directory(&mut disk, root, "e"));
    let f = file(&mut disk, d, "f", "A");
    disk.sync_all();
    (disk, [d, e, f])
}

#[test]
fn what_was_on_the_disk_is_not_lost_with_the_directory_that_it_was_moved_out_of() {
    let states = states(|| {
        let (mut disk, [d, e, _]) = settled();
        disk.rename(1, (d, b"f"), (e, b"f"));
        disk.unlink(2, disk.root(), b"d");
        let root = disk.root();
        sync(&mut disk, root);
        disk
    });
    assert_eq!(states, set(&["e/ e/f=A"]));
}

#[test]
fn what_was_on_the_disk_is_not_lost_in_a_directory_that_was_not() {
    let moved = || {
        let (mut disk, [d, ..]) = settled();
        let root = disk.root();
        let new = directory(&mut disk, root, "new");
        disk.rename(1, (d, b"f"), (new, b"f"));
        (disk, new)
    };
    let whole = ["d/ d/f=A e/", "d/ d/f=A e/ new/", "d/ e/ new/ new/f=A"];
    assert_eq!(states(|| moved().0), set(&whole));
    let synced = states(|| {
        let (mut disk, new) = moved();
        sync(&mut disk, new);
        disk
    });
    assert_eq!(synced, set(&whole[2..]));
}

#[test]
fn a_name_that_is_taken_leaves_the_other_one() {
    let states = states(|| {
        let (mut disk, [d, e, f]) = settled();
        disk.link(1, e, b"g", f);
        disk.unlink(2, d, b"f");
        sync(&mut disk, d);
        disk
    });
    assert_eq!(states, set(&["d/ e/ e/g=A"]));
}

#[test]
fn temporary_files_take_no_space_for_ever() {
    let mut disk = empty();
    let root = disk.root();
    for second in 0..10_000 {
        let inode = disk.make(What::Regular(Regular::default()), attributes());
        disk.link(second * 1_000_000_000, root, b"t", inode);
        disk.unlink(second * 1_000_000_000, root, b"t");
    }
    assert!(disk.inodes.iter().count() < 5_000, "{} inodes are kept", disk.inodes.iter().count());
}

#[test]
fn a_disk_that_lies_keeps_nothing() {
    let made = || {
        let mut disk = Disk::new(attributes(), Syncs::Ignored);
        let root = disk.root();
        let inode = file(&mut disk, root, "a", "x");
        sync(&mut disk, inode);
        disk.sync_all();
        disk
    };
    assert_eq!(states(made), set(&["", "a=", "a=0", "a=x"]));
}

#[test]
fn what_lies_beneath_stays_hidden_or_comes_back() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        disk.unlink(0, root, b"beneath");
        disk
    };
    let mut disk = made();
    assert_eq!(disk.entry(disk.root(), b"beneath"), Some(Entry::Gone));
    let mut choices = Enumerated::default();
    disk.crash(0, &[], &mut choices);
    assert_eq!(disk.entry(disk.root(), b"beneath"), None);
}

#[test]
fn space_and_links_are_counted_again_after_a_crash() {
    let mut disk = empty();
    let root = disk.root();
    let inner = directory(&mut disk, root, "d");
    let inode = file(&mut disk, inner, "a", "x");
    disk.link(0, root, b"b", inode);
    disk.sync_all();
    let before = (disk.space.pages, disk.space.inodes);
    assert_eq!((before, disk.inode(root).link_count(), disk.inode(inode).link_count()), ((1, 2), 3, 2));
    disk.crash(0, &[], &mut Drawn::new(&mut Stream::new(1, Purpose::DiskCrash, 0)));
    assert_eq!((disk.space.pages, disk.space.inodes), before);
    assert_eq!((disk.inode(root).link_count(), disk.inode(inode).link_count()), (3, 2));
    assert_eq!(disk.path_of(inner), Some(PathBuf::from("/d")));
    assert_eq!(disk.at(Path::new("/d/a")), Some(inode));
}

#[test]
fn files_that_are_gone_give_their_space_back_when_they_are_closed() {
    let mut disk = empty();
    let root = disk.root();
    let inode = file(&mut disk, root, "a", "x");
    disk.hold(inode);
    disk.unlink(0, root, b"a");
    assert_eq!((disk.space.pages, disk.space.inodes), (1, 1));
    disk.let_go(inode);
    assert_eq!((disk.space.pages, disk.space.inodes), (0, 0));
}

#[test]
fn volatile_directories_are_empty_after_a_crash() {
    let mut disk = empty();
    let root = disk.root();
    let tmp = directory(&mut disk, root, "tmp");
    file(&mut disk, tmp, "a", "x");
    disk.sync_all();
    let volatile = "/tmp";
    disk.crash(0, &[volatile], &mut Enumerated::default());
    assert_eq!(tree(&disk), "tmp/");
}

#[test]
fn drawn_states_are_legal_and_many() {
    let made = || {
        let mut disk = empty();
        let root = disk.root();
        file(&mut disk, root, "a", "1");
        let b = file(&mut disk, root, "b", "2");
        sync(&mut disk, b);
        disk.rename(0, (root, b"a"), (root, b"c"));
        disk
    };
    let legal = states(made);
    let mut stream = Stream::new(3, Purpose::DiskCrash, 0);
    let drawn: BTreeSet<String> = (0..500)
        .map(|_| {
            let mut disk = made();
            disk.crash(0, &[], &mut Drawn::new(&mut stream));
            tree(&disk)
        })
        .collect();
    assert!(drawn.is_subset(&legal), "{:?}", drawn.difference(&legal));
    assert_eq!(drawn.len(), legal.len(), "{:?}", legal.difference(&drawn));
}
