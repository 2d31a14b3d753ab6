//! Fetches QEMU, a kernel and busybox from Debian's packages, without installing them.
//!
//! apt is given lists, a cache and a state of its own, in which no package is installed: so it fetches QEMU with every
//! library down to libc, and the box is the same on every machine. Where the packages come from, proxies and keys are
//! the machine's.

use super::kernel;
use super::tree::Tree;
use crate::process::finish;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Depends on the newest kernel. Debian's `cloud` kernels are smaller, and lack 9p.
const KERNEL: &str = "linux-image-amd64";
/// What runs here, fetched with all it depends on: the emulator, what unpacks the kernel, and what makes a file system.
const WITH_LIBRARIES: [&str; 3] = ["qemu-system-x86", "xz-utils", "e2fsprogs"];
/// What runs in the box before it sees this machine's files.
const BUSYBOX: &str = "busybox-static";
/// What the name of a run's directory begins with; the process's number follows.
const RUN: &str = "run-";
/// Part of the directory's name: another number unpacks anew.
const LAYOUT: u32 = 1;

/// What apt does not find in the machine's own configuration. Hooks after an update are for the machine's own lists:
/// they would clear its cache or write its catalogues.
const APT: &str = "\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
APT::Sandbox::User \"root\";
APT::Update::Error-Mode \"any\";
APT::Install-Recommends \"false\";
Acquire::Languages \"none\";
Acquire::Retries \"3\";
";

/// QEMU, kernel and busybox, unpacked.
#[derive(Debug)]
pub struct Unpacked {
    directory: PathBuf,
}

