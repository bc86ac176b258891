"""Is a run folder as the format has it? Every rule by name, and where each is broken.

    RULES   name │ the rule in one sentence │ a function in rules/: Look → problems, or None where the rule does not apply to this run

A problem is a sentence and a place (`path`, `path:line`, `path#record`, `path#/json/pointer`), as in findings. A run under way,
blocked or killed breaks no rule by being so. Judging runs the folder's own pipelines/checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from runner.errors import RunnerError
from runner.judgement.checks import Problem
from runner.judgement.integrity import INTEGRITY
from runner.judgement.rules import contents, layout, made_again, records
from runner.judgement.rules.look import Found, Look
from runner.lab.folder import RunFolder


class Rule(NamedTuple):
    name: str
    sentence: str
    broken: Callable[[Look], Found]


class Held(NamedTuple):
    """One rule, and what became of it."""

    rule: Rule
    problems: tuple[Problem, ...] | None  # None: the rule does not apply

    def as_json(self) -> dict[str, Any]:
        said = "not applicable" if self.problems is None else "broken" if self.problems else "holds"
        problems = [{"found": found, "where": where} for found, where in self.problems or ()]
        return {"rule": self.rule.name, "sentence": self.rule.sentence, "result": said, "problems": problems}


def verify(folder: RunFolder, now: str, rules: Iterable[Rule] = ()) -> list[Held]:
    """Every rule, or only `rules`, on one folder. Reads only; whatever stands there, it ends in problems, not in an exception."""
    look = Look(folder, now)
    held = []
    for rule in rules or RULES:
        try:
            found = rule.broken(look)
            held.append(Held(rule, None if found is None else tuple(found)))
        except RunnerError as error:
            first = error.complaints[0]
            held.append(Held(rule, ((f"cannot be looked at: {_short(folder, first.found)}", _short(folder, first.where) or "."),)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            held.append(Held(rule, ((f"cannot be looked at: {type(error).__name__}: {_short(folder, str(error))}", "."),)))
    return held


def _short(folder: RunFolder, text: str) -> str:
    """The first line of it, with places as they are inside of the folder."""
    return text.partition("\n")[0].replace(f"{folder.root}/", "")


RULES: tuple[Rule, ...] = (
    Rule("run_folder_name", "The folder is called run-{YYYY}-{MM}-{DD}-{SEQ}, and its configuration says the same", layout.run_folder_name),
    Rule(
        "required_files", "README.md, findings.json, FINAL_REPORT.md, run_config.json and environment.json are there", layout.required_files
    ),
    Rule("required_folders", "Folders are there that this run needs", layout.required_folders),
    Rule("json_readable", "Every .json file is JSON", layout.json_readable),
    Rule("run_config_fields", "run_config.json has the fields of the format", contents.run_config_fields),
    Rule("environment_fields", "environment.json has the fields of the format", contents.environment_fields),
    Rule("findings_valid", "findings.json is valid by its schema, and about this run", contents.findings_valid),
    Rule("finding_ids", "Findings are called {ENTRY}-{TYPE}-{NNN}, each differently", contents.finding_ids),
    Rule("references", "Everything that a finding names as evidence is there", contents.references),
    Rule("pipeline_files", "Every pipeline that was planned is there", layout.pipeline_files),
    Rule("test_files", "tests/ has one file for each of the six categories, and no other", layout.category_files),
    Rule("log_names", "Logs are called run_*.log", layout.log_names),
    Rule("trace_names", "Traces are called trace_{YYYYMMDD}_{HHMMSS}_{scenario}.json", layout.trace_names),
    Rule("mock_names", "Mock data is called {scenario}_{variant}_{size}.{ext}", layout.mock_names),
    Rule("metrics_files", "latency.json, throughput.json and resource_usage.json are there", layout.metrics_files),
    Rule("dx_scores", "Scores in dx_evaluation/scores.json are numbers from 1 to 5", contents.dx_scores),
    Rule("journals_whole", "Every journal is whole to its last byte", records.journals_whole),
    Rule("guard_records", "Every record of the guard's journal says what one of its kind must", records.guard_records),
    Rule("guard_let_go", "What the guard did to the link was armed before, and taken back afterwards", records.guard_let_go),
    Rule("far_end_lines", "Every line of the far end's logs is one that it writes", records.far_end_lines),
    *(Rule(name, (check.__doc__ or name).strip().rstrip("."), records.asked_of_the_judge(name)) for name, check in INTEGRITY.items()),
    Rule("derived_files", "Derived files are what the evidence gives", made_again.derived_files),
    Rule("archive_as_noted", "The archive holds what the note in the folder says", made_again.archive_as_noted),
    Rule("nothing_half_written", "No file was left half written", layout.nothing_half_written),
    Rule("links_stay_inside", "No symbolic link leads out of the folder", layout.links_stay_inside),
    Rule("no_secrets", "No file holds what looks like a private key or an access token", layout.no_secrets),
)
