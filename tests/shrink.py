"""Make a failing world small: take away policies, pods and rules one at a time as long as the failure stays."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from vallum.model.objects import Object, Pod, Policy

Objects = tuple[Object, ...]
_TRIES = 300


async def shrink(things: Objects, fails: Callable[[Objects], Awaitable[bool]]) -> Objects:
    """The smallest world found, by greedy removal, in which `fails` still holds."""
    tries = 0
    again = True
    while again:
        again = False
        for smaller in _smaller(things):
            tries += 1
            if tries > _TRIES:
                return things
            if await fails(smaller):
                things, again = smaller, True
                break
    return things


def _smaller(things: Objects) -> Iterator[Objects]:
    for index, thing in enumerate(things):
        rest = things[:index], things[index + 1 :]
        if isinstance(thing, (Pod, Policy)):
            yield (*rest[0], *rest[1])
        if isinstance(thing, Policy):
            yield from ((*rest[0], policy, *rest[1]) for policy in _simpler(thing))


def _simpler(policy: Policy) -> Iterator[Policy]:
    """The policy without one of its rules."""
    for index in range(len(policy.ingress or ())):
        assert policy.ingress is not None
        yield replace(policy, ingress=policy.ingress[:index] + policy.ingress[index + 1 :])
    for index in range(len(policy.egress or ())):
        assert policy.egress is not None
        yield replace(policy, egress=policy.egress[:index] + policy.egress[index + 1 :])
