"""Whether the networks and topologies that stand in the API can be taken, as one agent sees it. Pure.

People write these objects one by one and nobody can refuse them there, so every agent does, by the same records and the
same rules, and goes on with the last layout that it took. What it ignores: where a refusal is shown.
"""

from collections.abc import Iterable
from dataclasses import replace

from vallum.ipam.plan import plan
from vallum.ipam.records import Blackout, Change, Host, Network, Record, Topology, key_of
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check
from vallum.ipam.verify import verify
from vallum.model.errors import InputError

_MISFITS = {"misaligned", "no-network", "block-mask", "no-group", "outside-group"}
LAYOUT = (Network, Topology, Blackout)


def layout_of(records: Iterable[Record]) -> Layout:
    """What people have written of them."""
    found = tuple(records)
    return Layout(
        tuple(each for each in found if isinstance(each, Network)),
        tuple(each for each in found if isinstance(each, Topology)),
        tuple(each for each in found if isinstance(each, Blackout)),
    )


def accepted(state: State, layout: Layout, host: str) -> tuple[Change, Host | None]:
    """The change to this layout, and the host with its new places where the layout moves it.

    In the change it has only those of its places that stay: the others are not to be used any more, whatever becomes of
    the new ones. Raises InputError for a layout that cannot be meant, or would strand an address that is in use.
    """
    wanted: tuple[Record, ...] = (*layout.networks, *layout.topologies, *layout.blackouts)
    if not state.networks:
        check(layout)
        _fit(State((*wanted, *state.hosts.values(), *state.blocks.values())))
        return Change(wanted), None
    made = plan(_sound(state), layout).change
    _in_their_slots(state, made, layout)
    keys = {key_of(each) for each in wanted}
    old: tuple[Record, ...] = (*state.networks.values(), *state.topologies.values(), *state.blackouts.values())
    gone = tuple(each for each in old if key_of(each) not in keys)
    moved = next((each for each in made.puts if isinstance(each, Host) and each.name == host), None)
    if moved is None or host not in state.hosts:
        return Change(wanted, gone), None
    before = state.hosts[host]
    stay = tuple(place for place in before.places if place in moved.places)
    return Change((*wanted, replace(before, places=stay)), gone), moved


def _sound(state: State) -> State:
    """Without the hosts that others have moved to a newer layout already, which this one is behind."""

    def stands(host: Host) -> bool:
        trees = state.trees
        return all(each.network in trees and each.path in trees[each.network].spots for each in host.places)

    if all(map(stands, state.hosts.values())):
        return state
    return State(each for each in state.records() if not isinstance(each, Host) or stands(each))


def _fit(target: State) -> None:
    """Raise InputError where blocks that are in use do not fit: this agent is new, and the others have refused it."""
    used = {f"Block {block.cidr}" for block in target.blocks.values() if block.used}
    misfit = next((each for each in verify(target) if each.rule in _MISFITS and each.place in used), None)
    if misfit is not None:
        raise InputError(misfit.place, f"is in use and {misfit.text}; write the layout so that it fits")


def _in_their_slots(state: State, change: Change, layout: Layout) -> None:
    """Who starts later knows the objects only, not where a group was before: they must say it themselves."""
    meant = state.topologies | {each.name: each for each in change.puts if isinstance(each, Topology)}
    for written in layout.topologies:
        groups = meant[written.name].groups
        if groups != written.groups:
            order = ", ".join("a spare" if group.spare else group.label() or "unnamed" for group in groups)
            text = f"groups with hosts must keep their places: {order}; write `spare: true` where one went"
            raise InputError(f"Topology {written.name} map", text)
