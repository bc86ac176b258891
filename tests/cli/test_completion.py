"""The Tab key: what is offered where, by the function that a real bash runs; and that it never says a word too many."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from runner.cli.completion import ARGUMENTS, OPTIONS, SHELLS, offered
from runner.cli.main import COMMANDS, cli
from runner.lab.where import builtin_root

Runner = Callable[..., Any]
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture
def lab(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab with two devices, one of a type that is not there, an entry, a profile, and two runs of which one has a finding."""
    root = make_lab(
        {
            "inventory.yaml": "devices: {pi-04: {type: nothing-like-it}, pi-05: {}}\n",
            "profiles/heat.yaml": "title: [\n",
            "pipelines/fin_001/entry.yaml": "id: FIN-001\nscenarios: {baseline: 1, recovery: [], storm: ~}\n",
            "runs/FIN-001/run-2026-11-20-001/config/run_config.json": "{}",
            "runs/FIN-001/run-2026-11-21-001/config/run_config.json": "{}",
            "runs/FIN-001/run-2026-11-20-001/findings.json": json.dumps({"findings": [{"id": "FIN-001-REL-001"}]}),
            "runs/FIN-001/run-2026-11-21-001/findings.json": "{",
        }
    )
    monkeypatch.chdir(root)
    return root


def tab(line: str) -> list[str]:
    """What is offered where `line` ends."""
    *words, incomplete = line.split(" ")
    return [item.value for item in offered(cli, words, incomplete)]


def test_commands_are_offered_without_importing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the table alone; each with its sentence."""
    monkeypatch.setattr("runner.cli.main.import_module", lambda name: pytest.fail(f"{name} was imported"))
    assert tab("") == list(COMMANDS)
    assert tab("de") == ["device"]
    assert [item.help for item in offered(cli, [], "doc")] == [COMMANDS["doctor"][1]]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("exec FIN", ["FIN-001"]),
        ("exec FIN-001 --device ", ["pi-04", "pi-05"]),
        ("exec FIN-001 --device=pi-05", ["pi-05"]),
        ("exec FIN-001 --scenario ", ["baseline", "recovery", "storm"]),
        ("exec --scenario st", ["stress", "storm"]),
        ("exec FIN-001 --profile he", ["heat"]),
        ("exec FIN-001 --profile heat --profile stead", ["steady"]),
        ("exec FIN-001 --profile=hea", ["heat"]),
        ("profile try he", ["heat"]),
        ("profile try heat stead", ["steady"]),
        ("profile try heat --device ", ["pi-04", "pi-05"]),
        ("device revert pi-05", ["pi-05"]),
        ("exec FIN-001 --fail-on cr", ["critical"]),
        ("exec FIN-001 --dr", ["--dry-run"]),
        ("run show FIN", ["FIN-001/run-2026-11-21-001", "FIN-001/run-2026-11-20-001"]),
        ("report run", ["run-2026-11-21-001", "run-2026-11-20-001"]),
        ("run archive run-2026-11-21-001 run-2026-11-20", ["run-2026-11-20-001"]),
        ("finding show F", ["FIN-001-REL-001", "FIN-001/run-2026-11-20-001/FIN-001-REL-001"]),
        ("finding resolve FIN-001-REL-001 --as wo", ["wont_fix"]),
        ("finding list --entry FIN-00", [f"FIN-00{n}" for n in range(1, 10)]),
        ("entry brief FIN-001 --device pi-04", ["pi-04"]),
        ("device power ", ["pi-04", "pi-05"]),
        ("device power pi-04 o", ["on", "off"]),
        ("device shell pi-04 ", []),
        ("profile show he", ["heat"]),
        ("help le", ["leases"]),
        ("help com", ["completion"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("schema inv", ["inventory"]),
        ("run sh", ["show"]),
        ("entry list --priority ", ["P0", "P1", "P2"]),
        ("entry list --priority p", ["P0", "P1", "P2"]),
        ("entry list --tier 1", ["1", "10"]),
        ("entry list --phase ", ["1", "2", "3", "4", "5"]),
    ],
)
def test_names_come_from_the_lab_at_hand(lab: Path, line: str, names: list[str]) -> None:
    """Though its files are full of mistakes: what can be read of them is offered."""
    assert tab(line) == names


def test_a_word_of_an_industry_is_offered(lab: Path) -> None:
    """Names of industries have blanks; the option takes a word of one."""
    assert "Healthcare" in tab("entry list --industry He")
    assert tab("entry list --industry Nowhere") == []


def every_command(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The whole tree: the words that lead to a command, and the command."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found
        yield from every_command(found, (*words, name))


def test_whatever_names_a_thing_of_the_lab_is_completed() -> None:
    """Every option that is called after one, and every argument that is no choice, and no command of a device's own."""
    nouns = {f"--{noun}" for noun in ("device", "profile", "scenario", "entry", "run", "finding")}
    commands = list(every_command(cli))
    options = {name for _, command in commands for parameter in command.params for name in parameter.opts} & nouns
    assert options == {"--device", "--profile", "--scenario", "--entry"}  # a new one is looked at here
    assert options <= set(OPTIONS)
    for words, command in commands:
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and not isinstance(parameter.type, click.Choice) and parameter.name != "command":
                assert " ".join(words) in ARGUMENTS or words[0] in ARGUMENTS, (words, parameter.name)


