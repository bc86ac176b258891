"""How the peers that are programs are used: as their own manuals say, with the fastest settings that they have.

`FAST` is the key exchange and the cipher that the product uses, too; "default" in a name says that a peer chose for itself.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.children import timed
from benchmarks.servers import FAST, Fleet
from benchmarks.values import Contender

__all__ = ["ANSIBLE", "FAST", "MASTER", "SSH", "SSH_DEFAULT", "ansible", "each", "play", "pyinfra", "ssh_all"]

SSH, SSH_DEFAULT, MASTER = "ssh, curve25519", "ssh, default", "ssh, ControlMaster"
ANSIBLE = "ansible, pipelining, curve25519"


def each(fleet: Fleet, count: int, script: str) -> str:
    """A shell line that does `script` for all devices at once ($d is the name), and fails when one of them fails."""
    names = " ".join(fleet.names(count))
    return f'p=; for d in {names}; do ( {script} ) & p="$p $!"; done; for i in $p; do wait $i; done'


def ssh_all(fleet: Fleet, count: int, command: str, options: str) -> str:
    return each(fleet, count, f"exec ssh -F {fleet.config} {options} $d '{command}'")


def play(*tasks: str) -> str:
    """A playbook for every host, in YAML, of tasks that are one line each."""
    return "- hosts: all\n  gather_facts: false\n  tasks:\n" + "".join(f"    {task}\n" for task in tasks)


def ansible(bench: Bench, name: str, count: int, playbook: str, options: str) -> Contender:
    """A playbook on the first `count` devices. Its connections are kept within one run of it, and ended before the next."""
    place = bench.scratch / f"ansible-{count}-{abs(hash(playbook)):x}"
    control = bench.scratch / "cm"

    def before() -> None:
        place.mkdir(exist_ok=True)
        (place / "play.yaml").write_text(playbook)
        common = f"ansible_python_interpreter={bench.fleet.python} ansible_ssh_common_args='-F {bench.fleet.config} {options}'"
        (place / "hosts").write_text("".join(f"{host} {common}\n" for host in bench.fleet.names(count)))

    def sample() -> float:
        bench.peers.need("ansible-core", "ssh")
        argv = [bench.peers.program("ansible-playbook"), "-i", str(place / "hosts"), "-f", str(count), str(place / "play.yaml")]
        settings = {
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control),
            "ANSIBLE_REMOTE_TMP": str(bench.scratch / "ansible-remote"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        return timed(argv, {**bench.env, **settings}, bench.log)

    def after() -> None:
        for path in control.glob("*") if control.exists() else ():
            timed(["ssh", "-F", str(bench.fleet.config), "-o", f"ControlPath={path}", "-O", "exit", "dev-000"], bench.env, bench.log)

    return Contender(name, sample, before, after)


def pyinfra(bench: Bench, name: str, count: int, operations: str) -> Contender:
    """A deploy file on the first `count` devices."""
    place = bench.scratch / f"pyinfra-{count}-{abs(hash(operations)):x}"

    def before() -> None:
        place.mkdir(exist_ok=True)
        known = bench.fleet.folder / "home" / ".ssh" / "known_hosts"
        hosts = [
            (
                device["name"],
                {
                    "ssh_hostname": "127.0.0.1",
                    "ssh_port": device["port"],
                    "ssh_user": device["user"],
                    "ssh_key": device["client_key"],
                    "ssh_known_hosts_file": str(known),
                    "ssh_strict_host_key_checking": "yes",
                    "ssh_allow_agent": False,
                    "ssh_look_for_keys": False,
                },
            )
            for device in bench.fleet.devices[:count]
        ]
        (place / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        (place / "deploy.py").write_text(f"from pyinfra import host\nfrom pyinfra.operations import files, server\n\n{operations}\n")

    def sample() -> float:
        bench.peers.need("pyinfra")
        argv = [bench.peers.program("pyinfra"), "-y", str(place / "inventory.py"), str(place / "deploy.py")]
        return timed(argv, bench.env, bench.log)

    return Contender(name, sample, before)
