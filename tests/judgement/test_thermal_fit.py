"""A recorded step response gives back the figures of the board that it was made of; what is none is refused, and says why."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml

from runner.judgement import thermal_chart, thermal_fit
from runner.judgement.thermal_fit import Fit, Refusal, Row, fit
from runner.judgement.thermal_recording import rows_of
from runner.model.device import DeviceType, Thermal
from runner.ondevice import heat
from tests.conftest import REPOSITORY

THERMAL = DeviceType.model_validate(yaml.safe_load((REPOSITORY / "devices/raspberry-pi-4.yaml").read_text())).thermal
assert isinstance(THERMAL, Thermal)
BODY, THROTTLE = heat.body_of(THERMAL.body), heat.throttle_of(THERMAL.throttle)
ELSEWHERE = BODY._replace(die_j_k=7.0, board_j_k=90.0, die_to_board_k_w=2.0, board_to_air_k_w=9.0, busy_w=3.0, exponent=2.0)
PARTS = ((120, 0.02), (700, 1.0), (500, 0.02))  # seconds at a load: idle, busy, idle


def recorded(
    noise_k: float = 0.0, *, ambient_c: float = 24.0, every_s: float = 2.0, parts: Sequence[tuple[float, float]] = PARTS,
    watts: bool = False, rounded_k: float = 0.0,
) -> list[Row]:  # fmt: skip
    """What a Pi 4 would have recorded, with noise of this standard deviation, and a sensor that has only whole multiples of a figure."""
    chance, state, rows, now_s = random.Random(5), heat.begin(BODY, THROTTLE, ambient_c), [], 0.0
    for for_s, load in [(0.0, 0.02), *parts]:
        for _ in range(max(1, int(for_s / every_s))):
            mhz = state.mhz
            power_w = heat.power_w(BODY, load, mhz / THROTTLE.full_mhz) if watts else None
            state = heat.step(state, BODY, THROTTLE, load, ambient_c, every_s)
            now_s += every_s
            seen_c = state.die_c + chance.gauss(0, noise_k)
            rows.append(Row(now_s, round(seen_c / rounded_k) * rounded_k if rounded_k else seen_c, load, mhz, ambient_c, power_w))
    return rows


def off(found: Fit, name: str) -> float:
    """How far a figure is from the one that the recording was made with, as a share of it."""
    return abs(float(getattr(found.body, name)) / float(getattr(BODY, name)) - 1)


@pytest.mark.parametrize(
    ("noise_k", "rounded_k", "within"), [(0.0, 0.0, 0.002), (0.1, 0.0, 0.05), (0.3, 0.487, 0.12)], ids=["clean", "noise", "noisy sensor"]
)
def test_the_figures_come_back(noise_k: float, rounded_k: float, within: float) -> None:
    """From a start that is far away. The error that is left is the noise's, and no more."""
    found = fit(recorded(noise_k, rounded_k=rounded_k), ELSEWHERE, 1500)
    assert {name: round(off(found, name), 3) for name in thermal_fit.FIGURES if off(found, name) > within} == {}
    noise = (noise_k**2 + rounded_k**2 / 12) ** 0.5
    assert found.rms_k <= 1.1 * noise + 0.01


def test_the_exponent_comes_back_where_the_clock_moves() -> None:
    """In warm air the board throttles, and tells how its power falls; in cool air it does not, and the fit says that it does not."""
    warm, cool = fit(recorded(0.1, ambient_c=34.0), ELSEWHERE, 1500), fit(recorded(0.1), ELSEWHERE, 1500)
    assert warm.body.exponent == pytest.approx(BODY.exponent, abs=0.1)
    assert not any("exponent" in said for said in warm.warnings)
    assert (cool.body.exponent, "exponent" in cool.errors) == (ELSEWHERE.exponent, False)
    assert any("exponent 2 is held" in said for said in cool.warnings)


def test_measured_watts_give_the_powers() -> None:
    """With power_w nothing is assumed: idle, busy and all four ways of the heat come back, and no warning speaks of watts."""
    found = fit(recorded(0.1, watts=True))
    assert found.body.idle_w == pytest.approx(BODY.idle_w, rel=0.01)
    assert found.body.busy_w == pytest.approx(BODY.busy_w, rel=0.01)
    assert all(off(found, name) < 0.06 for name in thermal_fit.FIGURES)
    assert not any("watts" in said for said in found.warnings)


