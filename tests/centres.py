"""A lab with zones and racks as a plan alone, and packets that follow its routes without a kernel."""

from ipaddress import ip_network
from typing import Any

from vallum.ipam import own
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.ipam.topology import Layout
from vallum.lab.housing import house, settle
from vallum.lab.topology import Interface, Topology, complete
from vallum.model.address import Address, Network
from vallum.model.objects import Object, Pod, PodId
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Route
from vallum.network.hostgw.plan import plan as hostgw
from vallum.network.options import Options


def racks(zones: int, racks_: int, cidr: str = "10.64.0.0/14", six: str = "fd64::/48") -> Layout:
    """A dual-stack layout of so many zones with so many racks each."""
    inner = [{"name": f"r{rack}", "assignment": {"rack": f"r{rack}"}, "groups": []} for rack in range(1, racks_ + 1)]
    tree = [{"name": f"z{zone}", "assignment": {"zone": f"z{zone}"}, "groups": inner} for zone in range(1, zones + 1)]
    documents: list[tuple[str, str, dict[str, Any]]] = [
        ("Network", "pods", {"cidr": cidr, "blockMask": 30}),
        ("Network", "pods6", {"cidr": six, "blockMask": 126, "order": 1}),
        ("Topology", "dc", {"networks": ["pods", "pods6"], "map": tree}),
    ]
    return own.read(
        {"apiVersion": own.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, name, spec in documents
    )


def pods(count: int, nodes: int) -> tuple[Object, ...]:
    return tuple(Pod(PodId("shop", f"p{number}"), node=f"node{number % nodes + 1}") for number in range(count))


class Centre:
    """A state, and the plan that stands."""

    def __init__(self, layout: Layout, objects: tuple[Object, ...] = (), nodes: int | None = None) -> None:
        self.state = State()
        change, self.topology = settle(self.state, layout, objects, nodes)
        self._take(change)
        self.apply(objects)

    def apply(self, objects: tuple[Object, ...], *extra: Address) -> Topology:
        change, self.topology = house(self.state, objects, self.topology, extra, 1000.0)
        self._take(change)
        self.objects = objects
        return self.topology

    def _take(self, change: Change) -> None:
        if change:
            self.state.apply(change.stamped(self.state.revision + 1), self.state.revision + 1)

    def ended(self, source: str, address: Address) -> str:
        """The node, or the namespace of a router, at which a packet from a node ends; `round` when it never does."""
        names = {node.netns: node.name for node in self.topology.nodes}
        ends = {own.ip: node.netns for node in self.topology.nodes for own in node.addresses}
        ends |= {own.ip: each.netns for each in self.topology.routers for own in (*each.addresses, *each.uplink)}
        at = self.topology.node_of(source).netns
        for _ in range(20):
            if self._keeps(at, address):
                return names.get(at, at)
            held = [*self.routes(at), *(Route(network) for network in self.unreachable(at))]
            fitting = [route for route in held if address in route.destination]
            best = max(fitting, key=lambda route: route.destination.prefixlen, default=None)
            if best is None or best.gateway is None:
                return names.get(at, at)
            at = ends[best.gateway]
        return "round"

    def routes(self, netns: str) -> list[Route]:
        """What is routed in this namespace by the plan: of a router, or by the back end of a node; and the default."""
        for node in self.topology.nodes:
            if node.netns == netns:
                world = snapshot_of(complete(self.objects, self.topology))
                above = self.topology.router_of(node.link)
                return [*hostgw(world, node.name, Options()).routes, *_default(above.addresses)]
        router = self.topology.router_of(netns)
        return [*router.routes, *(_default(self.topology.router_of(router.above).addresses) if router.above else ())]

    def unreachable(self, netns: str) -> tuple[Network, ...]:
        """What is answered so unless a route says more, or as much."""
        found = {router.netns: router for router in self.topology.routers}.get(netns)
        own = {route.destination for route in found.routes} if found else set()
        return tuple(network for network in found.ranges if network not in own) if found else ()

    def _keeps(self, netns: str, address: Address) -> bool:
        name = next((node.name for node in self.topology.nodes if node.netns == netns), None)
        outside = netns == self.topology.router.netns and address in self.topology.router.outside
        return outside or any(address in pod.addresses for pod in self.topology.pods if pod.node == name)


def _default(gateways: tuple[Interface, ...]) -> list[Route]:
    return [Route(ip_network("0.0.0.0/0" if each.version == 4 else "::/0"), each.ip) for each in gateways]
