"""A device in words: what its line, its type and its heat say, with units, each group under the file and line that says it.

    DeviceLine, DeviceType ─► groups: label and words, what is not said left out ─► device_text: under headings, aligned
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.lab.brief import LOSS
from runner.model.device import DataLink, DeviceLine, DeviceType, Emulation, Fan, FirmwareLimit, Thermal

if TYPE_CHECKING:
    from runner.cli.known_device import KnownDevice
    from runner.lab.load import Reader

Rows = list[tuple[str, str]]


def device_text(device: KnownDevice, reader: Reader) -> str:
    """All that the files of `reader`'s lab say of a device that they have."""
    source = reader.device_source(device.line.type)
    like = source.data.get("thermal_like")
    heat = f"heat, like {like}: {reader.device_source(like).where(('thermal',))}" if like else f"heat: {source.where(('thermal',))}"
    heads = (f"device: {reader.inventory_source().where(('devices', device.name))}", f"type: {source.shown}", heat)
    lines = [f"{device.name}: {device.type.title}"]
    for head, rows in zip(heads, groups(device.line, device.type), strict=True):
        said = [f"  {label:<13} {words}" for label, words in rows if words]
        lines += [head, *said] if said else []
    return "\n".join(lines)


def groups(line: DeviceLine, found: DeviceType) -> tuple[Rows, Rows, Rows]:
    """What a line, its type, and the type's heat say; without words where something is not said."""
    return _line(line), _type(found), _heat(found.thermal) if found.thermal else []


def _line(line: DeviceLine) -> Rows:
    return [
        ("type", line.type),
        ("address", line.address),
        ("port", str(line.port or "")),
        ("user", line.user),
        ("network", line.network),
        ("data link", f"{_link(line.data_link)} (in place of its type's)" if line.data_link else ""),
        ("tags", ", ".join(line.tags)),
    ]


def _type(found: DeviceType) -> Rows:
    return [
        ("architecture", found.arch),
        ("reached by", found.transport),
        ("power", found.power),
        ("a cut", f"{found.loss}: {LOSS[found.loss]}"),
        ("limits", f"boots within {found.boot_limit_s:g} s; a stage may take {found.stage_timeout_s:g} s"),
        ("data link", _link(found.data_link) if found.data_link else ""),
        ("emulated", _emulation(found.emulation) if found.emulation else ""),
        ("size", f"{found.size.memory_mib} MiB memory, {found.size.cpus} cores: for `like` of a profile" if found.size else ""),
        ("shared", "others work on it, too: its clock is not turned" if found.shared else ""),
    ]


def _link(link: DataLink) -> str:
    path = "over it, too" if link.one_path else "another way"
    return f"{link.interface}, to the far end at {link.far_end}; what manages the device goes {path}"


def _emulation(made: Emulation) -> str:
    said = f"{made.machine}, {made.cpus} × {made.cpu}, {made.memory_mib} MiB memory, {made.data_disk_mib} MiB data disk"
    return f"{said}, by {' or '.join(made.accelerators)}" + (f"; login on the {made.login} line" if made.login else "")


def _heat(thermal: Thermal) -> Rows:
    steps = [f"from {step.at_c:g} °C {step.mhz:g} MHz ({step.word})" for step in thermal.steps]
    files = [f"{path} ({what})" for what, path in (("°C", thermal.sensor), ("clock", thermal.clock), ("flags", thermal.throttled)) if path]
    busy = f"{thermal.busy_w:g} W more when busy at {thermal.full_mhz:g} MHz, by the clock to the power of {thermal.exponent:g}"
    return [
        ("takes", f"{thermal.idle_w:g} W idle, {busy}"),
        ("stores", f"{thermal.die_j_k:g} J/K in the die, {thermal.board_j_k:g} J/K in the board"),
        ("gives off", f"{thermal.die_to_board_k_w:g} K/W from die to board, {thermal.board_to_air_k_w:g} K/W from board to air"),
        ("fan", _fan(thermal.fan) if thermal.fan else ""),
        ("throttles", f"{', '.join(steps)}; back {thermal.hysteresis_k:g} K below" if steps else "never"),
        ("goes off", f"at {thermal.critical_c:g} °C"),
        ("says so in", ", ".join(files)),
        ("firmware", _limit(thermal.firmware_limit) if thermal.firmware_limit else ""),
    ]


def _limit(limit: FirmwareLimit) -> str:
    return f"takes a limit in {limit.file}: {limit.full} at the full clock, {limit.least} at the lowest"


def _fan(fan: Fan) -> str:
    steps = ", ".join(f"from {step.at_c:g} °C {step.percent:g} %" for step in fan.steps)
    return f"{steps}; back {fan.hysteresis_k:g} K below; {fan.board_to_air_k_w:g} K/W from board to air at full speed"
