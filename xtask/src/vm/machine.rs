//! QEMU's command line, its life and its death.

use super::initramfs::Archive;
use super::kernel::{TO_BOOT, load_order};
use super::packages::{Run, Unpacked};
use super::tree::Tree;
use crate::process::quoted;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the box's word is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the kernel's console that are shown when it did not start, or not end.
const CONSOLE_LINES: usize = 60;
/// As mke2fs(8) takes it.
const DISK_SIZE: &str = "4G";
/// By which a program sees that it is in the box, in `/proc/cmdline`.
const MARK: &str = "windtunnel.box";

/// A machine that runs one command.
#[derive(Debug)]
pub(super) struct Machine {
    /// In MiB.
    pub(super) memory: u32,
    pub(super) processors: u32,
    /// From the start to the end; none for as long as it takes.
    pub(super) deadline: Option<Duration>,
    /// Whether the command has this process's terminal.
    pub(super) terminal: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { memory: 2048, processors: 2, deadline: None, terminal: false }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The command's exit code.
    pub(super) code: i32,
    /// From the start to the kernel's and the first process's being ready.
    pub(super) boot: Duration,
}

impl Machine {
    /// Runs a command in the box. `heard` is told each line that it writes to its descriptor 3.
    ///
    /// # Errors
    /// The box did not start, or did not end in time.
    pub(super) fn run(
        &self,
        unpacked: &Unpacked,
        command: &super::Command,
        mut heard: impl FnMut(&str),
    ) -> Result<Ended> {
        let run = unpacked.run()?;
        fs::write(run.directory.join("initramfs"), self.initramfs(unpacked, command)?)?;
        make_disk(&unpacked.tree()?, &run.directory.join("disk"))?;
        let mut emulator = self.command(unpacked, &run)?;
        if !self.terminal {
            // Nothing comes, and it does not end before QEMU does: at its end QEMU would close the port.
            emulator.stdin(Stdio::piped());
        }
        let begin = Instant::now();
        let mut child = emulator.spawn().context("failed to start QEMU")?;
        let _input = child.stdin.take();
        let mut status = Status::new(run.directory.join("status"));
        let mut ended = None;
        let mut boot = Duration::ZERO;
        let result = loop {
            // In this order: what is written before its end has been seen then.
            let exited = child.try_wait()?;
            for line in status.lines()? {
                match line.split_once(' ') {
                    Some(("started", _)) => boot = begin.elapsed(),
                    Some(("ended", code)) => ended = Some(code.parse::<i32>()?),
                    _ => heard(&line),
                }
            }
            if let Some(exited) = exited {
                break ended.with_context(|| format!("the box ended without a word ({exited})"));
            }
            if self.deadline.is_some_and(|deadline| begin.elapsed() > deadline) {
                stop(&mut child)?;
                break Err(anyhow::anyhow!("the box was stopped after {:?}", begin.elapsed()));
            }
            std::thread::sleep(LOOK);
        };
        match result {
            Ok(code) => Ok(Ended { code, boot }),
            Err(error) => bail!("{error:#}; the last lines of its console:\n{}", console(&run.directory)),
        }
    }

    /// What the kernel starts from.
    fn initramfs(&self, unpacked: &Unpacked, command: &super::Command) -> Result<Vec<u8>> {
        let modules = unpacked.modules()?;
        let release = modules.file_name().context("a directory has a name")?.to_string_lossy();
        let dependencies = fs::read_to_string(modules.join("modules.dep"))?;
        let order = load_order(&dependencies, &TO_BOOT);
        let mut archive = Archive::default();
        for directory in ["bin", "dev", "proc", "modules"] {
            archive.directory(directory);
        }
        let mut names = Vec::new();
        for path in order {
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            archive.file(&format!("modules/{name}"), &fs::read(modules.join(path))?);
            names.push(name);
        }
        let terminal = if self.terminal { "yes" } else { "no" };
        let conf = [
            ("order", names.join(" ")),
            ("modules", modules.to_string_lossy().into_owned()),
            ("release", release.into_owned()),
            ("terminal", terminal.to_owned()),
        ];
        let conf: String = conf.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        archive.file("bin/busybox", &fs::read(unpacked.busybox())?);
        archive.file("init", include_bytes!("init.sh"));
        archive.file("second", include_bytes!("second.sh"));
        archive.file("as-nobody", include_bytes!("as-nobody.sh"));
        archive.file("conf", conf.as_bytes());
        archive.file("modprobe", include_bytes!("modprobe.sh"));
        archive.file("paths", needed(unpacked.place(), command)?.as_bytes());
        archive.file("command", command.script().as_bytes());
        Ok(archive.finish())
    }

    /// QEMU, killed when this process's thread ends: setpriv(1), prctl(2).
    fn command(&self, unpacked: &Unpacked, run: &Run) -> Result<Command> {
        let tree = unpacked.tree()?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(tree.words("usr/bin/qemu-system-x86_64")?);
        command.args(self.arguments(&tree.inside("usr/share"), &unpacked.kernel(), &run.directory));
        command.env("QEMU_MODULE_DIR", tree.beside_libraries("qemu")?);
        Ok(command)
    }

