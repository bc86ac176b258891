"""junit.xml: each row of the one table, in the shape that Jenkins and GitLab read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.judge import CheckResult
from runner.judgement.report import junit
from runner.lab.folder import RunFolder
from runner.model.outcome import TABLE

pytestmark = pytest.mark.real
SHAPES: dict[str, tuple[set[str], set[str], list[str]]] = {  # tag → required attributes, further ones, children in order
    "testsuites": ({"name", "tests", "failures", "errors"}, {"time"}, ["testsuite"]),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}, set(), ["properties", "testcase"]),
    "properties": (set(), set(), ["property"]),
    "property": ({"name", "value"}, set(), []),
    "testcase": ({"name", "classname"}, {"time"}, ["skipped", "error", "failure", "system-out"]),
    "failure": ({"type", "message"}, set(), []),
    "error": ({"type", "message"}, set(), []),
    "system-out": (set(), set(), []),
}


def conform(element: ET.Element) -> None:
    """Attributes, children and their order are those of the common schema, totals are right, times are decimals."""
    required, allowed, children = SHAPES[element.tag]
    assert required <= set(element.attrib) <= required | allowed, element.tag
    tags = [child.tag for child in element]
    assert tags == sorted(tags, key=children.index), element.tag
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        if attribute in element.attrib:
            assert int(element.attrib[attribute]) == len(list(element.iter(tag)))
    assert re.fullmatch(r"\d+\.\d+", element.get("time", "0.0"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", element.get("timestamp", "2026-11-21T20:00:00"))
    for child in element:
        conform(child)


def document(conclusion: Conclusion) -> ET.Element:
    root = ET.fromstring(junit.files(conclusion)["junit.xml"])
    conform(root)
    return root


def properties(root: ET.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in root.iter("property")}


def failed(conclusion: Conclusion, *, severity: str = "high", judge: str = "must_hold", said: str = "it broke") -> Conclusion:
    """The same conclusion with its last check failed."""
    *others, last = conclusion.results
    broken: CheckResult = replace(last, severity=severity, judge=judge, problems=((said, "results/journal/witness.jsonl:3"),))
    return replace(conclusion, results=[*others, broken])


@pytest.mark.parametrize("row", TABLE)
def test_each_row_of_the_table(real_run: RunFolder, row: str) -> None:
    """Pass: no failure, no error. Failure: exactly what must hold and does not. Error: one testcase, nothing claimed. Ask: no run."""
    conclusion = replace(conclude(real_run, "now"), row=row)
    expected = TABLE[row].junit
    if expected is None:
        assert junit.files(conclusion) == {}
        return
    root = document(failed(conclusion) if expected == "failure" else conclusion)
    totals = {key: int(root.attrib[key]) for key in ("tests", "failures", "errors")}
    assert (
        totals
        == {
            "pass": {"tests": len(conclusion.results), "failures": 0, "errors": 0},
            "failure": {"tests": len(conclusion.results), "failures": 1, "errors": 0},
            "error": {"tests": 1, "failures": 0, "errors": 1},
        }[expected]
    )
    said = properties(root)
    assert (said["exit_code"], said["verdict"], said["status"]) == (
        str(TABLE[row].exit_code),
        TABLE[row].verdict or "none",
        TABLE[row].status,
    )
    assert (said["device"], said["seed"], said["stageflow"], said["run_id"]) == ("local", "3", "1.2.0", real_run.run_id)


def test_a_testcase_per_check_and_a_suite_per_scenario(real_run: RunFolder) -> None:
    """Named ENTRY.scenario and by the check; the time of the executions is known, that of a judgement is not shown."""
    conclusion = conclude(real_run, "now")
    root = document(conclusion)
    assert [suite.get("name") for suite in root] == [f"EDGE-002.{name}" for name in conclusion.evidence.plan["scenarios"]]
    cases = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert cases == [(f"EDGE-002.{result.scenario}", result.check) for result in conclusion.results]
    assert {case.get("name") for case in root.iter("testcase") if case.get("time")} == {"finished"}
    assert all(float(suite.attrib["time"]) > 0 for suite in root)


def test_a_failure_says_its_severity_and_every_problem(real_run: RunFolder) -> None:
    """The type is the severity; the text holds the promise, the problem and where it stands."""
    (failure,) = document(failed(conclude(real_run, "now"))).iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("high", "it broke")
    assert "it broke (results/journal/witness.jsonl:3)" in str(failure.text)


def test_what_is_observed_fails_nothing_and_says_so(real_run: RunFolder) -> None:
    """Framework as it is: a passed testcase whose output tells what was found."""
    root = document(failed(conclude(real_run, "now"), judge="observe", severity="critical"))
    *_, said = root.iter("system-out")
    assert "OBSERVED, does not hold (critical)" in str(said.text)
    assert "it broke" in str(said.text)
    assert root.get("failures") == "0"


def test_what_asks_after_the_fault_fails_nothing_either(real_run: RunFolder) -> None:
    """Where something else decided the run: it says that the fault was not reached."""
    root = document(failed(conclude(real_run, "now"), judge="reached"))
    *_, said = root.iter("system-out")
    assert str(said.text).startswith("NOT REACHED") and "it broke" in str(said.text)
    assert root.get("failures") == "0"


def test_a_killed_coordinators_run_is_an_error_without_results(forger: Any) -> None:
    """Half a run proves nothing, in JUnit neither."""
    forger.drop(forger.run.coordinator_journal, "run_ended")
    (error,) = document(conclude(forger.run, "now")).iter("error")
    assert (error.get("type"), error.get("message")) == ("interrupted", "failed: the coordinator was killed")


def test_no_device_can_break_the_file(real_run: RunFolder) -> None:
    """Control characters, surrogates, markup and the end of a CDATA section arrive as harmless text."""
    hostile = "\x00\x1b[31m ]]> </failure><error/> & \ud800 \ufffe"
    (failure,) = document(failed(conclude(real_run, "now"), said=hostile)).iter("failure")
    assert "</failure><error/>" in str(failure.text)
    assert not re.search("[\x00\x1b\ud800\ufffe]", str(failure.text))
