"""junit.xml: a testsuite per scenario, a testcase per check, by the one table. Jenkins and GitLab read it.

pass      every check is a testcase; an observed one that fails passes, and says so in its system-out
failure   the same; a must_hold check that fails is a <failure> whose type is its severity
error     blocked, our bug, interrupted: one testcase with an <error>; nothing was judged, so nothing is claimed
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from xml.etree import ElementTree as ET

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import REACHED, CheckResult
from runner.judgement.report.metrics import execution_spans

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # all that XML 1.0 does not allow


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"junit.xml": _document(conclusion)} if conclusion.outcome.junit else {}


def _document(conclusion: Conclusion) -> str:
    plan, spans = conclusion.evidence.plan, execution_spans(conclusion.evidence)
    root = ET.Element("testsuites", name=_clean(plan["entry"]))
    if conclusion.outcome.junit == "error":
        suite = _suite(root, conclusion, plan["entry"], sum(ended_s - began_s for began_s, ended_s in spans.values()))
        case = ET.SubElement(suite, "testcase", classname=_clean(plan["entry"]), name="run")
        said = f"{conclusion.outcome.status}: {conclusion.reason}"
        ET.SubElement(case, "error", type=conclusion.row, message=_clean(said)).text = _clean(f"{said}\nNothing was judged.")
    else:
        for scenario in plan["scenarios"]:
            took_s = sum(spans[e.name][1] - spans[e.name][0] for e in conclusion.evidence.of(scenario))
            suite = _suite(root, conclusion, f"{plan['entry']}.{scenario}", took_s)
            for result in (result for result in conclusion.results if result.scenario == scenario):
                _case(suite, plan["entry"], result, took_s)
    for element in (*root, root):
        _count(element)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, conclusion: Conclusion, name: str, took_s: float) -> ET.Element:
    config, plan, outcome = conclusion.evidence.config, conclusion.evidence.plan, conclusion.outcome
    began = datetime.fromisoformat(config["started_at"]).strftime("%Y-%m-%dT%H:%M:%S")  # older schemas allow no zone
    suite = ET.SubElement(root, "testsuite", name=_clean(name), timestamp=began, hostname=_clean(plan["device"]), time=f"{took_s:.3f}")
    said = {
        "run_id": conclusion.folder.run_id,
        "device": plan["device"],
        "device_type": plan["type"]["title"],
        "seed": plan["seed"],
        "stageflow": config["stageflow_version"],
        "status": outcome.status,
        "verdict": outcome.verdict or "none",
        "reason": conclusion.reason,
        "exit_code": outcome.exit_code,
    }
    properties = ET.SubElement(suite, "properties")
    for key, value in said.items():
        ET.SubElement(properties, "property", name=key, value=_clean(str(value)))
    return suite


def _case(suite: ET.Element, entry: str, result: CheckResult, took_s: float) -> None:
    case = ET.SubElement(suite, "testcase", classname=_clean(f"{entry}.{result.scenario}"), name=_clean(result.check))
    if result.check == "finished":
        case.set("time", f"{took_s:.3f}")  # the executions themselves; what judging them takes is not worth a figure
    problems = "\n".join(f"{problem} ({where})" for problem, where in result.problems)
    if not result.held and result.judge == "must_hold":
        ET.SubElement(case, "failure", type=result.severity, message=_clean(result.problems[0][0])).text = _clean(
            f"{result.promise}\n{problems}"
        )
    elif not result.held:
        observed = f"OBSERVED, does not hold ({result.severity}); the scenario is observed, so this fails nothing."
        said = "NOT REACHED: it asks after the fault, and says nothing of the software." if result.judge == REACHED else observed
        ET.SubElement(case, "system-out").text = _clean(f"{said}\n{result.promise}\n{problems}")


def _count(element: ET.Element) -> None:
    """Sets the totals that both kinds of suite carry."""
    totals = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in totals.items():
        if element.tag == "testsuite" or attribute != "skipped":  # the common schema knows no `skipped` at the root
            element.set(attribute, str(_number(element.iter(tag))))


def _number(elements: Iterable[ET.Element]) -> int:
    return sum(1 for _ in elements)


def _clean(text: str) -> str:
    """`text` without the characters that no XML 1.0 file may hold."""
    return _FORBIDDEN.sub("\ufffd", text)
