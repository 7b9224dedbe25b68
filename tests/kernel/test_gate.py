"""The gate in a kernel: what it is told stands, others' changes are found, and packets meet it."""

import os
import socket
import struct
import subprocess
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from select import select
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inside import eventually, run_inside
from vallum.kernel import forwarding, netns, sysctl
from vallum.kernel.gate import Gate
from vallum.kernel.gate_table import render
from vallum.kernel.nft import Nft
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab import wire
from vallum.model.objects import UDP
from vallum.model.wiring import Ipip, Masquerade, Origin, Route, Vxlan, Wiring

pytestmark = pytest.mark.packets
Result = TypeVar("Result")

V4 = Vxlan("vallum.vxlan4", 86, 8472, "0e:00:00:00:00:04", 1450, ip_address("10.0.0.1"))
V6 = Vxlan("vallum.vxlan6", 86, 8472, "0e:00:00:00:00:06", 1430, ip_address("fd00::1"))
KERNEL_IPIP = Ipip("vallum.ip", "kernel", 1480, ip_address("10.0.0.1"))
PEERS = {4: "10.0.0.2", 6: "fd00::2"}
STRANGERS = {4: "10.0.0.66", 6: "fd00::66"}
THERE = {4: "10.9.2.0/24", 6: "fd09:0:0:2::/64"}
HERE = {4: "10.9.1.1", 6: "fd09:0:0:1::1"}
COVERED = {4: "10.9.2.7", 6: "fd09:0:0:2::7"}
NOT_COVERED = {4: "10.9.3.7", 6: "fd09:0:0:3::7"}
PORT = 7777


def origins(device: Vxlan | Ipip, *, inner: tuple[int, ...] = (4, 6)) -> frozenset[Origin]:
    outer = ip_address(PEERS[device.local.version])
    return frozenset(Origin(device.name, outer, ip_network(THERE[version])) for version in inner)


BOTH = Wiring(devices=frozenset({V4, V6}), origins=origins(V4) | origins(V6))
LEAVING = Masquerade((ip_network("10.9.0.0/16"), ip_network("fd09::/32")), (ip_network("10.9.0.0/16"),))
FULL = Wiring(
    devices=frozenset({V4, V6, KERNEL_IPIP}),
    origins=BOTH.origins | origins(KERNEL_IPIP, inner=(4,)),
    masquerade=LEAVING,
)


# What stands


@pytest.mark.parametrize("wiring", [BOTH, FULL, Wiring(masquerade=LEAVING), Wiring(devices=frozenset({V4}))])
def test_the_kernel_shows_what_was_asked_for(wiring: Wiring) -> None:
    def piece() -> tuple[bool, tuple[str, ...]]:
        gate = Gate()
        gate.apply(wiring)
        return gate.read() == render(wiring), gate.apply(wiring, doubt=True)

    assert run_inside(piece) == (True, ())


def test_what_nobody_wants_any_more_goes() -> None:
    def piece() -> tuple[bool, bool, bool]:
        gate = Gate()
        gate.apply(BOTH)
        Gate().apply(Wiring())  # another life, which knows nothing of the first
        gone = gate.read() is None
        gate.apply(BOTH, doubt=True)
        return gone, gate.clear(), gate.clear()

    assert run_inside(piece) == (True, True, False)


def test_changes_of_others_are_named_and_undone() -> None:
    damages = {
        "flush chain inet vallum-gate input": "chain input was changed",
        "delete element inet vallum-gate nodes_vallum.vxlan4 { 10.0.0.2 }": "set nodes_vallum.vxlan4 was changed",
        "add rule inet vallum-gate into_vallum.vxlan4 accept": "chain into_vallum.vxlan4 was changed",
        "add table inet vallum-gate { flags dormant; }": "table inet vallum-gate was dormant",
        "delete table inet vallum-gate": "table inet vallum-gate was gone",
    }

    def piece() -> list[tuple[tuple[str, ...], bool]]:
        gate, other = Gate(), Nft()
        gate.apply(FULL)
        found = []
        for damage in damages:
            other.run(damage)
            found.append((gate.apply(FULL, doubt=True), gate.read() == render(FULL)))
        return found

    assert run_inside(piece) == [((words,), True) for words in damages.values()]