    /// QEMU's arguments: qemu(1).
    fn arguments(&self, firmware: &Path, kernel: &Path, run: &Path) -> Vec<OsString> {
        // The processor's flaws are not emulated, nor is there an attacker.
        let line = format!("{MARK} console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on");
        let (memory, processors) = (self.memory.to_string(), self.processors.to_string());
        let mut arguments: Vec<OsString> = [
            ["-nodefaults", "-no-user-config"].as_slice(),
            &["-display", "none", "-no-reboot", "-machine", "q35", "-cpu", "max"],
            // Not KVM: a `/dev/kvm` that is there may still run nothing (nested, without hardware's help).
            &["-accel", "tcg,thread=multi", "-smp", &processors, "-m", &memory, "-append", &line],
            // Everything beneath it as well, and nothing of it to be written. Files of several devices get numbers
            // that differ.
            &["-fsdev", "local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap"],
            &["-device", "virtio-9p-pci,fsdev=machine,mount_tag=machine", "-device", "virtio-serial-pci"],
            // With a terminal, ^C is for the command.
            &["-chardev", if self.terminal { "stdio,id=output,signal=off" } else { "stdio,id=output" }],
            &[
                "-device",
                if self.terminal { "virtconsole,chardev=output" } else { "virtserialport,chardev=output,name=output" },
            ],
            &["-device", "virtserialport,chardev=status,name=status", "-device", "virtio-blk-pci,drive=disk"],
        ]
        .concat()
        .into_iter()
        .map(OsString::from)
        .collect();
        let files = [
            ("-L", "", firmware.join("qemu")),
            ("-L", "", firmware.join("seabios")),
            ("-kernel", "", kernel.to_owned()),
            ("-initrd", "", run.join("initramfs")),
            ("-serial", "file:", run.join("console")),
            ("-chardev", "file,id=status,path=", run.join("status")),
            // It ends with the box, so nothing has to reach this machine's disk.
            ("-drive", "id=disk,if=none,format=raw,cache=unsafe,discard=unmap,file=", run.join("disk")),
        ];
        for (option, prefix, path) in files {
            let mut value = OsString::from(prefix);
            value.push(path);
            arguments.extend([option.into(), value]);
        }
        arguments
    }
}

/// What of this machine has to be seen in the box wherever it lies, one path a line, parents first: this tree, where it
/// is built, and the command's directory.
fn needed(place: &Path, command: &super::Command) -> Result<String> {
    let mut paths = vec![crate::root(), command.directory.clone()];
    paths.extend(place.parent().map(Path::to_owned));
    paths.sort();
    let lines: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    ensure!(lines.iter().all(|line| !line.contains('\n')), "a directory's name has a line break: {lines:?}");
    Ok(lines.join("\n") + "\n")
}

/// A disk to write to, with a file system on it. The file is sparse.
fn make_disk(tree: &Tree, path: &Path) -> Result<()> {
    let mut mke2fs = tree.command("sbin/mke2fs")?;
    mke2fs.args(["-q", "-F", "-t", "ext4"]).arg(path).arg(DISK_SIZE);
    mke2fs.env("MKE2FS_CONFIG", tree.inside("etc/mke2fs.conf"));
    crate::process::finish(mke2fs)
}

fn stop(child: &mut Child) -> Result<()> {
    child.kill().context("failed to stop QEMU")?;
    child.wait().context("failed to wait for QEMU's end")?;
    Ok(())
}

fn console(run: &Path) -> String {
    let text = fs::read(run.join("console")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

/// What the box says about itself, in a file that grows.
struct Status {
    path: PathBuf,
    read: usize,
}

impl Status {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The whole lines that have come since the last look.
    fn lines(&mut self) -> Result<Vec<String>> {
        // QEMU has not made it at first.
        let Ok(bytes) = fs::read(&self.path) else { return Ok(Vec::new()) };
        let new = &bytes[self.read.min(bytes.len())..];
        let Some(end) = new.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        self.read += end + 1;
        Ok(String::from_utf8_lossy(&new[..end]).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let arguments = machine.arguments(Path::new("/q"), Path::new("/vmlinux"), Path::new("/run-1"));
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn the_machines_files_are_seen_and_never_written() {
        let line = line(&Machine::default());
        assert!(line.contains("-fsdev local,id=machine,path=/,security_model=none,readonly=on"), "{line}");
    }

    #[test]
    fn a_command_has_a_terminal_only_when_there_is_one() {
        let with = line(&Machine { terminal: true, ..Machine::default() });
        assert!(with.contains("-device virtconsole,chardev=output") && with.contains("signal=off"), "{with}");
        let without = line(&Machine::default());
        assert!(without.contains("-device virtserialport,chardev=output,name=output"), "{without}");
    }

    #[test]
    fn only_whole_lines_are_heard_each_once() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("status");
        let mut status = Status::new(path.clone());
        assert!(status.lines().expect("no file yet").is_empty());
        fs::write(&path, "started 6.1\nen").expect("a file");
        assert_eq!(status.lines().expect("a line"), ["started 6.1"]);
        fs::write(&path, "started 6.1\nended 3\n").expect("a file");
        assert_eq!(status.lines().expect("the other"), ["ended 3"]);
        assert!(status.lines().expect("nothing new").is_empty());
    }
}
