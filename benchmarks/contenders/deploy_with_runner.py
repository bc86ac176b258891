"""The product's way to a device: deploy_with_runner.py FOLDER COUNT PYTHON BUNDLE STATE RESULTS.

Connect, install the supervisor where it is not, attach, push the blobs that are missing, unpack, run, fetch.
With "" for RESULTS it ends after the unpacking. Devices have no power here: they are on.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from runner_endpoint import endpoint
from told_devices import devices

from runner.clock import SystemClock
from runner.model.device import DeviceType
from runner.target.bundle import make_zip, sha256, tree_name
from runner.target.growing import GrowingFile
from runner.target.target import FileWitness, Home, Target
from runner.target.transports.ssh import SshTransport

KIND = DeviceType(title="a server", arch="native", transport="ssh", power="none", loss="process_crash")


class AlwaysOn:
    """Power that nobody switches: the part of the interface that bringing up a device uses."""

    loss = "process_crash"

    async def on(self) -> None:
        return None


async def work(device: dict[str, Any], python: str, bundle: bytes, state: Path, results: str) -> None:
    folder = state / device["name"]
    home = Home(python, str(folder), str(folder / "s" / "supervisor"), FileWitness("/dev/null", GrowingFile(Path("/dev/null"))))
    transport = SshTransport(lambda: endpoint(device))
    power: Any = AlwaysOn()
    target = Target(device["name"], KIND, transport, power, home, SystemClock())
    session = await target.bring_up(lambda text: None)
    blob = sha256(bundle)
    await session.push({blob: bundle})
    tree = (await session.ask("unpack", tree=tree_name((blob,)), blobs=[blob], compile=True))["path"]
    if results:
        done = await transport.run(["sh", "-c", f"cd {tree} && sh ./run {folder}/result"])
        assert done.exit_status == 0, done.stderr
        (Path(results) / device["name"]).write_bytes((await transport.run(["cat", f"{folder}/result"])).stdout)
    await session.close()
    await transport.close()


async def main(folder: str, count: str, python: str, bundle: str, state: str, results: str) -> None:
    files = {path.name: path.read_bytes() for path in Path(bundle).iterdir()}
    packed = make_zip(files)
    await asyncio.gather(*(work(device, python, packed, Path(state), results) for device in devices(folder, count)))


asyncio.run(main(*sys.argv[1:]))
