"""`device fit-thermal`: figures of a board's heat from a recorded step response, and how well they fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.output import Output
from runner.errors import AskError, LabError

if TYPE_CHECKING:
    from runner.judgement.thermal_fit import Fit
    from runner.model.device import Thermal

MOST_BYTES = 64 * 1024 * 1024


@click.command("fit-thermal")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--type", "like", metavar="TYPE", help="The type it is like: its watts at idle, its full clock and its steps are taken.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw measured and model into FILE, an SVG picture.")
@click.pass_obj
def device_fit_thermal(output: Output, recording: Path, like: str | None, plot: Path | None) -> int:
    """Fit the heat of a board to RECORDING (CSV or JSON lines: time_s, temperature_c, load, mhz, ambient_c), and show the fit."""
    from runner.judgement import thermal_chart
    from runner.judgement.thermal_fit import times_s

    thermal = _type(output, like)
    fit = _fitted(recording, thermal)
    said = thermal_chart.as_yaml(fit, _throttle_lines(thermal))
    fast_s, slow_s = times_s(fit.body)
    if plot:
        _write(plot, thermal_chart.svg(fit, f"{recording.name}: the two-node model"))
    lines = [
        said,
        "",
        f"error: {fit.rms_k:.2f} K rms over {len(fit.rows)} rows, {fit.worst_k:.2f} K at worst ({fit.worst_at_s:g} s)",
        f"time constants: die {fast_s:.3g} s, board {slow_s:.3g} s",
        *(f"warning: {each}" for each in fit.warnings),
        *([f"drawn: {plot}"] if plot else []),
    ]
    data = {
        "thermal": {**{name: value for name, value in fit.body._asdict().items() if not name.startswith("fan_")}, "full_mhz": fit.full_mhz},
        "standard_errors": fit.errors,
        "rms_k": fit.rms_k,
        "worst_k": fit.worst_k,
        "worst_at_s": fit.worst_at_s,
        "time_constants_s": {"die": fast_s, "board": slow_s},
        "warnings": list(fit.warnings),
        "plot": str(plot) if plot else None,
        "yaml": said,
    }
    return output.result({"fit": data}, "\n".join(lines))


def _type(output: Output, name: str | None) -> Thermal | None:
    if name is None:
        return None
    from runner.lab.load import Reader

    reader = Reader(output.lab())
    found = reader.thermal(name, "--type")
    reader.finish()
    return found


def _fitted(recording: Path, thermal: Thermal | None) -> Fit:
    """Raises AskError, with the line of the recording, for one that cannot be fitted."""
    from runner.judgement.thermal_fit import Refusal, fit
    from runner.judgement.thermal_recording import rows_of
    from runner.ondevice import heat

    places: list[int] = []
    try:
        rows, places = rows_of(_text(recording))
        return fit(rows, heat.body_of(thermal.body) if thermal else None, thermal.full_mhz if thermal else None)
    except Refusal as refused:
        line = refused.row if refused.row is None or not places else places[refused.row]
        where = f"{recording}:{line}" if line is not None else str(recording)
        raise AskError(f"cannot be fitted: {refused.found}", expected=refused.expected, where=where, do=refused.do) from refused


def _text(recording: Path) -> str:
    expected = f"a text file of at most {MOST_BYTES} bytes"
    try:
        if not recording.is_file():
            raise AskError("no file", expected=expected, where=str(recording), do="runner device fit-thermal --help")
        with recording.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise AskError(f"cannot be read: {error.strerror}", expected=expected, where=str(recording)) from error
    if len(raw) > MOST_BYTES:
        raise AskError(f"more than {MOST_BYTES} bytes", expected=expected, where=str(recording), do="record a row each second")
    return raw.decode("utf-8-sig", errors="replace")


def _throttle_lines(thermal: Thermal | None) -> list[str]:
    """The rest of the section: no recording tells what a firmware does at which temperature."""
    if thermal is None:
        return ["  # steps, hysteresis_k and critical_c are the firmware's: no recording tells them; --type takes a type's"]
    steps = [f"    - {{ at_c: {step.at_c:g}, mhz: {step.mhz:g}, word: {step.word} }}" for step in thermal.steps]
    return ["  steps:", *steps, f"  hysteresis_k: {thermal.hysteresis_k:g}", f"  critical_c: {thermal.critical_c:g}"]


def _write(plot: Path, text: str) -> None:
    try:
        plot.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot be written: {error.strerror}", expected="a place that may be written", where=str(plot)) from error
