"""What the lab's files may say: each wrong value is refused by the field that it stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from runner.model.base import Value
from runner.model.device import DeviceType, FirmwareLimit, Inventory
from runner.model.entry import Entry
from runner.model.finding import Finding, fingerprint
from runner.model.plan import CutPlan
from runner.model.profile import PowerCut, Profile, Steady

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY: dict[str, Any] = yaml.safe_load((REPOSITORY / "pipelines/edge_002/entry.yaml").read_text())
SCENARIO: dict[str, Any] = ENTRY["scenarios"]["baseline"]
DEVICE: dict[str, Any] = yaml.safe_load((REPOSITORY / "devices/qemu-arm64.yaml").read_text())
EMULATION: dict[str, Any] = DEVICE["emulation"]
PROFILE: dict[str, Any] = yaml.safe_load((REPOSITORY / "profiles/power-cuts.yaml").read_text())
CUT: dict[str, Any] = PROFILE["faults"][0]


def test_values_are_frozen() -> None:
    """What was planned is not changed on the way."""
    cut = CutPlan(hold="recovery-1/1", stage="ingest", point="after_flush")
    with pytest.raises(ValidationError):
        cut.stage = "train"


def test_a_profiles_fault_is_told_by_its_name() -> None:
    """`fault:` chooses the settings that may stand beside it."""
    for fault, model in (({"fault": "steady"}, Steady), (CUT, PowerCut)):
        assert [type(found) for found in Profile.model_validate({**PROFILE, "faults": [fault]}).faults] == [model]


def test_a_profile_holds_several_faults_and_at_least_one() -> None:
    """What the power does apart from what the link does; whether they go together is not a matter of the file alone."""
    several = Profile.model_validate({**PROFILE, "faults": [CUT, {"fault": "offline"}, {"fault": "jamming", "jammer": "constant"}]})
    assert (several.cutting, [fault.fault for fault in several.links]) == (several.faults[0], ["offline", "jamming"])
    with pytest.raises(ValidationError, match="at least 1"):
        Profile.model_validate({**PROFILE, "faults": []})


@pytest.mark.parametrize("name", ["pi-04", "local", "Rack2.pi_7", "7"])
def test_plain_names_name_devices(name: str) -> None:
    """Letters, digits, dot, dash, underscore, as in a host's name."""
    assert name in Inventory.model_validate({"devices": {name: {"type": "local-process"}}}).devices


def in_inventory(**line: Any) -> dict[str, Any]:
    return {"devices": {"pi-04": {"type": "raspberry-pi-4", **line}}}


def in_scenario(**changes: Any) -> dict[str, Any]:
    return {**ENTRY, "scenarios": {"baseline": {**SCENARIO, **changes}}}


WRONG: list[tuple[type[Value], dict[str, Any], str]] = [
    (Inventory, {"devices": {"../../etc": {"type": "x"}}}, "[key]"),
    (Inventory, {"devices": {"-pi": {"type": "x"}}}, "[key]"),
    (Inventory, {"devices": {"": {"type": "x"}}}, "[key]"),
    (Inventory, {"devices": {"pi\x1b[2J": {"type": "x"}}}, "[key]"),
    (Inventory, {"devices": {"pi\n": {"type": "x"}}}, "[key]"),
    (Inventory, in_inventory(port=0), "port"),
    (Inventory, in_inventory(port=65536), "port"),
    (Inventory, in_inventory(type=7), "type"),
    (Inventory, in_inventory(passwort="x"), "passwort"),
    (DeviceType, {**DEVICE, "arch": "mips"}, "arch"),
    (DeviceType, {**DEVICE, "loss": "power_cut"}, "loss"),
    (DeviceType, {**DEVICE, "boot_limit_s": 0}, "boot_limit_s"),
    (DeviceType, {**DEVICE, "stage_timeout_s": float("inf")}, "stage_timeout_s"),
    (DeviceType, {**DEVICE, "emulation": {**EMULATION, "memory_mib": 64}}, "memory_mib"),
    (DeviceType, {**DEVICE, "emulation": {**EMULATION, "accelerators": ["hvf"]}}, "accelerators"),
    (Profile, {**PROFILE, "faults": []}, "faults"),
    (Profile, {**PROFILE, "faults": [{**CUT, "points": []}]}, "points"),
    (Profile, {**PROFILE, "faults": [{**CUT, "points": ["sometimes"]}]}, "points"),
    (Profile, {**PROFILE, "faults": [{"fault": "steady", "points": ["created"]}]}, "points"),
    (Profile, {**PROFILE, "severs": ["network"]}, "severs"),
    (Entry, {**ENTRY, "id": "EDGE-2"}, "id"),
    (Entry, {**ENTRY, "priority": "P9"}, "priority"),
    (Entry, {**ENTRY, "limits": {**ENTRY["limits"], "restored_s": 0}}, "restored_s"),
    (Entry, {**ENTRY, "limits": {**ENTRY["limits"], "restored_s": float("inf")}}, "restored_s"),
    (Entry, {**ENTRY, "cuts": {**ENTRY["cuts"], "bar": -1}}, "bar"),
    (Entry, {**ENTRY, "scenarios": {}}, "scenarios"),
    (Entry, {**ENTRY, "scenarios": {"two words": SCENARIO}}, "[key]"),
    (Entry, in_scenario(pipeline="../evil"), "pipeline"),
    (Entry, in_scenario(durability="maybe"), "durability"),
    (Entry, in_scenario(stages=[]), "stages"),
    (Entry, in_scenario(checks=[]), "checks"),
    (Entry, in_scenario(checks=[{"check": "finished", "severity": "terrible"}]), "severity"),
    (Entry, in_scenario(checks=[{"check": "finished", "severity": "low", "judge": "ignore"}]), "judge"),
    (Entry, in_scenario(limit_s=-1), "limit_s"),
]


