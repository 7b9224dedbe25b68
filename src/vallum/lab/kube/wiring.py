"""The wires of the test cluster: a bridge, a namespace a node, routes from the control plane to the pods.

Made inside the sandbox and gone with it, so nothing here takes anything down.
"""

import json
import os
from collections.abc import Iterable
from ipaddress import ip_interface, ip_network
from pathlib import Path

from vallum.kernel import netns, sysctl
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.kube import layout
from vallum.lab.kube.layout import NodeLayout
from vallum.model.wiring import Route

UPLINK = "eth0"
_MTU = 1500
_PLUGINS = Path("/usr/lib/cni")
_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_FORWARDS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}


def build(nodes: Iterable[NodeLayout]) -> None:
    """Bridge and nodes, with every address and way. Raises KernelError."""
    for key, value in _FORWARDS.items():
        sysctl.write(key, value)
    with Rtnetlink() as outside:
        outside.add_bridge(layout.BRIDGE, "02:00:00:00:01:00")
        for address, network in zip(layout.CONTROL, layout.HOSTS, strict=True):
            outside.add_address(layout.BRIDGE, ip_interface(f"{address}/{network.prefixlen}"))
        for node in nodes:
            _build_node(node, outside)


def route_between(nodes: Iterable[NodeLayout]) -> None:
    """What a network back end of ours does otherwise: each node's ways to the pods of the others."""
    for node in nodes:
        with netns.entered(node.name), Rtnetlink() as inside:
            for other in nodes:
                if other is not node:
                    for network in other.pod_ranges:
                        inside.add_route(_way(network, other, UPLINK))


def link_plugins(node: NodeLayout) -> None:
    """The reference plugins in the node's own folder, beside which an agent may put its own."""
    node.cni_plugins.mkdir(parents=True, exist_ok=True)
    node.cni_config.mkdir(parents=True, exist_ok=True)
    for plugin in _PLUGINS.iterdir():
        (node.cni_plugins / plugin.name).symlink_to(plugin)


def configure_reference(node: NodeLayout) -> None:
    """The reference bridge plugin as the node's CNI, for a cluster without ours or beside it."""
    with netns.entered(node.name):
        for family in ("ip", "ip6"):  # else packets between pods of one node pass unseen by policies and Services
            sysctl.write(f"net/bridge/bridge-nf-call-{family}tables", 1)
    ranges = [[{"subnet": str(network)}] for network in node.pod_ranges]
    routes = [{"dst": str(network)} for network in _EVERYWHERE.values()]
    addresses = {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": str(node.folder / "host-local")}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    conflist = {"cniVersion": "1.0.0", "name": "reference", "plugins": plugins}
    (node.cni_config / "50-reference.conflist").write_text(json.dumps(conflist), encoding="utf-8")


def _build_node(node: NodeLayout, outside: Rtnetlink) -> None:
    netns.create(node.name)
    namespace = netns.open_namespace(node.name)
    port, number = f"port{node.number}", f"{node.number:02x}"
    try:
        macs = {"mac": f"0e:00:00:00:01:{number}", "peer_mac": f"0a:00:00:00:01:{number}"}
        outside.add_veth(port, UPLINK, peer_namespace=namespace, mtu=_MTU, **macs)
    finally:
        os.close(namespace)
    outside.set_link(port, bridge=layout.BRIDGE)
    with netns.entered(node.name), Rtnetlink() as inside:
        for key, value in _FORWARDS.items():
            sysctl.write(key, value)
        inside.set_link(UPLINK, up=True)
        for address, network in zip(node.addresses, layout.HOSTS, strict=True):
            inside.add_address(UPLINK, ip_interface(f"{address}/{network.prefixlen}"))
        for address in layout.CONTROL:
            inside.add_route(Route(_EVERYWHERE[address.version], address, UPLINK))
    for network in node.pod_ranges:
        outside.add_route(_way(network, node, layout.BRIDGE))


def _way(network: layout.Network, node: NodeLayout, device: str) -> Route:
    via = next(address for address in node.addresses if address.version == network.version)
    return Route(network, via, device)
