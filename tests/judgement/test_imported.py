"""Bringing findings in: once, whole or not at all, and safe when two do it at the same time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement import imported
from runner.judgement.collection import collect
from runner.judgement.imported import Incoming, import_findings, read_files
from runner.lab.folder import read_json
from runner.model.finding import Findings

NOW = "2026-02-01T00:00:00.000Z"
REPOSITORY = Path(__file__).resolve().parents[2]


def older(name: str, *titles: str, **more: Any) -> Incoming:
    rows = [{"id": "BUG-001", "title": title, "priority": "P1", "timestamp": "2026-01-14", **more} for title in titles]
    return Incoming(name, json.dumps({"template": {}, "entries": rows}).encode())


def stored(runs: Path) -> Any:
    return read_json(runs / "EDGE-002" / "imported" / "findings.json")


def test_what_comes_in_is_a_findings_json_with_the_file_as_evidence(tmp_path: Path) -> None:
    """Valid against the schema; each finding leads to its own entry in the copy, which is the file, byte for byte."""
    file = older("bugs.json", "one", "two", unheard_of=1)
    (came,) = import_findings(tmp_path, "EDGE-002", [file], NOW)
    assert came["added"] == ["EDGE-002-BUG-001", "EDGE-002-BUG-002"]
    document = Findings.model_validate(stored(tmp_path))
    assert document.metadata.total_findings == len(document.findings) == 2
    for finding in document.findings:
        name, _, pointer = finding.evidence[0].partition("#/entries/")
        kept = tmp_path / "EDGE-002" / "imported" / name
        assert kept.read_bytes() == file.raw
        assert name == hashlib.sha256(file.raw).hexdigest() + ".json"
        assert json.loads(file.raw)["entries"][int(pointer)] == (finding.model_extra or {})["original"]
    (account,) = stored(tmp_path)["metadata"]["imports"]
    assert account["not_mapped"] == [
        {"where": "bugs.json#/entries/0/unheard_of", "found": "field 'unheard_of'", "did": "kept under `original` alone", "times": 2},
    ]  # fmt: skip


def test_the_same_file_twice_adds_nothing_and_changes_nothing(tmp_path: Path) -> None:
    """Nor under another name, nor the same content in other bytes."""
    file = older("bugs.json", "one", "two")
    import_findings(tmp_path, "EDGE-002", [file], NOW)
    path = tmp_path / "EDGE-002" / "imported" / "findings.json"
    before = path.read_bytes()
    (came,) = import_findings(tmp_path, "EDGE-002", [Incoming("again.json", file.raw)], "later")
    assert (came["added"], came["imported_before"]) == ([], True)
    assert path.read_bytes() == before
    (came,) = import_findings(tmp_path, "EDGE-002", [Incoming("pretty.json", json.dumps(json.loads(file.raw), indent=1).encode())], NOW)
    assert (came["added"], len(came["known_already"])) == ([], 2)
    assert len(stored(tmp_path)["findings"]) == 2


def test_two_files_that_share_an_id_are_two_findings(tmp_path: Path) -> None:
    """Each with an id of its own, the older id kept with its content."""
    import_findings(tmp_path, "EDGE-002", [older("a.json", "one"), older("b.json", "another", "one")], NOW)
    rows = stored(tmp_path)["findings"]
    assert [(row["id"], row["title"], row["original"]["id"]) for row in rows] == [
        ("EDGE-002-BUG-001", "one", "BUG-001"),
        ("EDGE-002-BUG-002", "another", "BUG-001"),
    ]


def test_one_bad_file_and_nothing_is_imported(tmp_path: Path) -> None:
    """All that is wrong is said at once, and what was there stays."""
    with pytest.raises(AskError) as refused:
        import_findings(tmp_path, "EDGE-002", [older("good.json", "one"), Incoming("bad.json", b"{"), Incoming("odd.json", b"[]")], NOW)
    assert [complaint.where for complaint in refused.value.complaints] == ["bad.json:1", "odd.json"]
    assert not list((tmp_path / "EDGE-002" / "imported").glob("*.json"))


@pytest.mark.parametrize("entry", ["", "../../etc", "EDGE", "edge-002", "EDGE-002/x"])
def test_an_entry_that_is_none_is_refused(tmp_path: Path, entry: str) -> None:
    """Before any folder is made."""
    with pytest.raises(AskError, match="no id of an entry"):
        import_findings(tmp_path / "runs", entry, [older("a.json", "one")], NOW)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_store_is_not_written_over(tmp_path: Path) -> None:
    """It is named, and stays as it is."""
    path = tmp_path / "EDGE-002" / "imported" / "findings.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(AskError) as refused:
        import_findings(tmp_path, "EDGE-002", [older("a.json", "one")], NOW)
    assert refused.value.complaints[0].where == str(path)
    assert path.read_text() == "{"


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """At once, and a folder is no file."""
    with pytest.raises(AskError) as refused:
        read_files([tmp_path / "gone.json", tmp_path])
    assert [complaint.where for complaint in refused.value.complaints] == [str(tmp_path / "gone.json"), str(tmp_path)]


def test_imported_findings_stand_among_the_others(tmp_path: Path) -> None:
    """As one more place where they were seen, and no run."""
    import_findings(tmp_path, "EDGE-002", [older("a.json", "one")], NOW)
    found = collect(tmp_path)
    assert (found.total_runs, [case.runs for case in found.cases]) == (0, [["EDGE-002/imported"]])


def test_the_store_is_held_from_reading_to_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one writes, nobody else gets the lock; before and after it is free."""
    lock = tmp_path / "EDGE-002" / "imported" / ".lock"
    writes = imported.write_json

    def free() -> bool:
        fd = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    seen: list[bool] = []

    def spy(path: Path, value: Any) -> None:
        seen.append(free())
        writes(path, value)

    monkeypatch.setattr(imported, "write_json", spy)
    import_findings(tmp_path, "EDGE-002", [older("a.json", "one")], NOW)
    assert (seen, free()) == ([False], True)


def test_two_processes_at_once_give_no_id_twice_and_lose_nothing(tmp_path: Path) -> None:
    """Each imports thirty files, one by one, beside the other."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from runner.judgement.imported import Incoming, import_findings\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(30):\n"
        "    row = {'id': 'BUG-001', 'title': f'{sys.argv[2]} {n}', 'timestamp': '2026-01-14'}\n"
        "    import_findings(Path(sys.argv[1]), 'EDGE-002', [Incoming('x', json.dumps({'entries': [row]}).encode())], 'now')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), who], stdin=-1, stdout=-1, text=True, env=environment)
        for who in ("left", "right")
    ]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * 2
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    rows = stored(tmp_path)["findings"]
    assert len({row["id"] for row in rows}) == 60
    assert {row["title"] for row in rows} == {f"{who} {number}" for who in ("left", "right") for number in range(30)}
