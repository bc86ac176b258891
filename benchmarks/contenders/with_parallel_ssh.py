"""parallel-ssh: with_parallel_ssh.py FOLDER COUNT COMMANDS. It checks no host key."""

import sys

from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig
from told_devices import devices


def main(folder: str, count: str, commands: str) -> None:
    found = devices(folder, count)
    config = [HostConfig(user=d["user"], port=d["port"], private_key=d["client_key"]) for d in found]
    client = ParallelSSHClient(["127.0.0.1"] * len(found), host_config=config, pool_size=len(found), allow_agent=False)
    for _ in range(int(commands)):
        output = client.run_command("true")
        client.join(output)
        assert all(host.exit_code == 0 for host in output)


main(*sys.argv[1:])
