"""Make a failing world small: take away manifests, rules, peers and ports one at a time while the failure stays."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Manifests = list[dict[str, Any]]
_TRIES = 400
_LISTS = frozenset({"ingress", "egress", "from", "to", "ports", "policyTypes", "matchExpressions", "except"})
_WHOLE = frozenset({"Pod", "NetworkPolicy"})


async def shrink(world: Manifests, fails: Callable[[Manifests], Awaitable[bool]]) -> Manifests:
    """The smallest world found, by greedy removal, in which `fails` still holds."""
    tries = 0
    again = True
    while again:
        again = False
        for smaller in _smaller(world):
            tries += 1
            if tries > _TRIES:
                return world
            if await fails(smaller):
                world, again = smaller, True
                break
    return world


def _smaller(world: Manifests) -> Iterator[Manifests]:
    for index, document in enumerate(world):
        before, after = world[:index], world[index + 1 :]
        if document["kind"] in _WHOLE:
            yield [*before, *after]
        if document["kind"] == "NetworkPolicy":
            yield from ([*before, {**document, "spec": spec}, *after] for spec in _simpler(document["spec"]))


def _simpler(value: Any) -> Iterator[Any]:
    """The value without one entry of one of its lists, at any depth. A list that empties stays and means something."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _LISTS:
                yield from ({**value, key: inner[:index] + inner[index + 1 :]} for index in range(len(inner)))
            yield from ({**value, key: simpler} for simpler in _simpler(inner))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], simpler, *value[index + 1 :]] for simpler in _simpler(inner))
