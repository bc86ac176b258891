"""A device of the benchmark as the product's transport is told of it."""

from pathlib import Path
from typing import Any

from runner.target.transports.base import Endpoint


def endpoint(device: dict[str, Any]) -> Endpoint:
    return Endpoint("127.0.0.1", device["port"], device["user"], device["host_key"], Path(device["client_key"]))
