"""Options that say how packets travel between nodes: `vallum agent` takes them, `vallum lab up` hands them on."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from vallum.agent.settings import Travel
from vallum.ipam.fields import cidr_of
from vallum.model.objects import ENCAPSULATIONS, LEAST_MTU, MOST_MTU

_USUAL = Travel()
_OPTIONS = (
    click.option(
        "--encapsulation",
        type=click.Choice(ENCAPSULATIONS),
        default=_USUAL.encapsulation,
        show_default=True,
        help="When a back end that encapsulates does: cross-subnet spares nodes of one link.",
    ),
    click.option(
        "--masquerade/--no-masquerade",
        default=None,
        help="Pods reach places outside of all pods' ranges with an address of their node. If not said: where"
        " --source kube has us wire the pods.",
    ),
    click.option("--service-cidr", "services", multiple=True, metavar="CIDR", help="Of Services; no pod may be there."),
    click.option("--mtu", type=click.IntRange(LEAST_MTU, MOST_MTU), help="Of pods' links; if not said: computed."),
    click.option("--vxlan-id", type=click.IntRange(1, (1 << 24) - 1), default=_USUAL.vxlan_id, show_default=True),
    click.option("--vxlan-port", type=click.IntRange(1, 65535), default=_USUAL.vxlan_port, show_default=True),
    click.option(
        "--vxlan-checksum/--no-vxlan-checksum",
        default=_USUAL.vxlan_checksum,
        show_default=True,
        help="Let the link write outer checksums; without, for links that write bad ones.",
    ),
    click.option(
        "--outer",
        type=click.Choice(["4", "6"]),
        default=str(_USUAL.outer),
        show_default=True,
        help="Family of outer packets where two nodes have both. The same on all nodes.",
    ),
)
_FIELDS = ("encapsulation", "masquerade", "services", "mtu", "vxlan_id", "vxlan_port", "vxlan_checksum", "outer")
Told = dict[str, Any]
"""The options by the names of `Travel`'s fields; `masquerade` None: not said."""


def travel_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it gets them as one argument `travel`. Raises InputError for what is no range."""

    @wraps(command)
    def with_travel(*args: Any, **named: Any) -> None:
        told = {name: named.pop(name) for name in _FIELDS}
        told["services"] = tuple(cidr_of(text, "--service-cidr") for text in told["services"])
        told["outer"] = int(told["outer"])
        command(*args, travel=told, **named)

    for option in reversed(_OPTIONS):
        with_travel = option(with_travel)
    return with_travel


def words(told: Told) -> tuple[str, ...]:
    """The same options as words of a command line, those that are as usual left out."""
    found: list[str] = []
    for name, value in told.items():
        if value is None or value == getattr(_USUAL, name):
            continue
        option = name.replace("_", "-")
        if name == "services":
            found += [word for each in value for word in ("--service-cidr", str(each))]
        elif isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        else:
            found += [f"--{option}", str(value)]
    return tuple(found)