def test_the_lab_that_is_named_on_the_line_counts(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--lab before RUNNER_LAB before the folder."""
    monkeypatch.chdir("/")
    assert tab("device show pi") == []
    assert tab(f"--lab {lab} device show pi") == ["pi-04", "pi-05"]


def test_a_file_is_left_to_the_shell(lab: Path) -> None:
    """Where a path is wanted the shell is told so."""
    assert [item.type for item in offered(cli, ["finding", "import"], "")] == ["file"]
    assert [item.type for item in offered(cli, ["--lab"], "")] == ["dir"]
    assert [item.type for item in offered(cli, ["init"], "")] == ["dir"]


@pytest.mark.parametrize("name", ["$(touch gone)", "`id`", "a b", "\x1b[2J", "-rf", "*", "a;b", "a,b\nplain,c"], ids=ascii)
def test_what_is_no_plain_name_is_never_offered(lab: Path, name: str) -> None:
    """Neither a shell nor a terminal gets to see it; the others are offered all the same."""
    (lab / "profiles" / f"{name}.yaml").write_text("")
    (lab / "inventory.yaml").write_text(json.dumps({"devices": {name: {}, "pi-06": {}}}))
    files = {path.name for path in (builtin_root() / "profiles").glob("*.yaml")}
    assert tab("profile show ") == [file.removesuffix(".yaml") for file in sorted({*files, "heat.yaml"})]
    assert tab("device show ") == ["pi-06"]


def asked(monkeypatch: pytest.MonkeyPatch, runner: Runner, line: str, instruction: str = "bash_complete") -> Any:
    """What `main` says to a shell that asks."""
    monkeypatch.setenv("_RUNNER_COMPLETE", instruction)
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    return runner()


BROKEN: dict[str, Callable[[Path], object]] = {
    "no YAML": lambda lab: (lab / "inventory.yaml").write_text("devices: [\n"),
    "not a mapping": lambda lab: (lab / "inventory.yaml").write_text("42\n"),
    "binary": lambda lab: (lab / "inventory.yaml").write_bytes(bytes(range(256))),
    "an alias": lambda lab: (lab / "inventory.yaml").write_text("devices: &a {x: *a}\n"),
    "a folder": lambda lab: ((lab / "inventory.yaml").unlink(), (lab / "inventory.yaml").mkdir()),
    "gone": lambda lab: shutil.rmtree(lab),
    "runs is a file": lambda lab: (shutil.rmtree(lab / "runs"), (lab / "runs").write_text("")),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_lab_is_met_with_silence(lab: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """No word on standard error, exit 0, whatever is completed."""
    monkeypatch.setenv("RUNNER_LAB", str(lab))
    BROKEN[how](lab)
    for line in ("exec ", "exec X --device ", "exec X --scenario ", "run show ", "finding show ", "device show ", "profile show "):
        said = asked(monkeypatch, runner, f"runner {line}")
        assert (said.exit_code, said.err) == (0, "")
        assert all(row.startswith("plain,") for row in said.out.splitlines())


@pytest.mark.parametrize(
    "line", ["runner exce ", "runner run nonsense ", "runner run show a b c d ", "runner exec --nonsense x ", "runner 'open"]
)
def test_a_line_that_is_wrong_is_met_with_silence(runner: Runner, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Whoever presses Tab is told nothing; whoever presses Enter will be."""
    said = asked(monkeypatch, runner, line)
    assert (said.exit_code, said.err) == (0, "")


@pytest.mark.parametrize("instruction", ["", "bash", "tcsh_complete", "bash_nonsense", "_"])
def test_a_question_that_is_none_gets_no_answer(runner: Runner, monkeypatch: pytest.MonkeyPatch, instruction: str) -> None:
    """Nothing is run and nothing said."""
    assert asked(monkeypatch, runner, "runner ", instruction) == asked(monkeypatch, runner, "runner ", "tcsh_complete")
    assert asked(monkeypatch, runner, "runner ", instruction).out == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(runner: Runner, shell: str) -> None:
    """With how to use it as a remark in front; for a program, in one object."""
    said = runner("completion", shell)
    assert (said.exit_code, said.err) == (0, "")
    assert f"_RUNNER_COMPLETE={shell}_complete" in said.out
    assert said.out.startswith("# ")
    assert f"runner completion {shell}" in runner("--json", "completion", shell).json["how"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_offers_the_names(lab: Path, tmp_path: Path, runner: Runner) -> None:
    """The script as it is printed, its function called as bash calls it, and this checkout behind it."""
    (tmp_path / "completion.bash").write_text(runner("completion", "bash").out)
    command = tmp_path / "bin" / "runner"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from runner.cli.main import main; main()" "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    script = """
        source "$1"; shift
        complete -p runner
        for line in "exec FIN-001 --device pi" "exec FIN-001 --device = pi-05" "run show FIN" "exce X"; do
            IFS=' ' read -ra COMP_WORDS <<< "runner $line"; COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
            _runner_completion runner "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
            printf '%s\\n' "$(IFS=' '; echo "${COMPREPLY[*]}")"
        done
    """
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    words = ["bash", "--norc", "-c", script, "bash", str(tmp_path / "completion.bash")]
    done = subprocess.run(words, cwd=lab, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _runner_completion runner",
        "pi-04 pi-05",
        "pi-05",
        "FIN-001/run-2026-11-21-001 FIN-001/run-2026-11-20-001",
        "",
    ]
