"""The lab's files as values. Complaints are collected, so that a person sees all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from runner.errors import AskError, Complaint
from runner.lab.where import Lab, builtin_root
from runner.lab.yaml_source import Source, nearest, one_of
from runner.model.base import Value
from runner.model.device import DeviceType, Inventory
from runner.model.entry import Entry
from runner.model.profile import Profile

Model = TypeVar("Model", bound=Value)


class Reader:
    """Reads a lab's files; every complaint lands in `complaints`, and `finish` raises them together."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.complaints: list[Complaint] = []

    def inventory(self) -> tuple[Inventory, Source] | None:
        return self._read("inventory.yaml", Inventory)

    def device_type(self, name: str, where: str) -> DeviceType | None:
        return self._named("device type", name, where, "devices", "*.yaml", f"devices/{name}.yaml", DeviceType)

    def profile(self, name: str, where: str) -> Profile | None:
        return self._named("profile", name, where, "profiles", "*.yaml", f"profiles/{name}.yaml", Profile)

    def entry(self, entry_id: str, where: str) -> tuple[Entry, Source] | None:
        """The entry with this id, whose folder is the id in lower case with `_`."""
        relative = f"pipelines/{folder_name(entry_id)}/entry.yaml"
        if not _plain(entry_id) or self.lab.file(relative) is None:
            known = [entry_id_of(path) for path in self.lab.names("pipelines", "*/entry.yaml")]
            self.complain(f"no entry is called {entry_id!r}{nearest(entry_id.upper(), known)}", one_of(known), where)
            return None
        found = self._read(relative, Entry)
        if found and found[0].id != entry_id_of(folder_name(entry_id)):
            entry, source = found
            self.complain(f"id is {entry.id!r}", f"{entry_id_of(folder_name(entry_id))!r}, as the folder says", source.where(("id",)))
            return None
        return found

    def entry_folder(self, entry_id: str) -> Path:
        """The folder of an entry that was found. A lab's own folder wins as a whole, never file by file."""
        path = self.lab.file(f"pipelines/{folder_name(entry_id)}/entry.yaml")
        assert path is not None
        return path.parent

    def complain(self, found: str, expected: str, where: str = "", do: str = "") -> None:
        self.complaints.append(Complaint(found, expected, where, do))

    def finish(self) -> None:
        """Raises AskError with everything that was found wrong, if anything was."""
        if self.complaints:
            raise AskError.of(self.complaints)

    def _named(self, noun: str, name: str, where: str, folder: str, pattern: str, relative: str, model: type[Model]) -> Model | None:
        if not _plain(name) or self.lab.file(relative) is None:
            known = [Path(path).stem for path in self.lab.names(folder, pattern)]
            self.complain(f"no {noun} is called {name!r}{nearest(name, known)}", one_of(known), where)
            return None
        found = self._read(relative, model)
        return found[0] if found else None

    def _read(self, relative: str, model: type[Model]) -> tuple[Model, Source] | None:
        path = self.lab.file(relative)
        if path is None:
            self.complain(f"{relative} is not there", "a file", str(self.lab.root / relative))
            return None
        builtin = not self.lab.builtin and path.is_relative_to(builtin_root()) and self.lab.root != builtin_root()
        source = Source(path, f"built-in {relative}" if builtin else self.lab.shown(path))
        value = source.validate(model)
        self.complaints.extend(source.complaints)
        return (value, source) if value is not None else None


def folder_name(entry_id: str) -> str:
    return entry_id.lower().replace("-", "_")


def entry_id_of(entry_yaml: str) -> str:
    return Path(entry_yaml).parts[0].upper().replace("_", "-")


def _plain(name: str) -> bool:
    return bool(name) and all(c.isalnum() or c in "-_" for c in name)
