"""What a long run and a big lab must not outgrow. How long it takes is measured in benchmarks/, never here."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.collection import aggregate, collect
from runner.judgement.report import html

pytestmark = pytest.mark.real
BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"


def script(name: str) -> Any:
    """A benchmark as a module: it makes what is to be measured."""
    loader = importlib.machinery.SourceFileLoader(f"benchmark_{name}", str(BENCHMARKS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader) or pytest.fail(name))
    loader.exec_module(module)
    return module


def test_the_page_of_a_day_stays_below_five_megabytes(tmp_path: Path) -> None:
    """86,400 seconds, 30 series, 47 cuts: every cut is drawn, and the page is one that opens."""
    run, samples = script("report").make_run(tmp_path, 24 * 3600)
    assert len(samples) > 85_000 and len(samples[0]) == 30
    page = html.files(run.conclusion())["report.html"]
    assert len(page.encode()) < 5_000_000
    assert page.count("recovery-1/") >= 47


def test_ten_thousand_findings_are_all_in_the_aggregate(tmp_path: Path) -> None:
    """Over 500 runs; each way of counting them comes to the same sum."""
    findings = script("findings")
    for number in range(500):
        findings.make_run(tmp_path, number, 20)
    found = aggregate(collect(tmp_path), "2026-01-31T12:00:00.000Z")
    assert (found["total_runs"], found["total_findings"], len(found["findings"])) == (500, 10_000, 10_000)
    assert {sum(found[by].values()) for by in ("by_type", "by_severity", "by_status", "by_component")} == {10_000}