def test_without_a_type_the_watts_are_assumed_and_that_is_said() -> None:
    """Powers and capacities are wrong by one factor, resistances by its inverse; temperatures are right all the same."""
    found = fit(recorded(0.0))
    factor = thermal_fit.ASSUMED_IDLE_W / BODY.idle_w
    assert found.body.busy_w == pytest.approx(BODY.busy_w * factor, rel=0.02)
    assert found.body.board_to_air_k_w == pytest.approx(BODY.board_to_air_k_w / factor, rel=0.02)
    assert found.body.board_j_k == pytest.approx(BODY.board_j_k * factor, rel=0.02)
    assert found.rms_k < 0.01
    assert "assumption" in found.warnings[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"every_s": 15.0}, "record faster"), ({"parts": ((60, 0.02), (120, 1.0))}, "record longer")],
    ids=["rare rows", "a short one"],
)
def test_what_a_recording_cannot_tell_is_said(settings: dict[str, Any], said: str) -> None:
    """Rows that are rarer than the die is fast, and an end before the board is warm."""
    assert any(said in each for each in fit(recorded(0.1, **settings), BODY, 1500).warnings)


def test_a_recording_that_is_no_two_nodes_is_said_to_miss() -> None:
    """The negative control: a fan that comes on in the middle is not explained away."""
    rows = [row._replace(temperature_c=row.temperature_c - 14) if 400 < row.time_s < 700 else row for row in recorded(0.1)]
    found = fit(rows, BODY, 1500)
    assert found.rms_k > 1.5
    assert any("a fan that came on" in said for said in found.warnings)


def test_a_long_recording_is_made_coarser_and_fits_the_same() -> None:
    """Rows are joined with means over their time; the last moment and its temperature stay."""
    rows = recorded(every_s=0.5)
    used = thermal_fit.joined(rows)
    assert len(used) <= thermal_fit.MOST_ROWS < len(rows)
    assert (used[0], used[-1].time_s, used[-1].temperature_c) == (rows[0], rows[-1].time_s, rows[-1].temperature_c)
    assert off(fit(rows, ELSEWHERE, 1500), "board_to_air_k_w") < 0.02


def changed(**figures: Callable[[Row], float]) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row._replace(**{name: make(row) for name, make in figures.items()}) for row in rows]


@pytest.mark.parametrize(
    ("spoil", "found", "row"),
    [
        (lambda rows: rows[:20], "20 rows", None),
        (lambda rows: rows[:29] + rows[:1], "29 rows|30 rows|after", 29),
        (lambda rows: rows[:2] + rows[1:], "time_s 4 after 4", 2),
        (lambda rows: [row._replace(time_s=row.time_s / 100) for row in rows], "13.2 s", None),
        (changed(load=lambda row: 0.4), "the load stays between 0.40 and 0.40", None),
        (changed(load=lambda row: row.load * 100), "load is 2", 0),
        (changed(temperature_c=lambda row: row.temperature_c * 1000), "temperature_c is ", 0),
        (changed(temperature_c=lambda row: 50.0), "moves by 0.0 K", None),
        (changed(mhz=lambda row: row.mhz * 1000), "mhz is 1.5e", 0),
        (changed(ambient_c=lambda row: 95.0), "never warmer than the air", None),
        (changed(ambient_c=lambda row: float("nan")), "ambient_c is nan", 0),
        (changed(power_w=lambda row: 3.0 if row.time_s > 50 else None), "power_w in some rows only", None),  # type: ignore[return-value]
    ],
)  # fmt: skip
def test_what_is_no_step_response_is_refused(spoil: Callable[[list[Row]], list[Row]], found: str, row: int | None) -> None:
    """Each with what was found, what is expected, and which row."""
    with pytest.raises(Refusal) as refused:
        fit(spoil(recorded()), BODY, 1500)
    assert any(each in refused.value.found for each in found.split("|"))
    assert refused.value.expected
    assert refused.value.row == row


CSV = "time_s,temperature_c,load,mhz,ambient\n0,54.6,0.02,1500,27.3\n1,54.7,0.03,1500,27.3\n"


