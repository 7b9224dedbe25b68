"""Build a planned topology out of namespaces, veths and routes, and change it to another plan live.

Runs in the sandbox's main process; calls block for a few milliseconds. A pod's own end of its link stays down
until `link_up`, so nothing passes before its agent has the rules in the kernel; the node's end is up from the
start, with its routes, because by them the agent finds the pod. Processes in the namespaces are not its affair.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from vallum.kernel import netns, sysctl
from vallum.kernel.nft import Nft
from vallum.kernel.rtnetlink import STATIC, Rtnetlink
from vallum.lab.topology import BRIDGE, NETNS_PREFIX, UPLINK, Interface, NodePlan, PodPlan, RouterPlan, Topology
from vallum.model.address import Address
from vallum.model.errors import KernelError
from vallum.model.objects import PodId
from vallum.model.wiring import GATEWAYS, Route

POD_DEVICE = "eth0"
_MTU = 1500
_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_CARRIER_WAIT = 2.0
_TABLE = "vallum_lab"
_BRIDGE_MAC = "02:00:00:00:00:01"

# The machine's own settings are inherited for IPv4, so whatever matters is written.
_COMMON = {
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/accept_ra": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/default/accept_dad": 0,
}
_ENDS = _COMMON | {"net/ipv4/ip_forward": 0}
_FORWARDS = _COMMON | {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    # redirects would teach the nodes shorter ways than the ones under test
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Which pods' namespaces went and came; a pod that got another address or node is in both."""

    removed: tuple[PodId, ...]
    added: tuple[PodId, ...]


