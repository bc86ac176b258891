"""The parts of the image that need no mirror and no root."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from runner.errors import AskError, LabError
from runner.target.emulation import guest, image


def kernel_tables(folder: Path) -> Path:
    modules = folder / "6.1.0-test"
    modules.mkdir()
    (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (modules / "modules.dep").write_text(
        "kernel/virtio_blk.ko: kernel/virtio.ko kernel/virtio_ring.ko\n"
        "kernel/virtio-pci.ko: kernel/virtio_pci_dev.ko kernel/virtio.ko kernel/virtio_ring.ko\n"
        "kernel/virtio.ko: kernel/virtio_ring.ko\nkernel/virtio_ring.ko:\nkernel/virtio_pci_dev.ko:\n"
    )
    return modules


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    """Each module is named once, after its needs; dashes are underscores; built-in ones are left out."""
    order = image.module_order(kernel_tables(tmp_path), ["virtio_pci", "virtio_blk", "ext4"])
    assert [path.name for path in order] == [
        "virtio_ring.ko", "virtio.ko", "virtio_pci_dev.ko", "virtio-pci.ko", "virtio_blk.ko",
    ]  # fmt: skip


def test_a_module_that_no_kernel_has_is_an_error(tmp_path: Path) -> None:
    """A typing error in the recipe does not make an image that cannot boot."""
    with pytest.raises(LabError, match="no module virtio_disk"):
        image.module_order(kernel_tables(tmp_path), ["virtio_disk"])


def test_an_unknown_architecture_is_the_askers_fault(tmp_path: Path) -> None:
    """It says which there are, and makes no folder."""
    with pytest.raises(AskError, match="mips"):
        image.ensure_image("mips", tmp_path / "cache", print)
    assert not (tmp_path / "cache").exists()


def test_missing_tools_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error, every package, and the line that installs them."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert {"mmdebstrap", "e2fsprogs", "kmod", "nbdkit", "qemu-system-arm"} <= set(image.missing_tools(["aarch64"]))
    with pytest.raises(LabError, match="mmdebstrap") as raised:
        image.refuse_missing_tools(["x86_64"])
    assert "apt-get install -y" in str(raised.value)
    assert "qemu-system-x86" in str(raised.value)


def test_a_broken_build_leaves_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that fails leaves nothing that could be taken for an image, and the next try clears what a kill left."""

    def fail(*_: object) -> Path:
        raise LabError("the mirror is gone")

    monkeypatch.setattr(image, "refuse_missing_tools", lambda: None)
    monkeypatch.setattr(image, "_build", fail)
    (tmp_path / ".building-x86_64-killed").mkdir()
    with pytest.raises(LabError, match="the mirror is gone"):
        image.ensure_image("x86_64", tmp_path, print)
    assert [path.name for path in tmp_path.iterdir()] == [".x86_64.lock"]


def test_what_is_left_out_of_a_kernel_is_nothing_that_boards_are_here_for() -> None:
    """Neither what a board boots from, nor what faults of disk and link are made of."""
    wanted = ("fs/ext4", "drivers/mmc/core", "drivers/scsi/sd_mod.ko", "drivers/usb/dwc2", "drivers/md", "net/sched", "drivers/net/ifb.ko")
    for name, kind in guest.KINDS.items():
        assert not [(name, path) for path in wanted for pattern in kind.leave_out if fnmatch(path, pattern)]


def test_a_device_tree_is_taken_out_of_the_packages_for_a_machine_that_wants_one(tmp_path: Path) -> None:
    """It lies beside the kernel, both by the names that a machine line uses, and the board's own root has neither."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    trees = tree / "usr/lib/linux-image-6.1/broadcom"
    for folder in (trees, tree / "boot", out):
        folder.mkdir(parents=True)
    (trees / "bcm.dtb").write_bytes(b"tree")
    (tree / "boot/vmlinuz-6.1").write_bytes(b"kernel")
    image._take_kernel(tree, out, "6.1", "broadcom/bcm.dtb")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"kernel": b"kernel", "device_tree": b"tree"}
    assert not (tree / "boot").exists() and not trees.exists()


def test_each_kind_of_machine_has_a_recipe_of_its_own() -> None:
    """Two that share an architecture share no image."""
    assert len({image._recipe_digest(name) for name in guest.KINDS}) == len(guest.KINDS)
