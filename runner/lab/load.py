"""The lab's files as values. Complaints are collected, so that a person sees all of them at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from runner.errors import AskError, Complaint
from runner.lab.where import Lab, builtin_root
from runner.lab.yaml_source import Source, nearest, one_of
from runner.model.base import Value
from runner.model.device import DeviceType, Inventory, Thermal
from runner.model.entry import Entry
from runner.model.profile import Profile
from runner.model.roadmap import Roadmap

Model = TypeVar("Model", bound=Value)
ROADMAP = "pipelines/roadmap.yaml"
ENTRIES = "runner entry list --here"


class Reader:
    """Reads a lab's files; every complaint lands in `complaints`, and `finish` raises them together."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.complaints: list[Complaint] = []

    def inventory(self) -> tuple[Inventory, Source] | None:
        found = self._read("inventory.yaml", Inventory)
        if found is None and self.lab.file("inventory.yaml"):
            self._what_it_names(self.inventory_source())
        return found

    def _what_it_names(self, source: Source) -> None:
        """Of an inventory that is none, but a mapping of devices: the types that it names, or lacks, can be told all the same."""
        devices = source.data.get("devices") if isinstance(source.data, dict) else None
        if not isinstance(devices, dict):
            return
        types = one_of(Path(path).stem for path in self.lab.names("devices", "*.yaml"))
        lacking = [replace(each, expected=types) if each.found.endswith(".type is missing") else each for each in self.complaints]
        self.complaints[:] = lacking
        for name, line in devices.items():
            if isinstance(line, dict) and isinstance(line.get("type"), str):
                self.device_type(line["type"], source.where(("devices", name, "type")))

    def device_type(self, name: str, where: str) -> DeviceType | None:
        do = "take one of these, or write devices/NAME.yaml: runner schema device"
        found = self._named("device type", name, where, "devices", DeviceType, do)
        if found is None or found.thermal_like is None:
            return found
        thermal = self.thermal(found.thermal_like, self.device_source(name).where(("thermal_like",)))
        return found.model_copy(update={"thermal": thermal, "thermal_like": None})  # it has one of its own now

    def thermal(self, name: str, where: str) -> Thermal | None:
        """How boards of the type that is called `name` get warm; one that has no heat of its own is complained about."""
        do = "take one of these, or write devices/NAME.yaml: runner schema device"
        found = self._named("device type", name, where, "devices", DeviceType, do)
        if found and found.thermal is None:
            said = f"device type {name!r} does not say how it gets warm"
            self.complain(said, "a type with a section `thermal`, like raspberry-pi-4", where, "runner device fit-thermal --help")
        return found.thermal if found else None

    def profile(self, name: str, where: str) -> Profile | None:
        return self._named("profile", name, where, "profiles", Profile, "runner profile list")

    def inventory_source(self) -> Source:
        """inventory.yaml, which is there, as plain data with its lines."""
        return self._source("inventory.yaml")

    def profile_source(self, name: str) -> Source:
        """The same of a profile that was found."""
        return self._source(f"profiles/{name}.yaml")

    def device_source(self, name: str) -> Source:
        """The same of a device type."""
        return self._source(f"devices/{name}.yaml")

    def entry(self, entry_id: str, where: str) -> tuple[Entry, Source] | None:
        """The entry with this id, whose folder is the id in lower case with `_`."""
        if not _plain(entry_id) or self.lab.file(entry_file(entry_id)) is None:
            self._no_entry(entry_id, where)
            return None
        found = self._read(entry_file(entry_id), Entry)
        if found and found[0].id != entry_id_of(folder_name(entry_id)):
            entry, source = found
            self.complain(f"id is {entry.id!r}", f"{entry_id_of(folder_name(entry_id))!r}, as the folder says", source.where(("id",)))
            return None
        return found

    def entry_source(self, entry_id: str) -> Source:
        """entry.yaml of an entry that has a folder, as plain data: also where it is no `Entry`."""
        return self._source(entry_file(entry_id))

    def entry_folder(self, entry_id: str) -> Path:
        """The folder of an entry that was found. A lab's own folder wins as a whole, never file by file."""
        path = self.lab.file(entry_file(entry_id))
        assert path is not None
        return path.parent

    def complain(self, found: str, expected: str, where: str = "", do: str = "") -> None:
        self.complaints.append(Complaint(found, expected, where, do))

    def finish(self) -> None:
        """Raises AskError with everything that was found wrong, if anything was."""
        if self.complaints:
            raise AskError.of(dict.fromkeys(self.complaints))

    def _no_entry(self, entry_id: str, where: str) -> None:
        """Says which one was meant: one that has a folder, else one of the roadmap that could be given a folder."""
        here = [entry_id_of(path) for path in self.lab.names("pipelines", "*/entry.yaml")]
        path = self.lab.file(ROADMAP)
        roadmap = Source(path, ROADMAP).validate(Roadmap) if path else None  # what is wrong with it is another command's to say
        rows = [row.id for row in roadmap.entries] if roadmap else []
        folder = self.lab.file(f"pipelines/{folder_name(entry_id.upper())}") if _plain(entry_id) else None
        if folder:
            self.complain(f"{self.lab.shown(folder)} has no entry.yaml", "one, as `runner entry new` writes it", where, "put it back")
        elif entry_id.upper() in rows:
            found = f"{entry_id.upper()} of the roadmap has no folder here"
            self.complain(found, one_of(here, entry_id, ENTRIES), where, f"runner entry new {entry_id.upper()}")
        else:
            close = nearest(entry_id, here) or nearest(entry_id, rows)
            self.complain(f"no entry is called {entry_id!r}{close}", one_of(here, entry_id, ENTRIES), where, "runner entry list")

    def _named(self, noun: str, name: str, where: str, folder: str, model: type[Model], do: str) -> Model | None:
        relative = f"{folder}/{name}.yaml"
        if not _plain(name) or self.lab.file(relative) is None:
            known = [Path(path).stem for path in self.lab.names(folder, "*.yaml")]
            listed = do if do.startswith("runner ") else ""
            self.complain(f"no {noun} is called {name!r}{nearest(name, known)}", one_of(known, name, listed), where, do)
            return None
        found = self._read(relative, model)
        return found[0] if found else None

    def _read(self, relative: str, model: type[Model]) -> tuple[Model, Source] | None:
        path = self.lab.file(relative)
        if path is None:
            self.complain(f"{relative} is not there", "a file", str(self.lab.root / relative))
            return None
        source = Source(path, self._shown(path, relative))
        value = source.validate(model)
        self.complaints.extend(source.complaints)
        return (value, source) if value is not None else None

    def _source(self, relative: str) -> Source:
        path = self.lab.file(relative)
        assert path is not None
        return Source(path, self._shown(path, relative))

    def _shown(self, path: Path, relative: str) -> str:
        builtin = not self.lab.builtin and path.is_relative_to(builtin_root()) and self.lab.root != builtin_root()
        return f"built-in {relative}" if builtin else self.lab.shown(path)


def entry_file(entry_id: str) -> str:
    return f"pipelines/{folder_name(entry_id)}/entry.yaml"


def folder_name(entry_id: str) -> str:
    return entry_id.lower().replace("-", "_")


def entry_id_of(entry_yaml: str) -> str:
    return Path(entry_yaml).parts[0].upper().replace("_", "-")


def _plain(name: str) -> bool:
    return bool(name) and all(c.isalnum() or c in "-_" for c in name)
