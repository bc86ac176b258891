"""benchmarks/: what is compared, judged, written and drawn. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # nothing of benchmarks/ is installed

from benchmarks import chart, machine, page, tools  # noqa: E402
from benchmarks.__main__ import put_beside  # noqa: E402
from benchmarks.bench import Bench  # noqa: E402
from benchmarks.measurements import TABLE, cases_of, deploy, supervisor  # noqa: E402
from benchmarks.peers import Peers  # noqa: E402
from benchmarks.rounds import measure, turned  # noqa: E402
from benchmarks.servers import Fleet, ssh_config  # noqa: E402
from benchmarks.values import Case, Contender, Goal, Missing, Result, Row, judge  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {
    "machine": {"cores": "2 × x86_64"},
    "versions": {"fabric": "3.2"},
    "rounds": 3,
    "quick": False,
    "not_measured": [["crash states", "≥ 8 × cold boots", "no sweep yet"]],
}


def result(ours: list[float], peer: Row, *goals: Goal) -> Result:
    return Result("fan-out", "`true` on 10 servers", "s", [Row("runner", ours), peer], list(goals))


def silent(text: str) -> None:
    return None


# ---- measuring --------------------------------------------------------------------------------------------------------


def test_contenders_take_turns_and_another_begins_each_round() -> None:
    """Round by round, so that a busy moment of the machine hits all of them; `before` and `after` surround each sample."""
    happened: list[str] = []

    def one(name: str) -> Contender:
        def sample() -> float:
            happened.append(name)
            return float(len(happened))

        return Contender(name, sample, lambda: happened.append("("), lambda: happened.append(")"))

    found = measure("x", Case("a case", "s", [one("runner"), one("b"), one("c")]), 2, silent)
    assert "".join(happened) == "(runner)(b)(c)(b)(c)(runner)"
    assert [len(row.samples) for row in found.rows] == [2, 2, 2]
    assert [contender.name for contender in turned([one("a"), one("b")], 3)] == ["b", "a"]


def test_who_fails_once_is_out_and_named() -> None:
    """A contender that fails in a later round has no median of the rounds before; `after` runs all the same; others go on."""
    samples, cleaned = iter([1.0]), list[int]()

    def fragile() -> float:
        try:
            return next(samples)
        except StopIteration:
            raise RuntimeError("first line\nno route | to\x1b[31m host") from None

    case = Case("a case", "s", [Contender("runner", lambda: 1.0), Contender("peer", fragile, after=lambda: cleaned.append(1))])
    found = measure("x", case, 3, silent)
    assert found.rows[0].samples == [1.0] * 3
    assert found.rows[1] == Row("peer", [], "failed: no route   to [31m host")
    assert len(cleaned) == 2


def test_a_missing_peer_is_named_in_table_goals_and_chart(tmp_path: Path) -> None:
    """The negative control: a peer that could not be installed is never silently left out, and no goal is met by its absence."""
    peers = Peers(Path(sys.executable), {}, {}, {"fabric": "pip could not install it"})
    with pytest.raises(Missing, match="could not install"):
        peers.need("fabric")
    bench = Bench(tmp_path, peers, True, False, None)  # type: ignore[arg-type] # nothing is started
    case = Case("`true`", "s", [Contender("runner", lambda: 1.0), bench.peer("fabric", "fabric", "with_fabric")], [Goal(1.3, "fabric")])
    found = measure("fan-out", case, 3, silent)
    text, picture = page.markdown([found], ABOUT), chart.svg([found])
    assert "| fabric | missing: pip could not install it | |  |" in text
    assert "| `true` | ≤ 1.3 × fabric | missing: pip could not install it | not measured |" in text
    assert "missing: pip could not install it" in picture


def test_a_peer_that_cannot_be_installed_is_not_looked_for_in_vain(tmp_path: Path) -> None:
    """A name that was never asked for, and a program that is not there, are missing, too."""
    peers = Peers(tmp_path / "bin" / "python", {}, {"ssh": "/usr/bin/ssh"}, {"rsync": "not installed"})
    peers.need("ssh")
    for name in ("rsync", "clush"):
        with pytest.raises(Missing):
            peers.need(name)
    with pytest.raises(Missing):
        peers.program("ansible-playbook")


# ---- judging and writing -----------------------------------------------------------------------------------------------


def test_a_goal_is_a_ratio_of_medians_or_a_limit() -> None:
    """Met at the limit, not met beyond it; without a peer the value itself counts."""
    found = result([2.0, 1.3, 1.0], Row("ssh", [1.0, 9.0, 0.5]), Goal(1.3, "ssh"), Goal(1.2, "ssh"), Goal(1.5), Goal(1, "nobody"))
    assert [judged.met for judged in judge(found)] == [True, False, True, None]
    assert judge(found)[0].found == pytest.approx(1.3)


def test_the_page_says_what_is_not_met() -> None:
    """Median, spread and ratio in one row; a goal that is missed stands out; what nobody measured is said."""
    text = page.markdown([result([2.0, 1.0, 4.0], Row("ssh", [1.0]), Goal(1.3, "ssh"))], ABOUT)
    assert "| runner | 2.00 | 1.00 – 4.00 | 1.00 |" in text and "| ssh | 1.00 | 1.00 – 1.00 | 0.500 |" in text
    assert "| `true` on 10 servers | ≤ 1.3 × ssh | 2.00 × | **not met** |" in text
    assert "| crash states | ≥ 8 × cold boots | no sweep yet | not measured |" in text


def test_results_are_read_back_as_they_were() -> None:
    """results.json holds all that the page is made of."""
    found = result([1.5], Row("ssh", why_not="missing: not installed"), Goal(1.3, "ssh"))
    assert Result.from_json(json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0"), (0.0123, "0.0123"), (0.5, "0.500"), (1.0, "1.00"), (12.345, "12.3"), (7440.2, "7440")]
)
def test_figures_are_written_as_people_write_them(value: float, said: str) -> None:
    """Three digits that mean something, and no exponent."""
    assert page.figure(value) == said


def test_results_go_between_the_markers() -> None:
    """What people wrote stays, and the result of a second writing is the first one's; without markers nothing is written."""
    text = f"above\n{page.BEGIN}\nold\n{page.END}\nbelow\n"
    once = page.into(text, "new")
    assert once == f"above\n{page.BEGIN}\nnew\n{page.END}\nbelow\n" == page.into(once, "new")
    with pytest.raises(ValueError, match="once each"):
        page.into("above", "new")


