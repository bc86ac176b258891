"""paramiko, a thread for each device: with_paramiko.py FOLDER COUNT COMMANDS."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import paramiko
from told_devices import devices


def work(device: dict[str, Any], commands: int) -> None:
    client = paramiko.SSHClient()
    client.load_host_keys(os.path.expanduser("~/.ssh/known_hosts"))
    client.connect("127.0.0.1", device["port"], device["user"], key_filename=device["client_key"], allow_agent=False, look_for_keys=False)
    for _ in range(commands):
        _, out, _ = client.exec_command("true")
        assert out.channel.recv_exit_status() == 0
    client.close()


def main(folder: str, count: str, commands: str) -> None:
    found = devices(folder, count)
    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(lambda device: work(device, int(commands)), found))


main(*sys.argv[1:])
