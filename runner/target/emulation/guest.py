"""What runs inside a board before anybody logs in: our files in an otherwise unconfigured Debian tree.

    kernel → INITRD_INIT (finds the disk whose serial is "root") → busybox init → ETC_BOOT → dropbear, for ever

What makes a board an individual comes from QEMU's fw_cfg (opt/stageflow/…), so that one read-only root serves all; on a machine
without one it comes on the kernel's command line (board.hostname=…, board.login=…, board.root=…).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What one kind of machine differs by from another: its image, and what hangs where. Tuples of modules are in loading order."""

    arch: str  # as QEMU calls it
    debian: str  # as Debian does
    kernel: str  # Debian's package
    initrd_modules: tuple[str, ...]
    boot_modules: tuple[str, ...]
    console: str  # the terminal that the kernel talks on, by its name in the guest
    second_line: tuple[str, str] = ("", "")  # one beside it: QEMU's option for the device, and its name in the guest
    bus: str = "virtio"  # what everything but the console hangs on: virtio, or USB, where there is neither fw_cfg nor a network
    uart: int = 0  # which of the machine's serial ports the console is
    device_tree: str = ""  # the kernel's own file for this board, where QEMU makes none
    card: str = ""  # the root file system is a memory card, as the guest calls it: its size is then a power of two
    leave_out: tuple[str, ...] = ()  # of the kernel's modules: what the machine has no device for


_VIRTIO = (
    ("virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"),
    ("virtio_net", "virtio_console", "virtio_rng", "qemu_fw_cfg"),
)

# By the machine's name, where it has a line of its own; else by its architecture.
KINDS = {
    "aarch64": Kind("aarch64", "arm64", "linux-image-cloud-arm64", *_VIRTIO, "ttyAMA0", ("virtconsole,chardev=line", "hvc0")),
    "x86_64": Kind("x86_64", "amd64", "linux-image-cloud-amd64", *_VIRTIO, "ttyS0", ("isa-serial,chardev=line", "ttyS1")),
    "raspi3b": Kind(
        "aarch64",
        "arm64",
        "linux-image-arm64",  # the cloud's has no driver for a memory card
        ("crc32c_generic", "ext4", "mmc_block", "sdhci_iproc", "bcm2835", "phy_generic", "dwc2", "usb_storage", "uas", "sd_mod"),
        ("bcm2835_thermal", "bcm2835_wdt", "bcm2835_rng", "ftdi_sio"),
        "ttyS1",
        bus="usb",
        uart=1,
        device_tree="broadcom/bcm2837-rpi-3-b.dtb",
        card="mmcblk0",
        leave_out=(
            "sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging", "drivers/iio", "drivers/scsi/[!s]*",
            "drivers/net/wireless", "drivers/net/ethernet", "drivers/net/can", "drivers/isdn", "drivers/video",
        ),
    ),
}  # fmt: skip
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
root_disks() {  # by its name where it was told, else by its serial number
    for word in $(/bin/busybox cat /proc/cmdline); do
        case "$word" in board.root=*) [ -b "/dev/${word#*=}" ] && echo "${word#*=}" ;; esac
    done
    for serial in /sys/block/vd*/serial; do
        [ "$(/bin/busybox cat "$serial" 2>/dev/null)" = root ] || continue
        disk=${serial%/serial}; echo "${disk##*/}"
    done
}
tries=0
while [ $tries -lt 1200 ]; do
    for disk in $(root_disks); do
        /bin/busybox mount -t ext4 -o ro "/dev/$disk" /root || continue
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

hostname=$(/etc/board/given hostname) && echo "$hostname" >/proc/sys/kernel/hostname

# Interfaces are told apart by the address that the machine line gave them, then named after their job.
ip link set lo up
for address in /sys/class/net/*/address; do
    now=${address%/address}; now=${now##*/}
    case "$(cat "$address")" in
        52:54:00:00:00:01) ip link set "$now" name mgmt0 up && ip address add 10.0.2.15/24 dev mgmt0 ;;
        52:54:00:00:00:02) ip link set "$now" name data0 up && ip address add 10.77.0.2/24 dev data0 ;;
    esac
done

# What hangs on USB is there when it has been found, which takes a slow host its time.
tries=0
while ! /etc/board/find && [ $tries -lt 1200 ]; do tries=$((tries + 1)); sleep 0.05; done

umask 077
mkdir -p /root/.ssh /run/dropbear
if /etc/board/given host_key >/run/dropbear/openssh; then
    /etc/board/given authorized_keys >/root/.ssh/authorized_keys
    dropbearconvert openssh dropbear /run/dropbear/openssh /run/dropbear/host_key >/dev/null || echo BOARD-NO-HOST-KEY
fi
rm -f /run/dropbear/openssh
umask 022

# ext4 replays its own journal; e2fsck is asked only when that was not enough.
for disk in /dev/board-data; do
    [ -e "$disk" ] || { echo BOARD-NO-DATA-DISK; continue; }
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

ETC_GIVEN = """\
#!/bin/sh
# What this board was given as $1: by QEMU's fw_cfg, else on the kernel's command line. Status 1 where it was given nothing.
cat "/sys/firmware/qemu_fw_cfg/by_name/opt/stageflow/$1/raw" 2>/dev/null && exit
for word in $(cat /proc/cmdline); do
    case "$word" in "board.$1="*) echo "${word#*=}"; exit ;; esac
done
exit 1
"""

ETC_FIND = """\
#!/bin/sh
# /dev/board-data and /dev/witness, by what the machine line calls them: on virtio, or by the serial number of a USB device.
for serial in /sys/block/vd*/serial /sys/block/sd*/device/../../../../serial; do
    [ "$(cat "$serial" 2>/dev/null)" = data ] || continue
    disk=${serial#/sys/block/}; ln -sf "/dev/${disk%%/*}" /dev/board-data
done
for name in /sys/class/virtio-ports/*/name /sys/class/tty/ttyUSB*/device/../../serial; do
    [ "$(cat "$name" 2>/dev/null)" = witness ] || continue
    port=${name#/sys/class/*/}; port=/dev/${port%%/*}
    case "$port" in /dev/ttyUSB*) stty -F "$port" raw -echo ;; esac
    ln -sf "$port" /dev/witness
done
[ -e /dev/board-data ] && [ -e /dev/witness ]
"""

ETC_LOGIN = """\
#!/bin/sh
# A login on the terminal that the machine line names; where it names none, nothing. Root has no password there; SSH takes keys only.
tty=$(/etc/board/given login) || exec /bin/sleep 2147483647
exec /bin/busybox getty -L 115200 "$tty" vt100
"""

ETC_SSH = """\
#!/bin/sh
# A server for whoever has the key that the board was given; where it was given none, there is no network, and nothing.
[ -e /run/dropbear/host_key ] || exec /bin/sleep 2147483647
exec /usr/sbin/dropbear -F -E -s -m -r /run/dropbear/host_key -p 22
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
    "::respawn:/etc/board/ssh\n"
    "::respawn:/etc/board/login\n"
    "::shutdown:/bin/umount -a -r\n::ctrlaltdel:/bin/busybox reboot\n",
    "etc/board/boot": ETC_BOOT,
    "etc/board/given": ETC_GIVEN,
    "etc/board/find": ETC_FIND,
    "etc/board/login": ETC_LOGIN,
    "etc/board/ssh": ETC_SSH,
}
EMPTY_FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "data", "mnt", "var/tmp", "var/log")
LINKS = {"bin/sh": "dash", "bin/login": "busybox", "sbin/init": "../bin/busybox", "var/run": "/run", "etc/mtab": "/proc/self/mounts"}