def test_the_page_and_the_chart_are_those_of_the_results() -> None:
    """docs/performance.md holds exactly what results.json gives, and so does the picture: neither is edited by hand."""
    kept = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    results = [Result.from_json(value) for value in kept["cases"]]
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.into(text, page.markdown(results, kept)) == text
    assert chart.svg(results) == (ROOT / "docs" / "images" / "performance.svg").read_text(encoding="utf-8")


# ---- the picture -------------------------------------------------------------------------------------------------------


def test_slower_ones_reach_to_the_right_of_ours_and_faster_ones_to_the_left() -> None:
    """Each bar begins or ends where a ratio of 1 stands; the picture has a dark side and takes nothing from elsewhere."""
    slow, fast = Row("slow & <b>", [4.0]), Row("fast", [0.25])
    picture = chart.svg([Result("x", "a case", "s", [Row("runner", [1.0]), slow, fast], [])])
    bars = {bar.get("class"): bar for bar in ET.fromstring(picture).iter(f"{SVG}rect")}
    assert float(bars["slower"].get("x", "")) == pytest.approx(chart.across(1), abs=0.1)
    assert float(bars["faster"].get("x", "")) + float(bars["faster"].get("width", "")) == pytest.approx(chart.across(1), abs=0.2)
    assert "prefers-color-scheme: dark" in picture and "href" not in picture and "url(" not in picture
    assert "slow & <b>" in {text.text for text in ET.fromstring(picture).iter(f"{SVG}text")}


@pytest.mark.parametrize("ratio", [0.0001, 1.0, 9999.0])
def test_nothing_is_drawn_off_the_scale(ratio: float) -> None:
    """What is beyond the scale stands at its end, with its figure beside it."""
    assert chart.LABEL <= chart.across(ratio) <= chart.WIDTH


