"""What runs inside a board before anybody logs in: our files in an otherwise unconfigured Debian tree.

    kernel → INITRD_INIT (finds the disk whose serial is "root") → busybox init → ETC_BOOT → dropbear, for ever

What makes a board an individual comes from QEMU's fw_cfg (opt/stageflow/…), so that one read-only root serves all.
"""

from __future__ import annotations

INITRD_MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4")
BOOT_MODULES = ("virtio_net", "virtio_console", "virtio_rng", "qemu_fw_cfg")
APPLETS = (
    "awk cmp clear diff find free grep gunzip gzip halt hexdump hostname kill killall less nc netstat pgrep pidof ping "
    "pkill poweroff ps reboot sed strings sysctl tail tar telnet time top tr uptime vi watch wget which xargs xxd"
)

INITRD_INIT = """\
#!/bin/busybox sh
# From the kernel to the root file system; everything else is /etc/board/boot.
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
echo INITRD-ALIVE
case "$(/bin/busybox cat /proc/cmdline)" in *board.probe*) /bin/busybox poweroff -f ;; esac
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
tries=0
while [ $tries -lt 200 ]; do
    for serial in /sys/block/vd*/serial; do
        [ "$(/bin/busybox cat "$serial" 2>/dev/null)" = root ] || continue
        disk=${serial%/serial}
        /bin/busybox mount -t ext4 -o ro "/dev/${disk##*/}" /root || continue
        /bin/busybox mount --move /dev /root/dev
        /bin/busybox umount /proc /sys
        exec /bin/busybox switch_root /root /sbin/init
    done
    tries=$((tries + 1))
    /bin/busybox usleep 50000
done
echo INITRD-NO-ROOT
/bin/busybox poweroff -f
"""

ETC_BOOT = """\
#!/bin/sh
# Run once by init (busybox) before the SSH server: mounts, names, network, the data disk, then /data/runner/at-boot.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
for place in /dev/shm /tmp /run /var/tmp /var/log; do mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs $place; done
mount -t tmpfs -o nosuid,nodev,mode=0700 tmpfs /root
chmod 0755 /run /var/log
modprobe -a $(cat /etc/board/modules)

given=/sys/firmware/qemu_fw_cfg/by_name/opt/stageflow
[ -e $given/hostname/raw ] && cat $given/hostname/raw >/proc/sys/kernel/hostname

# Interfaces are told apart by the address that the machine line gave them, then named after their job.
ip link set lo up
for address in /sys/class/net/*/address; do
    now=${address%/address}; now=${now##*/}
    case "$(cat "$address")" in
        52:54:00:00:00:01) ip link set "$now" name mgmt0 up && ip address add 10.0.2.15/24 dev mgmt0 ;;
        52:54:00:00:00:02) ip link set "$now" name data0 up && ip address add 10.77.0.2/24 dev data0 ;;
    esac
done

for name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$name")" = witness ] || continue
    port=${name%/name}; ln -s "/dev/${port##*/}" /dev/witness
done

umask 077
mkdir -p /root/.ssh /run/dropbear
cat $given/authorized_keys/raw >/root/.ssh/authorized_keys
cat $given/host_key/raw >/run/dropbear/openssh
dropbearconvert openssh dropbear /run/dropbear/openssh /run/dropbear/host_key >/dev/null || echo BOARD-NO-HOST-KEY
rm -f /run/dropbear/openssh
umask 022

# ext4 replays its own journal; e2fsck is asked only when that was not enough.
for serial in /sys/block/vd*/serial; do
    [ "$(cat "$serial")" = data ] || continue
    disk=${serial%/serial}; disk=/dev/${disk##*/}
    mount -t ext4 -o noatime "$disk" /data && continue
    echo "BOARD-DATA-NEEDS-FSCK $disk"
    e2fsck -p "$disk"
    echo "BOARD-FSCK-STATUS $?"
    mount -t ext4 -o noatime "$disk" /data || echo "BOARD-DATA-NOT-MOUNTED $disk"
done

read -r uptime rest </proc/uptime
echo "BOARD-READY $uptime"
if [ -x /data/runner/at-boot ]; then setsid /data/runner/at-boot </dev/null & fi
"""

ETC_LOGIN = """\
#!/bin/sh
# A login on the terminal that the machine line names; where it names none, nothing. Root has no password there; SSH takes keys only.
given=/sys/firmware/qemu_fw_cfg/by_name/opt/stageflow/login/raw
[ -e $given ] || exec /bin/sleep 2147483647
exec /bin/busybox getty -L 115200 "$(cat $given)" vt100
"""

ETC_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/shadow": "root::19000:0:99999:7:::\n",
    "etc/shells": "/bin/sh\n/bin/dash\n",
    "etc/hosts": "127.0.0.1 localhost\n10.0.2.2 host\n10.77.0.1 gateway\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/profile": "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    "etc/inittab": "::sysinit:/etc/board/boot\n"
    "::respawn:/usr/sbin/dropbear -F -E -s -m -r /run/dropbear/host_key -p 22\n"
    "::respawn:/etc/board/login\n"
    "::shutdown:/bin/umount -a -r\n::ctrlaltdel:/bin/busybox reboot\n",
    "etc/board/modules": " ".join(BOOT_MODULES) + "\n",
    "etc/board/boot": ETC_BOOT,
    "etc/board/login": ETC_LOGIN,
}
EMPTY_FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "data", "mnt", "var/tmp", "var/log")
LINKS = {"bin/sh": "dash", "bin/login": "busybox", "sbin/init": "../bin/busybox", "var/run": "/run", "etc/mtab": "/proc/self/mounts"}
