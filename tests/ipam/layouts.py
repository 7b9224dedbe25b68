"""Layouts that the tests of ipam share, and a State that takes what was decided at once, as a store would."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from vallum.ipam import Lease, Request, blocks, own, place, plan, romana
from vallum.ipam.records import Change, Group, Network, Topology
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, default_block_mask, padded
from vallum.model.address import Network as Cidr
from vallum.model.objects import PodId
from vallum.model.selector import labels

FLAT: dict[str, Any] = {
    "networks": [{"name": "pods-a", "cidr": "10.40.0.0/20", "block_mask": 28}],
    "topologies": [{"networks": ["pods-a"], "map": [{"name": "all", "groups": []}]}],
}
RACKS: dict[str, Any] = {
    "networks": [{"name": "dc", "cidr": "172.28.0.0/18"}],
    "topologies": [
        {
            "networks": ["dc"],
            "map": [{"name": rack, "assignment": {"rack": rack}, "groups": []} for rack in "abc"],
        }
    ],
}
ZONES: dict[str, Any] = {
    "networks": [
        {"name": "prod", "cidr": "10.64.0.0/14", "block_mask": 27},
        {"name": "lab", "cidr": "192.168.200.0/22", "tenants": ["ci", "qa"]},
    ],
    "topologies": [
        {
            "networks": ["prod"],
            "map": [
                {
                    "name": zone,
                    "assignment": {"zone": zone},
                    "groups": [{"assignment": {"rack": rack}, "groups": []} for rack in racks],
                }
                for zone, racks in (("z1", ("r1", "r2")), ("z2", ("r3", "r4")))
            ],
        },
        {
            "networks": ["lab"],
            "map": [
                {"name": "bench", "groups": [{"name": "n1", "ip": "10.9.0.11"}, {"name": "n2", "ip": "10.9.0.12"}]}
            ],
        },
    ],
}
KUBEADM: dict[str, Any] = {
    "networks": [{"name": "romana-network", "cidr": "10.112.0.0/12"}],
    "topologies": [{"networks": ["romana-network"], "map": [{"groups": []} for _ in range(8)]}],
}


def network(name: str, cidr: str, mask: int | None = None, **more: Any) -> Network:
    """A network with the default block mask."""
    where = ip_network(cidr)
    return Network(name=name, cidr=where, block_mask=default_block_mask(where) if mask is None else mask, **more)


def leaf(name: str = "", **marks: str) -> Group:
    """A group that is open for hosts with these labels."""
    return Group(name=name, assignment=labels(marks))


def split(name: str, networks: Iterable[str], *groups: Group) -> Topology:
    """A topology of these groups."""
    return Topology(name=name, networks=tuple(networks), groups=padded(groups))


def layout(networks: Iterable[Network], *topologies: Topology) -> Layout:
    """Checked; without a topology every network is one group that is open for all."""
    whole = tuple(networks)
    found = Layout(whole, topologies or tuple(split(each.name, [each.name], leaf()) for each in whole))
    check(found)
    return found


class World:
    """A State and a clock; every decision is applied at once."""

    def __init__(self, of: Layout | dict[str, Any], *hosts: str) -> None:
        self.state = State()
        self.now = 1000.0
        self.lay(of)
        for host in hosts:
            self.join(host)

    def do(self, change: Change) -> None:
        revision = self.state.revision + 1
        self.state.apply(change.stamped(revision), revision)

    def lay(self, of: Layout | dict[str, Any]) -> plan.Plan:
        made = plan.plan(self.state, romana.read(of) if isinstance(of, dict) else of)
        self.do(made.change)
        return made

    def join(self, host: str, **marks: str) -> None:
        self.do(place.join(self.state, host, labels(marks)))

    def leave(self, host: str) -> None:
        self.do(place.leave(self.state, host, self.now))

    def allocate(self, host: str, owner: str, *wanted: str, tenant: str = "shop", **space: str) -> Lease:
        request = Request(owner, PodId(tenant, owner), tuple(map(ip_address, wanted)), labels(space))
        change, lease = blocks.allocate(self.state, host, request, self.now)
        self.do(change)
        return lease

    def take(self, host: str, owner: str, *wanted: str, **more: str) -> str:
        """The addresses that it got, as text."""
        return " ".join(map(str, self.allocate(host, owner, *wanted, **more).addresses))

    def free(self, host: str, owner: str) -> None:
        self.do(blocks.free(self.state, host, owner, self.now))

    def adopt(self, host: str, **held: Iterable[str]) -> None:
        parsed = {owner: tuple(map(ip_address, addresses)) for owner, addresses in held.items()}
        self.do(blocks.adopt(self.state, host, parsed, self.now))

    def region(self, host: str, of: str | None = None) -> Cidr:
        """The range of a host in a network, or in its only one."""
        places = [each for each in self.state.hosts[host].places if of in {None, each.network}]
        return self.state.region(places[0])

    def used(self) -> list[str]:
        return sorted(str(each.cidr[offset]) for each in self.state.blocks.values() for offset in each.used)


def same(state: State) -> dict[Any, Any]:
    """What a state holds, to compare it with another."""
    return {(type(each).__name__, str(own.document(each))): each.revision for each in state.records()}