_PREFIXES = st.tuples(st.integers(0, 7), st.integers(24, 32)).map(lambda of: f"10.9.{of[0]}.0/{of[1]}")
_RANDOM = st.builds(
    Origin,
    st.just(V4.name),
    st.sampled_from([ip_address(f"10.0.0.{n}") for n in range(2, 6)]),
    _PREFIXES.map(ip_network),
)


def test_any_origins_follow_any_others() -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.frozensets(_RANDOM, max_size=12), min_size=2, max_size=6))
    def follow(steps: list[frozenset[Origin]]) -> None:
        gate = Gate()
        wirings = [Wiring(devices=frozenset({V4}), origins=each) for each in steps]
        for wiring in wirings:
            gate.apply(wiring)
            assert gate.read() == render(wiring)

    run_inside(follow)


# What packets meet


class Crossing:
    """A node at one end of a link, and whoever sends to it at the other. Packets are told by their outcome."""

    def __init__(self, devices: tuple[Vxlan, ...] = (V4, V6)) -> None:
        self._macs = ("02:00:00:00:00:01", "02:00:00:00:00:02")
        self.gate = Gate()
        self._link()
        for device in devices:
            _make(device)
        for name in (*map(str, Path("/proc/sys/net/ipv4/conf").iterdir()),):
            sysctl.write(f"net/ipv4/conf/{Path(name).name}/rp_filter", 0)
        self.inboxes = [_inbox(address) for address in HERE.values()]

    def _link(self) -> None:
        netns.create("vallum-sender")
        peer = netns.open_namespace("vallum-sender")
        with Rtnetlink() as links:
            links.add_veth("node0", "out0", peer_namespace=peer, mac=self._macs[0], peer_mac=self._macs[1], mtu=9000)
            for own in ("10.0.0.1/24", "fd00::1/64"):
                links.add_address("node0", ip_interface(own))
            for own in HERE.values():
                links.add_address("lo", ip_interface(own))
        with netns.entered(peer):
            with Rtnetlink() as links:
                links.set_link("out0", up=True)
            self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._sender.bind(("out0", 0))
        os.close(peer)

    def send_from_here(self, link: str, destination: str) -> None:
        """From now on the sender is the other end of a link, in the node's own namespace."""
        self._sender.close()
        self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._sender.bind((link, 0))
        self._macs = (destination, "0e:00:00:00:00:99")

    def outcome(self, *packets: bytes) -> str:
        """`arrived`, or the reason for which the gate dropped what these IP packets are, or carry."""
        before = self.gate.counts()
        for packet in packets:
            self._sender.send(_ethernet(packet, *self._macs))
        found: list[str] = []

        def told() -> bool:
            now = self.gate.counts()
            found.extend(["arrived"] * bool(select(self.inboxes, [], [], 0)[0]))
            found.extend(reason for reason in now if now[reason] > before.get(reason, 0))
            return bool(found)

        eventually(told)
        for inbox in select(self.inboxes, [], [], 0)[0]:
            inbox.recv(1 << 16)
        return found[0] if found else "nothing was seen of it"


def _make(device: Vxlan) -> None:
    words = f"ip link add {device.name} address {device.mac} mtu {device.mtu} type vxlan id {device.vni}"
    words += f" dstport {device.port} local {device.local} nolearning udp6zerocsumrx"
    subprocess.run(words.split(), check=True)
    with Rtnetlink() as links:
        links.set_link(device.name, up=True)


def _inbox(address: str) -> socket.socket:
    version = ip_address(address).version
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((address, PORT))
    return sock


def _ethernet(packet: bytes, destination: str, source: str, kind: int | None = None) -> bytes:
    kind = kind or (0x800 if packet[0] >> 4 == 4 else 0x86DD)
    return bytes.fromhex((destination + source).replace(":", "")) + struct.pack("!H", kind) + packet


