//! The kernel's modules: which are needed to boot, in which order, and which are kept; and the kernel itself, unpacked.

use crate::process::finish;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// What a stream of xz's begins with: The .xz File Format §2.1.1.1.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// What the first process needs before it sees this machine's files: PCI and virtio, a way to speak, 9p, overlays.
pub(super) const TO_BOOT: [&str; 5] = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// Below `kernel/` in the directory of modules: what is kept. The rest (sound, graphics, network cards, 300 of 400 MB)
/// would only make looking a module up slower. A directory that ends with `/*` is kept without those below it.
const KEPT: [&str; 21] = [
    "arch",
    "block",
    "crypto",
    "drivers/block",
    "drivers/char",
    "drivers/dax",
    "drivers/md",
    "drivers/net/*",
    "drivers/net/bonding",
    "drivers/net/ipvlan",
    "drivers/net/netdevsim",
    "drivers/net/team",
    "drivers/net/vxlan",
    "drivers/net/wireguard",
    "drivers/nvdimm",
    "drivers/virtio",
    "fs",
    "lib",
    "mm",
    "net",
    "security",
];

/// Whether a module is kept, by its path below `kernel/`.
pub(super) fn is_kept(module: &str) -> bool {
    let directory = module.rsplit_once('/').map_or("", |(directory, _)| directory);
    KEPT.iter().any(|kept| match kept.strip_suffix("/*") {
        Some(alone) => directory == alone,
        None => directory.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    })
}

/// The paths of these modules and of all they depend on, each after what it depends on.
///
/// `dependencies` is the text of `modules.dep`: `module: what it needs …` (modules.dep(5)). A module that is not
/// listed is built into the kernel.
pub(super) fn load_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<_, Vec<_>> = lines.map(|(path, needs)| (path, needs.split_whitespace().collect())).collect();
    let mut order = Vec::new();
    for name in wanted {
        if let Some(path) = needs.keys().find(|path| module_name(path) == *name) {
            visit(path, &needs, &mut order);
        }
    }
    order
}

fn visit<'a>(path: &'a str, needs: &BTreeMap<&'a str, Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&path) {
        return;
    }
    for needed in needs.get(path).into_iter().flatten() {
        visit(needed, needs, order);
    }
    order.push(path);
}

/// `kernel/fs/9p/9p.ko.xz` is the module `9p`.
fn module_name(path: &str) -> &str {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.split_once('.').map_or(file, |(name, _)| name)
}

/// Unpacks the kernel inside a `bzImage`, so that the emulated processor need not: two of six seconds.
///
/// The kernel's `Documentation/arch/x86/boot.rst`: `setup_sects` is the byte at 0x1f1, `HdrS` stands at 0x202,
/// `payload_offset` and `payload_length` at 0x248. The payload begins that far after the setup's sectors and ends with
/// its unpacked size, in four bytes that are no part of the compressed stream.
///
/// # Errors
/// It is no such image, or is not compressed by xz, as Debian's are.
pub(super) fn unpack(image: &[u8], mut xz: Command, to: &Path) -> Result<()> {
    let payload = payload(image).context("failed to find the kernel in its image")?;
    ensure!(payload.starts_with(XZ), "the kernel is not compressed by xz");
    let from = to.with_extension("packed");
    std::fs::write(&from, payload)?;
    xz.args(["-d", "-c"]).stdin(File::open(&from)?).stdout(File::create(to)?);
    let unpacked = finish(xz);
    std::fs::remove_file(&from)?;
    unpacked
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let begin = (usize::from(image[0x1f1]) + 1) * 512 + word(0x248)?;
    image.get(begin..begin + word(0x24c)?.checked_sub(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
        kernel/fs/netfs/netfs.ko.xz:\n\
        kernel/net/9p/9pnet.ko.xz:\n\
        kernel/drivers/virtio/virtio_ring.ko.xz:\n\
        kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz\n\
        kernel/net/9p/9pnet_virtio.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/net/9p/9pnet.ko.xz\n";

    #[test]
    fn a_module_comes_after_all_it_needs_and_only_once() {
        let order: Vec<_> = load_order(DEPENDENCIES, &["9pnet_virtio", "9p"]).into_iter().map(module_name).collect();
        assert_eq!(order, ["virtio_ring", "virtio", "9pnet", "9pnet_virtio", "netfs", "9p"]);
    }

    #[test]
    fn what_is_built_in_needs_no_module() {
        assert_eq!(load_order(DEPENDENCIES, &["ext4"]), [""; 0]);
    }

    #[test]
    fn what_faults_need_is_kept_and_network_cards_are_not() {
        for module in ["net/sched/sch_netem.ko", "drivers/md/dm-flakey.ko", "drivers/net/tun.ko", "fs/9p/9p.ko"] {
            assert!(is_kept(module), "{module}");
        }
        for module in ["drivers/net/ethernet/intel/e1000/e1000.ko", "sound/core/snd.ko", "drivers/mdio/x.ko"] {
            assert!(!is_kept(module), "{module}");
        }
    }

    #[test]
    fn the_payload_of_an_image_is_where_its_header_says() {
        let mut image = vec![0; 0x600];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&10_u32.to_le_bytes());
        image[0x410..0x41a].copy_from_slice(b"\xfd7zXZ\0size");
        assert_eq!(payload(&image), Some(&b"\xfd7zXZ\0"[..]));
        assert_eq!(payload(&image[..0x300]), None);
    }
}