def test_what_was_measured_apart_is_said_to_be_so() -> None:
    """A measurement of another run takes the place of its namesake, in the table's order; all else stays, and the page says it."""
    before = {**ABOUT, "cases": [{"measurement": "serial", "title": "old"}, {"measurement": "fan-out", "title": "kept"}]}
    apart = {"machine": {"load at the start": "5.1"}, "versions": {"sz": "0.12"}, "rounds": 2, "cases": [{"measurement": "serial"}]}
    found = put_beside(before, ["serial"], apart)
    assert found["cases"] == [{"measurement": "fan-out", "title": "kept"}, {"measurement": "serial"}]
    text = page.markdown([], found)
    assert "| serial | in a run of its own, medians of 2 rounds, load at the start 5.1, sz 0.12 |" in text


# ---- the parts of measurements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_every_measurement_has_its_file_and_its_row(name: str) -> None:
    """The table of measurements, their files and the README agree."""
    assert callable(cases_of(name))
    assert f"| `{name}` |" in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_servers_are_known_by_name_and_by_nobody_elses_files() -> None:
    """The configuration has a host for each device, always checks keys, and reads no file of the user's."""
    device = {"name": "dev-000", "port": 2222, "user": "u", "client_key": "/k"}
    text = ssh_config([device], Path("/known"))
    assert "Host dev-000\n  Port 2222\n" in text
    assert "StrictHostKeyChecking yes" in text and "GlobalKnownHostsFile /dev/null" in text and "~" not in text


def test_a_line_of_shell_fails_when_one_device_fails() -> None:
    """All devices at once, and the status of each is asked for: a peer that reached nine of ten has not done the work."""
    fleet = Fleet(Path("/nowhere"), [{"name": f"dev-{number:03}"} for number in range(4)])
    script = tools.each(fleet, 3, "echo $d; test $d != dev-00{}")
    outcomes = [subprocess.run(["/bin/sh", "-ec", script.replace("{}", last)], capture_output=True, text=True) for last in ("1", "3")]
    assert [done.returncode for done in outcomes] == [1, 0]
    assert sorted(outcomes[1].stdout.split()) == ["dev-000", "dev-001", "dev-002"]


def test_a_bundle_is_new_each_time_and_runs(tmp_path: Path) -> None:
    """As many files and about as many bytes as were asked for; two bundles differ; `run` makes the result that is fetched."""
    contents = []
    for _ in range(2):
        deploy.make_bundle(tmp_path / "b", 5, 1000)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()})
    assert len(contents[0]) == 5 and contents[0]["0000.bin"] != contents[1]["0000.bin"]
    subprocess.run(["sh", "./run", str(tmp_path / "result")], cwd=tmp_path / "b", check=True)
    assert (tmp_path / "result").stat().st_size == deploy.RESULT_BYTES


def test_only_supervisors_of_the_benchmark_are_ended(tmp_path: Path) -> None:
    """A lock that names a process which is not a supervisor of that very folder ends nobody: here it names this test."""
    (tmp_path / "supervisor.lock").write_text(f"{os.getpid()} abc")
    deploy.end_supervisors(tmp_path)


def test_processes_are_read_as_the_kernel_tells_of_them() -> None:
    """A field of a status file by its whole name; this process has used some processor time and some memory."""
    assert supervisor.field_kib("VmPeak:\t  99 kB\nVmHWM:\t   17408 kB\n", "VmHWM") == 17408
    assert supervisor.cpu_s(os.getpid()) > 0 and supervisor.peak_mb(os.getpid()) > 1


def test_the_machine_is_described_without_a_name_or_a_path(tmp_path: Path) -> None:
    """A kernel's version loses what its builder called it; the file system is that of the longest mount point."""
    mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /tmp rw shared:1 - tmpfs tmpfs rw\n3 1 0:9 / /tmpfoo rw - xfs x rw\n"
    assert machine.number("6.1.44-somebody-7") == "6.1.44"
    assert machine.file_system(mounts, Path("/tmp/x")) == "tmpfs" and machine.file_system(mounts, Path("/var/x")) == "ext4"
    assert str(tmp_path) not in json.dumps(machine.describe(tmp_path))
