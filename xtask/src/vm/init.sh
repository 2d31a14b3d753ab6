#!/bin/busybox sh
# The first process in the box. Loads what it takes to see the machine outside, mounts what an operating system mounts
# at its start, and goes on with second.sh.
#
# The machine's files are the root as they are: with an overlay above them, hosts' disks and faults, which are overlays
# too, would be more than the two that the kernel stacks (FILESYSTEM_MAX_STACK_DEPTH in its include/linux/fs.h).
#
# /conf sets: order (the modules to load), modules (the modules' directory outside), release (the kernel's), terminal
# (yes or no).
. /conf
/bin/busybox --install -s /bin
export PATH=/bin

mount -t devtmpfs devices /dev
mount -t proc processes /proc
for module in $order; do insmod "/modules/$module"; done

mkdir /whole
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose machine /whole || poweroff -f

# What is mounted outside shows through 9p, and is hidden here.
mount --move /dev /whole/dev
mount --move /proc /whole/proc
mount -t sysfs system /whole/sys
mount -t tmpfs -o mode=0755 run /whole/run
mkdir -p /whole/dev/pts /whole/dev/shm /whole/run/lock /whole/run/vm
mount -t devpts -o ptmxmode=0666,mode=0620 terminals /whole/dev/pts
mount -t tmpfs -o mode=1777 shared /whole/dev/shm
mount -t cgroup2 cgroups /whole/sys/fs/cgroup
mount -t bpf bpf /whole/sys/fs/bpf
mount -t debugfs debug /whole/sys/kernel/debug
ln -sf /proc/self/fd /whole/dev/fd
ln -sf /proc/self/fd/0 /whole/dev/stdin
ln -sf /proc/self/fd/1 /whole/dev/stdout
ln -sf /proc/self/fd/2 /whole/dev/stderr

cp /bin/busybox /conf /paths /command /second /as-nobody /modprobe /whole/run/vm/
ln -s busybox /whole/run/vm/sh
# Where modprobe finds this kernel's modules: there may be no /lib/modules outside to mount anything on.
loader=/whole/run/vm/loader
mkdir -p $loader/bin $loader/proc "$loader/lib/modules/$release"
ln /whole/run/vm/busybox $loader/bin/modprobe
mount --bind /whole/proc $loader/proc
mount --bind "/whole$modules" "$loader/lib/modules/$release"

# Not pivot_root(2): the kernel's own threads, which run modprobe, share this process's root and follow its chroot.
exec switch_root /whole /run/vm/sh /run/vm/second