@pytest.mark.parametrize(("model", "said", "field"), WRONG, ids=[f"{model.__name__}-{field}" for model, _, field in WRONG])
def test_a_wrong_value_is_refused_where_it_stands(model: type[Value], said: dict[str, Any], field: str) -> None:
    """Exactly one field is blamed; without the change the same file is good."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(said)
    blamed = {part for problem in refused.value.errors() for part in problem["loc"]}
    assert field in blamed


@pytest.mark.parametrize(("model", "said"), [(Inventory, in_inventory()), (DeviceType, DEVICE), (Profile, PROFILE), (Entry, ENTRY)])
def test_unchanged_they_are_good(model: type[Value], said: dict[str, Any]) -> None:
    """The negative control of the table above."""
    model.model_validate(said)


@pytest.mark.parametrize("file", ["/sys/kernel/debug/bpmp/debug/clk/cclk/max_rate", "/sys/bus/i2c/0-0040:a@1/x.y"])
def test_a_limit_of_a_firmwares_is_a_file_of_the_kernels(file: str) -> None:
    """Whatever else a type names is never written: no other folder, no way out of it, no folder, and nothing that falls upwards."""
    limit = {"file": file, "full": 1500, "least": 600}
    assert FirmwareLimit.model_validate(limit).file == file
    for wrong in ("/etc/passwd", "/sys/../etc/passwd", "/sys/a/..", "/sys/.a", "sys/a", "/sys/", "/sys/a b", "/sys/a\n", "/sys//a"):
        with pytest.raises(ValidationError, match="file"):
            FirmwareLimit.model_validate({**limit, "file": wrong})
    with pytest.raises(ValidationError, match="`least` is less than `full`"):
        FirmwareLimit.model_validate({**limit, "least": 1500})


def test_a_finding_needs_evidence() -> None:
    """No evidence, no finding."""
    fields = {"id": "EDGE-002-REL-001", "type": "reliability", "severity": "high", "title": "t", "description": "d", "created_at": "now"}
    more = {"component": "c", "device": "local", "fingerprint": "f", "reproduction": {}, "impact": {}, "recommendation": {}}
    assert Finding.model_validate({**fields, **more, "evidence": ["a#1"]}).evidence == ("a#1",)
    with pytest.raises(ValidationError, match="evidence"):
        Finding.model_validate({**fields, **more, "evidence": []})


def test_a_fingerprint_is_of_entry_scenario_and_check_alone() -> None:
    """Two runs, one finding; and words that run together do not make two checks one."""
    assert fingerprint("EDGE-002", "recovery", "finished") == fingerprint("EDGE-002", "recovery", "finished")
    assert fingerprint("EDGE-002", "recovery", "finished") != fingerprint("EDGE-002", "recoveryf", "inished")
