#!/bin/busybox sh
# The first process in the box. Loads what it takes to see the machine outside, lays a tmpfs above it, makes what an
# operating system makes at its start, and goes on with second.sh.
#
# /conf sets: modules (the modules' directory outside), release (the kernel's), terminal (yes or no).
. /conf
/bin/busybox --install -s /bin
export PATH=/bin

mount -t devtmpfs devices /dev
mount -t proc processes /proc
for module in $order; do insmod "/modules/$module"; done

mkdir /below /above /whole
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose machine /below
mount -t tmpfs -o mode=0755 above /above
mkdir /above/written /above/work
mount -t overlay -o lowerdir=/below,upperdir=/above/written,workdir=/above/work machine /whole || poweroff -f

# No more than a machine that has just started: what is mounted outside shows through 9p, and is hidden here.
mount --move /dev /whole/dev
mount --move /proc /whole/proc
mount -t sysfs system /whole/sys
mount -t tmpfs -o mode=0755 run /whole/run
mkdir -p /whole/dev/pts /whole/dev/shm /whole/dev/mqueue /whole/run/vm /whole/run/lock
mount -t devpts -o ptmxmode=0666,mode=0620 terminals /whole/dev/pts
mount -t tmpfs -o mode=1777 shared /whole/dev/shm
mount -t cgroup2 cgroups /whole/sys/fs/cgroup
mount -t bpf bpf /whole/sys/fs/bpf
mount -t debugfs debug /whole/sys/kernel/debug
ln -sf /proc/self/fd /whole/dev/fd
ln -sf /proc/self/fd/0 /whole/dev/stdin
ln -sf /proc/self/fd/1 /whole/dev/stdout
ln -sf /proc/self/fd/2 /whole/dev/stderr

mkdir -p /whole/lib/modules
ln -sfn "$modules" "/whole/lib/modules/$release"
cp /bin/busybox /conf /command /second /as-nobody /whole/run/vm/
ln -s busybox /whole/run/vm/sh
ln -s busybox /whole/run/vm/modprobe

# Not pivot_root(2): the kernel's own threads, which run modprobe, share this process's root and follow its chroot.
exec switch_root /whole /run/vm/sh /run/vm/second
