"""offline: nothing passes the data link, for a while, again and again, or to the end.

    drop        every packet that leaves by the interface, or arrives by it, dies in a table of our own. The link stays up, and
                programs see what they see when the far side is gone: silence
    link_down   the interface is down: programs are told at once (ENETUNREACH), and the kernel forgets what went over it

Before the undo of `link_down` is of any use, its routes must be known: `Before.routes`, and `Before.addresses` for IPv6.
"""

from __future__ import annotations

from runner.faults import kernel
from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import Offline
from runner.model.program import Act, Program, Sign


def program(
    settings: Offline, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings` as steps. Raises AskError if the device has no nft and packets are to be dropped."""
    if settings.how == "drop":
        kernel.require("nft", capabilities, "dropping packets in a table of our own")
    on, off, signs = _dropping(link.interface) if settings.how == "drop" else _down(link.interface, before)
    return Program(
        name=name,
        fault="offline",
        interface=link.interface,
        resources=("nft inet runner_offline",) if settings.how == "drop" else (f"link {link.interface}",),
        needs=("nft",) if settings.how == "drop" else (),
        steps=kernel.bounded(kernel.toggled(settings, on, off, "offline")),
        undo=off,
        signs=signs,
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
        severs_data=True,
        severs_management=link.one_path,
    )


def figures(settings: Offline) -> str:
    return "nothing passes" if settings.how == "drop" else "the interface is down"


Parts = tuple[tuple[Act, ...], tuple[Act, ...], tuple[Sign, ...]]


def _dropping(interface: str) -> Parts:
    leaving, arriving = kernel.drop_all(interface)
    return (kernel.filtering("offline", [leaving], [arriving]),), (kernel.no_filtering("offline"),), (kernel.filtering_sign("offline"),)


def _down(interface: str, before: Before) -> Parts:
    """`ip` prints UP behind MULTICAST and NOARP: a list of flags that ends with one of those is of an interface that is down."""
    back = [f"ip address replace {address} dev {interface}" for address in before.addresses]
    back += [f"ip route replace {_of(route, interface)}" for route in before.routes]
    shown = ("ip", "-o", "link", "show", "dev", interface)
    return (
        (kernel.words(f"ip link set {interface} down"),),
        tuple(map(kernel.words, (f"ip link set {interface} up", *back))),
        tuple(Sign(argv=shown, contains=f"{flag}> mtu") for flag in ("MULTICAST", "NOARP")),
    )


def _of(route: str, interface: str) -> str:
    """A route as `ip route show` printed it, with its interface, and without what the kernel says of it and does not take back."""
    kept = [word for word in route.split() if word not in ("linkdown", "dead", "offload", "trap")]
    return " ".join(kept if "dev" in kept else [*kept, "dev", interface])
