"""The plan: everything that a run will do, decided before any hardware moves. `run_config.json` keeps it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from runner.model.base import Value
from runner.model.device import DataLink, DeviceLine, DeviceType
from runner.model.device import Thermal as Body
from runner.model.entry import CutBar, Limits, Scenario, Severity
from runner.model.profile import Damage, Link, Profile, Scarcity, Thermal

HTTP_PORT, MQTT_PORT = 8080, 1883  # of the far end; fixed, because it has an address of its own


class TamperPlan(Value):
    """What is damaged while the power is off, and the seed of where."""

    damage: Damage
    seed: int


class CutPlan(Value):
    """One cut: where execution is held, for a random cut how far into the stage's body it falls (0 to 1), and what is
    damaged before the power comes back."""

    hold: str  # unique in the run: "<execution>/<number>"
    stage: str
    point: str  # where the supervisor holds; see runner/ondevice/holds.py
    fraction: float | None = None
    tamper: TamperPlan | None = None


class HeatPlan(Value):
    """Heat over an execution: what a profile asks of the air, and whose body gets warm in it.

    `own` is the device's own body, where `like` made another one of it: what its real sensor may say goes by that one.
    """

    asked: Thermal
    body: Body
    own: Body | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What `runner/ondevice/told.py` reads, but for its limits."""
        asked = self.asked
        said = {name: getattr(asked, name) for name in ("starts_at_c", "fan", "air", "pace", "at_s", "for_s")}
        return {"body": self.body.body, "throttle": self.body.throttle, "timeline": [list(point) for point in asked.timeline], **said}

    @property
    def real(self) -> Body:
        """Where the device's own sensor is, and how warm it may be; of one that says neither, the body that it was given stands for it."""
        return self.own or self.body

    @property
    def constant(self) -> bool:
        """Whether it is on from before the execution begins until behind its end."""
        return not self.asked.at_s and self.asked.for_s is None and not self.asked.stage


class ExecutionPlan(Value):
    """One execution of one pipeline, the cuts that fall into it, in order, and what its link goes through meanwhile."""

    name: str
    scenario: str
    module: str
    durability: str
    stages: tuple[str, ...]
    cuts: tuple[CutPlan, ...]
    limit_s: float
    links: tuple[Annotated[Link, Field(discriminator="fault")], ...] = ()
    scarcities: tuple[Annotated[Scarcity, Field(discriminator="fault")], ...] = ()
    heat: HeatPlan | None = None
    lanes: int = 1  # this many pipelines at once; with more than one, a stage is called "name@lane"

    @property
    def under_faults(self) -> bool:
        """Whether something is on while it runs that a restart takes back."""
        return bool(self.links or self.scarcities or self.heat)


class Plan(Value):
    """`runner exec` as data."""

    entry: str
    title: str
    priority: str
    risk: str
    industry: str
    deployment_mode: str
    stageflow: str
    device: str
    line: DeviceLine
    type: DeviceType
    seed: int
    cuts: CutBar
    cuts_asked: int  # cuts that may count: in scenarios that must hold, and without damage done meanwhile
    command: str = ""  # the same plan once more
    fail_on: Severity | None = None  # a finding at least so severe makes the exit status 1; the verdict does not know of it
    far_end: tuple[Literal["http", "mqtt"], ...] = ()  # what it serves
    limits: Limits
    executions: tuple[ExecutionPlan, ...]
    scenarios: dict[str, Scenario]
    profiles: dict[str, Profile]  # by their own names
    pipeline_folder: str  # the name of the entry's package on the device
    pipeline_source: str  # where it was read from on the coordinator

    @property
    def data_link(self) -> DataLink | None:
        return self.line.data_link or self.type.data_link

    @property
    def needs_far_end(self) -> bool:
        """Whether anything of this run crosses the data link."""
        return bool(self.far_end) or any(execution.links for execution in self.executions)

    def settings(self, execution: str) -> dict[str, str]:
        """The environment variables by which a pipeline finds its far end; its address carries the execution's name."""
        if not self.far_end or self.data_link is None:
            return {}
        host = self.data_link.far_end
        found = {
            "http": {"FAR_END_HTTP": f"http://{host}:{HTTP_PORT}/{execution}"},
            "mqtt": {"FAR_END_MQTT": f"{host}:{MQTT_PORT}", "FAR_END_TOPIC": execution},
        }
        return {"DATA_INTERFACE": self.data_link.interface, **{k: v for service in self.far_end for k, v in found[service].items()}}

    @property
    def identity(self) -> str:
        return self.line.identity(self.device)
