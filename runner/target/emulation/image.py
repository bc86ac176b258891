"""A Debian root file system for emulated boards, built once per recipe and shared read-only by every board.

    Debian packages ──mmdebstrap──> tree ──our own files──> tree ──mke2fs -d──> root.ext4   (no identity in it)
                                      └── kernel, busybox, a few modules ─────> kernel, initrd.cpio, device tree

Nothing of the foreign architecture runs on the host, so a build takes seconds; packages are unpacked and never
configured, so whatever a package would have configured (users, shells, network) is written here. What makes a board
an individual (host key, authorized key, name) comes from QEMU at boot, see guest.py, which also says what the image of
one kind of machine differs by from another's.
"""

from __future__ import annotations

import compileall
import fcntl
import gzip
import hashlib
import json
import os
import py_compile
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from runner.errors import AskError, LabError
from runner.target.emulation.guest import APPLETS, EMPTY_FOLDERS, ETC_FILES, INITRD_INIT, KINDS, LINKS, Kind

FORMAT = 1  # raise it when this file builds something else from the same recipe
SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

PACKAGES = (
    "python3", "dropbear-bin", "busybox-static", "dash", "iproute2", "kmod", "e2fsprogs",
    "mount", "util-linux", "coreutils", "nftables", "ethtool",
)  # fmt: skip
UNWANTED = ("dev", "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """A whole image on disk. `digest` is the SHA-256 over all of its files: equal digests, equal bytes."""

    arch: str
    kernel: Path
    initrd: Path
    root: Path
    digest: str
    packages: dict[str, str]
    device_tree: Path | None = None  # for a machine whose emulator makes none


def ensure_image(kind: str, cache: Path, progress: Progress) -> Image:
    """The image for a `kind` of machine, from `cache` when its recipe has not changed, else built (some 20 s, 1 GB while at it).

    Safe to call from several processes: one builds, the others wait for it. Whatever fails, the cache holds whole
    images only. Raises AskError for an unknown kind, LabError when tools or the mirror are missing.
    """
    if kind not in KINDS:
        raise AskError(f"there is no image for {kind!r}", expected=" or ".join(KINDS))
    place = _place(kind, cache)
    if not place.exists():
        refuse_missing_tools()
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".{kind}.lock"):
            for left in cache.glob(f".building-{kind}-*"):  # of a builder that was killed: we hold the lock
                shutil.rmtree(left, ignore_errors=True)
            if not place.exists():
                with tempfile.TemporaryDirectory(prefix=f".building-{kind}-", dir=cache) as work:
                    _build(kind, Path(work), progress).rename(place)
    return _load(place)


def is_made(kind: str, cache: Path) -> bool:
    """Whether the image for a `kind` of machine is in `cache`; nothing is built."""
    return _place(kind, cache).exists()


def _place(kind: str, cache: Path) -> Path:
    return cache / f"{kind}-{_recipe_digest(kind)[:16]}"


def missing_tools(arches: Sequence[str] = ()) -> list[str]:
    """Debian packages that this host lacks to build images, and to run boards of `arches`; sorted, [] when ready."""
    needs = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "depmod": "kmod"}
    if os.geteuid() != 0:
        needs["fakeroot"] = "fakeroot"
    if arches:
        needs["nbdkit"] = "nbdkit"
    for arch in arches:
        needs[f"qemu-system-{arch}"] = {"aarch64": "qemu-system-arm", "x86_64": "qemu-system-x86"}[arch]
    packages = {package for tool, package in needs.items() if shutil.which(tool, path=SBIN) is None}
    if not KEYRING.exists():
        packages.add("debian-archive-keyring")
    return sorted(packages)


def refuse_missing_tools(arches: Sequence[str] = ()) -> None:
    """Raise one LabError that names every missing package and the line that installs them; else return."""
    if missing := missing_tools(arches):
        raise LabError(
            f"this host lacks {', '.join(missing)}",
            expected="the tools that build and run emulated boards",
            do=f"apt-get install -y --no-install-recommends {' '.join(missing)}",
        )


def _build(name: str, work: Path, progress: Progress) -> Path:
    """Build everything in `work` and return the finished folder inside it."""
    kind, tree, out = KINDS[name], work / "tree", work / "image"
    tree.mkdir()
    out.mkdir(mode=0o755)
    packages = _unpack_debian(name, work, tree, progress)
    release = next((tree / "lib/modules").iterdir()).name
    _take_kernel(tree, out, release, kind.device_tree)
    _run(["depmod", "-b", str(tree), release])
    (out / "initrd").write_bytes(_initrd(tree, release, kind.initrd_modules))
    _write_our_files(tree, kind.boot_modules)
    if _can_compile():
        progress(f"{name}: compiling Python's library")
        _compile_python(tree)
    progress(f"{name}: making the root file system")
    _make_ext4(tree, out / "root.ext4", card=bool(kind.card))
    facts = {"arch": kind.arch, "release": release, "digest": _content_digest(out), "packages": packages}
    (out / "image.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return out


def _unpack_debian(name: str, work: Path, tree: Path, progress: Progress) -> dict[str, str]:
    """Download and unpack the packages into `tree`; returns package name → version."""
    kind = KINDS[name]
    mirror = os.environ.get("RUNNER_DEBIAN_MIRROR", "http://deb.debian.org/debian")
    progress(f"{name}: fetching Debian {SUITE} from {mirror}")
    said = _run(
        [
            "mmdebstrap", "--variant=extract", f"--architectures={kind.debian}",
            f"--mode={'root' if os.geteuid() == 0 else 'chrootless'}",
            f"--include={','.join((*PACKAGES, kind.kernel))}",
            '--extract-hook=ls "$1/var/cache/apt/archives"',
            *_apt_options(),
            SUITE, str(work / "debian.tar"), f"deb [signed-by={KEYRING}] {mirror} {SUITE} main",
        ],
        limit_s=900,
    )  # fmt: skip
    unwanted = [f"--exclude=./{folder}" for folder in (*UNWANTED, *_left_out(kind))]
    _run(["tar", "-x", "-C", str(tree), "--no-same-owner", *unwanted, "-f", str(work / "debian.tar")])
    (work / "debian.tar").unlink()
    found = re.findall(r"^([^_\s/]+)_([^_\s]+)_[a-z0-9]+\.deb$", said, re.MULTILINE)
    return {name: unquote(version) for name, version in found}


def _left_out(kind: Kind) -> list[str]:
    """Patterns of modules that the machine has no device for: the kernel for all boards has ten times those of the cloud's."""
    return [f"lib/modules/*/kernel/{folder}" for folder in kind.leave_out]


def _apt_options() -> list[str]:
    """This host's way to a mirror (proxies, certificates, retries): mmdebstrap reads no apt.conf of the host."""
    if shutil.which("apt-config") is None:
        return []
    dump = _run(["apt-config", "dump"])
    wanted = re.compile(r'Acquire::(https?(::\S+)?|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date) ".+";', re.I)
    return [f"--aptopt={line}" for line in dump.splitlines() if wanted.fullmatch(line)]


def _take_kernel(tree: Path, out: Path, release: str, device_tree: str) -> None:
    """Move the kernel, and the device tree that it has for this board, out of the tree; the board itself needs nothing of either."""
    raw = (tree / f"boot/vmlinuz-{release}").read_bytes()
    (out / "kernel").write_bytes(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    shutil.rmtree(tree / "boot")
    trees = tree / f"usr/lib/linux-image-{release}"
    if device_tree:
        shutil.copy(trees / device_tree, out / "device_tree")
    shutil.rmtree(trees, ignore_errors=True)


def _initrd(tree: Path, release: str, modules: Sequence[str]) -> bytes:
    """A cpio archive with busybox, the modules that the root disk needs in loading order, and `INITRD_INIT`."""
    archive = bytearray()
    for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
        archive += _cpio_entry(folder, stat.S_IFDIR | 0o755)
    archive += _cpio_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive += _cpio_entry("init", stat.S_IFREG | 0o755, INITRD_INIT.encode())
    archive += _cpio_entry("bin/busybox", stat.S_IFREG | 0o755, (tree / "bin/busybox").read_bytes())
    for number, module in enumerate(module_order((tree / f"lib/modules/{release}"), modules)):
        archive += _cpio_entry(f"modules/{number:02}-{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
    return bytes(archive + _cpio_entry("TRAILER!!!", 0))


def module_order(modules: Path, wanted: Sequence[str]) -> list[Path]:
    """Files to insert, each after what it depends on, by depmod's tables; what is built into the kernel is left out."""

    def key(path: str) -> str:
        return Path(path).name.removesuffix(".ko").replace("-", "_")

    built_in = {key(line) for line in (modules / "modules.builtin").read_text().split()}
    lines = (line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    table = {key(path): [*reversed(needs.split()), path] for path, needs in lines}
    order: dict[str, None] = {}
    for name in wanted:
        if name not in table and name not in built_in:
            raise LabError(f"the kernel {modules.name} has no module {name}", where=str(modules))
        order |= dict.fromkeys(table.get(name, []))
    return [modules / path for path in order]


def _cpio_entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a "newc" archive: 13 hexadecimal fields of 8 digits, the name, the data, each padded to 4 bytes."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _write_our_files(tree: Path, modules: Sequence[str]) -> None:
    """What Debian's maintainer scripts would have done, as far as a board needs it; and our own boot script."""
    for folder in EMPTY_FOLDERS:
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name, text in ETC_FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name, text in ETC_FILES.items():
        (tree / name).chmod(0o755 if text.startswith("#!") else 0o644)
    (tree / "etc/board/modules").write_text(" ".join(modules) + "\n")
    (tree / "etc/shadow").chmod(0o600)
    for name, target in LINKS.items():
        (tree / name).unlink(missing_ok=True)
        (tree / name).symlink_to(target)
    for applet in APPLETS.split():
        if not any(os.path.lexists(tree / place / applet) for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
            (tree / "bin" / applet).symlink_to("busybox")


def _can_compile() -> bool:
    """Whether this interpreter writes the bytecode that the board's Python (3.11 in bookworm) reads."""
    return sys.implementation.name == "cpython" and sys.version_info[:2] == (3, 11)


def _compile_python(tree: Path) -> None:
    """Bytecode that is never checked against its source: the board cannot write its own, the root is read-only."""
    compileall.compile_dir(
        tree / "usr/lib/python3.11", quiet=2, force=True, workers=os.cpu_count() or 1,
        stripdir=str(tree), prependdir="/", invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip


def _make_ext4(tree: Path, root: Path, *, card: bool) -> None:
    """One ext4 file system without a journal (nobody ever writes to it), everything in it owned by root; the size of a `card` is a
    power of two."""
    size = sum(max(path.lstat().st_size, 1024) + 512 for path in tree.rglob("*"))
    blocks_kib = size * 115 // 100 // 1024 + 16 * 1024
    if card:
        blocks_kib = 1 << (blocks_kib - 1).bit_length()
    as_root = [] if os.geteuid() == 0 else ["fakeroot", "--"]
    options = ["-t", "ext4", "-q", "-F", "-m", "0", "-L", "root", "-O", "^has_journal", "-E", "root_owner=0:0"]
    _run([*as_root, "mke2fs", *options, "-d", str(tree), str(root), f"{blocks_kib}k"])
    root.chmod(0o444)


def _recipe_digest(kind: str) -> str:
    """What decides the content, apart from which versions the mirror holds: the name of the cache folder."""
    recipe = [FORMAT, SUITE, kind, asdict(KINDS[kind]), PACKAGES, UNWANTED, APPLETS, INITRD_INIT, ETC_FILES, LINKS]
    return hashlib.sha256(json.dumps([*recipe, EMPTY_FOLDERS, _can_compile()], sort_keys=True).encode()).hexdigest()


def _content_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("kernel", "initrd", "root.ext4", *_with_a_device_tree(folder)):
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _with_a_device_tree(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("device_tree")]


def _load(place: Path) -> Image:
    facts = json.loads((place / "image.json").read_text())
    files = (place / "kernel", place / "initrd", place / "root.ext4")
    device_tree = next((place / name for name in _with_a_device_tree(place)), None)
    return Image(facts["arch"], *files, digest=facts["digest"], packages=facts["packages"], device_tree=device_tree)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock; the kernel lets go of it when this process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(arguments: list[str], limit_s: float = 300) -> str:
    """Run a tool and return what it said (both streams); LabError with its last lines when it fails."""
    environment = {**os.environ, "PATH": SBIN, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=limit_s, text=True, errors="replace", check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{arguments[0]} did not run: {error}", where=shlex.join(arguments)) from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        raise LabError(f"{arguments[0]} failed with {done.returncode}:\n{tail}", where=shlex.join(arguments))
    return done.stdout
