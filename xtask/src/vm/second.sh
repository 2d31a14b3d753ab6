# The first process in the box, with its final root: what is left to do of a system's start. Then it runs the command,
# tells how that ended, and switches off. busybox's shell runs its own commands without a search.
. /run/vm/conf
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

# The kernel loads what a fault needs when it is asked for: request_module() in kernel/module/kmod.c.
echo /run/vm/modprobe > /proc/sys/kernel/modprobe
for module in virtio_blk ext4 tun fuse loop dm_mod; do /run/vm/modprobe "$module"; done
# As udev does: whoever has a network namespace may make devices in it, and a mount namespace file systems.
chmod 0666 /dev/net/tun /dev/fuse

# A disk to write to, where programs write: ext4 on a block device, so that disks can be throttled too. What is needed
# of the machine's own files there, and only that, is bound into it; parents come first.
scratch=/run/vm/scratch
mkdir $scratch
mount -t ext4 -o discard /dev/vda $scratch
rmdir $scratch/lost+found
chmod 1777 $scratch
while read -r path; do
    case $path in
        /tmp/*)
            inside=$scratch/${path#/tmp/}
            if [ ! -e "$inside" ]; then mkdir -p "$inside" && mount --bind "$path" "$inside"; fi
            ;;
    esac
done < /run/vm/paths
mount --move $scratch /tmp
rmdir $scratch
mount -t tmpfs -o mode=1777 scratch /var/tmp

ip link set lo up
hostname box

# Every controller, down to a cgroup that is delegated to the user 65534 as systemd does: cgroups(7).
cgroups=/sys/fs/cgroup
delegated=$cgroups/delegated
enable() { sed 's/\([a-z_]\+\)/+\1/g' "$1/cgroup.controllers" > "$1/cgroup.subtree_control"; }
enable $cgroups
mkdir -p $delegated
enable $delegated
mkdir $delegated/session
for directory in $delegated $delegated/session; do
    chown 65534:65534 $directory $directory/cgroup.procs $directory/cgroup.threads $directory/cgroup.subtree_control
done

# The ports by the names that `machine.rs` gave them.
port() {
    for found in /sys/class/virtio-ports/*; do
        if [ "$(cat "$found/name")" = "$1" ]; then echo "/dev/${found##*/}"; fi
    done
}
exec 3> "$(port status)"
echo "started $release" >&3

if [ "$terminal" = yes ]; then
    setsid -c /run/vm/sh /run/vm/command < /dev/hvc0 > /dev/hvc0 2>&1
else
    setsid /run/vm/sh /run/vm/command < /dev/null > "$(port output)" 2>&1
fi
echo "ended $?" >&3
poweroff -f