class Cluster:
    """The namespaces of one topology. `topology` is the plan that stands."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._open = ExitStack()
        self._netlinks: dict[str, Rtnetlink] = {}
        self._ports: dict[str, int] = {}

    def build(self) -> None:
        """Router, nodes, pods; the pods' own ends down. Raises KernelError, after taking down what stood."""
        try:
            for router in self.topology.routers:
                self._build_router(router)
            for node in self.topology.nodes:
                self._make_namespace(node.netns, _FORWARDS)
                self._connect(node.netns, self.topology.router_of(node.link), node.addresses)
            for router in self.topology.routers:
                self._route(router, None)
            for pod in self.topology.pods:
                self._add_pod(pod)
        except BaseException:
            self.destroy()
            raise

    def apply(self, topology: Topology) -> Changes:
        """Change to a plan with the same nodes: only what differs. Raises KernelError."""
        assert [*map(_standing, topology.nodes)] == [*map(_standing, self.topology.nodes)], "a lab's nodes stay"
        old, new = set(self.topology.pods), set(topology.pods)
        gone = [pod for pod in self.topology.pods if pod not in new]
        come = [pod for pod in topology.pods if pod not in old]
        self._change_outside(topology.router.outside)
        for was, router in zip(self.topology.routers, topology.routers, strict=True):
            self._route(router, was)
        for pod in gone:
            self._remove_pod(pod)
        for pod in come:
            self._add_pod(pod)
        self.topology = topology
        return Changes(tuple(pod.pod for pod in gone), tuple(pod.pod for pod in come))

    def link_up(self, pod: PodId) -> None:
        """Set the pod's own end up and return when packets pass. Repeatable. Raises KeyError, KernelError."""
        plan = next((each for each in self.topology.pods if each.pod == pod), None)
        if plan is None:
            raise KeyError(pod)
        with netns.entered(plan.netns), Rtnetlink() as inside:
            if inside.link(POD_DEVICE).up:
                return
            inside.set_link(POD_DEVICE, up=True)
            for version in sorted({address.version for address in plan.addresses}):
                gateway = GATEWAYS[version]
                inside.add_neighbour(POD_DEVICE, gateway, plan.host_mac)
                inside.add_route(Route(_ANYWHERE[version], gateway, POD_DEVICE, onlink=True))
        self._await_carrier(plan)

    def destroy(self) -> None:
        """Remove every namespace that a lab made here, those of an attempt that failed included."""
        self._open.close()
        self._netlinks.clear()
        self._ports.clear()
        for name in netns.names():
            if name.startswith(NETNS_PREFIX):
                netns.delete(name)

    def _make_namespace(self, name: str, settings: dict[str, int]) -> None:
        netns.create(name)
        with netns.entered(name):
            for key, value in settings.items():
                sysctl.write(key, value)

    def _stay_in(self, name: str) -> Rtnetlink:
        """A netlink socket in this namespace, kept as long as the cluster."""
        if name in self._netlinks:
            return self._netlinks[name]
        with netns.entered(name):
            self._netlinks[name] = self._open.enter_context(Rtnetlink())
        return self._netlinks[name]

    def _build_router(self, router: RouterPlan) -> None:
        self._make_namespace(router.netns, _FORWARDS)
        netlink = self._stay_in(router.netns)
        netlink.add_bridge(BRIDGE, _BRIDGE_MAC)
        for address in router.addresses:
            netlink.add_address(BRIDGE, address)
        for end in router.outside:
            netlink.add_address(self._holder(end), ip_interface(end))
        if router.above is not None:
            self._connect(router.netns, self.topology.router_of(router.above), router.uplink)
        for network in router.ranges:
            if not any(route.destination == network for route in router.routes):
                netlink.add_unreachable(network)  # RFC 4632, 5.1: else it goes up and comes down again

    def _connect(self, netns_name: str, router: RouterPlan, addresses: tuple[Interface, ...]) -> None:
        """Hang a namespace with these addresses on the link of a router, which becomes its way to everywhere."""
        netlink, above = self._stay_in(netns_name), self._netlinks[router.netns]
        number = self._ports[router.netns] = self._ports.get(router.netns, 0) + 1
        port = f"port{number}"
        mac = f"0a:00:00:00:00:{number:02x}"
        namespace = netns.open_namespace(netns_name)
        try:
            above.add_veth(port, UPLINK, peer_namespace=namespace, mac=f"0e{mac[2:]}", peer_mac=mac, mtu=_MTU)
        finally:
            os.close(namespace)
        above.set_link(port, bridge=BRIDGE)
        netlink.set_link(UPLINK, up=True)
        for address in addresses:
            netlink.add_address(UPLINK, address)
        for gateway in router.addresses:
            netlink.add_route(Route(_ANYWHERE[gateway.version], gateway.ip, UPLINK))

    def _add_pod(self, pod: PodPlan) -> None:
        node = self._netlinks[self.topology.node_of(pod.node).netns]
        self._make_namespace(pod.netns, _ENDS)
        namespace = netns.open_namespace(pod.netns)
        try:
            node.add_veth(
                pod.interface,
                POD_DEVICE,
                peer_namespace=namespace,
                mac=pod.host_mac,
                peer_mac=pod.mac,
                mtu=_MTU,
            )
        finally:
            os.close(namespace)
        for address in pod.addresses:
            node.add_neighbour(pod.interface, address, pod.mac)
            node.add_route(Route(ip_network(address), None, pod.interface))
        with netns.entered(pod.netns), Rtnetlink() as inside:
            for address in pod.addresses:
                inside.add_address(POD_DEVICE, ip_interface(address))

    def _remove_pod(self, pod: PodPlan) -> None:
        # The link first: a namespace is taken apart later, in the background, and the name may be wanted at once.
        self._netlinks[self.topology.node_of(pod.node).netns].delete_link(pod.interface)
        netns.delete(pod.netns)

    def _route(self, router: RouterPlan, before: RouterPlan | None) -> None:
        netlink = self._netlinks[router.netns]
        had = before.routes if before is not None else ()
        for route in had:
            if route not in router.routes:
                netlink.delete_route(route.destination, protocol=STATIC)
        for route in router.routes:
            if route not in had:
                netlink.add_route(route)
        script = _closing(router)
        if script and (before is None or script != _closing(before)):
            with netns.entered(router.netns):
                Nft().run(script)

    def _change_outside(self, wanted: tuple[Address, ...]) -> None:
        held = set(self.topology.router.outside)
        router = self._of_router()
        for address in sorted(held - set(wanted), key=str):
            router.delete_address(self._holder(address), ip_interface(address))
        for address in wanted:
            if address not in held:
                router.add_address(self._holder(address), ip_interface(address))
        self.topology = replace(self.topology, router=replace(self.topology.router, outside=wanted))

    def _holder(self, address: Address) -> str:
        """`lo`, or the bridge for an address of the segment: IPv6 answers neighbours for the asked link only."""
        return BRIDGE if any(address in each.network for each in self.topology.router.addresses) else "lo"

    def _of_router(self) -> Rtnetlink:
        return self._netlinks[self.topology.router.netns]

    def _await_carrier(self, pod: PodPlan) -> None:
        """The kernel gives the node's end its queue in the background; until then it drops what is sent."""
        node = self._netlinks[self.topology.node_of(pod.node).netns]
        deadline = time.monotonic() + _CARRIER_WAIT
        while not node.link(pod.interface).running:
            if time.monotonic() > deadline:
                raise KernelError(f"link of pod {pod.pod}: no carrier after {_CARRIER_WAIT:.0f} s")


def _closing(router: RouterPlan) -> str:
    """What keeps a router from carrying packets of nodes to pods; empty where it may."""
    if not router.closed:
        return ""
    single = [route.destination for route in router.routes if route.destination.num_addresses == 1]
    # what is bridged from node to node passes here too, where br_netfilter is on; it is not sent to the router's MAC
    lines = [f"iifname != {BRIDGE} accept", f"ether daddr != {_BRIDGE_MAC} accept"]
    for verdict, networks in (("accept", single), ("drop", router.closed)):
        for version, word in ((4, "ip"), (6, "ip6")):
            some = ", ".join(str(each) for each in networks if each.version == version)
            lines += [f"{word} daddr {{ {some} }} {verdict}"] * bool(some)
    chain = f"chain forward {{\ntype filter hook forward priority 0\n{chr(10).join(lines)}\n}}"
    return f"add table inet {_TABLE}\ndelete table inet {_TABLE}\ntable inet {_TABLE} {{\n{chain}\n}}\n"


def _standing(node: NodePlan) -> NodePlan:
    """What of a node stays as long as the lab; the ranges of its pods may follow their addresses."""
    return replace(node, pod_ranges=(), labels=(), groups=())
