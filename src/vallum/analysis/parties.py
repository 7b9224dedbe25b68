"""Who stands in a matrix: pods, or the workloads or namespaces they belong to; nodes; ranges outside of the cluster.

A range is what the blocks of the policies cut out of the address space: one address of it stands for all, because no
rule can tell them apart. Ignores what anybody may do.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network

from vallum.model.address import Network, Packed, by_name, family, pack, span
from vallum.model.objects import Pod
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import living, node_by_name

FAMILIES = (4, 6)
ELSEWHERE = "anywhere else"
_SHOWN = 3
"""Exceptions of a range that its name lists; the others are counted."""


class By(StrEnum):
    """What pods are taken together by; also the kind of a party that is made of pods."""

    POD = "pod"
    WORKLOAD = "workload"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Member:
    """One pod, node or range with one of its addresses. `home`: a pod's node; `nodes`: those that have the address."""

    name: str
    address: Packed
    home: str | None = None
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Party:
    """A row and column. `kind`: pod, workload, namespace, node or outside. `ranges`: networks less their exceptions."""

    name: str
    kind: str
    members: Mapping[int, tuple[Member, ...]] = field(default_factory=dict)
    ranges: tuple[tuple[Network, tuple[Network, ...]], ...] = ()

    @property
    def inside(self) -> bool:
        """Reports whether policies isolate it: pods, alone or together."""
        return self.kind in tuple(By)

    def names(self) -> list[str]:
        """Its members by name."""
        return sorted({member.name for found in self.members.values() for member in found})

    def covers(self, address: Packed) -> bool:
        """Reports whether the address lies in one of its ranges."""
        return any(_in(net, address) and not any(_in(cut, address) for cut in cuts) for net, cuts in self.ranges)


def usual(snapshot: Snapshot) -> By:
    """Workloads where pods belong to some."""
    return By.WORKLOAD if any(pod.owner for pod in snapshot.pods.values()) else By.POD


def parties(snapshot: Snapshot, by: By, others: Iterable[Snapshot] = ()) -> list[Party]:
    """Pods first, then nodes, then what is outside. Ranges are cut, and kept free, by the `others` worlds too."""
    worlds = (snapshot, *others)
    pods, *beside = (living(world, by_names=True) for world in worlds)
    held = _held(pods)
    nodes = {pack(address) for world in worlds for node in world.nodes.values() for address in node.addresses}
    taken = held.union(nodes, *map(_held, beside))
    return [*_inside(pods, by), *_nodes(snapshot, held), *_outside(worlds, taken)]


def _held(pods: Iterable[tuple[Pod, tuple[Packed, ...]]]) -> set[Packed]:
    return {address for _, addresses in pods for address in addresses}


def _inside(pods: Iterable[tuple[Pod, tuple[Packed, ...]]], by: By) -> list[Party]:
    groups: dict[tuple[str, str], dict[int, list[Member]]] = {}
    for pod, addresses in pods:
        group = groups.setdefault(_group(pod, by), {})
        for address in addresses:
            for version in (family(address),) if family(address) else FAMILIES:
                group.setdefault(version, []).append(Member(str(pod.id), address, pod.node))
    return [
        Party(name, kind, {version: tuple(found) for version, found in group.items()})
        for (name, kind), group in sorted(groups.items())
    ]


def _group(pod: Pod, by: By) -> tuple[str, str]:
    """Name and kind of the party. A pod of no workload stands alone."""
    match by:
        case By.NAMESPACE:
            return pod.id.namespace, str(By.NAMESPACE)
        case By.WORKLOAD if pod.owner:
            return f"{pod.id.namespace}/{pod.owner}", str(By.WORKLOAD)
        case _:
            return str(pod.id), str(By.POD)