def udp(source: str, destination: str, port: int, payload: bytes) -> bytes:
    ends = ip_address(source), ip_address(destination)
    return wire.ip_packet(*ends, UDP, wire.transport(*ends, UDP, (40000, port), payload))


def hello(source: str, version: int) -> bytes:
    return udp(source, HERE[version], PORT, b"hello")


def tunnelled(
    outer: str, device: Vxlan, inner: bytes, *, kind: int | None = None, vni: int | None = None, port: int | None = None
) -> bytes:
    number = device.vni if vni is None else vni
    frame = _ethernet(inner, device.mac, "0e:00:00:00:00:99", kind)
    header = struct.pack("!II", 0x08000000, number << 8)
    return udp(outer, str(device.local), port or device.port, header + frame)


def on_a_crossing(piece: Callable[[Crossing], Result], wiring: Wiring = BOTH) -> Result:
    def inside() -> Result:
        crossing = Crossing()
        crossing.gate.apply(wiring)
        return piece(crossing)

    return run_inside(inside)


FAMILIES = [(V4, 4), (V4, 6), (V6, 4), (V6, 6)]
NAMED = [f"{inner} in {device.local.version}" for device, inner in FAMILIES]


@pytest.mark.parametrize(("device", "inner"), FAMILIES, ids=NAMED)
def test_only_a_known_node_brings_in_what_its_own_pods_send(device: Vxlan, inner: int) -> None:
    outer = device.local.version

    def piece(crossing: Crossing) -> list[str]:
        return [
            crossing.outcome(tunnelled(PEERS[outer], device, hello(COVERED[inner], inner))),
            crossing.outcome(tunnelled(STRANGERS[outer], device, hello(COVERED[inner], inner))),
            crossing.outcome(tunnelled(PEERS[outer], device, hello(NOT_COVERED[inner], inner))),
            crossing.outcome(tunnelled(PEERS[outer], device, hello(COVERED[inner], inner))),
        ]

    assert on_a_crossing(piece) == ["arrived", "unknown-outer", "wrong-inner", "arrived"]


def test_what_is_no_ip_packet_is_dropped_and_so_is_what_is_cut_short() -> None:
    arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + bytes(20)

    def piece(crossing: Crossing) -> list[str]:
        return [
            crossing.outcome(tunnelled(PEERS[4], V4, arp, kind=0x806)),
            crossing.outcome(tunnelled(PEERS[4], V4, hello(COVERED[4], 4), kind=0x8100)),
            crossing.outcome(tunnelled(PEERS[4], V4, b"\x45\0\0\0", kind=0x800)),
        ]

    assert on_a_crossing(piece) == ["not-ip", "not-ip", "wrong-inner"]


def test_tunnels_of_other_programs_are_theirs() -> None:
    other = Vxlan("other", 5, 8472, "0e:00:00:00:00:55", 1450, ip_address("10.0.0.1"))

    def piece(crossing: Crossing) -> list[str]:
        _make(other)
        return [
            crossing.outcome(tunnelled(STRANGERS[4], other, hello(NOT_COVERED[4], 4))),
            crossing.outcome(udp(STRANGERS[4], HERE[4], PORT, b"no tunnel at all")),
        ]

    assert on_a_crossing(piece) == ["arrived", "arrived"]


@pytest.mark.parametrize("version", [4, 6])
def test_pieces_are_put_together_before_they_are_judged(version: int) -> None:
    device = V4 if version == 4 else V6

    def piece(crossing: Crossing) -> list[str]:
        found = []
        for number, outer in enumerate((PEERS[version], STRANGERS[version])):
            packet = tunnelled(outer, device, hello(COVERED[4], 4))
            found.append(crossing.outcome(*in_pieces(packet, number)))
        return found

    assert on_a_crossing(piece) == ["arrived", "unknown-outer"]


