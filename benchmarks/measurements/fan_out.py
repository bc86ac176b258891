"""Fan-out: `true` on N servers from a cold process, which includes starting, loading keys, and a connection each."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import tools
from benchmarks.bench import Bench
from benchmarks.values import Case, Goal

COUNTS = (10, 50, 100)


def cases(bench: Bench) -> Iterator[Case]:
    for count in (count for count in COUNTS if count <= bench.largest):
        folder = bench.fleet.folder
        yield Case(
            title=f"`true` on {count} servers",
            unit="s",
            contenders=[
                bench.ours("runner", "with_runner", folder, count, 1),
                bench.shell(tools.SSH, ("ssh",), tools.ssh_all(bench.fleet, count, "true", tools.FAST)),
                bench.shell(tools.SSH_DEFAULT, ("ssh",), tools.ssh_all(bench.fleet, count, "true", "")),
                bench.peer("asyncssh, default", "asyncssh", "with_asyncssh", folder, count, 1),
                bench.peer("paramiko, threads", "paramiko", "with_paramiko", folder, count, 1),
                bench.peer("fabric", "fabric", "with_fabric", folder, count, 1),
                bench.peer("parallel-ssh", "parallel-ssh", "with_parallel_ssh", folder, count, 1),
                tools.pyinfra(bench, "pyinfra", count, 'server.shell(name="true", commands=["true"])'),
                tools.ansible(bench, tools.ANSIBLE, count, tools.play("- command: 'true'"), tools.FAST),
            ],
            goals=[Goal(1.3, tools.SSH), Goal(0.15, tools.ANSIBLE)] if count == max(COUNTS) else [],
        )
