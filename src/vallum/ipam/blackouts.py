"""Ranges of which nothing is handed out any more: put in, merged, lifted. Pure.

One over addresses in use is allowed: those drain (`usage.draining` counts them). A larger one replaces the smaller ones
in it; one that lies in a larger one is there already.
"""

from vallum.ipam.records import NOTHING, Blackout, Change
from vallum.ipam.state import State
from vallum.ipam.topology import check_blackout, within
from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError


def black_out(state: State, cidr: Cidr) -> Change:
    """Hand out nothing of a range from now on. Raises InputError when it is in no network, or all of one."""
    check_blackout(cidr, tuple(state.networks.values()))
    if any(within(cidr, each) for each in state.blackouts):
        return NOTHING
    smaller = tuple(blackout for each, blackout in state.blackouts.items() if within(each, cidr))
    return Change(puts=(Blackout(cidr=cidr),), gone=smaller)


def lift(state: State, cidr: Cidr) -> Change:
    """Hand the range out again. Raises InputError for one that was not blacked out just so."""
    blackout = state.blackouts.get(cidr)
    if blackout is None:
        known = ", ".join(str(each) for each in state.blackouts) or "none"
        raise InputError(f"Blackout {cidr}", f"is not here; give one exactly as it is: {known}")
    return Change(gone=(blackout,))