def in_pieces(packet: bytes, number: int) -> list[bytes]:
    """Two fragments (RFC 791, RFC 8200), the inner source in the second."""
    head, body = (packet[:20], packet[20:]) if packet[0] >> 4 == 4 else (packet[:40], packet[40:])
    return [_fragment(head, body[:40], 0, number), _fragment(head, body[40:], 40, number)]


def _fragment(head: bytes, part: bytes, start: int, number: int) -> bytes:
    more = start == 0
    if len(head) == 40:
        extension = struct.pack("!BBHI", UDP, 0, start | more, number)
        return head[:4] + struct.pack("!HB", 8 + len(part), 44) + head[7:] + extension + part
    flags = (0x2000 if more else 0) | start // 8
    head = head[:2] + struct.pack("!HHH", 20 + len(part), number, flags) + head[8:10] + bytes(2) + head[12:]
    return head[:10] + struct.pack("!H", wire.checksum(head)) + head[12:] + part


def test_the_kernels_ipip_is_checked_like_vxlan() -> None:
    """A raw socket of protocol 4 stands where the tunnel would: this kernel may have none."""
    wiring = Wiring(devices=frozenset({KERNEL_IPIP}), origins=origins(KERNEL_IPIP, inner=(4,)))

    def carried(outer: str, inner: str) -> bytes:
        return wire.ip_packet(ip_address(outer), KERNEL_IPIP.local, 4, hello(inner, 4))

    def inside() -> list[str]:
        crossing = Crossing(devices=())
        crossing.gate.apply(wiring)
        crossing.inboxes.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, 4))
        ends = (PEERS[4], COVERED[4]), (STRANGERS[4], COVERED[4]), (PEERS[4], NOT_COVERED[4])
        return [crossing.outcome(carried(*each)) for each in ends]

    assert run_inside(inside) == ["arrived", "unknown-outer", "wrong-inner"]


def test_what_comes_out_of_a_tunnel_by_any_way_needs_a_source_behind_it() -> None:
    """As a vxlan device of the same node could hand over, inside the kernel, where no input hook sees it."""

    def inside() -> list[str]:
        crossing = Crossing(devices=())
        crossing.gate.apply(BOTH)
        with Rtnetlink() as links:
            links.delete_link("node0")
            links.add_veth(V4.name, "out0", mac=V4.mac, peer_mac="0e:00:00:00:00:99", mtu=1500)
            links.set_link("out0", up=True)
        sysctl.write(f"net/ipv4/conf/{V4.name}/rp_filter", 0)
        crossing.send_from_here("out0", V4.mac)
        return [
            crossing.outcome(hello(source[version], version)) for version in (4, 6) for source in (COVERED, NOT_COVERED)
        ]

    assert run_inside(inside) == ["arrived", "uncovered", "arrived", "uncovered"]


# Masquerade

OUTSIDE = {4: "10.0.0.2", 6: "fd00::2"}
NODE = {4: "10.0.0.1", 6: "fd00::1"}
POD = {4: "10.9.1.5", 6: "fd09:0:0:1::5"}


class Way:
    """A pod, its node, and a host outside that knows the way back to the pod."""

    def __init__(self) -> None:
        for family in (4, 6):
            forwarding.ensure(family)
        self._pod = _end("vallum-pod", "pod0", ("10.9.1.1/24", "fd09:0:0:1::1/64"), ("10.9.1.5/24", "fd09:0:0:1::5/64"))
        self._outside = _end("vallum-out", "node0", ("10.0.0.1/24", "fd00::1/64"), ("10.0.0.2/24", "fd00::2/64"))

    def source_seen(self, version: int, port: int = PORT) -> str:
        """Which source the host outside sees when the pod sends to it."""
        kind = socket.AF_INET if version == 4 else socket.AF_INET6
        with netns.entered(self._outside):
            inbox = socket.socket(kind, socket.SOCK_DGRAM)
        with netns.entered(self._pod):
            pod = socket.socket(kind, socket.SOCK_DGRAM)
        with inbox, pod:
            inbox.settimeout(5)
            inbox.bind((OUTSIDE[version], port))
            pod.sendto(b"hello", (OUTSIDE[version], port))
            _, sender = inbox.recvfrom(100)
            inbox.sendto(b"back", sender)
            pod.settimeout(5)
            pod.recv(100)
        return str(sender[0])

    def client_seen(self, port: int) -> str:
        """Which source the pod sees when the host outside sends to this port of the node, and gets an answer."""
        with netns.entered(self._outside):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with netns.entered(self._pod):
            pod = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client, pod:
            client.connect((NODE[4], port))
            pod.bind((POD[4], PORT))
            for sock in (client, pod):
                sock.settimeout(5)
            client.send(b"hello")
            _, sender = pod.recvfrom(100)
            pod.sendto(b"back", sender)
            client.recv(100)
        return str(sender[0])