impl Unpacked {
    /// Where it lies, beside the runs.
    pub(super) fn place(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    /// QEMU, and other programs that run here, with all they depend on.
    pub(super) fn tree(&self) -> Result<Tree> {
        Tree::new(&self.directory.join("tree"))
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// The kernel's modules: what belongs at `/lib/modules/RELEASE`.
    pub(super) fn modules(&self) -> Result<PathBuf> {
        only_entry(&self.directory.join("lib/modules"))
    }

    /// busybox, linked statically.
    pub(super) fn busybox(&self) -> PathBuf {
        self.directory.join("busybox")
    }

    /// A new, empty directory for one run, which ends with the value.
    pub(super) fn run(&self) -> Result<Run> {
        let place = self.place();
        sweep(place)?;
        let directory = place.join(format!("{RUN}{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
        Ok(Run { directory })
    }
}

/// The files of one run.
#[derive(Debug)]
pub(super) struct Run {
    /// Where they are.
    pub(super) directory: PathBuf,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes what runs left that were killed.
fn sweep(place: &Path) -> Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let process = entry.file_name().to_str().and_then(|name| name.strip_prefix(RUN)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            // Another one may sweep at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Why there can be no box here, if that is plain without asking a network.
fn unavailable() -> Option<String> {
    let wanted = ["apt-get", "apt-cache", "dpkg-deb", "setpriv"];
    let missing: Vec<_> = wanted.into_iter().filter(|program| !is_on_path(program)).collect();
    if !cfg!(target_arch = "x86_64") {
        return Some("it runs x86-64's kernel".to_owned());
    }
    (!missing.is_empty()).then(|| {
        format!(
            "it is made of Debian's packages, unpacked by Debian's tools, and there is no {} here; use a Debian \
             system or container (`debian:bookworm` will do)",
            missing.join(", no ")
        )
    })
}

/// Fetches and unpacks everything, once.
///
/// # Errors
/// A package cannot be had, or not be unpacked.
pub(super) fn prepare(place: &Path) -> Result<Unpacked> {
    fs::create_dir_all(place).with_context(|| format!("failed to make {}", place.display()))?;
    // Held until the function returns, so that two at once do not fetch twice.
    let lock = fs::File::create(place.join("lock"))?;
    lock.lock().context("failed to wait for another one that fetches")?;
    let unpacked = Unpacked { directory: place.join(format!("box-{LAYOUT}")) };
    if unpacked.directory.exists() {
        return Ok(unpacked);
    }
    if let Some(reason) = unavailable() {
        bail!("no kernel in a box: {reason}");
    }
    let (apt, partial) = (Apt::new(&place.join("apt"))?, place.join("partial"));
    let _ = fs::remove_dir_all(&partial);
    println!("fetching QEMU and a kernel into {}; nothing is installed", place.display());
    apt.fetch()?;
    fs::create_dir_all(&partial)?;
    unpack(&apt, &partial)?;
    fs::remove_dir_all(&apt.directory)?;
    fs::rename(&partial, &unpacked.directory)?;
    Ok(unpacked)
}

/// apt with lists, cache and state in a directory of ours.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(directory: &Path) -> Result<Self> {
        for inside in ["lists/partial", "archives/partial", "alone"] {
            fs::create_dir_all(directory.join(inside))?;
        }
        fs::write(directory.join("status"), "")?;
        fs::write(directory.join("apt.conf"), APT)?;
        Ok(Self { directory: directory.to_owned() })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-qq").arg("-c").arg(self.directory.join("apt.conf"));
        let ours = [
            ("Dir::State", ""),
            ("Dir::State::status", "status"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", ""),
            ("Dir::Log", ""),
        ];
        for (option, inside) in ours {
            command.arg("-o").arg(format!("{option}={}", self.directory.join(inside).display()));
        }
        // The lock of the machine's own package database is not for us to take, nor do we touch what it guards.
        command.args(["-o", "Debug::NoLocking=1"]).args(arguments).current_dir(self.directory.join("alone"));
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command
    }

    /// Downloads everything: what comes with its libraries to `archives`, the others to `alone`.
    fn fetch(&self) -> Result<()> {
        // Where one of several sources cannot be reached, what is wanted may well come from another.
        let updated = finish(self.command("apt-get", &["update"]));
        let fetched = self.fetch_packages();
        match (fetched, updated) {
            (Err(error), Err(update)) => Err(error.context(update.to_string())),
            (fetched, _) => fetched,
        }
        .context("failed to fetch packages; the box needs Debian's packages once, from a network or a mirror")
    }

    fn fetch_packages(&self) -> Result<()> {
        let listed = self.command("apt-cache", &["depends", KERNEL]).stderr(Stdio::null()).output()?;
        let kernel = depends(&String::from_utf8_lossy(&listed.stdout))
            .with_context(|| format!("apt knows no package {KERNEL}; it needs Debian's sources"))?;
        let install: Vec<_> = ["install", "--yes", "--download-only"].into_iter().chain(WITH_LIBRARIES).collect();
        finish(self.command("apt-get", &install))?;
        finish(self.command("apt-get", &["download", &kernel, BUSYBOX]))
    }

    fn debs(&self, inside: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.directory.join(inside))?.collect::<std::io::Result<Vec<_>>>()?;
        let debs = entries.into_iter().map(|entry| entry.path());
        Ok(debs.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
    }
}

/// The first package that `apt-cache depends` names: a package like `linux-image-amd64` has nothing in it, and depends
/// on the newest kernel.
fn depends(listed: &str) -> Option<String> {
    let mut lines = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    lines.next().map(str::to_owned).filter(|package| package.starts_with("linux-image-"))
}

/// Unpacks what was fetched, keeps what is needed of it and indexes the modules.
fn unpack(apt: &Apt, to: &Path) -> Result<()> {
    for deb in apt.debs("archives")? {
        finish(dpkg_deb(&deb, &to.join("tree")))?;
    }
    let whole = to.join("whole");
    for deb in apt.debs("alone")? {
        finish(dpkg_deb(&deb, &whole))?;
    }
    fs::rename(first_that_exists(&[whole.join("usr/bin/busybox"), whole.join("bin/busybox")])?, to.join("busybox"))?;
    let image = fs::read(only_entry_with(&whole.join("boot"), "vmlinuz-")?)?;
    if let Err(error) = kernel::unpack(&image, Tree::new(&to.join("tree"))?.command("usr/bin/xz")?, &to.join("vmlinux"))
    {
        println!("the kernel stays packed, which costs two seconds a boot: {error:#}");
        fs::write(to.join("vmlinux"), &image)?;
    }
    let modules = only_entry(&first_that_exists(&[whole.join("usr/lib/modules"), whole.join("lib/modules")])?)?;
    let release = modules.file_name().context("a directory has a name")?.to_owned();
    let kept = to.join("lib/modules").join(&release);
    keep_modules(&modules, &kept)?;
    // Debian's package makes these indexes when it is installed.
    finish({
        let mut depmod = Command::new(to.join("busybox"));
        depmod.args(["depmod", "-b"]).arg(to).arg(&release);
        depmod
    })?;
    fs::remove_dir_all(&whole)?;
    Ok(())
}

fn dpkg_deb(deb: &Path, to: &Path) -> Command {
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(deb).arg(to);
    command
}

/// Moves the modules that are kept, and the lists that belong to them.
fn keep_modules(from: &Path, to: &Path) -> Result<()> {
    let mut left = vec![from.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            let inside = path.strip_prefix(from).context("it was found there")?;
            let module = inside.strip_prefix("kernel").ok().map(Path::to_string_lossy);
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() && module.is_none_or(|module| kernel::is_kept(&module)) {
                let kept = to.join(inside);
                fs::create_dir_all(kept.parent().context("it is below a directory")?)?;
                fs::rename(&path, kept)?;
            }
        }
    }
    Ok(())
}

fn only_entry(directory: &Path) -> Result<PathBuf> {
    only_entry_with(directory, "")
}

fn only_entry_with(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("nothing begins with `{prefix}` in {}", directory.display()))
}

/// A package has its programs below `/usr` or not, depending on the release.
fn first_that_exists(paths: &[PathBuf]) -> Result<PathBuf> {
    let found = paths.iter().find(|path| path.exists());
    found.cloned().with_context(|| format!("there is no {}", paths[0].display()))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_empty_package_depends_on() {
        let listed = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Depends: other\n";
        assert_eq!(depends(listed).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(depends("N: Unable to locate package\n"), None);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_a_living_one_is_let_be() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path();
        // Linux numbers processes up to 2^22 at most: proc_sys_kernel(5).
        let (dead, alive) = (place.join("run-4194305"), place.join(format!("run-{}", std::process::id())));
        for directory in [&dead, &alive, &place.join("box-1")] {
            fs::create_dir_all(directory).expect("a directory");
        }
        sweep(place).expect("it can be read");
        assert!(!dead.exists() && alive.exists() && place.join("box-1").exists());
    }

    #[test]
    fn apt_is_kept_to_a_directory_of_ours() {
        let apt = Apt { directory: "/box/apt".into() };
        let shown = crate::process::shown(&apt.command("apt-get", &["update"]));
        for option in ["Dir::State::status=/box/apt/status", "Dir::State::Lists=/box/apt/lists", "Dir::Cache=/box/apt/"]
        {
            assert!(shown.contains(option), "{shown}");
        }
    }
}
