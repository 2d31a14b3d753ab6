#!/run/vm/sh
# Loads a module of the box's kernel. The kernel itself calls this, and so may a person.
exec /run/vm/busybox chroot /run/vm/loader /bin/modprobe "$@"