def test_both_kinds_of_recording_are_read() -> None:
    """CSV with a line of names, and JSON lines; `ambient` is `ambient_c`; other columns are passed over."""
    rows, places = rows_of(CSV)
    assert (rows[1], places) == (Row(1, 54.7, 0.03, 1500, 27.3), [2, 3])
    said = {"time_s": 1, "temperature_c": 54.7, "load": 0.03, "mhz": 1500, "ambient_c": 27.3, "note": "x"}
    assert rows_of(json.dumps(said) + "\n\n" + json.dumps(said)) == ([rows[1], rows[1]], [1, 3])


@pytest.mark.parametrize(
    ("text", "found", "line"),
    [
        (CSV.replace("load", "cpu"), "no load", 2), (CSV.replace("54.7", "warm"), "temperature_c is 'warm'", 3),
        (CSV + "2,54\n", "no load", 4),
        ('{"time_s": 1}\n', "no temperature_c", 1), ('{"a": 1', "not JSON", 1), ("{}\n[1]", "no temperature_c|no time_s", 1),
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_named(text: str, found: str, line: int) -> None:
    """The first one that is wrong, by its number in the file."""
    with pytest.raises(Refusal) as refused:
        rows_of(text)
    assert any(each in refused.value.found for each in found.split("|"))
    assert refused.value.row == line


def as_csv(rows: Sequence[Row]) -> str:
    return "time_s,temperature_c,load,mhz,ambient_c\n" + "".join(",".join(f"{value:.4f}" for value in row[:5]) + "\n" for row in rows)


def test_the_command_says_figures_that_can_be_pasted(runner: Callable[..., Any], tmp_path: Any) -> None:
    """A section `thermal` that reads as one, with the type's steps; the error in kelvin; and a picture that is well-formed."""
    (tmp_path / "step.csv").write_text(as_csv(recorded(0.1)))
    picture = tmp_path / "fit.svg"
    said = runner("--json", "device", "fit-thermal", str(tmp_path / "step.csv"), "--type", "raspberry-pi-4", "--plot", str(picture))
    data = json.loads(said.out)["fit"]
    pasted = Thermal.model_validate(yaml.safe_load(data["yaml"])["thermal"])
    assert pasted.steps == THERMAL.steps
    assert pasted.board_to_air_k_w == pytest.approx(BODY.board_to_air_k_w, rel=0.05)
    assert 0.05 < data["rms_k"] < 0.15
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    shown = runner("device", "fit-thermal", str(tmp_path / "step.csv"))
    assert "K rms" in shown.out
    assert "warning: watts cannot be told" in shown.out
    assert "--type takes a type's" in shown.out


def test_a_recording_that_cannot_be_fitted_is_refused_with_its_line(runner: Callable[..., Any], tmp_path: Any) -> None:
    """Exit status 2; found, expected, where and do, each."""
    path = tmp_path / "step.csv"
    path.write_text(as_csv(recorded()).replace("4.0000,", "4.0000,9", 1))
    said = runner("device", "fit-thermal", str(path))
    assert said.exit_code == 2
    assert f"{path}:3: cannot be fitted: temperature_c is 9" in said.err
    assert "expected: °C" in said.err
    assert "do: sysfs has thousandths" in said.err
    assert runner("device", "fit-thermal", str(tmp_path / "none.csv")).exit_code == 2
    assert "no device type is called 'raspberry'" in runner("device", "fit-thermal", str(path), "--type", "raspberry").err


def test_the_picture_shows_every_row() -> None:
    """Each of the five lines has a place for each row, from the left edge to the right one."""
    found = fit(recorded(every_s=4.0), BODY, 1500)
    lines = [each.get("d", "") for each in ET.fromstring(thermal_chart.svg(found, "t")).iter("{http://www.w3.org/2000/svg}path")]
    assert [line.count("L") for line in lines] == [len(found.rows) - 1] * 5
    assert all(line.startswith(f"M{thermal_chart.LEFT}.0 ") for line in lines)
    assert all(line.rpartition("L")[2].startswith(f"{thermal_chart.WIDTH - thermal_chart.RIGHT}.0 ") for line in lines)


def test_the_picture_escapes_what_a_file_is_called() -> None:
    """A name is words and nothing else."""
    drawn = thermal_chart.svg(fit(recorded(every_s=20.0), BODY, 1500), "<script>alert(1)</script>")
    assert "<script>" not in drawn
    ET.fromstring(drawn)