def _nodes(snapshot: Snapshot, pods: set[Packed]) -> list[Party]:
    """Nodes, with the pods on their network. Where nothing is known of a node, its name stands for its addresses."""
    hosted = [pod for pod in snapshot.pods.values() if pod.host_network and not pod.finished]
    known = {name: [pack(address) for address in node.addresses] for name, node in snapshot.nodes.items()}
    for pod in hosted:
        known.setdefault(pod.node or f"of {pod.id}", [])
    holders: dict[Packed, set[str]] = {}
    for name, addresses in known.items():
        for address in addresses or [_stand_in(snapshot, name, hosted)]:
            holders.setdefault(address, set()).add(name)
    found = []
    for name in sorted(known):
        members: dict[int, list[Member]] = {}
        for address in known[name] or [_stand_in(snapshot, name, hosted)]:
            for version in (family(address),) if family(address) else FAMILIES:
                if address not in pods:
                    member = Member(name, address, nodes=frozenset(holders[address]))
                    members.setdefault(version, []).append(member)
        found.append(Party(f"node {name}", "node", {version: tuple(one) for version, one in members.items()}))
    return found


def _stand_in(snapshot: Snapshot, name: str, hosted: list[Pod]) -> Packed:
    nameless = next((pod for pod in hosted if pod.node is None and f"of {pod.id}" == name), None)
    return node_by_name(name) if nameless is None or name in snapshot.nodes else by_name(str(nameless.id))


def _outside(worlds: Iterable[Snapshot], taken: set[Packed]) -> list[Party]:
    found = []
    rest: dict[int, tuple[Member, ...]] = {}
    ranges = []
    for version in FAMILIES:
        whole = ip_network("0.0.0.0/0" if version == 4 else "::/0")
        nets = {net for world in worlds for net in _mentioned(world) if net.version == version}
        for net, cuts in _nested({*nets, whole}).items():
            address = _free(net, cuts, taken.__contains__)
            if address is None:
                continue
            if net in nets:
                name = f"outside {net}" + _except(cuts)
                found.append(Party(name, "outside", {version: (Member(name, address),)}, ((net, cuts),)))
            else:
                rest[version] = (Member(ELSEWHERE, address),)
                ranges.append((net, cuts))
    return [*found, Party(ELSEWHERE, "outside", rest, tuple(ranges))] if rest else found


def _except(cuts: tuple[Network, ...]) -> str:
    if not cuts:
        return ""
    more = f" and {len(cuts) - _SHOWN} more" if len(cuts) > _SHOWN else ""
    return f" except {', '.join(map(str, cuts[:_SHOWN]))}{more}"


def _mentioned(snapshot: Snapshot) -> Iterable[Network]:
    for policy in snapshot.policies.values():
        for rule in (*(policy.ingress or ()), *(policy.egress or ())):
            for peer in rule.peers or ():
                if peer.block:
                    yield from (peer.block.network, *peer.block.excepts)


def _nested(nets: Iterable[Network]) -> dict[Network, tuple[Network, ...]]:
    """Each network with those that lie directly inside of it. Networks of one family nest or are apart."""
    inside: dict[Network, list[Network]] = {}
    open_: list[Network] = []
    for net in sorted(nets, key=lambda net: (span(net)[0], net.prefixlen)):
        while open_ and span(open_[-1])[1] < span(net)[0]:
            open_.pop()
        if open_:
            inside[open_[-1]].append(net)
        inside[net] = []
        open_.append(net)
    return {net: tuple(cuts) for net, cuts in inside.items()}


def _free(net: Network, cuts: tuple[Network, ...], taken: Callable[[Packed], bool]) -> Packed | None:
    """An address of the network that is in none of its exceptions and that nobody has."""
    address, last = span(net)
    spans = [span(cut) for cut in cuts]
    while address <= last:
        index = bisect_right(spans, address, key=lambda one: one[0]) - 1
        if index >= 0 and address <= spans[index][1]:
            address = Packed(spans[index][1] + 1)
        elif taken(address):
            address = Packed(address + 1)
        else:
            return address
    return None


def _in(net: Network, address: Packed) -> bool:
    low, high = span(net)
    return low <= address <= high