def _end(name: str, link: str, near: tuple[str, ...], far: tuple[str, ...]) -> int:
    netns.create(name)
    there = netns.open_namespace(name)
    macs = {"mac": f"02:00:00:00:{len(name):02}:01", "peer_mac": f"02:00:00:00:{len(name):02}:02"}
    with Rtnetlink() as links:
        links.add_veth(link, "eth0", peer_namespace=there, mtu=1500, **macs)
        for address in near:
            links.add_address(link, ip_interface(address))
    with netns.entered(there), Rtnetlink() as links:
        links.set_link("eth0", up=True)
        for address, gateway in zip(far, near, strict=True):
            links.add_address("eth0", ip_interface(address))
            everywhere = ip_network("0.0.0.0/0" if ":" not in gateway else "::/0")
            links.add_route(Route(everywhere, ip_interface(gateway).ip))
    return there


def seen_with(inside: str, *others: str) -> list[str]:
    networks = (*LEAVING.inside, ip_network(inside))

    def piece() -> list[str]:
        way = Way()
        for script in others:
            Nft().run(script)
        Gate().apply(Wiring(masquerade=Masquerade(LEAVING.sources, networks)))
        return [way.source_seen(version) for version in (4, 6)]

    return run_inside(piece)


def test_what_leaves_the_pods_networks_has_the_nodes_address() -> None:
    assert seen_with("10.77.0.0/16") == [NODE[4], NODE[6]]


def test_what_stays_inside_keeps_its_own() -> None:
    assert seen_with("10.0.0.0/24") == [POD[4], NODE[6]]
    assert seen_with("fd00::/64") == [NODE[4], POD[6]]


_KUBE_PROXY = """
table ip kube-proxy {
    chain marking { type filter hook prerouting priority -150; udp dport 7777 meta mark set meta mark | 0x4000; }
    chain postrouting { type nat hook postrouting priority 100; jump masquerading; }
    chain masquerading {
        meta mark & 0x4000 == 0 return
        meta mark set meta mark ^ 0x4000
        counter masquerade fully-random
    }
}
"""
"""Its postrouting as version 1.34 writes it, and a counter, by which its work is told from ours."""


def test_what_kube_proxy_marked_is_masqueraded_by_kube_proxy() -> None:
    def piece() -> tuple[str, bool, str]:
        way, nft = Way(), Nft()
        Gate().apply(Wiring(masquerade=LEAVING))
        nft.run(_KUBE_PROXY)
        marked = way.source_seen(4)
        counted = "packets 1 " in nft.run_stateful("list table ip kube-proxy")
        return marked, counted, way.source_seen(4, port=PORT + 1)

    assert run_inside(piece) == (NODE[4], True, NODE[4])


def test_what_comes_in_by_a_host_port_keeps_its_source() -> None:
    rule = "type nat hook prerouting priority -100; udp dport 8080 dnat to 10.9.1.5:7777"
    host_port = f"table ip hostports {{\nchain in {{\n{rule}\n}}\n}}"

    def piece() -> str:
        way, nft = Way(), Nft()
        nft.run(host_port)
        Gate().apply(Wiring(masquerade=LEAVING))
        return way.client_seen(8080)

    assert run_inside(piece) == OUTSIDE[4]
