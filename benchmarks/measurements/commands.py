"""Twenty commands, one after another, on one server, from a cold process: what a conversation costs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import tools
from benchmarks.bench import Bench
from benchmarks.values import Case, Goal

COMMANDS = 20


def cases(bench: Bench) -> Iterator[Case]:
    folder, (name,) = bench.fleet.folder, bench.fleet.names(1)
    often = f"for i in $(seq {COMMANDS}); do"
    one = f"ssh -F {bench.fleet.config} {tools.FAST}"
    master = f"{one} -o ControlPath={bench.scratch}/master"
    yield Case(
        title="twenty commands on one server",
        unit="s",
        contenders=[
            bench.ours("runner", "with_runner", folder, 1, COMMANDS),
            bench.shell(tools.MASTER, ("ssh",), f"{master} -MNf {name}; {often} {master} {name} true; done; {master} -O exit {name}"),
            bench.shell(tools.SSH, ("ssh",), f"{often} {one} {name} true; done"),
            bench.peer("asyncssh, default", "asyncssh", "with_asyncssh", folder, 1, COMMANDS),
            bench.peer("paramiko", "paramiko", "with_paramiko", folder, 1, COMMANDS),
            bench.peer("fabric", "fabric", "with_fabric", folder, 1, COMMANDS),
            bench.peer("parallel-ssh", "parallel-ssh", "with_parallel_ssh", folder, 1, COMMANDS),
            tools.pyinfra(bench, "pyinfra", 1, f'for _ in range({COMMANDS}):\n    server.shell(name="true", commands=["true"])'),
            tools.ansible(bench, tools.ANSIBLE, 1, tools.play(*["- command: 'true'"] * COMMANDS), tools.FAST),
        ],
        goals=[Goal(1.2, tools.MASTER)],
    )
