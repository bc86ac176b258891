"""fabric: with_fabric.py FOLDER COUNT COMMANDS, or with_fabric.py FOLDER COUNT deploy TAR REMOTE LOCAL."""

import os
import sys
from typing import Any

import paramiko
from fabric import Connection, ThreadingGroup
from told_devices import devices


def connection(device: dict[str, Any]) -> Connection:
    keys = {"key_filename": device["client_key"], "allow_agent": False, "look_for_keys": False}
    made = Connection("127.0.0.1", device["user"], device["port"], connect_kwargs=keys)
    made.client.load_host_keys(os.path.expanduser("~/.ssh/known_hosts"))
    made.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    return made


def deploy(tar: str, remote: str, local: str, found: list[dict[str, Any]]) -> None:
    """One tar over SFTP, unpacked there; run; fetched."""
    from concurrent.futures import ThreadPoolExecutor

    def work(device: dict[str, Any]) -> None:
        one, there = connection(device), f"{remote}/{device['name']}"
        one.run(f"mkdir -p {there}", hide=True)
        one.put(tar, f"{there}/bundle.tar")
        one.run(f"cd {there} && tar -xf bundle.tar && sh ./run result", hide=True)
        one.get(f"{there}/result", f"{local}/{device['name']}")
        one.close()

    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(work, found))


def main(folder: str, count: str, what: str, *words: str) -> None:
    found = devices(folder, count)
    if what == "deploy":
        deploy(*words, found)
        return
    group = ThreadingGroup.from_connections([connection(device) for device in found])
    for _ in range(int(what)):
        group.run("true", hide=True)
    group.close()


main(*sys.argv[1:])
