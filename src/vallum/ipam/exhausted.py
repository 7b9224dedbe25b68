"""What to say when there is no address to give: which pool and group, what is free where, and what would help. Pure.

It counts by looking at every block of a network, which is why nothing but an error asks for it.
"""

from vallum.ipam import ExhaustedError, Request
from vallum.ipam.records import Network, Place
from vallum.ipam.state import State
from vallum.ipam.usage import Usage, usage_of
from vallum.model.address import Network as Cidr
from vallum.model.address import span
from vallum.model.errors import InputError
from vallum.model.selector import matches


def exhausted(state: State, host: str, pools: list[tuple[Network, Place]], now: float) -> ExhaustedError:
    """One line about every network of a family that has nothing for this host."""
    told = [_pool(state, host, network, place, now) for network, place in pools]
    return ExhaustedError(f"Host {host}", "; ".join(told))


def _pool(state: State, host: str, network: Network, place: Place, now: float) -> str:
    spot = state.trees[network.name].spots[place.path]
    region = state.region(place)
    here = usage_of(state, network, region, now)
    label = spot.group.label()
    group = f"group {label + ' ' if label else ''}{region}"
    text = f"network {network.name}, {group}: no address is left ({_counts(here)})"
    others = _elsewhere(state, network, region, now)
    elsewhere = f"; free elsewhere in it: {others}" if others else "; nothing is free elsewhere in it"
    return f"{text}{elsewhere}; what helps: {_cure(host, network, here)}"


def _counts(usage: Usage) -> str:
    parts = [(usage.used, "in use"), (usage.closed, "reserved or blacked out"), (usage.free, "in blocks of others")]
    return ", ".join(f"{count} {what}" for count, what in parts if count)


def _elsewhere(state: State, network: Network, region: Cidr, now: float) -> str:
    found = []
    for spot in state.trees[network.name].spots.values():
        if spot.group.groups or span(spot.cidr)[0] <= span(region)[0] <= span(spot.cidr)[1]:
            continue
        usage = usage_of(state, network, spot.cidr, now)
        name = "spare" if spot.group.spare else spot.group.label()
        if usage.free:
            found.append(f"{usage.free} in {name + ' ' if name else ''}{spot.cidr}")
    return ", ".join(found[:4]) + (f" and {len(found) - 4} groups more" if len(found) > 4 else "")


def _cure(host: str, network: Network, usage: Usage) -> str:
    cures = []
    if usage.free:
        cures.append(f"a longer blockMask in a new network (blocks are /{network.block_mask})")
    if usage.closed:
        cures.append("lifting a blackout")
    cures.append("another network for this group")
    cures.append(f"fewer pods on {host}")
    return ", ".join(cures)


def no_network(state: State, host: str, request: Request) -> InputError:
    """Why no network serves this request on this host."""
    place, tenant = f"Host {host}", request.pod.namespace
    if not state.networks:
        return InputError("ipam", "there is no network; import a topology (vallum ipam import FILE)")
    if host not in state.hosts:
        return InputError(place, "is not here; it must join before its pods get addresses (vallum ipam hosts)")
    marks = dict(request.namespace)
    listing = [each.name for each in state.networks.values() if tenant in each.tenants]
    if listing:
        text = f"tenant {tenant} has {', '.join(listing)}, and this host or namespace is in none of those"
        return InputError(place, f"{text}; add the host to a group there, or write spill: true")
    closed = [f"{each.name} (tenants {', '.join(each.tenants)})" for each in state.networks.values() if each.tenants]
    fenced = [each for each in state.networks.values() if not matches(each.namespaces, marks)]
    closed += [f"{each.name} (namespaces {each.namespaces})" for each in fenced]
    why = f"; closed to it: {', '.join(closed)}" if closed else ""
    return InputError(place, f"no network serves tenant {tenant} here{why}; add a network, or list the tenant in one")
