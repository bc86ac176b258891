"""All that an execution goes through, on its link, on its device, in its heat, in one order.

    look ─► link ─► scarcity ─► heat ─► … the execution … ─► cooled ─► relieved ─► link lifted ─► as it was right before?
    after a restart, which takes everything back:  link, scarcity and heat again ─► only then the pipelines, which stand, go on
"""

from __future__ import annotations

from runner.model.plan import ExecutionPlan
from runner.story import heat, links, scarcity
from runner.story.run import Run

IMPOSE = (links.impose, scarcity.impose, heat.impose)  # each may be done again, alone
LIFT = (heat.lift, scarcity.lift, links.lift)


async def impose_again(run: Run, plan: ExecutionPlan) -> None:
    """After a restart of the device: each fault again, with what is left of it; its pipelines stand until then. May be done again."""
    if not plan.under_faults:
        return
    assert run.session
    for again in (links.impose_again, scarcity.impose_again, heat.impose_again):
        await again(run, plan)
    run.imposed_in = str(run.session.hello["boot_id"])
    await run.session.ask("under_faults")


async def still_imposed(run: Run, plan: ExecutionPlan) -> None:
    """After a broken link, behind which the supervisor may have been started anew: in the same boot its faults are what they were."""
    if plan.under_faults and run.session and run.session.hello["boot_id"] == run.imposed_in:
        await run.session.ask("under_faults")
